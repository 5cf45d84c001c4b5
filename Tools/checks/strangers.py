"""Mistakes that are not on Docs/Faults.md, by name: `STRANGERS`. check_strangers.py has them judged.

`of` has the id of a mistake on the page that a stranger is a part of: in one layer, one head, one
channel, one image. Those lie nearest to answers that Fixtures/faults has, and are no form of them.
"""

import dataclasses
import functools
import inspect
import json
import math
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Fixtures" / "oracle"))
import oracle  # noqa: E402
import tokens  # noqa: E402
from image import stretch  # noqa: E402
from tokens import Template, Tokenizer  # noqa: E402

import faults  # noqa: E402
import text_faults  # noqa: E402
from faults import MEAN, STD, Fault, normalised, patched, unnormalised  # noqa: E402

IMG, BREAK, END = 10, 14, 15
VISION, DECODER = "vision_encoder.", "layers."


@dataclasses.dataclass
class Stranger:
    """One mistake, in one of the stages model (and steps), answer, pixels, rgb, grid and tokens."""

    stage: str
    fault: Fault = dataclasses.field(default_factory=Fault)  # of the model
    behind: Callable | None = None  # behind(tokens of the prompt) -> functions of the oracle, of an answer
    pixels: Callable | None = None  # of RGB and the right pixels, as PIXEL_FAULTS
    opened: Callable | None = None  # of a picture of Pillow, its RGB
    text: list = dataclasses.field(default_factory=list)  # (owner, name, value), as text_faults.py
    of: str | None = None


STRANGERS: dict[str, Stranger] = {}


def model(name, of=None, params=None, renamed=None, **patches):
    STRANGERS[name] = Stranger("model", Fault(patches, params or {}, renamed or {}), of=of)


# Attention


