"""transformers as a runtime for the conformance kit, by torch_session.py.

    pixtral-ref conformance run --stage model \\
      --runtime 'python transformers_session.py --arithmetic float32|float16|bfloat16'

In float64 it fails, rightly: transformers' norms compute in float32 even then.
"""

import torch_session
from transformers import LlavaForConditionalGeneration, __version__
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

TAPS = {
    "model.vision_tower.ln_pre": ("vision.patch_conv", "vision.ln_pre"),
    "model.vision_tower.transformer.layers.*": "vision.layers.*",
    "model.multi_modal_projector.linear_1": (None, "adapter.w_in"),
    "model.multi_modal_projector.linear_2": ("adapter.gelu", "adapter.w_out"),
    "model.language_model.layers.0": ("decoder.embeddings", None),
    "model.language_model.layers.*": "decoder.layers.*",
    "model.language_model.norm": (None, "decoder.norm"),
    "lm_head": (None, "logits"),
}


for library in (modeling_pixtral, modeling_mistral):
    library.eager_attention_forward = torch_session.rotated(library.eager_attention_forward)


def load(folder, dtype):
    return LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="eager")


def run(model, tokens, images):
    model(input_ids=tokens, use_cache=False, **torch_session.batch(images))


if __name__ == "__main__":
    torch_session.serve("transformers", load, run, TAPS, version=__version__)
