"""Makes Fixtures/cases/image/rgb: every kind of PNG and JPEG, small, and the RGB that Pillow and
mistral-common make of it.

    python make_rgb_cases.py      (deterministic)

A case holds the file in base64 and the expected samples, height · width · 3 bytes, in base64 too.
Where transformers' conversion gives other samples, there is a case for them too, in conflict with
the first. PNGs are written here, chunk by chunk, for no library writes all kinds; JPEGs by Pillow,
some patched afterwards into what Pillow reads but does not write.
"""

import base64
import hashlib
import importlib.metadata
import io
import random
import struct
import zlib

import numpy as np
from mistral_common.tokens.tokenizers.image import _convert_to_rgb
from PIL import Image
from transformers.image_transforms import convert_to_rgb

import suites
from releases import ROOT

R = random.Random(20261123)
NAMES = {0: "grey", 2: "rgb", 3: "palette", 4: "grey-alpha", 6: "rgba"}
WORDS = {0: "grey", 2: "RGB", 3: "palette indices", 4: "grey with alpha", 6: "RGBA"}
DEPTHS = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}
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
    """Rows with a filter of their own each, all five in turn. - step: bytes from a sample to the
    one it is foretold from.
    """
    out, above = b"", None
    for number, row in enumerate(rows):
        above = above or bytes(len(row))
        kind = number % 5
        coded = bytearray()
        for at, byte in enumerate(row):
            left, up, corner = (
                (row[at - step], above[at], above[at - step]) if at >= step else (0, above[at], 0)
            )
            distances = [abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)]
            paeth = (left, up, corner)[distances.index(min(distances))]
            coded.append((byte - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
        out += bytes([kind]) + coded
        above = row
    return out


def png(
    colour: int,
    depth: int,
    interlaced: bool,
    pixels: list,
    palette: bytes = b"",
    transparency: bytes = b"",
    before: bytes = b"",
) -> bytes:
    height, width = len(pixels), len(pixels[0])
    step = max(1, CHANNELS[colour] * depth // 8)
    grids = ADAM7 if interlaced else [(0, 0, 1, 1)]
    data = b""
    for x, y, dx, dy in grids:
        rows = [[sample for pixel in row[x::dx] for sample in pixel] for row in pixels[y::dy]]
        if rows and rows[0]:
            data += filtered([packed(row, depth) for row in rows], step)
    coded = zlib.compress(data)
    file = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
        + before
    )
    file += chunk(b"PLTE", palette) if palette else b""
    file += chunk(b"tRNS", transparency) if transparency else b""
    return file + chunk(b"IDAT", coded[:7]) + chunk(b"IDAT", coded[7:]) + chunk(b"IEND", b"")


def subject(colour: int, depth: int, interlaced: bool) -> str:
    """The kind of a PNG, as a title begins."""
    return f"{'An interlaced' if interlaced else 'A'} PNG of {depth}-bit {WORDS[colour]}"


def pngs():
    for colour, depths in DEPTHS.items():
        for depth in depths:
            top = (1 << depth) - 1
            values = [0, top, 1, top // 2, *(R.randint(0, top) for _ in range(5))]
            if depth == 16:
                values += [127, 128, 255, 256, 257, 300, 0xFF00]
            for interlaced in (False, True):
                width, height = (9, 7) if interlaced else (7, 6)
                pixels = [
                    [tuple(R.choice(values) for _ in range(CHANNELS[colour])) for _ in range(width)]
                    for _ in range(height)
                ]
                name = f"{NAMES[colour]}-{depth}" + ("-adam7" if interlaced else "")
                a_png = subject(colour, depth, interlaced)
                palette = R.randbytes(3 << depth) if colour == 3 else b""
                yield name, f"{a_png} becomes Pillow's RGB.", png(colour, depth, interlaced, pixels, palette)
                if colour == 3:
                    short = palette[: max(3, (3 << depth) // 2)]
                    yield (
                        f"{name}-short",
                        f"{a_png} is black where its palette has no colour.",
                        png(colour, depth, interlaced, pixels, short),
                    )
                    yield (
                        f"{name}-trns",
                        f"{a_png} with several alphas in tRNS is laid on white.",
                        png(colour, depth, interlaced, pixels, palette, R.randbytes((1 << depth) // 2 + 1)),
                    )
                    yield (
                        f"{name}-trns-one",
                        f"{a_png} with one transparent colour is laid on white.",
                        png(colour, depth, interlaced, pixels, palette, b"\xff" * ((1 << depth) - 1) + b"\0"),
                    )
                if colour in (0, 2):
                    named = pixels[1][1]
                    yield (
                        f"{name}-trns",
                        f"{a_png} with a value in tRNS becomes Pillow's RGB.",
                        png(colour, depth, interlaced, pixels, b"", struct.pack(f">{len(named)}H", *named)),
                    )
                    low = tuple(
                        min(value, 255) if colour == 0 else value >> 8 if depth == 16 else value
                        for value in named
                    )
                    yield (
                        f"{name}-trns-low",
                        f"{a_png} with a value of 8 bits in tRNS becomes Pillow's RGB.",
                        png(colour, depth, interlaced, pixels, b"", struct.pack(f">{len(low)}H", *low)),
                    )
                if colour == 0 and depth in (2, 4):
                    yield (
                        f"{name}-trns-scaled",
                        f"{a_png} with a value in tRNS that is scaled to 8 bits becomes Pillow's RGB.",
                        png(
                            colour,
                            depth,
                            interlaced,
                            pixels,
                            b"",
                            struct.pack(">H", pixels[1][1][0] * 255 // top),
                        ),
                    )
    second = random.Random(2)
    for colour, depth, interlaced in [
        (c, d, i) for c, depths in DEPTHS.items() for d in depths for i in (False, True)
    ]:
        pixels = [
            [tuple(second.randrange(1 << depth) for _ in range(CHANNELS[colour])) for _ in range(19)]
            for _ in range(18)
        ]
        name = f"{NAMES[colour]}-{depth}" + ("-adam7" if interlaced else "")
        palette = second.randbytes(3 << depth) if colour == 3 else b""
        yield (
            f"{name}-second",
            f"{subject(colour, depth, interlaced)} and 19×18 pixels becomes Pillow's RGB.",
            png(colour, depth, interlaced, pixels, palette),
        )
    grey = [[(value,) for value in range(0, 256, 23)] for _ in range(3)]
    profile = b"p\0\0" + zlib.compress(bytes(200))
    chunks = {
        b"gAMA": struct.pack(">I", 22000), b"sRGB": b"\0", b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), b"sBIT": b"\5", b"bKGD": b"\0\x80",
        b"iCCP": profile, b"cICP": b"\1\x0d\0\1", b"tEXt": b"Comment\0text", b"zTXt": b"Comment\0\0" + zlib.compress(b"text"), b"iTXt": b"Comment\0\0\0\0\0text",
        b"pHYs": struct.pack(">IIB", 1, 2, 1), b"tIME": bytes(7), b"prVt": b"whatever",
    }  # fmt: skip
    for kind, data in chunks.items():
        yield (
            f"chunk-{kind.decode()}",
            f"{kind.decode()} changes no sample of a PNG.",
            png(0, 8, False, grey, before=chunk(kind, data)),
        )
    turned = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    yield (
        "turned",
        "A PNG whose eXIf says that it lies on its side is not turned.",
        png(0, 8, False, grey, before=chunk(b"eXIf", turned)),
    )
    yield "one-pixel", "A PNG of one pixel becomes Pillow's RGB.", png(6, 8, False, [[(10, 20, 30, 128)]])
    yield (
        "one-pixel-adam7",
        "An interlaced PNG of one pixel becomes Pillow's RGB.",
        png(2, 8, True, [[(10, 20, 30)]]),
    )
    alphas = [[(c, 255 - c, 7, a) for a in range(0, 256, 5)] for c in range(0, 256, 15)]
    yield (
        "alphas",
        "Each of many colours in many alphas is laid on white and rounded once.",
        png(6, 8, False, alphas),
    )
    few = [[(n % 4,) for n in range(9)] for _ in range(5)]
    colours = bytes([9, 8, 7, 60, 50, 40])
    yield (
        "trns-beyond-palette",
        "A pixel beyond the palette has its alpha from a tRNS that is longer than the palette.",
        png(3, 8, False, few, colours, b"\xff\x80\x40"),
    )
    yield (
        "trns-line-feed",
        "A last alpha of 10 in tRNS is overlooked if those before are 255 but for one 0.",
        png(3, 8, False, few, colours + colours, b"\xff\0\n"),
    )
    yield (
        "trns-ten",
        "A last alpha of 10 in tRNS counts if those before are not 255 but for one 0.",
        png(3, 8, False, few, colours + colours, b"\x80\0\n"),
    )
    yield (
        "trns-twice",
        "Of two tRNS in a PNG the last counts.",
        png(3, 8, False, few, colours, b"\0\0", before=chunk(b"tRNS", b"\x20\x30")),
    )
    yield (
        "trns-of-alpha",
        "tRNS does not count in a PNG that has alpha.",
        png(4, 8, False, [[(5, 6), (0, 9)]], before=chunk(b"tRNS", b"\0\5")),
    )
    yield "after-the-end", "Bytes behind the end of a PNG change no sample.", png(0, 8, False, grey) + b"more"
    frame = struct.pack(">IIIIIHHBB", 0, len(grey[0]), len(grey), 0, 0, 1, 10, 0, 0)
    yield (
        "animated",
        "Of an animated PNG the first picture counts.",
        png(0, 8, False, grey, before=chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", frame)),
    )


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
        content = {"smooth": "smooth colours", "noise": "noise"}[name]
        for progressive in (False, True):
            kind = "progressive" if progressive else "baseline"
            for number, sampling in enumerate(["444", "422", "420"]):
                yield (
                    f"{name}-{kind}-{sampling}",
                    f"A {kind} JPEG of {content} with chroma {sampling} becomes Pillow's RGB.",
                    saved(image, quality=80, progressive=progressive, subsampling=number),
                )
            yield (
                f"{name}-{kind}-grey",
                f"A {kind} JPEG of {content} in grey becomes Pillow's RGB.",
                saved(image.convert("L"), progressive=progressive),
            )
            yield (
                f"{name}-{kind}-cmyk",
                f"A {kind} JPEG of {content} in CMYK becomes Pillow's RGB.",
                saved(image.convert("CMYK"), progressive=progressive),
            )
        yield (
            f"{name}-restart",
            f"A JPEG of {content} with restart markers becomes Pillow's RGB.",
            saved(image, restart_marker_blocks=2),
        )
        yield (
            f"{name}-rgb",
            f"A JPEG of {content} that stores RGB becomes Pillow's RGB.",
            saved(image, keep_rgb=True),
        )
        yield (
            f"{name}-quality-1",
            f"A JPEG of {content} in the lowest quality becomes Pillow's RGB.",
            saved(image, quality=1),
        )
        exif = Image.Exif()
        exif[0x0112] = 6
        yield (
            f"{name}-turned",
            f"A JPEG of {content} whose EXIF says that it lies on its side is not turned.",
            saved(image, exif=exif),
        )
    for second, inks in (
        ("", Image.fromarray(noise, "CMYK")),
        ("-second", pictures["smooth"].convert("CMYK")),
    ):
        content = "smooth inks" if second else "noise in all inks"
        yield f"cmyk{second or '-noise'}", f"A JPEG of {content} becomes Pillow's RGB.", saved(inks)
        patched = bytearray(saved(inks))
        patched[patched.index(b"Adobe") + 11] = 2
        yield (
            f"ycck{second}",
            f"A JPEG of {content} in YCCK, which is CMYK with Adobe's transform, becomes Pillow's RGB.",
            bytes(patched),
        )
        patched = bytearray(saved(inks))
        patched[patched.index(b"Adobe") + 4] = ord("y")
        yield (
            f"cmyk-no-adobe{second}",
            f"A JPEG of {content} in CMYK without Adobe's marker is taken for inverted.",
            bytes(patched),
        )
    for second, options in (("", {}), ("-second", {"progressive": True, "restart_marker_rows": 1})):
        patched = bytearray(saved(pictures["smooth"], subsampling=1, **options))
        frame = patched.index(b"\xff\xc2" if options else b"\xff\xc0")
        patched[frame + 11] = (
            0x12  # the sampling of Y: 1 across, 2 down, in the place of 2 across, 1 down; the blocks are as many
        )
        patched[frame + 5 : frame + 9] = struct.pack(">HH", 37, 21)
        yield (
            f"440{second}",
            f"A {'progressive' if options else 'baseline'} JPEG with chroma 440 becomes Pillow's RGB.",
            bytes(patched),
        )


def broken():
    """Files that Pillow refuses. Where it makes something of a file that is not whole, there is no
    case.
    """
    whole = png(2, 8, False, [[(n, n, 9) for n in range(20)] for _ in range(20)])
    interlaced = png(6, 16, True, [[(n, 900, 65535, n * 300) for n in range(20)] for _ in range(20)])
    body = whole[8:]
    header = lambda width, height: (
        whole[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + body[25:]
    )
    yield "png-header-only", "A PNG that ends behind its header.", "truncated", whole[:33]
    yield "png-half", "A PNG that ends in the middle of its samples.", "truncated", whole[: len(whole) // 2]
    yield (
        "png-half-adam7",
        "An interlaced PNG that ends in the middle of its samples.",
        "truncated",
        interlaced[: len(interlaced) // 2],
    )
    yield "png-signature-only", "A PNG of nothing but its signature.", "truncated", whole[:8]
    yield (
        "png-header-checksum",
        "A PNG with a wrong checksum in its header.",
        "corrupt",
        whole[:29] + bytes([whole[29] ^ 1]) + whole[30:],
    )
    yield (
        "png-text-checksum",
        "A PNG with a wrong checksum in a text.",
        "corrupt",
        whole[:33] + chunk(b"tEXt", b"a\0b")[:-1] + b"\0" + whole[33:],
    )
    yield "png-no-width", "A PNG of no width.", "corrupt", header(0, 5)
    yield "png-no-height", "A PNG of no height.", "corrupt", header(5, 0)
    yield (
        "png-huge",
        "A PNG of a hundred bytes that says it is 65535×65535.",
        "too-large",
        header(65535, 65535),
    )
    yield (
        "png-depth",
        "A PNG of three bits.",
        "corrupt",
        whole[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 20, 3, 0, 0, 0, 0)) + body[25:],
    )
    yield (
        "png-trns-short",
        "A PNG whose transparent grey is one byte.",
        "corrupt",
        png(0, 8, False, [[(1,), (2,)]], b"", b"\1"),
    )
    photo = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
        photo, "JPEG"
    )
    jpeg = photo.getvalue()
    yield "jpeg-half", "A JPEG that ends in the middle of its samples.", "truncated", jpeg[: len(jpeg) // 2]
    yield "jpeg-start-only", "A JPEG that ends behind its first marker.", "truncated", jpeg[:4]
    frame = jpeg.index(b"\xff\xc0")
    yield "jpeg-no-width", "A JPEG of no width.", "corrupt", jpeg[: frame + 7] + b"\0\0" + jpeg[frame + 9 :]
    yield (
        "jpeg-huge",
        "A JPEG of a kilobyte that says it is 65500×65500.",
        "too-large",
        jpeg[: frame + 5] + b"\xff\xdc" * 2 + jpeg[frame + 9 :],
    )
    yield "empty", "An empty file.", "not-an-image", b""
    yield "text", "A text.", "not-an-image", b"a photo of a cat"
    yield (
        "svg",
        "An SVG drawing.",
        "not-an-image",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    )


# ---- cases ----

MISTRAL = {
    "name": "pillow",
    "version": importlib.metadata.version("pillow"),
    "mistral-common": importlib.metadata.version("mistral-common"),
}
HUGGING_FACE = {
    "name": "transformers",
    "version": importlib.metadata.version("transformers"),
    "pillow": importlib.metadata.version("pillow"),
}


def case(id: str, title: str, **keys) -> dict:
    usual = {
        "stage": "rgb", "exposes": [], "subject": {"operation": "image file to RGB"}, "model": None, "inputs": {}, "expect": {}, "compare": "exact", "requires": [],
        "conflicts_with": [], "importance": "high", "basis": "mistral_common.tokens.tokenizers.image._convert_to_rgb", "oracle": MISTRAL, "witnesses": [],
        "since": "0.2", "retired": None,
    }  # fmt: skip
    return {"id": f"image/rgb/{id}", "title": title, **usual, **keys}


def samples_of(data: bytes, convert) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(convert(image))


def hugging_face_rgb(image: Image.Image) -> np.ndarray:
    return convert_to_rgb(image, return_numpy=True)


def without_alpha(image: Image.Image) -> Image.Image:
    return image.convert("RGBA").convert("RGB")


def inline(samples: np.ndarray) -> dict:
    return {
        "width": samples.shape[1],
        "height": samples.shape[0],
        "rgb": base64.b64encode(samples.tobytes()).decode(),
    }


def photos() -> list:
    """Photographs and the pictures of the model cases: too large for their samples, so that a
    digest must do.
    """
    found = []
    for file in sorted((ROOT / "Fixtures" / "images").iterdir()):
        data = file.read_bytes()
        samples = samples_of(data, _convert_to_rgb)
        kind = "jpeg" if file.suffix == ".jpg" else "png"
        found.append(case(
            f"photo-{file.stem}", f"The picture {file.name} becomes Pillow's RGB.", inputs={"file": f"../../../images/{file.name}", "sha256": hashlib.sha256(data).hexdigest()},
            expect={"width": samples.shape[1], "height": samples.shape[0], "sha256": hashlib.sha256(samples.tobytes()).hexdigest()}, requires=[f"image.{kind}"]))  # fmt: skip
    return found


def main() -> None:
    hugging_face = []
    for kind, files in (("png", pngs()), ("jpeg", jpegs())):
        cases = []
        for id, title, data in files:
            right, other, careless = (
                samples_of(data, convert) for convert in (_convert_to_rgb, hugging_face_rgb, without_alpha)
            )
            common = {"inputs": {"base64": base64.b64encode(data).decode()}}
            conflicts = [] if np.array_equal(right, other) else [f"image/rgb/huggingface-{kind}-{id}"]
            exposes = [] if np.array_equal(right, careless) or kind != "png" else ["P-alpha"]
            cases.append(
                case(
                    f"{kind}-{id}",
                    title,
                    **common,
                    exposes=exposes,
                    expect=inline(right),
                    requires=[f"image.{kind}"],
                    conflicts_with=conflicts,
                )
            )
            if conflicts:
                hugging_face.append(case(
                    f"huggingface-{kind}-{id}", title.replace("becomes Pillow's RGB", "has that colour laid on white by transformers"), **common,
                    subject={"operation": "image file to RGB", "profile": "huggingface"}, expect=inline(other), requires=[f"image.{kind}", "image.huggingface"],
                    conflicts_with=[f"image/rgb/{kind}-{id}"], importance="low", basis="transformers.image_transforms.convert_to_rgb", oracle=HUGGING_FACE))  # fmt: skip
        suites.write(f"image/rgb/{kind}", cases)
    suites.write("image/rgb/huggingface", hugging_face)
    refused = []
    for id, title, code, data in broken():
        try:
            samples_of(data, _convert_to_rgb)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            refused.append(case(
                f"broken-{id}", f"{title[:-1]} is refused.", inputs={"base64": base64.b64encode(data).decode()}, expect={"reject": code}, witnesses=[{"name": "pillow", "raises": type(error).__name__}],
                requires=[f"image.{id.split('-')[0]}"] if "-" in id else []))  # fmt: skip
        else:
            raise AssertionError(f"Pillow takes {id}")
    suites.write("image/rgb/broken", refused)
    suites.write("image/rgb/photos", photos())


if __name__ == "__main__":
    main()