def scaled(factor):
    """Scores times a factor of (heads, d)."""

    def attention(q, k, v, heads, kv_heads, *rest, plain=oracle.attention):
        return plain(q * factor(heads, q.shape[1] // heads), k, v, heads, kv_heads, *rest)

    return attention


def seeing(change, part=""):
    """Another mask. change(sees, of every query its position, of every key its position) -> sees."""

    def attention(q, k, v, heads, kv_heads, sees, trace, prefix, plain=oracle.attention):
        if prefix.startswith(part):
            queries, keys = sees.shape
            sees = change(sees, np.arange(keys - queries, keys)[:, None], np.arange(keys)[None, :])
        return plain(q, k, v, heads, kv_heads, sees, trace, prefix)

    return attention


def tiled(q, k, v, heads, kv_heads, sees, trace, prefix, plain=oracle.attention):
    """Query head h takes key-value head h % G."""
    order = np.arange(heads).reshape(-1, kv_heads).T.reshape(-1)  # heads of one key-value head together
    d = q.shape[1] // heads
    result = plain(
        in_heads(q, d)[:, order].reshape(q.shape), k, v, heads, kv_heads, sees, oracle.Trace(None, []), prefix
    )
    return in_heads(result, d)[:, np.argsort(order)].reshape(q.shape)


def in_heads(x, d):
    return x.reshape(len(x), -1, d)


def with_sink(q, k, v, heads, kv_heads, sees, trace, prefix, plain=oracle.attention):
    """Softmax with one more in the sum: a key and a value of zeros that everybody sees."""
    k, v = (np.concatenate([x, np.zeros((1, x.shape[1]), x.dtype)]) for x in (k, v))
    sees = np.concatenate([sees, np.ones((len(sees), 1), bool)], axis=1)
    return plain(q, k, v, heads, kv_heads, sees, trace, prefix)


def no_mask_for(prefix_of, head=None, rows=None):
    """V-no-mask in one layer, for one head or for some rows."""

    def attention(q, k, v, heads, kv_heads, sees, trace, prefix, plain=oracle.attention):
        result = plain(q, k, v, heads, kv_heads, sees, trace, prefix)
        if not prefix.startswith(prefix_of):
            return result
        nothing = oracle.Trace(None, [])
        everything = plain(q, k, v, heads, kv_heads, np.ones_like(sees), nothing, prefix)
        d = q.shape[1] // heads
        columns = slice(None) if head is None else slice(head * d, (head + 1) * d)
        chosen = np.ones(len(q), bool) if rows is None else rows(sees)
        result = np.array(result)
        result[np.ix_(chosen, np.arange(q.shape[1])[columns])] = everything[chosen][:, columns]
        return result

    return attention


model("scale-missing", attention=scaled(lambda heads, d: math.sqrt(d)))
model("scale-by-width", attention=scaled(lambda heads, d: 1 / math.sqrt(heads)))
model("scale-twice", attention=scaled(lambda heads, d: 1 / math.sqrt(d)))
model(
    "causal-strict", attention=seeing(lambda sees, i, j: sees & ((j < i) | ((i == 0) & (j == 0))), "decoder.")
)
model("causal-ahead", attention=seeing(lambda sees, i, j: sees | (j == i + 1), "decoder."))
model("causal-missing", attention=seeing(lambda sees, i, j: np.ones_like(sees), "decoder."))
model("causal-in-vision", attention=seeing(lambda sees, i, j: sees & (j <= i), "vision."))
model("sliding-window", attention=seeing(lambda sees, i, j: sees & (j > i - 16), "decoder."))
model("kv-heads-tiled", attention=tiled)
model("softmax-plus-one", attention=with_sink)
model("mask-lost-in-layer-1", "V-no-mask", attention=no_mask_for("vision.layers.1."))
model("mask-lost-in-head-0", "V-no-mask", attention=no_mask_for("vision.", head=0))
model(
    "mask-lost-behind-image-0", "V-no-mask", attention=no_mask_for("vision.", rows=lambda sees: ~sees[:, 0])
)


# Norms


def norms(wrong, which=lambda name: True):
    """Another RMSNorm where `which` says so of the weight's name: `step` for a norm asked alone.
    wrong(x, weight, eps, plain).
    """
    last = []

    def vector(checkpoint, name, plain=oracle.vector):
        last[:] = ["step" if len(checkpoint.shapes) == 2 and "x" in checkpoint.shapes else name]
        return plain(checkpoint, name)

    def rms_norm(x, weight, eps, plain=oracle.rms_norm):
        return wrong(x, weight, eps, plain) if which(last[0]) else plain(x, weight, eps)

    return {"vector": vector, "rms_norm": rms_norm}


def layer_norm(x, weight, eps, plain):
    centred = x - np.mean(x, axis=1, keepdims=True)
    return plain(centred, weight, eps)


def eps_outside(x, weight, eps, plain):
    return x / (np.sqrt(np.mean(x * x, axis=1, keepdims=True)) + eps) * weight


def norm_by_sum(x, weight, eps, plain):
    return plain(x, weight, eps) / math.sqrt(x.shape[1])


def final(name):
    return name == "norm.weight"


model("ln-pre-missing", **norms(lambda x, w, eps, plain: x, lambda name: "ln_pre" in name))
model("ln-pre-layer-norm", **norms(layer_norm, lambda name: "ln_pre" in name))
model("layer-norm", **norms(layer_norm))
model("norm-weight-plus-one", **norms(lambda x, w, eps, plain: plain(x, w + 1, eps)))
model("norm-without-weight", **norms(lambda x, w, eps, plain: plain(x, np.ones_like(w), eps)))
model("norm-eps-outside-root", **norms(eps_outside))
model("norm-eps-zero", **norms(lambda x, w, eps, plain: plain(x, w, 0)))
model("norm-eps-1e-3", **norms(lambda x, w, eps, plain: plain(x, w, 1e-3)))
model("norm-by-sum", **norms(norm_by_sum))
model("final-norm-missing", **norms(lambda x, w, eps, plain: x, final))
model("final-norm-twice", **norms(lambda x, w, eps, plain: plain(plain(x, w, eps), w, eps), final))
model("norms-swapped", renamed={f"layers.{n}.{a}_norm.weight": f"layers.{n}.{b}_norm.weight"
      for n in range(3) for a, b in (("attention", "ffn"), ("ffn", "attention"))})  # fmt: skip


def small_eps(x, weight, eps, plain):
    return plain(x, weight, 1e-6)


model("eps-1e-6-in-final-norm", "D-eps", **norms(small_eps, final))
model("eps-1e-6-in-layer-0", "D-eps", **norms(small_eps, lambda name: name.startswith("layers.0.")))
model("eps-1e-6-in-attention-norms", "D-eps", **norms(small_eps, lambda name: "attention_norm" in name))
model("eps-1e-6-in-vision", "D-eps", **norms(small_eps, lambda name: name.startswith(VISION)))


# Layers


def in_layer(start, **patches):
    """Functions of the oracle replaced in layers whose weights begin with `start`."""

    def layer(x, checkpoint, weights, *rest, plain=oracle.layer):
        if not weights.startswith(start):
            return plain(x, checkpoint, weights, *rest)
        # Those that call the right one get that of this arithmetic.
        bound = {
            name: functools.partial(function, plain=getattr(oracle, name))
            if takes_plain(function)
            else function
            for name, function in patches.items()
        }
        with patched(**bound):
            return plain(x, checkpoint, weights, *rest)

    return layer


def takes_plain(function):
    return not isinstance(function, np.ufunc) and "plain" in inspect.signature(function).parameters


def put_otherwise(*how, start=""):
    """oracle.layer, put together otherwise: `how` has words of the lines below."""

    def layer(x, checkpoint, weights, eps, heads, kv_heads, angles, sees, trace, tap, plain=oracle.layer):
        if not weights.startswith(start):
            return plain(x, checkpoint, weights, eps, heads, kv_heads, angles, sees, trace, tap)

        def linear(x, name):
            return oracle.linear(x, checkpoint, weights + name)

        def put(name, x):
            trace.put(tap + name, x)
            return x

        def norm(x, name):
            return put(name, oracle.rms_norm(x, oracle.vector(checkpoint, weights + name + ".weight"), eps))

        normed = norm(x, "attention_norm")
        q = put("attention.q", linear(normed, "attention.wq.weight"))
        k = put("attention.k", linear(normed, "attention.wk.weight"))
        v = put("attention.v", linear(normed, "attention.wv.weight"))
        q = put("attention.q_rotated", q if "k only" in how else oracle.rotate(q, angles, heads))
        k = put("attention.k_rotated", k if "q only" in how else oracle.rotate(k, angles, kv_heads))
        v = oracle.rotate(v, angles, kv_heads) if "v too" in how else v
        context = put("attention.context", oracle.attention(q, k, v, heads, kv_heads, sees, trace, tap))
        attended = context if "without wo" in how else linear(context, "attention.wo.weight")
        put("attention.output", attended)
        start_of = {"residual of normed": normed, "no residual": 0 * x}
        residual = put("residual", next((start_of[word] for word in how if word in start_of), x) + attended)
        normed = norm(x if "parallel" in how else residual, "ffn_norm")
        gate = put("feed_forward.gate", linear(normed, "feed_forward.w1.weight"))
        up = put("feed_forward.up", linear(normed, "feed_forward.w3.weight"))
        if "silu of up" in how:
            hidden = oracle.silu(up) * gate
        elif "silu of product" in how:
            hidden = oracle.silu(gate * up)
        else:
            hidden = oracle.silu(gate) * (1 if "without up" in how else up)
        put("feed_forward.hidden", hidden)
        fed = put("feed_forward.output", linear(hidden, "feed_forward.w2.weight"))
        return put("output", (normed if "ffn residual of normed" in how else residual) + fed)

    return layer


def skipped(start):
    """The layer's taps are there, and its output is lost."""

    def layer(x, checkpoint, weights, *rest, plain=oracle.layer):
        result = plain(x, checkpoint, weights, *rest)
        return x if weights.startswith(start) else result

    return layer


model("residual-of-normed", layer=put_otherwise("residual of normed"))
model("residual-missing", layer=put_otherwise("no residual"))
model("ffn-residual-of-normed", layer=put_otherwise("ffn residual of normed"))
model("parallel-ffn", layer=put_otherwise("parallel"))
model("silu-of-up", layer=put_otherwise("silu of up"))
model("silu-of-up-in-vision", layer=put_otherwise("silu of up", start=VISION))
model("silu-of-product", layer=put_otherwise("silu of product"))
model("ffn-without-up", layer=put_otherwise("without up"))
model("vision-without-wo", layer=put_otherwise("without wo", start=VISION))
model("rotary-on-v", layer=put_otherwise("v too"))
model("rotary-on-k-only", layer=put_otherwise("k only"))
model("rotary-on-q-only", layer=put_otherwise("q only"))
model("vision-last-layer-unused", layer=skipped(VISION + "transformer.layers.1."))
model("relu-for-silu", silu=lambda x: np.maximum(x, 0))
model("gate-up-swapped", renamed={f"{p}{n}.feed_forward.{a}.weight": f"{p}{n}.feed_forward.{b}.weight"
      for p in ("layers.", VISION + "transformer.layers.") for n in range(3)
      for a, b in (("w1", "w3"), ("w3", "w1"))})  # fmt: skip
model("k-v-swapped", renamed={f"{p}{n}.attention.{a}.weight": f"{p}{n}.attention.{b}.weight"
      for p in ("layers.", VISION + "transformer.layers.") for n in range(3)
      for a, b in (("wk", "wv"), ("wv", "wk"))})  # fmt: skip
model("decoder-layers-1-2-swapped", renamed={f"layers.{a}.{name}": f"layers.{b}.{name}"
      for a, b in ((1, 2), (2, 1)) for name in ("attention_norm.weight", "attention.wq.weight",
      "attention.wk.weight", "attention.wv.weight", "attention.wo.weight", "ffn_norm.weight",
      "feed_forward.w1.weight", "feed_forward.w2.weight", "feed_forward.w3.weight")})  # fmt: skip


def quick_gelu(x):
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-1.702 * x))


