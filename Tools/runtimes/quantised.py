"""Judges llama.cpp on quantised weights: what its arithmetic does apart from what the weights' representation does.

    .build/runtimes/llama-cpp/venv/bin/python Tools/runtimes/quantised.py [q8_0 q4_k_m] [--binary FILE] [--plant]

The checkpoint is seeded:small. llama-quantize makes a GGUF file of it; gguf-py, which is Python and shares no code with
llama.cpp's kernels, makes its weights float32 again, and these are a checkpoint in Mistral's layout for pixtral-ref.

*Arithmetic*, passed, undecided or failed: llama.cpp beside pixtral-ref's float32 run on those very weights. llama.cpp
rounds the rows that go into a product with quantised weights to 8 bits (Q8_0, Q8_K), and that is no mistake but the
method. So there are three questions:

1. Operations. `pixtral-ref compare --checkpoint` computes each operation anew from llama.cpp's own inputs. Off by
   themselves in float32 may be only the products of quantised weights. Judged on model/small/text, of which the
   limits are; what is off on longer texts, where the angles of rotations grow, is reported beside it.
2. Products. Each of these is computed anew in float64 from llama.cpp's own input, rounded to 8 bits by the rule of
   ggml-quants.c, written here in NumPy. The noise is what other right roundings make of it: ties to even or away from
   zero, a factor that is divided or multiplied by, sums of blocks in float32. A weight of Q4_K is a scaled integer less
   a minimum, and kernels sum these two parts apart in float32, though either may be many times their difference: so
   does the noise, in three orders. Judged whole, and column by column, for a column is a row of the weight and a wrong
   block is in one row.
3. The whole run, chained, on texts (the vision encoder is not quantised, and has a run of its own). The noise at a tap
   is how far the NumPy oracle is from itself when it rounds rows to 8 bits, the most of these roundings and texts.

Close up to 2 × noise, FAR above 8 times, as Trace.md has it. Token embeddings are looked up, so they must be the
dequantised ones to the last bit.

*Representation*, reported and never failed: pixtral-ref on the original weights beside pixtral-ref on the dequantised
ones. The mean over positions of KL(original ‖ dequantised) in nats, with a 95% interval by resampling requests, apart
for positions in texts, in images and in texts behind an image; and how often the likeliest token is the same, where its
margin exceeds twice what float32 changes of a logit.

--plant makes a mistake in one block's scale, once in the GGUF file that llama.cpp loads and once in the dequantised
checkpoint, and exits with 1 unless both are found. Reports go to Fixtures/runtimes/quantised.
"""

import argparse
import contextlib
import datetime
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")  # before numpy
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
for folder in (HERE / "llama_cpp", ROOT / "Fixtures" / "oracle", ROOT / "Tools" / "checks"):
    sys.path.insert(0, str(folder))

import numpy as np  # noqa: E402
import oracle  # noqa: E402
from checkpoint import open_checkpoint  # noqa: E402
from llama import SOURCES, Driver, convert  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

import faults  # noqa: E402

sys.path.insert(0, str(SOURCES / "gguf-py"))
from gguf import GGUFReader  # noqa: E402
from gguf.quants import Q4_K, dequantize  # noqa: E402

CLOSE, FAR = 2, 8
ACTIVATIONS = {
    "Q8_0": "Q8_0",
    "Q4_K": "Q8_K",
    "Q6_K": "Q8_K",
}  # what a row is rounded to, by the weight's type
LAYER = {"attn_q": "attention.wq", "attn_k": "attention.wk", "attn_v": "attention.wv", "attn_output": "attention.wo",
         "ffn_gate": "feed_forward.w1", "ffn_down": "feed_forward.w2", "ffn_up": "feed_forward.w3",
         "attn_norm": "attention_norm", "ffn_norm": "ffn_norm"}  # fmt: skip
WHOLE = {"token_embd.weight": "tok_embeddings.weight", "output_norm.weight": "norm.weight",
         "output.weight": "output.weight"}  # fmt: skip
