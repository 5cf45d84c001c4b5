"""Runs transformers' LlavaForConditionalGeneration as a witness and writes what it computes under
our tap names.

    python witness_transformers.py --checkpoint seeded:tiny|DIR --tokens FILE.json [--pixels FILE.safetensors] [--taps GLOB,...]
                                   [--dtype float32|float64] --out FILE.safetensors

A witness is somebody else's arithmetic: its distance from the oracle says how much honest float32
noise a tap carries, and an agreement shows that the oracle and Docs/Model.md say what the rest of
the world computes. Nothing here computes a part of the model itself; weights go in, hooks read
intermediate results out.

Three conventions differ between the checkpoint and transformers, and are bridged here and nowhere
else:

- Names. Mistral's tensor names become those of LlavaForConditionalGeneration (`hf_tensors`).
- Rotation. Mistral rotates columns (2i, 2i+1) of a head, transformers columns (i, d/2 + i). The rows of every wq and wk, in the vision
  encoder too, are put in that order (`half_split_order`), and q and k are put back before they are written.
- Padding. Images of different sizes go in as one batch, zero-padded to the largest; `image_sizes` tells transformers what is real.

With --dtype float64 weights and activations are float64, but transformers 5.23 still computes the
rotary table, every RMSNorm and every softmax in float32, so the result is no more exact than about
1e-7.
"""

import argparse
import fnmatch
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USE_HUB_KERNELS", "0")

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration, MistralConfig
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral
from transformers.models.pixtral.configuration_pixtral import PixtralVisionConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "Fixtures" / "oracle"))


# Checkpoints


def read_checkpoint(spec):
    """The params.json and all tensors (torch, dtype as stored) of `seeded:NAME` or of a folder in
    Mistral's layout.
    """
    if spec.startswith("seeded:"):
        return seeded_checkpoint(spec)
    folder = Path(spec)
    params = json.loads((folder / "params.json").read_text())
    index = folder / "consolidated.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["consolidated.safetensors"]
    tensors = {}
    for name in names:
        with safe_open(folder / name, framework="pt") as file:
            for key in file.keys():
                if key in tensors:
                    raise ValueError(f"{folder / name}: {key} exists in another shard as well")
                tensors[key] = file.get_tensor(key)
    return params, tensors


def seeded_checkpoint(spec):
    """The same for a seeded checkpoint. The values, and nothing else, come from the oracle's code;
    as float32 they are exact.
    """
    import checkpoint as oracle_checkpoint

    loaded = oracle_checkpoint.open_checkpoint(spec)
    tensors = {}
    for name, shape in loaded.shapes.items():
        tensors[name] = torch.from_numpy(loaded.rows(name, 0, shape[0]).astype("float32")).reshape(shape)
    return loaded.params, tensors


# Conventions


def half_split_order(head_dim):
    """For each column of a head in transformers' order, the column of the checkpoint that stands
    there: 0, 2, 4, ..., 1, 3, 5, ...
    """
    return torch.cat([torch.arange(0, head_dim, 2), torch.arange(1, head_dim, 2)])


def to_half_split(weight, heads):
    """Reorders the rows of a wq or wk, head by head."""
    head_dim = weight.shape[0] // heads
    rows = weight.reshape(heads, head_dim, weight.shape[1])
    return rows[:, half_split_order(head_dim)].reshape(weight.shape)


def from_half_split(matrix, heads):
    """Puts the columns of a q or k that transformers computed back into the checkpoint's order."""
    head_dim = matrix.shape[1] // heads
    columns = matrix.reshape(matrix.shape[0], heads, head_dim)
    result = torch.empty_like(columns)
    result[:, :, half_split_order(head_dim)] = columns
    return result.reshape(matrix.shape)


