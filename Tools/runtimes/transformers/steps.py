"""Single steps (Docs/Conformance.md, steps) by transformers' own modules and functions, given golden inputs.

Rotated columns are put into half-split order before, and back behind. What a module fixes in its code, an
epsilon or the size of a head, it cannot be asked with another value of: that is `unsupported`.
"""

import types

import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaConfig, MistralConfig, PixtralVisionConfig
from transformers.activations import ACT2FN
from transformers.cache_utils import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llava.modeling_llava import LlavaModel, LlavaMultiModalProjector
from transformers.models.mistral import modeling_mistral as mistral
from transformers.models.pixtral import modeling_pixtral as pixtral


class Unsupported(Exception):
    """Why a step cannot be asked of transformers."""


def answer(question, dtype, attention, prefixes):
    """`prefixes` is torch_session's: modules whose attention is watched have to be in it."""
    tensors = {name: x.to(dtype) for name, x in load_file(question["tensors"]).items()}
    with torch.inference_mode():
        try:
            output = STEPS[question["stage"]](
                types.SimpleNamespace(**question["parameters"]), tensors, attention, prefixes
            )
        except Unsupported as why:
            return {"unsupported": str(why)}
    save_file({"output": output.contiguous()}, "step.safetensors")
    return {"tensors": "step.safetensors"}


# Orders of columns


def half_split(x, heads):
    """Rows or columns of heads, adjacent pairs to half-split, along the last axis."""
    return x.unflatten(-1, (heads, -1, 2)).transpose(-1, -2).flatten(-3)


def adjacent(x, heads):
    return x.unflatten(-1, (heads, 2, -1)).transpose(-1, -2).flatten(-3)


def rows(weight, heads):
    return half_split(weight.T, heads).T.contiguous()


