"""The NumPy oracle of Fixtures/oracle as a runtime that the conformance kit asks.

    pixtral-ref conformance run --runtime 'python oracle_session.py [--arithmetic A] [--schedule S] [--fault ID]'

Reads JSON, an object a line, from standard input and answers each on standard output. Nothing here
was made from pixtral-ref's code: tokens follow Docs/Tokens.md, pixels and taps Docs/Model.md, and
RGB is Pillow's (the feature is not claimed where Pillow is missing).

With --fault one mistake of Docs/Faults.md is in it, as check_exposes.py puts it into the oracle, so
that the kit can be judged: checks/check_conformance.py runs them all.

It computes in any of five arithmetics and schedules of rounding, which rounding.py explains: all of
them are right. Angles are float64 before their sines are taken.
"""

import argparse
import base64
import io
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
sys.path.insert(0, str(ROOT / "Fixtures" / "oracle"))
sys.path.insert(0, str(ROOT / "Tools" / "checks"))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

import answer as oracle_answer  # noqa: E402
import checkpoint  # noqa: E402
import image  # noqa: E402
import numpy as np  # noqa: E402
import oracle  # noqa: E402
import seeded  # noqa: E402
import steps  # noqa: E402
import tokens  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

import faults  # noqa: E402
import text_faults  # noqa: E402
from rounding import ARITHMETICS, SCHEDULES, Rounding, plain  # noqa: E402

try:
    import PIL.Image
except ImportError:
    PIL = None

FEATURES = ["tokens", "tokens.openai", "tokens.fim", "tokens.truncation", "grid", "pixels", "pixels.sizes", "step",
            "answer", "layout.mistral", "multi-image", "resize.opencv-cubic", "resize.opencv-portable"]  # fmt: skip
RGB_FEATURES = ["rgb", "image.png", "image.jpeg", "image.alpha"]
MODEL_FAULTS = faults.FAULTS | faults.FORMS
PIXEL_FAULTS = faults.PIXEL_FAULTS | faults.PIXEL_FORMS
TEXT_FAULTS = text_faults.FAULTS | text_faults.FORMS
FAULTS = [*TEXT_FAULTS, "P-alpha", *PIXEL_FAULTS, *faults.LOAD_FAULTS, *MODEL_FAULTS]


class Rejected(Exception):
    """The question is invalid: a type and a message."""


