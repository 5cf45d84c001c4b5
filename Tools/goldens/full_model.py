"""The full model in PyTorch, layer by layer, as everyone's yardstick: a golden digest of each request,
and how far correct runs in other arithmetics are from it.

    python full_model.py seeded:tiny|seeded:pixtral-large INPUTS OUT [NAME ...] [--device cuda]

INPUTS/NAME is a folder as full_requests.py writes it, or a case of Fixtures/cases/model. For each, OUT/NAME
gets `digest.safetensors`, the digest (Docs/Trace.md) of the run in float64, and `envelope.json`: for each
arithmetic, its schedules (full_schedules.py, full_transformers.py) and for each tap the distances from
float64 (Docs/Trace.md, "Comparing"), rounded up to 3 digits: relF of each schedule in their order, and
the largest worst row and max/RMS of them all. A run's own results are what it computes on with, from the
first tap to the last. What is complete in OUT is left alone, so that a run that was cut off goes on.

A layer's weights are made on the device for all runs and then dropped. The full shape takes up to 46 GB
of an H100's memory, and for 66, 812 and 1,069 tokens 3.4, 1.9 and 2.4 minutes; float64 alone takes a quarter
to half a minute. A CPU has no TF32, so there it is emulated, and transformers, which cannot be told to,
is left out in TF32.
"""

import argparse
import collections
import functools
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "runtimes"))

import full_schedules  # noqa: E402
from digest import Digest  # noqa: E402
from full_weights import MODELS, Weights  # noqa: E402

try:
    import full_transformers
    import transformers
except ImportError:  # then its schedules are left out
    transformers = None


def stages(model, with_images, layers):
    """(stage, number of the layer) in the order of computation."""
    if with_images:
        yield "patches", None
        yield from (("vision", n) for n in range(min(layers, model.vision.layers)))
        yield "adapter", None
    yield "embeddings", None
    yield from (("decoder", n) for n in range(min(layers, model.decoder.layers)))
    if layers >= model.decoder.layers:
        yield "head", None


class Truth:
    """The taps of one stage of the float64 run. Each goes into the digest when it is put. `kept` has the
    rows that a case keeps of a tap, if not all: distances are those of these rows.
    """

    def __init__(self, kept):
        self.digest, self.kept, self.taps = Digest(), kept, {}

    def put(self, tap, x):
        self.digest.add(tap, x)
        x = self.rows(tap, x)
        self.taps[tap] = x, torch.linalg.vector_norm(x, dim=1)

    def rows(self, tap, x):
        return x[self.kept[tap]] if tap in self.kept else x


class Distances:
    """[relF, worst row, max/RMS] of each tap of a run; numbers stay on the device until `settle`."""

    def __init__(self):
        self.taps = {}

    def put(self, truth, tap, x):
        e, rows = truth.taps[tap]
        x = truth.rows(tap, x)
        if x.shape != e.shape:
            raise RuntimeError(f"{tap} must be {list(e.shape)}; it is {list(x.shape)}.")
        difference = torch.sub(x, e)  # in float64
        own = torch.linalg.vector_norm(difference, dim=1)
        norm = torch.linalg.vector_norm(rows)
        largest = torch.linalg.vector_norm(difference, ord=math.inf)
        self.taps[tap] = torch.stack(
            [torch.linalg.vector_norm(own) / norm, (own / rows).max(), largest * math.sqrt(e.numel()) / norm]
        )

    def settle(self, taps):
        numbers = torch.stack([self.taps[tap] for tap in taps]).tolist()
        self.taps.update(zip(taps, numbers, strict=True))


def compute(model, tokens, images, kept, schedules, device, layers, report):
    """Runs float64 and all schedules side by side. Returns the digest, the distances of each schedule,
    and the seconds that each took.
    """
    weights = Weights(model, device)
    schedules = [schedule for schedule in schedules if schedule.fits(len(tokens), model.decoder.width)]
    runs = {schedule: run(schedule, model, tokens, images, device) for schedule in schedules}
    reference = run(full_schedules.TRUTH, model, tokens, images, device)
    truth, distances = Truth(kept), {schedule: Distances() for schedule in schedules}
    seconds = collections.Counter()

    def timed(schedule, work):
        begin = time.perf_counter()
        schedule.set_library()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds[f"{schedule.arithmetic} {schedule.name}"] += time.perf_counter() - begin

    for stage, n in stages(model, bool(images), layers):
        truth.taps = {}
        timed(full_schedules.TRUTH, lambda: getattr(reference, stage)(n, weights, truth.put))
        for schedule, candidate in runs.items():
            own = distances[schedule]
            put = functools.partial(own.put, truth)
            timed(schedule, lambda: getattr(candidate, stage)(n, weights, put))
            own.settle(truth.taps)
        weights.drop()
        report(f"{stage} {'' if n is None else n}")
    return truth.digest, distances, seconds


def run(schedule, *arguments):
    if schedule.name.startswith("transformers"):
        return full_transformers.TransformersRun(schedule, *arguments)
    return full_schedules.Run(schedule, *arguments)


# Results


