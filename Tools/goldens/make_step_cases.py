"""Makes Fixtures/cases/steps: one operation or stage of the model on golden inputs, a suite a stage.

    python make_step_cases.py [--new | --widen] [STAGE ...]

The answers are the float64 oracle's (Fixtures/oracle/steps.py); PyTorch in float64 is the witness, by other
operations (step_schedules.py). Inputs and weights are exact in bfloat16, so that every arithmetic has
the same ones, but are stored as float32. A case has

- how far right runs are from the answer: each schedule of each arithmetic, and the farthest of RANDOM runs
  in which each operation takes a random one;
- `faults`: how far every mistake of Docs/Faults.md moves the answer that this stage can have and that
  shows in float32; `hides`: those which cannot be seen in it, in any arithmetic.

--new makes the cases that are not there yet and leaves the others as they are: on another processor the
last digits of what is measured are others.

--widen measures the cases that are there again, on the stored inputs and answers, and keeps of each
schedule the larger of the old and the new distance: PyTorch's own operations (`library`, and `mixed` with
it) differ by processor. gelu and adapter hold the larger of two processors (2026-11-30).

Prints for each fault its cases: relF over the noise in float32 and in bfloat16. Exit 1 if one has fewer than
two, none that decides it in bfloat16 (UNDECIDED says why), or none that hides it.
"""

import argparse
import hashlib
import math
import platform
import sys
import zlib

import make_goldens  # noqa: F401 - sets OPENBLAS_NUM_THREADS before numpy is loaded
import numpy as np
import step_schedules
import suites
import torch
from make_noise import BITS, rounded_up
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(suites.CASES.parent.parent / "Tools" / "checks"))
import faults  # noqa: E402
import steps  # noqa: E402

RANDOM = 40  # random runs of each arithmetic
LIBRARIES = 8  # runs whose functions are off by other units
CLOSE, FAR = 2, 8  # times the noise
SINCE = "0.3"
# Faults that no case can decide in bfloat16, and why.
UNDECIDED = {
    "A-tanh": "in bfloat16 1 + erf(x / √2) cancels: of all inputs −2.890625 shows it best, 5 times the noise"
}
TAPS = {
    "rms_norm": "attention_norm",
    "rotary": "attention.q_rotated",
    "rotary_2d": "attention.q_rotated",
    "attention": "attention.context",
    "silu_product": "feed_forward.hidden",
    "gelu": "adapter.gelu",
    "patch_conv": "vision.patch_conv",
    "vision_layer": "output",
    "adapter": "adapter.w_out",
    "splice": "decoder.embeddings",
    "decoder_layer": "output",
    "head": "logits",
    "prefill": "output",
}
SECTIONS = {
    "rms_norm": "3.1", "rotary": "3.2 and 7.3", "rotary_2d": "3.2 and 5.3", "attention": "3.3",
    "silu_product": "3.4", "gelu": "3.5", "patch_conv": "5.1", "vision_layer": "3.6 and 5", "adapter": "6.1",
    "splice": "6.2", "decoder_layer": "3.6 and 7", "head": "7.5", "prefill": "3.6 and 7",
}  # fmt: skip


# Inputs


def exact(x):
    """The nearest values of bfloat16, in float32."""
    return torch.tensor(np.asarray(x, dtype=np.float64)).to(torch.bfloat16).float().numpy()


def drawn(name, *shape, scale=1.0, mean=0.0):
    return exact(np.random.default_rng(zlib.crc32(name.encode())).normal(mean, scale, shape))


def weight(name, *shape, gain=1.0):
    return drawn(name, *shape, scale=gain / math.sqrt(math.prod(shape[1:])))


def norm_weight(name, width):
    return exact(np.random.default_rng(zlib.crc32(name.encode())).uniform(0.5, 1.5, width))


def layer_weights(name, width, queries, keys, hidden, gain=1.0):
    """- gain: how much larger the product of the feed-forward branch is than usual."""
    shapes = {
        "attention.wq": (queries, width),
        "attention.wk": (keys, width),
        "attention.wv": (keys, width),
        "attention.wo": (width, queries),
        "feed_forward.w1": (hidden, width),
        "feed_forward.w3": (hidden, width),
        "feed_forward.w2": (width, hidden),
    }
    gains = {"attention.wq": 1.5, "attention.wk": 1.5, "feed_forward.w1": 1.5, "feed_forward.w2": gain}
    result = {
        f"{key}.weight": weight(f"{name} {key}", *shape, gain=gains.get(key, 1))
        for key, shape in shapes.items()
    }
    for key in ("attention_norm", "ffn_norm"):
        result[f"{key}.weight"] = norm_weight(f"{name} {key}", width)
    return result


