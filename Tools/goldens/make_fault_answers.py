"""Makes Fixtures/faults: what an oracle with a mistake answers, by which the kit calls it by its name.

    python make_fault_answers.py                  (all; five minutes on two cores)

Each mistake of Docs/Faults.md that faults.py and text_faults.py can make, and each form of it
(`ID~FORM`), is put into the oracle, which is then asked the cases. Where its answer is another than
the right one, it is kept:

exact.jsonl      of tokens, grid and rgb: a line a case, with `answers`: {ID: hash}, the first 12
                 hexadecimal digits of the SHA-256 of the answer written out (`written`)
distances.jsonl  of pixels, steps and model: a line a case, with `sketches`, a file, and `answers`:
                 {ID: {tap: relF}}, how far that answer is from the right one
*.safetensors    a sketch of each of those answers, F32 [512], as `ID/TAP` (Docs/Trace.md, digests),
                 of the rows that the case keeps
load.json        {checkpoint: {ID: [[wrong, right], ...]}}: numbers that a refusal to load it names

Taps of a model are kept that tell mistakes apart: those of the first layer that is wrong, and the
outputs of each stage behind it. A mistake that is right in a tap by less than 1e-7 is not there.
"""

import base64
import concurrent.futures
import hashlib
import io
import json
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

ROOT = Path(__file__).resolve().parent.parent.parent
for folder in ("Fixtures/oracle", "Tools/checks", "Tools/runtimes", "Tools/goldens"):
    sys.path.insert(0, str(ROOT / folder))

import checkpoint as oracle_checkpoint  # noqa: E402
import image  # noqa: E402
import numpy as np  # noqa: E402
import oracle  # noqa: E402
import PIL.Image  # noqa: E402
import seeded  # noqa: E402
import steps  # noqa: E402
import tokens  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

import digest  # noqa: E402
import faults  # noqa: E402
import suites  # noqa: E402
import text_faults  # noqa: E402

OUT = ROOT / "Fixtures" / "faults"
CASES = ROOT / "Fixtures" / "cases"
MODEL = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
LEAST = 1e-7  # relF below which an answer is the right one, for float32
# Taps of every stage, which a runtime is likely to have whatever else it lacks.
OUTPUTS = ("adapter.w_out", "decoder.embeddings", "decoder.norm", "logits")


# Tokens, grids and RGB: equal or not


def written(answer):
    """What an answer is hashed as: `1,3,4` for ids, `64x4` for a grid, a text's UTF-8, RGB's bytes."""
    if answer is None:
        return b"rejected"
    if isinstance(answer, list):
        return ",".join(map(str, answer)).encode()
    if isinstance(answer, tuple):
        return "x".join(map(str, answer)).encode()
    return answer.encode() if isinstance(answer, str) else bytes(answer)


def hashed(answer):
    return hashlib.sha256(written(answer)).hexdigest()[:12]


def expected(case):
    """The right answer in the form that `written` takes."""
    expect = case["expect"]
    if "reject" in expect:
        return None
    if case["stage"] == "grid":
        return expect["columns"], expect["rows"]
    return expect["text"] if "tokens" in case["inputs"] else expect["tokens"]


def asked(case):
    return case["retired"] is None and "image.huggingface" not in case["requires"]


def exact_answers(fault):
    """{case: hash} where the text's oracle with this mistake answers otherwise."""
    text_faults.put(fault)
    tokenizer = tokens.Tokenizer(MODEL)
    result = {}
    for name in suites.names():
        for case in filter(asked, suites.read(name)):
            if case["stage"] == "grid":
                if "reject" in case["expect"]:
                    continue
                found = tokens.grid(case["inputs"]["width"], case["inputs"]["height"])
            elif case["stage"] == "tokens":
                answer = tokens.answer(case["inputs"], tokenizer)
                found = None if "reject" in answer else answer.get("tokens", answer.get("text"))
            else:
                continue
            if found != expected(case):
                result[case["id"]] = hashed(found)
    return fault, result


