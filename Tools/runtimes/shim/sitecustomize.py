"""Lets torchvision be imported beside the CPU build of torch, in subprocesses too.

PyPI's torchvision is built for CUDA's torch. Beside the CPU build its import stops at two operators, which
nothing here calls: it is enough that they are declared. This folder is put on PYTHONPATH.
"""

import torch

library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
