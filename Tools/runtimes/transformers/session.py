"""transformers as a runtime: its model by ../torch_session.py, and its own preprocessing.

    pixtral-ref conformance run --runtime 'python session.py FOLDER [--attention eager] [--images pil]'

FOLDER is a checkpoint in Hugging Face's layout, for its tokenizer, processor and chat template. The model
is the one that the kit has loaded. Images are treated by transformers' own rule (image.huggingface).

Prepared here, so that it runs at all: PyPI's torchvision is built for CUDA's torch, and beside the CPU build
its import stops at two operators that nothing here calls; they are declared. Images of a request are opened
by transformers' load_image before the processor sees them, for its own way asks torchvision to decode them.
Releases whose processor takes a message's content as a list only get it so.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy
import torch

library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def beside(name):
    """A module of Tools/runtimes, by its file: with that folder on the path, transformers would take the folders
    in it for packages that are installed.
    """
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parent.parent / f"{name}.py")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


torch_session = beside("torch_session")
transformers_session = beside("transformers_session")  # makes eager attention keep q and k
import steps
import transformers
from PIL import Image
from safetensors.numpy import load_file, save_file
from transformers import AutoImageProcessor, AutoProcessor
from transformers.image_transforms import convert_to_rgb
from transformers.image_utils import load_image
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], add_help=False)
parser.add_argument("folder")
parser.add_argument("--attention", choices=["eager", "sdpa"], default="eager")
parser.add_argument("--images", choices=["pil", "torchvision"], default="pil")
parser.add_argument("--open", choices=["pillow", "load_image"], default="pillow")
parser.add_argument("--features", nargs="*", default=["tokens", "grid", "rgb", "pixels", "step"])
options, sys.argv[1:] = parser.parse_known_args()
named = dict(zip(sys.argv, sys.argv[1:], strict=False)).get(
    "--arithmetic", "float32"
)  # torch_session reads it too
dtype = torch_session.DTYPES[named]
ALL_ATTENTION_FUNCTIONS["sdpa"] = torch_session.rotated(ALL_ATTENTION_FUNCTIONS["sdpa"])

version = tuple(map(int, transformers.__version__.split(".")[:2]))
backend = {"backend": options.images} if version >= (5, 5) else {"use_fast": options.images == "torchvision"}
images = AutoImageProcessor.from_pretrained(options.folder, **backend)
processor = AutoProcessor.from_pretrained(options.folder)
processor.image_processor = images
tokenizer = processor.tokenizer
print(f"{type(processor).__name__}, {type(images).__name__}, {type(tokenizer).__name__}", file=sys.stderr)


# Text


def render(question):
    request = question["request"]
    messages = [with_images(message) for message in request["messages"]]
    template = processor.apply_chat_template
    if version < (5, 1):  # a processor takes lists of chunks only: texts go to the tokenizer, or become lists
        if any(isinstance(chunk, dict) and chunk["type"] == "image" for m in messages for chunk in chunks(m)):
            messages = [{**message, "content": chunks(message)} for message in messages]
        else:
            template = tokenizer.apply_chat_template
    answer = template(
        messages,
        tools=request.get("tools") or None,
        tokenize=True,
        return_dict=True,
        continue_final_message=bool(request.get("continue_final_message", False)),
    )
    return {"tokens": torch.as_tensor(answer["input_ids"]).reshape(-1).tolist()}


def chunks(message):
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def with_images(message):
    if not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [opened(chunk) for chunk in message["content"]]}


def opened(chunk):
    if chunk["type"] not in ("image", "image_url"):
        return chunk
    source = chunk[chunk["type"]]
    return {"type": "image", "image": load_image(source["url"] if isinstance(source, dict) else source)}


def encode(question):
    return {"tokens": tokenizer(question["text"], add_special_tokens=False).input_ids}


def decode(question):
    return {"text": tokenizer.decode(question["tokens"], skip_special_tokens=True)}


# Images


def grid(question):
    height, width = question["height"], question["width"]
    module = importlib.import_module(type(images).__module__)
    shape = numpy.broadcast_to(numpy.uint8(0), (3, height, width))  # of an image of which no sample is stored
    rows, columns = (n // 16 for n in module.get_resize_output_image_size(shape, 1024, 16))
    if not rows * columns:  # the function gives a size all the same: what the processor says counts
        images(images=Image.new("RGB", (width, height)), return_tensors="np")
    return {"columns": columns, "rows": rows}


def rgb(question):
    if options.open == "load_image":  # what a chat template does with an image's address
        image = load_image(question["file"])
    else:  # what the processor does with an image that Pillow has opened
        module = importlib.import_module(type(images).__module__)
        image = getattr(module, "convert_to_rgb", convert_to_rgb)(Image.open(question["file"]))
    save_file({"rgb": array(image)}, "rgb.safetensors")
    return {"tensors": "rgb.safetensors"}


def pixels(question):
    patch, longest = question["patch_size"], question["image_size"]
    found = images(
        images=Image.fromarray(load_file(question["tensors"])["rgb"]),
        size={"longest_edge": longest},
        patch_size={"height": patch, "width": patch},
        return_tensors="np" if options.images == "pil" else "pt",
    )
    save_file({"pixels": array(found["pixel_values"][0]).astype("float32")}, "pixels.safetensors")
    return {"tensors": "pixels.safetensors"}


def array(image):
    return numpy.ascontiguousarray(numpy.asarray(image))


def load(folder, dtype):
    return transformers.LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, attn_implementation=options.attention
    )


def step(question):
    return steps.answer(question, dtype, options.attention, torch_session.prefixes)


features = [*options.features, "multi-image"]
if {"grid", "rgb", "pixels"} & set(features):
    features += ["image.png", "image.jpeg", "image.alpha", "pixels.sizes"]
    features += ["image.huggingface"] if options.open == "pillow" else []  # load_image has no rule of its own
torch_session.serve(
    "transformers",
    load,
    transformers_session.run,
    transformers_session.TAPS,
    features=features,
    others={
        "render": render,
        "encode": encode,
        "decode": decode,
        "grid": grid,
        "rgb": rgb,
        "pixels": pixels,
        "step": step,
    },
    version=transformers.__version__,
)