def rgb_answers():
    """{case: hash} of P-alpha: of the images whose transparency is dropped."""
    result = {}
    for name in suites.names():
        for case in filter(asked, suites.read(name)):
            if case["stage"] != "rgb":
                continue
            inputs = case["inputs"]
            data = (
                base64.b64decode(inputs["base64"])
                if "base64" in inputs
                else ((CASES / name).parent / inputs["file"]).read_bytes()
            )
            try:
                with PIL.Image.open(io.BytesIO(data)) as opened:
                    opened.load()
                    found = faults.without_alpha(opened).tobytes()
            except Exception:  # of any kind: Pillow refuses it
                continue
            if hashlib.sha256(found).hexdigest() != right_rgb(case):
                result[case["id"]] = hashed(found)
    return result


def right_rgb(case):
    """The SHA-256 of the right samples; None where a refusal is right."""
    expect = case["expect"]
    if "reject" in expect:
        return None
    return expect.get("sha256") or hashlib.sha256(base64.b64decode(expect["rgb"])).hexdigest()


# Pixels and taps: a distance away


class Sketches:
    """Answers that are wrong, and how far, of the cases of one file."""

    def __init__(self, file):
        self.file, self.tensors, self.cases = file, {}, {}

    def add(self, case, fault, tap, right, wrong, key=None):
        """right and wrong are matrices; `key` is what the tap is called in the file's tensors."""
        if wrong.shape != right.shape:
            return
        moved = float(np.linalg.norm(wrong - right) / np.linalg.norm(right))
        if not LEAST < moved < math.inf:
            return
        answers = self.cases.setdefault(case, {}).setdefault(fault, {})
        answers[tap] = float(f"{moved:.3g}")
        sketch = digest.digest_of(tap, np.ascontiguousarray(wrong, dtype=np.float64))[2]
        self.tensors[key or f"{fault}/{tap}"] = np.array(sketch, dtype=np.float32)

    def write(self):
        """-> the lines of distances.jsonl."""
        (OUT / self.file).parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(sorted(self.tensors.items())), OUT / self.file)
        return [
            {"case": case, "sketches": self.file, "answers": answers} for case, answers in self.cases.items()
        ]


def lines_of(pixels):
    """[3, height, width] as the matrix that its digest is of: a row a line of a channel."""
    return pixels.reshape(-1, pixels.shape[-1])


def rgb_of(inputs, folder):
    """What the pixels are made of: uint8 [height, width, 3]."""
    if "rgb" in inputs:
        rgb = np.frombuffer(base64.b64decode(inputs["rgb"]), dtype=np.uint8)
        return rgb.reshape(inputs["height"], inputs["width"], 3)
    with PIL.Image.open(folder / inputs["file"]) as opened:
        assert opened.mode == "RGB", "a photo without transparency"
        return np.asarray(opened)


def pixel_answers():
    sketches = {}
    for name in suites.names():
        for case in filter(asked, suites.read(name)):
            if case["stage"] != "pixels":
                continue
            subject, expect = case["subject"], case["expect"]
            rgb = rgb_of(case["inputs"], (CASES / name).parent)
            right = image.pixels(rgb, subject["patch_size"], subject["image_size"])
            kept = expect.get("rows", slice(None))
            one = sketches.setdefault(name, Sketches(f"{name}.safetensors"))
            for fault, wrong in (faults.PIXEL_FAULTS | faults.PIXEL_FORMS).items():
                found = wrong(rgb, right)
                one.add(
                    case["id"],
                    fault,
                    "pixels",
                    lines_of(right[:, kept]),
                    lines_of(found[:, kept]),
                    f"{case['id']}/{fault}",
                )
    return [line for one in sketches.values() if one.tensors for line in one.write()]


def kept_taps(names, first):
    """Those of the layer (or the stage) of the tap `first`, and the outputs behind it."""
    layer = first.split(".")[:3] if ".layers." in first else first.split(".")[:1]
    behind = names[names.index(first) :]
    return [
        name
        for name in behind
        if name.split(".")[: len(layer)] == layer or name.endswith(".output") and name.count(".") == 3
        or name in OUTPUTS
    ]  # fmt: skip