def grid(rows, columns):
    return {"columns": columns, "rows": rows}


# The cases of each stage: name, title, parameters, tensors


def rms_norm():
    def case(name, title, x, eps=1e-5, w=None):
        width = x.shape[1]
        yield (
            name,
            title,
            {"eps": eps},
            {"x": x, "norm.weight": norm_weight(f"norm {width}", width) if w is None else w},
        )

    unit = drawn("unit", 5, 60)
    rows = drawn("unlike", 6, 80) * exact(10.0 ** np.linspace(-3, 1, 6)[:, None])
    outliers = drawn("outliers", 4, 60) * np.where(np.arange(60) % 17 == 3, 16, 1).astype(np.float32)
    yield from case("unit", "RMSNorm of rows of unit scale divides by their root mean square.", unit)
    yield from case("one-row", "RMSNorm takes one row alone.", drawn("row", 1, 80))
    yield from case(
        "one-column",
        "RMSNorm of rows of one column leaves their sign and the weight.",
        drawn("column", 7, 1),
        w=exact([1.25]),
    )
    yield from case(
        "small",
        "On values near 0.01 an epsilon of 1e-5 is a tenth of the mean square.",
        drawn("small", 4, 80, scale=0.01),
    )
    yield from case(
        "smaller",
        "On values near 0.003 an epsilon of 1e-5 is as large as the mean square.",
        drawn("smaller", 4, 60, scale=0.003),
    )
    yield from case(
        "tiny",
        "On values near 1e-5 nearly nothing but the epsilon divides.",
        drawn("tiny", 3, 60, scale=1e-5),
    )
    yield from case(
        "other-eps",
        "An epsilon of 1e-6 is used where the parameters say so.",
        drawn("other", 4, 60, scale=0.003),
        eps=1e-6,
    )
    yield from case("large", "On values near 8 no epsilon shows.", drawn("large", 3, 208, scale=8))
    yield from case("mean", "RMSNorm subtracts no mean.", drawn("mean", 4, 80, mean=3))
    yield from case("unlike-rows", "Each row has a root mean square of its own.", exact(rows))
    yield from case("outliers", "A few large columns make the others small.", exact(outliers))
    yield from case(
        "zeros",
        "A row of zeros stays zero.",
        np.concatenate([drawn("zeros", 1, 60), np.zeros((1, 60), np.float32)]),
    )
    yield from case(
        "signed-weight",
        "Weights may be negative, or zero, and 1 is not added to them.",
        unit,
        w=exact(np.linspace(-2, 2, 60)),
    )


def rotary():
    def case(name, title, heads, d, positions, theta=1e6):
        x = drawn(f"rotary {name}", len(positions), heads * d)
        yield name, title, {"heads": heads, "head_dim": d, "theta": theta, "positions": positions}, {"x": x}

    yield from case("queries", "Adjacent columns of each of six heads turn together.", 6, 20, list(range(7)))
    yield from case("keys", "Two key-value heads turn as the query heads do.", 2, 20, list(range(7)))
    yield from case("position-0", "A row at position 0 does not turn.", 5, 12, [0])
    yield from case("position-1", "The first pair of a row at position 1 turns by one radian.", 3, 12, [1])
    yield from case("one-pair", "A head of two columns is one pair.", 3, 2, [0, 1, 2, 30])
    yield from case(
        "near-1000", "Angles at positions near 1,000 are exact enough.", 3, 20, [998, 999, 1000, 1001, 1023]
    )
    yield from case(
        "near-100000",
        "Angles at positions near 100,000 are exact enough.",
        3,
        20,
        [99_999, 100_000, 100_001, 131_071],
    )
    yield from case(
        "any-order", "Each row turns by its own position, whatever the order.", 3, 28, [5, 3, 3, 1000, 0, 257]
    )
    yield from case(
        "theta-1e4",
        "Frequencies are powers of the theta that is given, here 1e4.",
        5,
        12,
        list(range(40)),
        1e4,
    )
    yield from case(
        "theta-1e9",
        "Frequencies are powers of the theta that is given, here 1e9.",
        3,
        20,
        list(range(0, 300, 50)),
        1e9,
    )
    yield from case("head-128", "Heads of 128 columns have 64 frequencies.", 1, 128, [0, 1, 77, 1024])


