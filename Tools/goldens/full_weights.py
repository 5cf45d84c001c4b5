"""The seeded models of Docs/Model.md 1 and 9 in PyTorch: shapes, and weights computed on the device.

Written from Docs/Model.md, and from neither the Swift code nor Fixtures/oracle.
"""

import math
from dataclasses import dataclass

import torch

SEED = 2411
MASK = 2**32 - 1
CHUNK = {"cuda": 1 << 26, "cpu": 1 << 18}  # values made at a time; nothing else depends on it


# Parameters, Model.md 1


@dataclass(frozen=True)
class Part:
    """The vision encoder or the decoder: a stack of layers as in Model.md 3.6."""

    taps: str  # prefix of its layers' taps
    tensors: str  # and of their tensors
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    theta: float
    eps: float = 1e-5


@dataclass(frozen=True)
class Model:
    vision: Part
    decoder: Part
    vocabulary: int = 32768
    channels: int = 3
    patch: int = 16
    image_token: int = 10


VISION, DECODER = ("vision.layers.", "vision_encoder.transformer.layers."), ("decoder.layers.", "layers.")
MODELS = {
    "seeded:tiny": Model(
        Part(*VISION, width=60, layers=2, heads=5, kv_heads=5, head_dim=12, hidden=144, theta=1e4),
        Part(*DECODER, width=80, layers=3, heads=6, kv_heads=2, head_dim=20, hidden=208, theta=1e6),
    ),
    "seeded:small": Model(
        Part(*VISION, width=384, layers=4, heads=6, kv_heads=6, head_dim=64, hidden=640, theta=1e4),
        Part(*DECODER, width=256, layers=3, heads=16, kv_heads=4, head_dim=128, hidden=1280, theta=1e6),
    ),
    "seeded:pixtral-large": Model(
        Part(*VISION, width=1408, layers=40, heads=16, kv_heads=16, head_dim=88, hidden=6144, theta=1e4),
        Part(*DECODER, width=12288, layers=88, heads=96, kv_heads=8, head_dim=128, hidden=28672, theta=1e6),
    ),
}


def shape(model, name):
    """The shape of a tensor, Model.md 2."""
    vision, decoder = model.vision, model.decoder
    kind = name.split(".")[-2]
    if kind in ("tok_embeddings", "output"):
        return (model.vocabulary, decoder.width)
    if kind == "norm":
        return (decoder.width,)
    if kind == "ln_pre":
        return (vision.width,)
    if kind == "patch_conv":
        return (vision.width, model.channels, model.patch, model.patch)
    if kind in ("w_in", "w_out"):
        return (decoder.width, vision.width if kind == "w_in" else decoder.width)
    part = vision if name.startswith(vision.tensors) else decoder
    queries, keys = part.heads * part.head_dim, part.kv_heads * part.head_dim
    return {
        "attention_norm": (part.width,),
        "ffn_norm": (part.width,),
        "wq": (queries, part.width),
        "wk": (keys, part.width),
        "wv": (keys, part.width),
        "wo": (part.width, queries),
        "w1": (part.hidden, part.width),
        "w3": (part.hidden, part.width),
        "w2": (part.width, part.hidden),
    }[kind]


# The seeded function, Model.md 9


def key(text):
    """Model.md 9.1: (k0, k1)."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return value & MASK, value >> 32


def offset_and_scale(model, name):
    """Model.md 9.5. Both are exact in float32."""
    kind = name.split(".")[-2]
    if kind in ("attention_norm", "ffn_norm", "ln_pre", "norm"):
        return 1.0, 0.5
    fan_in = math.prod(shape(model, name)[1:])
    layers = (model.vision if name.startswith("vision_encoder.") else model.decoder).layers
    if kind in ("wo", "w2"):
        scale = 1.5 * math.sqrt(3 / fan_in) / math.sqrt(2 * layers)
    elif kind == "tok_embeddings":
        scale = 1 * math.sqrt(3)
    else:
        factor = {"wq": 1.5, "wk": 1.5, "w1": 1.5, "w_out": 1.5, "output": 2}.get(kind, 1)
        scale = factor * math.sqrt(3 / fan_in)
    return 0.0, float(torch.tensor(scale, dtype=torch.float64).float())


def values(model, name, n):
    """The values with the indices n (int64, any shape) of a tensor, as bfloat16."""
    k0, k1 = key(f"{SEED}:{name}")
    # 9.2. Products wrap around at 64 bits, which leaves their low 32 bits right.
    x = n ^ k0
    x ^= x >> 16
    x = x.mul_(0x85EBCA6B).add_(k1).bitwise_and_(MASK)
    x ^= x >> 13
    x = x.mul_(0xC2B2AE35).bitwise_and_(MASK)
    x ^= x >> 16
    # 9.3 and 9.4. Each operation of float32 is a kernel of its own, and so rounded by itself.
    offset, scale = offset_and_scale(model, name)
    w = (x >> 8).sub_(2**23).to(torch.float32)
    return w.mul_(scale * 2.0**-23).add_(offset).to(torch.bfloat16)


class Weights:
    """The weights of a model, each made when it is first asked for and kept until `drop`."""

    def __init__(self, model, device):
        self.model, self.device = model, torch.device(device)
        self.kept = {}

    def __call__(self, name, dtype=torch.bfloat16, heads=None):
        """A tensor, [out, in] or [width], in a dtype. With `heads`, the rows of a wq or wk are in
        transformers' order: of each head the even ones, then the odd ones.

        float64 is not kept: only the truth is computed in it.
        """
        if (name, dtype, heads) in self.kept:
            return self.kept[name, dtype, heads]
        if heads:
            rows = self(name, dtype)
            result = rows.view(heads, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
        elif dtype != torch.bfloat16:
            result = self(name).to(dtype)
        else:
            result = self.made(name)
        if dtype != torch.float64:
            self.kept[name, dtype, heads] = result
        return result

    def made(self, name):
        size = shape(self.model, name)
        count, chunk = math.prod(size), CHUNK[self.device.type]
        result = torch.empty(count, dtype=torch.bfloat16, device=self.device)
        for start in range(0, count, chunk):
            stop = min(start + chunk, count)
            n = torch.arange(start, stop, device=self.device)
            result[start:stop] = values(self.model, name, n)
        return result.view(size[0], -1) if len(size) > 1 else result

    def rows(self, name, rows, dtype):
        """Some rows of a matrix, [len(rows), in]."""
        width = shape(self.model, name)[1]
        first = torch.tensor(rows, device=self.device)[:, None] * width
        return values(self.model, name, first + torch.arange(width, device=self.device)).to(dtype)

    def drop(self):
        self.kept.clear()
