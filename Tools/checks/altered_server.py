"""A server of seeded:small with OpenAI's routes, by mistral-common and transformers, with one thing altered.

    python altered_server.py [ALTERATION] [--port 0] [--arithmetic float32] [--tells ids|counts] [--top 20]
    python altered_server.py --list

It knows nothing of the oracle that made Fixtures/endpoint. The first line on standard output is its address.
"""

import argparse
import base64
import io
import json
import math
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import PIL.Image
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("Tools/goldens", "Tools/runtimes", "Fixtures/oracle")]
import torch_session  # noqa: E402
import witness_transformers  # noqa: E402
from mistral_common.protocol.instruct.request import ChatCompletionRequest  # noqa: E402
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer  # noqa: E402
from transformers.models.pixtral import modeling_pixtral  # noqa: E402

TOKENIZER = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"


def parts_of(request):
    return [
        part for one in request["messages"] if isinstance(one["content"], list) for part in one["content"]
    ]


def images_of(request):
    return [part["image_url"] for part in parts_of(request) if part["type"] == "image_url"]


# Requests


def without_images(request):
    for one in request["messages"]:
        if isinstance(one["content"], list):
            one["content"] = [part for part in one["content"] if part["type"] == "text"] or "."


def other_order(request):
    images = images_of(request)
    for image, url in zip(images, [image["url"] for image in images][::-1], strict=True):
        image["url"] = url


# Images: a picture as the model gets it


def floored(picture):
    """The sides that a scaled image has if they are rounded down."""
    r = max(picture.size) / 1024
    return picture.resize([math.floor(side / r) for side in picture.size]) if r > 1 else picture


def by_transformers(picture):
    """As transformers' processor hands it to the model: laid on white, floored, and smoothed to whole patches."""
    white = PIL.Image.new("RGBA", picture.size, "white")
    picture = PIL.Image.alpha_composite(white, picture).convert("RGB")
    sides = floored(picture).size
    return picture.resize([math.ceil(side / 16) * 16 for side in sides], PIL.Image.Resampling.BICUBIC)


def even_patches(picture):
    return picture.resize([math.ceil(side / 32) * 32 for side in picture.size])


def mirrored(picture):
    return picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)


# Models


def vision_gelu(model):
    for layer in model.model.vision_tower.transformer.layers:
        layer.feed_forward.act_fn = torch.nn.GELU()


def same_frequencies(model):
    """Rows and columns are turned by the frequencies of rows."""
    rotary = model.model.vision_tower.patch_positional_embedding
    rotary.inv_freq = rotary.inv_freq[: len(rotary.inv_freq) // 2].repeat(2)


# Log-probabilities


def half_precision(values, kind):
    return torch.tensor(values, dtype=torch.float32).to(kind).float().tolist()


MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]

# What each alters: request, picture, pixels, tokens, model, log-probabilities [n, V], what is told of them.
ALTERATIONS = {
    "nothing": {},
    "images-dropped": {"request": without_images},
    "images-other-order": {"request": other_order},
    "images-mirrored": {"picture": mirrored},
    "images-black": {"pixels": lambda x: x * 0 - MEAN / STD},
    "bos-twice": {"tokens": lambda tokens: [1, *tokens]},
    "breaks-12-13": {"tokens": lambda tokens: [{14: 12, 15: 13}.get(token, token) for token in tokens]},
    "no-breaks": {"tokens": lambda tokens: [token for token in tokens if token not in (14, 15)]},
    "grid-floored": {"picture": floored},
    "grid-32": {"picture": even_patches},
    "by-transformers": {"picture": by_transformers},
    "not-normalised": {"pixels": lambda x: x * STD + MEAN},
    "alpha-dropped": {"alpha": True},
    "gelu-tanh": {"model": lambda model: setattr(model.model.multi_modal_projector, "act", torch.nn.GELU("tanh"))},
    "theta-1e4": {"theta": 1e4},
    "vision-gelu": {"model": vision_gelu},
    "same-frequencies": {"model": same_frequencies},
    "no-mask": {"mask": False},
    "scaled-0.9": {"told": lambda values: [0.9 * value for value in values]},
    "base-10": {"told": lambda values: [value / math.log(10) for value in values]},
    "rounded-bfloat16": {"told": lambda values: half_precision(values, torch.bfloat16)},
    "temperature-1.5": {"logits": lambda logits: logits / 1.5},
    "probabilities": {"told": lambda values: [math.exp(value) for value in values]},
    "image-ignored-after-first": {"first_image": True},
    "error-is-200": {"lenient": True},
    "a-digit-of-noise": {"told": lambda values: [value + 3e-4 * ((i * 7919) % 11 - 5) for i, value in enumerate(values)]},
}  # fmt: skip


