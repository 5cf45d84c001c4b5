"""Runs one request and writes its taps as float64.

    python run.py --checkpoint seeded:tiny|DIR --tokens FILE.json [--pixels FILE.safetensors]
                  [--taps GLOB,...] [--until TAP] --out FILE.safetensors

Without --taps all taps are written but the on-demand ones (attention.scores, attention.weights); a
glob that matches an on-demand tap asks for it. `*` matches dots too. The pixels file holds image0,
image1, ... as float32 [3, height, width].
"""

import argparse
import fnmatch
import json
import pathlib
import sys

import numpy as np

import oracle
import tensors
from checkpoint import open_checkpoint


def read_tokens(path):
    tokens = json.loads(pathlib.Path(path).read_text())
    return tokens["tokens"] if isinstance(tokens, dict) else tokens


def read_pixels(path):
    reader = tensors.Reader(path)
    names = [f"image{n}" for n in range(len(reader.entries))]
    assert sorted(names) == sorted(reader.entries), f"{path} must hold image0, image1, ... and nothing else."
    for name in names:
        assert reader.dtype(name) == "F32", f"{name} in {path} is {reader.dtype(name)}, and must be F32."
    return [np.array(reader.array(name)) for name in names]


def select(names, globs, until):
    """The taps to keep, in the order of computation."""
    if until is not None:
        assert until in names, f"This request has no tap {until}."
        names = names[: names.index(until) + 1]
    if globs is None:
        return [name for name in names if not name.endswith(oracle.ON_DEMAND) or name == until]
    for glob in globs:
        assert fnmatch.filter(names, glob), f"No tap matches {glob}."
    return [name for name in names if any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--pixels")
    parser.add_argument("--taps")
    parser.add_argument("--until")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()

    checkpoint = open_checkpoint(options.checkpoint)
    tokens = read_tokens(options.tokens)
    pixels = read_pixels(options.pixels) if options.pixels else []
    oracle.check(checkpoint, tokens, pixels)
    names = oracle.tap_names(checkpoint.params, bool(pixels))
    wanted = select(names, options.taps.split(",") if options.taps else None, options.until)
    last = options.until or wanted[-1]  # nothing after the last tap wanted needs computing

    writer = tensors.Writer(options.out, wanted)
    oracle.forward(
        checkpoint,
        tokens,
        pixels,
        oracle.Trace(lambda name, matrix: writer.add(name, matrix.shape, "F64", [matrix]), wanted, last),
    )
    writer.close()


if __name__ == "__main__":
    try:
        main()
    except AssertionError as refusal:
        sys.exit(f"refused: {refusal}")
