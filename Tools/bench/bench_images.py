"""Images: pixtral-ref beside mistral-common, in one run, on one thread, taking turns: a JPEG of
2048x1536 to normalised pixels.

    python bench_images.py BINARY [--rounds 7] [--images 20] [--out FILE.json]

A turn is the same file a number of times. pixtral-ref is a fresh process each turn, which starts
and writes all the pixels to a file in memory; mistral-common is loaded already, opens the file with
Pillow, and keeps nothing. Peak memory is that of a whole process with one image each. The machine's
own limit is taken to be what libjpeg-turbo needs to decode the file and OpenCV to resize it, with
nothing around them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(
        0, {min(os.sched_getaffinity(0))}
    )  # one core for us, our children and the peer alike

import cv2
import numpy as np
from mistral_common.protocol.instruct.chunk import ImageURL, ImageURLChunk
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from PIL import Image

cv2.setNumThreads(1)
PHOTO = Path(__file__).resolve().parent.parent.parent / "Fixtures" / "images" / "rocket.jpg"
PEER = """
import sys
from mistral_common.protocol.instruct.chunk import ImageURL, ImageURLChunk
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
ImageEncoder(ImageConfig(16, 1024), SpecialImageIDs(10, 14, 15))(ImageURLChunk(image_url=ImageURL(url="file://" + sys.argv[1])))
"""


def timed(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def peak(command: list[str]) -> float:
    """Megabytes that a program needed at most; of a child of its own, for getrusage knows only the
    largest so far.
    """
    child = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    return (
        int(
            subprocess.run(
                [sys.executable, "-c", child, *command], check=True, capture_output=True, text=True
            ).stdout
        )
        / 1024
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--out", help="write the figures as JSON too")
    arguments = parser.parse_args()
    count = arguments.images
    encoder = ImageEncoder(ImageConfig(16, 1024), SpecialImageIDs(10, 14, 15))
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        photo, pixels = f"{folder}/photo.jpg", f"{folder}/pixels.safetensors"
        with Image.open(PHOTO) as image:
            image.convert("RGB").resize((2048, 1536), Image.Resampling.BICUBIC).save(photo, quality=90)
        chunk = ImageURLChunk(image_url=ImageURL(url=f"file://{photo}"))
        samples = cv2.imread(photo).astype(np.float32)

        def ours() -> None:
            subprocess.run(
                [arguments.binary, "image", *[photo] * count, "--pixels", pixels],
                check=True,
                stdout=subprocess.DEVNULL,
            )

        def theirs() -> None:
            for _ in range(count):
                encoder(chunk)

        def bare() -> None:
            for _ in range(count):
                cv2.imread(photo)
                cv2.resize(samples, (1024, 768), interpolation=cv2.INTER_CUBIC)

        times = {ours: [], theirs: [], bare: []}
        for _ in range(arguments.rounds):
            for action, found in times.items():
                found.append(timed(action) / count)
        a, b, c = (statistics.median(found) * 1000 for found in times.values())
        megabytes = (
            peak([arguments.binary, "image", photo, "--pixels", pixels]),
            peak([sys.executable, "-c", PEER, photo]),
        )
    print(
        f"2048x1536 JPEG to pixels: pixtral-ref {a:.1f} ms, mistral-common {b:.1f} ms, ratio {b / a:.2f} (at least 1); bare decoding and resizing {c:.1f} ms, {c / a:.0%} of ours"
    )
    print(f"peak memory: pixtral-ref {megabytes[0]:.0f} MB, mistral-common {megabytes[1]:.0f} MB")
    if arguments.out:
        figures = {
            "pixtral_ref_ms": a,
            "mistral_common_ms": b,
            "bare_ms": c,
            "ratio": b / a,
            "peak_mb": megabytes,
        }
        Path(arguments.out).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
