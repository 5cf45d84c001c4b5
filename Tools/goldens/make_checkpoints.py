"""Writes small random checkpoints of odd but consistent shapes, with random tokens and pixels, for
check_checkpoints.py.

    python make_checkpoints.py --out DIR [--only NAME,...]

One folder a checkpoint, in Mistral's layout: params.json, consolidated.safetensors (or shards with
an index), tokens.json and, if the tokens hold images, pixels.safetensors. The shapes are those that
a reader tuned to one real model gets wrong: heads that are no power of two, heads * head_dim unlike
dim, 12 query heads on 3 key-value heads, adapter with and without bias, other patch and image
sizes, other dtypes. Weights are uniform with the scales of Docs/Model.md 9 in spirit (norms away
from 1, peaked attention, activations of unit scale), but they come from NumPy's generator and owe
nothing to the seeded function. DIR should lie outside the repository.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

IMG, IMG_BREAK, IMG_END = 10, 14, 15

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def shape(name, **changes):
    """One checkpoint: a plain base case with some changes. `images` are (columns, rows); `shards`
    is 1 for one file.
    """
    base = dict(
        name=name, dim=48, layers=2, heads=4, kv_heads=2, head_dim=16, hidden=112, vocab=300, eps=1e-5, theta=1e6,
        v_width=48, v_layers=2, v_heads=4, v_hidden=104, patch=16, image_size=1024, v_theta=1e4, bias=False, channels=3,
        dtype="bf16", shards=1, images=[(3, 2)], text=20,
    )  # fmt: skip
    unknown = set(changes) - set(base)
    if unknown:
        raise ValueError(f"{name}: unknown {unknown}")
    return base | changes


SHAPES = [
    shape("plain"),
    shape("gqa-12-on-3", dim=84, heads=12, kv_heads=3, head_dim=10, v_width=60, v_heads=5, dtype="f32"),  # vision head_dim 12
    shape("bias", bias=True, v_width=60, v_heads=3, dtype="f32", text=31),  # vision head_dim 20
    shape("bias-absent-key", bias=None, dtype="f16", theta=1e9),  # no adapter_bias in params.json: biases exist
    shape("sharded", shards=3, v_width=88, v_heads=2, v_hidden=130, dim=56, heads=7, kv_heads=7, head_dim=6),  # vision head_dim 44
    shape("patch-14", patch=14, image_size=336, v_width=36, v_heads=3, dtype="f16", images=[(5, 1), (1, 4)]),
    shape("patch-8", patch=8, image_size=256, images=[(2, 7), (4, 4), (1, 1)], heads=6, kv_heads=2, head_dim=20, dtype="f32", v_theta=100.0),
    shape("kv-1", heads=5, kv_heads=1, head_dim=24, dim=70, hidden=96, dtype="f32", shards=2, bias=True, theta=1e4),
    shape("eps", eps=1e-3, theta=500.0, layers=3, v_layers=1, v_width=72, v_heads=6, images=[(4, 3), (3, 4)], dtype="bf16"),
    shape("wide-head", dim=40, heads=3, kv_heads=1, head_dim=88, v_width=176, v_heads=2, v_layers=3, layers=1, images=[(7, 5)], dtype="bf16"),  # vision head_dim 88
    shape("text-only", images=[], text=150, theta=1e5, heads=9, kv_heads=3, head_dim=14, dim=90, dtype="f32"),
    shape("long", images=[(9, 6)], text=700, theta=1e6, heads=8, kv_heads=4, head_dim=12, dim=64, dtype="f16"),
    shape("minimal", dim=33, heads=3, kv_heads=3, head_dim=2, hidden=17, vocab=41, v_width=12, v_heads=1, v_hidden=7, v_layers=1, layers=1, dtype="f32"),
]  # fmt: skip


def params_json(s):
    """The params.json of a shape. `adapter_bias` is left out where the shape says None: the
    format's default is true.
    """
    vision = {
        "hidden_size": s["v_width"],
        "num_channels": s["channels"],
        "image_size": s["image_size"],
        "patch_size": s["patch"],
        "rope_theta": s["v_theta"],
        "intermediate_size": s["v_hidden"],
        "num_hidden_layers": s["v_layers"],
        "num_attention_heads": s["v_heads"],
        "image_token_id": IMG,
    }
    if s["bias"] is not None:
        vision["adapter_bias"] = s["bias"]
    return {
        "dim": s["dim"],
        "n_layers": s["layers"],
        "head_dim": s["head_dim"],
        "hidden_dim": s["hidden"],
        "n_heads": s["heads"],
        "n_kv_heads": s["kv_heads"],
        "rope_theta": s["theta"],
        "norm_eps": s["eps"],
        "vocab_size": s["vocab"],
        "vision_encoder": vision,
    }


def tensors(s, random):
    """All tensors of a shape in Model.md's names, as float32, with scales under which every
    operation matters.
    """

    def uniform(shape_, scale, offset=0.0):
        return torch.from_numpy((offset + random.uniform(-scale, scale, shape_)).astype(np.float32))

    def matrix(rows, columns, gain):
        return uniform((rows, columns), gain * math.sqrt(3 / columns))

    def layer(prefix, width, query, key, hidden, count):
        branch = 1.5 / math.sqrt(2 * count)
        return {
            f"{prefix}.attention_norm.weight": uniform(width, 0.5, 1.0),
            f"{prefix}.ffn_norm.weight": uniform(width, 0.5, 1.0),
            f"{prefix}.attention.wq.weight": matrix(query, width, 1.5),
            f"{prefix}.attention.wk.weight": matrix(key, width, 1.5),
            f"{prefix}.attention.wv.weight": matrix(key, width, 1.0),
            f"{prefix}.attention.wo.weight": matrix(width, query, branch),
            f"{prefix}.feed_forward.w1.weight": matrix(hidden, width, 1.5),
            f"{prefix}.feed_forward.w2.weight": matrix(width, hidden, branch),
            f"{prefix}.feed_forward.w3.weight": matrix(hidden, width, 1.0),
        }

    width, e, p, c = s["dim"], s["v_width"], s["patch"], s["channels"]
    result = {
        "vision_encoder.patch_conv.weight": uniform((e, c, p, p), math.sqrt(3 / (c * p * p))),
        "vision_encoder.ln_pre.weight": uniform(e, 0.5, 1.0),
        "vision_language_adapter.w_in.weight": matrix(width, e, 1.0),
        "vision_language_adapter.w_out.weight": matrix(width, width, 1.5),
        "tok_embeddings.weight": uniform((s["vocab"], width), math.sqrt(3)),
        "norm.weight": uniform(width, 0.5, 1.0),
        "output.weight": matrix(s["vocab"], width, 2.0),
    }
    if s["bias"] in (True, None):
        result["vision_language_adapter.w_in.bias"] = uniform(width, 0.5)
        result["vision_language_adapter.w_out.bias"] = uniform(width, 0.5)
    for n in range(s["v_layers"]):
        result |= layer(f"vision_encoder.transformer.layers.{n}", e, e, e, s["v_hidden"], s["v_layers"])
    for n in range(s["layers"]):
        query, key = s["heads"] * s["head_dim"], s["kv_heads"] * s["head_dim"]
        result |= layer(f"layers.{n}", width, query, key, s["hidden"], s["layers"])
    return {name: tensor.to(DTYPES[s["dtype"]]).contiguous() for name, tensor in result.items()}


def write_tensors(folder, all_tensors, shards):
    """One file, or shards that deal the tensors out like cards, so that neighbours lie in different
    files.
    """
    if shards == 1:
        save_file(all_tensors, folder / "consolidated.safetensors")
        return
    weight_map = {}
    for n in range(shards):
        file = f"consolidated-{n + 1:05}-of-{shards:05}.safetensors"
        part = {name: all_tensors[name] for name in sorted(all_tensors)[n::shards]}
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    size = sum(t.numel() * t.element_size() for t in all_tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "consolidated.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def tokens(s, random):
    """<s>, then text and images in turn, and text at the end. Text never holds one of the three
    image tokens.
    """
    choices = np.array([t for t in range(2, s["vocab"]) if t not in (IMG, IMG_BREAK, IMG_END)])
    parts = len(s["images"]) + 1
    result = [1]
    for n in range(parts):
        result += random.choice(choices, size=s["text"] // parts + 1).tolist()
        if n < len(s["images"]):
            columns, rows = s["images"][n]
            result += ([IMG] * columns + [IMG_BREAK]) * rows
            result[-1] = IMG_END
    return result


def write(folder, s, seed):
    """One checkpoint folder, from a generator of its own, so that adding a shape changes no other."""
    random = np.random.Generator(np.random.PCG64(seed))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(params_json(s), indent=2) + "\n")
    write_tensors(folder, tensors(s, random), s["shards"])
    (folder / "tokens.json").write_text(json.dumps({"tokens": tokens(s, random)}) + "\n")
    if s["images"]:
        pixels = {
            f"image{n}": torch.from_numpy(
                random.standard_normal((s["channels"], rows * s["patch"], columns * s["patch"])).astype(
                    np.float32
                )
            )
            for n, (columns, rows) in enumerate(s["images"])
        }
        save_file(pixels, folder / "pixels.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--only", help="names, joined by commas")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else None
    for number, s in enumerate(SHAPES):
        if only is None or s["name"] in only:
            write(arguments.out / s["name"], s, seed=2411 + number)
            print(arguments.out / s["name"])


if __name__ == "__main__":
    main()
