"""Makes the requests of the full shape and what mistral-common makes of them, for full_model.py.

    python full_requests.py INPUTS

Writes Fixtures/cases/model/large/NAME/request.json, and INPUTS/NAME/tokens.json and
pixels.safetensors (image0, …; absent without images). The machine that runs full_model.py then needs
neither mistral-common nor the images. No image is stretched: all sides are multiples of 16, so that
pixels are those of the file in every runtime.
"""

import sys
from pathlib import Path

import numpy as np
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from safetensors.numpy import save_file

from make_goldens import TOKENIZER, image, image_paths, text, with_file_urls, write_json

CASES = Path(__file__).resolve().parent.parent.parent / "Fixtures" / "cases" / "model" / "large"


def requests():
    """The messages of each request."""
    return {
        "text": [
            {"role": "system", "content": "You are a lighthouse keeper. Answer in one sentence."},
            {"role": "user", "content": "How far does the beam reach?"},
            {"role": "assistant", "content": "Twenty-two nautical miles, on a clear night."},
            {"role": "user", "content": "Und bei Nebel? Bitte auf Deutsch, mit π ≈ 3,14159."},
        ],
        "image": [
            {
                "role": "user",
                "content": [image("astronaut.png"), text("Who is this, and what is behind her?")],
            },
        ],
        "two-images": [
            {"role": "system", "content": "Compare the pictures. Name one difference a line."},
            {
                "role": "user",
                "content": [
                    text("The first:"),
                    image("large-cat.jpg"),
                    text("The second:"),
                    image("large-rocket.png"),
                    text("Which of them was taken outdoors?"),
                ],
            },
        ],
    }


def make(name, messages, inputs, tokenizer):
    """Writes one request and what becomes of it; returns the number of tokens and the grids."""
    folder, out = CASES / name, inputs / name
    folder.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    write_json(folder / "request.json", {"messages": messages})
    encoded = tokenizer.encode_chat_completion(
        ChatCompletionRequest(messages=with_file_urls(messages, folder))
    )
    grids = [{"columns": p.shape[2] // 16, "rows": p.shape[1] // 16} for p in encoded.images]
    write_json(out / "tokens.json", {"tokens": list(encoded.tokens), "text": encoded.text, "grids": grids})
    if encoded.images:
        # mistral-common's images are views with the channels last, of which safetensors would store the
        # memory as it lies.
        images = {f"image{n}": np.ascontiguousarray(p) for n, p in enumerate(encoded.images)}
        save_file(images, out / "pixels.safetensors")
        (out / "pixels.safetensors").chmod(0o644)
    if len(image_paths(messages)) != len(encoded.images):
        raise RuntimeError(f"{name}: mistral-common has made {len(encoded.images)} images")
    return len(encoded.tokens), grids


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python full_requests.py INPUTS")
    tokenizer = MistralTokenizer.from_file(str(TOKENIZER))
    for name, messages in requests().items():
        count, grids = make(name, messages, Path(sys.argv[1]), tokenizer)
        print(f"{name:12} {count:5} tokens, {grids}")


if __name__ == "__main__":
    main()