PRODUCTS = {"attention.q": ("attention_norm", "attention.wq"), "attention.k": ("attention_norm", "attention.wk"),
            "attention.v": ("attention_norm", "attention.wv"), "attention.output": ("attention.context", "attention.wo"),
            "feed_forward.gate": ("ffn_norm", "feed_forward.w1"), "feed_forward.up": ("ffn_norm", "feed_forward.w3"),
            "feed_forward.output": ("feed_forward.hidden", "feed_forward.w2")}  # fmt: skip
CHUNK, REQUESTS = 8, 48  # requests of a pass, and in all
IMAGE_TOKENS = (10, 14, 15)


# Weights


def mistral_name(name):
    """GGUF's name of a tensor in Mistral's layout."""
    if name in WHOLE:
        return WHOLE[name]
    _, layer, part, _ = name.split(".")
    return f"layers.{layer}.{LAYER[part]}.weight"


def dequantised(gguf, original, out):
    """Writes OUT, a checkpoint: the text's weights of a GGUF file as float32, the vision encoder's of the original.

    Returns the GGUF type of each tensor by its name in Mistral's layout.
    """
    tensors = {name: original.rows(name, 0, shape[0]).reshape(shape).astype("<f4") for name, shape in
               original.shapes.items() if name.startswith("vision")}  # fmt: skip
    types = {}
    for tensor in GGUFReader(gguf).tensors:
        name = mistral_name(tensor.name)
        types[name] = tensor.tensor_type.name
        tensors[name] = dequantize(tensor.data, tensor.tensor_type).reshape(original.shapes[name])
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: np.ascontiguousarray(x, "<f4") for name, x in tensors.items()},
        out / "consolidated.safetensors",
    )
    (out / "params.json").write_text(json.dumps(original.params))
    return types


def minima_of(gguf):
    """What Q4_K takes off each weight, by the tensor's name: [rows, width], float64, one value for 32 columns."""
    found = {}
    for tensor in GGUFReader(gguf).tensors:
        if tensor.tensor_type.name == "Q4_K":
            # A block of 144 bytes: d and dmin in float16, 8 scales and 8 minima of 6 bits in 12 bytes, 256 of 4 bits.
            rows = len(tensor.data)
            blocks = tensor.data.reshape(-1, 144)
            dmin = np.ascontiguousarray(blocks[:, 2:4]).view("<f2").astype(np.float64)
            _, minima = Q4_K.get_scale_min(np.ascontiguousarray(blocks[:, 4:16]))
            found[mistral_name(tensor.name)] = np.repeat((dmin * minima).reshape(rows, -1), 32, axis=1)
    return found


def plant_in_gguf(gguf, out):
    """A copy of a GGUF file in which the scale of one block, of the third row of layer 1's w2, is 1.25 times as large."""
    shutil.copy(gguf, out)
    (tensor,) = (t for t in GGUFReader(gguf).tensors if t.name == "blk.1.ffn_down.weight")
    rows = np.memmap(out, "u1", "r+", tensor.data_offset, tensor.data.shape)
    # Q8_0: d stands first of 34 bytes. Q4_K: first of 144; Q6_K: last of 210.
    at = {"Q8_0": 34, "Q4_K": 144, "Q6_K": 210}[tensor.tensor_type.name]
    scale = slice(at + 208, at + 210) if tensor.tensor_type.name == "Q6_K" else slice(at, at + 2)
    rows[2, scale] = np.frombuffer((rows[2, scale].view("<f2") * np.float16(1.25)).tobytes(), "u1")
    rows.flush()


def plant_in_checkpoint(folder, out):
    """The same mistake in a dequantised checkpoint: 32 columns of one row, whose scale was read as 1.25 times as large."""
    shutil.copytree(folder, out)
    tensors = load_file(folder / "consolidated.safetensors")
    tensors["layers.1.feed_forward.w2.weight"][2, 32:64] *= 1.25
    save_file(tensors, out / "consolidated.safetensors")


# Rows rounded to 8 bits, ggml-quants.c: quantize_row_q8_0_ref, quantize_row_q8_K_ref