def model_answers(folder):
    case = json.loads((folder / "case.json").read_text())
    right = load_file(folder / case["expect"]["tensors"])
    pixels = [right[f"image{n}"] for n in range(len(case["expect"]["grids"]))]
    rows = case["expect"]["rows"]
    loaded = oracle_checkpoint.open_checkpoint(case["model"])
    names = [name for name in oracle.tap_names(loaded.params, bool(pixels)) if name in right]
    result = Sketches(f"{case['id']}.safetensors")
    for fault, wrong in (faults.FAULTS | faults.FORMS).items():
        found = {}

        def keep(name, matrix, found=found):
            found[name] = matrix[rows[name]] if name in rows else np.array(matrix)

        try:
            with faults.patched(**wrong.patches):
                changed = faults.Changed(loaded, wrong.params, wrong.renamed)
                oracle.forward(changed, case["expect"]["tokens"], pixels, oracle.Trace(keep, names))
        except (AssertionError, ValueError) as refusal:
            print(f"{case['id']} {fault}: {refusal}", flush=True)
            continue
        moved = [
            name
            for name in names
            if np.linalg.norm(found[name] - right[name]) > LEAST * np.linalg.norm(right[name])
        ]
        if moved:
            for name in kept_taps(names, moved[0]):
                result.add(case["id"], fault, name, right[name], found[name])
    return result.write()


# Steps


def step_answers():
    sketches = {}
    for name in suites.names():
        for case in suites.read(name):
            if case["stage"] != "steps":
                continue
            stored = load_file((CASES / name).parent / case["inputs"]["file"])
            inputs = {tap: stored[key] for tap, key in case["inputs"]["tensors"].items()}
            right = stored[case["expect"]["tensor"]]
            stage, parameters = case["subject"]["step"], case["subject"]["parameters"]
            one = sketches.setdefault(name, Sketches(f"{name}.safetensors"))
            for fault in faults.FAULTS | faults.FORMS:
                wrong = faults.in_step(fault, stage)
                if not (wrong.patches or wrong.params or wrong.renamed):
                    continue
                try:
                    with faults.patched(**wrong.patches):
                        found = steps.answer(
                            stage,
                            parameters,
                            inputs,
                            lambda step, wrong=wrong: faults.Changed(step, wrong.params, wrong.renamed),
                        )
                except (AssertionError, ValueError, KeyError, IndexError):
                    continue
                one.add(case["id"], fault, "output", right, found, f"{case['id']}/{fault}")
    return [line for one in sketches.values() if one.tensors for line in one.write()]


# Refusals to load


def load_numbers():
    result = {}
    for name in ("seeded:tiny", "seeded:small"):
        params = oracle_checkpoint.open_checkpoint(name).params
        right = seeded.tensor_shapes(params)
        result[name] = {}
        for fault, wrong in faults.LOAD_FAULTS.items():
            read = wrong(params)
            shapes = seeded.tensor_shapes(read)
            pairs = {
                (a, b)
                for tensor in right
                for a, b in zip(shapes.get(tensor, ()), right[tensor], strict=False)
                if a != b
            }
            if read["head_dim"] != params["head_dim"]:
                pairs.add((read["head_dim"], params["head_dim"]))
            result[name][fault] = sorted(map(list, pairs))
        rows = params["n_kv_heads"] * params["head_dim"]
        if rows % params["n_heads"]:
            result[name]["D-k-permute"] = [[rows, params["n_heads"]]]
    return result


def write_lines(name, lines):
    text = "".join(json.dumps(line, separators=(",", ":"), sort_keys=False) + "\n" for line in lines)
    (OUT / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(lines)} cases, {len(text)} bytes", flush=True)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    folders = sorted(path.parent for path in CASES.glob("model/*/*/expected.safetensors"))
    by_case = {}
    # A process for each mistake: it stays in the oracle.
    with concurrent.futures.ProcessPoolExecutor(2, max_tasks_per_child=1) as pool:
        exact = pool.map(exact_answers, text_faults.FAULTS | text_faults.FORMS)
        of_models = pool.map(model_answers, folders)
        for fault, answers in [*exact, ("P-alpha", rgb_answers())]:
            print(f"{fault}: {len(answers)} cases", flush=True)
            for case, answer in answers.items():
                by_case.setdefault(case, {})[fault] = answer
        lines = [{"case": case, "answers": answers} for case, answers in sorted(by_case.items())]
        write_lines("exact.jsonl", lines)
        write_lines(
            "distances.jsonl",
            [*pixel_answers(), *step_answers(), *(line for one in of_models for line in one)],
        )
    (OUT / "load.json").write_text(json.dumps(load_numbers(), indent=2) + "\n")


if __name__ == "__main__":
    main()
