"""Makes a runtime for the conformance kit of a PyTorch model. Copy this file beside your own lines:

    import torch_session

    TAPS = {  # a module's name: the taps that go into it and come out of it; a whole layer: its prefix
        "vision.ln_pre": ("vision.patch_conv", "vision.ln_pre"),
        "layers.*": "decoder.layers.*",
        "head": (None, "logits"),
    }

    def load(folder, dtype):  # a model from the checkpoint that the kit has written
        return MyPixtral.load(folder).to(dtype)

    def run(model, tokens, images):  # tokens [1, n]; of each image pixels [3, height, width], normalised
        model(tokens, images)

    torch_session.serve("mine", load, run, TAPS, layout="mistral", rotary="adjacent")

    pixtral-ref conformance run --stage model --runtime 'python mine.py --arithmetic bfloat16'

transformers_session.py is such a file. A `*` is a number, the same in the module and in the tap. Below a
layer LAYER finds the taps, by the names that transformers and Mistral's own code give its modules; a
module that a model lacks gives no tap, and a tap that is lacking is not judged.

- `layout` is what `load` reads, "hf" or "mistral" (Docs/Checkpoints.md).
- `rotary` says which columns of q and k turn together: 2i and 2i + 1 of a head ("adjacent", Mistral's
  weights) or i and i + head_dim / 2 ("half-split", transformers'). Nothing has to be put back: the kit
  finds the order from the values (Docs/Trace.md).
- Rotated q and k go into no module. If a function computes attention, give it to `rotated`.
- The stage `answer` is asked too, prompt and answer in one go. If your model has a cache, give a function of
  your own that feeds a token at a time: `others={"answer": …}`.
- The other stages are functions from a question to an answer (Docs/Conformance.md), such as
  `others={"render": render}` with `features=["tokens"]`.
"""

import argparse
import json
import os
import re
import sys
import traceback

import torch
from safetensors.torch import load_file, save_file

LAYER = {  # names of a module below a layer: the taps that go in and come out
    ("attention_norm", "input_layernorm"): (None, "attention_norm"),
    ("attention.q_proj", "self_attn.q_proj", "attention.wq"): (None, "attention.q"),
    ("attention.k_proj", "self_attn.k_proj", "attention.wk"): (None, "attention.k"),
    ("attention.v_proj", "self_attn.v_proj", "attention.wv"): (None, "attention.v"),
    ("attention.o_proj", "self_attn.o_proj", "attention.wo"): ("attention.context", "attention.output"),
    ("ffn_norm", "post_attention_layernorm"): ("residual", "ffn_norm"),
    ("feed_forward.gate_proj", "mlp.gate_proj", "feed_forward.w1"): (None, "feed_forward.gate"),
    ("feed_forward.up_proj", "mlp.up_proj", "feed_forward.w3"): (None, "feed_forward.up"),
    ("feed_forward.down_proj", "mlp.down_proj", "feed_forward.w2"): ("feed_forward.hidden",
                                                                     "feed_forward.output"),
}  # fmt: skip
DTYPES = {name: getattr(torch, name) for name in ("float64", "float32", "float16", "bfloat16")}
kept, prefixes = {}, {}  # tap: tensor; a module of a layer: the layer's prefix


# Taps


def keep(tap, x):
    """A copy: the model may go on to add to the tensor itself."""
    if tap:
        kept[tap] = (x[0] if isinstance(x, tuple) else x).detach().to("cpu", copy=True).contiguous()


def hook(module, taps):
    def after(_, inputs, named, output):
        keep(taps[0], inputs or next(iter(named.values())))
        keep(taps[1], output)

    module.register_forward_hook(after, with_kwargs=True)


def hook_layer(layer, prefix):
    hook(layer, (None, f"{prefix}.output"))
    for names, taps in LAYER.items():
        for name, module in layer.named_modules():
            prefixes[module] = prefix
            if name in names:
                hook(module, [tap and f"{prefix}.{tap}" for tap in taps])


