"""transformers' own modules as schedules of full_model.py: the layers of Mistral and Pixtral, LLaVA's
projector, the norms and the rotary tables, with eager attention and with PyTorch's (sdpa).

Only one layer exists at a time. Its module is made without memory and given the weights of layer after
layer; hooks read the taps. What stands between the modules (tokens and images joined, masks) is what
LlavaForConditionalGeneration does.
"""

import os
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USE_HUB_KERNELS", "0")

import torch
from transformers import LlavaConfig, MistralConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral
from transformers.models.pixtral.configuration_pixtral import PixtralVisionConfig

from digest import adjacent_pairs, as_matrix
from full_schedules import Schedule, causal, same_image

# The weights of a layer of the vision encoder: the module, and what its tensor is called
VISION_WEIGHTS = {
    "attention_norm": "attention_norm",
    "attention.q_proj": "attention.wq",
    "attention.k_proj": "attention.wk",
    "attention.v_proj": "attention.wv",
    "attention.o_proj": "attention.wo",
    "ffn_norm": "ffn_norm",
    "feed_forward.gate_proj": "feed_forward.w1",
    "feed_forward.up_proj": "feed_forward.w3",
    "feed_forward.down_proj": "feed_forward.w2",
}
RENAMED = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attention": "self_attn",
           "feed_forward": "mlp"}  # fmt: skip


def decoder_name(name):
    """What the decoder's layer calls a module of the vision encoder's."""
    first, dot, rest = name.partition(".")
    return RENAMED[first] + dot + rest


DECODER_WEIGHTS = {decoder_name(module): tensor for module, tensor in VISION_WEIGHTS.items()}

TAPS = {  # of a layer, by the modules of the vision encoder: the module, what goes in or what comes out
    "attention_norm": ("attention_norm", "out"),
    "attention.q": ("attention.q_proj", "out"),
    "attention.k": ("attention.k_proj", "out"),
    "attention.v": ("attention.v_proj", "out"),
    "attention.context": ("attention.o_proj", "in"),
    "attention.output": ("attention.o_proj", "out"),
    "residual": ("ffn_norm", "in"),
    "ffn_norm": ("ffn_norm", "out"),
    "feed_forward.gate": ("feed_forward.gate_proj", "out"),
    "feed_forward.up": ("feed_forward.up_proj", "out"),
    "feed_forward.hidden": ("feed_forward.down_proj", "in"),
    "feed_forward.output": ("feed_forward.down_proj", "out"),
}


def schedules():
    names = ("transformers-eager", "transformers-sdpa")
    return [Schedule(a, name) for a in ("float32", "tf32", "float16", "bfloat16") for name in names]


def configuration(model, attention):
    vision, decoder = model.vision, model.decoder
    config = LlavaConfig(
        vision_config=PixtralVisionConfig(
            hidden_size=vision.width,
            intermediate_size=vision.hidden,
            num_hidden_layers=vision.layers,
            num_attention_heads=vision.heads,
            num_channels=model.channels,
            patch_size=model.patch,
            image_size=1024,
            hidden_act="silu",
            rope_parameters={"rope_type": "axial", "rope_theta": vision.theta},
        ),
        text_config=MistralConfig(
            vocab_size=model.vocabulary,
            hidden_size=decoder.width,
            intermediate_size=decoder.hidden,
            num_hidden_layers=decoder.layers,
            num_attention_heads=decoder.heads,
            num_key_value_heads=decoder.kv_heads,
            head_dim=decoder.head_dim,
            hidden_act="silu",
            rms_norm_eps=decoder.eps,
            rope_parameters={"rope_type": "default", "rope_theta": decoder.theta},
            sliding_window=None,
        ),
        projector_hidden_act="gelu",
        multimodal_projector_bias=False,
    )
    for part in (config, config.vision_config, config.text_config):
        part._attn_implementation = attention
    return config


