"""Makes the image cases of size to grid and of RGB to pixels. Those of file to RGB are
make_rgb_cases.py's.

    python make_image_cases.py        (writes below Fixtures/cases/image; deterministic)

The oracle is mistral-common; of the cases named huggingface it is transformers'
PixtralImageProcessor with its PIL backend, and those are in conflict with mistral-common's case of
the same size where both differ. The tensors of a suite are in a safetensors file beside it.
"""

import base64
import hashlib
import importlib.metadata
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch
from mistral_common.protocol.instruct.chunk import ImageChunk
from mistral_common.tokens.tokenizers.image import (
    DATASET_MEAN,
    DATASET_STD,
    ImageConfig,
    ImageEncoder,
    SpecialImageIDs,
    _convert_to_rgb,
)
from PIL import Image
from safetensors.numpy import save_file
from transformers.models.pixtral.image_processing_pil_pixtral import (
    PixtralImageProcessorPil,
    get_resize_output_image_size,
)

FIXTURES = Path(__file__).resolve().parent.parent.parent / "Fixtures"
sys.path.insert(0, str(FIXTURES / "oracle"))
import image as oracle_image  # noqa: E402

import suites  # noqa: E402

# Width, height, and what would go wrong: Docs/Faults.md, rows G-.
SIZES = [
    (1, 1, []),
    (16, 16, []),
    (17, 16, []),
    (100, 80, ["G-upscale"]),
    (1024, 1024, []),
    (1025, 49, ["G-floor"]),
    (1025, 577, ["G-ceil"]),
    (1025, 1237, ["G-floor"]),
    (2048, 33, ["G-half-away"]),
    (2048, 35, []),
    (3000, 2000, ["G-32"]),
    (3000, 1, []),
    (1, 3000, []),
    (4000, 3000, []),
    (1365, 1024, []),
    (5000, 4999, []),
]


def version(*packages: str) -> dict:
    first, *others = ((package, importlib.metadata.version(package)) for package in packages)
    return {"name": first[0], "version": first[1], **dict(others)}


MISTRAL = version("mistral-common", "opencv-python-headless", "pillow")
HUGGING_FACE = version("transformers", "pillow")


def case(id: str, title: str, **keys) -> dict:
    """The keys of every case, in their order; those given here replace what most have."""
    stage = id.split("/")[1]
    usual = {
        "stage": stage, "exposes": [], "subject": {}, "model": None, "inputs": {}, "expect": {}, "compare": "exact", "requires": [], "conflicts_with": [],
        "importance": "high", "basis": "", "oracle": MISTRAL, "witnesses": [], "since": "0.2", "retired": None,
    }  # fmt: skip
    assert keys.keys() <= usual.keys()
    return {"id": id, "title": title, **usual, **keys}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ---- size to grid ----


def encoder(patch_size: int = 16, image_size: int = 1024) -> ImageEncoder:
    return ImageEncoder(ImageConfig(patch_size, image_size), SpecialImageIDs(10, 14, 15))


class Sized:
    """All that the rule asks of an image."""

    def __init__(self, width: int, height: int):
        self.size = (width, height)


