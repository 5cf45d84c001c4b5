"""llama.cpp as a runtime for the conformance kit, by its public API and the callback cb_eval.

    pixtral-ref conformance run --runtime 'PYTHON session.py CHECKPOINT [--kv f32|f16] [--flash] [--no-jinja] …'

PYTHON is the environment's that install.py has made. CHECKPOINT, in Mistral's layout, gives the tokenizer and the
rule for images until the kit loads one. A checkpoint in Mistral's layout becomes two GGUF files by
llama.cpp's converter, F32; nothing is changed on the way. Tokens are those of llama-server: its template, by Jinja
unless --no-jinja is given, then mtmd_tokenize. An image is embeddings there, without ids; they are told as [IMG] and
[IMG_BREAK], of which they are made.
"""

import argparse
import base64
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from llama import Driver, convert
from safetensors.numpy import load_file, save_file

sys.path.append(str(Path(__file__).resolve().parent.parent))
from answering import serve  # noqa: E402

sys.path.pop()  # the folders there are no packages

STEPS = (
    "rms_norm",
    "rotary",
    "rotary_2d",
    "attention",
    "silu_product",
    "gelu",
    "patch_conv",
    "adapter",
    "head",
)
IMAGES = ["image.png", "image.jpeg", "image.alpha", "multi-image", "resize.opencv-cubic"]

parser = argparse.ArgumentParser(description="llama.cpp as a runtime for pixtral-ref conformance run")
parser.add_argument("checkpoint", type=Path, help="a checkpoint in Mistral's layout")
parser.add_argument(
    "--kv", choices=("f32", "f16"), default="f32", help="the KV cache; llama.cpp's default is f16"
)
parser.add_argument(
    "--flash", action="store_true", help="flash attention where llama.cpp would use it, its default"
)
parser.add_argument(
    "--no-jinja", action="store_true", help="the templates written in C++, as llama-server's --no-jinja"
)
parser.add_argument("--arithmetic", default="float32", help="what is declared")
parser.add_argument("--features", default="tokens,tokens.openai,grid,rgb,pixels,trace,answer,step")
options = parser.parse_args()
options.checkpoint = options.checkpoint.resolve()
driver, scratch, loaded = Driver(), tempfile.TemporaryDirectory(), None


def load_gguf(checkpoint):
    """Converts and loads a checkpoint once, whatever is asked in between."""
    global loaded
    if loaded != checkpoint:
        text, vision = convert(checkpoint, scratch.name)
        driver.ask("load", text=str(text), mmproj=str(vision), kv=options.kv, flash=options.flash)
        loaded = checkpoint


def load_any():
    """For questions that need no weights."""
    if loaded is None:
        load_gguf(options.checkpoint)


def file(name):
    return str(Path(scratch.name) / name)


def hello(question):
    os.chdir(question["folder"])  # files are named from there
    return {
        "name": "llama.cpp",
        "version": "0c1e570 (llama-cpp-python 0.3.36)",
        "arithmetic": options.arithmetic,
        "features": [*options.features.split(","), "layout.mistral", *IMAGES],
        "rotary": "adjacent",
    }


def render(question):
    load_any()
    request = question["request"]
    images, messages = [], json.loads(json.dumps(request["messages"]))
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "image_url":  # as llama-server does it: a marker in the text, and a file
                url = part.pop("image_url")
                url = url["url"] if isinstance(url, dict) else url
                if not url.startswith("data:image/") or ";base64," not in url:
                    return {"unsupported": "an image that is no data: URL"}
                images.append(file(f"request{len(images)}"))
                Path(images[-1]).write_bytes(base64.b64decode(url.split(",", 1)[1], validate=True))
                part.update(type="media_marker", text="<__media__>")
            elif part.get("type") != "text":
                raise ValueError("unsupported content[].type")
    tools = request.get("tools")
    if question.get("form") != "openai":  # Mistral's form may leave out what OpenAI's has to say
        tools = tools and [{"type": "function"} | tool for tool in tools]
    return {
        "tokens": driver.ask(
            "render", messages=messages, tools=tools, images=images, jinja=not options.no_jinja
        )["tokens"]
    }


def encode(question):
    load_any()
    return {"tokens": driver.ask("encode", text=question["text"])["tokens"]}


def decode(question):
    load_any()
    return {"text": driver.ask("decode", tokens=question["tokens"])["text"]}


def grid(question):
    load_any()
    size = {"width": question["width"], "height": question["height"]}
    return driver.ask("pixels", **size, rgb=None, out=None)


def rgb(question):
    load_any()
    size = driver.ask("rgb", file=str(Path(question["file"]).resolve()), out=file("rgb"))
    pixels = np.fromfile(file("rgb"), "u1").reshape(size["height"], size["width"], 3)
    save_file({"rgb": pixels}, "rgb.safetensors")
    return {"tensors": "rgb.safetensors"}


def pixels(question):
    load_any()
    given = load_file(question["tensors"])["rgb"]
    given.tofile(file("rgb"))
    size = {"width": given.shape[1], "height": given.shape[0]}
    made = driver.ask("pixels", **size, rgb=file("rgb"), out=file("pixels"))
    values = np.fromfile(file("pixels"), "<f4").reshape(16 * made["rows"], 16 * made["columns"], 3)
    save_file({"pixels": values.transpose(2, 0, 1).copy()}, "pixels.safetensors")
    return {"tensors": "pixels.safetensors"}


def load(question):
    load_gguf(question["checkpoint"])
    return {}


def run(question, answer=None):
    tensors = load_file(question["tensors"]) if question["tensors"] else {}
    images = [tensors[f"image{n}"] for n in range(len(tensors))]
    return driver.run(question["tokens"], images, file("taps"), answer)


def trace(question):
    found = run(question)
    save_file({tap: found[tap] for tap in question["taps"] if tap in found}, "taps.safetensors")
    return {"tensors": "taps.safetensors"}


def answer(question):
    said = np.array([run(question, question["answer"])], "f8")
    save_file({"logprobs": said}, "answer.safetensors")
    return {"tensors": "answer.safetensors"}


def step(question):
    tensors = load_file(question["tensors"])
    np.concatenate([x.astype("<f4").ravel() for x in tensors.values()]).tofile(file("step"))
    given = [{"name": name, "shape": x.shape} for name, x in tensors.items()]
    named = {"stage": question["stage"], "parameters": question["parameters"]}
    if question["stage"] not in STEPS:
        return {"unsupported": "llama.cpp runs this step in a whole graph only"}
    if question["stage"] == "rotary_2d" and question["parameters"]["head_dim"] % 4:
        return {"unsupported": "ggml's rotation asserts an even number of columns, a half of a head here"}
    driver.ask("step", **named, tensors=given, file=file("step"), out=file("output"))
    values = np.fromfile(file("output"), "<f4")
    patches = "patch_conv.weight" in tensors
    width = (
        len(tensors["patch_conv.weight"])
        if patches
        else values.size // len(next(tensors[name] for name in ("x", "q", "gate") if name in tensors))
    )
    save_file({"output": values.reshape(-1, width)}, "output.safetensors")
    return {"tensors": "output.safetensors"}


OPERATIONS = {
    f.__name__: f for f in (hello, render, encode, decode, grid, rgb, pixels, load, trace, answer, step)
}
serve(OPERATIONS, sys.stdout)
