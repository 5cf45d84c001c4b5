"""vLLM on the CPU as a runtime for the conformance kit. It takes requests, and is judged on the inputs that it
made of them itself.

    pixtral-ref conformance run --runtime 'python session.py FOLDER --layout mistral|hf
        [--arithmetic float32|float16|bfloat16]'

FOLDER is a checkpoint in that layout, such as `pixtral-ref checkpoint write seeded:small` makes; the stages
before the models read its tokenizer and its settings, and no weights.

- tokens: what LLM.chat makes of messages, tools and continue_final_message, by the renderer that it goes
  through itself. A request that says more, or says it in words that only Mistral's form has, is unsupported.
- rgb, pixels, grid: the loader of images, and the image processor of the model.
- model: LLM.chat, one token; forward hooks on the modules are the taps. Fused projections are cut where vLLM
  cuts them, and q and k stay in vLLM's order. logits has all rows, by way of prompt_logprobs.
"""

import argparse
import gc
import os
import runpy
import sys
from pathlib import Path

shim = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "shim")
answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
os.dup2(2, 1)  # what vLLM prints, from C too, goes to standard error
os.environ.update(
    {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the model in this process, where hooks reach it
        "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",  # apply_model takes a function
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(
            [shim, *filter(None, [os.environ.get("PYTHONPATH")])]
        ),  # of subprocesses
    }
)
declared = runpy.run_path(os.path.join(shim, "sitecustomize.py"))  # kept alive
import numpy  # noqa: E402
import torch  # noqa: E402
import vllm  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.entrypoints.common.offline import OfflineInferenceMixin  # noqa: E402
from vllm.multimodal.media import ImageMediaIO  # noqa: E402
from vllm.renderers.registry import renderer_from_config  # noqa: E402

sys.path.append(str(Path(__file__).resolve().parent.parent))
from answering import Unsupported, serve  # noqa: E402

sys.path.pop()  # the folders there are no packages

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder")
parser.add_argument("--layout", choices=("mistral", "hf"), default="mistral")
parser.add_argument("--arithmetic", choices=("float32", "float16", "bfloat16"), default="float32")
FEATURES = ("tokens", "tokens.openai", "grid", "rgb", "pixels", "trace.request")
parser.add_argument("--features", nargs="+", choices=FEATURES, default=FEATURES, metavar="FEATURE",
                    help="answer these only: " + ", ".join(FEATURES))  # fmt: skip
options = parser.parse_args()
folder = os.path.abspath(options.folder)  # before the kit's folder becomes the current one
ENGINE = {
    "dtype": options.arithmetic,
    "enforce_eager": True,  # compiled layers run no hooks
    "max_model_len": 4096,
    "max_num_batched_tokens": 8192,  # a prompt in one go: a tap is one matrix
    "limit_mm_per_prompt": {"image": 8},
    "max_logprobs": -1,
    "enable_prefix_caching": False,  # else a second trace would lack the rows of the first
    "mm_processor_cache_gb": 0,
} | (
    dict.fromkeys(("tokenizer_mode", "config_format", "load_format"), "mistral")
    if options.layout == "mistral"
    else {}
)
kept = {}


# From requests to what the engine takes


class Inputs(OfflineInferenceMixin):
    """LLM.chat up to the engine, without an engine."""

    def __init__(self, folder):
        config = EngineArgs(model=folder, **ENGINE).create_engine_config()
        self.renderer = renderer_from_config(config)
        self.model_config, self.chat_template = config.model_config, None


class LLM(vllm.LLM):
    """LLM that keeps what it last gave the engine."""

    def _preprocess_chat_one(self, *given, **named):
        self.given = super()._preprocess_chat_one(*given, **named)
        return self.given


OPENAI = {"messages", "tools", "continue_final_message"}  # what LLM.chat takes


def mistral_only(message):
    """What a message says that OpenAI's form has no words for, or None."""
    if isinstance(message, dict):
        if "prefix" in message:
            return "prefix"
        for chunk in message["content"] if isinstance(message.get("content"), list) else []:
            if isinstance(chunk, dict) and chunk.get("type") == "image":
                return "chunk of the type image"
            if isinstance(chunk, dict) and isinstance(chunk.get("image_url"), str):
                return "image_url that is a text"
    return None


