"""Puts the faults of DIVERGENCES.md into a copy of the oracle, one at a time, and measures whether each model case would show them.

    python check_exposes.py [NAME ...]

A fault shows if, at the tap where it is first visible, it moves the stored rows by at least 16 times the witness' distance: the float32 limit is 4 times
that, and a fault should lie 4 limits away from what is right. (In float64 the limit is 1e-11 and every fault here is far beyond it.) Printed per case
and fault: relF at that tap, how many float32 limits that is, and whether case.json says so in `exposes`. Exit 1 if case.json claims a fault that
does not show. Faults of tokens, grids and shapes need no arithmetic and are not in here; of the pixels, the four that keep the grid are.
D-k-permute is not either: seeded:tiny's 40 rows of wk cannot be divided among 6 query heads, so that a converter with this fault fails on it.
"""

import argparse
import contextlib
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import make_goldens  # sets OPENBLAS_NUM_THREADS before numpy is loaded  # noqa: E402

import numpy as np  # noqa: E402
import oracle  # noqa: E402
import PIL.Image  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from compare import distance  # noqa: E402

LIMITS_AWAY = 4.0


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
    """A checkpoint with another parameter, or with a tensor read under another name."""

    def __init__(self, original, renamed=None, **params):
        self.original, self.renamed = original, renamed or {}
        self.params, self.shapes = original.params | params, original.shapes

    def rows(self, name, start, stop):
        return self.original.rows(self.renamed.get(name, name), start, stop)


# Faults: each is a context for the oracle, or a changed checkpoint