def gelu_above_zero(x, plain=oracle.silu):
    return np.where(x > 0, oracle.gelu(x), plain(x))


model(
    "gelu-in-last-vision-layer", "V-gelu", layer=in_layer(VISION + "transformer.layers.1.", silu=oracle.gelu)
)
model(
    "gelu-in-first-vision-layer", "V-gelu", layer=in_layer(VISION + "transformer.layers.0.", silu=oracle.gelu)
)
model("gelu-in-decoder", "V-gelu", layer=in_layer(DECODER, silu=oracle.gelu))
model("gelu-above-zero-in-vision", "V-gelu", layer=in_layer(VISION, silu=gelu_above_zero))
model("quick-gelu-in-vision", "V-gelu", layer=in_layer(VISION, silu=quick_gelu))


# Rotation


def rotations(of):
    """of(angles) in the place of the angles."""

    def rotate(x, angles, heads, plain=oracle.rotate):
        return plain(x, of(angles), heads)

    return rotate


def in_head_0(wrong):
    def rotate(x, angles, heads, plain=oracle.rotate):
        result, d = np.array(plain(x, angles, heads)), x.shape[1] // heads
        result[:, :d] = wrong(x, angles, heads)[:, :d]
        return result

    return rotate


def half_split_of_queries(x, angles, heads, plain=oracle.rotate):
    """The decoder's queries: their heads are more than the keys'."""
    return faults.half_split(x, angles, heads) if heads in (6, 16) else plain(x, angles, heads)


def with_theta(theta):
    """The decoder's angles with another theta: the first frequency is 1."""
    return rotations(
        lambda angles: angles[:, :1] * theta ** (-np.arange(angles.shape[1]) / angles.shape[1])[None, :]
    )


def vision_at(of):
    """of(places) in the place of (row, column) of every patch."""
    return lambda places, theta, e, plain=oracle.vision_angles: plain(of(places), theta, e)


def images_of(places):
    """The places of every image apart."""
    result = []
    for place in places:
        if place == (0, 0):
            result.append([])
        result[-1].append(place)
    return result


def each_image(of):
    return lambda places: [place for image in images_of(places) for place in of(image)]


