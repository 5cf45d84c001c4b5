"""The faults of Docs/Faults.md that NumPy can have: each puts one mistake into a copy of the
oracle, or into the pixels it is given.

`FAULTS` has those of the model, by id; `PIXEL_FAULTS` those of image processing that keep the grid,
and `LOAD_FAULTS` those that end in a refused load. check_exposes.py runs the first two, and
runtimes/oracle_session.py has them all. `FORMS` and `PIXEL_FORMS` have other forms of the same
mistakes, as `ID~FORM`. Those of tokens and grids are in text_faults.py.
"""

import contextlib
import dataclasses
import math
import re
import sys
from pathlib import Path

import numpy as np
import PIL.Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Fixtures" / "oracle"))
import oracle  # noqa: E402


PAGE = ROOT / "Docs" / "Faults.md"
# Where a fault may show first, besides taps.
STAGES = ("tokens", "grid", "pixels", "load", "a shape")


def page_faults():
    """{id: (places where it shows first, relF there or None, its case)} from the tables of
    Docs/Faults.md whose first column is the id. A place is a tap or one of STAGES.
    """
    result, header = {}, []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if cells and cells[0] == "id":
            header = cells
        elif cells and re.fullmatch(r"`[A-Z]-[a-z0-9-]+`", cells[0]):
            row = dict(zip(header, cells, strict=True))
            places = re.split(r", or |, | or ", row["shows first at"].replace("`", ""))
            figure = None if row["relF"] == "–" else float(row["relF"])
            result[cells[0].strip("`")] = set(places), figure, row["case"].strip("`")
    return result


@dataclasses.dataclass
class Fault:
    """One mistake. Nothing is changed that is not named."""

    patches: dict = dataclasses.field(default_factory=dict)  # functions of the oracle, replaced
    params: dict = dataclasses.field(default_factory=dict)  # parameters read wrongly
    renamed: dict = dataclasses.field(default_factory=dict)  # tensors read in place of others
    base: dict = dataclasses.field(
        default_factory=dict
    )  # parameters changed for right and wrong alike, where seeded:tiny cannot have it