def rotary_2d():
    def case(name, title, heads, d, grids, theta=1e4):
        rows = sum(g["rows"] * g["columns"] for g in grids)
        parameters = {"heads": heads, "head_dim": d, "theta": theta, "grids": grids}
        yield name, title, parameters, {"x": drawn(f"rotary 2d {name}", rows, heads * d)}

    yield from case("one-patch", "A patch at row 0 and column 0 does not turn.", 5, 12, [grid(1, 1)])
    yield from case("one-row", "Patches of one row turn by their column only.", 5, 12, [grid(1, 5)])
    yield from case("one-column", "Patches of one column turn by their row only.", 5, 12, [grid(5, 1)])
    yield from case(
        "square", "The first angles are of the row, the others of the column.", 5, 12, [grid(3, 3)]
    )
    yield from case("oblong", "Rows and columns are counted by the grid's own width.", 3, 20, [grid(2, 5)])
    yield from case(
        "two-images", "Rows and columns begin at 0 in each image.", 5, 12, [grid(2, 3), grid(3, 1)]
    )
    yield from case(
        "odd-angles", "Of an odd number of angles the row has one more than the column.", 3, 10, [grid(3, 2)]
    )
    yield from case(
        "far", "An image is up to 64 patches long on either side.", 1, 12, [grid(64, 1), grid(1, 64)]
    )
    yield from case("head-64", "Sixteen heads of 64 columns turn as Pixtral 12B's do.", 16, 64, [grid(1, 2)])
    yield from case(
        "head-88", "Heads of 88 columns have 22 angles of the row and 22 of the column.", 2, 88, [grid(2, 3)]
    )
    yield from case(
        "theta-100", "Frequencies are powers of the theta that is given, here 100.", 3, 12, [grid(4, 4)], 1e2
    )


def attention():
    def case(name, title, heads, kv_heads, d, segments, causal, queries=None, sharp=1.0, x=None):
        keys = sum(segments)
        q = drawn(f"q {name}", queries or keys, heads * d, scale=sharp)
        k, v = drawn(f"k {name}", keys, kv_heads * d), drawn(f"v {name}", keys, kv_heads * d)
        parameters = {
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": d,
            "segments": segments,
            "causal": causal,
        }
        yield name, title, parameters, {"q": q, "k": k, "v": v} | (x or {})

    yield from case("one-row", "A row that sees itself alone takes its own v.", 5, 5, 12, [1], False)
    yield from case("one-image", "All patches of one image see one another.", 5, 5, 12, [6], False)
    yield from case(
        "two-images", "Patches of one image do not see those of another.", 5, 5, 12, [4, 6], False
    )
    yield from case(
        "three-images", "An image of one patch sees nothing of its neighbours.", 3, 3, 20, [5, 1, 3], False
    )
    yield from case("causal", "A token sees itself and those before it.", 6, 2, 20, [7], True)
    yield from case("shared-keys", "Query head h reads key-value head h / 3 of two.", 6, 2, 12, [5], True)
    yield from case("three-keys", "Query head h reads key-value head h / 2 of three.", 6, 3, 12, [5], True)
    yield from case("one-key", "All query heads read one key-value head.", 5, 1, 20, [6], True)
    yield from case(
        "packed", "Prompts that are packed into one do not see one another.", 6, 2, 12, [3, 5, 1], True
    )
    yield from case("blocks", "Rows beyond a block of 64 see every key before them.", 2, 1, 12, [75], True)
    yield from case(
        "last-rows", "Fewer queries than keys are the last of the positions.", 6, 2, 12, [9], True, queries=3
    )
    yield from case("last-row", "One query sees all keys.", 6, 3, 20, [8], True, queries=1)
    yield from case(
        "head-10", "Scores are divided by the root of head_dim, here 10.", 3, 3, 10, [6], False, sharp=4
    )
    yield from case(
        "head-128", "Scores are divided by the root of head_dim, here 128.", 2, 1, 128, [5], True, sharp=4
    )
    yield from case(
        "scores-30", "Scores of ±30 make one weight of a row nearly 1.", 3, 1, 20, [6], True, sharp=12
    )
    yield from case(
        "scores-120",
        "Scores of more than 100 do not overflow, for the row's maximum is subtracted.",
        3,
        3,
        20,
        [4, 2],
        False,
        sharp=40,
    )
    flat = {"k": exact(np.ones((6, 20)))}
    yield from case("equal-keys", "Of equal scores the weights are equal.", 3, 1, 20, [6], True, x=flat)
    large = {"q": exact(np.full((6, 60), 180))} | flat
    yield from case(
        "scores-800",
        "Scores of more than 800 do not overflow even in float64, for the row's maximum is subtracted.",
        3,
        1,
        20,
        [6],
        True,
        x=large,
    )


