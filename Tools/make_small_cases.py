"""Makes the image cases: size to grid, file to pixels. Those of tokens are make_token_cases.py's.

usage: make_small_cases.py        (writes below Fixtures/cases; deterministic)

The oracle is mistral-common. Suites of small cases are JSON Lines, a case a line.
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path

import numpy as np
from mistral_common.protocol.instruct.chunk import ImageChunk
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from PIL import Image
from safetensors.numpy import save_file

FIXTURES = Path(__file__).resolve().parent.parent / "Fixtures"

# Width, height, and what would go wrong: DIVERGENCES.md, rows G-.
SIZES = [
    (1, 1, []), (16, 16, []), (17, 16, []), (100, 80, ["G-upscale"]), (1024, 1024, []), (1025, 49, ["G-floor"]), (1025, 577, ["G-ceil"]),
    (1025, 1237, ["G-floor"]), (2048, 33, ["G-half-away"]), (2048, 35, []), (3000, 2000, ["G-32"]), (3000, 1, []), (1, 3000, []),
    (4000, 3000, []), (1365, 1024, []), (5000, 4999, []),
]

def version(package: str) -> dict:
    return {"name": package, "version": importlib.metadata.version(package)}


def case(id: str, title: str, stage: str, subject: dict, inputs: dict, expect: dict, oracle: dict, basis: str, exposes: list, compare="exact") -> dict:
    return {
        "id": id, "title": title, "stage": stage, "exposes": exposes, "subject": subject, "model": None, "inputs": inputs, "expect": expect,
        "compare": compare, "requires": [], "conflicts_with": [], "importance": "high", "basis": basis, "oracle": oracle, "witnesses": [],
        "since": "0.1", "retired": None,
    }


def write_lines(path: str, cases: list) -> None:
    file = FIXTURES / "cases" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in cases), encoding="utf-8")
    print(f"{path}: {len(cases)} cases")


def encoder() -> ImageEncoder:
    return ImageEncoder(ImageConfig(16, 1024), SpecialImageIDs(10, 14, 15))


def grids() -> None:
    cases = []
    for width, height, exposes in SIZES:
        columns, rows = encoder()._image_to_num_tokens(Image.new("1", (width, height)))
        cases.append(case(f"image/grid/{width}x{height}", f"An image of {width}×{height} pixels has {columns} columns and {rows} rows.", "grid",
                          {"operation": "image size to grid", "patch_size": 16, "image_size": 1024}, {"width": width, "height": height},
                          {"columns": columns, "rows": rows}, version("mistral-common"), "ImageEncoder._image_to_num_tokens", exposes))
    write_lines("image/grid/basics.jsonl", cases)


def pixels() -> None:
    """A large JPEG, scaled down: some rows of its normalised pixels."""
    image = FIXTURES / "images" / "model-large.jpg"
    with Image.open(FIXTURES / "images" / "chelsea.png") as photo:
        photo.convert("RGB").resize((1353, 900), Image.Resampling.BICUBIC).save(image, quality=60)
    with Image.open(image) as photo:
        array = encoder()(ImageChunk(image=photo)).image
    rows = [0, 1, 300, array.shape[1] - 1]
    folder = FIXTURES / "cases" / "image" / "pixels" / "scaled-down"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"rows": np.ascontiguousarray(array[:, rows]).astype(np.float32)}, folder / "expected.safetensors")
    digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
    text = json.dumps(case(
        "image/pixels/scaled-down", "An image over 1024 pixels is scaled down without antialiasing.", "pixels",
        {"operation": "image file to normalised pixels", "patch_size": 16, "image_size": 1024, "resize": "opencv-cubic"},
        {"image": {"file": "../../../../images/model-large.jpg", "sha256": digest(image)}},
        {"shape": list(array.shape), "rows": rows, "tensors": "expected.safetensors", "sha256": digest(folder / "expected.safetensors")},
        {**version("mistral-common"), "opencv": importlib.metadata.version("opencv-python-headless"), "pillow": importlib.metadata.version("pillow")},
        "ImageEncoder.__call__", ["P-antialias", "P-norm"], {"max_abs": 1e-5}), indent=2)
    (folder / "case.json").write_text(text + "\n")
    print("image/pixels/scaled-down: 1 case")


if __name__ == "__main__":
    grids()
    pixels()