@contextlib.contextmanager
def patched(**functions):
    """The oracle with some of its functions replaced, for a while."""
    originals = {name: getattr(oracle, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(oracle, name, function)
        yield
    finally:
        for name, original in originals.items():
            setattr(oracle, name, original)


class Changed:
    """A checkpoint with other parameters, or with tensors read under other names."""

    def __init__(self, original, params, renamed):
        self.original, self.renamed = original, renamed
        self.params, self.shapes = original.params | params, original.shapes

    def rows(self, name, start, stop):
        return self.original.rows(self.renamed.get(name, name), start, stop)


# Vision encoder


def flat_positions(places, theta, e, plain=oracle.vision_angles):
    """Patches numbered through and looked up in a table of 64 by 64."""
    return plain([(n // 64, n % 64) for n in range(len(places))], theta, e)


def flat_positions_of_each_image(places, theta, e, plain=oracle.vision_angles):
    """The same, with each image counted from 0."""
    numbers = []
    for place in places:
        numbers.append(0 if place == (0, 0) else numbers[-1] + 1)
    return plain([(n // 64, n % 64) for n in numbers], theta, e)


def swapped_positions(places, theta, e, plain=oracle.vision_angles):
    return plain([(column, row) for row, column in places], theta, e)


def same_frequencies(places, theta, e):
    """The column takes the even frequencies as well (cut to the length that is left)."""
    f = np.array([theta ** (-2 * j / e) for j in range(e // 2)])
    return np.array([np.concatenate([row * f[0::2], column * f[0::2]])[: e // 2] for row, column in places])


def half_split(x, angles, heads):
    """Columns (i, d/2 + i) turned together, on weights made for (2i, 2i + 1)."""
    d = x.shape[1] // heads
    cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
    heads_apart = x.reshape(-1, heads, d)
    a, b = heads_apart[..., : d // 2], heads_apart[..., d // 2 :]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)


def half_split_in(part):
    """half_split in one part of the model: the weights' prefix is `vision_encoder.` or `layers.`."""

    def layer(x, checkpoint, weights, *rest, plain=oracle.layer):
        with patched(rotate=half_split) if weights.startswith(part) else contextlib.nullcontext():
            return plain(x, checkpoint, weights, *rest)

    return layer


def without_mask(q, k, v, heads, kv_heads, sees, trace, prefix, plain=oracle.attention):
    if prefix.startswith("vision."):
        sees = np.ones_like(sees)
    return plain(q, k, v, heads, kv_heads, sees, trace, prefix)


def layer_with_gelu(x, checkpoint, weights, *rest, plain=oracle.layer):
    """GELU for SiLU, in the vision encoder only."""
    with patched(silu=oracle.gelu) if weights.startswith("vision_encoder.") else contextlib.nullcontext():
        return plain(x, checkpoint, weights, *rest)


def layer_with_tanh_gelu(x, checkpoint, weights, *rest, plain=oracle.layer):
    with patched(silu=tanh_gelu) if weights.startswith("vision_encoder.") else contextlib.nullcontext():
        return plain(x, checkpoint, weights, *rest)


def float16_patches(image, p, plain=oracle.flatten_patches):
    return plain(image, p).astype(np.float16).astype(np.float64)


# Adapter and embeddings


def linear_with_bias(x, checkpoint, name, plain=oracle.linear):
    """A random bias with the standard deviation of a freshly made layer, 0.02, where the adapter
    has none.
    """
    result = plain(x, checkpoint, name)
    lacks_bias = name.removesuffix("weight") + "bias" not in checkpoint.shapes
    if name.startswith("vision_language_adapter.") and lacks_bias:
        result = result + np.random.default_rng(1).normal(0, 0.02, result.shape[1])
    return result


def tanh_gelu(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def table_gelu(x, plain=oracle.gelu):
    """Looked up by float16, stored as float16; otherwise exact."""
    return plain(x.astype(np.float16).astype(np.float64)).astype(np.float16).astype(np.float64)


def table_tanh_gelu(x):
    """llama.cpp's table, which holds the tanh form."""
    return tanh_gelu(x.astype(np.float16).astype(np.float64)).astype(np.float16).astype(np.float64)


def embeddings_everywhere(checkpoint, tokens, images, trace):
    """Break and end slots take image rows as well: the row of the patch before them."""
    rows, seen = [], 0
    for token in tokens:
        seen += token == 10
        rows.append(
            images[seen - 1]
            if token in (10, 14, 15)
            else checkpoint.rows("tok_embeddings.weight", token, token + 1)[0]
        )
    trace.put("decoder.embeddings", np.array(rows))
    return np.array(rows)


def embeddings_without_break(checkpoint, tokens, images, trace, plain=oracle.embeddings):
    """[IMG_BREAK]'s embedding is zero, as if it had been lost."""
    rows = plain(checkpoint, tokens, images, oracle.Trace(None, []))
    rows[np.array(tokens) == 14] = 0
    trace.put("decoder.embeddings", rows)
    return rows


# Decoder


def half_split_order(columns, heads):
    """Where a converter to the half-split order takes each column from: of every head 0, 2, 4, ...
    and then 1, 3, 5, ...
    """
    return np.arange(columns).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)


def linear_with_k_permuted(x, checkpoint, name, plain=oracle.linear):
    """wk converted with the number of query heads, read with that of key-value heads, and k put
    back into the order of taps.
    """
    result = plain(x, checkpoint, name)
    if not (name.startswith("layers.") and name.endswith("attention.wk.weight")):
        return result
    columns = result.shape[1]
    put_back = np.empty_like(result)
    put_back[:, half_split_order(columns, checkpoint.params["n_kv_heads"])] = result[
        :, half_split_order(columns, checkpoint.params["n_heads"])
    ]
    return put_back


FAULTS = {
    "L-break-embedding": Fault({"embeddings": embeddings_without_break}),
    "P-f16": Fault({"flatten_patches": float16_patches}),
    "V-flat-positions": Fault({"vision_angles": flat_positions}),
    "V-swap-hw": Fault({"vision_angles": swapped_positions}),
    "V-same-freqs": Fault({"vision_angles": same_frequencies}),
    "V-half-split": Fault({"rotate": half_split}),
    "V-no-mask": Fault({"attention": without_mask}),
    "V-gelu": Fault({"layer": layer_with_gelu}),
    "A-bias": Fault({"linear": linear_with_bias}),
    "A-tanh": Fault({"gelu": tanh_gelu}),
    "A-gelu-table": Fault({"gelu": table_gelu}),
    "M-scatter": Fault({"embeddings": embeddings_everywhere}),
    "D-eps": Fault(params={"norm_eps": 1e-6}),
    "D-theta": Fault(params={"rope_theta": 1e9}),
    # seeded:tiny's 40 rows of wk cannot be divided among 6 query heads: a converter with this fault
    # stops there. 60 rows can.
    "D-k-permute": Fault({"linear": linear_with_k_permuted}, base={"n_kv_heads": 3}),
    "D-tied": Fault(renamed={"output.weight": "tok_embeddings.weight"}),
}

FORMS = {
    "V-flat-positions~each-image": Fault({"vision_angles": flat_positions_of_each_image}),
    "V-half-split~vision": Fault({"layer": half_split_in("vision_encoder.")}),
    "V-half-split~decoder": Fault({"layer": half_split_in("layers.")}),
    "V-gelu~tanh": Fault({"layer": layer_with_tanh_gelu}),
    "A-gelu-table~tanh": Fault({"gelu": table_tanh_gelu}),
    "D-theta~1e4": Fault(params={"rope_theta": 1e4}),
}


# Pixels

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


def normalised(rgb):
    return ((np.asarray(rgb, dtype=np.float64) / 255 - MEAN) / STD).transpose(2, 0, 1)


def padded(rgb, right):
    wider = np.zeros((*right.shape[1:], 3), dtype=np.uint8)
    wider[: rgb.shape[0], : rgb.shape[1]] = rgb[: wider.shape[0], : wider.shape[1]]
    return normalised(wider)


def antialiased(rgb, right):
    size = (right.shape[2], right.shape[1])
    return normalised(PIL.Image.fromarray(rgb).resize(size, PIL.Image.Resampling.BICUBIC))


def unnormalised(right):
    """Samples from 0 to 1, [3, height, width]."""
    return right.astype(np.float64) * STD[:, None, None] + MEAN[:, None, None]


def half_and_half(rgb, right):
    """Mean and deviation 0.5."""
    return (unnormalised(right) - 0.5) / 0.5


def not_normalised(rgb, right):
    return unnormalised(right)


def padded_on_both_sides(rgb, right):
    height, width = right.shape[1:]
    wider = np.zeros((height, width, 3), dtype=np.uint8)
    rgb = rgb[:height, :width]
    top, left = (height - rgb.shape[0]) // 2, (width - rgb.shape[1]) // 2
    wider[top : top + rgb.shape[0], left : left + rgb.shape[1]] = rgb
    return normalised(wider)


def antialiased_bilinear(rgb, right):
    size = (right.shape[2], right.shape[1])
    return normalised(PIL.Image.fromarray(rgb).resize(size, PIL.Image.Resampling.BILINEAR))


def on_bytes(rgb, right):
    """The right stretch, but rounded to bytes."""
    return normalised(np.clip(np.rint(unnormalised(right) * 255), 0, 255).transpose(1, 2, 0))


def bilinear(rgb, right):
    """Two taps, float samples, no antialiasing."""
    result = np.asarray(rgb, dtype=np.float64)
    for axis, size in enumerate(right.shape[1:]):
        place = np.clip((np.arange(size) + 0.5) * result.shape[axis] / size - 0.5, 0, result.shape[axis] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, result.shape[axis] - 1)
        share = (place - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        result = result.take(low, axis) * (1 - share) + result.take(high, axis) * share
    return normalised(result)


# Each takes RGB, uint8 [height, width, 3], and the right pixels, [3, rows * 16, columns * 16].
PIXEL_FAULTS = {"P-pad": padded, "P-antialias": antialiased, "P-norm": half_and_half}
PIXEL_FORMS = {
    "P-pad~both-sides": padded_on_both_sides,
    "P-antialias~antialiased-bilinear": antialiased_bilinear,
    "P-antialias~bytes": on_bytes,
    "P-antialias~bilinear": bilinear,
    "P-norm~none": not_normalised,
}


def without_alpha(opened):
    """P-alpha: a picture of Pillow to RGB, transparency dropped."""
    return np.asarray(opened.convert("RGB"))


def pixel_faults(file, right):
    """{fault: pixels} of one image, for the faults that keep the grid. `right` are its right
    pixels, [3, height, width].
    """
    with PIL.Image.open(file) as opened:
        opened.load()
    white = PIL.Image.new("RGBA", opened.size, "white")
    rgb = np.asarray(PIL.Image.alpha_composite(white, opened.convert("RGBA")).convert("RGB"))
    result = {fault: wrong(rgb, right) for fault, wrong in PIXEL_FAULTS.items()}
    if opened.mode == "RGBA":
        result["P-alpha"] = antialiased(without_alpha(opened), right)
    return result


# Loading


def square_heads(params):
    """D-square."""
    return params | {"head_dim": params["dim"] // params["n_heads"]}


def shapes_of_12b(params):
    """V-12b-shapes: the hidden size read from image_size."""
    vision = params["vision_encoder"]
    return params | {"vision_encoder": vision | {"hidden_size": vision["image_size"]}}


# Parameters as somebody reads them whose loader then finds tensors of other shapes, and stops.
LOAD_FAULTS = {"V-12b-shapes": shapes_of_12b, "D-square": square_heads}


# Single steps

# Which faults a stage can have. Fixtures/oracle/steps.py computes them, with the fault put into the oracle.
STEP_FAULTS = {
    "rms_norm": ("D-eps",),
    "rotary": ("V-half-split", "D-theta"),
    "rotary_2d": ("V-12b-shapes", "V-flat-positions", "V-swap-hw", "V-same-freqs", "V-half-split"),
    "attention": ("V-no-mask",),
    "silu_product": ("V-gelu",),
    "gelu": ("A-tanh", "A-gelu-table"),
    "patch_conv": ("P-f16",),
    "vision_layer": ("V-12b-shapes", "V-flat-positions", "V-swap-hw", "V-same-freqs", "V-half-split", "V-no-mask", "V-gelu"),
    "adapter": ("A-bias", "A-tanh", "A-gelu-table"),
    "splice": ("L-break-embedding", "M-scatter"),
    "decoder_layer": ("V-half-split", "D-square", "D-eps", "D-k-permute", "D-theta"),
    "head": ("D-eps", "D-tied"),
    "prefill": ("V-half-split", "D-square", "D-eps", "D-k-permute", "D-theta"),
}  # fmt: skip


def in_step(fault, stage):
    """A fault as a step of the stage has it."""
    if fault == "V-gelu" and stage == "silu_product":
        return Fault({"silu": oracle.gelu})
    if fault == "V-gelu~tanh" and stage == "silu_product":
        return Fault({"silu": tanh_gelu})
    return (FAULTS | FORMS).get(fault, Fault())


def step_refusal(fault, stage, parameters, shapes):
    """Why somebody with this fault refuses a step; None if he does not."""
    if fault not in STEP_FAULTS[stage]:
        return None
    heads, d = parameters.get("heads"), parameters.get("head_dim")
    if fault == "V-12b-shapes" and d != 64:
        return f"head_dim is {d}, expected 64"
    if fault == "D-square" and shapes["x"][1] // heads != d:
        return f"head_dim is {d}, expected {shapes['x'][1] // heads}"
    rows = parameters.get("kv_heads", 0) * (d or 0)
    if fault == "D-k-permute" and rows % (2 * heads):
        return f"{rows} rows of wk cannot be divided among {heads} heads"
    return None