def silu_product():
    def case(name, title, gate, up):
        yield name, title, {}, {"gate": gate, "up": up}

    yield from case(
        "unit",
        "SiLU of the gate is multiplied with up, and not the other way round.",
        drawn("gate", 4, 52),
        drawn("up", 4, 52),
    )
    yield from case("one-value", "One value is a row and a column.", exact([[-1.5]]), exact([[2.25]]))
    yield from case(
        "negative",
        "SiLU of gates from -8 to 0 is small and negative, not zero.",
        exact(np.linspace(-8, 0, 44)[None]),
        drawn("up n", 1, 44),
    )
    yield from case(
        "both-signs",
        "SiLU of gates from -4 to 4 is neither GELU nor ReLU.",
        exact(np.linspace(-4, 4, 208)[None]),
        drawn("up b", 1, 208),
    )
    yield from case(
        "large",
        "Gates above 25 pass as they are.",
        exact(np.linspace(25, 80, 44)[None]),
        drawn("up l", 1, 44),
    )
    yield from case(
        "very-negative",
        "A gate of -80 does not overflow.",
        exact(np.linspace(-80, -2, 40)[None]),
        drawn("up v", 1, 40),
    )
    yield from case(
        "tiny",
        "Gates near 1e-6 are halved.",
        drawn("gate t", 2, 44, scale=1e-6),
        drawn("up t", 2, 44, scale=300),
    )


def gelu():
    def case(name, title, x):
        yield name, title, {}, {"x": exact(x)}

    yield from case(
        "both-signs", "GELU of values from -4 to 4 is the exact one.", np.linspace(-4, 4, 161)[None]
    )
    yield from case(
        "negative",
        "Between -4 and -2 the form with tanh is off by a twentieth.",
        np.linspace(-4, -2, 60)[None],
    )
    yield from case(
        "best-negative", "At -2.890625 the form with tanh is off by 8%.", np.full((1, 4), -2.890625)
    )
    yield from case("unit", "GELU of values of unit scale.", drawn("gelu", 4, 28))
    yield from case(
        "tiny",
        "Values near 1e-7 are halved, and are not rounded to float16.",
        drawn("gelu tiny", 2, 28, scale=1e-7),
    )
    yield from case(
        "small",
        "Values near 1e-5 are halved, and are not rounded to float16.",
        drawn("gelu small", 2, 28, scale=1e-5),
    )
    yield from case(
        "integers", "Of integers from 8 on GELU is the number itself.", np.arange(8, 40).reshape(2, 16)
    )
    yield from case("one-value", "One value is a row and a column.", [[-0.75]])
    yield from case("very-negative", "Of -12 to -6 nearly nothing is left.", np.linspace(-12, -6, 25)[None])


def patch_conv():
    def case(name, title, p, width, grids, scale=1.0, images=None):
        images = images or [
            drawn(f"pixels {name} {n}", 3, g["rows"] * p, g["columns"] * p, scale=scale)
            for n, g in enumerate(grids)
        ]
        w = weight(f"patch_conv {p} {width}", width, 3, p, p)
        yield (
            name,
            title,
            {"patch_size": p},
            {f"image{n}": x for n, x in enumerate(images)} | {"patch_conv.weight": w},
        )

    yield from case("one-patch", "A patch is flattened as channel, y, x.", 4, 20, [grid(1, 1)])
    yield from case("one-row", "Patches of one row follow one another by column.", 4, 20, [grid(1, 5)])
    yield from case("oblong", "Patches follow one another row by row.", 4, 20, [grid(3, 2)])
    yield from case(
        "two-images",
        "The patches of the second image follow those of the first.",
        4,
        20,
        [grid(2, 3), grid(3, 1)],
    )
    yield from case("patch-16", "Patches of 16 pixels have 768 samples.", 16, 12, [grid(1, 2)])
    yield from case("odd-patch", "Patches may have 5 pixels a side.", 5, 12, [grid(2, 2)])
    yield from case("tiny", "Pixels near 1e-7 are not rounded to float16.", 4, 20, [grid(2, 2)], scale=1e-7)
    yield from case("small", "Pixels near 1e-6 are not rounded to float16.", 4, 20, [grid(1, 3)], scale=1e-6)
    spot = np.zeros((3, 8, 8), np.float32)
    spot[0, 1, 6] = 1
    yield from case("one-pixel", "One red pixel shows one sample of the kernel.", 4, 20, None, images=[spot])


