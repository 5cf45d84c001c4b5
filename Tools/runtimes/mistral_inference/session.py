"""mistral-inference as a runtime: Mistral's own model on the CPU, and the stages of its mistral-common.

    pixtral-ref conformance run --runtime 'python session.py TOKENIZER_MODEL [--arithmetic float32]'

Prepared here, so that it runs at all: xformers has no kernel for the CPU, so that its attention is replaced by
a plain softmax, which takes whatever mask it is handed, none included. Which mask that is, is mistral-inference's
own doing. The decoder runs with its BufferCache, as generate() does, and an answer is fed a token at a time.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

RUNTIMES = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(RUNTIMES / "mistral_common"))
sys.path.append(str(RUNTIMES))
import mistral_inference
import mistral_inference.transformer_layers as layers
import stages
import steps
import torch_session
from mistral_inference.cache import BufferCache
from mistral_inference.transformer import Transformer

TAPS = {
    "vision_encoder.ln_pre": ("vision.patch_conv", "vision.ln_pre"),
    "vision_encoder.transformer.layers.*": "vision.layers.*",
    "vision_language_adapter.w_in": (None, "adapter.w_in"),
    "vision_language_adapter.w_out": ("adapter.gelu", "adapter.w_out"),
    "layers.0": ("decoder.embeddings", None),
    "layers.*": "decoder.layers.*",
    "norm": (None, "decoder.norm"),
    "output": (None, "logits"),
}
model = running = None  # the model, and the layer of it that runs


def attention(query, key, value, mask=None):
    """What xformers computes: query [1, n, heads, d], key and value [1, m, heads, d], already repeated."""
    if prefix := torch_session.prefixes.get(running):
        torch_session.keep(f"{prefix}.attention.q_rotated", query)
        torch_session.keep(f"{prefix}.attention.k_rotated", key[:, :, :: running.attention.repeats])
    if mask is not None:
        mask = mask.materialize((1, 1, query.shape[1], key.shape[1]), dtype=torch.float32)
        seen = (mask > -torch.inf).any(2).flatten()  # the rest of a cache is memory that nobody has written
        key, value, mask = key[:, seen], value[:, seen], mask[..., seen]
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key).float() * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1).to(value.dtype), value).contiguous()


layers.memory_efficient_attention = attention


def load(folder, dtype):
    global model
    model = Transformer.from_folder(folder, device="cpu", dtype=dtype)
    for module in model.modules():
        if isinstance(module, layers.TransformerBlock):
            module.register_forward_pre_hook(now_running)
    return model


def now_running(layer, _):
    global running
    running = layer


def new_cache(size):
    args = model.args
    cache = BufferCache(model.n_local_layers, 1, size, args.n_kv_heads, args.head_dim, None)
    return cache.to(device="cpu", dtype=model.dtype)


def run(model, tokens, images):
    tokens = tokens.reshape(-1)
    model(tokens, [len(tokens)], new_cache(len(tokens)), images)


def answer(question):
    """The log-probability of each token of an answer, which goes through the cache as it does in generate()."""
    tensors = load_file(question["tensors"]) if question["tensors"] else {}
    images = [tensors[f"image{n}"].to(model.dtype) for n in range(len(tensors))]
    given, said = question["answer"], []
    cache = new_cache(len(question["tokens"]) + len(given))
    feed = torch.tensor(question["tokens"])
    with torch.inference_mode():
        for token in given:
            logits = model(feed, [len(feed)], cache, images)[-1]
            said.append(logits.double().log_softmax(-1)[token])
            feed, images = torch.tensor([token]), []
    save_file({"logprobs": torch.stack(said)[None]}, "answer.safetensors")
    return {"tensors": "answer.safetensors"}


def step(question):
    return steps.answer(question, dtype)


model_path, sys.argv[1:] = sys.argv[1], sys.argv[2:]
named = dict(zip(sys.argv, sys.argv[1:], strict=False)).get(
    "--arithmetic", "float32"
)  # torch_session reads it too
dtype = torch_session.DTYPES[named]
stages.start(model_path)
torch_session.serve(
    "mistral-inference",
    load,
    run,
    TAPS,
    layout="mistral",
    rotary="adjacent",
    features=[*stages.FEATURES, "step"],
    others={"answer": answer, "step": step} | stages.OPERATIONS,
    version=mistral_inference.__version__,
)
