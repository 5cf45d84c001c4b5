"""Seeded checkpoints: parameters (Model.md 1), tensors (Model.md 2) and the seeded function
(Model.md 9).
"""

import math

import numpy as np

from tensors import bfloat16_to_float32

SEED = 2411  # Model.md 9.6

TINY = {
    "dim": 80,
    "n_layers": 3,
    "n_heads": 6,
    "n_kv_heads": 2,
    "head_dim": 20,
    "hidden_dim": 208,
    "vocab_size": 32768,
    "norm_eps": 1e-5,
    "rope_theta": 1e6,
    "vision_encoder": {
        "hidden_size": 60,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "intermediate_size": 144,
        "num_channels": 3,
        "patch_size": 16,
        "image_size": 1024,
        "rope_theta": 1e4,
        "adapter_bias": False,
        "image_token_id": 10,
    },
}

SMALL = {
    "dim": 256,
    "n_layers": 3,
    "n_heads": 16,
    "n_kv_heads": 4,
    "head_dim": 128,
    "hidden_dim": 1280,
    "vocab_size": 32768,
    "norm_eps": 1e-5,
    "rope_theta": 1e6,
    "vision_encoder": {
        "hidden_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "intermediate_size": 640,
        "num_channels": 3,
        "patch_size": 16,
        "image_size": 1024,
        "rope_theta": 1e4,
        "adapter_bias": False,
        "image_token_id": 10,
    },
}

PIXTRAL_LARGE = {
    "dim": 12288,
    "n_layers": 88,
    "n_heads": 96,
    "n_kv_heads": 8,
    "head_dim": 128,
    "hidden_dim": 28672,
    "vocab_size": 32768,
    "norm_eps": 1e-5,
    "rope_theta": 1e6,
    "vision_encoder": {
        "hidden_size": 1408,
        "num_hidden_layers": 40,
        "num_attention_heads": 16,
        "intermediate_size": 6144,
        "num_channels": 3,
        "patch_size": 16,
        "image_size": 1024,
        "rope_theta": 1e4,
        "adapter_bias": False,
        "image_token_id": 10,
    },
}

NAMED = {"tiny": TINY, "small": SMALL, "pixtral-large": PIXTRAL_LARGE}


def tensor_shapes(params):
    """Every tensor of a checkpoint with its shape, in the order of Model.md 2."""
    vision = params["vision_encoder"]
    D, F, V = params["dim"], params["hidden_dim"], params["vocab_size"]
    H, G, d = params["n_heads"], params["n_kv_heads"], params["head_dim"]
    E, I = vision["hidden_size"], vision["intermediate_size"]
    C, p = vision["num_channels"], vision["patch_size"]

    shapes = {"vision_encoder.patch_conv.weight": (E, C, p, p), "vision_encoder.ln_pre.weight": (E,)}

    def layer(prefix, width, queries, keys, hidden):
        shapes[prefix + "attention_norm.weight"] = (width,)
        shapes[prefix + "ffn_norm.weight"] = (width,)
        shapes[prefix + "attention.wq.weight"] = (queries, width)
        shapes[prefix + "attention.wk.weight"] = (keys, width)
        shapes[prefix + "attention.wv.weight"] = (keys, width)
        shapes[prefix + "attention.wo.weight"] = (width, queries)
        shapes[prefix + "feed_forward.w1.weight"] = (hidden, width)
        shapes[prefix + "feed_forward.w3.weight"] = (hidden, width)
        shapes[prefix + "feed_forward.w2.weight"] = (width, hidden)

    for n in range(vision["num_hidden_layers"]):
        layer(f"vision_encoder.transformer.layers.{n}.", E, E, E, I)
    shapes["vision_language_adapter.w_in.weight"] = (D, E)
    shapes["vision_language_adapter.w_out.weight"] = (D, D)
    if vision.get("adapter_bias", True):  # Model.md 1: absent means true
        shapes["vision_language_adapter.w_in.bias"] = (D,)
        shapes["vision_language_adapter.w_out.bias"] = (D,)
    shapes["tok_embeddings.weight"] = (V, D)
    for n in range(params["n_layers"]):
        layer(f"layers.{n}.", D, H * d, G * d, F)
    shapes["norm.weight"] = (D,)
    shapes["output.weight"] = (V, D)
    return shapes


