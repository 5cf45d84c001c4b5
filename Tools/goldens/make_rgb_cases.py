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
from mistral_common.protocol.instruct.chunk import ImageURLChunk
from mistral_common.tokens.tokenizers.image import _convert_to_rgb, image_from_chunk
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


def written(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def header(width: int, height: int, depth: int, colour: int, method: int = 0, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, method, 0, interlace))


# A picture of 6×5 greys: its samples, and the chunks of its file.
ROWS = b"".join(bytes([0, *range(40 * y, 40 * y + 30, 5)]) for y in range(5))
HEADER, DATA, END = header(6, 5, 8, 0), chunk(b"IDAT", zlib.compress(ROWS)), chunk(b"IEND", b"")
FRAME = struct.pack(">IIIIIHHBB", 0, 6, 5, 0, 0, 1, 10, 0, 0)


def with_wrong_checksum(coded: bytes) -> bytes:
    return coded[:-1] + bytes([coded[-1] ^ 1])


def odd_pngs():
    """Files that break PNG's rules, and that Pillow reads all the same."""
    text = chunk(b"tEXt", b"Comment\0text")
    yield (
        "behind-checksum",
        "A wrong checksum behind the samples of a PNG changes none.",
        written(HEADER, DATA, with_wrong_checksum(text), END),
    )
    yield (
        "behind-name",
        "A chunk behind the samples of a PNG whose name is none changes none.",
        written(HEADER, DATA, chunk(b"a-b1", b"123"), END),
    )
    yield (
        "critical",
        "A PNG with critical chunks that nobody knows, before and behind its samples, is read.",
        written(HEADER, chunk(b"ABCD", b"123"), DATA, chunk(b"EFGH", b"456"), END),
    )
    yield (
        "data-checksum",
        "Of a PNG's samples their own checksum counts, not that of their chunk.",
        written(HEADER, with_wrong_checksum(DATA), END),
    )
    yield (
        "data-no-checksum",
        "A PNG that ends with the last of its samples is read.",
        written(HEADER, chunk(b"IDAT", zlib.compress(ROWS)[:-4])[:-4]),
    )
    yield "no-end", "A PNG without an end is read.", written(HEADER, DATA)
    yield (
        "header-twice",
        "Of two headers of a PNG, both before the samples, the last counts.",
        written(header(3, 3, 8, 2), HEADER, DATA, END),
    )
    yield (
        "header-behind",
        "A header behind the samples of a PNG does not count.",
        written(HEADER, DATA, header(3, 3, 8, 2), END),
    )
    yield (
        "trns-behind",
        "tRNS counts behind the samples of a PNG too.",
        written(HEADER, DATA, chunk(b"tRNS", b"\0\x28"), END),
    )
    yield (
        "no-palette",
        "A PNG of palette indices without a palette is black.",
        written(header(6, 5, 8, 3), DATA, END),
    )
    yield (
        "palette-behind",
        "A palette behind the samples of a PNG does not count.",
        written(header(6, 5, 8, 3), DATA, chunk(b"PLTE", bytes(range(30))), END),
    )
    yield (
        "method",
        "The compression method that a PNG's header names is not looked at.",
        written(header(6, 5, 8, 0, method=7), DATA, END),
    )
    yield (
        "interlace-2",
        "A PNG whose header says 2 for interlaced is interlaced.",
        png(0, 8, True, [[(x * 9 + y,) for x in range(6)] for y in range(5)]).replace(
            header(6, 5, 8, 0, interlace=1), header(6, 5, 8, 0, interlace=2)
        ),
    )
    yield (
        "samples-in-fdat",
        "An animated PNG without IDAT shows its first picture.",
        written(
            HEADER, chunk(b"acTL", struct.pack(">II", 1, 0)), chunk(b"fcTL", FRAME), chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(ROWS)), END
        ),
    )  # fmt: skip
    yield (
        "ztxt-damaged",
        "A damaged zTXt changes no sample of a PNG.",
        written(HEADER, chunk(b"zTXt", b"Comment\0\0no zlib"), DATA, END),
    )
    yield (
        "ztxt-mebibyte",
        "A zTXt of a mebibyte changes no sample of a PNG.",
        written(HEADER, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20), 9)), DATA, END),
    )
    yield (
        "itxt-method",
        "An iTXt of an unknown compression method changes no sample of a PNG.",
        written(HEADER, chunk(b"iTXt", b"Comment\0\1\7\0\0text"), DATA, END),
    )
    yield (
        "data-more",
        "Samples behind the last row of a PNG do not count.",
        written(HEADER, chunk(b"IDAT", zlib.compress(ROWS + bytes(9)) + b"more"), END),
    )