def vision_layer():
    def case(name, title, grids, scale=1.0, eps=1e-5, theta=1e4, shape=(36, 3, 44), gain=1.0, x=None):
        width, heads, hidden = shape
        d, rows = width // heads, sum(g["rows"] * g["columns"] for g in grids)
        parameters = {"heads": heads, "head_dim": d, "theta": theta, "eps": eps, "grids": grids}
        x = drawn(f"vision {name}", rows, width, scale=scale)
        yield (
            name,
            title,
            parameters,
            {"x": x} | layer_weights(f"vision {shape} {gain}", width, width, width, hidden, gain),
        )

    yield from case("one-patch", "A layer of the vision encoder takes an image of one patch.", [grid(1, 1)])
    yield from case("one-row", "Patches side by side differ by their column.", [grid(1, 4)])
    yield from case("one-column", "Patches below one another differ by their row.", [grid(4, 1)])
    yield from case("oblong", "A layer of the vision encoder has no causal order.", [grid(2, 3)])
    yield from case("two-images", "Two images of a layer do not see each other.", [grid(2, 2), grid(3, 1)])
    yield from case(
        "three-images",
        "Three images of a layer, one of them a patch, do not see one another.",
        [grid(1, 2), grid(1, 1), grid(2, 3)],
    )
    yield from case(
        "small", "On values near 0.003 the epsilon of both norms shows.", [grid(2, 2)], scale=0.003
    )
    yield from case(
        "other-eps",
        "The epsilon of the norms is the one that is given, here 1e-3.",
        [grid(1, 3)],
        scale=0.05,
        eps=1e-3,
    )
    yield from case(
        "other-theta",
        "The theta of the positions is the one that is given, here 100.",
        [grid(3, 3)],
        theta=100,
    )
    yield from case(
        "feed-forward", "The feed-forward branch gates with SiLU.", [grid(2, 2)], gain=20, scale=0.1
    )
    yield from case(
        "odd-heads",
        "Five heads of 12 columns make a layer of 60.",
        [grid(2, 2), grid(1, 2)],
        shape=(60, 5, 20),
    )


def adapter():
    def case(name, title, rows, scale=1.0, bias=None, width=36, out=28, gain=1.0):
        t = {"x": drawn(f"adapter {name}", rows, width, scale=scale), "w_in.weight": weight(f"w_in {gain}", out, width, gain=gain),
             "w_out.weight": weight("w_out", out, out)}  # fmt: skip
        if bias is not None:
            t |= {"w_in.bias": bias, "w_out.bias": drawn("w_out.bias", out)}
        yield name, title, {"bias": bias is not None}, t

    yield from case("unit", "Pixtral Large's adapter has no bias.", 5)
    yield from case("one-row", "The adapter takes one row alone.", 1)
    yield from case("small", "On features near 0.01 a bias of 0.02 shows at once.", 3, scale=0.01)
    yield from case("tiny", "Features near 1e-7 are not rounded to float16.", 3, scale=1e-7)
    yield from case("bias", "With biases, both are added, as in Pixtral 12B.", 4, bias=drawn("w_in.bias", 28))
    yield from case(
        "negative-bias", "Around -3 the form of GELU shows.", 3, scale=0.125, bias=exact(np.full(28, -2.9))
    )


def splice():
    def case(name, title, tokens, rows, image=10, line=14, end=15):
        t = {"tok_embeddings.weight": drawn("embeddings", 40, 28)}
        if rows:
            t["image_rows"] = drawn(f"image rows {rows}", rows, 28)
        yield (
            name,
            title,
            {
                "tokens": tokens,
                "image_token_id": image,
                "image_break_token_id": line,
                "image_end_token_id": end,
            },
            t,
        )

    line, two = [10, 10, 10, 14], [10, 10, 15]
    yield from case(
        "text",
        "Each token takes its own row of the embeddings, which are not scaled.",
        [1, 3, 27, 39, 0, 27, 4],
        0,
    )
    yield from case("one-token", "One token takes its own row.", [39], 0)
    yield from case(
        "image",
        "[IMG] takes the next image row; breaks and ends keep their own.",
        [1, 3, *line, *line[:3], 15, 20, 4],
        6,
    )
    yield from case(
        "two-images",
        "The rows of a second image follow those of the first.",
        [1, 3, *line, *line[:3], 15, 21, *two, 4],
        8,
    )
    yield from case("one-row", "An image of one row has an end and no break.", [1, 3, *two, 33, 4], 2)
    yield from case(
        "bare", "An image without breaks and ends takes its rows in order.", [3, 10, 10, 10, 4], 3
    )
    yield from case(
        "many-breaks",
        "An image of one column has a break behind each patch but the last.",
        [3, 10, 14, 10, 14, 10, 14, 10, 15],
        4,
    )
    yield from case(
        "other-ids",
        "The id of [IMG] is the one that is given, here 7.",
        [3, 7, 7, 12, 7, 7, 13, 10, 14, 15, 4],
        4,
        7,
        12,
        13,
    )


