"""Makes the model cases: Fixtures/cases/model/tiny/NAME/{request.json, expected.safetensors,
case.json}, and those of model/small, with seeded:small and few rows.

    python make_goldens.py [NAME or small/NAME ...]

A case goes the whole way from a chat request to logits. No part of what it
expects comes from the Swift code:

- tokens, text, grids and pixels are the output of mistral-common, the rule for the template and for images;
- every tap is the oracle's (Fixtures/oracle, float64 NumPy, written from Docs/Model.md);
- transformers in float32 is the witness: its distance from the oracle, tap by tap and on the stored rows, is the noise that honest
  float32 arithmetic has there, and the limit for float32 is a multiple of it.

A second run gives the same bytes wherever NumPy's BLAS gives the same bits: one thread, nothing
dated, distances to three digits.
"""

import argparse
import copy
import hashlib
import json
import os
import platform
import re
import sys
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: sums in one order on any number of cores

import mistral_common
import numpy as np
import PIL.Image
import torch
import transformers
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from safetensors.numpy import save_file

import witness_transformers
from compare import compare, worst

FIXTURES = Path(__file__).resolve().parent.parent.parent / "Fixtures"
MODELS = FIXTURES / "cases" / "model"
CASES = MODELS / "tiny"
TOKENIZER = FIXTURES / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
IMAGES = "../../../../images"  # from a case's folder
MODEL = "seeded:tiny"
SINCE = "0.1"
SMALL = ("text", "image", "two-images")  # the requests that seeded:small is asked as well
SMALL_TITLE = {
    "text": "A text conversation passes through the decoder of seeded:small, whose heads have 128 columns.",
    "image": "An image between two texts passes through seeded:small, whose vision heads have 64 columns.",
    "two-images": "Two images of one request do not see each other in seeded:small either.",
}
SMALL_WHY = "The shapes that production kernels take: for runtimes that refuse the heads of seeded:tiny."
SMALL_VALUES = 1152  # that a case of it keeps of a tap, or one row

sys.path.insert(0, str(FIXTURES / "oracle"))

import checkpoint as oracle_checkpoint  # noqa: E402
import oracle  # noqa: E402


# The requests


def text(string):
    return {"type": "text", "text": string}


def image(file):
    return {"type": "image_url", "image_url": {"url": f"{IMAGES}/{file}"}}


def log_of_a_lighthouse(days):
    """English prose of any length, the same each time: the log of a lighthouse keeper, a few
    sentences a day.

    Word lists of pairwise coprime lengths keep sentences from repeating, so that a mistake in far
    positions has something to break.
    """
    winds = [
        "a light north wind",
        "no wind at all",
        "a gale from the west",
        "gusts off the land",
        "a steady breeze",
    ]
    seas = [
        "grey and slow",
        "white as far as one could see",
        "flat",
        "heavy on the outer reef",
        "restless",
        "green under the cliff",
        "quiet",
    ]
    visitors = ["the supply boat", "two fishermen", "a seal", "nobody", "the inspector with his ledger", "a flock of terns", "the doctor",
                "a boy who asked how far the beam reaches", "the mail", "a lost pilot", "my sister"]  # fmt: skip
    chores = ["trimmed the wick", "polished the great lens", "wound the clockwork", "painted the railing", "counted the oil cans",
              "wrote to the board", "mended the foghorn", "cleaned the gutters", "set the barometer", "greased the hinges", "aired the blankets",
              "caulked the dinghy", "stacked driftwood"]  # fmt: skip
    result = []
    for n in range(days):
        result.append(
            f"Day {n + 1}. There was {winds[n % 5]} and the sea was {seas[n % 7]}. I {chores[n % 13]} and then {chores[(5 * n + 3) % 13]}. "
            f"By evening {visitors[n % 11]} had come; the glass stood at {980 + (17 * n) % 50}."
        )
    return " ".join(result)


