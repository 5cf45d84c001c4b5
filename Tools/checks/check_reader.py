"""Tools/reader/judge.py gives the verdicts of `pixtral-ref conformance run`.

    python check_reader.py BINARY

BINARY judges runtimes of which some are wrong (below), on some cases of every stage. The same questions
are asked here, and the answers given to judge.py. Every verdict, and of a model the tap, must be the
same. And judge.py must read as many cases as BINARY lists, with the same ids. Exit 1 if not.
"""

import base64
import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from safetensors.numpy import load_file, save_file

TOOLS = Path(__file__).resolve().parent.parent
CASES = TOOLS.parent / "Fixtures" / "cases"
MODEL = TOOLS.parent / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
sys.path.insert(0, str(TOOLS / "reader"))
import judge  # noqa: E402

CHOSEN = "tokens/request/image*,tokens/request/t*,tokens/fim/*,tokens/text/*-space*,tokens/decode/w*,image/grid/1025*,image/grid/huggingface-1025*,image/rgb/png-*,image/rgb/huggingface*,image/rgb/broken-png-h*,image/pixels/1*,image/pixels/s*,image/pixels/rocket,image/pixels/huggingface-1*,model/tiny/*"
ORACLE = "oracle_session.py"
RUNTIMES = [
    ["minimal_session.py", str(MODEL)],
    [ORACLE],
    [ORACLE, "--arithmetic", "float32"],
    [ORACLE, "--arithmetic", "bfloat16", "--schedule", "steps"],
    [ORACLE, "--arithmetic", "float16", "--fault", "A-bias"],  # of which some cases are undecided
    *([ORACLE, "--fault", fault] for fault in ("T-spacing", "P-alpha", "P-antialias", "V-no-mask")),
    ["misbehaving_session.py", "nan"],
    ["misbehaving_session.py", "lies-about-features"],
]
OPERATIONS = {
    "render a V7 request": ("render", {"request": "request"}),
    "cut a V7 request to a number of tokens": ("render", {"request": "request", "max_tokens": "max_tokens"}),
    "render a request to fill in the middle": ("fim", {"fim": "fim"}),
    "encode one stretch of text": ("encode", {"text": "text"}),
    "decode tokens": ("decode", {"tokens": "tokens"}),
    "image size to grid": ("grid", {"width": "width", "height": "height"}),
}


class Session:
    """A runtime that is asked."""

    def __init__(self, command, folder, checkpoint):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.folder, self.checkpoint, self.count = folder, checkpoint, 0
        self.hello = self.ask({"op": "hello", "protocol": 1, "folder": str(folder)})

    def ask(self, question):
        self.count += 1
        self.process.stdin.write(json.dumps(question | {"id": self.count}).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def answer(self, case):
        inputs, subject = case["inputs"], case["subject"]
        if subject["operation"] in OPERATIONS:
            op, keys = OPERATIONS[subject["operation"]]
            return self.ask({"op": op} | {key: inputs[name] for key, name in keys.items()})
        if case["stage"] == "rgb":
            return self.ask({"op": "rgb", "file": str(self.image_file(case))})
        if case["stage"] == "pixels":
            path = self.folder / "rgb.safetensors"
            save_file({"rgb": self.rgb(case)}, path)
            sizes = {key: subject[key] for key in ("patch_size", "image_size")}
            return self.ask({"op": "pixels", "tensors": str(path)} | sizes)
        if self.checkpoint:
            self.ask({"op": "load", "checkpoint": str(self.checkpoint), "layout": "mistral"})
            self.checkpoint = None
        golden = load_file(Path(case["folder"], case["expect"]["tensors"]))
        images = {name: tensor for name, tensor in golden.items() if name.startswith("image")}
        path = self.folder / "pixels.safetensors"
        save_file(images, path)
        taps = [name for name in golden if name not in images]
        tensors = str(path) if images else None
        return self.ask({"op": "trace", "tokens": case["expect"]["tokens"], "tensors": tensors, "taps": taps})

    def image_file(self, case):
        if "file" in case["inputs"]:
            return Path(case["folder"], case["inputs"]["file"])
        path = self.folder / "image"
        path.write_bytes(base64.b64decode(case["inputs"]["base64"]))
        return path

    def rgb(self, case):
        inputs = case["inputs"]
        if "rgb" in inputs:
            rgb = np.frombuffer(base64.b64decode(inputs["rgb"]), np.uint8)
            return rgb.reshape(inputs["height"], inputs["width"], 3)
        with PIL.Image.open(self.image_file(case)) as opened:
            return np.asarray(opened.convert("RGB"))


def differences(binary, runtime, read, checkpoint):
    """Asks one runtime in both ways. Sentences about verdicts that differ, and how many there are of each."""
    command = [sys.executable, str(TOOLS / "runtimes" / runtime[0]), *runtime[1:]]
    shell = " ".join(f"'{word}'" for word in command)
    run = subprocess.run(
        [binary, "conformance", "run", "--json", "--cases", CHOSEN, "--runtime", shell], capture_output=True
    )
    theirs = {case["id"]: case for case in json.loads(run.stdout)["cases"]}
    problems, counts = [], collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        session = Session(command, Path(folder), checkpoint)
        for case in read:
            their = theirs.get(case["id"])
            if not their or their["verdict"] == "unsupported":
                continue  # not asked
            verdict, tap = judge.judge(case, session.answer(case), folder, session.hello["arithmetic"])
            counts[verdict] += 1
            tap = tap if case["stage"] == "model" and verdict != "passed" else None
            if (verdict, tap) != (their["verdict"], their["tap"]):
                problems.append(
                    f"{case['id']}: {verdict} {tap}, and by BINARY {their['verdict']} {their['tap']}"
                )
        session.process.stdin.close()
        session.process.wait()
    return problems, counts


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python check_reader.py BINARY")
    binary = str(Path(sys.argv[1]).resolve())
    listed = subprocess.run([binary, "conformance", "list"], capture_output=True, check=True).stdout
    ids = sorted(json.loads(line)["id"] for line in listed.splitlines())
    read = list(judge.cases(CASES))
    wrong = sorted(case["id"] for case in read) != ids
    print(f"{len(read)} cases read, {len(ids)} listed" + (": the ids differ" if wrong else ""))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "tiny")
        write = [binary, "checkpoint", "write", "seeded:tiny", "--layout", "mistral", "--out", checkpoint]
        subprocess.run(write, capture_output=True, check=True)
        for runtime in RUNTIMES:
            problems, counts = differences(binary, runtime, read, checkpoint)
            words = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
            print(
                f"{' '.join(runtime).replace(str(MODEL), 'MODEL')}: {words}; {len(problems)} differ",
                flush=True,
            )
            for problem in problems:
                print(f"    {problem}")
            wrong |= bool(problems)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