def rounded(x, kind, even=True, divided=True):
    """x [n, w] float32 as KIND holds it, float64: integers to 127, and a scale of each block, in float16 for Q8_0.

    - even: ties go to the even integer, else away from zero. divided: the factor is 1 / d, else 127 / largest.
    """
    size = 32 if kind == "Q8_0" else 256
    blocks = x.astype(np.float32).reshape(len(x), -1, size)
    at = np.abs(blocks).argmax(axis=2)[..., None]
    largest = np.take_along_axis(blocks, at, axis=2)
    top = np.abs(largest) if kind == "Q8_0" else -largest
    d = top / np.float32(127)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.float32(1) / d if divided and kind == "Q8_0" else np.float32(127) / top
    scaled = np.where(top == 0, np.float32(0), blocks * factor)
    whole = np.rint(scaled) if even else np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    with np.errstate(divide="ignore"):
        d = d.astype(np.float16) if kind == "Q8_0" else np.where(top == 0, 0, np.float32(1) / factor)
    return (np.clip(whole, -127, 127).astype(np.float64) * d.astype(np.float64)).reshape(x.shape)


ROUNDINGS = [dict(even=even, divided=divided) for even in (True, False) for divided in (True, False)]


def product(x, w):
    return x @ w.T


def summed(x, w, columns):
    """A product whose sums are float32: exact within a step, step after step in a lane, and lanes at last.

    - x: [n, width], w: [rows, width], both float64. columns: [lanes, steps, size], which columns are of which.
    """
    total = np.zeros((len(x), len(w)), np.float32)
    for lane in columns:
        part = np.zeros_like(total)
        for step in lane:
            part += (x[:, step] @ w[:, step].T).astype(np.float32)
        total += part
    return total


def product_in_blocks(x, w):
    """Blocks of 32 in float32, as a kernel without wide sums has them."""
    return summed(x, w, np.arange(x.shape[1]).reshape(1, -1, 32)).astype(np.float64)


def products_apart(x, w, minima):
    """Of weights that are Q4_K, in three orders: what is scaled and what is taken off, each summed in float32, then the difference.

    Integers are exact in two of a super-block's parts of 32, or in the whole of 256; or lanes have 4 columns of each part.
    Q6_K needs none of this where 32 is taken off in integers, as the kernel for x86 does.
    """
    width, scaled = np.arange(x.shape[1]), w + minima
    lanes = width.reshape(-1, 8, 8, 4).transpose(2, 0, 1, 3).reshape(8, -1, 32)
    for columns in (width.reshape(1, -1, 64), width.reshape(1, -1, 256), lanes):
        yield (summed(x, scaled, columns) - summed(x, minima, columns)).astype(np.float64)


# Judging


def ratio(a, e, axis=None):
    """‖a − e‖ / ‖e‖, over all, or of each column."""
    size = np.linalg.norm(e, axis=axis)
    return np.linalg.norm(a - e, axis=axis) / np.where(size == 0, 1, size)


def verdict(times):
    """Of a distance in units of noise; NaN fails."""
    return "passed" if times <= CLOSE else "undecided" if times <= FAR else "failed"


def worst(verdicts):
    return max(verdicts, key=["passed", "undecided", "failed"].index, default="passed")


def judge_product(found, x, w, kind, minima=None):
    """A product beside the same from its own input: distance, noise and verdict, whole and of the worst column.

    - minima: those of a weight that is Q4_K.
    """
    expected = product(rounded(x, kind), w)
    others = [product(rounded(x, kind, **rounding), w) for rounding in ROUNDINGS[1:]]
    others.append(product_in_blocks(rounded(x, kind), w))
    if minima is not None:
        others.extend(products_apart(rounded(x, kind), w, minima))
    whole, whole_noise = ratio(found, expected), max(ratio(other, expected) for other in others)
    columns = ratio(found, expected, axis=0)
    column_noise = max(ratio(other, expected, axis=0).max() for other in others)
    column = int(columns.argmax())
    return {
        "distance": whole, "noise": whole_noise, "column": column, "column_distance": columns[column],
        "column_noise": column_noise, "float_distance": ratio(found, product(x.astype(np.float64), w)),
        "verdict": worst([verdict(whole / whole_noise), verdict(columns[column] / column_noise)]),
    }  # fmt: skip