def key(seed, name):
    """Model.md 9.1: (k0, k1)."""
    value = 0xCBF29CE484222325
    for byte in f"{seed}:{name}".encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value % 2**32, value >> 32


def offset_and_scale(name, shape, params):
    """Model.md 9.5, as two float32."""
    kind, last = name.split(".")[-2:]  # "wq", "weight"
    fan_in = math.prod(shape[1:])
    if name.startswith("vision_encoder."):
        L = params["vision_encoder"]["num_hidden_layers"]
    else:
        L = params["n_layers"]
    offset = 0.0
    if last == "bias":
        scale = 0.5
    elif kind in ("attention_norm", "ffn_norm", "ln_pre", "norm"):
        offset, scale = 1.0, 0.5
    elif kind in ("wq", "wk", "w1"):
        scale = 1.5 * math.sqrt(3 / fan_in)
    elif kind in ("wv", "w3", "patch_conv", "w_in"):
        scale = 1 * math.sqrt(3 / fan_in)
    elif kind in ("wo", "w2"):
        scale = 1.5 * math.sqrt(3 / fan_in) / math.sqrt(2 * L)
    elif kind == "w_out":
        scale = 1.5 * math.sqrt(3 / fan_in)
    elif kind == "output":
        scale = 2 * math.sqrt(3 / fan_in)
    elif kind == "tok_embeddings":
        scale = 1 * math.sqrt(3)
    else:
        raise AssertionError(f"{name} has no row in the table of Model.md 9.5.")
    return np.float32(offset), np.float32(scale)


CHUNK = 1 << 15  # values worked on at a time: small enough for the cache, and nothing else depends on it


class SeededTensor:
    """One tensor of a seeded checkpoint."""

    def __init__(self, seed, name, shape, params):
        self.shape = tuple(shape)
        self.count = math.prod(shape)
        assert self.count < 2**32, f"{name} has 2^32 values or more."
        self.k0, self.k1 = key(seed, name)
        self.offset, self.scale = offset_and_scale(name, shape, params)
        self.step = self.scale * np.float32(2.0**-23)  # a power of two: exact

    def bits(self, start, stop):
        """The bfloat16 bit patterns of the values start ..< stop of the row-major tensor, uint16."""
        result = np.empty(stop - start, dtype=np.uint16)
        for begin in range(start, stop, CHUNK):
            end = min(begin + CHUNK, stop)
            result[begin - start : end - start] = self._bits(begin, end)
        return result

    def _bits(self, start, stop):
        u32 = np.uint32
        # Model.md 9.2. NumPy's uint32 arrays wrap around.
        x = np.arange(start, stop, dtype=np.uint32)
        x ^= u32(self.k0)
        x ^= x >> u32(16)
        x *= u32(0x85EBCA6B)
        x += u32(self.k1)
        x ^= x >> u32(13)
        x *= u32(0xC2B2AE35)
        x ^= x >> u32(16)
        # Model.md 9.3
        m = (x >> u32(8)).astype(np.int32) - np.int32(1 << 23)
        # Model.md 9.4: two float32 operations, each rounded, then to bfloat16, nearest, ties to
        # even
        w = m.astype(np.float32)
        w *= self.step
        w += self.offset
        b = w.view(np.uint32)
        even = (b >> u32(16)) & u32(1)
        return ((b + u32(0x7FFF) + even) >> u32(16)).astype(np.uint16)

    def row_bits(self, start, stop):
        """Rows start ..< stop along the first dimension, [stop - start, fan_in], or [stop - start]
        for a vector.
        """
        width = math.prod(self.shape[1:])
        flat = self.bits(start * width, stop * width)
        return flat.reshape((stop - start, width)) if len(self.shape) > 1 else flat

    def rows32(self, start, stop):
        return bfloat16_to_float32(self.row_bits(start, stop))

    def rows(self, start, stop):
        return self.rows32(start, stop).astype(np.float64)


class SeededCheckpoint:
    """The interface of checkpoint.py (params, shapes, rows) over seeded values."""

    def __init__(self, params, seed=SEED):
        self.params = params
        self.shapes = tensor_shapes(params)
        self.seed = seed

    def tensor(self, name):
        return SeededTensor(self.seed, name, self.shapes[name], self.params)

    def rows(self, name, start, stop):
        return self.tensor(name).rows(start, stop)