def chat_arguments(request):
    """(messages, what goes beside them) for LLM.chat. add_generation_prompt is set as its callers have to
    set it: not where the last message is to be continued.
    """
    if more := sorted(key for key in request if key not in OPENAI and request[key] is not None):
        raise Unsupported(f"LLM.chat takes no {more[0]}")
    for message in request["messages"] if isinstance(request["messages"], list) else []:
        if why := mistral_only(message):
            raise Unsupported(f"OpenAI's form has no {why}")
    going_on = bool(request.get("continue_final_message"))
    beside = {"continue_final_message": going_on, "add_generation_prompt": not going_on}
    if request.get("tools"):
        beside["tools"] = request["tools"]
    return request["messages"], beside


def images_of(prompt):
    """The pixels that the model will be given, [3, height, width] each, in the order of the prompt."""
    items = (prompt.get("mm_kwargs") or {}).get("image", [])
    names = ("images", "pixel_values")
    return [next(item[name].data for name in names if name in item).float().contiguous() for item in items]


def hello(question):
    os.chdir(question["folder"])  # files are named from there
    features = [*options.features, f"layout.{options.layout}"]
    features += ["image.png", "image.jpeg", "image.alpha", "multi-image"]
    features += ["resize.opencv-cubic"] if options.layout == "mistral" else ["image.huggingface"]
    return {"name": "vLLM", "version": vllm.__version__,
            "arithmetic": options.arithmetic, "features": features, "rotary": "half-split"}  # fmt: skip


def render(question):
    messages, beside = chat_arguments(question["request"])
    return {"tokens": list(inputs._preprocess_chat_one(messages, **beside)["prompt_token_ids"])}


def encode(question):
    return {"tokens": inputs.renderer.get_tokenizer().encode(question["text"], add_special_tokens=False)}


def decode(question):
    return {"text": inputs.renderer.get_tokenizer().decode(question["tokens"], skip_special_tokens=True)}


def grid(question):
    width, height = question["width"], question["height"]
    info = inputs.renderer.get_mm_processor().info
    if options.layout == "mistral":
        _, rows, columns = info.get_image_processor().get_number_of_image_patches(height, width)
    else:
        columns, rows = info.get_vision_encoder_info().get_patch_grid_size(
            image_width=width, image_height=height
        )
    return {"columns": columns, "rows": rows}


def rgb(question):
    image = ImageMediaIO().load_bytes(open(question["file"], "rb").read()).media
    save_file({"rgb": torch.from_numpy(numpy.array(image))}, "rgb.safetensors")
    return {"tensors": "rgb.safetensors"}


def pixels(question):
    image = Image.fromarray(load_file(question["tensors"])["rgb"].numpy())
    processor = inputs.renderer.get_mm_processor().info.get_hf_processor().image_processor
    made = processor(images=image, return_tensors="pt")
    x = torch.as_tensor(made["images" if options.layout == "mistral" else "pixel_values"][0]).float()
    save_file({"pixels": x.contiguous()}, "pixels.safetensors")
    return {"tensors": "pixels.safetensors"}


# Taps


def keep(tap, x):
    """A copy, of the first that comes: what follows is the token that is generated."""
    if tap not in kept:
        x = x[0] if isinstance(x, tuple) else x
        kept[tap] = x.detach().clone().contiguous()


def rows(x):
    """[patches, columns] of [1, patches, columns] or [1, patches, heads, head_dim]."""
    return x.reshape(-1, x.shape[-2] * x.shape[-1]) if x.dim() == 4 else x.reshape(-1, x.shape[-1])


def after(module, *taps):
    """The output of a module; where it is fused, cut into as many equal parts as there are names."""

    def hook(_, inputs, output):
        output = output[0] if isinstance(output, tuple) else output
        for tap, part in zip(taps, output.chunk(len(taps), -1), strict=True):
            keep(tap, rows(part))

    module.register_forward_hook(hook)


def before(module, *taps):
    """The inputs of a module, in their order."""

    def hook(_, inputs, named):
        for tap, x in zip(taps, (*inputs, *named.values()), strict=False):
            keep(tap, rows(x))

    module.register_forward_pre_hook(hook, with_kwargs=True)