def hook_all(model, table):
    for pattern, taps in table.items():
        found = 0
        for name, module in model.named_modules():
            if match := re.fullmatch(re.escape(pattern).replace(r"\*", r"(\d+)"), name):
                number, found = (match.groups() or ("",))[0], found + 1
                if isinstance(taps, str):
                    hook_layer(module, taps.replace("*", number))
                else:
                    hook(module, [tap and tap.replace("*", number) for tap in taps])
        if not found:
            raise ValueError(f"the model has no module {pattern}; named_modules() lists those that it has")


def rotated(attention):
    """An attention function (module, query, key, …) that first keeps q and k, which are rotated."""

    def function(module, query, key, *rest, **options):
        keep(f"{prefixes[module]}.attention.q_rotated", query)
        keep(f"{prefixes[module]}.attention.k_rotated", key)
        return attention(module, query, key, *rest, **options)

    return function


def batch(images):
    """Images as transformers takes them: `pixel_values` [n, 3, height, width], smaller ones ending in zeros,
    and `image_sizes` [n, 2]; nothing without images.
    """
    if not images:
        return {}
    sizes = torch.tensor([image.shape[1:] for image in images])
    pixels = images[0].new_zeros(len(images), 3, *sizes.max(dim=0).values)
    for image, padded in zip(images, pixels, strict=True):
        padded[:, : image.shape[1], : image.shape[2]] = image
    return {"pixel_values": pixels, "image_sizes": sizes}


# The session


def serve(name, load, run, taps, *, layout="hf", rotary="half-split", features=(), others=None, version=""):
    """Answers the kit's questions until there are no more. Standard output belongs to the answers: what
    the model prints goes to standard error.
    """
    parser = argparse.ArgumentParser(description=f"{name} as a runtime for pixtral-ref conformance run")
    parser.add_argument("--arithmetic", choices=DTYPES, default="float32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    dtype, answers, model = DTYPES[options.arithmetic], sys.stdout, None
    sys.stdout = sys.stderr

    def hello(question):
        os.chdir(question["folder"])  # files are named from there
        return {"name": name, "version": version or torch.__version__, "arithmetic": options.arithmetic,
                "features": ["trace", "answer", f"layout.{layout}", *features], "rotary": rotary}  # fmt: skip

    def load_checkpoint(question):
        nonlocal model
        prefixes.clear()
        model = load(question["checkpoint"], dtype).to(options.device).eval()
        hook_all(model, taps)
        return {}

    def forward(question, tokens):
        kept.clear()
        tensors = load_file(question["tensors"]) if question["tensors"] else {}
        images = [tensors[f"image{n}"].to(options.device, dtype) for n in range(len(tensors))]
        with torch.inference_mode():
            run(model, torch.tensor([tokens], device=options.device), images)

    def trace(question):
        forward(question, question["tokens"])
        save_file({tap: kept[tap] for tap in question["taps"] if tap in kept}, "taps.safetensors")
        return {"tensors": "taps.safetensors"}

    def answer(question):  # prompt and answer in one go; a cache would be asked by a function of your own
        given = question["answer"]
        forward(question, question["tokens"] + given[:-1])
        logits = kept["logits"].reshape(-1, kept["logits"].shape[-1])[-len(given) :]
        said = logits.double().log_softmax(-1)[range(len(given)), given]
        save_file({"logprobs": said[None].contiguous()}, "answer.safetensors")
        return {"tensors": "answer.safetensors"}

    operations = {"hello": hello, "load": load_checkpoint, "trace": trace, "answer": answer} | (others or {})
    for line in sys.stdin.buffer:
        question = json.loads(line)
        try:
            if question["op"] in operations:
                answer = operations[question["op"]](question)
            else:
                answer = {"unsupported": f"the operation {question['op']}"}
        except Exception as error:  # of any kind: whatever the model raises
            traceback.print_exc()
            message = str(error).encode(errors="replace").decode()  # half a surrogate pair is no JSON
            answer = {"reject": {"type": type(error).__name__, "message": message}}
        print(json.dumps({"id": question.get("id")} | answer), file=answers, flush=True)
