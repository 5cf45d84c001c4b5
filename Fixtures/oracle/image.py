"""From an RGB image to normalised pixels in float64, Model.md 4.1, 4.3 and 4.4.

An image is uint8, [height, width, 3]. All arithmetic is float64; where a side of the source is
below 4 pixels, source positions are rounded to float32 first, as Model.md 4.3 has it.
"""

import numpy as np

A = -0.75
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])

NARROW = 4  # a source with a side below this has its positions rounded
BLOCK = 64  # target rows at a time, to bound the memory


def grid(width, height, patch_size=16, image_size=1024):
    """Model.md 4.1: (columns, rows) of patches."""
    r = max(width, height) / image_size
    if r > 1:
        width = max(round(width / r), 1)  # Python rounds halves to even
        height = max(round(height / r), 1)
    return (width - 1) // patch_size + 1, (height - 1) // patch_size + 1


def kernel(x):
    """The cubic convolution kernel: 1 at 0, 0 at the other integers, 0 from 2 on."""
    x = np.abs(x)
    near = ((A + 2) * x - (A + 3)) * x * x + 1
    far = ((A * x - 5 * A) * x + 8 * A) * x - 4 * A
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def taps(source, target, rounded):
    """For each target sample along one side its four source samples and their weights, both [4,
    target].
    """
    scale = 1 / (target / source)
    position = (np.arange(target) + 0.5) * scale - 0.5
    if rounded:
        position = position.astype(np.float32).astype(np.float64)
    left = np.floor(position)
    places = left + np.arange(-1, 3)[:, None]
    weights = kernel(position - places)
    return np.clip(places, 0, source - 1).astype(int), weights


def stretch(rgb, width, height, rounded=None):
    """Model.md 4.3: [height, width, 3]. Positions are rounded to float32 if `rounded`, by default
    as 4.3 says.
    """
    assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3, (
        "An image is uint8, [height, width, 3]."
    )
    if rgb.shape[:2] == (height, width):
        return rgb.astype(np.float64)
    rounded = min(rgb.shape[:2]) < NARROW if rounded is None else rounded
    down, down_weights = taps(rgb.shape[0], height, rounded)
    sideways, sideways_weights = taps(rgb.shape[1], width, rounded)
    result = np.empty((height, width, 3))
    for start in range(0, height, BLOCK):
        stop = min(start + BLOCK, height)
        # The two passes commute. Downward first: a target row then needs no more than four source
        # rows.
        lines = sum(down_weights[k, start:stop, None, None] * rgb[down[k, start:stop]] for k in range(4))
        result[start:stop] = sum(sideways_weights[k, :, None] * lines[:, sideways[k]] for k in range(4))
    return result


def pixels(rgb, patch_size=16, image_size=1024, rounded=None):
    """Model.md 4.1, 4.3 and 4.4: [3, rows * patch_size, columns * patch_size]."""
    columns, rows = grid(rgb.shape[1], rgb.shape[0], patch_size, image_size)
    stretched = stretch(rgb, columns * patch_size, rows * patch_size, rounded)
    return np.ascontiguousarray(((stretched / 255 - MEAN) / STD).transpose(2, 0, 1))