def hook_both(prefix, attention, feed_forward):
    """What layers of both parts have, but for q, k, v as they are projected."""
    before(attention.attn, f"{prefix}.attention.q_rotated", f"{prefix}.attention.k_rotated")
    before(attention.o_proj, f"{prefix}.attention.context")
    after(attention.o_proj, f"{prefix}.attention.output")
    after(feed_forward.gate_up_proj, f"{prefix}.feed_forward.gate", f"{prefix}.feed_forward.up")
    before(feed_forward.down_proj, f"{prefix}.feed_forward.hidden")
    after(feed_forward.down_proj, f"{prefix}.feed_forward.output")


def hook_vision(tower, adapter):
    """A layer's own call is a wrapper that runs no hooks: its output is what the next module is given."""
    before(tower.ln_pre, "vision.patch_conv")
    after(tower.ln_pre, "vision.ln_pre")
    for n, layer in enumerate(tower.transformer.layers):
        prefix = f"vision.layers.{n}"
        if n:
            before(layer.attention_norm, f"vision.layers.{n - 1}.output")
        after(layer.attention_norm, f"{prefix}.attention_norm")
        after(layer.attention.qkv_proj, *(f"{prefix}.attention.{name}" for name in "qkv"))
        hook_both(prefix, layer.attention, layer.feed_forward)
        before(layer.ffn_norm, f"{prefix}.residual")
        after(layer.ffn_norm, f"{prefix}.ffn_norm")
    first, second = (getattr(adapter, name, None) for name in ("w_in", "w_out"))
    first, second = first or adapter.linear_1, second or adapter.linear_2
    before(first, f"{prefix}.output")
    after(first, "adapter.w_in")
    before(second, "adapter.gelu")
    after(second, "adapter.w_out")


def hook_decoder(model):
    """Norms are given what comes in and the residual, add them, and return the norm and the sum."""

    def normed(module, tap, sum_tap):
        def hook(_, inputs, output):
            keep(tap, output)
            keep(sum_tap, output[1] if isinstance(output, tuple) else inputs[0])

        module.register_forward_hook(hook)

    stream = "decoder.embeddings"
    for n, layer in enumerate(model.model.layers):
        prefix = f"decoder.layers.{n}"
        normed(layer.input_layernorm, f"{prefix}.attention_norm", stream)
        attention = layer.self_attn

        def qkv(_, inputs, output, prefix=prefix, attention=attention):
            sizes = attention.q_size, attention.kv_size, attention.kv_size
            for name, x in zip("qkv", output[0].split(sizes, -1), strict=True):
                keep(f"{prefix}.attention.{name}", x)

        attention.qkv_proj.register_forward_hook(qkv)
        hook_both(prefix, attention, layer.mlp)
        normed(layer.post_attention_layernorm, f"{prefix}.ffn_norm", f"{prefix}.residual")
        stream = f"{prefix}.output"
    normed(model.model.norm, "decoder.norm", stream)

    def logits(_, inputs, output):  # of the last position, and then of all but the last
        keep("last" if len(output) == 1 and "last" not in kept else "others", output)

    model.logits_processor.register_forward_hook(logits)


def install(model):
    if hasattr(model, "vision_encoder"):
        hook_vision(model.vision_encoder, model.vision_language_adapter)
    else:
        hook_vision(model.vision_tower, model.multi_modal_projector)
    hook_decoder(model.language_model)


# The models


def load(question):
    global llm
    if llm is not None:
        llm = None
        gc.collect()
    llm = LLM(model=question["checkpoint"], **ENGINE)
    llm.apply_model(install)
    return {}


def trace(question):
    messages, beside = chat_arguments(question["request"])
    kept.clear()
    sampling = vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
    try:
        (made,) = llm.chat(messages, sampling, use_tqdm=False, **beside)
    except RuntimeError as error:
        if "Unsupported CPU attention configuration" in str(error):  # seeded:tiny's heads of 20
            raise Unsupported(str(error).splitlines()[0]) from error
        raise
    taps = {tap: kept[tap] for tap in question["taps"] if tap in kept}
    if "logits" in question["taps"]:
        taps["logits"] = torch.cat([kept["others"], kept["last"]])
    save_file(taps | {f"image{n}": x for n, x in enumerate(images_of(llm.given))}, "taps.safetensors")
    return {"tokens": list(made.prompt_token_ids), "tensors": "taps.safetensors"}


llm, inputs = None, Inputs(folder)
OPERATIONS = {f.__name__: f for f in (hello, render, encode, decode, grid, rgb, pixels, load, trace)}
serve(OPERATIONS, answers)