def decoder_parameters(shape, theta, eps):
    _, heads, kv_heads, d, _ = shape
    return {"heads": heads, "kv_heads": kv_heads, "head_dim": d, "theta": theta, "eps": eps}


def decoder_weights(shape):
    width, heads, kv_heads, d, hidden = shape
    return layer_weights(f"decoder {shape}", width, heads * d, kv_heads * d, hidden)


TWO, THREE = (40, 6, 2, 12, 52), (40, 6, 3, 12, 52)  # width, heads, key-value heads, head_dim, hidden


def decoder_layer():
    def case(name, title, rows, shape=TWO, scale=1.0, eps=1e-5, theta=1e6):
        x = drawn(f"decoder {name}", rows, shape[0], scale=scale)
        yield name, title, decoder_parameters(shape, theta, eps), {"x": x} | decoder_weights(shape)

    yield from case("one-row", "A layer of the decoder takes one token.", 1)
    yield from case("causal", "A token of a layer sees itself and those before it.", 7)
    yield from case("three-keys", "Six query heads share three key-value heads.", 6, shape=THREE)
    yield from case(
        "own-keys", "As many key-value heads as query heads are not shared.", 5, shape=(40, 5, 5, 12, 52)
    )
    yield from case("square", "Heads times head_dim may be the width.", 5, shape=(48, 4, 2, 12, 40))
    yield from case("small", "On values near 0.01 the epsilon of both norms shows.", 4, scale=0.01)
    yield from case(
        "smaller", "On values near 0.003 the epsilon is as large as the mean square.", 4, scale=0.003
    )
    yield from case(
        "other-eps", "The epsilon of the norms is the one that is given, here 1e-6.", 4, scale=0.003, eps=1e-6
    )
    yield from case(
        "other-theta", "The theta of the positions is the one that is given, here 1e9.", 9, theta=1e9
    )
    yield from case("large", "On values near 8 no epsilon shows in a layer.", 3, scale=8)
    yield from case("long", "Seventy tokens are more than a block of 64.", 70)


def head():
    def case(name, title, rows, scale=1.0, eps=1e-5, tied=False):
        table = drawn("output", 50, 40, scale=0.25)
        t = {"x": drawn(f"head {name}", rows, 40, scale=scale), "norm.weight": norm_weight("head", 40), "output.weight": table,
             "tok_embeddings.weight": table if tied else drawn("not output", 50, 40, scale=0.25)}  # fmt: skip
        yield name, title, {"eps": eps}, t

    yield from case("unit", "The output head is not the token embeddings.", 5)
    yield from case("one-row", "The head takes one token.", 1)
    yield from case("small", "On values near 0.01 the epsilon of the last norm shows.", 3, scale=0.01)
    yield from case(
        "smaller", "On values near 0.003 the epsilon of the last norm shows more.", 3, scale=0.003
    )
    yield from case("large", "On values near 8 no epsilon shows in the logits.", 3, scale=8)
    yield from case("tied", "Where the embeddings are the output head, either will do.", 4, tied=True)


def prefill():
    def case(name, title, earlier, rows, shape=TWO, scale=1.0, eps=1e-5, theta=1e6):
        """Its k and v are those of a longer layer, rounded."""
        width, _, kv_heads, d, _ = shape
        t = decoder_weights(shape)
        x = drawn(f"prefill {name}", earlier + rows, width, scale=scale)
        double = {n: torch.tensor(value).double() for n, value in t.items()}
        normed = torch.nn.functional.rms_norm(
            torch.tensor(x[:earlier]).double(), (width,), double["attention_norm.weight"], eps
        )
        k, v = (normed @ double[f"attention.{n}.weight"].T for n in ("wk", "wv"))
        angles = step_schedules.angles_1d({"theta": theta, "head_dim": d}, range(earlier))
        k = step_schedules.turned(k, angles, kv_heads)
        parameters = decoder_parameters(shape, theta, eps) | {"position": earlier}
        yield name, title, parameters, {"x": x[earlier:], "k_rotated": exact(k), "v": exact(v)} | t

    yield from case("one-behind-one", "The second token sees the first through its key and value.", 1, 1)
    yield from case("next-token", "One token behind eight turns by position 8.", 8, 1)
    yield from case("part", "The third row of a part sees all rows before the part and three of it.", 5, 4)
    yield from case("larger-part", "A part may be larger than what came before it.", 2, 7, shape=THREE)
    yield from case("far", "A part behind 70 tokens begins at position 70.", 70, 3)
    yield from case(
        "own-keys",
        "Keys from before are not shared where there are as many as queries.",
        4,
        3,
        shape=(40, 5, 5, 12, 52),
    )
    yield from case(
        "square", "Heads times head_dim may be the width in a part too.", 3, 3, shape=(48, 4, 2, 12, 40)
    )
    yield from case("small", "On values near 0.003 the epsilon shows in a part.", 3, 3, scale=0.003)
    yield from case("other-theta", "Parts turn by the theta that is given, here 1e9.", 6, 3, theta=1e9)
    yield from case("large", "On values near 8 no epsilon shows in a part.", 3, 2, scale=8)