def products(taps, checkpoint, types, minima):
    """Each product of quantised weights that TAPS has, by its tap."""
    found, layers = {}, checkpoint.params["n_layers"]
    wanted = {f"decoder.layers.{n}.{tap}": (f"decoder.layers.{n}.{x}", f"layers.{n}.{w}.weight")
              for n in range(layers) for tap, (x, w) in PRODUCTS.items()}  # fmt: skip
    for tap, (x, name) in (wanted | {"logits": ("decoder.norm", "output.weight")}).items():
        if types[name] in ACTIVATIONS:
            weight = checkpoint.rows(name, 0, checkpoint.shapes[name][0])
            found[tap] = judge_product(taps[tap], taps[x], weight, ACTIVATIONS[types[name]], minima.get(name))
    return found


def rounding_linear(types, rounding):
    """oracle.linear with rows rounded to 8 bits where the weight is quantised."""
    right = oracle.linear

    def linear(x, checkpoint, name):
        kind = ACTIVATIONS.get(types.get(name))
        return right(rounded(x, kind, **rounding) if kind else x, checkpoint, name)

    return linear


def run_oracle(checkpoint, tokens, linear=None):
    """Every tap of a text, float64, by NumPy."""
    taps = {}
    names = [
        tap
        for tap in oracle.tap_names(checkpoint.params, False)
        if tap.split(".")[-1] not in ("scores", "weights")
    ]
    trace = oracle.Trace(taps.__setitem__, names)
    with faults.patched(linear=linear) if linear else contextlib.nullcontext():
        oracle.forward(checkpoint, tokens, [], trace)
    return taps


def chained_noise(checkpoint, texts, types):
    """Of each tap how far right runs with rows of 8 bits are from one without."""
    noise = {}
    for tokens in texts:
        plain = run_oracle(checkpoint, tokens)
        for rounding in (ROUNDINGS[0], ROUNDINGS[-1]):
            for tap, x in run_oracle(checkpoint, tokens, rounding_linear(types, rounding)).items():
                noise[tap] = max(noise.get(tap, 0), ratio(x, plain[tap]))
    return noise


