"""Compares how pixtral-ref and mistral-common take broken and odd image files: which are refused,
with which exception, and the samples of the others.

usage: check_image_files.py BINARY [COUNT [SEED [FOLDER]]]

COUNT PNGs are made of chunks, and half as many JPEGs of segments; each gets up to three random
changes: a chunk or segment more, less, twice, elsewhere, cut, with another name, length or checksum;
damaged samples; an end that is missing. A quarter as many files more are whole, and have a random
EXIF block: pixtral-ref must warn of those that Pillow's `ImageOps.exif_transpose` would turn.

Pictures are 16×16, so that nothing is stretched. Each goes through a request as a `data:` URL, as a
`file://` URL and as an `image` chunk. Files that only pixtral-ref refuses, as Docs/Images.md lists
them, are counted; all other differences are printed, and such files written to FOLDER.
"""

import base64
import collections
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL import Image, ImageOps
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
SIDE = 16
LIMIT = 1e-5

# ---- PNG ----

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Chunk:
    def __init__(self, name: bytes, data: bytes):
        self.name, self.data = name, data
        self.length, self.checksum = None, None

    def coded(self) -> bytes:
        length = len(self.data) if self.length is None else self.length
        checksum = zlib.crc32(self.name + self.data) if self.checksum is None else self.checksum
        return struct.pack(">I", length) + self.name + self.data + struct.pack(">I", checksum)