def of_heads(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(0, 1)[None]  # [1, heads, n, d]


# Modules


def decoder_config(p, width, hidden, attention):
    theta = (
        {"rope_parameters": {"rope_type": "default", "rope_theta": p.theta}} if hasattr(p, "theta") else {}
    )
    config = MistralConfig(
        hidden_size=width, intermediate_size=hidden, num_attention_heads=p.heads, num_key_value_heads=p.kv_heads,
        head_dim=p.head_dim, rms_norm_eps=p.eps, max_position_embeddings=131072, sliding_window=None,
        **theta)  # fmt: skip
    config.rope_theta = p.theta  # releases before 5 read it here
    config._attn_implementation = attention
    return config


def vision_config(p, width, hidden, attention="eager", patch_size=16):
    if width != p.heads * p.head_dim:
        raise Unsupported("a head has hidden_size / heads columns in PixtralAttention")
    config = PixtralVisionConfig(
        hidden_size=width, intermediate_size=hidden, num_attention_heads=p.heads, num_hidden_layers=0,
        image_size=1024, patch_size=patch_size, rope_theta=p.theta)  # fmt: skip
    config.rope_theta = p.theta
    if getattr(config, "rope_parameters", None):
        config.rope_parameters["rope_theta"] = p.theta
    config.hidden_act = "silu"
    config._attn_implementation = attention
    return config


def filled(module, weights, dtype):
    """A module with exactly these weights."""
    module.load_state_dict(weights, strict=True)
    return module.to(dtype).eval()


def layer_weights(t, p, names, kv_heads):
    attention, norm, ffn_norm, mlp = names
    wq, wk = rows(t["attention.wq.weight"], p.heads), rows(t["attention.wk.weight"], kv_heads)
    return {
        f"{attention}.q_proj.weight": wq, f"{attention}.k_proj.weight": wk,
        f"{attention}.v_proj.weight": t["attention.wv.weight"], f"{attention}.o_proj.weight": t["attention.wo.weight"],
        f"{norm}.weight": t["attention_norm.weight"], f"{ffn_norm}.weight": t["ffn_norm.weight"],
        f"{mlp}.gate_proj.weight": t["feed_forward.w1.weight"], f"{mlp}.up_proj.weight": t["feed_forward.w3.weight"],
        f"{mlp}.down_proj.weight": t["feed_forward.w2.weight"],
    }  # fmt: skip


def vision_angles(p, config, x):
    """cos and sin for the patches of `grids`, by Pixtral's rotary module."""
    patches = [torch.empty(1, grid["rows"], grid["columns"]) for grid in p.grids]
    if hasattr(pixtral, "position_ids_in_meshgrid"):
        return pixtral.PixtralRotaryEmbedding(config)(
            x, pixtral.position_ids_in_meshgrid(patches, 1024 // 16)
        )
    # Newer releases have these positions in PixtralVisionModel.forward, a row and a column for each patch.
    positions = torch.cat([torch.ones(patch.shape[1:]).nonzero() for patch in patches])
    return pixtral.PixtralVisionRotaryEmbedding(config)(x, positions)


def causal(x, count, keys):
    """A query sees the keys before it and its own; the queries are the last of the keys."""
    mask = torch.full((count, keys), torch.finfo(x.dtype).min, dtype=x.dtype).triu(keys - count + 1)
    return mask[None, None]


# Steps


def rms_norm(p, t, *_):
    norm = mistral.MistralRMSNorm(t["x"].shape[1], eps=p.eps)
    return filled(norm, {"weight": t["norm.weight"]}, t["x"].dtype)(t["x"])


def rotary(p, t, attention, _):
    p.kv_heads, p.eps = p.heads, 1e-5
    turn = mistral.MistralRotaryEmbedding(decoder_config(p, 64, 64, attention))
    x = of_heads(half_split(t["x"], p.heads), p.heads)
    cos, sin = turn(x, torch.tensor([p.positions]))
    return adjacent(mistral.apply_rotary_pos_emb(x, x, cos, sin)[0][0].transpose(0, 1).flatten(1), p.heads)


def rotary_2d(p, t, *_):
    x = of_heads(half_split(t["x"], p.heads), p.heads)
    cos, sin = vision_angles(p, vision_config(p, p.heads * p.head_dim, 64), x)
    turned = pixtral.apply_rotary_pos_emb(x, x, cos, sin, unsqueeze_dim=0)[0]
    return adjacent(turned[0].transpose(0, 1).flatten(1), p.heads)


def attention_step(p, t, attention, prefixes):
    query, key, value = (
        of_heads(t[name], h) for name, h in (("q", p.heads), ("k", p.kv_heads), ("v", p.kv_heads))
    )
    module = torch.nn.Module()
    module.num_key_value_groups, module.is_causal = p.heads // p.kv_heads, p.causal
    prefixes[module] = "step"
    count, keys = query.shape[2], key.shape[2]
    mask = pixtral.generate_block_attention_mask(p.segments, t["k"][None])[:, :, keys - count :]
    if p.causal:
        mask = torch.minimum(mask, causal(t["k"], count, keys))
    function = ALL_ATTENTION_FUNCTIONS["sdpa"] if attention == "sdpa" else mistral.eager_attention_forward
    output, _ = function(module, query, key, value, mask, scaling=p.head_dim**-0.5, dropout=0.0)
    return output[0]


def silu_product(_, t, *__):
    gate, up = t["gate"], t["up"]
    config = MistralConfig(hidden_size=1, intermediate_size=1)
    block = mistral.MistralMLP(config)
    block.gate_proj, block.up_proj, block.down_proj = Giving(gate), Giving(up), torch.nn.Identity()
    return block(gate)


class Giving(torch.nn.Module):
    """A projection whose product is known."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, _):
        return self.output


def gelu(_, t, *__):
    return ACT2FN[LlavaConfig().projector_hidden_act](t["x"])


def patch_conv(p, t, *_):
    weight = t["patch_conv.weight"]
    p.heads, p.head_dim, p.theta = 1, weight.shape[0], 1e4
    try:
        model = pixtral.PixtralVisionModel(vision_config(p, weight.shape[0], 64, patch_size=p.patch_size))
    except (ValueError, RuntimeError) as error:
        raise Unsupported(f"PixtralVisionModel of this width: {error}") from error
    convolution = filled(model.patch_conv, {"weight": weight}, weight.dtype)
    images = [t[f"image{n}"] for n in range(len(t) - 1)]
    return torch.cat([convolution(image[None])[0].flatten(1).T for image in images])


def vision_layer(p, t, attention, prefixes):
    if p.eps != 1e-5:
        raise Unsupported("the epsilon of PixtralAttentionLayer is 1e-5, in its code")
    x = t["x"][None]
    config = vision_config(p, x.shape[-1], t["feed_forward.w1.weight"].shape[0], attention)
    names = "attention", "attention_norm", "ffn_norm", "feed_forward"
    layer = filled(pixtral.PixtralAttentionLayer(config), layer_weights(t, p, names, p.heads), x.dtype)
    prefixes[layer.attention] = "step"
    mask = pixtral.generate_block_attention_mask([grid["rows"] * grid["columns"] for grid in p.grids], x)
    return first(layer(x, attention_mask=mask, position_embeddings=vision_angles(p, config, x)))


def adapter(p, t, *_):
    sides = t["w_in.weight"].shape
    config = LlavaConfig(
        vision_config=PixtralVisionConfig(hidden_size=sides[1], num_attention_heads=1, num_hidden_layers=0),
        text_config=MistralConfig(hidden_size=sides[0]), multimodal_projector_bias=p.bias, vision_feature_layer=-1)  # fmt: skip
    weights = {
        name.replace("w_in", "linear_1").replace("w_out", "linear_2"): x
        for name, x in t.items()
        if name != "x"
    }
    return filled(LlavaMultiModalProjector(config), weights, t["x"].dtype)(t["x"])


def splice(p, t, *_):
    tokens = torch.tensor([p.tokens])
    table = torch.nn.Embedding.from_pretrained(t["tok_embeddings.weight"])
    embedded = table(tokens)
    if "image_rows" not in t:
        return embedded
    config = types.SimpleNamespace(image_token_id=p.image_token_id, image_token_index=p.image_token_id)
    model = types.SimpleNamespace(config=config, get_input_embeddings=lambda: table)
    mask = LlavaModel.get_placeholder_mask(model, tokens, embedded, t["image_rows"])
    return embedded.masked_scatter(mask, t["image_rows"])


def decoder_layer(p, t, attention, prefixes):
    x, before = t["x"][None], getattr(p, "position", 0)
    config = decoder_config(p, x.shape[-1], t["feed_forward.w1.weight"].shape[0], attention)
    names = "self_attn", "input_layernorm", "post_attention_layernorm", "mlp"
    layer = mistral.MistralDecoderLayer(config, layer_idx=0)
    layer = filled(layer, layer_weights(t, p, names, p.kv_heads), x.dtype)
    prefixes[layer.self_attn] = "step"
    cache = None
    if before:  # keys and values of the positions before, as an earlier call left them
        cache = DynamicCache()
        cache.update(
            of_heads(half_split(t["k_rotated"], p.kv_heads), p.kv_heads), of_heads(t["v"], p.kv_heads), 0
        )
    count = x.shape[1]
    positions = torch.arange(before, before + count)[None]
    return first(layer(
        x, attention_mask=causal(x, count, before + count), position_ids=positions, past_key_values=cache,
        use_cache=bool(before), cache_position=positions[0],
        position_embeddings=mistral.MistralRotaryEmbedding(config)(x, positions)))  # fmt: skip


def first(output):
    """Older releases give a tuple."""
    return (output[0] if isinstance(output, tuple) else output)[0]


def head(p, t, *_):
    weight = t["output.weight"]
    projection = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)  # lm_head
    return filled(projection, {"weight": weight}, weight.dtype)(rms_norm(p, t))


STEPS = {
    "rms_norm": rms_norm, "rotary": rotary, "rotary_2d": rotary_2d, "attention": attention_step,
    "silu_product": silu_product, "gelu": gelu, "patch_conv": patch_conv, "vision_layer": vision_layer,
    "adapter": adapter, "splice": splice, "decoder_layer": decoder_layer, "prefill": decoder_layer, "head": head,
}  # fmt: skip