def requests():
    """The messages of each case, with what the case states, what it would show, and which features
    a runtime needs for it.

    check_exposes.py computes the faults that can be computed and so proves these lists.
    """
    template = ["T-spacing", "T-graphemes", "T-control-in-text"]
    decoder = ["V-half-split", "D-theta", "D-k-permute", "D-tied"]
    layout = ["L-ids", "L-extra-break", "L-flat", "T-spacing", "T-double-bos"]
    vision = ["V-gelu", "V-12b-shapes", "A-bias", "A-tanh"]
    axes = ["V-flat-positions", "V-swap-hw", "V-same-freqs", "M-scatter"]
    pixels = ["G-upscale", "P-pad", "P-antialias", "P-norm"]
    return {
        "text": {
            "title": "A text conversation passes through the decoder alone, and leaves no vision tap.",
            "exposes": template + decoder + ["D-eps"],  # in float32 only here: with images the noise is larger than the fault
            "requires": [],
            "why": "The decoder without anything in front of it: what differs here is no matter of images.",
            "messages": [
                {"role": "system", "content": "Answer briefly."},
                {"role": "user", "content": "Wie heißt „π“ auf Thai?"},
                {"role": "assistant", "content": "พาย 🥧"},
                {"role": "user", "content": "Is [IMG] an image? 1️⃣\r\n数: 3.14"},
            ],
        },
        "image": {
            "title": "An image between two texts takes its rows, breaks and end between the tokens of the texts.",
            "exposes": layout + pixels + vision + axes + decoder,
            "requires": ["image.png", "resize.opencv-cubic"],
            "why": "The main road of the model, on an image that is not square, not a multiple of the patch and smaller than the limit.",
            "messages": [
                {"role": "user", "content": [text("What is this"), image("model-image.png"), text("a picture of?")]},
            ],
        },
        "two-images": {
            "title": "Two images of one request are encoded without seeing each other, and each counts its positions from 0.",
            "exposes": layout + ["L-last-image", "V-no-mask"] + pixels + vision + axes + decoder,
            "requires": ["image.png", "image.jpeg", "resize.opencv-cubic", "multi-image"],
            "why": "A missing mask between images, or positions that run on, show with two images only.",
            "messages": [
                {"role": "system", "content": "Compare."},
                {"role": "user", "content": [text("One:"), image("model-left.jpg"), text("two:"), image("model-right.png"), text("Which is darker?")]},
            ],
        },
        "small-rgba": {
            "title": "A transparent image of one patch is laid on white and enlarged to the patch, whatever colour hides under the transparency.",
            "exposes": layout + ["P-alpha"] + pixels + vision + ["M-scatter"] + decoder,
            "requires": ["image.png", "image.alpha", "resize.opencv-cubic"],
            "why": "Black or red under full transparency changes every tap when alpha is dropped; a grid of one patch is the smallest there is.",
            "messages": [
                {"role": "user", "content": [image("model-alpha.png"), text("Icon?")]},
            ],
        },
        "long": {
            "title": "Positions beyond 1,000 turn by the angles that rope_theta gives them, and patches of an image that late count from 0.",
            "exposes": layout + pixels + vision + axes + decoder,
            "requires": ["image.jpeg", "resize.opencv-cubic"],
            "why": "A wrong rope_theta, or rotary angles in too few bits, hide in short prompts and show at position 1,000.",
            "messages": [
                {"role": "user", "content": [text(log_of_a_lighthouse(20)), image("model-late.jpg"), text("Which day does this show?")]},
            ],
        },
    }  # fmt: skip


# The parts of a case


def with_file_urls(messages, folder):
    """The messages with relative image paths made file:// URLs, as mistral-common needs them."""
    result = copy.deepcopy(messages)
    for message in result:
        if isinstance(message["content"], list):
            for chunk in message["content"]:
                if chunk["type"] == "image_url":
                    chunk["image_url"]["url"] = "file://" + str(
                        (folder / chunk["image_url"]["url"]).resolve()
                    )
    return result


def image_paths(messages):
    """The image paths of a request, in order, as written."""
    chunks = [
        chunk for message in messages if isinstance(message["content"], list) for chunk in message["content"]
    ]
    return [chunk["image_url"]["url"] for chunk in chunks if chunk["type"] == "image_url"]


