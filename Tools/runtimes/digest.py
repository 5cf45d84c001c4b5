"""Makes the digest of a trace, as Docs/Trace.md defines it. Copy this file into your runtime.

    digest = Digest()
    digest.add("decoder.layers.0.attention.q", adjacent_pairs(as_matrix(q, rows), head_dim))
    digest.write("digest.safetensors")

    python digest.py TRACE.safetensors OUT.safetensors

The first form takes NumPy arrays or PyTorch tensors, one tap at a time, as soon as they are computed.
A tensor stays on its device, and nothing of it is kept. The second form makes the digest of a file
of taps; it needs NumPy. Its taps are [rows, columns], with a batch of one in front or not, and q
and k in adjacent pairs.

Of each tap there are three small tensors: `summary` (shape and sizes), `row_norms` (of up to 64 rows)
and `sketch`, a CountSketch: every value is added to, or taken from, one of 512 buckets. Sketches are
linear, so that the norm of the difference of two is about the norm of the difference of the taps.
"""

import json
import math
import struct
import sys

BUCKETS = 512
ROWS = 64  # whose norms are kept, at most
CHUNK = 1 << 22  # values worked on at a time; nothing else depends on it
MASK = 2**32 - 1
FLOAT32_END = 2.0**128 - 2.0**103  # what is rounded to infinity in float32


# How a runtime's tensors become taps


def as_matrix(x, rows):
    """[rows, columns], [rows, heads, head_dim] or [heads, rows, head_dim], with a batch of one in
    front or not, as [rows, columns] with the heads side by side.
    """
    if len(x.shape) > 2 and x.shape[0] == 1 and (len(x.shape) == 4 or x.shape[1] == rows):
        x = x[0]
    if len(x.shape) == 2 and x.shape[0] == rows:
        return x
    if len(x.shape) == 3 and x.shape[0] == rows and x.shape[1] != rows:
        return x.reshape(rows, -1)
    if len(x.shape) == 3 and x.shape[1] == rows and x.shape[0] != rows:
        return x.swapaxes(0, 1).reshape(rows, -1)
    raise ValueError(
        f"A tensor {list(x.shape)} cannot be told to be a matrix of {rows} rows; make it [rows, columns]."
    )


