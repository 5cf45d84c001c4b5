"""Compares `pixtral-ref image` with mistral-common: grids exactly, normalised pixels by their
largest difference.

usage: check_images.py BINARY [COUNT [SEED]]            images of random content
       check_images.py BINARY --grids [COUNT [SEED]]    blank images of random sizes from 1 to 5000: grids only; 100,000 take 10 minutes

Writes random images of random sizes (noise and smooth pictures, PNG of several modes and JPEG) to a
temporary folder. mistral-common resizes with OpenCV; on x86 its wheels run Intel's IPP, elsewhere
OpenCV's portable code, which gives other numbers for large images. Run this on x86 to reproduce the
figures of the README.
"""

import json
import random
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
from mistral_common.protocol.instruct.chunk import ImageChunk
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from PIL import Image
from safetensors.numpy import load_file

LIMIT = 1e-5


def picture(rng: np.random.Generator, width: int, height: int, channels: int) -> np.ndarray:
    """Noise, or noise enlarged so that it is smooth: [height, width, channels] of uint8."""
    if rng.random() < 0.5:
        return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    small = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, channels), dtype=np.uint8)
    layers = [
        Image.fromarray(small[:, :, c]).resize((width, height), Image.Resampling.BICUBIC)
        for c in range(channels)
    ]
    return np.stack([np.asarray(layer) for layer in layers], axis=2)


def write_image(rng: np.random.Generator, folder: Path, n: int) -> Path:
    side = lambda: int(np.exp(rng.uniform(0, np.log(3000))))
    width, height = side(), side()
    mode = random.Random(int(rng.integers(1 << 30))).choice(["RGB", "RGBA", "L", "LA", "P", "JPEG", "JPEG-L"])
    if mode in ("JPEG", "JPEG-L"):
        path = folder / f"{n}.jpg"
        image = Image.fromarray(picture(rng, width, height, 3))
        image = image.convert("L") if mode == "JPEG-L" else image
        image.save(
            path,
            quality=int(rng.integers(30, 100)),
            subsampling=int(rng.integers(0, 3)),
            progressive=bool(rng.random() < 0.3),
        )
        return path
    path = folder / f"{n}.png"
    if mode == "P":
        Image.fromarray(picture(rng, width, height, 3)).convert("P").save(
            path, **({"transparency": 3} if rng.random() < 0.5 else {})
        )
    else:
        pixels = picture(rng, width, height, len(mode))
        Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels, mode).save(path)
    return path


def blank(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel, all black."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def check_grids(binary: str, count: int, seed: int) -> int:
    class Sized:
        def __init__(self, size: tuple):
            self.size = size

    generator = random.Random(seed)
    encoder = ImageEncoder(ImageConfig(16, 1024), SpecialImageIDs(10, 14, 15))
    wrong = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for start in range(0, count, 200):
            sizes = [
                (generator.randint(1, 5000), generator.randint(1, 5000))
                for _ in range(min(200, count - start))
            ]
            files = [Path(folder) / f"{n}.png" for n in range(len(sizes))]
            for file, size in zip(files, sizes, strict=True):
                file.write_bytes(blank(*size))
            lines = subprocess.run(
                [binary, "image", *files], capture_output=True, text=True
            ).stdout.splitlines()
            for size, line in zip(sizes, lines, strict=True):
                found = json.loads(line)
                if (found.get("columns"), found.get("rows")) != tuple(
                    encoder._image_to_num_tokens(Sized(size))
                ):
                    print(f"other grid: {size}: {found}")
                    wrong += 1
            if sys.stderr.isatty():
                print(f"\r{start + len(sizes)} of {count}", end="", file=sys.stderr)
    print(f"{count} sizes, {wrong} wrong")
    return int(wrong > 0)


def main() -> int:
    if "--grids" in sys.argv:
        sys.argv.remove("--grids")
        return check_grids(
            sys.argv[1], *(int(value) for value in (sys.argv[2:] + ["100000", "1"][len(sys.argv) - 2 :]))
        )
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60
    rng = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    encoder = ImageEncoder(ImageConfig(16, 1024), SpecialImageIDs(10, 14, 15))
    worst, wrong = (0.0, ""), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in range(count):
            path = write_image(rng, folder, n)
            out = folder / "pixels.safetensors"
            run = subprocess.run(
                [binary, "image", str(path), "--pixels", str(out)], capture_output=True, text=True
            )
            if run.returncode:
                print(f"refused: {run.stdout.strip()}")
                wrong += 1
                continue
            ours = json.loads(run.stdout)
            with Image.open(path) as image:
                description = f"{path.name} {image.mode} {image.size}"
                encoding = encoder(ImageChunk(image=image))
            pixels = load_file(out)["image0"]
            if pixels.shape != encoding.image.shape or ours["tokens"] != len(encoding.tokens):
                print(f"other grid: {description}: {ours}, expected {encoding.image.shape}")
                wrong += 1
                continue
            distance = float(np.abs(pixels.astype(np.float64) - encoding.image).max())
            worst = max(worst, (distance, description))
            path.unlink()
    print(
        f"{count} images, {wrong} wrong, largest difference of a normalised sample {worst[0]:.2e} ({worst[1]}), limit {LIMIT}"
    )
    return int(wrong > 0 or worst[0] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