class TransformersRun:
    """One run through the model, stage by stage, as full_schedules.Run."""

    def __init__(self, schedule, model, tokens, images, device):
        self.schedule, self.model, self.dtype = schedule, model, schedule.dtype
        self.tokens, self.images, self.device = tokens, images, device
        attention = schedule.name.removeprefix("transformers-")
        config = configuration(model, attention)
        with torch.device("meta"):
            self.conv = torch.nn.Conv2d(
                model.channels, model.vision.width, model.patch, stride=model.patch, bias=False
            )
            self.ln_pre = modeling_pixtral.PixtralRMSNorm(model.vision.width, eps=model.vision.eps)
            self.vision_layer = modeling_pixtral.PixtralAttentionLayer(config.vision_config)
            self.projector = LlavaMultiModalProjector(config)
            self.decoder_layer = modeling_mistral.MistralDecoderLayer(config.text_config, 0)
            self.norm = modeling_mistral.MistralRMSNorm(model.decoder.width, eps=model.decoder.eps)
            self.output = torch.nn.Linear(model.decoder.width, model.vocabulary, bias=False)
        for module in (self.conv, self.ln_pre, self.vision_layer, self.projector, self.decoder_layer,
                       self.norm, self.output):  # fmt: skip
            module.eval().requires_grad_(False)
        self.hook(self.vision_layer, lambda name: name)
        self.hook(self.decoder_layer, decoder_name)
        self.projector.linear_2.register_forward_hook(
            lambda _, inputs, output: self.keep("adapter.gelu", inputs[0])
        )
        self.projector.linear_1.register_forward_hook(
            lambda _, inputs, output: self.keep("adapter.w_in", output)
        )
        self.places(config, attention)

    def places(self, config, attention):
        """Rotary tables and masks, as PixtralVisionModel and MistralModel make them."""
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        grids = [(i.shape[1] // self.model.patch, i.shape[2] // self.model.patch) for i in self.images]
        if self.images:
            positions = torch.tensor(
                [(r, c) for rows, columns in grids for r in range(rows) for c in range(columns)]
            )
            rotary = modeling_pixtral.PixtralVisionRotaryEmbedding(config.vision_config).to(self.device)
            self.vision_tables = rotary(like, positions.to(self.device))
            self.vision_mask = self.added(same_image(grids, self.device))
        count = len(self.tokens)
        rotary = modeling_mistral.MistralRotaryEmbedding(config.text_config).to(self.device)
        self.decoder_tables = rotary(like, torch.arange(count, device=self.device)[None])
        # With sdpa, MistralModel has no mask for a whole prompt: the attention knows that it is causal.
        self.decoder_mask = self.added(causal(count, self.device)) if attention == "eager" else None

    def added(self, sees):
        least = torch.finfo(self.dtype).min
        return torch.zeros(sees.shape, dtype=self.dtype, device=self.device).masked_fill_(~sees, least)[
            None, None
        ]

    def hook(self, layer, named):
        for tap, (name, side) in TAPS.items():

            def kept(_, inputs, output, tap=tap, side=side):
                self.keep(self.prefix + tap, inputs[0] if side == "in" else output)

            layer.get_submodule(named(name)).register_forward_hook(kept)

    def keep(self, tap, x):
        x = as_matrix(x, x.shape[1])
        if tap.endswith((".attention.q", ".attention.k")):
            x = adjacent_pairs(x, self.head_dim)
        self.put(tap, x)

    # Stages

    def patches(self, n, weights, put):
        weight = weights("vision_encoder.patch_conv.weight", self.dtype)
        given(self.conv, weight=weight.view(-1, self.model.channels, self.model.patch, self.model.patch))
        given(self.ln_pre, weight=weights("vision_encoder.ln_pre.weight", self.dtype))
        patches = [self.conv(image[None].to(self.device, self.dtype))[0] for image in self.images]
        x = torch.cat([patch.flatten(1).T for patch in patches])[None]
        put("vision.patch_conv", x[0])
        self.x = self.ln_pre(x)
        put("vision.ln_pre", self.x[0])

    def vision(self, n, weights, put):
        self.layer(self.model.vision, n, self.vision_layer, VISION_WEIGHTS, weights, put,
                   modeling_pixtral, self.vision_tables, self.vision_mask)  # fmt: skip

    def adapter(self, n, weights, put):
        tensors = {
            f"linear_{i}.weight": weights(f"vision_language_adapter.{name}.weight", self.dtype)
            for i, name in ((1, "w_in"), (2, "w_out"))
        }
        given(self.projector, **tensors)
        self.put = put
        self.adapted = self.projector(self.x)
        put("adapter.w_out", self.adapted[0])

    def embeddings(self, n, weights, put):
        self.x = weights.rows("tok_embeddings.weight", self.tokens, self.dtype)[None]
        if self.images:
            marks = torch.tensor(self.tokens, device=self.device) == self.model.image_token
            self.x[:, marks] = self.adapted
        put("decoder.embeddings", self.x[0])

    def decoder(self, n, weights, put):
        self.layer(self.model.decoder, n, self.decoder_layer, DECODER_WEIGHTS, weights, put,
                   modeling_mistral, self.decoder_tables, self.decoder_mask)  # fmt: skip

    def head(self, n, weights, put):
        given(self.norm, weight=weights("norm.weight", self.dtype))
        given(self.output, weight=weights("output.weight", self.dtype))
        x = self.norm(self.x)
        put("decoder.norm", x[0])
        put("logits", self.output(x)[0])

    def layer(self, part, n, layer, names, weights, put, modeling, tables, mask):
        heads = {"attention.wq": part.heads, "attention.wk": part.kv_heads}
        tensors = {
            f"{module}.weight": weights(f"{part.tensors}{n}.{tensor}.weight", self.dtype, heads.get(tensor))
            for module, tensor in names.items()
        }
        given(layer, **tensors)
        self.put, self.prefix, self.head_dim = put, f"{part.taps}{n}.", part.head_dim
        rotate = modeling.apply_rotary_pos_emb

        def rotated(q, k, *rest, **options):
            q, k = rotate(q, k, *rest, **options)
            for name, x in (("q_rotated", q), ("k_rotated", k)):
                x = x[0].transpose(0, 1).reshape(x.shape[2], -1)  # [1, heads, rows, head_dim]
                put(f"{self.prefix}attention.{name}", adjacent_pairs(x, part.head_dim))
            return q, k

        with mock.patch.object(modeling, "apply_rotary_pos_emb", rotated):
            self.x = layer(self.x, attention_mask=mask, position_embeddings=tables)
        put(self.prefix + "output", self.x[0])


def given(module, **tensors):
    """Puts tensors, which are not copied, in the place of a module's parameters."""
    module.load_state_dict(tensors, assign=True)
