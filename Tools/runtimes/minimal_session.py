"""A whole runtime for the conformance kit, to copy: mistral-common's tokens, grids and pixels.

    pixtral-ref conformance run --runtime 'python minimal_session.py TOKENIZER_MODEL'

A question is a line of JSON on standard input, its answer a line on standard output. Put your own code into
the functions; nothing is asked that "features" does not name. Needs mistral-common[opencv,sentencepiece].
"""

import json
import os
import sys

from mistral_common.protocol.instruct.chunk import ImageChunk
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL import Image
from safetensors.numpy import load_file, save_file

tokenizer = MistralTokenizer.from_file(sys.argv[1])
encoder = ImageEncoder(ImageConfig(image_patch_size=16, max_image_size=1024), SpecialImageIDs(10, 14, 15))


def hello(question):
    os.chdir(question["folder"])  # files are named from there
    return {"name": "minimal", "arithmetic": "float32", "features": ["tokens", "grid", "pixels"]}


def render(question):
    return {"tokens": tokenizer.encode_chat_completion(ChatCompletionRequest(**question["request"])).tokens}


def encode(question):
    return {"tokens": tokenizer.instruct_tokenizer.tokenizer.encode(question["text"], bos=False, eos=False)}


def decode(question):
    return {"text": tokenizer.decode(question["tokens"])}


def grid(question):
    size = question["width"], question["height"]
    return dict(zip(("columns", "rows"), encoder._image_to_num_tokens(Image.new("1", size))))


def pixels(question):
    rgb = Image.fromarray(load_file(question["tensors"])["rgb"])
    image = encoder(ImageChunk(image=rgb)).image
    save_file({"pixels": image.astype("float32", order="C")}, "pixels.safetensors")  # C: row-major
    return {"tensors": "pixels.safetensors"}


OPERATIONS = {f.__name__: f for f in (hello, render, encode, decode, grid, pixels)}
for line in sys.stdin.buffer:
    question = json.loads(line)
    try:
        answer = OPERATIONS[question["op"]](question)
    except Exception as error:  # an invalid question is refused, with a reason
        answer = {"reject": {"type": type(error).__name__, "message": str(error)}}
    print(json.dumps({"id": question.get("id")} | answer), flush=True)