def rounded_up(x):
    """x to 3 digits, not below it; None if it is not finite."""
    if not math.isfinite(x):
        return None
    if x == 0:
        return 0
    unit = 10.0 ** (math.floor(math.log10(x)) - 2)
    return float(f"{math.ceil(x / unit * (1 - 1e-12)) * unit:.2e}")


def short(x):
    """A number in as few characters as JSON allows."""
    if x is None:
        return "null"
    digits, _, exponent = f"{x:.2e}".partition("e")
    digits = digits.rstrip("0").rstrip(".")
    return digits if x == 0 else f"{digits}e{int(exponent)}"


def largest(numbers):
    return None if None in numbers else max(numbers)


def write_envelope(path, head, distances):
    """JSON, a list a line: of each arithmetic the relF of every schedule at every tap, and the largest
    worst row and max/RMS of any.
    """
    taps = list(next(iter(distances.values())).taps)
    lines = ["{", *(f"{json.dumps(key)}:{json.dumps(value)}," for key, value in head.items())]
    lines += [f'"taps":{json.dumps(taps, separators=(",", ":"))},', '"arithmetics":{']

    def row(key, numbers, comma):
        lines.append(f'"{key}":[{",".join(short(x) for x in numbers)}]{comma}')

    arithmetics = list(dict.fromkeys(schedule.arithmetic for schedule in distances))
    for arithmetic in arithmetics:
        own = {s.name: d.taps for s, d in distances.items() if s.arithmetic == arithmetic}
        columns = {name: [[rounded_up(x) for x in d[tap]] for tap in taps] for name, d in own.items()}
        lines.append(f'"{arithmetic}":{{"relF":{{')
        for name, values in columns.items():
            row(name, [x[0] for x in values], "," if name != list(columns)[-1] else "},")
        for n, key in ((1, "worstRow"), (2, "maxOverRMS")):
            most = [largest([values[tap][n] for values in columns.values()]) for tap in range(len(taps))]
            row(key, most, "," if n == 1 else "}" + ("" if arithmetic == arithmetics[-1] else ","))
    path.write_text("\n".join([*lines, "}}"]) + "\n")


# Inputs and the program


def inputs(folder):
    """Tokens, the pixels of each image, float32 [3, height, width], and the rows that a case keeps."""
    kept = {}
    if (folder / "expected.safetensors").exists():
        expect = json.loads((folder / "case.json").read_text())["expect"]
        tokens, kept = expect["tokens"], expect["rows"]
        tensors = load_file(folder / "expected.safetensors")
    else:
        tokens = json.loads((folder / "tokens.json").read_text())["tokens"]
        pixels = folder / "pixels.safetensors"
        tensors = load_file(pixels) if pixels.exists() else {}
    count = sum(name.startswith("image") for name in tensors)
    return tokens, [tensors[f"image{n}"] for n in range(count)], kept


def wanted(device, names):
    """The schedules that can be run here, of these arithmetics or ARITHMETIC/NAME; of all without."""
    schedules = full_schedules.schedules()
    if transformers is not None:
        schedules += [s for s in full_transformers.schedules() if device == "cuda" or s.arithmetic != "tf32"]
    order = list(full_schedules.DTYPES)
    schedules.sort(key=lambda schedule: order.index(schedule.arithmetic))
    if names is None:
        return schedules
    return [s for s in schedules if s.arithmetic in names or f"{s.arithmetic}/{s.name}" in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help="requests; all folders of INPUTS without")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--layers", type=int, default=1 << 20, help="of each part, for a trial")
    parser.add_argument("--schedules", nargs="*", help="arithmetics, or ARITHMETIC/SCHEDULE; all without")
    arguments = parser.parse_args()
    schedules = wanted(arguments.device, arguments.schedules)
    head = {
        "model": arguments.model,
        "torch": torch.__version__,
        "transformers": transformers.__version__ if transformers else None,
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "tf32": "the device's" if arguments.device == "cuda" else "emulated",
    }
    for name in arguments.names or sorted(folder.name for folder in arguments.inputs.iterdir()):
        out = arguments.out / name
        if (out / "envelope.json").exists():
            continue
        begin = time.perf_counter()

        def report(text):
            if sys.stderr.isatty():
                seconds = time.perf_counter() - begin
                print(f"\r\x1b[K{name}: {seconds:5.0f} s  {text}", end="", file=sys.stderr, flush=True)

        tokens, images, kept = inputs(arguments.inputs / name)
        with torch.inference_mode():
            digest, distances, seconds = compute(
                MODELS[arguments.model],
                tokens,
                images,
                kept,
                schedules,
                arguments.device,
                arguments.layers,
                report,
            )
        out.mkdir(parents=True, exist_ok=True)
        digest.write(out / "digest.safetensors")
        write_envelope(out / "new.json", head, distances)
        os.replace(out / "new.json", out / "envelope.json")
        report("")
        print(f"{name}: {len(tokens)} tokens, {time.perf_counter() - begin:.1f} s", flush=True)
        print("  " + ", ".join(f"{key} {value:.1f}" for key, value in seconds.items()), flush=True)
        if arguments.device == "cuda":
            print(f"  {torch.cuda.max_memory_allocated() / 1e9:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