def mistaken(width: int, height: int) -> dict:
    """The grid by each rule that ports have taken for Python's rounding: Docs/Faults.md."""
    ratio = max(width / 1024, height / 1024)

    def grid(whole) -> tuple:
        sides = [max(whole(side / ratio), 1) if ratio > 1 else side for side in (width, height)]
        return tuple((side - 1) // 16 + 1 for side in sides)

    return {
        "G-floor": grid(math.floor),
        "G-ceil": grid(math.ceil),
        "G-half-away": grid(lambda side: math.floor(side + 0.5)),
    }


def tells(width: int, height: int) -> list:
    """Which of these rules give another grid than mistral-common's."""
    right = tuple(encoder()._image_to_num_tokens(Sized(width, height)))
    return [fault for fault, grid in mistaken(width, height).items() if grid != right]


def halves() -> list:
    """Every size up to 5000 whose grid depends on which way a half is rounded.

    A side is scaled to a half and a multiple of 16 only where the longest is an even multiple of
    1024: 2048 or 4096.
    """
    sizes = [
        (times * 1024, times // 2 * (32 * sixteens + 1)) for times in (2, 4) for sixteens in range(1, 32)
    ]
    return sizes + [(height, width) for width, height in sizes]


def random_sizes() -> list:
    """Sizes up to 5000 that floor gets wrong, that ceil gets wrong, that neither does, and slender
    ones: 760 of each.
    """
    generator = random.Random(3000)
    wanted = {"G-floor": 760, "G-ceil": 760, "neither": 760, "slender": 760}
    found = set()
    while any(wanted.values()):
        slender = bool(wanted["slender"]) and generator.random() < 0.2
        size = (generator.randint(1, 5000), generator.randint(1, 40 if slender else 5000))
        size = size if generator.random() < 0.5 else size[::-1]
        if size in found:
            continue
        kind = "slender" if slender else next(iter(tells(*size)), "neither")
        if wanted[kind]:
            wanted[kind] -= 1
            found.add(size)
    return sorted(found)


def mistral_grid(width: int, height: int) -> tuple:
    return tuple(encoder()._image_to_num_tokens(Sized(width, height)))


def hugging_face_grid(width: int, height: int) -> tuple:
    pixels = np.empty((height, width, 0), np.uint8)  # only its shape is asked for
    rows, columns = get_resize_output_image_size(pixels, 1024, 16, "channels_last")
    return columns // 16, rows // 16


NUMBERS = {
    "inputs": {"width": "{width}", "height": "{height}"},
    "expect": {"columns": "{columns}", "rows": "{rows}"},
}
SUBJECT = {"operation": "image size to grid", "patch_size": 16, "image_size": 1024}

MISTRAL_GRID = case(
    "image/grid/{width}x{height}", "An image of {width}×{height} pixels has a grid of {columns}×{rows} patches.",
    **NUMBERS, subject=SUBJECT, basis="ImageEncoder._image_to_num_tokens", oracle=version("mistral-common"),
    witnesses=[{"name": "Fixtures/oracle/tokens.py", "what": "the same grid, from Docs/Model.md 4.1 alone"}])  # fmt: skip

HUGGING_FACE_GRID = case(
    "image/grid/huggingface-{width}x{height}", "transformers gives an image of {width}×{height} pixels a grid of {columns}×{rows} patches.",
    **NUMBERS, subject={**SUBJECT, "profile": "huggingface"}, requires=["image.huggingface"], importance="low", basis="get_resize_output_image_size",
    oracle=HUGGING_FACE)  # fmt: skip

HUGGING_FACE_REFUSAL = {
    **HUGGING_FACE_GRID, "title": "transformers refuses an image of {width}×{height} pixels, of which a side is rounded down to nothing.",
    "expect": {"reject": "size-vanishes"}, "conflicts_with": ["image/grid/{width}x{height}"],
}  # fmt: skip


def grids() -> None:
    chosen = {(width, height): exposes for width, height, exposes in SIZES}
    sizes = [*chosen, *sorted({*halves(), *random_sizes()} - chosen.keys())]
    mistral, hugging_face, refused = [], [], []
    for width, height in sizes:
        right, other = mistral_grid(width, height), hugging_face_grid(width, height)
        exposes = " ".join(sorted({*chosen.get((width, height), []), *tells(width, height)}))
        conflicts = f"image/grid/huggingface-{width}x{height}" if right != other else ""
        mistral.append(
            [width, height, *right, exposes, conflicts, "0.1" if (width, height) in chosen else ""]
        )
        if min(other) == 0:
            refused.append([width, height])
        elif right != other:
            hugging_face.append([width, height, *other, f"image/grid/{width}x{height}"])
        elif (width * 31 + height) % 32 == 0:  # of the sizes that both agree on, one in thirty-two
            hugging_face.append([width, height, *other, ""])
    suites.write_table(
        "image/grid/basics",
        MISTRAL_GRID,
        ["width", "height", "columns", "rows", "exposes", "conflicts_with", "since"],
        mistral,
    )
    suites.write_table(
        "image/grid/huggingface",
        HUGGING_FACE_GRID,
        ["width", "height", "columns", "rows", "conflicts_with"],
        hugging_face,
    )
    suites.write_table("image/grid/huggingface-refused", HUGGING_FACE_REFUSAL, ["width", "height"], refused)


# ---- RGB to pixels ----

# Width, height, longest side, patch size, content. Small longest sides let large ratios be stored.
STRETCHES = [
    # enlarged to the next multiple of 16, or left alone
    *((width, height, 1024, 16, content) for content in ("noise", "checks") for width, height in [(5, 7), (7, 5), (16, 16), (17, 16), (31, 33), (100, 80)]),
    *((width, height, 1024, 16, "noise") for width, height in [(4, 4), (4, 45), (15, 15), (16, 17), (33, 70), (47, 63), (64, 17), (65, 9)]),
    # sides below OpenCV's four taps
    *((width, height, 1024, 16, "noise") for width, height in [(1, 1), (2, 2), (3, 3), (3, 5), (1, 16), (33, 1), (1, 33), (45, 3), (3, 45)]),
    # scaled down a little, to a half, to a quarter, and much; and both ways at once
    *((width, height, 32, 16, content) for content in ("noise", "checks") for width, height in [(33, 32), (50, 50), (64, 64), (100, 67), (65, 49)]),
    *((width, height, 32, 16, "noise") for width, height in [(34, 17), (32, 33), (49, 65), (128, 128), (129, 97), (150, 4), (4, 150), (200, 1), (1, 200), (320, 24)]),
    *((width, height, 28, 14, "noise") for width, height in [(15, 15), (28, 15), (29, 50), (151, 78)]),
    # the real rule's longest side
    *((width, height, 1024, 16, "noise") for width, height in [(1025, 5), (9, 1040), (2, 4999)]),
    # a source of fewer than four lines, whose positions OpenCV rounds to float32; visible where the
    # other side is long and positions are not exact in float32 anyway
    *((width, height, 1024, 16, "noise") for width, height in [(999, 3), (1, 777), (1, 12345)]),
    # and one of just four lines, whose positions it does not round
    (999, 4, 1024, 16, "noise"),
    # the smallest of the images that have a row of patches less where the longest side is 1023
    (1055, 17, 1024, 16, "noise"),
]  # fmt: skip


def content_of(kind: str, width: int, height: int) -> np.ndarray:
    """[height, width, 3] of uint8. Checks go over the edge of 0…255 when stretched."""
    if kind == "checks":
        rows, columns = np.mgrid[0:height, 0:width]
        return (((rows + columns)[..., None] + np.arange(3)) % 2 * 255).astype(np.uint8)
    return np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mistral_pixels(image: Image.Image, patch_size: int = 16, image_size: int = 1024) -> np.ndarray:
    return np.ascontiguousarray(
        encoder(patch_size, image_size)(ImageChunk(image=image)).image, dtype=np.float32
    )


def hugging_face_pixels(image: Image.Image, patch_size: int = 16, image_size: int = 1024) -> np.ndarray:
    processor = PixtralImageProcessorPil(
        size={"longest_edge": image_size}, patch_size={"height": patch_size, "width": patch_size}
    )
    return np.ascontiguousarray(processor(image, return_tensors="np")["pixel_values"][0], dtype=np.float32)


def normalised(rgb: np.ndarray) -> np.ndarray:
    """[height, width, 3] of 0…255 to [3, height, width]."""
    return ((rgb / 255 - np.array(DATASET_MEAN)) / np.array(DATASET_STD)).transpose(2, 0, 1)


def mistaken_pixels(rgb: np.ndarray, right: np.ndarray) -> dict:
    """Pixels as ports have made them instead: Docs/Faults.md, rows P-."""
    (height, width), (target_height, target_width) = rgb.shape[:2], right.shape[1:]
    smooth = np.asarray(Image.fromarray(rgb).resize((target_width, target_height), Image.Resampling.BICUBIC))
    mistakes = {
        "P-antialias": normalised(smooth),
        "P-norm": (oracle_image.stretch(rgb, target_width, target_height) / 127.5 - 1).transpose(2, 0, 1),
    }
    if width <= target_width and height <= target_height:
        padded = np.zeros((target_height, target_width, 3), np.uint8)
        padded[:height, :width] = rgb
        mistakes["P-pad"] = normalised(padded)
    return mistakes


def largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(f"{np.abs(a.astype(np.float64) - b).max():.3g}")


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖ / ‖b‖."""
    return float(f"{np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b.astype(np.float64)):.3g}")


def mistral_stretch(name: str, content: str, rgb: np.ndarray, subject: dict, right: np.ndarray) -> dict:
    limit = 1e-5
    distances = {fault: largest(pixels, right) for fault, pixels in mistaken_pixels(rgb, right).items()}
    exposes = sorted(fault for fault, distance in distances.items() if distance >= 4 * limit)
    noise, unrounded = (
        largest(right, oracle_image.pixels(rgb, subject["patch_size"], subject["image_size"], rounded))
        for rounded in (None, False)
    )
    height, width = rgb.shape[:2]
    portable = 4 * unrounded > limit  # Model.md 4.3: the rounding of positions to float32 shows
    title = f"{width}×{height} pixels of {content} are stretched to {right.shape[2]}×{right.shape[1]} as OpenCV stretches them"
    title = (
        title
        if right.shape[1:] != rgb.shape[:2]
        else f"{width}×{height} pixels of {content} are normalised and not stretched"
    )
    return case(
        f"image/pixels/{name}", f"{title}, from positions rounded to float32." if portable else f"{title}.", exposes=exposes,
        subject={**subject, "resize": "opencv-cubic"}, compare={"max_abs": limit, "noise": noise, "nearest_fault": min(distances[fault] for fault in exposes)},
        requires=["resize.opencv-cubic", *(["resize.opencv-portable"] if portable else [])], importance="low" if portable else "high", basis="ImageEncoder.__call__",
        witnesses=[{"name": "Fixtures/oracle/image.py, float64", "distance": noise}])  # fmt: skip


def hugging_face_stretch(
    name: str, content: str, rgb: np.ndarray, subject: dict, right: np.ndarray, mistral: np.ndarray
) -> dict:
    """The processor has a second backend, torchvision, which computes as torch does here: mostly
    the same bytes, some off by one, few by more.
    """
    planes = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]
    torchs = (
        torch.nn.functional.interpolate(planes, size=right.shape[1:], mode="bicubic", antialias=True)[0]
        .numpy()
        .transpose(1, 2, 0)
    )
    noise = relative(normalised(torchs), right)
    fault = (
        relative(mistral, right)
        if mistral.shape == right.shape
        else relative(normalised(np.full_like(torchs, 128)), right)
    )
    limit = max(4 * noise, 1e-6)
    height, width = rgb.shape[:2]
    return case(
        f"image/pixels/huggingface-{name}", f"transformers resizes {width}×{height} pixels of {content} to {right.shape[2]}×{right.shape[1]} with antialiasing, rounded to bytes.",
        subject={**subject, "resize": "pillow-bicubic-uint8", "profile": "huggingface"}, compare={"relF": limit, "noise": noise, "nearest_fault": fault},
        requires=["image.huggingface"], importance="low", basis="PixtralImageProcessorPil", oracle=HUGGING_FACE,
        witnesses=[{"name": "torch.nn.functional.interpolate", "version": torch.__version__, "distance": noise}])  # fmt: skip


def stretches() -> None:
    made = {"stretch": ([], {}), "huggingface": ([], {})}

    def add(suite: str, case: dict, pixels: np.ndarray) -> None:
        cases, tensors = made[suite]
        tensors[case["id"].split("/")[-1]] = pixels
        cases.append(case)

    for width, height, image_size, patch_size, content in STRETCHES:
        rgb = content_of(content, width, height)
        name = f"{width}x{height}-{content}" + (f"-to-{image_size}" if image_size < 1024 else "")
        image = Image.fromarray(rgb)
        subject = {
            "operation": "RGB to normalised pixels",
            "patch_size": patch_size,
            "image_size": image_size,
        }
        inputs = {"width": width, "height": height, "rgb": base64.b64encode(rgb.tobytes()).decode()}
        right = mistral_pixels(image, patch_size, image_size)
        add("stretch", {**mistral_stretch(name, content, rgb, subject, right), "inputs": inputs}, right)
        try:
            other = hugging_face_pixels(image, patch_size, image_size)
        except ValueError:
            continue  # the image vanishes: a case of its own among the grids
        entry = hugging_face_stretch(name, content, rgb, subject, other, right)
        if (
            max(width, height) > 200
            or not 0 < entry["compare"]["relF"] <= entry["compare"]["nearest_fault"] / 4
        ):
            continue  # too large to be stored twice, or no other than mistral-common's
        entry["conflicts_with"] = [f"image/pixels/{name}"]
        made["stretch"][0][-1]["conflicts_with"] = [entry["id"]]
        add("huggingface", {**entry, "inputs": inputs}, other)
    for suite, (cases, tensors) in made.items():
        file = FIXTURES / "cases" / "image" / "pixels" / f"{suite}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, file)
        for entry in cases:
            pixels = tensors[entry["id"].split("/")[-1]]
            entry["expect"] = {
                "file": file.name,
                "sha256": digest(file.read_bytes()),
                "tensor": entry["id"].split("/")[-1],
                "dtype": "F32",
                "shape": list(pixels.shape),
            }
        suites.write(f"image/pixels/{suite}", cases)


def photos() -> None:
    """Photographs, from the file to the pixels: some rows of each."""
    large = FIXTURES / "images" / "model-large.jpg"
    with Image.open(FIXTURES / "images" / "chelsea.png") as photo:
        photo.convert("RGB").resize((1353, 900), Image.Resampling.BICUBIC).save(large, quality=60)
    cases, tensors = [], {}
    for name, (id, title) in {
        "model-large.jpg": ("scaled-down", "An image over 1024 pixels is scaled down without antialiasing."),
        "rocket.jpg": ("rocket", "A photograph in a JPEG is stretched in its height."),
        "chelsea.png": ("chelsea", "A photograph in a PNG is stretched both ways."),
        "astronaut.png": ("astronaut", "A photograph of the right size is only normalised."),
    }.items():
        file = FIXTURES / "images" / name
        with Image.open(file) as photo:
            array = mistral_pixels(photo)
            rgb = np.array(_convert_to_rgb(photo))
        rows = sorted({0, 1, 300 % array.shape[1], array.shape[1] - 1})
        tensors[name] = np.ascontiguousarray(array[:, rows])
        exposes = ["P-antialias", "P-norm"] if name == "model-large.jpg" else ["P-norm"]
        noise = largest(tensors[name], oracle_image.pixels(rgb)[:, rows])
        distances = {
            fault: largest(pixels[:, rows], tensors[name])
            for fault, pixels in mistaken_pixels(rgb, array).items()
        }
        cases.append(case(
            f"image/pixels/{id}", title, exposes=exposes,
            subject={"operation": "image file to normalised pixels", "patch_size": 16, "image_size": 1024, "resize": "opencv-cubic"},
            inputs={"file": f"../../../images/{name}", "sha256": digest(file.read_bytes())}, expect={"shape": list(array.shape), "rows": rows, "tensor": name},
            compare={"max_abs": 1e-5, "noise": noise, "nearest_fault": min(distances[fault] for fault in exposes)},
            requires=[f"image.{'jpeg' if name.endswith('jpg') else 'png'}", "resize.opencv-cubic"], basis="ImageEncoder.__call__",
            witnesses=[{"name": "Fixtures/oracle/image.py, float64", "distance": noise}]))  # fmt: skip
    file = FIXTURES / "cases" / "image" / "pixels" / "photos.safetensors"
    save_file(tensors, file)
    for entry in cases:
        entry["expect"] |= {"file": file.name, "sha256": digest(file.read_bytes())}
    suites.write("image/pixels/photos", cases)


if __name__ == "__main__":
    grids()
    stretches()
    photos()