def samples(r: random.Random, colour: int, depth: int, interlaced: bool) -> bytes:
    bits = CHANNELS[colour] * depth
    grids = ADAM7 if interlaced else [(0, 0, 1, 1)]
    data = b""
    for x, y, dx, dy in grids:
        columns, rows = len(range(x, SIDE, dx)), len(range(y, SIDE, dy))
        for _ in range(rows):
            data += bytes([r.randrange(5)]) + r.randbytes((columns * bits + 7) // 8)
    return data


def text_of_exif(r: random.Random) -> bytes:
    block = r.choice([b"Exif\0\0", b""]) + tiff(r)
    digits = block.hex()
    if r.random() < 0.1:
        digits = digits[:-1] + r.choice("gG x")
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    head = r.choice(["\nexif\n%8d\n" % len(block)] * 4 + ["exif\n", "\n\n\n", "\r\nexif\r\n12\r\n"])
    return (head + "\n".join(lines) + r.choice(["\n", "", " "])).encode()


def xmp(r: random.Random) -> bytes:
    value = r.choice("0123456789")
    return r.choice([
        f'<x tiff:Orientation="{value}"/>', f"<tiff:Orientation>{value}</tiff:Orientation>",
        f"<x tiff:Orientation='{value}'/>", f'<x tiff:Orientation = "{value}"/>', "<x/>", "",
        f'tiff:Orientation="a" tiff:Orientation="{value}{value}"',
    ]).encode()  # fmt: skip


def text_chunk(r: random.Random, keyword: bytes, text: bytes) -> Chunk:
    kind = r.choice([b"tEXt", b"zTXt", b"iTXt", b"iTXt"])
    if kind == b"tEXt":
        return Chunk(kind, keyword + b"\0" + text)
    method = r.choice([0] * 9 + [1, 255])
    coded = zlib.compress(text)
    coded = r.choice([coded] * 6 + [coded[: len(coded) // 2], b"no zlib", coded[:-1] + b"?", coded + b"more"])
    if kind == b"zTXt":
        return Chunk(kind, keyword + b"\0" + bytes([method]) + coded)
    flag = r.choice([0, 1])
    language = r.choice([b"", b"en", b"\xff"])
    body = bytes([flag, method]) + language + b"\0" + r.choice([b"", b"key", b"\xfe"]) + b"\0"
    return Chunk(kind, keyword + b"\0" + body + (coded if flag else text))


def ancillary(r: random.Random) -> Chunk:
    big = zlib.compress(bytes(2_000_000))
    near = zlib.compress(bytes(r.choice([1 << 20, (1 << 20) - 1, (1 << 20) + 1])))
    short = lambda data: data[: r.randrange(len(data) + 1)] if r.random() < 0.5 else data
    return r.choice([
        lambda: Chunk(b"gAMA", short(struct.pack(">I", 45455))),
        lambda: Chunk(b"cHRM", short(struct.pack(">8I", *range(1, 9)))),
        lambda: Chunk(b"cHRM", short(bytes(40))),
        lambda: Chunk(b"sRGB", short(b"\0")),
        lambda: Chunk(b"sRGB", b"\7"),
        lambda: Chunk(b"pHYs", short(struct.pack(">IIB", 1, 2, r.randrange(3)))),
        lambda: Chunk(b"acTL", short(struct.pack(">II", r.choice([0, 1, 2, 0x80000001]), 0))),
        lambda: fctl(r),
        lambda: Chunk(b"fdAT", struct.pack(">I", r.randrange(3)) + r.randbytes(r.randrange(5))),
        lambda: Chunk(b"fdAT", bytes(r.randrange(4))),
        lambda: Chunk(b"iCCP", b"name\0" + bytes([r.choice([0, 0, 1])]) + r.choice([zlib.compress(b"x"), b"?", big, near])),
        lambda: Chunk(b"iCCP", short(b"name\0\0")),
        lambda: Chunk(b"zTXt", b"Comment\0" + bytes([r.choice([0, 0, 1])]) + r.choice([big, near, b"?"])),
        lambda: Chunk(b"zTXt", short(b"Comment\0\0")),
        lambda: Chunk(b"iTXt", b"Comment\0\1" + bytes([r.choice([0, 0, 1])]) + b"\0\0" + r.choice([big, near, b"?"])),
        lambda: Chunk(b"iTXt", short(b"Comment\0\0\0\0\0text")),
        lambda: Chunk(b"tEXt", short(b"Comment\0text")),
        lambda: text_chunk(r, b"Raw profile type exif", text_of_exif(r)),
        lambda: text_chunk(r, r.choice([b"XML:com.adobe.xmp", b"xmp", b"exif", b""]), xmp(r)),
        lambda: Chunk(b"eXIf", r.choice([b"", b"Exif\0\0"]) + tiff(r)),
        lambda: Chunk(b"sBIT", r.randbytes(r.randrange(5))),
        lambda: Chunk(b"bKGD", r.randbytes(r.randrange(7))),
        lambda: Chunk(b"hIST", r.randbytes(r.randrange(9))),
        lambda: Chunk(b"tIME", r.randbytes(r.randrange(9))),
        lambda: Chunk(b"sPLT", r.randbytes(r.randrange(9))),
        lambda: Chunk(b"cICP", r.randbytes(r.randrange(6))),
        lambda: Chunk(b"tRNS", r.choice([r.randbytes(r.randrange(9)), b"\xff" * r.randrange(5) + b"\0", b"\xff" * r.randrange(254, 310) + b"\0", r.randbytes(300)])),
        lambda: Chunk(b"PLTE", r.randbytes(r.choice([0, 1, 2, 3, 5, 48, 768, 769, 771, 900]))),
        lambda: Chunk(b"IEND", b""),
        lambda: Chunk(b"IDAT", r.randbytes(r.randrange(3))),
        lambda: Chunk(b"DDAT", r.randbytes(r.randrange(3))),
        lambda: Chunk(r.choice([b"ABCD", b"abcd", b"aBCD", b"ab_1", b"IHDX", b"prVt", b"JDAT", b"MHDR"]), r.randbytes(r.randrange(9))),
        lambda: Chunk(r.choice([b"ab-d", b"\0\0\0\0", b"a cd", b"\xe4bcd", b"IDA\n", b"IEN\0"]), r.randbytes(r.randrange(9))),
    ])()  # fmt: skip


def fctl(r: random.Random) -> Chunk:
    width, height, x, y = r.choice(
        [(SIDE, SIDE, 0, 0)] * 5 + [(8, 8, 4, 4), (0, 0, 0, 0), (SIDE, SIDE, 1, 0), (20, 20, 0, 0)]
    )
    data = struct.pack(
        ">IIIIIHHBB",
        r.choice([0, 0, 0, 1]),
        width,
        height,
        x,
        y,
        1,
        r.choice([0, 10]),
        r.randrange(3),
        r.randrange(2),
    )
    return Chunk(b"fcTL", data[:20] if r.random() < 0.1 else data)


def random_png(r: random.Random) -> tuple[str, bytes]:
    colour = r.choice(list(DEPTHS))
    depth = r.choice(DEPTHS[colour])
    interlaced = r.random() < 0.2
    raw = samples(r, colour, depth, interlaced)
    coded = zlib.compress(raw, r.choice([0, 6]))
    cuts = sorted(r.sample(range(len(coded)), r.choice([0, 0, 1, 3])))
    parts = [coded[a:b] for a, b in zip([0, *cuts], [*cuts, len(coded)], strict=True)]
    chunks = [Chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, interlaced))]
    if colour == 3:
        chunks.append(Chunk(b"PLTE", r.randbytes(3 << depth)))
    if r.random() < 0.15:
        chunks += [Chunk(b"acTL", struct.pack(">II", r.choice([1, 2]), 0))] + [
            fctl(r) for _ in range(r.randrange(2))
        ]
    chunks += [Chunk(b"IDAT", part) for part in parts]
    chunks.append(Chunk(b"IEND", b""))
    said = [f"{colour}/{depth}{'i' if interlaced else ''}"]
    ending = None

    def idats() -> list[Chunk]:
        return [chunk for chunk in chunks if chunk.name == b"IDAT"]

    for _ in range(r.choice([1, 1, 1, 2, 3])):
        at = r.randrange(len(chunks) + 1)
        some = r.choice(chunks)
        change = r.choice(["insert"] * 10 + ["delete", "twice", "move", "checksum", "checksum", "name", "length", "header", "header",
            "cut data", "short data", "long data", "damaged data", "adler", "filter", "window", "truncate", "truncate", "truncate at a chunk", "behind", "many texts"])  # fmt: skip
        if change == "insert":
            new = ancillary(r)
            # Not in front of the header: such files are all the same.
            at = max(at, r.choice([1, 1, 1, 0]))
            chunks.insert(at, new)
            where = "behind" if any(chunk.name == b"IDAT" for chunk in chunks[:at]) else "before"
            change = f"{new.name!r} of {len(new.data)} {where}"
        elif change == "delete":
            chunks.remove(some)
            change += f" {some.name!r}"
        elif change == "twice":
            chunks.insert(at, some)
            change += f" {some.name!r} at {at}"
        elif change == "move":
            chunks.remove(some)
            chunks.insert(at, some)
            change += f" {some.name!r} to {at}"
        elif change == "checksum":
            some.checksum = r.randrange(1 << 32)
            change += f" {some.name!r}"
        elif change == "name":
            at = r.randrange(4)
            name = some.name[:at] + bytes([r.randrange(256)]) + some.name[at + 1 :]
            change += f" {some.name!r} {name!r}"
            some.name = name
        elif change == "length":
            some.length = r.choice(
                [0, max(0, len(some.data) - 1), len(some.data) + 1, 1 << 31, (1 << 32) - 1, r.randrange(100)]
            )
            change += f" {some.name!r}"
        elif change == "header":
            header = next(
                (chunk for chunk in chunks if chunk.name == b"IHDR" and len(chunk.data) >= 13), None
            )
            if header:
                field = r.randrange(7)
                data = bytearray(header.data)
                if field == 0:
                    data[r.choice([0, 3, 4, 7])] = r.choice([0, 1, 127, 128, 255])
                elif field == 1:
                    data = data[: r.randrange(13)] if r.random() < 0.5 else data + b"more"
                else:
                    data[6 + field] = r.choice([0, 1, 2, 3, 7, 8, 16, 255])
                header.data = bytes(data)
                change += f" {field}"
        elif change == "many texts":
            chunks[1:1] = [Chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20)))] * r.choice([64, 65])
        elif change == "truncate":
            ending = ("truncate", r.randrange(1 << 30))
        elif change == "truncate at a chunk":
            ending = ("chunk", r.randrange(1 << 30), r.randrange(-13, 14))
        elif change == "behind":
            chunks.append(Chunk(b"    ", r.randbytes(9)))
        elif parts := idats():
            data = b"".join(part.data for part in parts)
            if change == "cut data":
                data = data[: r.randrange(len(data) + 1)]
            elif change == "short data":
                data = zlib.compress(raw[: r.randrange(len(raw))])
            elif change == "long data":
                data = r.choice([zlib.compress(raw + r.randbytes(r.choice([1, 40]))), coded + r.randbytes(9)])
            elif change == "damaged data" and data:
                data = bytearray(data)
                data[r.randrange(len(data))] ^= 1 << r.randrange(8)
            elif change == "adler" and data:
                data = data[:-1] + bytes([data[-1] ^ 1])
            elif change == "filter":
                data = zlib.compress(bytes([r.choice([5, 255])]) + raw[1:])
            elif change == "window":
                bits = r.choice([9, 12])
                engine = zlib.compressobj(6, zlib.DEFLATED, bits)
                data = engine.compress(raw) + engine.flush()
            for part in parts[1:]:
                if part in chunks:
                    chunks.remove(part)
            parts[0].data = bytes(data)
        said.append(change)
    file = SIGNATURE + b"".join(chunk.coded() for chunk in chunks)
    if ending:
        ends = [len(SIGNATURE)]
        for chunk in chunks:
            ends.append(ends[-1] + len(chunk.coded()))
        at = ending[1] % len(file) if ending[0] == "truncate" else ends[ending[1] % len(ends)] + ending[2]
        file = file[: max(at, 0)]
        said.append(f"at {at} of {ends}")
    return "PNG " + "; ".join(said), file