def flat_positions(places, theta, e, plain=oracle.vision_angles):
    """Patches numbered through and looked up in a table of 64 by 64."""
    return plain([(n // 64, n % 64) for n in range(len(places))], theta, e)


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


def without_mask(q, k, v, heads, kv_heads, sees, trace, prefix, plain=oracle.attention):
    if prefix.startswith("vision."):
        sees = np.ones_like(sees)
    return plain(q, k, v, heads, kv_heads, sees, trace, prefix)


def layer_with_gelu(x, checkpoint, weights, *rest, plain=oracle.layer):
    """GELU for SiLU, in the vision encoder only."""
    with patched(silu=oracle.gelu) if weights.startswith("vision_encoder.") else contextlib.nullcontext():
        return plain(x, checkpoint, weights, *rest)


def linear_with_bias(x, checkpoint, name, plain=oracle.linear):
    """A random bias with the standard deviation of a freshly made layer, 0.02, where the adapter has none."""
    result = plain(x, checkpoint, name)
    if name.startswith("vision_language_adapter."):
        result = result + np.random.default_rng(1).normal(0, 0.02, result.shape[1])
    return result


def tanh_gelu(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def embeddings_everywhere(checkpoint, tokens, images, trace):
    """Break and end slots take image rows as well: the row of the patch before them."""
    rows, seen = [], 0
    for token in tokens:
        seen += token == 10
        rows.append(images[seen - 1] if token in (10, 14, 15) else checkpoint.rows("tok_embeddings.weight", token, token + 1)[0])
    trace.put("decoder.embeddings", np.array(rows))
    return np.array(rows)


# id -> (first tap to look at, whether it needs an image, patches of the oracle, change of the checkpoint)
FAULTS = {
    "V-flat-positions": ("vision.layers.0.attention.q_rotated", True, {"vision_angles": flat_positions}, {}),
    "V-swap-hw": ("vision.layers.0.attention.q_rotated", True, {"vision_angles": swapped_positions}, {}),
    "V-same-freqs": ("vision.layers.0.attention.q_rotated", True, {"vision_angles": same_frequencies}, {}),
    "V-half-split": ("decoder.layers.0.attention.q_rotated", False, {"rotate": half_split}, {}),
    "V-no-mask": ("vision.layers.0.attention.context", True, {"attention": without_mask}, {}),
    "V-gelu": ("vision.layers.0.feed_forward.hidden", True, {"layer": layer_with_gelu}, {}),
    "A-bias": ("adapter.w_in", True, {"linear": linear_with_bias}, {}),
    "A-tanh": ("adapter.gelu", True, {"gelu": tanh_gelu}, {}),
    "M-scatter": ("decoder.embeddings", True, {"embeddings": embeddings_everywhere}, {}),
    "D-eps": ("decoder.layers.0.attention_norm", False, {}, {"norm_eps": 1e-6}),
    "D-theta": ("decoder.layers.0.attention.q_rotated", False, {}, {"rope_theta": 1e9}),
    "D-tied": ("logits", False, {}, {"renamed": {"output.weight": "tok_embeddings.weight"}}),
}


def with_fault(case, expected, tap, patches, change):
    """The stored rows of one tap, computed with the fault. Nothing after that tap is computed."""
    loaded = make_goldens.oracle_checkpoint.open_checkpoint(make_goldens.MODEL)
    if change:
        loaded = Changed(loaded, **change)
    pixels = [expected[f"image{n}"] for n in range(len(case["expect"]["grids"]))]
    result = {}
    with patched(**patches):
        trace = oracle.Trace(lambda name, matrix: result.update({name: matrix}), [tap], tap)
        with contextlib.suppress(oracle.Finished):
            oracle.forward(loaded, case["expect"]["tokens"], pixels, trace)
    rows = case["expect"]["rows"].get(tap)
    return result[tap] if rows is None else result[tap][rows]


def pixel_faults(folder, case, expected):
    """(fault, relF of the first image that shows it) for the faults of image processing that keep the grid."""
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])

    def normalised(rgb, mean=mean, std=std):
        return ((np.asarray(rgb, dtype=np.float64) / 255 - mean) / std).transpose(2, 0, 1)

    result = {}
    for n, (grid, file) in enumerate(zip(case["expect"]["grids"], case["inputs"].get("images", []), strict=True)):
        size = (grid["columns"] * 16, grid["rows"] * 16)
        right = expected[f"image{n}"].astype(np.float64)
        with PIL.Image.open(folder / file["file"]) as opened:
            opened.load()
        white = PIL.Image.new("RGBA", opened.size, "white")
        rgb = PIL.Image.alpha_composite(white, opened.convert("RGBA")).convert("RGB")
        padded = PIL.Image.new("RGB", size)
        padded.paste(rgb, (0, 0))
        stretched = rgb.resize(size, PIL.Image.Resampling.BICUBIC)
        faults = {
            "P-pad": normalised(padded),
            "P-antialias": normalised(stretched),
            "P-norm": (right * std[:, None, None] + mean[:, None, None] - 0.5) / 0.5,
        }
        if opened.mode == "RGBA":
            faults["P-alpha"] = normalised(opened.convert("RGB").resize(size, PIL.Image.Resampling.BICUBIC))
        for fault, wrong in faults.items():
            result[fault] = max(result.get(fault, 0), distance(right, wrong).rel_f)
    return result


def check(name):
    """Prints a table for one case; True if every claim in `exposes` that can be computed here is true."""
    folder = make_goldens.CASES / name
    case = json.loads((folder / "case.json").read_text())
    expected = load_file(folder / case["expect"]["tensors"])
    noise = case["witnesses"][0]["distance"]
    fine = True
    for fault, (tap, needs_image, patches, change) in FAULTS.items():
        if needs_image and not case["expect"]["grids"]:
            continue
        moved = distance(expected[tap], with_fault(case, expected, tap, patches, change)).rel_f
        limits = moved / (4 * noise[tap]) if noise[tap] else math.inf * moved if moved else 0.0
        shows, claimed = limits >= LIMITS_AWAY, fault in case["exposes"]
        fine = fine and (shows or not claimed)
        verdict = "claimed" if shows and claimed else "CLAIMED, BUT DOES NOT SHOW" if claimed else "shows, not claimed" if shows else "hidden"
        print(f"{name:12} {fault:17} {tap:40} {moved:9.2e} {limits:11.1f} limits  {verdict}")
    for fault, moved in pixel_faults(folder, case, expected).items():
        shows, claimed = moved > 1e-3, fault in case["exposes"]
        fine = fine and (shows or not claimed)
        print(f"{name:12} {fault:17} {'pixels':40} {moved:9.2e} {'':19} {'claimed' if shows and claimed else 'shows, not claimed' if shows else 'HIDDEN'}")
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    results = [check(name) for name in arguments.names or make_goldens.requests()]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