class Bench:
    """Programs and files of one call."""

    def __init__(self, binary, scratch):
        self.binary, self.scratch = str(binary), Path(scratch)
        self.driver = Driver()

    def pixtral(self, *arguments, codes=(0,)):
        done = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode not in codes:
            sys.exit(f"pixtral-ref {arguments[0]} ended with {done.returncode}: {done.stderr[-1000:]}")
        return done.stdout

    def llama(self, gguf, mmproj, prompts):
        """Taps of prompts, float32: (tokens, images) each."""
        self.driver.ask("load", text=str(gguf), mmproj=str(mmproj), kv="f32", flash=False)
        for tokens, images in prompts:
            yield self.driver.run(tokens, images, str(self.scratch / "taps"))

    def reference(self, checkpoint, tokens):
        """pixtral-ref's trace of a text: its folder."""
        (self.scratch / "tokens.json").write_text(json.dumps(tokens))
        out = self.scratch / "reference"
        self.pixtral(
            "trace", "--checkpoint", checkpoint, "--tokens", self.scratch / "tokens.json", "--out", out
        )
        return out

    def arithmetic(self, gguf, mmproj, checkpoint, types, prompts, noise):
        """The three questions, as the docstring above has them."""
        opened, minima = open_checkpoint(checkpoint), minima_of(gguf)
        quantised = set()
        report = {
            "operations_off": set(),
            "operations_off_longer": set(),
            "products": {},
            "chained": {},
            "embeddings_equal": True,
        }
        for (tokens, images), taps in zip(prompts, self.llama(gguf, mmproj, prompts), strict=True):
            for tap, judged in products(taps, opened, types, minima).items():
                quantised.add(tap)
                old = report["products"].get(tap)
                times = max(
                    judged["distance"] / judged["noise"], judged["column_distance"] / judged["column_noise"]
                )
                if not old or times > old["times"]:
                    report["products"][tap] = judged | {"times": times}
            table = opened.rows("tok_embeddings.weight", 0, opened.params["vocab_size"])
            looked_up = [n for n, token in enumerate(tokens) if token not in IMAGE_TOKENS[:2]]
            same = np.array_equal(taps["decoder.embeddings"][looked_up], table[np.array(tokens)[looked_up]])
            report["embeddings_equal"] &= same
            if images:
                continue
            out = self.reference(checkpoint, tokens)
            save_file(taps, self.scratch / "candidate.safetensors")
            said = json.loads(self.pixtral("compare", out, self.scratch / "candidate.safetensors", "--arithmetic",
                                           "float32", "--checkpoint", checkpoint, "--json", codes=(0, 1)))  # fmt: skip
            key = "operations_off" if tokens is prompts[0][0] else "operations_off_longer"
            report[key] |= set(said["off_by_themselves"] or [])
            for entry in said["taps"]:
                tap, distance = entry["name"], entry["relF"] if entry["relF"] is not None else np.nan
                old = report["chained"].get(tap, {"distance": -1})
                if not distance <= old["distance"]:
                    report["chained"][tap] = {"distance": distance, "noise": noise[tap]}
        for key in ("operations_off", "operations_off_longer"):
            report[key] = sorted(report[key] - quantised)
        chained = [verdict(entry["distance"] / entry["noise"]) for tap, entry in report["chained"].items()
                   if tap not in ("decoder.embeddings", "decoder.layers.0.attention_norm")]  # fmt: skip
        report["verdicts"] = {
            "operations": "failed" if report["operations_off"] else "passed",
            "embeddings": "passed" if report["embeddings_equal"] else "failed",
            "products": worst(entry["verdict"] for entry in report["products"].values()),
            "chained": worst(chained),
        }
        report["verdict"] = worst(report["verdicts"].values())
        return report

    # Representation

    def logits(self, checkpoint, requests, precision="float32"):
        """Tokens and logits of requests: (id, tokens, [n, vocabulary])."""
        lines = [json.dumps({"id": n, "request": request}) for n, request in enumerate(requests)]
        (self.scratch / "requests.jsonl").write_text("\n".join(lines) + "\n")
        out = self.scratch / "many"
        shutil.rmtree(out, ignore_errors=True)
        self.pixtral("trace", "--checkpoint", checkpoint, "--requests", self.scratch / "requests.jsonl", "--taps",
                     "logits", "--precision", precision, "--out", out)  # fmt: skip
        for n in range(len(requests)):
            tokens = json.loads((out / str(n) / "trace.json").read_text())["tokens"]
            yield tokens, load_file(out / str(n) / "trace.safetensors")["logits"]

    def representation(self, original, checkpoint, requests):
        """KL and agreement a class of position."""
        sample = requests[:2]
        double = list(self.logits(original, sample, "float64"))
        single = list(self.logits(original, sample))
        noise = 2 * max(float(np.abs(a - b).max()) for (_, a), (_, b) in zip(double, single, strict=True))
        rows = []  # (request, class, KL, margin is decided, same)
        for start in range(0, len(requests), CHUNK):
            part = requests[start : start + CHUNK]
            before = list(self.logits(original, part))
            for n, ((tokens, p), (_, q)) in enumerate(
                zip(before, self.logits(checkpoint, part), strict=True)
            ):
                for position, entry in enumerate(positions(tokens, p, q, noise)):
                    rows.append((start + n, *entry))
            print(f"  {min(start + CHUNK, len(requests))} of {len(requests)} requests", file=sys.stderr)
        report = {"positions": len(rows), "requests": len(requests), "margin": noise, "classes": {}}
        for name in ("all", "text", "image", "behind an image"):
            chosen = [row for row in rows if name in ("all", row[1])]
            report["classes"][name] = summary(chosen)
        return report


