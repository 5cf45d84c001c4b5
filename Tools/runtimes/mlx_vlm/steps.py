"""Single steps (Docs/Conformance.md, steps) by mlx-vlm's own modules and functions, given golden inputs.

Rotated columns are put into half-split order before, and back behind.
"""

import types

import mlx.core as mx
from mlx import nn
from mlx_vlm.models.base import create_attention_mask, scaled_dot_product_attention
from mlx_vlm.models.cache import KVCache
from mlx_vlm.models.mlp import SwiGLUMLP
from mlx_vlm.models.pixtral import language, vision
from mlx_vlm.models.pixtral.config import ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.pixtral.pixtral import LlavaMultiModalProjector, Model


class Unsupported(Exception):
    """Why a step cannot be asked of mlx-vlm."""


def answer(question, dtype, save):
    tensors = {name: x.astype(dtype) for name, x in mx.load(question["tensors"]).items()}
    try:
        output = STEPS[question["stage"]](types.SimpleNamespace(**question["parameters"]), tensors)
    except Unsupported as why:
        return {"unsupported": str(why)}
    save({"output": output.reshape(-1, output.shape[-1])}, "step.safetensors")
    return {"tensors": "step.safetensors"}


# Orders of columns


def half_split(x, heads):
    return x.reshape(-1, heads, x.shape[1] // heads // 2, 2).swapaxes(2, 3).reshape(x.shape)


def adjacent(x, heads):
    return x.reshape(-1, heads, 2, x.shape[1] // heads // 2).swapaxes(2, 3).reshape(x.shape)


def of_heads(x, heads):
    return x.reshape(x.shape[0], heads, -1).swapaxes(0, 1)[None]  # [1, heads, n, d]


def of_rows(x):
    return x[0].swapaxes(0, 1).reshape(x.shape[2], -1)


# Modules


def filled(module, weights):
    module.load_weights(list(weights.items()), strict=True)
    return module


def layer_weights(p, t, names, kv_heads):
    attention, norm, ffn_norm, mlp = names
    return {
        f"{attention}.q_proj.weight": half_split(t["attention.wq.weight"].T, p.heads).T,
        f"{attention}.k_proj.weight": half_split(t["attention.wk.weight"].T, kv_heads).T,
        f"{attention}.v_proj.weight": t["attention.wv.weight"], f"{attention}.o_proj.weight": t["attention.wo.weight"],
        f"{norm}.weight": t["attention_norm.weight"], f"{ffn_norm}.weight": t["ffn_norm.weight"],
        f"{mlp}.gate_proj.weight": t["feed_forward.w1.weight"], f"{mlp}.up_proj.weight": t["feed_forward.w3.weight"],
        f"{mlp}.down_proj.weight": t["feed_forward.w2.weight"],
    }  # fmt: skip


def vision_config(p, width, hidden, eps=1e-5):
    if width != p.heads * p.head_dim:
        raise Unsupported("a head has hidden_size / heads columns in the vision encoder")
    return VisionConfig(
        num_hidden_layers=0, hidden_size=width, head_dim=p.head_dim, intermediate_size=hidden,
        num_attention_heads=p.heads, image_size=1024, patch_size=16, rms_norm_eps=eps, rope_theta=p.theta)  # fmt: skip


def text_config(p, width, hidden):
    return TextConfig(
        hidden_size=width, head_dim=p.head_dim, num_hidden_layers=0, intermediate_size=hidden,
        num_attention_heads=p.heads, rms_norm_eps=p.eps, num_key_value_heads=p.kv_heads, rope_theta=p.theta)  # fmt: skip


def vision_angles(p, config, x):
    patches = [mx.zeros((grid["rows"], grid["columns"], 1)) for grid in p.grids]
    positions = vision.position_ids_in_meshgrid(patches, max_width=config.image_size // config.patch_size)
    return vision.PixtralRotaryEmbedding(config)(x, positions)


# Steps


def rms_norm(p, t):
    return filled(nn.RMSNorm(t["x"].shape[1], eps=p.eps), {"weight": t["norm.weight"]})(t["x"])


def rotary(p, t):
    """Row by row, for nn.RoPE takes the position of the first row only."""
    p.kv_heads, p.eps = p.heads, 1e-5
    rope = language.Attention(text_config(p, 64, 64)).rope
    x = of_heads(half_split(t["x"], p.heads), p.heads)
    rows = [rope(x[:, :, n : n + 1], offset=position) for n, position in enumerate(p.positions)]
    return adjacent(of_rows(mx.concatenate(rows, axis=2)), p.heads)


def rotary_2d(p, t):
    x = of_heads(half_split(t["x"], p.heads), p.heads)
    cos, sin = vision_angles(p, vision_config(p, p.heads * p.head_dim, 64), x)
    return adjacent(of_rows(vision.apply_rotary_pos_emb(x, x, cos, sin, unsqueeze_dim=0)[0]), p.heads)


def attention(p, t):
    query, key, value = (
        of_heads(t[name], h) for name, h in (("q", p.heads), ("k", p.kv_heads), ("v", p.kv_heads))
    )
    scale = p.head_dim**-0.5
    if not p.causal:
        mask = vision.generate_block_attention_mask(p.segments, t["k"][None])[
            :, :, t["k"].shape[0] - t["q"].shape[0] :
        ]
        return of_rows(mx.fast.scaled_dot_product_attention(query, key, value, scale=scale, mask=mask))
    if len(p.segments) > 1:
        raise Unsupported("its decoder takes one prompt at a time here")
    mask = create_attention_mask(t["q"][None], None)  # "causal": the queries are the last of the keys
    return of_rows(scaled_dot_product_attention(query, key, value, None, scale=scale, mask=mask))


def silu_product(_, t):
    block = SwiGLUMLP(1, 1)
    block.gate_proj, block.up_proj, block.down_proj = (
        (lambda _: t["gate"]),
        (lambda _: t["up"]),
        (lambda x: x),
    )
    return block(t["gate"])


def gelu(_, t):
    return projector(1, 1).gelu(t["x"])


def projector(width, dim):
    config = ModelConfig(
        text_config=TextConfig(hidden_size=dim), vision_config=VisionConfig(hidden_size=width)
    )
    return LlavaMultiModalProjector(config)


def adapter(p, t):
    dim, width = t["w_in.weight"].shape
    zero = mx.zeros(dim, dtype=t["x"].dtype)  # the projector has biases, whether the checkpoint has or not
    weights = {f"linear_{n}.{kind}": t.get(f"{name}.{kind}", zero)
               for n, name in ((1, "w_in"), (2, "w_out")) for kind in ("weight", "bias")}  # fmt: skip
    return filled(projector(width, dim), weights)(t["x"])


def patch_conv(p, t):
    weight = t["patch_conv.weight"]
    config = VisionConfig(num_hidden_layers=0, hidden_size=weight.shape[0], head_dim=4, image_size=1024, patch_size=p.patch_size)  # fmt: skip
    convolution = filled(
        vision.PixtralVisionModel(config).patch_conv, {"weight": weight.transpose(0, 2, 3, 1)}
    )
    images = [t[f"image{n}"] for n in range(len(t) - 1)]
    return mx.concatenate(
        [convolution(i.transpose(1, 2, 0)[None]).reshape(-1, weight.shape[0]) for i in images]
    )


def vision_layer(p, t):
    x = t["x"][None]
    config = vision_config(p, x.shape[-1], t["feed_forward.w1.weight"].shape[0], p.eps)
    names = "attention", "attention_norm", "ffn_norm", "feed_forward"
    layer = filled(vision.EncoderLayer(config), layer_weights(p, t, names, p.heads))
    mask = vision.generate_block_attention_mask([grid["rows"] * grid["columns"] for grid in p.grids], x)
    return layer(x, mask=mask, position_embeddings=vision_angles(p, config, x))


def decoder_layer(p, t):
    x, cache = t["x"][None], None
    config = text_config(p, x.shape[-1], t["feed_forward.w1.weight"].shape[0])
    names = "self_attn", "input_layernorm", "post_attention_layernorm", "mlp"
    layer = filled(language.TransformerBlock(config), layer_weights(p, t, names, p.kv_heads))
    if hasattr(p, "position"):  # keys and values of the positions before, as an earlier call left them
        cache = KVCache()
        if p.position:
            keys = of_heads(half_split(t["k_rotated"], p.kv_heads), p.kv_heads)
            cache.update_and_fetch(keys, of_heads(t["v"], p.kv_heads))
    return layer(x, create_attention_mask(x, cache), cache)


def splice(p, t):
    tokens = mx.array([p.tokens])
    embedded = t["tok_embeddings.weight"][tokens]
    if "image_rows" not in t:
        return embedded
    return Model.merge_input_ids_with_image_features(p.image_token_id, t["image_rows"], embedded, tokens)


def head(p, t):
    weight = t["output.weight"]
    projection = nn.Linear(weight.shape[1], weight.shape[0], bias=False)  # lm_head
    return filled(projection, {"weight": weight})(rms_norm(p, t))


STEPS = {
    "rms_norm": rms_norm, "rotary": rotary, "rotary_2d": rotary_2d, "attention": attention,
    "silu_product": silu_product, "gelu": gelu, "patch_conv": patch_conv, "vision_layer": vision_layer,
    "adapter": adapter, "splice": splice, "decoder_layer": decoder_layer, "prefill": decoder_layer, "head": head,
}  # fmt: skip