# Measuring


def rel_f(found, right):
    difference = np.linalg.norm(found - right)
    return float(difference / np.linalg.norm(right)) if difference else 0.0


def measured(name, stage, parameters, tensors, right):
    """{arithmetic: {schedule: relF}}; an arithmetic that overflows is left out."""
    double, result = {n: torch.tensor(t).double() for n, t in tensors.items()}, {}
    for arithmetic, names in step_schedules.NAMES.items():

        def distance(run, double=double):
            return rel_f(run.step(stage, parameters, double).double().numpy(), right)

        random = torch.Generator().manual_seed(zlib.crc32(f"{stage} {name} {arithmetic}".encode()))
        relF = {schedule: distance(step_schedules.fixed(arithmetic, schedule)) for schedule in names}
        if "libm" in names:
            relF["libm"] = max(
                distance(step_schedules.fixed(arithmetic, "libm", n)) for n in range(LIBRARIES)
            )
        for schedule in step_schedules.WORSE.get(stage, {}).get(arithmetic, ()):
            relF[schedule] = distance(step_schedules.fixed(arithmetic, schedule))
        relF["mixed"] = max(distance(step_schedules.mixed(arithmetic, random)) for _ in range(RANDOM))
        if all(math.isfinite(value) for value in relF.values()):
            result[arithmetic] = relF
    return result


def noise(relF, arithmetic):
    """As Sources/PixtralReference has it: the most, and at least a quarter of the unit of rounding."""
    most = max(relF[arithmetic].values())
    if arithmetic == "float64":
        most = max(most, max(relF["float32"].values()) * 2.0**-29)
    return max(most, 2.0 ** -(BITS[arithmetic] + 2))


def with_faults(stage, parameters, tensors, right):
    """{fault: relF, or "refused"}, of all that the stage can have."""
    shapes, result = {n: t.shape for n, t in tensors.items()}, {}
    for fault in faults.STEP_FAULTS[stage]:
        if faults.step_refusal(fault, stage, parameters, shapes):
            result[fault] = "refused"
            continue
        wrong = faults.in_step(fault, stage)
        with faults.patched(**wrong.patches):
            found = steps.answer(
                stage, parameters, tensors, lambda c, w=wrong: faults.Changed(c, w.params, w.renamed)
            )
        result[fault] = rel_f(found, right)
    return result


def digits(x):
    return float(rounded_up(x)) if x else 0.0


def claims(relF, moved):
    """What a case shows and hides: `faults`, `exposes` and `hides`."""
    single = noise(relF, "float32")
    shown = {
        f: m if m == "refused" else digits(m) for f, m in moved.items() if m == "refused" or m >= FAR * single
    }
    hidden = [f for f, m in moved.items() if m != "refused" and m <= CLOSE * single]
    return {"exposes": list(shown), "faults": shown, "hides": hidden}


def rounded(relF):
    return {a: {s: digits(x) for s, x in runs.items()} for a, runs in relF.items()}


def widened(case, stage, tensors, right):
    """The case with the larger of what is stored and what is measured here."""
    old = case["compare"]["relF"]
    new = measured(case["id"].split("/")[-1], stage, case["subject"]["parameters"], tensors, right)
    assert old.keys() == new.keys(), case["id"]
    relF = {a: {s: max(x, old[a].get(s, 0.0)) for s, x in runs.items()} for a, runs in rounded(new).items()}
    moved = with_faults(stage, case["subject"]["parameters"], tensors, right)
    return case | {"compare": {"relF": relF}} | claims(relF, moved)