# ---- JPEG ----


def random_jpeg(r: random.Random) -> tuple[str, bytes]:
    rng = np.random.default_rng(r.randrange(1 << 30))
    mode = r.choice(["RGB", "RGB", "L", "CMYK"])
    count = {"RGB": 3, "L": 1, "CMYK": 4}[mode]
    small = rng.integers(0, 256, (4, 4, count), dtype=np.uint8)
    image = Image.fromarray(small[..., 0] if count == 1 else small, mode).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    options = {
        "quality": r.choice([30, 75, 95]),
        "progressive": r.random() < 0.4,
        "subsampling": r.randrange(3),
        "optimize": r.random() < 0.3,
    }
    if r.random() < 0.3:
        options["restart_marker_blocks"] = r.choice([1, 2])
    if mode == "RGB" and r.random() < 0.1:
        options |= {"keep_rgb": True, "subsampling": 0}
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    segments = parts_of(file.getvalue())
    said = [f"{mode} {options}"]
    ending = None
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        at = r.randrange(1, len(segments) + 1)
        some = r.randrange(len(segments))
        change = r.choice(["insert"] * 8 + ["delete", "twice", "move", "length", "byte", "byte", "entropy", "entropy", "early end", "no end", "truncate", "truncate", "fill", "junk", "restart", "behind", "marker"])  # fmt: skip
        if change == "insert":
            marker, data = segment(r)
            segments.insert(at, b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data)
            change = f"{marker:02x} {data[:20]!r} of {len(data)} at {at}"
        elif change == "delete":
            change += f" {segments.pop(some)[:2].hex()}"
            if not segments:
                break
        elif change == "twice":
            segments.insert(at, segments[some])
            change += f" {segments[some][:2].hex()} at {at}"
        elif change == "move":
            moved = segments.pop(some)
            segments.insert(at, moved)
            change += f" {moved[:2].hex()} to {at}"
        elif change == "length" and len(segments[some]) > 4:
            length = r.choice([0, 1, 2, 3, r.randrange(70), 65535])
            change += f" {segments[some][:2].hex()} {length}"
            segments[some] = segments[some][:2] + struct.pack(">H", length) + segments[some][4:]
        elif change == "byte" and len(segments[some]) > 4:
            place = r.randrange(4, min(len(segments[some]), 30))
            data = bytearray(segments[some])
            data[place] = r.choice([0, 1, 2, 255, r.randrange(256)])
            segments[some] = bytes(data)
            change += f" {place} of {data[:2].hex()}"
        elif change in ("entropy", "early end", "restart"):
            scans = [n for n, part in enumerate(segments) if part[:2] == b"\xff\xda"]
            if scans:
                n = r.choice(scans)
                data = bytearray(segments[n])
                place = r.randrange(min(14, len(data)), len(data)) if len(data) > 14 else len(data)
                if change == "entropy" and place < len(data):
                    data[place] = r.choice([0xFF, r.randrange(256)])
                elif change == "early end":
                    data = data[:place]
                elif change == "restart":
                    data[place:place] = bytes([0xFF, r.randrange(0xD0, 0xD8)])
                segments[n] = bytes(data)
        elif change == "no end":
            segments = [part for part in segments if part[:2] != b"\xff\xd9"]
            if r.random() < 0.5:
                segments.append(bytes(r.choice([1, 2, 8, 100])))
                change += ", nulls"
        elif change == "truncate":
            ending = r.randrange(1 << 30)
        elif change == "fill":
            segments.insert(at, b"\xff" * r.randrange(1, 4))
        elif change == "junk":
            segments.insert(
                at,
                r.choice(
                    [
                        b"\0",
                        b"ab",
                        b"\xff\0",
                        b"\xff\1",
                        b"\xff\x02",
                        b"\xff\xbf",
                        b"\xff\xd0",
                        b"\xff\xf0",
                        b"\xff\xd8",
                        b"\xff\xd9",
                    ]
                ),
            )
            change += f" {segments[at]!r} at {at}"
        elif change == "behind":
            segments.append(r.randbytes(9))
        elif change == "marker":
            marker = r.randrange(0xC0, 0xFF)
            change += f" {segments[some][:2].hex()} {marker:02x}"
            segments[some] = b"\xff" + bytes([marker]) + segments[some][2:]
        said.append(change)
    file = b"".join(segments)
    if ending is not None and file:
        file = file[: ending % len(file)]
        said.append(f"at {len(file)}")
    return "JPEG " + "; ".join(said), file


