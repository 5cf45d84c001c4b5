"""Writes Fixtures/seeded/values.json: check values of the seeded function (Model.md 9).

python make_values.py
"""

import json
import math
import pathlib

import numpy as np

import seeded

TARGET = pathlib.Path(__file__).resolve().parent.parent / "seeded" / "values.json"

V = "vision_encoder."
A = "vision_language_adapter."
CHECKPOINTS = [
    (
        "seeded:tiny",
        seeded.TINY,
        True,
        [
            V + "patch_conv.weight",
            V + "ln_pre.weight",
            V + "transformer.layers.0.ffn_norm.weight",
            V + "transformer.layers.1.attention.wk.weight",
            V + "transformer.layers.0.attention.wo.weight",
            V + "transformer.layers.1.feed_forward.w2.weight",
            A + "w_in.weight",
            A + "w_out.weight",
            "tok_embeddings.weight",
            "layers.0.attention_norm.weight",
            "layers.2.attention.wq.weight",
            "layers.1.attention.wv.weight",
            "layers.2.attention.wo.weight",
            "layers.0.feed_forward.w1.weight",
            "layers.1.feed_forward.w2.weight",
            "layers.2.feed_forward.w3.weight",
            "norm.weight",
            "output.weight",
        ],
    ),
    (
        "seeded:small",
        seeded.SMALL,
        True,
        [
            V + "patch_conv.weight",
            V + "transformer.layers.3.attention.wq.weight",
            V + "transformer.layers.1.feed_forward.w2.weight",
            A + "w_in.weight",
            A + "w_out.weight",
            "tok_embeddings.weight",
            "layers.0.attention.wq.weight",
            "layers.2.attention.wk.weight",
            "layers.1.attention.wo.weight",
            "layers.2.feed_forward.w2.weight",
            "norm.weight",
            "output.weight",
        ],
    ),
    # No named checkpoint has biases, so the last row of the table needs parameters of its own.
    (
        "seeded:tiny, but with adapter_bias true",
        {**seeded.TINY, "vision_encoder": {**seeded.TINY["vision_encoder"], "adapter_bias": True}},
        True,
        [
            A + "w_in.bias",
            A + "w_out.bias",
        ],
    ),
    (
        "seeded:pixtral-large",
        seeded.PIXTRAL_LARGE,
        False,
        [
            V + "patch_conv.weight",
            V + "transformer.layers.39.attention.wq.weight",
            V + "transformer.layers.17.feed_forward.w2.weight",
            A + "w_out.weight",
            "tok_embeddings.weight",
            "layers.87.attention.wo.weight",
            "layers.42.feed_forward.w2.weight",
            "norm.weight",
            "output.weight",
        ],
    ),
]


def hexadecimal(value, digits):
    return f"0x{int(value):0{digits}x}"


def describe(tensor, name, whole):
    middle = tensor.count // 2 - 1
    entry = {
        "name": name,
        "shape": list(tensor.shape),
        "k0": hexadecimal(tensor.k0, 8),
        "k1": hexadecimal(tensor.k1, 8),
        "offset": float(tensor.offset),
        "scale_float32_bits": hexadecimal(tensor.scale.view(np.uint32), 8),
        "first": [hexadecimal(b, 4) for b in tensor.bits(0, 4)],
        "middle_index": middle,
        "middle": [hexadecimal(b, 4) for b in tensor.bits(middle, middle + 4)],
        "last_index": tensor.count - 1,
        "last": hexadecimal(tensor.bits(tensor.count - 1, tensor.count)[0], 4),
    }
    if whole:
        entry["sum_of_bits"] = int(tensor.bits(0, tensor.count).sum(dtype=np.uint64))
    return entry


def main():
    result = {
        "what": "Docs/Model.md section 9: bit patterns of stored bfloat16 values. sum_of_bits is the sum of all bit patterns "
        "of the tensor as unsigned integers, modulo 2^64. Written by Fixtures/oracle/make_values.py.",
        "seed": seeded.SEED,
        "section": "Docs/Model.md 9",
        "checkpoints": [],
    }
    for title, params, whole, names in CHECKPOINTS:
        checkpoint = seeded.SeededCheckpoint(params)
        result["checkpoints"].append(
            {
                "checkpoint": title,
                "tensor_count": len(checkpoint.shapes),
                "value_count": sum(math.prod(shape) for shape in checkpoint.shapes.values()),
                "tensors": [describe(checkpoint.tensor(name), name, whole) for name in names],
            }
        )
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    # One line a tensor.
    lines = {}
    for checkpoint in result["checkpoints"]:
        for place, entry in enumerate(checkpoint["tensors"]):
            mark = f"@{len(lines)}@"
            lines[f'"{mark}"'] = json.dumps(entry)
            checkpoint["tensors"][place] = mark
    text = json.dumps(result, indent=1)
    for mark, line in lines.items():
        text = text.replace(mark, line)
    TARGET.write_text(text + "\n")


if __name__ == "__main__":
    main()