def make(stage, kept, wider=False):
    """- kept: whether cases that are there stay as they are; wider: but for what is measured, which grows."""
    folder, stored, cases, known = suites.CASES / "steps" / stage, {}, [], {}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cases.safetensors"
    there = {case["id"]: case for case in suites.read(f"steps/{stage}/cases")} if kept else {}
    tensors_there = load_file(path) if kept else {}

    def keep(name, array):
        """Equal tensors are stored once."""
        key = (array.dtype.str, array.shape, array.tobytes())
        stored.setdefault(known.setdefault(key, name), np.ascontiguousarray(array))
        return known[key]

    for name, title, parameters, tensors in globals()[stage]():
        if case := there.get(f"steps/{stage}/{name}"):
            for key in (*case["inputs"]["tensors"].values(), case["expect"]["tensor"]):
                keep(key, tensors_there[key])
            if wider:
                stored_inputs = {n: tensors_there[key] for n, key in case["inputs"]["tensors"].items()}
                case = widened(case, stage, stored_inputs, tensors_there[case["expect"]["tensor"]])
            cases.append(case)
            continue
        right = steps.answer(stage, parameters, tensors)
        witness = step_schedules.witness(
            stage, parameters, {n: torch.tensor(t).double() for n, t in tensors.items()}
        )
        assert np.isfinite(right).all() and right.shape == tuple(witness.shape), (stage, name)
        relF = measured(name, stage, parameters, tensors, right)
        moved = with_faults(stage, parameters, tensors, right)
        claimed = claims(relF, moved)
        grids = parameters.get("grids") or [n for n in tensors if n.startswith("image") and n != "image_rows"]
        several = len(grids) > 1 or (stage == "attention" and len(parameters["segments"]) > 1)
        cases.append({
            "id": f"steps/{stage}/{name}",
            "title": title,
            "stage": "steps",
            "exposes": claimed["exposes"],
            "subject": {"operation": "one step of the model", "step": stage, "parameters": parameters},
            "model": None,
            "inputs": {"file": "cases.safetensors", "sha256": "", "tensors": {n: keep(f"{name}/{n}", t) for n, t in tensors.items()}},
            "expect": {"file": "cases.safetensors", "sha256": "", "tensor": keep(f"{name}/output", right), "shape": list(right.shape), "tap": TAPS[stage]},
            "compare": {"relF": rounded(relF)},
            "faults": claimed["faults"],
            "hides": claimed["hides"],
            "requires": ["multi-image"] if several else [],
            "conflicts_with": [],
            "importance": "high",
            "basis": f"Docs/Model.md {SECTIONS[stage]}",
            "oracle": {"name": "Fixtures/oracle/steps.py", "version": f"numpy {np.__version__}, python {platform.python_version()}"},
            "witnesses": [{"name": "torch, float64", "version": torch.__version__, "distance": digits(rel_f(witness.numpy(), right))}],
            "since": SINCE,
            "retired": None,
        })  # fmt: skip
    save_file(stored, path)
    path.chmod(0o644)  # safetensors makes files that only their owner may read
    for case in cases:
        case["inputs"]["sha256"] = case["expect"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    suites.write(f"steps/{stage}/cases", cases)
    return cases


def judged(cases):
    """Prints a line for each fault and case; the sentences about what is missing."""
    problems = []
    for fault in dict.fromkeys(f for listed in faults.STEP_FAULTS.values() for f in listed):
        shown = [case for case in cases if fault in case["faults"]]
        hiding = [case["id"] for case in cases if fault in case["hides"]]
        decided = 0
        for case in shown:
            m, relF = case["faults"][fault], case["compare"]["relF"]
            if m == "refused":
                decided += 1
                continue
            ratios = {a: m / noise(relF, a) for a in relF}
            decided += ratios.get("bfloat16", 0) >= FAR
            print(
                f"{fault:18} {case['id']:32} {m:8.1e}  float32 {ratios['float32']:8.1e}  bfloat16 {ratios.get('bfloat16', math.nan):6.1f}"
            )
        print(
            f"{fault:18} {len(shown)} cases, {decided} decide it in bfloat16; hidden by {', '.join(hiding) or 'none'}"
        )
        if len(shown) < 2 or not hiding or (decided == 0) != (fault in UNDECIDED):
            problems.append(
                f"{fault}: {len(shown)} cases show it, {decided} in bfloat16, {len(hiding)} hide it"
            )
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", choices=[*TAPS, []], help="all without")
    parser.add_argument("--new", action="store_true", help="leave the cases that are there as they are")
    parser.add_argument("--widen", action="store_true", help="of what is measured keep the larger")
    arguments = parser.parse_args()
    stages = arguments.stages
    torch.set_num_threads(1)
    cases = [
        case
        for stage in stages or TAPS
        for case in make(stage, arguments.new or arguments.widen, arguments.widen)
    ]
    problems = judged(cases) if not stages else []
    farthest = max(cases, key=lambda case: case["witnesses"][0]["distance"])
    print(
        f"{len(cases)} cases; the witness is at most {farthest['witnesses'][0]['distance']:.1e} away, in {farthest['id']}"
    )
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