def parts_of(file: bytes) -> list[bytes]:
    """Markers with what belongs to them; a scan with its data."""
    parts, at = [], 0
    while at < len(file):
        marker = file[at + 1]
        end = at + 2 if marker in (0xD8, 0xD9) else at + 2 + struct.unpack(">H", file[at + 2 : at + 4])[0]
        if marker == 0xDA:
            while not (file[end] == 0xFF and file[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        parts.append(file[at:end])
        at = end
    return parts


def segment(r: random.Random) -> tuple[int, bytes]:
    short = lambda data: data[: r.randrange(len(data) + 1)] if r.random() < 0.5 else data
    resource = (
        b"8BIM" + struct.pack(">HBB", r.choice([0x03ED, 0x0404]), 0, 0) + struct.pack(">I", 16) + bytes(16)
    )
    return r.choice([
        lambda: (0xE0, short(b"JFIF\0\1\1\1\0\x48\0\x48\0\0")),
        lambda: (0xE0, b"JFIF"),
        lambda: (0xE0, b"JFXX\0\x10"),
        lambda: (0xE1, r.choice([b"Exif\0\0", b"Exif\0\0Exif\0\0"]) + tiff(r)),
        lambda: (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(r)),
        lambda: (0xE2, short(b"ICC_PROFILE\0\1\1profile")),
        lambda: (0xE2, short(b"MPF\0" + struct.pack("<2sHIHHHIIHHI4sHHII", b"II", 42, 8, 2, 0xB001, 4, 1, 2, 0xB002, 7, 32, b"\x32\0\0\0", 0, 0, 0, 0) + bytes(40))),
        lambda: (0xE2, b"MPF\0" + tiff(r)),
        lambda: (0xED, b"Photoshop 3.0\0" + short(resource)),
        lambda: (0xED, b"Photoshop 3.0\0" + short(resource + b"8BIM\4\4")),
        lambda: (0xEE, short(b"Adobe\0\x64\0\0\0\0" + bytes([r.randrange(4)]))),
        lambda: (r.randrange(0xE0, 0xF0), r.randbytes(r.randrange(20))),
        lambda: (0xFE, r.randbytes(r.randrange(20))),
        lambda: (0xDB, r.randbytes(r.choice([0, 1, 64, 65, 66, 130]))),
        lambda: (0xDB, bytes([r.choice([0, 1, 3, 4, 16])]) + bytes(range(1, 65))),
        lambda: (0xDD, struct.pack(">H", r.randrange(3)) + r.randbytes(r.choice([0, 0, 1]))),
        lambda: (0xDC, struct.pack(">H", r.choice([0, 8, 16, 20]))),
        lambda: (0xC4, r.randbytes(r.randrange(40))),
        lambda: (0xCC, r.choice([b"\0\x10", b"\0\x01", b"\x10\x05", r.randbytes(r.randrange(4))])),
        lambda: (r.choice([0xC8, 0xDE, 0xDF, 0xF0, 0xF7, 0xFD]), r.randbytes(r.randrange(12))),
        lambda: (r.choice([0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xDE]), struct.pack(">BHHB", 8, SIDE, SIDE, 1) + b"\1\x11\0"),
    ])()  # fmt: skip


# ---- EXIF ----


def tiff(r: random.Random) -> bytes:
    """A directory with an orientation, mostly."""
    order = r.choice("<<<>>>")
    value = r.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 65535])
    sizes = {
        1: 1,
        2: 1,
        3: 2,
        4: 4,
        5: 8,
        6: 1,
        7: 1,
        8: 2,
        9: 4,
        10: 8,
        11: 4,
        12: 8,
        13: 4,
        16: 8,
        0: 1,
        14: 1,
        99: 1,
    }
    forms = {
        1: "B",
        3: "H",
        4: "I",
        6: "b",
        8: "h",
        9: "i",
        11: "f",
        12: "d",
        13: "I",
        16: "Q",
        7: "B",
        0: "B",
        14: "B",
        99: "B",
    }

    def packed(type: int, count: int) -> bytes:
        if type == 2:
            return (str(value).encode() + b"\0\0\0")[:count]
        if type in (5, 10):
            return b"".join(
                struct.pack(order + "II", *r.choice([(value, 1), (value * 2 % 65536, 2), (value, 0)]))
                for _ in range(count)
            )
        form = forms[type]
        top = {"B": 255, "b": 127, "h": 32767}.get(form, 1 << 31)
        return b"".join(struct.pack(order + form, min(value, top)) for _ in range(count))

    entries, heap = [], b""
    tags = [r.choice([0x010F, 0x0128, 0x011A, 0x0100, 0x8769]) for _ in range(r.randrange(3))]
    tags += [0x0112] * r.choice([0, 1, 1, 1, 1, 1, 2])
    if r.random() < 0.2:
        r.shuffle(tags)
    start = r.choice([8] * 8 + [10, 20])
    room = 2 + 12 * len(tags) + 4
    for tag in tags:
        type = r.choice([3] * 8 + list(sizes)) if tag == 0x0112 else r.choice([3, 4, 5])
        count = r.choice([1] * 12 + [0, 2, 3])
        data = packed(type, count)
        claimed = count if r.random() < 0.95 else r.choice([5, 1000, 1 << 30])
        if claimed * sizes[type] > 4:
            place = start + room + len(heap) if r.random() < 0.8 else r.choice([0, 8, 60000, 1 << 31])
            heap += data
            data = struct.pack(order + "I", place)
        entries.append(struct.pack(order + "HHI", tag, type, claimed) + data.ljust(4, b"\0")[:4])
    magic = r.choice(
        [{"<": b"II*\0", ">": b"MM\0*"}[order]] * 12
        + [b"II\0*", b"MM*\0", b"II+\0", b"MM\0+", b"XX*\0", b"II*"]
    )
    count = len(tags) if r.random() < 0.95 else r.choice([0, 1, len(tags) + 1, 60000])
    block = magic + struct.pack(order + "I", start if r.random() < 0.97 else r.choice([0, 4, 1 << 31]))
    block = block.ljust(start, b"\0") + struct.pack(order + "H", count) + b"".join(entries) + bytes(4) + heap
    return block if r.random() < 0.93 else block[: r.randrange(len(block))]