def hf_config(params):
    """The configuration that says what params.json says. Everything is spelled out: transformers'
    defaults are another model's.
    """
    vision = params["vision_encoder"]
    vision_config = PixtralVisionConfig(
        hidden_size=vision["hidden_size"],
        intermediate_size=vision["intermediate_size"],
        num_hidden_layers=vision["num_hidden_layers"],
        num_attention_heads=vision["num_attention_heads"],
        num_channels=vision["num_channels"],
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        hidden_act="silu",
        rope_parameters={"rope_type": "axial", "rope_theta": float(vision["rope_theta"])},
    )
    text_config = MistralConfig(
        vocab_size=params["vocab_size"],
        hidden_size=params["dim"],
        intermediate_size=params["hidden_dim"],
        num_hidden_layers=params["n_layers"],
        num_attention_heads=params["n_heads"],
        num_key_value_heads=params["n_kv_heads"],
        head_dim=params["head_dim"],
        hidden_act="silu",
        rms_norm_eps=params["norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": float(params["rope_theta"])},
        sliding_window=None,
        tie_word_embeddings=False,
        use_cache=False,
    )
    return LlavaConfig(
        vision_config=vision_config,
        text_config=text_config,
        image_token_index=vision["image_token_id"],
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        multimodal_projector_bias=vision.get("adapter_bias", True),
        tie_word_embeddings=False,
    )


