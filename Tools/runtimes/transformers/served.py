"""`transformers` of the command line, with images opened by Pillow: PyPI's torchvision, by which the server
opens them, has no reader of images beside the CPU build of torch. Called by serve.py.
"""

import io
import sys

import numpy
import torch
import torchvision.io
from PIL import Image, ImageOps


def decode_image(source, mode=None, apply_exif_orientation=False):
    """As torchvision's for RGB: alpha is dropped. uint8 [3, height, width]."""
    image = Image.open(io.BytesIO(bytes(source.numpy())))
    if apply_exif_orientation:
        image = ImageOps.exif_transpose(image)
    image = image.convert("RGB")
    return torch.from_numpy(numpy.array(image)).permute(2, 0, 1)


torchvision.io.decode_image = decode_image

from transformers.cli.transformers import main  # noqa: E402

sys.exit(main())