def positions(tokens, p, q, noise):
    """Of each position its class, KL(p ‖ q) in nats, whether p's margin exceeds the noise, and whether the top is one."""
    seen = False
    for start in range(0, len(tokens), 64):
        a, b = (log_softmax(x[start : start + 64].astype(np.float64)) for x in (p, q))
        divergences = np.sum(np.exp(a) * (a - b), axis=1)
        two = np.sort(a, axis=1)[:, -2:]
        same = a.argmax(axis=1) == b.argmax(axis=1)
        for n, token in enumerate(tokens[start : start + 64]):
            seen = seen or token in IMAGE_TOKENS
            name = "image" if token in IMAGE_TOKENS else "behind an image" if seen else "text"
            yield name, float(divergences[n]), bool(two[n, 1] - two[n, 0] > noise), bool(same[n])


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def summary(rows, draws=2000):
    """Means of a class with 95% intervals: requests are drawn again, with all their positions."""
    requests = sorted({row[0] for row in rows})
    index = {request: n for n, request in enumerate(requests)}
    sums = np.zeros((len(requests), 4))  # KL, positions; same, decided
    for request, _, divergence, decided, same in rows:
        sums[index[request]] += divergence, 1, same and decided, decided
    drawn = np.random.default_rng(2411).integers(0, len(requests), (draws, len(requests)))
    totals = sums[drawn].sum(axis=1)

    def interval(top, bottom):
        return [float(x) for x in np.percentile(totals[:, top] / totals[:, bottom], (2.5, 97.5))]

    total = sums.sum(axis=0)
    return {"positions": len(rows), "requests": len(requests), "kl": total[0] / total[1], "kl_interval": interval(0, 1),
            "decided": int(total[3]), "same_top": total[2] / total[3], "same_top_interval": interval(2, 3)}  # fmt: skip


def corpus_requests(count):
    """The first requests of tokens/request/corpus that are right: every other has images, if there are so many."""
    apart = {True: [], False: []}
    for line in (ROOT / "Fixtures/cases/tokens/request/corpus.jsonl").open(encoding="utf-8"):
        case = json.loads(line)
        if (tokens := case["expect"].get("tokens")) and isinstance(case["inputs"]["request"], dict):
            apart[10 in tokens].append((case["inputs"]["request"], tokens))
    return [request for pair in zip(apart[True], apart[False], strict=False) for request, _ in pair][:count]


