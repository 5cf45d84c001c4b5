"""mlx-vlm on the CPU as a runtime: its model, and its own processor for tokens and images.

    pixtral-ref conformance run --runtime 'python session.py FOLDER [--arithmetic float32]'

FOLDER is a checkpoint in Hugging Face's layout, for its tokenizer and chat template. Requests go the way that
mlx-vlm's server sends them: apply_chat_template, then prepare_inputs.

Prepared here, so that it runs at all: in a copy of the checkpoint, `model_type` at the top of config.json is
"pixtral" (it is "llava", which mlx-vlm takes for another model), and the projector has biases of zero, which
mlx-vlm wants although config.json says that there are none.
"""

import argparse
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy
import steps
from mlx import nn
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.models.pixtral import image_processing_pixtral as processing
from mlx_vlm.models.pixtral import language, vision
from mlx_vlm.models.pixtral.processing_pixtral import PixtralProcessor
from mlx_vlm.prompt_utils import apply_chat_template
from mlx_vlm.utils import load_image, load_model, prepare_inputs
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parent.parent))
from answering import serve  # noqa: E402

sys.path.pop()  # the folders there are no packages

LAYER = {  # a module below a layer: the taps that go in and come out
    ("attention_norm", "input_layernorm"): (None, "attention_norm"),
    ("attention.q_proj", "self_attn.q_proj"): (None, "attention.q"),
    ("attention.k_proj", "self_attn.k_proj"): (None, "attention.k"),
    ("attention.v_proj", "self_attn.v_proj"): (None, "attention.v"),
    ("attention.o_proj", "self_attn.o_proj"): ("attention.context", "attention.output"),
    ("ffn_norm", "post_attention_layernorm"): ("residual", "ffn_norm"),
    ("feed_forward.gate_proj", "mlp.gate_proj"): (None, "feed_forward.gate"),
    ("feed_forward.up_proj", "mlp.up_proj"): (None, "feed_forward.up"),
    ("feed_forward.down_proj", "mlp.down_proj"): ("feed_forward.hidden", "feed_forward.output"),
    ("",): (None, "output"),
}
TAPS = {
    "vision_tower.vision_model.ln_pre": ("vision.patch_conv", "vision.ln_pre"),
    "multi_modal_projector.linear_1": (None, "adapter.w_in"),
    "multi_modal_projector.linear_2": ("adapter.gelu", "adapter.w_out"),
    "language_model.model.norm": (None, "decoder.norm"),
    "language_model.lm_head": (None, "logits"),
}
LAYERS = {"vision_tower.vision_model.transformer.layers.": "vision.layers.",
          "language_model.model.layers.": "decoder.layers."}  # fmt: skip

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder")
parser.add_argument("--arithmetic", choices=["float32", "float16", "bfloat16"], default="float32")
parser.add_argument("--features", nargs="*", default=["tokens", "grid", "pixels", "trace", "answer", "step"])
options = parser.parse_args()
mx.set_default_device(mx.cpu)
processor = PixtralProcessor.from_pretrained(options.folder)
model, kept, watched, running = None, {}, {}, None  # watched: id of a module → its taps, and a layer's prefix


# Taps


def keep(tap, x):
    if tap:
        kept[tap] = x.reshape(-1, x.shape[-1])


def watch(kind):
    """A class of modules tells of those of its instances that are watched."""
    original = kind.__call__

    def call(self, *inputs, **named):
        global running
        before, after, prefix = watched.get(id(self), (None, None, None))
        running = prefix or running
        keep(before, inputs[0]) if before else None
        output = original(self, *inputs, **named)
        keep(after, output) if after else None
        return output

    kind.__call__ = call


for kind in (nn.Linear, nn.RMSNorm, vision.EncoderLayer, language.TransformerBlock):
    watch(kind)
attention = mx.fast.scaled_dot_product_attention


def seen_attention(query, key, value, **rest):
    """[1, heads, rows, head_dim], rotated."""
    for name, x in (("q", query), ("k", key)) if running else ():
        keep(f"{running}.attention.{name}_rotated", x[0].transpose(1, 0, 2).reshape(x.shape[2], -1))
    return attention(query, key, value, **rest)


mx.fast.scaled_dot_product_attention = seen_attention


def watch_model():
    watched.clear()
    for name, module in model.named_modules():
        if name in TAPS:
            watched[id(module)] = (*TAPS[name], None)
        for start, prefix in LAYERS.items():
            if name.startswith(start):
                number, _, rest = name.removeprefix(start).partition(".")
                for names, taps in LAYER.items():
                    if rest in names:
                        place = f"{prefix}{number}"
                        watched[id(module)] = (
                            *(tap and f"{place}.{tap}" for tap in taps),
                            None if rest else place,
                        )
    first = model.language_model.model.layers[0]
    watched[id(first)] = ("decoder.embeddings", *watched[id(first)][1:])


# The session


def hello(question):
    os.chdir(question["folder"])  # files are named from there
    features = [
        *options.features,
        "layout.hf",
        "multi-image",
        "image.png",
        "image.jpeg",
        "image.alpha",
        "pixels.sizes",
    ]
    if (
        "pixels" in features
    ):  # its image processor has transformers' rule; load_image, for RGB, has none of its own
        features.append("image.huggingface")
    return {"name": "mlx-vlm", "version": version("mlx-vlm"), "arithmetic": options.arithmetic,
            "features": features, "rotary": "half-split"}  # fmt: skip