def hf_tensors(params, tensors):
    """The checkpoint's tensors under transformers' names, q and k reordered. A name it does not
    know is an error.
    """
    vision = params["vision_encoder"]
    vision_heads = vision["num_attention_heads"]
    layer_names = {
        "attention_norm.weight": "input_layernorm.weight",
        "ffn_norm.weight": "post_attention_layernorm.weight",
        "attention.wq.weight": "self_attn.q_proj.weight",
        "attention.wk.weight": "self_attn.k_proj.weight",
        "attention.wv.weight": "self_attn.v_proj.weight",
        "attention.wo.weight": "self_attn.o_proj.weight",
        "feed_forward.w1.weight": "mlp.gate_proj.weight",
        "feed_forward.w2.weight": "mlp.down_proj.weight",
        "feed_forward.w3.weight": "mlp.up_proj.weight",
    }
    vision_layer_names = {
        "attention_norm.weight": "attention_norm.weight",
        "ffn_norm.weight": "ffn_norm.weight",
        "attention.wq.weight": "attention.q_proj.weight",
        "attention.wk.weight": "attention.k_proj.weight",
        "attention.wv.weight": "attention.v_proj.weight",
        "attention.wo.weight": "attention.o_proj.weight",
        "feed_forward.w1.weight": "feed_forward.gate_proj.weight",
        "feed_forward.w2.weight": "feed_forward.down_proj.weight",
        "feed_forward.w3.weight": "feed_forward.up_proj.weight",
    }
    names = {
        "vision_encoder.patch_conv.weight": "model.vision_tower.patch_conv.weight",
        "vision_encoder.ln_pre.weight": "model.vision_tower.ln_pre.weight",
        "vision_language_adapter.w_in.weight": "model.multi_modal_projector.linear_1.weight",
        "vision_language_adapter.w_in.bias": "model.multi_modal_projector.linear_1.bias",
        "vision_language_adapter.w_out.weight": "model.multi_modal_projector.linear_2.weight",
        "vision_language_adapter.w_out.bias": "model.multi_modal_projector.linear_2.bias",
        "tok_embeddings.weight": "model.language_model.embed_tokens.weight",
        "norm.weight": "model.language_model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    for layer in range(params["n_layers"]):
        for ours, theirs in layer_names.items():
            names[f"layers.{layer}.{ours}"] = f"model.language_model.layers.{layer}.{theirs}"
    for layer in range(vision["num_hidden_layers"]):
        for ours, theirs in vision_layer_names.items():
            names[f"vision_encoder.transformer.layers.{layer}.{ours}"] = (
                f"model.vision_tower.transformer.layers.{layer}.{theirs}"
            )
    result = {}
    for name, tensor in tensors.items():
        if name.endswith("attention.wq.weight"):
            tensor = to_half_split(
                tensor, vision_heads if name.startswith("vision_encoder.") else params["n_heads"]
            )
        if name.endswith("attention.wk.weight"):
            tensor = to_half_split(
                tensor, vision_heads if name.startswith("vision_encoder.") else params["n_kv_heads"]
            )
        result[names[name]] = tensor
    return result


# Taps


class Recorder:
    """Collects taps from hooks. Every tap must be seen exactly once, or two modules would be taken
    for one another.
    """

    def __init__(self):
        self.taps = {}

    def put(self, tap, tensor):
        if tap in self.taps:
            raise RuntimeError(f"{tap} was recorded twice")
        self.taps[tap] = tensor.detach().clone().contiguous()

    def output_of(self, module, tap, heads=None):
        """Records what a module returns; `heads` asks for q or k to be put back into the
        checkpoint's order.
        """

        def hook(_, __, output):
            matrix = flat(output)
            self.put(tap, matrix if heads is None else from_half_split(matrix, heads))

        module.register_forward_hook(hook)

    def input_of(self, module, tap):
        """Records what a module is given."""

        def hook(_, positional, named):
            self.put(tap, flat(positional[0] if positional else named["hidden_states"]))

        module.register_forward_pre_hook(hook, with_kwargs=True)


def flat(tensor):
    """[1, rows, columns] as [rows, columns]."""
    if tensor.dim() == 3:
        if tensor.shape[0] != 1:
            raise ValueError(f"a batch of one was expected, not {tuple(tensor.shape)}")
        return tensor[0]
    return tensor


def joined_heads(tensor):
    """[1, heads, rows, head_dim] as [rows, heads * head_dim]."""
    return tensor[0].transpose(0, 1).reshape(tensor.shape[2], -1)


def hook_layer(recorder, prefix, attention_norm, attention, ffn_norm, feed_forward, layer, heads, kv_heads):
    """All taps of one layer, except those inside attention (see `attention_spy`). Vision and
    decoder differ in names only.
    """
    recorder.output_of(attention_norm, f"{prefix}.attention_norm")
    recorder.output_of(attention.q_proj, f"{prefix}.attention.q", heads)
    recorder.output_of(attention.k_proj, f"{prefix}.attention.k", kv_heads)
    recorder.output_of(attention.v_proj, f"{prefix}.attention.v")
    recorder.input_of(attention.o_proj, f"{prefix}.attention.context")
    recorder.output_of(attention.o_proj, f"{prefix}.attention.output")
    recorder.input_of(ffn_norm, f"{prefix}.residual")
    recorder.output_of(ffn_norm, f"{prefix}.ffn_norm")
    recorder.output_of(feed_forward.gate_proj, f"{prefix}.feed_forward.gate")
    recorder.output_of(feed_forward.up_proj, f"{prefix}.feed_forward.up")
    recorder.input_of(feed_forward.down_proj, f"{prefix}.feed_forward.hidden")
    recorder.output_of(feed_forward.down_proj, f"{prefix}.feed_forward.output")
    recorder.output_of(layer, f"{prefix}.output")


def attention_spy(recorder, places, eager):
    """Stands before transformers' eager attention to see the rotated q and k that it is given and
    the weights it returns.

    `places` says which tap prefix and how many heads and key-value heads belong to an attention
    module.
    """

    def spy(module, query, key, value, *rest, **options):
        prefix, heads, kv_heads = places[module]
        recorder.put(f"{prefix}.attention.q_rotated", from_half_split(joined_heads(query), heads))
        recorder.put(f"{prefix}.attention.k_rotated", from_half_split(joined_heads(key), kv_heads))
        context, weights = eager(module, query, key, value, *rest, **options)
        recorder.put(f"{prefix}.attention.weights", joined_heads(weights))
        return context, weights

    return spy


def build(params, tensors, dtype):
    """The model with the checkpoint in it. Strict: no tensor may be missing and none left over."""
    config = hf_config(params)
    config._attn_implementation = "eager"
    model = LlavaForConditionalGeneration(config).to(dtype).eval()
    model.load_state_dict(hf_tensors(params, tensors), strict=True)
    if model.lm_head.weight.data_ptr() == model.model.language_model.embed_tokens.weight.data_ptr():
        raise RuntimeError("transformers tied the output head to the embeddings")
    return model


def install_hooks(model, params, recorder, has_images):
    """Puts a hook at every tap. Returns where each attention module stands, for `attention_spy`."""
    heads, kv_heads = params["n_heads"], params["n_kv_heads"]
    vision_heads = params["vision_encoder"]["num_attention_heads"]
    places = {}
    if has_images:
        tower = model.model.vision_tower
        recorder.input_of(tower.ln_pre, "vision.patch_conv")
        recorder.output_of(tower.ln_pre, "vision.ln_pre")
        for number, layer in enumerate(tower.transformer.layers):
            prefix = f"vision.layers.{number}"
            places[layer.attention] = (prefix, vision_heads, vision_heads)
            hook_layer(
                recorder,
                prefix,
                layer.attention_norm,
                layer.attention,
                layer.ffn_norm,
                layer.feed_forward,
                layer,
                vision_heads,
                vision_heads,
            )
        projector = model.model.multi_modal_projector
        recorder.output_of(projector.linear_1, "adapter.w_in")
        recorder.input_of(projector.linear_2, "adapter.gelu")
        recorder.output_of(projector.linear_2, "adapter.w_out")
    decoder = model.model.language_model
    recorder.input_of(decoder.layers[0], "decoder.embeddings")
    for number, layer in enumerate(decoder.layers):
        prefix = f"decoder.layers.{number}"
        places[layer.self_attn] = (prefix, heads, kv_heads)
        hook_layer(
            recorder,
            prefix,
            layer.input_layernorm,
            layer.self_attn,
            layer.post_attention_layernorm,
            layer.mlp,
            layer,
            heads,
            kv_heads,
        )
    recorder.output_of(decoder.norm, "decoder.norm")
    return places


def trace(spec, tokens, images, dtype=torch.float32, keep=None, change=None):
    """One forward pass. Returns {tap: torch matrix}.

    `images` are float32 arrays [3, height, width]; `keep(tap)` says which taps to return;
    `change(model)` may alter the model before it runs (fault experiments use it).
    """
    params, tensors = read_checkpoint(spec)
    model = build(params, tensors, dtype)
    del tensors
    if change is not None:
        change(model)
    recorder = Recorder()
    places = install_hooks(model, params, recorder, bool(images))
    inputs = {"input_ids": torch.tensor([tokens], dtype=torch.long)}
    if images:
        images = [torch.as_tensor(image) for image in images]
        height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
        batch = torch.zeros(len(images), images[0].shape[0], height, width, dtype=torch.float32)
        for row, image in zip(batch, images):
            row[:, : image.shape[1], : image.shape[2]] = image
        inputs["pixel_values"] = batch.to(dtype)
        inputs["image_sizes"] = torch.tensor([image.shape[1:] for image in images])
    originals = [(module, module.eager_attention_forward) for module in (modeling_pixtral, modeling_mistral)]
    try:
        for module, eager in originals:
            module.eager_attention_forward = attention_spy(recorder, places, eager)
        with torch.inference_mode():
            recorder.put("logits", flat(model(**inputs, use_cache=False).logits))
    finally:
        for module, eager in originals:
            module.eager_attention_forward = eager
    return {tap: matrix for tap, matrix in recorder.taps.items() if keep is None or keep(tap)}


ON_DEMAND = ("*.attention.scores", "*.attention.weights")


def wanted(globs):
    """The choice that a list of globs makes. Without one: every tap except those that are written
    only on demand.
    """
    if globs is None:
        return lambda tap: not any(fnmatch.fnmatchcase(tap, pattern) for pattern in ON_DEMAND)
    return lambda tap: any(fnmatch.fnmatchcase(tap, pattern) for pattern in globs)


def read_inputs(tokens_file, pixels_file):
    """Tokens (a JSON list, or an object with "tokens") and the images image0, image1, ... of a
    safetensors file.
    """
    tokens = json.loads(Path(tokens_file).read_text())
    if isinstance(tokens, dict):
        tokens = tokens["tokens"]
    images = []
    if pixels_file:
        with safe_open(pixels_file, framework="pt") as file:
            images = [file.get_tensor(f"image{n}") for n in range(len(file.keys()))]
    return tokens, images


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--pixels")
    parser.add_argument("--taps")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokens, images = read_inputs(arguments.tokens, arguments.pixels)
    globs = arguments.taps.split(",") if arguments.taps else None
    taps = trace(arguments.checkpoint, tokens, images, getattr(torch, arguments.dtype), wanted(globs))
    save_file(taps, arguments.out)
    print(
        f"transformers {transformers.__version__}, torch {torch.__version__}: {len(taps)} taps",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
