"""Runs transformers on a checkpoint in the Hugging Face layout and keeps what it computes under the
names of our taps.

    python transformers_trace.py CHECKPOINT TRACE OUT [--dtype float32|bfloat16]

CHECKPOINT is the folder that `pixtral-ref checkpoint write --layout hf` writes. TRACE is a trace
folder, or a case of Fixtures/cases/model; only its inputs are read: the tokens in trace.json and the
pixels in pixels.safetensors, or those of case.json and of expected.safetensors. This is the file to copy for another runtime: the two tables say where each
tap is found. Activations are kept as transformers has them, with a batch of one, heads as a
dimension, and q and k in its own order.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

MODEL = {  # tap: module, and whether the tap is what goes in or what comes out
    "vision.patch_conv": ("model.vision_tower.ln_pre", "in"),
    "vision.ln_pre": ("model.vision_tower.ln_pre", "out"),
    "adapter.w_in": ("model.multi_modal_projector.linear_1", "out"),
    "adapter.gelu": ("model.multi_modal_projector.linear_2", "in"),
    "adapter.w_out": ("model.multi_modal_projector.linear_2", "out"),
    "decoder.embeddings": ("model.language_model.layers.0.input_layernorm", "in"),
    "decoder.norm": ("model.language_model.norm", "out"),
    "logits": ("lm_head", "out"),
}
LAYER = {  # tap: module of a vision layer, module of a decoder layer ("" is the layer), in or out
    "attention_norm": ("attention_norm", "input_layernorm", "out"),
    "attention.q": ("attention.q_proj", "self_attn.q_proj", "out"),
    "attention.k": ("attention.k_proj", "self_attn.k_proj", "out"),
    "attention.v": ("attention.v_proj", "self_attn.v_proj", "out"),
    "attention.context": ("attention.o_proj", "self_attn.o_proj", "in"),
    "attention.output": ("attention.o_proj", "self_attn.o_proj", "out"),
    "residual": ("ffn_norm", "post_attention_layernorm", "in"),
    "ffn_norm": ("ffn_norm", "post_attention_layernorm", "out"),
    "feed_forward.gate": ("feed_forward.gate_proj", "mlp.gate_proj", "out"),
    "feed_forward.up": ("feed_forward.up_proj", "mlp.up_proj", "out"),
    "feed_forward.hidden": ("feed_forward.down_proj", "mlp.down_proj", "in"),
    "feed_forward.output": ("feed_forward.down_proj", "mlp.down_proj", "out"),
    "output": ("", "", "out"),
}
taps, prefixes = {}, {}  # tap: matrix; attention module: "vision.layers.0", …


def keep(tap, module, side):
    """Has a module's input or output kept, [1, rows, columns]."""

    def hook(_, inputs, output):
        taps[tap] = inputs[0] if side == "in" else output

    module.register_forward_hook(hook)


def keeping_rotated(attention):
    """An attention function that first keeps the rotated q and k which it is given, [1, heads,
    rows, head_dim].
    """

    def function(module, query, key, *rest, **options):
        taps[f"{prefixes[module]}.attention.q_rotated"] = query
        taps[f"{prefixes[module]}.attention.k_rotated"] = key
        return attention(module, query, key, *rest, **options)

    return function


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
for name in ("checkpoint", "trace", "out"):
    parser.add_argument(name, type=Path)
parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
arguments = parser.parse_args()
dtype = getattr(torch, arguments.dtype)
model = LlavaForConditionalGeneration.from_pretrained(
    arguments.checkpoint, dtype=dtype, attn_implementation="eager"
)

for tap, (module, side) in MODEL.items():
    keep(tap, model.get_submodule(module), side)
for stage, stack in enumerate((model.model.vision_tower.transformer, model.model.language_model)):
    for number, layer in enumerate(stack.layers):
        prefix = f"{('vision', 'decoder')[stage]}.layers.{number}"
        attention = layer.get_submodule(("attention", "self_attn")[stage])
        prefixes[attention] = prefix
        for tap, modules in LAYER.items():
            keep(f"{prefix}.{tap}", layer.get_submodule(modules[stage]), modules[2])
for library in (modeling_pixtral, modeling_mistral):
    library.eager_attention_forward = keeping_rotated(library.eager_attention_forward)

if (arguments.trace / "case.json").exists():
    tokens = json.loads((arguments.trace / "case.json").read_text())["expect"]["tokens"]
    tensors = load_file(arguments.trace / "expected.safetensors")
else:
    tokens = json.loads((arguments.trace / "trace.json").read_text())["tokens"]
    file = arguments.trace / "pixels.safetensors"
    tensors = load_file(file) if file.exists() else {}  # none without an image
count = sum(name.startswith("image") for name in tensors)
images = [tensors[f"image{n}"] for n in range(count)]
inputs = {"input_ids": torch.tensor([tokens]), "use_cache": False}
if images:
    sizes = torch.tensor([image.shape[1:] for image in images])
    # Smaller images end in zeros.
    batch = torch.zeros(len(images), 3, *sizes.max(dim=0).values, dtype=dtype)
    for n, (height, width) in enumerate(sizes):
        batch[n, :, :height, :width] = images[n]
    inputs |= {"pixel_values": batch, "image_sizes": sizes}
with torch.inference_mode():
    model.eval()(**inputs)
save_file({tap: matrix.contiguous() for tap, matrix in taps.items()}, arguments.out)
