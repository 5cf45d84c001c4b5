"""Compares `pixtral-ref image` with mistral-common: grids exactly, normalised pixels by their largest difference.

usage: check_images.py BINARY [COUNT [SEED]]

Writes random images of random sizes (noise and smooth pictures, PNG of several modes and JPEG) to a temporary folder. mistral-common
resizes with OpenCV; on x86 its wheels run Intel's IPP, elsewhere OpenCV's portable code, which gives other numbers
for large images. Run this on x86 to reproduce the figures of the README.
"""

import json
import random
import subprocess
import sys
import tempfile
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
    layers = [Image.fromarray(small[:, :, c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)]
    return np.stack([np.asarray(layer) for layer in layers], axis=2)


def write_image(rng: np.random.Generator, folder: Path, n: int) -> Path:
    side = lambda: int(np.exp(rng.uniform(0, np.log(3000))))
    width, height = side(), side()
    mode = random.Random(int(rng.integers(1 << 30))).choice(["RGB", "RGBA", "L", "LA", "P", "JPEG", "JPEG-L"])
    if mode in ("JPEG", "JPEG-L"):
        path = folder / f"{n}.jpg"
        image = Image.fromarray(picture(rng, width, height, 3))
        image = image.convert("L") if mode == "JPEG-L" else image
        image.save(path, quality=int(rng.integers(30, 100)), subsampling=int(rng.integers(0, 3)), progressive=bool(rng.random() < 0.3))
        return path
    path = folder / f"{n}.png"
    if mode == "P":
        Image.fromarray(picture(rng, width, height, 3)).convert("P").save(path, **({"transparency": 3} if rng.random() < 0.5 else {}))
    else:
        pixels = picture(rng, width, height, len(mode))
        Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels, mode).save(path)
    return path


def main() -> int:
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60
    rng = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    encoder = ImageEncoder(ImageConfig(16, 1024), SpecialImageIDs(10, 14, 15))
    worst, wrong = (0.0, ""), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in range(count):
            path = write_image(rng, folder, n)
            out = folder / "pixels.safetensors"
            run = subprocess.run([binary, "image", str(path), "--pixels", str(out)], capture_output=True, text=True)
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
    print(f"{count} images, {wrong} wrong, largest difference of a normalised sample {worst[0]:.2e} ({worst[1]}), limit {LIMIT}")
    return int(wrong > 0 or worst[0] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