class Session:
    """A runtime. `answer(question)` takes and gives what a line is, as a dict."""

    def __init__(self, arithmetic="float64", fault=None, schedule="once"):
        self.rounding, self.fault = Rounding(arithmetic, schedule), fault
        self.folder, self.files, self.checkpoint = Path(), 0, None
        self.takes_requests = False
        if fault in TEXT_FAULTS:
            text_faults.put(fault)
        self.tokenizer = tokens.Tokenizer(MODEL)

    def answer(self, question):
        id = {"id": question["id"]} if "id" in question else {}
        operation = getattr(self, OPERATIONS.get(question["op"], ""), None)
        if not operation:
            return id | {"unsupported": f"the operation {question['op']}"}
        try:
            return id | operation(question)
        except Rejected as rejected:
            type, message = rejected.args
            return id | {"reject": {"type": type, "message": message}}
        except AssertionError as refusal:  # the oracle's own checks of its inputs
            return id | {"reject": {"type": "AssertionError", "message": str(refusal)}}

    def hello(self, question):
        self.folder = Path(question["folder"])
        return {
            "name": "NumPy oracle" + (f" with {self.fault}" if self.fault else ""),
            "version": np.__version__,
            "arithmetic": self.rounding.arithmetic,
            "features": FEATURES
            + ["trace.request" if self.takes_requests else "trace"]
            + (RGB_FEATURES if PIL else []),
            "rotary": "adjacent",
        }

    # Tokens and grids

    def text_stage(self, question):
        """render, fim, encode and decode: tokens.answer tells them by their keys."""
        found = tokens.answer(question, self.tokenizer)
        if "reject" in found:
            raise Rejected(found["reject"], "Docs/Tokens.md refuses it")
        return {key: found[key] for key in ("tokens", "text") if key in found and key not in question}

    render = fim = encode = decode = text_stage

    def grid(self, question):
        columns, rows = tokens.grid(question["width"], question["height"])
        return {"columns": columns, "rows": rows}

    # Images

    def rgb(self, question):
        return self.store({"rgb": self.opened(self.folder / question["file"])})

    def opened(self, file):
        """uint8 [height, width, 3] of a path or a file."""
        try:
            with PIL.Image.open(file) as opened:
                opened.load()
                if self.fault == "P-alpha":
                    return faults.without_alpha(opened)
                if opened.mode == "RGB":
                    return np.asarray(opened)
                opened = opened.convert("RGBA")
                white = PIL.Image.new("RGBA", opened.size, "white")
                white.paste(opened, (0, 0), opened)
                return np.asarray(white.convert("RGB"))
        except Exception as error:  # of any kind: Pillow raises IndexError too, and says nowhere which
            raise Rejected(type(error).__name__, str(error)) from error

    def pixels(self, question):
        rgb = load_file(self.folder / question["tensors"])["rgb"]
        return self.store(
            {"pixels": self.stretched(rgb, question.get("patch_size", 16), question.get("image_size", 1024))}
        )

    def stretched(self, rgb, patch_size=16, image_size=1024):
        """Normalised pixels, float32 [3, rows * patch_size, columns * patch_size]."""
        result = image.pixels(rgb, patch_size, image_size)
        if self.fault in PIXEL_FAULTS:
            result = PIXEL_FAULTS[self.fault](rgb, result)
        return result.astype(np.float32)

    # The model

    def load(self, question):
        loaded = checkpoint.open_checkpoint(self.folder / question["checkpoint"])
        wrong = MODEL_FAULTS.get(self.fault, faults.Fault())
        if self.fault in faults.LOAD_FAULTS:
            shapes = seeded.tensor_shapes(faults.LOAD_FAULTS[self.fault](loaded.params))
            name = next((name for name in shapes if shapes[name] != loaded.shapes.get(name)), None)
            assert not name, f"{name}: expected {shapes[name]}, found {loaded.shapes.get(name)}"
        if self.fault == "D-k-permute":
            rows, heads = loaded.shapes["layers.0.attention.wk.weight"][0], loaded.params["n_heads"]
            assert rows % heads == 0, f"{rows} rows of wk cannot be divided among {heads} heads"
        self.checkpoint = faults.Changed(loaded, wrong.params, wrong.renamed)
        return {}

    def trace(self, question):
        if not self.checkpoint:
            raise Rejected("ValueError", "no checkpoint is loaded")
        ids, pixels, found = question.get("tokens"), self.images(question), {}
        if "request" in question:
            ids, pixels = self.rendered(question["request"])
            found = {f"image{n}": image for n, image in enumerate(pixels)}
        found |= self.taps(ids, pixels, question["taps"])
        return self.store(found) | ({"tokens": ids} if "request" in question else {})

    def answer_given(self, question):
        """The log-probabilities of the tokens of an answer, [1, tokens]."""
        if not self.checkpoint:
            raise Rejected("ValueError", "no checkpoint is loaded")
        ids, given = question["tokens"], question["answer"]
        logits = self.taps([*ids, *given[:-1]], self.images(question), ["logits"])["logits"]
        logits = logits[len(ids) - 1 :].astype(np.float64)
        said = oracle_answer.log_probabilities(logits)[np.arange(len(given)), given]
        return self.store({"logprobs": said[None]})

    def images(self, question):
        images = load_file(self.folder / question["tensors"]) if question.get("tensors") else {}
        return [images[f"image{n}"] for n in range(len(images))]

    def taps(self, ids, pixels, wanted):
        found = {}
        trace = oracle.Trace(
            lambda name, matrix: found.setdefault(name, self.rounding.rounded(plain(matrix))), wanted
        )
        with self.computing():
            oracle.forward(self.checkpoint, ids, pixels, trace)
        return found

    def rendered(self, request):
        """The tokens of a request, and the pixels of its images."""
        found = tokens.answer({"request": request}, self.tokenizer)
        if "reject" in found:
            raise Rejected(found["reject"], "Docs/Tokens.md refuses it")
        parts = [
            part for one in request["messages"] if isinstance(one["content"], list) for part in one["content"]
        ]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        files = [io.BytesIO(base64.b64decode(url.partition(",")[2])) for url in urls]
        return found["tokens"], [self.stretched(self.opened(file)) for file in files]

    def step(self, question):
        stage, parameters = question["stage"], question["parameters"]
        if stage not in steps.STAGES:
            return {"unsupported": f"the stage {stage}"}
        tensors = load_file(self.folder / question["tensors"])
        refusal = faults.step_refusal(self.fault, stage, parameters, {n: t.shape for n, t in tensors.items()})
        assert not refusal, refusal
        wrong = faults.in_step(self.fault, stage)
        with self.rounding.around(wrong.patches):
            output = steps.answer(
                stage, parameters, tensors, lambda step: faults.Changed(step, wrong.params, wrong.renamed)
            )
        return self.store({"output": self.rounding.rounded(plain(output))})

    def computing(self):
        """The oracle's functions in the arithmetic, and with the fault, of this session."""
        return self.rounding.around(MODEL_FAULTS.get(self.fault, faults.Fault()).patches)

    def store(self, tensors):
        self.files += 1
        path = self.folder / f"oracle-{os.getpid()}-{self.files}.safetensors"
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
        return {"tensors": str(path)}


OPERATIONS = {
    name: name
    for name in (
        "hello",
        "render",
        "fim",
        "encode",
        "decode",
        "grid",
        "rgb",
        "pixels",
        "load",
        "step",
        "trace",
    )
} | {"answer": "answer_given"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arithmetic", choices=ARITHMETICS, default="float64")
    parser.add_argument("--schedule", choices=SCHEDULES, default="once", help="where it rounds")
    parser.add_argument("--fault", choices=FAULTS, metavar="ID", help="a mistake of Docs/Faults.md")
    parser.add_argument(
        "--requests", action="store_true", help="take requests for a trace, not tokens and pixels"
    )
    options = parser.parse_args()
    session = Session(options.arithmetic, options.fault, options.schedule)
    session.takes_requests = options.requests
    for line in sys.stdin.buffer:
        print(json.dumps(session.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
