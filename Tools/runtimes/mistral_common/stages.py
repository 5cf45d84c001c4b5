"""The stages of mistral-common, any release from 1.5.0 on: functions from a question of the kit to an answer.

`start(TOKENIZER_MODEL)` before the first question. Nothing is done here that the library does not do: each
function calls one of its own. Its names have moved, and are looked up where a release has them.
"""

import warnings

import mistral_common
from mistral_common.protocol.instruct.messages import ImageChunk
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL import Image
from safetensors.numpy import load_file, save_file

try:
    from mistral_common.protocol.fim.request import FIMRequest
except ImportError:
    from mistral_common.tokens.instruct.request import FIMRequest
try:
    import mistral_common.tokens.tokenizers.image as images
except ImportError:  # 1.5 to 1.7
    import mistral_common.tokens.tokenizers.multimodal as images
ImageConfig = getattr(images, "ImageConfig", None) or images.MultimodalConfig

warnings.simplefilter("ignore")
VERSION = mistral_common.__version__
FEATURES = ["tokens", "tokens.fim", "tokens.truncation", "grid", "rgb", "pixels", "pixels.sizes", "multi-image",
            "image.png", "image.jpeg", "image.alpha", "resize.opencv-cubic", "resize.opencv-portable"]  # fmt: skip
if hasattr(ChatCompletionRequest, "from_openai"):  # from 1.6.0 on
    FEATURES.append("tokens.openai")
tokenizer = None


def start(model):
    global tokenizer
    tokenizer = MistralTokenizer.from_file(model)


def encoder(patch_size=16, longest=1024):
    return images.ImageEncoder(ImageConfig(patch_size, longest), images.SpecialImageIDs(10, 14, 15))


def render(question):
    if question.get("form") == "openai":
        request = ChatCompletionRequest.from_openai(**question["request"])
    else:
        request = ChatCompletionRequest.model_validate(question["request"])
    limit = {"max_model_input_len": question["max_tokens"]} if "max_tokens" in question else {}
    return {"tokens": tokenizer.encode_chat_completion(request, **limit).tokens}


def fim(question):
    return {"tokens": tokenizer.encode_fim(FIMRequest.model_validate(question["fim"])).tokens}


def encode(question):
    return {"tokens": tokenizer.instruct_tokenizer.tokenizer.encode(question["text"], bos=False, eos=False)}


def decode(question):
    return {"text": tokenizer.decode(question["tokens"])}


def grid(question):
    size = question["width"], question["height"]
    return dict(zip(("columns", "rows"), encoder()._image_to_num_tokens(Image.new("1", size)), strict=True))


def rgb(question):
    import numpy

    image = images._convert_to_rgb(Image.open(question["file"]))
    save_file({"rgb": numpy.array(image)}, "rgb.safetensors")
    return {"tensors": "rgb.safetensors"}


def pixels(question):
    image = Image.fromarray(load_file(question["tensors"])["rgb"])
    found = encoder(question["patch_size"], question["image_size"])(ImageChunk(image=image)).image
    save_file({"pixels": found.astype("float32", order="C")}, "pixels.safetensors")
    return {"tensors": "pixels.safetensors"}


OPERATIONS = {f.__name__: f for f in (render, fim, encode, decode, grid, rgb, pixels)}