def rows_to_keep(tokens, long):
    """Which rows of the decoder's taps and of the logits are stored; None stands for all.

    Logits are 32,768 columns wide: the middle row and the last one, which decides the next token.
    Of a long prompt 16 rows: the first ones, powers of two, both sides of 1,000, the first and last
    patch of the image with its break and end, and the last token.
    """
    count = len(tokens)
    logits = sorted({count // 2, count - 1})
    if not long:
        return None, logits
    img = [n for n, token in enumerate(tokens) if token == 10]
    chosen = {
        0,
        1,
        2,
        3,
        16,
        64,
        256,
        512,
        999,
        1000,
        1023,
        img[0],
        tokens.index(14),
        img[-1],
        tokens.index(15),
        count - 1,
    }
    if len(chosen) != 16 or count <= 1024:
        raise ValueError(
            f"the long prompt has {count} tokens and {len(chosen)} rows were chosen: {sorted(chosen)}"
        )
    return sorted(chosen), sorted({1000, count - 1})


def few_rows(tap, columns, tokens, pixels):
    """Of seeded:small: as many rows as have SMALL_VALUES, those first that show most: the last token, a
    break, the last [IMG]; the last patch, the second, and the first of the last image.
    """
    if tap.startswith(("vision.", "adapter.")):
        counts = [p.shape[1] // 16 * (p.shape[2] // 16) for p in pixels]
        order = [sum(counts) - 1, 1, sum(counts[:-1]), sum(counts) // 2]
    else:
        img = [n for n, token in enumerate(tokens) if token == 10]
        marks = [tokens.index(14), img[-1], tokens.index(15)] if img else []
        order = [len(tokens) - 1, *marks, len(tokens) // 2, 1]
        if len(pixels) == 1:  # a patch's row, whose noise is another, where there is room for one only
            order = [img[-1], *order]
    order = list(dict.fromkeys(order))
    return sorted(order[: max(1, SMALL_VALUES // columns)])


def oracle_trace(model, tokens, pixels, select):
    """{tap: float64 rows that `select(tap, matrix)` keeps}, in the order of computation."""
    loaded = oracle_checkpoint.open_checkpoint(model)
    oracle.check(loaded, tokens, pixels)
    names = [n for n in oracle.tap_names(loaded.params, bool(pixels)) if not n.endswith(oracle.ON_DEMAND)]
    taps = {}

    def keep(name, matrix):
        taps[name] = np.ascontiguousarray(select(name, matrix), dtype=np.float64)

    try:
        oracle.forward(loaded, tokens, pixels, oracle.Trace(keep, names, names[-1]))
    except oracle.Finished:
        pass
    if list(taps) != names:
        raise RuntimeError(f"the oracle left out {set(names) - set(taps)}")
    return taps, loaded.params


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_json(path, value):
    """Indented JSON, lists of numbers on one line, keys in the order of writing."""
    string = json.dumps(value, indent=2, ensure_ascii=False)
    string = re.sub(
        r"\[[-0-9.e,\s]*\]",
        lambda m: "[" + ", ".join(m.group()[1:-1].replace(",", " ").split()) + "]",
        string,
    )
    path.write_text(string + "\n", encoding="utf-8")


def rounded(x):
    return float(f"{x:.2e}")


def make(model, name, case, tokenizer):
    """Writes one case's folder and returns the witness' distances."""
    size = model.removeprefix("seeded:")
    folder = MODELS / size / name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "request.json", {"messages": case["messages"]})

    encoded = tokenizer.encode_chat_completion(
        ChatCompletionRequest(messages=with_file_urls(case["messages"], folder))
    )
    tokens, pixels = list(encoded.tokens), [np.ascontiguousarray(p) for p in encoded.images]
    if any(p.dtype != np.float32 for p in pixels):
        raise TypeError("mistral-common's pixels are not float32")
    paths = image_paths(case["messages"])
    grids = []
    for path, p in zip(paths, pixels, strict=True):
        with PIL.Image.open(folder / path) as file:
            grids.append(
                {
                    "width": file.width,
                    "height": file.height,
                    "columns": p.shape[2] // 16,
                    "rows": p.shape[1] // 16,
                }
            )

    decoder_rows, logits_rows = rows_to_keep(tokens, long=name == "long")
    rows = {}

    def select(tap, matrix):
        if size == "tiny":
            chosen = logits_rows if tap == "logits" else decoder_rows if tap.startswith("decoder.") else None
        elif tap == "decoder.embeddings":  # narrow, and every mark has its row
            chosen = None
        else:
            chosen = few_rows(tap, matrix.shape[1], tokens, pixels)
        if chosen is None:
            return matrix
        rows[tap] = chosen
        return matrix[chosen]

    taps, params = oracle_trace(model, tokens, pixels, select)
    witness = {
        tap: np.asarray(select(tap, matrix.numpy()))
        for tap, matrix in witness_transformers.trace(
            model, tokens, pixels, keep=witness_transformers.wanted(None)
        ).items()
    }
    if set(witness) != set(taps):
        raise RuntimeError(
            f"{name}: oracle and witness have different taps: {sorted(set(witness) ^ set(taps))}"
        )
    distances = compare(taps, witness)

    expected = folder / "expected.safetensors"
    save_file(taps | {f"image{n}": p for n, p in enumerate(pixels)}, expected)
    expected.chmod(0o644)  # safetensors makes files that only their owner may read
    inputs = {"request": {"file": "request.json", "sha256": sha256(folder / "request.json")}}
    if paths:
        inputs["images"] = [{"file": path, "sha256": sha256(folder / path)} for path in paths]
        inputs["pixels"] = [
            {"tensor": f"image{n}", "dtype": "F32", "shape": list(p.shape)} for n, p in enumerate(pixels)
        ]
    write_json(
        folder / "case.json",
        {
            "id": f"model/{size}/{name}",
            "title": case["title"] if size == "tiny" else SMALL_TITLE[name],
            "stage": "model",
            "exposes": case["exposes"],
            "subject": {"operation": "from a chat request to logits, Docs/Model.md 4 to 7"}
            | params
            | {"vision_norm_eps": oracle.VISION_NORM_EPS},
            "model": model,
            "inputs": inputs,
            "expect": {
                "tokens": tokens,
                "text": encoded.text,
                "grids": grids,
                "tensors": expected.name,
                "sha256": sha256(expected),
                "rows": rows,
            },
            "compare": {"float64": {"relF": 1e-11}, "envelope": "envelope.json"},
            "requires": case["requires"],
            "conflicts_with": [],
            "importance": "high",
            "why": case["why"] if size == "tiny" else SMALL_WHY,
            "basis": "MistralTokenizer.encode_chat_completion; for the taps Docs/Model.md 5 to 7",
            "oracle": {
                "name": "Fixtures/oracle",
                "version": f"numpy {np.__version__}, python {platform.python_version()}",
            },
            "witnesses": [
                {
                    "name": "transformers",
                    "version": transformers.__version__,
                    "torch": torch.__version__,
                    "dtype": "float32",
                    "distance": {tap: rounded(d.rel_f) for tap, d in distances.items()},
                },
                {
                    "name": "mistral-common",
                    "version": mistral_common.__version__,
                    "what": "tokens, text and pixels are its own output",
                },
            ],
            "since": SINCE if size == "tiny" else "0.3",
            "retired": None,
        },
    )
    return tokens, distances, expected.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="cases to make; all without")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = MistralTokenizer.from_file(str(TOKENIZER))
    all_cases = requests()
    small = [f"small/{name}" for name in SMALL]
    for path in arguments.names or [*all_cases, *small]:
        size, _, name = path.rpartition("/")
        tokens, distances, bytes_ = make(f"seeded:{size or 'tiny'}", name, all_cases[name], tokenizer)
        tap, d = worst(distances)
        print(
            f"{path:16} {len(tokens):5} tokens  {bytes_ / 1e6:5.2f} MB  worst tap of transformers float32: {tap} {d.rel_f:.2e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
