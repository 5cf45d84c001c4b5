"""A minimal reader and writer of safetensors files (8 bytes of header length, JSON header, data
area).

BF16 has no NumPy type: its arrays are the bit patterns, uint16.
"""

import json
import os
import struct

import numpy as np

STORED = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}


def bfloat16_to_float32(bits):
    """A bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def float32_to_bfloat16(values):
    """Nearest, ties to even. Finite values only."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype(np.uint16)


def widen(stored, dtype):
    """Stored values as float64; exact for every dtype here."""
    if dtype == "BF16":
        stored = bfloat16_to_float32(stored)
    return stored.astype(np.float64)


def narrow(values, dtype):
    """Float64 values as they are stored. BF16 goes through float32 (two roundings), which is exact
    for seeded values.
    """
    if dtype == "BF16":
        return float32_to_bfloat16(np.asarray(values, dtype=np.float32))
    return np.asarray(values).astype(STORED[dtype])


class Reader:
    """One file, mapped. Nothing is read before it is asked for."""

    def __init__(self, path):
        self.path = str(path)
        self.data = np.memmap(self.path, dtype=np.uint8, mode="r")
        (length,) = struct.unpack("<Q", self.data[:8].tobytes())
        assert 8 + length <= self.data.size, f"{self.path}: the header is longer than the file."
        header = json.loads(self.data[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        self.base = 8 + length
        self.entries = header
        for name, entry in header.items():
            assert entry["dtype"] in STORED, (
                f"{self.path}: {name} is stored as {entry['dtype']}, which is not read here."
            )
            begin, end = entry["data_offsets"]
            size = int(np.prod(entry["shape"], dtype=np.int64)) * np.dtype(STORED[entry["dtype"]]).itemsize
            assert end - begin == size and self.base + end <= self.data.size, (
                f"{self.path}: {name} has wrong offsets."
            )

    def names(self):
        """In the order of the data area."""
        return sorted(self.entries, key=lambda name: self.entries[name]["data_offsets"])

    def shape(self, name):
        return tuple(self.entries[name]["shape"])

    def dtype(self, name):
        return self.entries[name]["dtype"]

    def array(self, name):
        """The stored values, a view of the file: uint16 for BF16."""
        entry = self.entries[name]
        begin, end = entry["data_offsets"]
        stored = self.data[self.base + begin : self.base + end].view(STORED[entry["dtype"]])
        return stored.reshape(entry["shape"])


class Writer:
    """Writes tensors one after another, without knowing them beforehand.

    Space for the header is set aside first, filled in at the end, and padded with spaces, as the
    format allows.
    """

    def __init__(self, path, names):
        """`names`: all that may be written, for the size of the header only."""
        self.path = str(path)
        reserve = 64 + sum(len(name) + 160 for name in names)
        self.length = (reserve + 7) // 8 * 8
        self.header = {}
        self.position = 0
        self.file = open(self.path, "wb")
        self.file.seek(8 + self.length)

    def add(self, name, shape, dtype, chunks):
        """`chunks`: arrays of stored values, row-major, one after another."""
        begin = self.position
        for chunk in chunks:
            data = np.ascontiguousarray(chunk, dtype=STORED[dtype])
            self.file.write(data.data.cast("B") if data.size else b"")
            self.position += data.nbytes
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(STORED[dtype]).itemsize
        assert self.position - begin == size, f"{name} was written with another size than its shape says."
        assert name not in self.header, f"{name} was written twice."
        self.header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, self.position]}

    def close(self):
        text = json.dumps(self.header, separators=(",", ":")).encode()
        assert len(text) <= self.length, "the header does not fit into the space set aside for it."
        self.file.seek(0)
        self.file.write(struct.pack("<Q", self.length) + text.ljust(self.length))
        self.file.close()


def write(path, arrays):
    """A whole file from a dict of float arrays; float16, float32 and float64 keep their type."""
    writer = Writer(path, arrays)
    for name, array in arrays.items():
        dtype = {2: "F16", 4: "F32", 8: "F64"}[array.dtype.itemsize]
        assert array.dtype.kind == "f", f"{name} is not floating point."
        writer.add(name, array.shape, dtype, [array])
    writer.close()