def load(question):
    global model
    given, prepared = Path(question["checkpoint"]).resolve(), Path("mlx-" + Path(question["checkpoint"]).name)
    prepared.mkdir(exist_ok=True)
    for file in given.iterdir():
        if (
            not (prepared / file.name).exists()
            and file.suffix != ".safetensors"
            and file.name != "config.json"
        ):
            (prepared / file.name).symlink_to(file)
    config = json.loads((given / "config.json").read_text())
    (prepared / "config.json").write_text(json.dumps(config | {"model_type": "pixtral"}))
    tensors = mx.load(str(given / "model.safetensors"))
    width = config["text_config"]["hidden_size"]
    for layer in (1, 2):
        tensors[f"multi_modal_projector.linear_{layer}.bias"] = mx.zeros(width, dtype=mx.bfloat16)
    mx.save_safetensors(str(prepared / "model.safetensors"), tensors, metadata={"format": "pt"})
    model = load_model(prepared)
    model.set_dtype(getattr(mx, options.arithmetic))
    watch_model()
    return {}


def batch(file):
    """Pixels as its image processor gives them: [n, 3, height, width], smaller ones ending in zeros."""
    if not file:
        return None, None
    tensors = mx.load(file)
    images = [tensors[f"image{n}"] for n in range(len(tensors))]
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    pads = [[(0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])] for image in images]
    pixels = mx.stack([mx.pad(image, pad) for image, pad in zip(images, pads, strict=True)])
    return pixels.astype(getattr(mx, options.arithmetic)), [image.shape[1:] for image in images]


def trace(question):
    kept.clear()
    pixels, sizes = batch(question["tensors"])
    model(mx.array([question["tokens"]]), pixels, None, image_sizes=sizes)
    save({tap: kept[tap] for tap in question["taps"] if tap in kept}, "taps.safetensors")
    return {"tensors": "taps.safetensors"}


def answer(question):
    """The prompt in one go, then a token at a time through its cache, as generate does."""
    pixels, sizes = batch(question["tensors"])
    cache, said = make_prompt_cache(model.language_model), []
    output = model(mx.array([question["tokens"]]), pixels, None, cache=cache, image_sizes=sizes)
    for token in question["answer"]:
        logits = numpy.array(output.logits[0, -1].astype(mx.float32)).astype(numpy.float64)
        said.append(logits[token] - numpy.logaddexp.reduce(logits))
        output = model.language_model(mx.array([[token]]), cache=cache)
    save({"logprobs": mx.array(numpy.array([said], dtype=numpy.float32))}, "answer.safetensors")
    return {"tensors": "answer.safetensors"}


def step(question):
    return steps.answer(question, getattr(mx, options.arithmetic), save)


def save(tensors, file):
    # Without metadata MLX writes "__metadata__": null.
    mx.save_safetensors(
        file, {name: mx.contiguous(x) for name, x in tensors.items()}, metadata={"format": "mlx"}
    )


# Text and images


def render(question):
    request = question["request"]
    images = [address(chunk) for message in request["messages"] for chunk in images_of(message)]
    prompt = apply_chat_template(
        processor,
        {"model_type": "pixtral"},
        request["messages"],
        num_images=len(images),
        tools=request.get("tools") or None,
    )
    inputs = prepare_inputs(
        processor, images=images or None, prompts=prompt, image_token_index=10, add_special_tokens=True
    )
    return {"tokens": inputs["input_ids"].reshape(-1).tolist()}


def images_of(message):
    content = message.get("content")
    return (
        [chunk for chunk in content if chunk["type"] in ("image", "image_url")]
        if isinstance(content, list)
        else []
    )


def address(chunk):
    source = chunk[chunk["type"]]
    source = source["url"] if isinstance(source, dict) else source
    return source if ":" in source[:10] else f"data:image/png;base64,{source}"


def encode(question):
    return {"tokens": processor.tokenizer(question["text"], add_special_tokens=False).input_ids}


def decode(question):
    return {"text": processor.tokenizer.decode(question["tokens"], skip_special_tokens=True)}


def grid(question):
    height, width = processing.get_resize_output_image_size((question["height"], question["width"]), 1024, 16)
    if not height * width:  # the function gives a size all the same: what the processor says counts
        processor.image_processor(Image.new("RGB", (question["width"], question["height"])))
    return {"columns": width // 16, "rows": height // 16}


def rgb(question):
    save({"rgb": mx.array(numpy.array(load_image(question["file"])))}, "rgb.safetensors")
    return {"tensors": "rgb.safetensors"}


def pixels(question):
    image = Image.fromarray(numpy.array(mx.load(question["tensors"])["rgb"]))
    found = processor.image_processor(image, size=question["image_size"], patch_size=question["patch_size"])
    save({"pixels": mx.array(numpy.asarray(found["pixel_values"][0]))}, "pixels.safetensors")
    return {"tensors": "pixels.safetensors"}


operations = {
    f.__name__: f for f in (hello, load, trace, answer, step, render, encode, decode, grid, rgb, pixels)
}
answers, sys.stdout = sys.stdout, sys.stderr
serve(operations, answers)