def small(report):
    """The report as it is kept: of the products and taps the worst, and numbers of three digits."""

    def short(value):
        if isinstance(value, dict):
            return {key: short(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [short(entry) for entry in value]
        return float(f"{value:.3g}") if isinstance(value, (float, np.floating)) else value

    arithmetic = report["arithmetic"]
    worst_product = max(arithmetic["products"].items(), key=lambda item: item[1]["times"])
    steps = [(tap, entry) for tap, entry in arithmetic["chained"].items() if entry["noise"]]
    worst_tap = max(steps, key=lambda item: item[1]["distance"] / item[1]["noise"])
    kept = {
        key: arithmetic[key] for key in ("verdict", "verdicts", "operations_off", "operations_off_longer")
    }
    kept["worst_product"] = {"tap": worst_product[0]} | worst_product[1]
    kept["worst_chained"] = {"tap": worst_tap[0]} | worst_tap[1]
    kept["logits"] = arithmetic["chained"]["logits"]
    kept["product_noise"] = [
        f([entry["noise"] for entry in arithmetic["products"].values()]) for f in (min, max)
    ]
    kept["activation_distance"] = [
        f([e["float_distance"] for e in arithmetic["products"].values()]) for f in (min, max)
    ]
    return short(report | {"arithmetic": kept})


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "kinds", nargs="*", default=["q8_0", "q4_k_m"], help="types that llama-quantize knows"
    )
    parser.add_argument(
        "--binary", type=Path, default=ROOT / ".build/release/pixtral-ref", help="pixtral-ref"
    )
    parser.add_argument(
        "--plant", action="store_true", help="make a mistake, and find it; no report is written"
    )
    parser.add_argument("--requests", type=int, default=REQUESTS, help="for the representation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench, found = Bench(options.binary.resolve(), scratch), True
        for kind in options.kinds:
            found &= judge(bench, kind, options)
    return 0 if found else 1


def judge(bench, kind, options):
    began, scratch = time.monotonic(), bench.scratch
    original = scratch / "original"
    bench.pixtral("checkpoint", "write", "seeded:small", "--layout", "mistral", "--out", original)
    gguf, mmproj = convert(original, scratch / "gguf", kind)
    opened = open_checkpoint(original)
    folder = scratch / f"dequantised-{kind}"
    types = dequantised(gguf, opened, folder)
    plain = dequantised(scratch / "gguf" / "text-f32.gguf", opened, scratch / "plain")
    whole = load_file(scratch / "plain" / "consolidated.safetensors")
    for name in plain:  # the converter itself changes nothing
        assert np.array_equal(
            whole[name], opened.rows(name, 0, len(whole[name])).reshape(whole[name].shape)
        ), name
    text = json.loads((ROOT / "Fixtures/cases/model/small/text/case.json").read_text())["expect"]["tokens"]
    case = ROOT / "Fixtures/cases/model/small/image"
    shown = json.loads((case / "case.json").read_text())["expect"]["tokens"]
    image = load_file(case / "expected.safetensors")["image0"]
    others = [tokens_of(line) for line in corpus_texts(2)]
    prompts = [(text, []), *((tokens, []) for tokens in others), (shown, [image])]
    noise = chained_noise(
        open_checkpoint(folder), [tokens for tokens, images in prompts if not images], types
    )

    if options.plant:
        planted = scratch / f"planted-{kind}.gguf"
        plant_in_gguf(gguf, planted)
        plant_in_checkpoint(folder, scratch / f"planted-{kind}")
        results = [bench.arithmetic(planted, mmproj, folder, types, prompts, noise),
                   bench.arithmetic(gguf, mmproj, scratch / f"planted-{kind}", types, prompts, noise)]  # fmt: skip
        for where, result in zip(("the GGUF file", "the dequantised checkpoint"), results, strict=True):
            tap, entry = max(result["products"].items(), key=lambda item: item[1]["times"])
            print(f"{kind}, a block of layers.1.feed_forward.w2, row 2, with 1.25 times its scale in {where}: "
                  f"{result['verdict']}, {result['verdicts']}, worst {tap} row {entry['column']}, "
                  f"{entry['times']:.0f} times the noise")  # fmt: skip
        return all(result["verdict"] == "failed" for result in results)

    arithmetic = bench.arithmetic(gguf, mmproj, folder, types, prompts, noise)
    print(
        f"{kind}: arithmetic {arithmetic['verdict']} {arithmetic['verdicts']} {arithmetic['operations_off']}",
        file=sys.stderr,
    )
    representation = bench.representation(original, folder, corpus_requests(options.requests))
    manifest = json.loads((ROOT / "Fixtures/manifest.json").read_text())
    report = small({
        "run": f"llama-cpp-{kind}", "runtime": "llama.cpp", "version": "0c1e570 (llama-cpp-python 0.3.36)", "kind": kind,
        "types": {name: sum(t == name for t in types.values()) for name in sorted(set(types.values()))},
        "checkpoint": "seeded:small", "suite": manifest["version"], "date": datetime.date.today().isoformat(),
        "arithmetic": arithmetic, "representation": representation, "seconds": round(time.monotonic() - began),
    })  # fmt: skip
    out = ROOT / "Fixtures/runtimes/quantised"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"llama-cpp-{kind}.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(report, indent=1), file=sys.stdout)
    return True


@functools.cache
def corpus_texts(count):
    """Prompts without images of the corpus, of 100 to 300 tokens, so that the whole is quick."""
    found = []
    for line in (ROOT / "Fixtures/cases/tokens/request/corpus.jsonl").open(encoding="utf-8"):
        tokens = json.loads(line)["expect"].get("tokens") or []
        if 10 not in tokens and 100 <= len(tokens) <= 300:
            found.append(tuple(tokens))
        if len(found) == count:
            return found


def tokens_of(line):
    return list(line)


if __name__ == "__main__":
    sys.exit(main())