def random_turned(r: random.Random) -> tuple[str, bytes]:
    """A whole file with some EXIF."""
    if r.random() < 0.5:
        picture = Image.fromarray(np.zeros((SIDE, SIDE), np.uint8))
        file = io.BytesIO()
        picture.save(file, "JPEG")
        parts = parts_of(file.getvalue())
        if r.random() < 0.3:
            del parts[1]  # JFIF
        said = []
        for _ in range(r.choice([1, 1, 1, 2])):
            name, data = r.choice([
                ("exif", b"Exif\0\0" + tiff(r)), ("exif", b"Exif\0\0" + tiff(r)), ("exif twice", b"Exif\0\0Exif\0\0" + tiff(r)),
                ("xmp", b"http://ns.adobe.com/xap/1.0/\0" + xmp(r)), ("exif", b"exif\0\0" + tiff(r)),
            ])  # fmt: skip
            at = r.randrange(1, len(parts) - 1)
            parts.insert(at, b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data)
            if r.random() < 0.3:
                parts.insert(at, r.choice([b"\xff", b"\xff\xff\xff", b"\xff\xff\xff\xff"]))
                name += " behind fill bytes"
            said.append(name)
        return "JPEG with " + ", ".join(said), b"".join(parts)
    chunks = [
        Chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)),
        Chunk(b"IDAT", zlib.compress(bytes(17 * 16))),
        Chunk(b"IEND", b""),
    ]
    said = []
    for _ in range(r.choice([1, 1, 1, 2])):
        new = r.choice([
            lambda: Chunk(b"eXIf", r.choice([b"", b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"]) + tiff(r)),
            lambda: text_chunk(r, b"Raw profile type exif", text_of_exif(r)),
            lambda: text_chunk(r, r.choice([b"XML:com.adobe.xmp"] * 3 + [b"xmp", b"exif"]), r.choice([xmp(r), tiff(r)])),
        ])()  # fmt: skip
        chunks.insert(r.choice([1, 1, 2]), new)
        said.append(f"{new.name.decode()} {new.data[:24]!r}")
    return "PNG with " + ", ".join(said), SIGNATURE + b"".join(chunk.coded() for chunk in chunks)


# ---- the comparison ----


def theirs(tokenizer: MistralTokenizer, chunk: dict):
    """The samples, or the name of an exception."""
    try:
        request = ChatCompletionRequest.model_validate({"messages": [{"role": "user", "content": [chunk]}]})
        return tokenizer.encode_chat_completion(request).images[0]
    except Exception as error:
        return type(error).__name__


def turned(data: bytes) -> int | None:
    """The orientation by which Pillow turns a file, if it does."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            value = image.getexif().get(0x0112, 1)
        picture = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
        picture.getexif()[0x0112] = value
        after = ImageOps.exif_transpose(picture)
        return None if after.size == picture.size and after.tobytes() == picture.tobytes() else int(value)
    except Exception:
        return None


def answers(binary: str, chunks: list[dict]) -> list[dict]:
    """What `tokens` says to a request of each chunk."""
    lines = [
        json.dumps({"id": n, "request": {"messages": [{"role": "user", "content": [chunk]}]}})
        for n, chunk in enumerate(chunks)
    ]
    run = subprocess.run(
        [binary, "tokens", "--jsonl"], input="\n".join(lines), capture_output=True, text=True
    )
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == len(lines), run.stderr
    return found


def pixels(binary: str, paths: list[Path], folder: Path) -> tuple[dict, dict]:
    """What the model takes of files that are read, and which of them are warned of."""
    samples, warned = {}, {}
    for start in range(0, len(paths), 200):
        some = paths[start : start + 200]
        out = folder / "pixels.safetensors"
        run = subprocess.run([binary, "image", *some, "--pixels", out], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-500:] + run.stderr[-500:]
        tensors = load_file(out)
        samples |= {path: tensors[f"image{n}"] for n, path in enumerate(some)}
        for line in run.stderr.splitlines():
            if "orientation" in line:
                warned[Path(line.split(": ")[1])] = int(line.split("orientation ")[1].split(",")[0])
    return samples, warned


def main() -> int:
    binary, count, seed, keep = (sys.argv[1:] + ["2000", "1", ""][len(sys.argv) - 2 :])[:4]
    warnings.simplefilter("ignore")
    r = random.Random(int(seed))
    model = next((ROOT / "Fixtures" / "tokenizer").glob("*.model*"))
    tokenizer = MistralTokenizer.from_file(str(model), mode=ValidationMode.test)
    files = [random_png(r) for _ in range(int(count))] + [random_jpeg(r) for _ in range(int(count) // 2)]
    files += [random_turned(r) for _ in range(int(count) // 4)]
    on_purpose, wrong = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{n}" for n in range(len(files))]
        chunks = []
        for path, (_, data) in zip(paths, files, strict=True):
            path.write_bytes(data)
            code = base64.b64encode(data).decode()
            chunks += [
                {"type": "image_url", "image_url": f"data:image/png;base64,{code}"},
                {"type": "image_url", "image_url": f"file://{path}"},
                {"type": "image", "image": code},
            ]
        errors = [answer.get("error") for answer in answers(binary, chunks)]
        read = [path for n, path in enumerate(paths) if errors[3 * n] is None]
        samples, warned = pixels(binary, read, folder)
        for n, (said, data) in enumerate(files):
            ours = [error["type"] if error else "read" for error in errors[3 * n : 3 * n + 3]]
            found = [theirs(tokenizer, chunk) for chunk in chunks[3 * n : 3 * n + 3]]
            expected = [value if isinstance(value, str) else "read" for value in found]
            message = errors[3 * n]["message"].partition(", found ")[2] if errors[3 * n] else ""
            fault = None
            if ours != expected:
                # A refusal of our own has no name of Python's.
                mine = all(name in ("wrongImage", "brokenImage", "largeImage") for name in ours)
                if mine and (set(expected) == {"read"} or "lossless" in message):
                    on_purpose[message] += 1
                    continue
                fault = f"{ours}, expected {expected}: {message}"
            elif paths[n] in samples:
                ours, other = samples[paths[n]], found[0]
                if ours.shape != other.shape:
                    fault = f"shape {ours.shape}, expected {other.shape}"
                elif (distance := np.abs(ours - other).max()) > LIMIT:
                    fault = f"other samples, by {distance}"
                elif warned.get(paths[n]) != turned(data):
                    fault = f"warned of orientation {warned.get(paths[n])}, Pillow turns by {turned(data)}"
            if fault:
                wrong += 1
                print(f"{n}: {fault}\n    {said}")
                if keep:
                    (Path(keep) / f"{n}").write_bytes(data)
    for message, times in on_purpose.most_common():
        print(f"refused on purpose, {times} times: {message}")
    print(f"{len(files)} files, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