class Model:
    def __init__(self, name, arithmetic):
        self.alter = ALTERATIONS[name]
        self.tokenizer = MistralTokenizer.from_file(str(TOKENIZER))
        params, tensors = witness_transformers.read_checkpoint("seeded:small")
        params = params | ({"rope_theta": self.alter["theta"]} if "theta" in self.alter else {})
        self.dtype = getattr(torch, arithmetic)
        self.model = witness_transformers.build(params, tensors, self.dtype)
        if "mask" in self.alter:
            plain = modeling_pixtral.generate_block_attention_mask
            modeling_pixtral.generate_block_attention_mask = lambda lengths, tensor: torch.zeros_like(
                plain(lengths, tensor)
            )
        self.alter.get("model", lambda _: None)(self.model)
        self.lock, self.images = threading.Lock(), {}

    def prompt(self, request):
        """Tokens and pixels."""
        if "request" in self.alter:
            self.alter["request"](request)
        for image in images_of(request):
            if "picture" in self.alter or "alpha" in self.alter:
                with PIL.Image.open(
                    io.BytesIO(base64.b64decode(image["url"].partition(",")[2], validate=True))
                ) as opened:
                    picture = (
                        opened.convert("RGB")
                        if "alpha" in self.alter
                        else self.alter["picture"](opened.convert("RGBA"))
                    )
                file = io.BytesIO()
                picture.save(file, "PNG")
                image["url"] = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        chat = {
            key: request[key] for key in ("messages", "tools", "continue_final_message") if key in request
        }
        encoded = self.tokenizer.encode_chat_completion(ChatCompletionRequest.from_openai(**chat))
        pixels = [torch.from_numpy(np.asarray(image)).float() for image in encoded.images]
        if "pixels" in self.alter:
            pixels = [self.alter["pixels"](x).contiguous() for x in pixels]
        if "first_image" in self.alter:  # of each size
            pixels = [self.images.setdefault(tuple(x.shape), x) for x in pixels]
        return self.alter.get("tokens", list)(encoded.tokens), pixels

    def answer(self, tokens, pixels, count):
        """Greedy tokens, and the log-probabilities before each, [count, V]."""
        images = torch_session.batch([x.to(self.dtype) for x in pixels])
        with self.lock, torch.inference_mode():
            out = self.model.generate(
                input_ids=torch.tensor([tokens]), do_sample=False, max_new_tokens=count, min_new_tokens=count,
                output_logits=True, return_dict_in_generate=True, eos_token_id=2, pad_token_id=0, **images,
            )  # fmt: skip
        rows = [self.alter.get("logits", lambda x: x)(row[0].float()).log_softmax(-1) for row in out.logits]
        return out.sequences[0, len(tokens) :].tolist(), rows

    def likely(self, id, value):
        return {
            "token": self.tokenizer.instruct_tokenizer.tokenizer.id_to_piece(id).replace("▁", " "),
            "logprob": value,
        }

    def complete(self, request, options):
        count, top = request.get("max_tokens", 16), request.get("top_logprobs", 0)
        assert isinstance(request["messages"], list) and request["messages"], "messages"
        assert request.get("temperature", 1) >= 0, "temperature"
        assert top <= options.top, "top_logprobs"
        tokens, pixels = self.prompt(request)
        given, rows = self.answer(tokens, pixels, count)
        told = self.alter.get("told", list)
        content = []
        for id, row in zip(given, rows, strict=True):
            best = row.topk(max(top, 1))
            values = told(best.values.tolist())
            entry = self.likely(id, told([row[id].item()])[0])
            entry["top_logprobs"] = [
                self.likely(i, x) for i, x in zip(best.indices.tolist(), values, strict=True)
            ][:top]
            content.append(entry)
        reply = {
            "object": "chat.completion", "model": "altered",
            "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "…"},
                         "logprobs": {"content": content} if request.get("logprobs") else None}],
            "usage": {"prompt_tokens": len(tokens), "completion_tokens": len(given)},
        }  # fmt: skip
        if options.tells == "ids" and request.get("return_token_ids"):
            reply["prompt_token_ids"] = tokens
        return reply


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("alteration", nargs="?", default="nothing", choices=ALTERATIONS)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--arithmetic", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--tells", default="ids", choices=("ids", "counts"), help="of a prompt")
    parser.add_argument("--top", type=int, default=20, help="the most likely tokens that it tells")
    parser.add_argument("--list", action="store_true", help="print the alterations")
    options = parser.parse_args()
    if options.list:
        print("\n".join(ALTERATIONS))
        return
    torch.set_num_threads(1)
    model = Model(options.alteration, options.arithmetic)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status, value):
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            self.reply(200, {"object": "list", "data": [{"id": "altered", "object": "model"}]})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/v1/chat/completions":
                return self.reply(404, {"error": {"message": "no such route"}})
            try:
                self.reply(200, model.complete(json.loads(body), options))
            except Exception as error:  # of any kind: the request is wrong
                if "lenient" in model.alter:
                    return self.reply(
                        200,
                        model.complete(
                            {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}, options
                        ),
                    )
                self.reply(400, {"error": {"message": f"{type(error).__name__}: {error}"}})

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
