"""Single steps (Docs/Conformance.md, steps) by mistral-inference's own modules and functions, given golden inputs.

Attention by itself is not asked: xformers has no kernel for the CPU, and the softmax in its place is session.py's.
"""

import types

import torch
from mistral_inference import rope
from mistral_inference import transformer_layers as layers
from mistral_inference.args import VisionEncoderArgs
from mistral_inference.cache import BufferCache
from mistral_inference.transformer import Transformer
from mistral_inference.vision_encoder import VisionLanguageAdapter, VisionTransformer
from safetensors.torch import load_file, save_file
from xformers.ops.fmha.attn_bias import BlockDiagonalMask

POSITIONS, SIDE = 128_000, 1024 // 16  # as long as its tables of angles are


def answer(question, dtype):
    name = question["stage"]
    if name not in STEPS:
        return {"unsupported": f"{name} alone is not mistral-inference's: xformers has no kernel for the CPU"}
    tensors = {key: x.to(dtype) for key, x in load_file(question["tensors"]).items()}
    with torch.inference_mode():
        output = STEPS[name](types.SimpleNamespace(**question["parameters"]), tensors)
    save_file({"output": output.contiguous()}, "step.safetensors")
    return {"tensors": "step.safetensors"}


def filled(module, weights, dtype):
    module.load_state_dict(weights, strict=True)
    return module.to(dtype).eval()


def rms_norm(p, t):
    return filled(layers.RMSNorm(t["x"].shape[1], eps=p.eps), {"weight": t["norm.weight"]}, t["x"].dtype)(
        t["x"]
    )


def turned(x, heads, angles):
    x = x.unflatten(-1, (heads, -1))
    return layers.apply_rotary_emb(x, x, freqs_cis=angles)[0].flatten(1)


def rotary(p, t):
    angles = rope.precompute_freqs_cis(p.head_dim, POSITIONS, p.theta)
    return turned(t["x"], p.heads, angles[torch.tensor(p.positions)])


def vision_angles(p):
    table = rope.precompute_freqs_cis_2d(p.head_dim, SIDE, SIDE, p.theta)
    return torch.cat([table[: grid["rows"], : grid["columns"]].flatten(0, 1) for grid in p.grids])


def rotary_2d(p, t):
    return turned(t["x"], p.heads, vision_angles(p))


def silu_product(_, t):
    block = layers.FeedForward(1, 1)
    block.w1, block.w3, block.w2 = Giving(t["gate"]), Giving(t["up"]), torch.nn.Identity()
    return block(t["gate"])


class Giving(torch.nn.Module):
    """A projection whose product is known."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, _):
        return self.output


def gelu(_, t):
    return VisionLanguageAdapter(1, 1).gelu(t["x"])


def patch_conv(p, t):
    weight = t["patch_conv.weight"]
    arguments = VisionEncoderArgs(
        hidden_size=weight.shape[0], num_channels=3, image_size=1024, patch_size=p.patch_size, intermediate_size=1,
        num_hidden_layers=0, num_attention_heads=weight.shape[0] // 2)  # fmt: skip
    convolution = filled(VisionTransformer(arguments).patch_conv, {"weight": weight}, weight.dtype)
    images = [t[f"image{n}"] for n in range(len(t) - 1)]
    return torch.cat([convolution(image[None])[0].flatten(1).T for image in images])


def layer(p, t, kv_heads):
    names = "attention_norm", "attention.", "ffn_norm", "feed_forward."
    width, hidden = t["x"].shape[1], t["feed_forward.w1.weight"].shape[0]
    block = layers.TransformerBlock(width, hidden, p.heads, kv_heads, p.head_dim, p.eps)
    return filled(block, {name: x for name, x in t.items() if name.startswith(names)}, t["x"].dtype)


def vision_layer(p, t):
    mask = BlockDiagonalMask.from_seqlens([grid["rows"] * grid["columns"] for grid in p.grids])
    return layer(p, t, p.heads)(t["x"], vision_angles(p), mask=mask)


def decoder_layer(p, t):
    """Also behind `position` rows, whose keys and values an earlier call has left in the cache."""
    before, count = getattr(p, "position", 0), t["x"].shape[0]
    cache = BufferCache(1, 1, before + count, p.kv_heads, p.head_dim).to(device="cpu", dtype=t["x"].dtype)
    cache.init_kvseqlens(1)
    if before:
        cache.cache_k[0][0, :before] = t["k_rotated"].unflatten(-1, (p.kv_heads, -1))
        cache.cache_v[0][0, :before] = t["v"].unflatten(-1, (p.kv_heads, -1))
        cache.update_seqlens([before])
    (metadata,) = cache.get_input_metadata([count])
    angles = rope.precompute_freqs_cis(p.head_dim, POSITIONS, p.theta)[metadata.positions]
    return layer(p, t, p.kv_heads)(t["x"], angles, cache.get_view(0, metadata))


def adapter(p, t):
    sides = t["w_in.weight"].shape
    module = VisionLanguageAdapter(sides[1], sides[0], bias=p.bias)
    return filled(module, {name: x for name, x in t.items() if name != "x"}, t["x"].dtype)(t["x"])


def splice(p, t):
    tokens = torch.tensor(p.tokens)
    table = torch.nn.Embedding.from_pretrained(t["tok_embeddings.weight"])
    if "image_rows" not in t:
        return table(tokens)
    vision = VisionEncoderArgs(1, 3, 1024, 16, 1, 0, 1, image_token_id=p.image_token_id)
    model = types.SimpleNamespace(
        args=types.SimpleNamespace(vision_encoder=vision), tok_embeddings=table,
        vision_encoder=lambda _: t["image_rows"], vision_language_adapter=lambda x: x)  # fmt: skip
    return Transformer.embed_vision_language_features(model, tokens, [])


def head(p, t):
    weight = t["output.weight"]
    projection = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)  # Transformer.output
    return filled(projection, {"weight": weight}, weight.dtype)(rms_norm(p, t))


STEPS = {
    "rms_norm": rms_norm, "rotary": rotary, "rotary_2d": rotary_2d, "silu_product": silu_product, "gelu": gelu,
    "patch_conv": patch_conv, "vision_layer": vision_layer, "adapter": adapter, "splice": splice,
    "decoder_layer": decoder_layer, "prefill": decoder_layer, "head": head,
}  # fmt: skip