# ---- JPEG ----


def odd_jpegs():
    """Files that break JPEG's rules, and that Pillow reads all the same."""
    rows, columns = np.mgrid[0:21, 0:37]
    picture = Image.fromarray(np.stack([columns * 6, rows * 11, (rows + columns) * 4], -1).astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, "JPEG", restart_marker_blocks=1)
    whole = file.getvalue()
    tables = whole.index(b"\xff\xdb")
    with_bytes = lambda more: whole[:tables] + more + whole[tables:]
    yield "fill", "Fill bytes in front of a marker of a JPEG do not count.", with_bytes(b"\xff\xff\xff")
    yield "junk", "Bytes between the segments of a JPEG do not count.", with_bytes(b"junk")
    yield (
        "no-end",
        "A JPEG with something else than an end behind its samples is read.",
        whole[:-2] + bytes(8),
    )
    yield "after-the-end", "Bytes behind the end of a JPEG change no sample.", whole + b"more"
    yield (
        "restart-missing",
        "A JPEG without one of its restart markers becomes Pillow's RGB.",
        whole.replace(b"\xff\xd2", b"", 1),
    )
    yield (
        "restart-wrong",
        "A JPEG with a restart marker of the wrong number becomes Pillow's RGB.",
        whole.replace(b"\xff\xd2", b"\xff\xd5", 1),
    )
    scan = whole.index(b"\xff\xda")
    middle = (scan + len(whole)) // 2
    yield (
        "early-end",
        "A JPEG whose end marker comes too early is grey where samples are missing.",
        whole[:middle] + b"\xff\xd9",
    )
    codes = whole.index(b"\xff\xc4")
    yield (
        "no-codes",
        "A JPEG without Huffman tables has those of JPEG's own example, as Motion JPEG does.",
        whole[:codes] + whole[whole.index(b"\xff\xdd") :],
    )
    pictures = io.BytesIO()
    picture.save(pictures, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    yield "mpo", "Of a JPEG with several pictures (MPO) the first counts.", pictures.getvalue()


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
    sized = lambda width, height: whole[:8] + header(width, height, 8, 2) + body[25:]
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
    yield "png-no-width", "A PNG of no width.", "corrupt", sized(0, 5)
    yield "png-no-height", "A PNG of no height.", "corrupt", sized(5, 0)
    yield (
        "png-huge",
        "A PNG of a hundred bytes that says it is 65535×65535.",
        "too-large",
        sized(65535, 65535),
    )
    yield (
        "png-depth",
        "A PNG of three bits.",
        "corrupt",
        whole[:8] + header(20, 20, 3, 0) + body[25:],
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


def odd_broken():
    """Files that look whole, and that Pillow refuses."""
    bomb = zlib.compress(bytes((1 << 20) + 1), 9)
    for name, kind, data, title in (
        ("gama-short", b"gAMA", bytes(3), "A PNG with a gAMA of 3 bytes"),
        ("chrm-short", b"cHRM", bytes(31), "A PNG with a cHRM of 31 bytes"),
        ("srgb-empty", b"sRGB", b"", "A PNG with an empty sRGB"),
        ("phys-short", b"pHYs", bytes(8), "A PNG with a pHYs of 8 bytes"),
        ("actl-short", b"acTL", bytes(7), "A PNG with an acTL of 7 bytes"),
        ("fctl-short", b"fcTL", FRAME[:25], "A PNG with an fcTL of 25 bytes"),
        ("fctl-number", b"fcTL", b"\0\0\0\1" + FRAME[4:], "A PNG whose first fcTL has the number 1"),
        ("fctl-outside", b"fcTL", FRAME[:12] + b"\0\0\0\1" + FRAME[16:], "A PNG with an fcTL that reaches outside of the image"),
        ("ztxt-method", b"zTXt", b"Comment\0\1", "A PNG with a zTXt of an unknown compression method"),
        ("iccp-method", b"iCCP", b"name\0\1", "A PNG with an iCCP of an unknown compression method"),
        ("ztxt-long", b"zTXt", b"Comment\0\0" + bomb, "A PNG with a zTXt of more than a mebibyte"),
        ("itxt-long", b"iTXt", b"Comment\0\1\0\0\0" + bomb, "A PNG with an iTXt of more than a mebibyte"),
        ("iccp-long", b"iCCP", b"name\0\0" + bomb, "A PNG with an iCCP of more than a mebibyte"),
    ):  # fmt: skip
        yield f"png-{name}", f"{title}.", "corrupt", written(HEADER, chunk(kind, data), DATA, END)
        behind = title.replace("A PNG with", "A PNG with, behind its samples,")
        if "whose" not in title:
            yield f"png-{name}-behind", f"{behind}.", "corrupt", written(HEADER, DATA, chunk(kind, data), END)
    yield (
        "png-iccp-short",
        "A PNG with an iCCP that ends with its name.",
        "corrupt",
        written(HEADER, chunk(b"iCCP", b"name\0"), DATA, END),
    )
    yield (
        "png-iccp-short-behind",
        "A PNG with, behind its samples, an iCCP that ends with its name.",
        "corrupt",
        written(HEADER, DATA, chunk(b"iCCP", b"name\0"), END),
    )
    yield (
        "png-name",
        "A PNG with a chunk whose name is none.",
        "corrupt",
        written(HEADER, chunk(b"a-b1", b"123"), DATA, END),
    )
    coded = zlib.compress(ROWS)
    parts = chunk(b"IDAT", coded[:9]), chunk(b"IDAT", coded[9:])
    yield (
        "png-name-in-data",
        "A PNG with a chunk whose name is none among its samples.",
        "corrupt",
        written(HEADER, parts[0], chunk(b"a-b1", b"123"), parts[1], END),
    )
    yield (
        "png-text-in-data",
        "A PNG with a text among its samples.",
        "corrupt",
        written(HEADER, parts[0], chunk(b"tEXt", b"a\0b"), parts[1], END),
    )
    yield (
        "png-half-text",
        "A PNG that ends in a text before its samples.",
        "truncated",
        written(HEADER, chunk(b"tEXt", b"Comment\0text"))[:-8],
    )
    yield (
        "png-half-text-behind",
        "A PNG that ends in a text behind its samples.",
        "truncated",
        written(HEADER, DATA, chunk(b"tEXt", b"Comment\0text"))[:-8],
    )
    yield "png-no-data", "A PNG without samples.", "corrupt", written(HEADER, END)
    yield (
        "png-filter",
        "A PNG with a filter that PNG does not have.",
        "corrupt",
        written(HEADER, chunk(b"IDAT", zlib.compress(b"\5" + ROWS[1:])), END),
    )
    yield (
        "png-data-checksum",
        "A PNG whose samples have a wrong checksum of their own.",
        "corrupt",
        written(HEADER, chunk(b"IDAT", with_wrong_checksum(coded)), END),
    )
    yield (
        "png-data-short",
        "A PNG whose samples end in a row.",
        "truncated",
        written(HEADER, chunk(b"IDAT", zlib.compress(ROWS[:9])), END),
    )
    yield (
        "png-palette-long",
        "A PNG with a palette of 257 colours.",
        "corrupt",
        written(header(6, 5, 8, 3), chunk(b"PLTE", bytes(771)), DATA, END),
    )
    yield (
        "png-trns-long",
        "A PNG with a tRNS for 257 colours.",
        "corrupt",
        written(header(6, 5, 8, 3), chunk(b"PLTE", bytes(768)), chunk(b"tRNS", bytes(257)), DATA, END),
    )
    file = io.BytesIO()
    Image.new("RGB", (9, 9), "green").save(file, "JPEG")
    jpeg = file.getvalue()
    tables = jpeg.index(b"\xff\xdb")
    segment = lambda marker, data: b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data
    inserted = lambda part: jpeg[:tables] + part + jpeg[tables:]
    for name, marker, data, title in (
        ("jfif-short", 0xE0, b"JFIF\0\1", "A JPEG with a JFIF segment of 6 bytes"),
        ("adobe-short", 0xEE, b"Adobe\0", "A JPEG with an Adobe segment of 6 bytes"),
        ("profile-short", 0xE2, b"ICC_PROFILE\0\1", "A JPEG with a colour profile of no number"),
        (
            "photoshop-short",
            0xED,
            b"Photoshop 3.0\x008BIM\4\4",
            "A JPEG with a Photoshop resource without a name",
        ),
        ("table-short", 0xDB, bytes(64), "A JPEG with a quantization table of 63 numbers"),
    ):
        yield f"jpeg-{name}", f"{title}.", "corrupt", inserted(segment(marker, data))
    yield "jpeg-marker", "A JPEG with a marker that there is not.", "corrupt", inserted(b"\xff\1")
    frame = jpeg.index(b"\xff\xc0")
    yield "jpeg-12-bits", "A JPEG of 12 bits.", "corrupt", jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :]
    yield (
        "jpeg-components",
        "A JPEG of two components.",
        "corrupt",
        jpeg[: frame + 9] + b"\2" + jpeg[frame + 10 :],
    )
    yield "jpeg-half-segment", "A JPEG that ends in a segment.", "truncated", jpeg[: tables + 20]
    scan = jpeg.index(b"\xff\xda")
    yield "jpeg-no-scan", "A JPEG without a scan.", "truncated", jpeg[:scan]


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


def raised(call) -> str:
    """The exception that a call ends with."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    raise AssertionError("Pillow takes it")


def witnesses_of(data: bytes) -> list:
    """What Pillow raises for a file, and mistral-common for the same in a data: URL."""
    url = "data:;base64," + base64.b64encode(data).decode()
    return [
        {"name": "pillow", "raises": raised(lambda: samples_of(data, _convert_to_rgb))},
        {"name": "mistral-common", "what": "a data: URL", "raises": raised(lambda: _convert_to_rgb(image_from_chunk(ImageURLChunk(image_url=url))).load())},
    ]  # fmt: skip


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
    files = {"png": (pngs(), odd_pngs()), "jpeg": (jpegs(), odd_jpegs())}
    for kind in files:
        cases = []
        for since, (id, title, data) in [
            (since, file) for since, some in zip(("0.2", "0.3"), files[kind], strict=True) for file in some
        ]:
            right, other, careless = (
                samples_of(data, convert) for convert in (_convert_to_rgb, hugging_face_rgb, without_alpha)
            )
            common = {"inputs": {"base64": base64.b64encode(data).decode()}, "since": since}
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
    for since, (id, title, code, data) in [
        (since, file) for since, some in (("0.2", broken()), ("0.3", odd_broken())) for file in some
    ]:
        refused.append(case(
            f"broken-{id}", f"{title[:-1]} is refused.", inputs={"base64": base64.b64encode(data).decode()}, expect={"reject": code}, witnesses=witnesses_of(data),
            requires=[f"image.{id.split('-')[0]}"] if "-" in id else [], since=since))  # fmt: skip
    suites.write("image/rgb/broken", refused)
    suites.write("image/rgb/photos", photos())


if __name__ == "__main__":
    main()
