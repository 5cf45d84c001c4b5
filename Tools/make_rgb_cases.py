"""Makes Fixtures/cases/image/rgb: every kind of PNG and JPEG, small, and the RGB that Pillow and mistral-common make of it.

    python make_rgb_cases.py      (deterministic)

A case holds the file in base64 and the expected samples, height · width · 3 bytes, in base64 too. PNGs are written here, chunk by chunk, for no library writes
all kinds; JPEGs by Pillow, some patched afterwards into what Pillow reads but does not write.
"""

import base64
import importlib.metadata
import io
import random
import struct
import zlib

import numpy as np
from mistral_common.tokens.tokenizers.image import _convert_to_rgb
from PIL import Image

from make_token_cases import line
from releases import ROOT

CASES = ROOT / "Fixtures" / "cases" / "image" / "rgb"
R = random.Random(20261123)
NAMES = {0: "grey", 2: "rgb", 3: "palette", 4: "grey-alpha", 6: "rgba"}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]

# ---- PNG ----


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(samples: list[int], depth: int) -> bytes:
    if depth == 16:
        return struct.pack(f">{len(samples)}H", *samples)
    bits = "".join(format(sample, f"0{depth}b") for sample in samples)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def filtered(rows: list[bytes], step: int) -> bytes:
    """Rows with a filter of their own each, all five in turn. - step: bytes from a sample to the one it is foretold from."""
    out, above = b"", None
    for number, row in enumerate(rows):
        above = above or bytes(len(row))
        kind = number % 5
        coded = bytearray()
        for at, byte in enumerate(row):
            left, up, corner = (row[at - step], above[at], above[at - step]) if at >= step else (0, above[at], 0)
            distances = [abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)]
            paeth = (left, up, corner)[distances.index(min(distances))]
            coded.append((byte - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
        out += bytes([kind]) + coded
        above = row
    return out


def png(colour: int, depth: int, interlaced: bool, pixels: list, palette: bytes = b"", transparency: bytes = b"", before: bytes = b"") -> bytes:
    height, width = len(pixels), len(pixels[0])
    step = max(1, CHANNELS[colour] * depth // 8)
    grids = ADAM7 if interlaced else [(0, 0, 1, 1)]
    data = b""
    for x, y, dx, dy in grids:
        rows = [[sample for pixel in row[x::dx] for sample in pixel] for row in pixels[y::dy]]
        if rows and rows[0]:
            data += filtered([packed(row, depth) for row in rows], step)
    coded = zlib.compress(data)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)) + before
    file += chunk(b"PLTE", palette) if palette else b""
    file += chunk(b"tRNS", transparency) if transparency else b""
    return file + chunk(b"IDAT", coded[:7]) + chunk(b"IDAT", coded[7:]) + chunk(b"IEND", b"")


def pngs():
    for colour, depths in {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}.items():
        for depth in depths:
            top = (1 << depth) - 1
            values = [0, top, 1, top // 2, *(R.randint(0, top) for _ in range(5))]
            if depth == 16:
                values += [127, 128, 255, 256, 257, 300, 0xFF00]
            for interlaced in (False, True):
                width, height = (9, 7) if interlaced else (7, 6)
                pixels = [[tuple(R.choice(values) for _ in range(CHANNELS[colour])) for _ in range(width)] for _ in range(height)]
                name = f"{NAMES[colour]}-{depth}" + ("-adam7" if interlaced else "")
                title = f"{NAMES[colour]} of {depth} bits" + (", interlaced" if interlaced else "")
                palette = R.randbytes(3 << depth) if colour == 3 else b""
                yield name, f"A PNG, {title}.", png(colour, depth, interlaced, pixels, palette)
                if colour == 3:
                    short = palette[: max(3, (3 << depth) // 2)]
                    yield f"{name}-short", f"A PNG, {title}, with a palette of fewer colours than its pixels name.", png(colour, depth, interlaced, pixels, short)
                    yield f"{name}-trns", f"A PNG, {title}, with transparent colours.", png(colour, depth, interlaced, pixels, palette, R.randbytes((1 << depth) // 2 + 1))
                    yield f"{name}-trns-one", f"A PNG, {title}, with one transparent colour.", png(colour, depth, interlaced, pixels, palette, b"\xff" * ((1 << depth) - 1) + b"\0")
                if colour in (0, 2):
                    named = pixels[1][1]
                    yield f"{name}-trns", f"A PNG, {title}, with a transparent value.", png(colour, depth, interlaced, pixels, b"", struct.pack(f">{len(named)}H", *named))
                    low = tuple(min(value, 255) if colour == 0 else value >> 8 if depth == 16 else value for value in named)
                    yield f"{name}-trns-low", f"A PNG, {title}, with a transparent value of 8 bits.", png(colour, depth, interlaced, pixels, b"", struct.pack(f">{len(low)}H", *low))
                if colour == 0 and depth in (2, 4):
                    yield f"{name}-trns-scaled", f"A PNG, {title}, whose transparent value is written as if of 8 bits.", png(colour, depth, interlaced, pixels, b"", struct.pack(">H", pixels[1][1][0] * 255 // top))
    grey = [[(value,) for value in range(0, 256, 23)] for _ in range(3)]
    for kind, data in {b"gAMA": struct.pack(">I", 22000), b"sRGB": b"\0", b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), b"sBIT": b"\5", b"bKGD": b"\0\x80"}.items():
        yield f"chunk-{kind.decode()}", f"A PNG with {kind.decode()}, which changes no sample.", png(0, 8, False, grey, before=chunk(kind, data))
    yield "one-pixel", "A PNG of one pixel.", png(6, 8, False, [[(10, 20, 30, 128)]])
    yield "one-pixel-adam7", "A PNG of one pixel, interlaced.", png(2, 8, True, [[(10, 20, 30)]])


# ---- JPEG ----


def jpegs():
    rows, columns = np.mgrid[0:21, 0:37]
    smooth = np.stack([columns * 6, rows * 11, (rows + columns) * 4], -1).astype(np.uint8)
    noise = np.random.default_rng(7).integers(0, 256, (19, 23, 4), dtype=np.uint8)
    pictures = {"smooth": Image.fromarray(smooth), "noise": Image.fromarray(noise[..., :3])}

    def saved(image: Image.Image, **options) -> bytes:
        file = io.BytesIO()
        image.save(file, "JPEG", **options)
        return file.getvalue()

    for name, image in pictures.items():
        for progressive in (False, True):
            kind = "progressive" if progressive else "baseline"
            for number, sampling in enumerate(["444", "422", "420"]):
                yield f"{name}-{kind}-{sampling}", f"A {kind} JPEG with chroma {sampling}.", saved(image, quality=80, progressive=progressive, subsampling=number)
            yield f"{name}-{kind}-grey", f"A {kind} grey JPEG.", saved(image.convert("L"), progressive=progressive)
            yield f"{name}-{kind}-cmyk", f"A {kind} JPEG of CMYK.", saved(image.convert("CMYK"), progressive=progressive)
        yield f"{name}-restart", "A JPEG with restart markers.", saved(image, restart_marker_blocks=2)
        yield f"{name}-rgb", "A JPEG that stores RGB.", saved(image, keep_rgb=True)
        yield f"{name}-quality-1", "A JPEG of the lowest quality.", saved(image, quality=1)
        exif = Image.Exif()
        exif[0x0112] = 6
        yield f"{name}-turned", "A JPEG whose EXIF says that it lies on its side: nothing is turned.", saved(image, exif=exif)
    inks = Image.fromarray(noise, "CMYK")
    yield "cmyk-noise", "A JPEG of CMYK, all inks.", saved(inks)
    patched = bytearray(saved(inks))
    patched[patched.index(b"Adobe") + 11] = 2
    yield "ycck", "A JPEG of YCCK: CMYK with Adobe's transform.", bytes(patched)
    patched = bytearray(saved(inks))
    patched[patched.index(b"Adobe") + 4] = ord("y")
    yield "cmyk-no-adobe", "A JPEG of CMYK without Adobe's marker, taken for inverted all the same.", bytes(patched)
    patched = bytearray(saved(pictures["smooth"], subsampling=1))
    at = patched.index(b"\xff\xc0") + 11
    patched[at] = 0x12  # the sampling of Y: 1 across, 2 down, in the place of 2 across, 1 down; the blocks are as many
    patched[patched.index(b"\xff\xc0") + 5 : patched.index(b"\xff\xc0") + 9] = struct.pack(">HH", 37, 21)
    yield "440", "A JPEG with chroma 440.", bytes(patched)


def write(name: str, files) -> None:
    oracle = {"name": "pillow", "version": importlib.metadata.version("pillow"), "mistral-common": importlib.metadata.version("mistral-common")}
    lines = []
    for id, title, data in files:
        image = Image.open(io.BytesIO(data))
        samples = np.array(_convert_to_rgb(image))
        lines.append(line({
            "id": f"image/rgb/{name}-{id}", "title": title, "stage": "rgb", "exposes": [], "subject": {"operation": "image file to RGB"}, "model": None,
            "inputs": {"file": base64.b64encode(data).decode()},
            "expect": {"width": image.width, "height": image.height, "rgb": base64.b64encode(samples.tobytes()).decode()}, "compare": "exact",
            "requires": [f"image.{name}"], "conflicts_with": [], "importance": "high", "basis": "mistral_common.tokens.tokenizers.image._convert_to_rgb",
            "oracle": oracle, "witnesses": [], "since": "0.2", "retired": None,
        }))  # fmt: skip
    CASES.mkdir(parents=True, exist_ok=True)
    (CASES / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"image/rgb/{name}.jsonl: {len(lines)} cases")


if __name__ == "__main__":
    write("png", pngs())
    write("jpeg", jpegs())