def column_major(image):
    rows = image[-1][0] + 1
    return [(n % rows, n // rows) for n in range(len(image))]


def second_image(of):
    def changed(places):
        return [
            place for n, image in enumerate(images_of(places)) for place in (of(image) if n == 1 else image)
        ]

    return changed


def flat(image):
    return [(n // 64, n % 64) for n in range(len(image))]


def swapped(image):
    return [(column, row) for row, column in image]


def stacked(places):
    """Rows go on behind the image before."""
    result, first = [], 0
    for image in images_of(places):
        result += [(first + row, column) for row, column in image]
        first += image[-1][0] + 1
    return result


def blocks_of_frequencies(places, theta, e):
    """The faster half for rows, the slower for columns."""
    f = np.array([theta ** (-2 * j / e) for j in range(e // 2)])
    half = (len(f) + 1) // 2
    return np.array([np.concatenate([row * f[:half], column * f[half:]]) for row, column in places])


def turns_of_row_and_column(places, theta, e):
    """Row, column, row, column: the frequencies stay where they are in f."""
    f = np.array([theta ** (-2 * j / e) for j in range(e // 2)])
    return np.array([[(row, column)[j % 2] * f[j] for j in range(len(f))] for row, column in places])


def frequencies_by_width(count, theta, d):
    f = np.array([theta ** (-i / d) for i in range(d // 2)])
    return np.arange(count)[:, None] * f[None, :]


def positions(of, plain=oracle.decoder_angles):
    """of(tokens, positions) in the place of the positions, which a step gives itself."""
    known = []

    def embeddings(checkpoint, tokens, images, trace, plain=oracle.embeddings):
        known[:] = [list(tokens)]
        return plain(checkpoint, tokens, images, trace)

    def decoder_angles(count, theta, d):
        given = known[0] if known and len(known[0]) == count else [0] * count
        where = np.array(of(given, list(range(count))))
        return plain(max(where) + 1, theta, d)[where]

    return {"embeddings": embeddings, "decoder_angles": decoder_angles}


def reset_at_images(tokens, places):
    result, at = [], 0
    for n, token in enumerate(tokens):
        starts = token == IMG and (n == 0 or tokens[n - 1] not in (IMG, BREAK))
        at = 0 if starts else at
        result.append(at)
        at += 1
    return result


def images_at_one_place(tokens, places):
    """All of an image's tokens have one position."""
    result, at = [], -1
    for n, token in enumerate(tokens):
        at += not (n > 0 and token in (IMG, BREAK, END) and tokens[n - 1] in (IMG, BREAK))
        result.append(at)
    return result


def theta_of_decoder(places, theta, e, plain=oracle.vision_angles):
    return plain(places, 1e6, e)


model("rotation-backwards", rotate=rotations(lambda angles: -angles))
model("rotation-missing", rotate=rotations(lambda angles: 0 * angles))
model("positions-halved", rotate=rotations(lambda angles: angles / 2))
model("frequencies-by-width", decoder_angles=frequencies_by_width)
model("positions-from-one", **positions(lambda tokens, places: [place + 1 for place in places]))
model("positions-reset-at-images", **positions(reset_at_images))
model("images-at-one-position", **positions(images_at_one_place))
model("vision-theta-of-decoder", vision_angles=theta_of_decoder)
model("vision-positions-column-major", vision_angles=vision_at(each_image(column_major)))
model("vision-rows-upside-down", vision_angles=vision_at(
      each_image(lambda image: [(image[-1][0] - row, column) for row, column in image])))  # fmt: skip
model(
    "vision-positions-from-one", vision_angles=vision_at(lambda places: [(r + 1, c + 1) for r, c in places])
)
model("vision-images-stacked", vision_angles=vision_at(stacked))
model("vision-frequencies-in-blocks", vision_angles=blocks_of_frequencies)
model("vision-row-column-in-turn", vision_angles=turns_of_row_and_column)
model("vision-row-only", vision_angles=vision_at(lambda places: [(row, 0) for row, _ in places]))
model("flat-positions-in-second-image", "V-flat-positions", vision_angles=vision_at(second_image(flat)))
model("swap-hw-in-second-image", "V-swap-hw", vision_angles=vision_at(second_image(swapped)))
model("half-split-in-decoder-layer-1", "V-half-split", layer=in_layer("layers.1.", rotate=faults.half_split))
model("half-split-in-decoder-layer-0", "V-half-split", layer=in_layer("layers.0.", rotate=faults.half_split))
model("half-split-in-vision-layer-1", "V-half-split",
      layer=in_layer(VISION + "transformer.layers.1.", rotate=faults.half_split))  # fmt: skip
model("half-split-in-head-0", "V-half-split", rotate=in_head_0(faults.half_split))
model("half-split-of-decoder-queries", "V-half-split", layer=in_layer(DECODER, rotate=half_split_of_queries))
model("theta-1e9-in-layer-1", "D-theta", layer=in_layer("layers.1.", rotate=with_theta(1e9)))
model("theta-1e9-in-layer-0", "D-theta", layer=in_layer("layers.0.", rotate=with_theta(1e9)))
model("theta-1e5", params={"rope_theta": 1e5})


# Patches


def patches(change):
    """change(all patches of an image as [rows, columns, C, p, p]) -> the same, otherwise"""

    def flatten_patches(image, p, plain=oracle.flatten_patches):
        c, height, width = image.shape
        cut = plain(image, p).reshape(height // p, width // p, c, p, p)
        return np.ascontiguousarray(change(cut)).reshape(height // p * (width // p), -1)

    return flatten_patches


def to_bfloat16(x):
    single = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((single + 0x7FFF + ((single >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def float16_of_red(cut):
    cut = np.array(cut)
    cut[:, :, 0] = cut[:, :, 0].astype(np.float16)
    return cut


model("patches-y-x-channel", flatten_patches=patches(lambda cut: cut.transpose(0, 1, 3, 4, 2)))
model("patches-bgr", flatten_patches=patches(lambda cut: cut[:, :, ::-1]))
model("patches-transposed-inside", flatten_patches=patches(lambda cut: cut.swapaxes(3, 4)))
model("patches-column-major", flatten_patches=patches(lambda cut: cut.swapaxes(0, 1)))
model("patches-upside-down", flatten_patches=patches(lambda cut: cut[::-1]))
model("patches-bfloat16", flatten_patches=patches(lambda cut: to_bfloat16(cut).astype(np.float64)))
model("patches-float16-of-red", "P-f16", flatten_patches=patches(float16_of_red))


# Adapter


def biased(*names):
    """The bias of A-bias, at some of the two."""

    def linear(x, checkpoint, name, plain=oracle.linear):
        if name in [f"vision_language_adapter.{part}.weight" for part in names]:
            return faults.linear_with_bias(x, checkpoint, name, plain)
        return plain(x, checkpoint, name)

    return linear


def transposed(suffix):
    def linear(x, checkpoint, name, plain=oracle.linear):
        if not name.endswith(suffix):
            return plain(x, checkpoint, name)
        return x @ checkpoint.rows(name, 0, checkpoint.shapes[name][0])

    return linear


def rows_of_one_length(checkpoint, x, trace, plain=oracle.adapter):
    quiet = oracle.Trace(
        lambda *tap: trace.put(*tap), [tap for tap in trace.wanted if tap != "adapter.w_out"]
    )
    result = plain(checkpoint, x, quiet)
    result = result / np.sqrt(np.sum(result * result, axis=1, keepdims=True))
    trace.put("adapter.w_out", result)
    return result


def above_zero(wrong):
    return lambda x, plain=oracle.gelu: np.where(x > 0, wrong(x), plain(x))


def table_of_bfloat16(x, plain=oracle.gelu):
    return to_bfloat16(plain(to_bfloat16(x).astype(np.float64))).astype(np.float64)


model("adapter-silu", gelu=oracle.silu)
model("adapter-relu", gelu=lambda x: np.maximum(x, 0))
model("adapter-quick-gelu", gelu=quick_gelu)
model("adapter-without-gelu", gelu=lambda x: x)
model("adapter-rows-normalised", adapter=rows_of_one_length)
model("adapter-w-out-transposed", linear=transposed("vision_language_adapter.w_out.weight"))
model("bias-on-w-out-only", "A-bias", linear=biased("w_out"))
model("bias-on-w-in-only", "A-bias", linear=biased("w_in"))
model("tanh-gelu-above-zero", "A-tanh", gelu=above_zero(faults.tanh_gelu))
model("gelu-table-above-zero", "A-gelu-table", gelu=above_zero(faults.table_gelu))
model("gelu-table-of-bfloat16", "A-gelu-table", gelu=table_of_bfloat16)


# Embeddings and the head


def rows_changed(change):
    """change(rows, tokens, image rows, checkpoint) -> rows, of a copy of decoder.embeddings."""

    def embeddings(checkpoint, tokens, images, trace, plain=oracle.embeddings):
        rows = plain(checkpoint, tokens, images, oracle.Trace(None, []))
        rows = change(rows, np.array(tokens), images, checkpoint)
        trace.put("decoder.embeddings", rows)
        return rows

    return embeddings


def token_row(checkpoint, token):
    return checkpoint.rows("tok_embeddings.weight", token, token + 1)[0]


def at(*chosen, row=None, factor=None):
    """The rows of some tokens: the image row before them, a token's embedding, or times a factor."""

    def change(rows, tokens, images, checkpoint):
        for n in np.flatnonzero(np.isin(tokens, chosen)):
            if factor is not None:
                rows[n] = rows[n] * factor
            elif row is not None:
                rows[n] = token_row(checkpoint, row)
            elif images is not None:
                rows[n] = images[max(0, np.sum(tokens[: n + 1] == IMG) - 1)]
        return rows

    return change


def images_reordered(order):
    """order(number of the image of each [IMG]) -> which image row each takes."""

    def change(rows, tokens, images, checkpoint):
        where = np.flatnonzero(tokens == IMG)
        if len(where):
            rows[where] = images[order(np.cumsum(tokens == END)[where])]
        return rows

    return change


def only_first_break_kept(rows, tokens, images, checkpoint):
    rows[np.flatnonzero(tokens == BREAK)[1:]] = 0
    return rows


def added_to_img(rows, tokens, images, checkpoint):
    rows[tokens == IMG] += token_row(checkpoint, checkpoint.params["vision_encoder"]["image_token_id"])
    return rows


def tied_for_half(x, checkpoint, name, plain=oracle.linear):
    result = plain(x, checkpoint, name)
    if name == "output.weight":
        half = result.shape[1] // 2
        result = np.array(result)
        result[:, :half] = plain(x, checkpoint, "tok_embeddings.weight")[:, :half]
    return result


def head_changed(change):
    def linear(x, checkpoint, name, plain=oracle.linear):
        result = plain(x, checkpoint, name)
        return change(result) if name == "output.weight" else result

    return linear


model(
    "image-order-reversed",
    embeddings=rows_changed(images_reordered(lambda of: np.argsort(-of, kind="stable"))),
)
model("image-rows-reversed", embeddings=rows_changed(images_reordered(lambda of: np.arange(len(of))[::-1])))
model(
    "image-rows-one-late",
    embeddings=rows_changed(images_reordered(lambda of: np.maximum(np.arange(len(of)) - 1, 0))),
)
model("image-rows-added-to-img", embeddings=rows_changed(added_to_img))
model("image-rows-scaled", embeddings=rows_changed(at(IMG, factor=math.sqrt(80))))
model(
    "embeddings-scaled",
    embeddings=rows_changed(lambda rows, tokens, images, checkpoint: rows * math.sqrt(80)),
)
model("break-is-end", embeddings=rows_changed(at(BREAK, row=END)))
model("end-is-break", embeddings=rows_changed(at(END, row=BREAK)))
model("end-embedding-lost", embeddings=rows_changed(at(END, factor=0)))
model("break-row-halved", "L-break-embedding", embeddings=rows_changed(at(BREAK, factor=0.5)))
model("break-row-of-unk", "L-break-embedding", embeddings=rows_changed(at(BREAK, row=0)))
model("break-row-lost-but-the-first", "L-break-embedding", embeddings=rows_changed(only_first_break_kept))
model("image-row-at-end", "M-scatter", embeddings=rows_changed(at(END)))
model("image-row-at-break", "M-scatter", embeddings=rows_changed(at(BREAK)))
model("tied-for-half", "D-tied", linear=tied_for_half)
model("logits-capped", linear=head_changed(lambda logits: np.tanh(logits / 2) * 2))
model("logits-scaled", linear=head_changed(lambda logits: logits / math.sqrt(80)))


# Behind the prompt, where a prompt that is computed in one go shows nothing


def answer(name, behind):
    STRANGERS[name] = Stranger("answer", behind=behind)


def turned_by(change):
    """change(positions, tokens of the prompt) -> the positions that queries and keys are turned by."""

    def behind(prompt):
        def decoder_angles(count, theta, d, plain=oracle.decoder_angles):
            return plain(2 * count, theta, d)[change(np.arange(count), prompt)]

        return {"decoder_angles": decoder_angles}

    return behind


def answer_sees(change):
    """change(query, key, tokens of the prompt) -> whether a query of the answer may see a key."""

    def behind(prompt):
        def changed(sees, query, key):
            return sees & ((query < prompt) | (query == key) | change(query, key, prompt))

        return {"attention": seeing(changed, "decoder.")}

    return behind


answer("answer-one-late", turned_by(lambda at, prompt: at + (at >= prompt)))
answer("answer-begins-anew", turned_by(lambda at, prompt: np.where(at < prompt, at, at - prompt)))
answer("answer-at-one-position", turned_by(lambda at, prompt: np.minimum(at, prompt)))
answer("answer-without-prompt", answer_sees(lambda query, key, prompt: key >= prompt))
answer("answer-without-itself", answer_sees(lambda query, key, prompt: key < prompt))
answer("answer-in-a-window", answer_sees(lambda query, key, prompt: query - key < 48))
answer("answer-without-the-last-of-prompt", answer_sees(lambda query, key, prompt: key != prompt - 1))


# Pixels: of RGB and the right pixels


def pixels(name, wrong, of=None):
    STRANGERS[name] = Stranger("pixels", pixels=wrong, of=of)


def resized(method):
    def wrong(rgb, right):
        return normalised(PIL.Image.fromarray(rgb).resize(right.shape[:0:-1], method))

    return wrong


def nearest(rgb, right):
    height, width = right.shape[1:]
    rows = np.arange(height) * rgb.shape[0] // height
    return normalised(rgb[rows][:, np.arange(width) * rgb.shape[1] // width])


def corners_aligned(rgb, right):
    result = np.asarray(rgb, dtype=np.float64)
    for axis, size in enumerate(right.shape[1:]):
        place = np.linspace(0, result.shape[axis] - 1, size)
        low = np.floor(place).astype(int)
        share = (place - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, result.shape[axis] - 1)
        result = result.take(low, axis) * (1 - share) + result.take(high, axis) * share
    return normalised(result)


def samples(change):
    """change(samples from 0 to 1, [3, height, width]) -> pixels"""
    return lambda rgb, right: change(unnormalised(right))


def c(values):
    return np.asarray(values)[:, None, None]


def padded(right_side, bottom, fill):
    """Padded on some sides only, and stretched on the others; with bytes of `fill`."""

    def wrong(rgb, right):
        height, width = right.shape[1:]
        one = rgb[: height if bottom else None, : width if right_side else None]
        across = stretch(np.ascontiguousarray(one), width if not right_side else one.shape[1],
                                     height if not bottom else one.shape[0])  # fmt: skip
        wider = np.full((height, width, 3), float(fill))
        wider[: across.shape[0], : across.shape[1]] = across[:height, :width]
        return normalised(wider)

    return wrong


def on_grey(rgb, right):
    """Padded behind normalisation, by zeros."""
    height, width = right.shape[1:]
    result = np.zeros(right.shape)
    cut = normalised(rgb[:height, :width])
    result[:, : cut.shape[1], : cut.shape[2]] = cut
    return result


def one_channel_raw(rgb, right):
    result = np.array(right)
    result[0] = unnormalised(right)[0]
    return result


def half_in_blue(rgb, right):
    result = np.array(right)
    result[2] = (unnormalised(right)[2] - 0.5) / 0.5
    return result


def antialiased_when_shrinking(rgb, right):
    shrinks = rgb.shape[0] > right.shape[1] or rgb.shape[1] > right.shape[2]
    return faults.antialiased(rgb, right) if shrinks else right


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
pixels("pixels-bgr", lambda rgb, right: normalised(unnormalised(right)[::-1].transpose(1, 2, 0) * 255))
pixels("pixels-by-256", samples(lambda x: (x * 255 / 256 - c(MEAN)) / c(STD)))
pixels("pixels-imagenet", samples(lambda x: (x - c(IMAGENET_MEAN)) / c(IMAGENET_STD)))
pixels("pixels-mean-std-swapped", samples(lambda x: (x - c(STD)) / c(MEAN)))
pixels("pixels-mean-only", samples(lambda x: x - c(MEAN)))
pixels("pixels-std-only", samples(lambda x: x / c(STD)))
pixels("pixels-from-minus-one", samples(lambda x: (x * 2 - 1 - c(MEAN)) / c(STD)))
pixels("pixels-normalised-twice", lambda rgb, right: (right - c(MEAN)) / c(STD))
pixels("pixels-not-divided", samples(lambda x: (x * 255 - c(MEAN)) / c(STD)))
pixels("pixels-mirrored", lambda rgb, right: right[:, :, ::-1])
pixels("resize-nearest", nearest)
pixels("resize-corners-aligned", corners_aligned)
pixels("resize-clamped", samples(lambda x: (np.clip(x, 0, 1) - c(MEAN)) / c(STD)))
pixels("resize-lanczos", resized(PIL.Image.Resampling.LANCZOS))
pixels("resize-box", resized(PIL.Image.Resampling.BOX))
pixels("padded-right-only", padded(True, False, 0), "P-pad")
pixels("padded-below-only", padded(False, True, 0), "P-pad")
pixels("padded-white", padded(True, True, 255), "P-pad")
pixels("padded-behind-normalisation", on_grey, "P-pad")
pixels("red-not-normalised", one_channel_raw, "P-norm")
pixels("half-in-blue", half_in_blue, "P-norm")
pixels("antialiased-when-shrinking", antialiased_when_shrinking, "P-antialias")


# RGB


def on(colour):
    def opened(picture):
        if picture.mode == "RGB":
            return np.asarray(picture)
        picture = picture.convert("RGBA")
        ground = PIL.Image.new("RGBA", picture.size, colour)
        ground.paste(picture, (0, 0), picture)
        return np.asarray(ground.convert("RGB"))

    return opened


def colour_where_transparent(picture):
    """Laid on white, but where alpha is 0 the colour stays."""
    result = np.array(on("white")(picture))
    if picture.mode != "RGB":
        rgba = np.asarray(picture.convert("RGBA"))
        result[rgba[..., 3] == 0] = rgba[rgba[..., 3] == 0][:, :3]
    return result


def colour_unless_transparent(picture):
    """White where alpha is 0, and elsewhere the colour, whatever its alpha."""
    result = np.array(on("white")(picture))
    if picture.mode != "RGB":
        rgba = np.asarray(picture.convert("RGBA"))
        result[rgba[..., 3] > 0] = rgba[rgba[..., 3] > 0][:, :3]
    return result


STRANGERS["rgb-bgr"] = Stranger("rgb", opened=lambda picture: on("white")(picture)[..., ::-1])
STRANGERS["rgb-on-black"] = Stranger("rgb", opened=on("black"))
STRANGERS["rgb-upside-down"] = Stranger("rgb", opened=lambda picture: on("white")(picture)[::-1])
STRANGERS["alpha-dropped-where-0"] = Stranger("rgb", opened=colour_where_transparent, of="P-alpha")
STRANGERS["alpha-dropped-above-0"] = Stranger("rgb", opened=colour_unless_transparent, of="P-alpha")


# Grids


def grid(name, function, of=None):
    STRANGERS[name] = Stranger("grid", text=[(tokens, "grid", function)], of=of)


def sides(width, height, of_width=round, of_height=round, longest=1024):
    r = max(width, height) / longest
    return (width, height) if r <= 1 else (max(of_width(width / r), 1), max(of_height(height / r), 1))


def cut(sides, patch=16):
    return tuple((side - 1) // patch + 1 for side in sides)


def floor_of_patches(width, height):
    return tuple(max(1, side // 16) for side in sides(width, height))


def half_away(x):
    return math.floor(x + 0.5)


grid("grid-swapped", lambda width, height: cut(sides(width, height))[::-1])
grid("grid-longest-1036", lambda width, height: cut(sides(width, height, longest=1036)))
grid("grid-floor-of-patches", floor_of_patches)
grid("grid-patch-14", lambda width, height: cut(sides(width, height), 14))
grid("grid-without-limit", lambda width, height: cut((width, height)))
grid("grid-sides-apart", lambda width, height: cut((min(width, 1024), min(height, 1024))))
grid("grid-plus-one", lambda width, height: tuple(side // 16 + 1 for side in sides(width, height)))
grid("grid-square", lambda width, height: (max(cut(sides(width, height))),) * 2)
grid("floor-of-width", lambda width, height: cut(sides(width, height, of_width=math.floor)), "G-floor")
grid("ceil-of-height", lambda width, height: cut(sides(width, height, of_height=math.ceil)), "G-ceil")
grid(
    "half-away-of-height", lambda width, height: cut(sides(width, height, of_height=half_away)), "G-half-away"
)
grid("upscaled-to-512", lambda width, height: cut(sides(width, height)) if max(width, height) > 512
     else text_faults.upscaling_grid(width, height, 16, 512), "G-upscale")  # fmt: skip


# Tokens


def text(name, *changes, of=None):
    STRANGERS[name] = Stranger("tokens", text=list(changes), of=of)


def chat(change):
    """change(tokens) of a whole request."""

    def changed(self, request, limit=None, plain=Template.chat):
        result, grids = plain(self, request, limit)
        return change(result), grids

    return (Template, "chat", changed)


def normal_text(change):
    """change(text) before it is encoded."""
    return (
        Tokenizer,
        "encode",
        lambda self, text, mark=True, plain=Tokenizer.encode: plain(self, change(text), mark),
    )


def content(change):
    """change(parts) of a message's content."""
    return (
        Template,
        "chunks",
        lambda self, parts, grids, plain=Template.chunks: plain(self, change(parts), grids),
    )


def laid_out(change):
    """change(columns, rows) -> an image's tokens."""

    def chunks(self, parts, grids, plain=Template.chunks):
        result = []
        for part in parts:
            before = len(grids)
            found = plain(self, [part], grids)
            result += change(*grids[-1], before) if len(grids) > before else found
        return result

    return (Template, "chunks", chunks)


def rows_with(first, last):
    """Rows of `first` and of the last row `last`, each with a place for the patches."""

    def change(columns, rows, number):
        def row(pattern):
            return [token for one in pattern for token in ([IMG] * columns if one == IMG else [one])]

        return row(first) * (rows - 1) + row(last)

    return change


RIGHT = rows_with([IMG, BREAK], [IMG, END])


def only_image(n, wrong):
    return lambda columns, rows, number: (wrong if number == n else RIGHT)(columns, rows, number)


def first_image(messages, plain=tokens.merged):
    messages, seen = plain(messages), 0
    for one in messages:
        kept = []
        for part in one["content"]:
            seen += text_faults.is_image(part)
            if not text_faults.is_image(part) or seen == 1:
                kept.append(part)
        one["content"] = kept
    return messages


def without_system(messages, plain=tokens.merged):
    return plain([one for one in messages if one["role"] != "system"])


def system_in_user(messages, plain=tokens.merged):
    """The system's text in front of the first user's."""
    messages = plain(messages)
    system = [part for one in messages if one["role"] == "system" for part in one["content"]]
    rest = [one for one in messages if one["role"] != "system"]
    for one in rest:
        if one["role"] == "user" and system:
            one["content"] = tokens.joined(system + one["content"])
            break
    return rest


def images_first(parts):
    return sorted(parts, key=lambda part: not text_faults.is_image(part))


def joined_by(separator):
    def joined(parts):
        found = []
        for part in parts:
            if part["type"] == "text" and found and found[-1]["type"] == "text" and part["text"]:
                found[-1] = {"type": "text", "text": found[-1]["text"] + separator + part["text"]}
            elif part["type"] != "text" or part["text"]:
                found.append(part)
        return found

    return (tokens, "joined", joined)


def without_id(call):
    function = call["function"]
    return {"name": function["name"], "arguments": tokens.value_of(function["arguments"])}


def unspaced_assistant(self, one, grids, plain=Template.message):
    """The space behind [/INST] is missing."""
    if one["role"] != "assistant":
        return plain(self, one, grids)
    encode, first = self.encode, [True]

    def without(text, mark=True):
        mark, first[0] = mark and not first[0], False
        return encode(text, mark)

    self.encode = without
    try:
        return plain(self, one, grids)
    finally:
        self.encode = encode


def start_behind_images(self, parts, grids, plain=Template.chunks):
    """<s> in front of texts behind an image only."""
    result = []
    for n, part in enumerate(parts):
        behind = n > 0 and text_faults.is_image(parts[n - 1]) and part["type"] == "text"
        result += ([tokens.BOS] if behind else []) + plain(self, [part], grids)
    return result


def newline_before(self, parts, grids, plain=Template.chunks):
    """A line feed between a text and the image behind it only."""
    changed = []
    for n, part in enumerate(parts):
        before_image = n + 1 < len(parts) and text_faults.is_image(parts[n + 1])
        if part["type"] == "text" and before_image:
            part = {"type": "text", "text": part["text"] + "\n"}
        changed.append(part)
    return plain(self, changed, grids)


def only_named(name):
    """One of the control tokens inside a text becomes one."""

    def encode(self, text, mark=True, plain=Tokenizer.encode):
        result = []
        for n, part in enumerate(text.split(name)):
            result += [self.pieces.index(name)] * (n > 0) + plain(self, part, mark)
        return result

    return (Tokenizer, "encode", encode)


def longest_first(self, path, plain=Tokenizer.__init__):
    plain(self, path)
    self.score = {piece: len(piece) - id / 1e6 for piece, id in self.normal.items()}


def crlf_joined(stretch):
    result = []
    for scalar in stretch:
        if result and result[-1] == "\r" and scalar == "\n":
            result[-1] += scalar
        else:
            result.append(scalar)
    return result


def unknown(self, text, mark=True, plain=Tokenizer.encode):
    """<unk> for a character that has no piece, not its bytes."""
    result = []
    for token in plain(self, text, mark):
        is_byte = self.first_byte <= token < self.first_byte + 256
        if not is_byte:
            result.append(token)
        elif (token - self.first_byte) & 0xC0 != 0x80:  # the first byte of a character
            result.append(0)
    return result


def without_bytes(self, text, mark=True, plain=Tokenizer.encode):
    return [
        token for token in plain(self, text, mark) if not self.first_byte <= token < self.first_byte + 256
    ]


def ascii_dumps(value):
    return json.dumps(value)


def compact_dumps(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def decoded(change):
    return (Tokenizer, "decode", lambda self, ids, plain=Tokenizer.decode: change(self, ids, plain))


def encode_only(function):
    return (Tokenizer, "encode", function)


text("bos-missing", chat(lambda result: result[1:]))
text("eos-at-the-end", chat(lambda result: [*result, tokens.EOS]))
text("eos-missing", chat(lambda result: [token for token in result if token != tokens.EOS]))
text("system-dropped", (tokens, "merged", without_system))
text("system-in-user", (tokens, "merged", system_in_user))
text("call-ids-missing", (tokens, "described", without_id))
text("images-first", content(images_first))
text("images-last", content(lambda parts: images_first(parts)[::-1]))
text("layout-swapped", laid_out(lambda columns, rows, n: RIGHT(rows, columns, n)))
text("break-in-front", laid_out(rows_with([BREAK, IMG], [BREAK, IMG])))
text("end-missing", laid_out(rows_with([IMG, BREAK], [IMG, BREAK])))
text("end-left-out", laid_out(rows_with([IMG, BREAK], [IMG])))
text("end-everywhere", laid_out(rows_with([IMG, END], [IMG, END])))
text("one-newline-between-texts", joined_by("\n"))
text("nothing-between-texts", joined_by(""))
text("space-before-end-inst", chat(lambda result: [t for token in result
     for t in ([29473, token] if token == tokens.END_INST else [token])]))  # fmt: skip
text("json-ascii", (tokens, "dumps", ascii_dumps))
text("json-compact", (tokens, "dumps", compact_dumps))
text("decode-leading-space", decoded(lambda self, ids, plain: (" " if ids and self.pieces[ids[0]].startswith("\u2581")
     else "") + plain(self, ids)))  # fmt: skip
text("decode-stripped", decoded(lambda self, ids, plain: plain(self, ids).strip()))
text("text-nfkc", normal_text(lambda text: unicodedata.normalize("NFKC", text)))
text("text-lower", normal_text(str.lower))
text("text-stripped", normal_text(str.strip))
text("text-spaces-joined", normal_text(lambda text: " ".join(part for part in text.split(" ") if part)))
text("text-unknown", encode_only(unknown))
text("text-bytes-dropped", encode_only(without_bytes))
text("text-longest-first", (Tokenizer, "__init__", longest_first))
text("spacing-lost-behind-end-inst", (Template, "message", unspaced_assistant), of="T-spacing")
text("break-id-only", (tokens, "IMG_BREAK", 12), of="L-ids")
text(
    "extra-break-in-second-image",
    laid_out(only_image(1, rows_with([IMG, BREAK], [IMG, BREAK, END]))),
    of="L-extra-break",
)
text("flat-but-end", laid_out(rows_with([IMG], [IMG, END])), of="L-flat")
text("first-image-only", (tokens, "merged", first_image), of="L-last-image")
text("bos-behind-images", (Template, "chunks", start_behind_images), of="T-double-bos")
text("newline-before-images", (Template, "chunks", newline_before), of="T-newline-image")
text("img-in-text", only_named("[IMG]"), of="T-control-in-text")
text("eos-in-text", only_named("</s>"), of="T-control-in-text")
text("crlf-as-one", (tokens, "list", crlf_joined), of="T-graphemes")