def adjacent_pairs(x, head_dim):
    """Columns of q or k from transformers' order, which rotates i and i + head_dim / 2, to that of
    the taps, which rotates 2i and 2i + 1. x [rows, heads * head_dim].
    """
    halves = x.reshape(len(x), -1, 2, head_dim // 2)
    return halves.swapaxes(2, 3).reshape(x.shape)


# The digest


class Digest:
    """Digests of taps, in the order in which they are added."""

    def __init__(self):
        self.summaries, self.others = {}, {}  # tensor name: (dtype, list of numbers)

    def add(self, name, x):
        """Adds the tap `name`; x [rows, columns], any floating dtype."""
        if f"{name}.summary" in self.summaries:
            raise ValueError(f"{name} is in the digest already.")
        if len(x.shape) != 2 or 0 in x.shape:
            raise ValueError(f"{name} must be a matrix [rows, columns]; it is {list(x.shape)}.")
        summary, row_norms, sketch = digest_of(name, x)
        self.summaries[f"{name}.summary"] = ("F64", summary)
        self.others[f"{name}.row_norms"] = ("F32", row_norms)
        self.others[f"{name}.sketch"] = ("F32", sketch)

    def write(self, path):
        """Writes a safetensors file. All F64 come first, so that each tensor is aligned."""
        header, data = {"__metadata__": {"format": "pixtral-ref digest 1"}}, bytearray()
        for name, (dtype, numbers) in (self.summaries | self.others).items():
            start = len(data)
            if dtype == "F32":
                numbers = [n if abs(n) < FLOAT32_END else math.copysign(math.inf, n) for n in numbers]
            data += struct.pack(f"<{len(numbers)}{'d' if dtype == 'F64' else 'f'}", *numbers)
            header[name] = {"dtype": dtype, "shape": [len(numbers)], "data_offsets": [start, len(data)]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + data)


def digest_of(name, x):
    """(summary, row_norms, sketch) of a matrix, as lists of Python's floats."""
    xp = library(x)
    rows, columns = x.shape
    k0, k1 = key(f"sketch:{name}")
    sketch = squares = not_finite = nan = largest = 0
    rows_at_once = max(1, CHUNK // columns)
    for start in range(0, rows, rows_at_once):
        values, bad, bad_nan = finite(xp, x[start : start + rows_at_once].reshape(-1))
        h = hashes(indices(xp, start * columns, values), k0, k1)
        signed = xp.where((h & 512) != 0, -values, values)
        sketch = sketch + xp.bincount(h & (BUCKETS - 1), weights=signed, minlength=BUCKETS)
        squares = squares + (values * values).sum()
        largest = max(largest, float(abs(values).max()))
        not_finite, nan = not_finite + bad, nan + bad_nan

    m = min(rows, ROWS)
    chosen = [j * (rows - 1) // (m - 1) for j in range(m)] if m > 1 else [0]
    row_norms = []
    for start in range(0, m, rows_at_once):
        part = x[chosen[start : start + rows_at_once]]
        values = finite(xp, part.reshape(-1))[0].reshape(part.shape)
        row_norms += xp.sqrt((values * values).sum(1)).tolist()

    rms = math.sqrt(float(squares) / (rows * columns))
    return [rows, columns, rms, largest, not_finite, nan], row_norms, sketch.tolist()


def finite(xp, values):
    """The values in double, those that are not finite as 0; how many these are; how many are NaN."""
    if xp.__name__ == "torch":
        if values.device.type == "mps":  # which has no double
            values = values.cpu()
        values = values.to(xp.float64)
    else:
        values = values.astype(xp.float64)
    good = xp.isfinite(values)
    bad = len(values) - int(good.sum())
    if bad == 0:
        return values, 0, 0
    return xp.where(good, values, xp.zeros_like(values)), bad, int(xp.isnan(values).sum())


# The hash of Model.md 9, in 64 bits of which only the low 32 are kept: PyTorch has no arithmetic of 32
# unsigned bits


def key(text):
    """FNV-1a with 64 bits, as its low and its high half."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value & MASK, value >> 32


def hashes(n, k0, k1):
    """The hash of each n; n is int64, and products that overflow wrap around."""
    x = (n & MASK) ^ k0
    x = x ^ (x >> 16)
    x = (x * 0x85EBCA6B + k1) & MASK
    x = x ^ (x >> 13)
    x = (x * 0xC2B2AE35) & MASK
    return x ^ (x >> 16)


def indices(xp, start, values):
    """start, start + 1, …, one for each of the values, beside them on their device."""
    if xp.__name__ == "torch":
        return xp.arange(start, start + len(values), dtype=xp.int64, device=values.device)
    return xp.arange(start, start + len(values), dtype=xp.int64)


def library(x):
    """The module that x is of: torch or numpy."""
    if type(x).__module__.split(".")[0] == "torch":
        return sys.modules["torch"]
    import numpy

    return numpy


# A file of taps


def taps(path):
    """(name, matrix) of each tensor of a safetensors file, in the order of its data; NumPy."""
    import numpy

    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    data = numpy.memmap(path, mode="r", offset=8 + length)
    stored = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if tensor["dtype"] not in stored:
            raise ValueError(f"{path}: {name} is {tensor['dtype']}; a tap is F64, F32, F16 or BF16.")
        start, stop = tensor["data_offsets"]
        x = numpy.frombuffer(data[start:stop], dtype=stored[tensor["dtype"]]).reshape(tensor["shape"])
        if tensor["dtype"] == "BF16":  # the high half of a float32
            x = (x.astype("<u4") << 16).view("<f4")
        yield name, x[0] if len(x.shape) == 3 and x.shape[0] == 1 else x


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: python digest.py TRACE.safetensors OUT.safetensors")
    digest = Digest()
    for name, x in taps(sys.argv[1]):
        digest.add(name, x)
    digest.write(sys.argv[2])


if __name__ == "__main__":
    main()
