"""Makes Fixtures/endpoint: what a server of seeded:small is asked, what is right, and what each mistake answers.

    python make_endpoint_cases.py                (a quarter of an hour on two cores)

small.jsonl         the cases, a line each, with what they share in small.json
small.safetensors   of each prompt: the likeliest tokens behind it and behind each token of the greedy answer
                    (`NAME/top_tokens`, `NAME/top_logprobs`, [positions, 32]), and the log-probability of
                    each of its own tokens but the first (`NAME/prompt_logprobs`)
../faults/endpoint.jsonl  a line a mistake: of each prompt that it changes, how many tokens it has, the hash of
                    them (make_fault_answers.py), and the row of the next file; null where nobody can say
../faults/endpoint.safetensors  `tokens` and `logprobs`, [rows, 20]: the likeliest tokens behind a prompt, with the mistake

Tokens are the text oracle's (Fixtures/oracle/tokens.py), and mistral-common is their witness; log-probabilities
are the float64 oracle's, and transformers in float32 is theirs. How far right runs are from them, as a mean KL
divergence (`divergence`), is measured in five arithmetics and five schedules (runtimes/rounding.py).
Mistakes are those of Docs/Faults.md, with their forms, and those that a request can meet on its way (`WAYS`).
"""

import base64
import concurrent.futures
import copy
import io
import json
import math
import platform
import re
import sys
from pathlib import Path

import make_goldens  # sets OPENBLAS_NUM_THREADS before numpy is loaded
import mistral_common
import numpy as np
import PIL.Image
import PIL.ImageDraw
import suites
import torch
import transformers
import witness_transformers
from make_answer_cases import sha256
from make_fault_answers import hashed
from make_image_cases import hugging_face_pixels
from make_noise import BITS, rounded_up
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from safetensors.numpy import save_file

ROOT = suites.CASES.parent.parent
sys.path[:0] = [str(ROOT / "Tools" / folder) for folder in ("runtimes", "checks")]
import answer  # noqa: E402
import checkpoint  # noqa: E402
import faults  # noqa: E402
import image  # noqa: E402
import oracle  # noqa: E402
import rounding  # noqa: E402
import text_faults  # noqa: E402
import tokens as text_oracle  # noqa: E402
import torch_session  # noqa: E402

OUT = ROOT / "Fixtures" / "endpoint"
FAULTS = ROOT / "Fixtures" / "faults"
POSITIONS = 6  # behind a prompt, and behind each but the last of as many tokens of its greedy answer
TOLD, KEPT = 20, 32  # tokens a position that servers tell, and that are kept
FAR = 64  # times the noise, as a divergence: 8 times as a distance
SINCE = "0.3"


# Pictures: small ones, drawn here, so that a request is short


def drawn(width, height, colours, transparent=False):
    """A slope of two colours, a disc and a bar: no two of its patches are equal."""
    (top, bottom), ink = colours[:2], colours[2]
    slope = np.linspace(0, 1, height)[:, None, None] * 0.7 + np.linspace(0, 1, width)[None, :, None] * 0.3
    rgb = np.array(top) * (1 - slope) + np.array(bottom) * slope
    picture = PIL.Image.fromarray(np.rint(rgb).astype(np.uint8))
    draw = PIL.ImageDraw.Draw(picture)
    draw.ellipse((width // 8, height // 6, width // 2, height * 5 // 6), fill=ink)
    draw.rectangle(
        (width * 5 // 8, height // 3, width * 7 // 8, height // 2), fill=tuple(255 - c for c in ink)
    )
    if transparent:
        alpha = PIL.Image.new("L", picture.size, 255)
        PIL.ImageDraw.Draw(alpha).rectangle((0, 0, width // 3, height), fill=0)
        picture.putalpha(alpha)
    return picture


def permuted(picture):
    """Its patches of 16 by 16 in the opposite order."""
    pixels = np.asarray(picture)
    rows, columns = pixels.shape[0] // 16, pixels.shape[1] // 16
    patches = pixels.reshape(rows, 16, columns, 16, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 16, 16, 3)[::-1]
    pixels = patches.reshape(rows, columns, 16, 16, 3).transpose(0, 2, 1, 3, 4)
    return PIL.Image.fromarray(pixels.reshape(rows * 16, columns * 16, 3))


WARM, COLD = ((250, 180, 20), (120, 10, 60), (20, 60, 200)), ((10, 40, 90), (160, 240, 220), (240, 90, 10))
A, B = drawn(64, 48, WARM), drawn(64, 48, COLD)
PICTURES = {
    "a": A, "b": B, "transposed": A.transpose(PIL.Image.Transpose.TRANSPOSE), "permuted": permuted(A),
    "odd": drawn(90, 50, COLD, transparent=True), "long": drawn(1025, 49, WARM), "flat": drawn(3072, 49, COLD),
    "half": drawn(2048, 33, WARM), "even": drawn(40, 48, WARM), "one": drawn(11, 7, COLD),
}  # fmt: skip


def png(picture, level=9):
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=level)
    return file.getvalue()


def url(name, level=9):
    return "data:image/png;base64," + base64.b64encode(png(PICTURES[name], level)).decode()


def shown(name, level=9):
    return {"type": "image_url", "image_url": {"url": url(name, level)}}


def said(text):
    return {"type": "text", "text": text}


def asked(*content):
    return {"messages": [{"role": "user", "content": list(content)}]}


# Prompts: name, what it is, request in OpenAI's form

WHAT = said("What is in this picture?")
TALK = [
    {"role": "system", "content": "Answer in one short sentence."},
    {"role": "user", "content": "Where do  swifts sleep?\nAnd when?"},
    {"role": "assistant", "content": "On the wing, mostly."},
    {"role": "user", "content": "Really? Überall? 👩\u200d🚀"},
]
PROMPTS = {
    "text": ("a question without an image", {"messages": [{"role": "user", "content": "Name a bird that can sleep while it flies."}]}),
    "talk": ("a conversation with a system prompt, two spaces, a line feed and characters of several scalars", {"messages": TALK}),
    "image": ("an image of three rows of four patches behind a question", asked(WHAT, shown("a"))),
    "image-again": ("the same image in another file", asked(WHAT, shown("a", 1))),
    "other-image": ("another image of the same size", asked(WHAT, shown("b"))),
    "no-image": ("the question without its image", asked(WHAT)),
    "transposed": ("the image with rows and columns changed over", asked(WHAT, shown("transposed"))),
    "permuted": ("the image with its patches in the opposite order", asked(WHAT, shown("permuted"))),
    "two-images": ("two images", asked(said("Compare these."), shown("a"), shown("b"))),
    "swapped": ("the two images in the other order", asked(said("Compare these."), shown("b"), shown("a"))),
    "odd-size": ("an image with transparency that is stretched to whole patches", asked(WHAT, shown("odd"))),
    "scaled": ("an image that is scaled to 1,024 pixels", asked(WHAT, shown("long"))),
    "continued": ("the beginning of an answer, which is to be continued", {
        "messages": [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "The common"}],
        "continue_final_message": True, "add_generation_prompt": False}),
    "before-text": ("an image in front of the question", asked(shown("a"), said("Which colours are there?"))),
}  # fmt: skip
# Prompts of which the tokens alone are asked.
SIZES = {
    "flat": ("an image whose height is scaled to just above 16", asked(shown("flat"))),
    "half": ("an image whose height is scaled to 16.5", asked(shown("half"))),
    "even": ("an image of three by three patches", asked(shown("even"))),
    "one-patch": ("an image smaller than a patch", asked(shown("one"))),
}  # fmt: skip
# Of images that transformers treats otherwise, on purpose: what a server with its rule is asked in their place.
PROMPTS |= {
    f"huggingface-{name}": (f"{PROMPTS[name][0]}, by transformers' rule", PROMPTS[name][1])
    for name in ("odd-size", "scaled")
}
# What moves, beside what it was: name, prompt, prompt beside it, whether it moves, what it is.
INFLUENCE = [
    ("other-image", "other-image", "image", True, "Another image moves the log-probabilities."),
    ("no-image", "no-image", "image", True, "An image moves the log-probabilities of its question."),
    ("transposed", "transposed", "image", True, "An image moves them otherwise if rows and columns are changed over."),
    ("permuted", "permuted", "image", True, "The order of an image's patches moves them."),
    ("swapped", "swapped", "two-images", True, "The order of two images moves them."),
    ("same-image", "image-again", "image", False, "The same image in another file moves nothing."),
]  # fmt: skip
BROKEN = "data:image/png;base64," + base64.b64encode(png(A)[:60]).decode()
# A bad request, and a good one that differs in nothing else: name, what is wrong, bad, good.
ERRORS = [
    ("no-messages", "has no messages", {"messages": []}, PROMPTS["text"][1]),
    ("unknown-role", "has a message of an unknown role",
     {"messages": [{"role": "wizard", "content": "Hi"}]}, {"messages": [{"role": "user", "content": "Hi"}]}),
    ("text-for-messages", "has a text where messages have to be", {"messages": "Hi"}, {"messages": [{"role": "user", "content": "Hi"}]}),
    ("broken-image", "has half a PNG file",
     asked(WHAT, {"type": "image_url", "image_url": {"url": BROKEN}}), PROMPTS["image"][1]),
    ("no-base64", "has an image that is not base64",
     asked(WHAT, {"type": "image_url", "image_url": {"url": "data:image/png;base64,*"}}), PROMPTS["image"][1]),
    ("temperature", "has a temperature below 0", PROMPTS["text"][1] | {"temperature": -1}, PROMPTS["text"][1] | {"temperature": 1}),
]  # fmt: skip
KEEPS = [
    ("at-most-zero", "No log-probability is above 0."),
    ("sum-at-most-one", "The probabilities of the tokens that are told come to 1 at most."),
    ("greedy", "At temperature 0 the likeliest token is chosen."),
    ("repeated", "A request that is repeated has the same log-probabilities, to within the noise of the arithmetic."),
]  # fmt: skip


# The oracle


def images_of(request):
    """RGB of each image, laid on white."""
    result = []
    for message in request["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "image_url":
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                with PIL.Image.open(io.BytesIO(data)) as opened:
                    result.append(opened.copy())
    return result


def on_white(picture):
    white = PIL.Image.new("RGBA", picture.size, "white")
    return np.asarray(PIL.Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))


def stretched(rgb, grid):
    """Right pixels for a grid that may be wrong: [3, rows * 16, columns * 16]."""
    pixels = image.stretch(rgb, grid[0] * 16, grid[1] * 16)
    return np.ascontiguousarray(((pixels / 255 - image.MEAN) / image.STD).transpose(2, 0, 1))


def smoothed(rgb, grid):
    """The same by transformers' rule."""
    picture = PIL.Image.fromarray(rgb).resize((grid[0] * 16, grid[1] * 16), PIL.Image.Resampling.BICUBIC)
    return np.ascontiguousarray(faults.normalised(np.asarray(picture)))


def smoothed_by_torch(rgb, grid):
    """The same by PyTorch's kernel for bytes, as transformers' other image processor, which stands on torchvision."""
    planes = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None]
    size = (grid[1] * 16, grid[0] * 16)
    found = torch.nn.functional.interpolate(planes, size=size, mode="bicubic", antialias=True)
    return np.ascontiguousarray(faults.normalised(found[0].numpy().transpose(1, 2, 0)))


RIGHT_GRID = text_oracle.grid
HUGGING_FACE_GRID = text_faults.grid_with(math.floor)


def rule_of(name):
    """Whose rule the images of a prompt follow."""
    return "huggingface" if name.startswith("huggingface-") else "mistral"


def rendered(request, tokenizer, rule="mistral"):
    """Tokens and grids. Grids that a mistake has are those of both rules."""
    plain = text_oracle.grid
    if rule == "huggingface" and plain is RIGHT_GRID:
        text_oracle.grid = HUGGING_FACE_GRID
    try:
        found = text_oracle.answer({"request": request, "form": "openai"}, tokenizer)
    finally:
        text_oracle.grid = plain
    return found["tokens"], [(one["columns"], one["rows"]) for one in found["images"]]


def inputs(request, tokenizer, rule="mistral", pixels=None, rgb=on_white):
    """Tokens and pixels of a request. - pixels: of RGB and right pixels, other ones."""
    tokens, grids = rendered(request, tokenizer, rule)
    pictures = [rgb(picture) for picture in images_of(request)]
    used = []
    for picture, grid in zip(pictures[len(pictures) - len(grids) :], grids, strict=True):
        right = (smoothed if rule == "huggingface" else stretched)(picture, grid)
        used.append((pixels(picture, right) if pixels else right).astype(np.float32))
    return tokens, used


def assert_transformers_agrees(request, pixels):
    """Holds the pixels of transformers' rule to its own processor."""
    pictures = [PIL.Image.fromarray(on_white(picture)) for picture in images_of(request)]
    for picture, found in zip(pictures, pixels, strict=True):
        right = hugging_face_pixels(picture)
        assert right.shape == found.shape and np.abs(right - found).max() < 1e-5, (
            "transformers has other pixels"
        )


def logits(model, tokens, pixels, last, fault=None, rounds=None):
    """[last, V]: what the model says before the last tokens and behind them."""
    wrong, kept = fault or faults.Fault(), {}
    trace = oracle.Trace(lambda name, x: kept.setdefault(name, np.array(x)), ["logits"], "logits")
    with rounds.around(wrong.patches) if rounds else faults.patched(**wrong.patches):
        oracle.forward(faults.Changed(model, wrong.params, wrong.renamed), tokens, pixels, trace)
    return kept["logits"].astype(np.float64)[-last:]


def likeliest(logprobs, count):
    """The ids and the log-probabilities of the likeliest tokens of each row."""
    order = np.argsort(-logprobs, axis=1, kind="stable")[:, :count]
    return order.astype(np.int32), np.take_along_axis(logprobs, order, axis=1)


def divergence(right, found):
    """The mean over positions of KL(right || found), in nats, as a server tells it: over the 20 tokens that are
    likeliest in `found`, and all others together. Each term is at least 0.
    """
    told = np.argsort(-found, axis=1, kind="stable")[:, :TOLD]
    p = np.take_along_axis(right, told, axis=1)
    d = np.take_along_axis(found, told, axis=1) - p
    others = 1 - np.exp(p).sum(axis=1), 1 - np.exp(p + d).sum(axis=1)
    total = (np.exp(p) * (np.expm1(d) - d)).sum(axis=1)
    step = np.log(others[1] / others[0])
    return float((total + others[0] * (np.expm1(step) - step)).mean())


def right_answers(model, tokenizer):
    """{prompt: (tokens, pixels, greedy answer, log-probabilities [all positions, V])}"""
    result = {}
    for name, (_, request) in PROMPTS.items():
        tokens, pixels = inputs(request, tokenizer, rule_of(name))
        if rule_of(name) == "huggingface":
            assert_transformers_agrees(request, pixels)
        given = []
        while len(given) < POSITIONS:
            row = logits(model, tokens + given, pixels, 1)[0]
            given.append(int(row.argmax()))
        assert 2 not in given, f"{name} ends"
        everything = logits(model, tokens + given[:-1], pixels, len(tokens) + POSITIONS - 1)
        result[name] = tokens, pixels, given, answer.log_probabilities(everything)
        best = np.sort(result[name][3][-POSITIONS:], axis=1)[:, -2:]
        print(f"{name}: {len(tokens)} tokens, margins {np.round(best[:, 1] - best[:, 0], 3)}", flush=True)
    return result


def noise_of(arguments):
    arithmetic, schedule, right = arguments
    model, result = checkpoint.open_checkpoint("seeded:small"), {}
    for name, (tokens, pixels, given, logprobs) in right.items():
        rounds = rounding.Rounding(arithmetic, schedule)
        found = logits(model, tokens + given[:-1], pixels, POSITIONS, rounds=rounds)
        result[name] = divergence(logprobs[-POSITIONS:], answer.log_probabilities(found))
    return arithmetic, schedule, result


def noise_of_torch(model, tokenizer, right, request):
    """How far a prompt by transformers' rule is from itself with torchvision's pixels, which are right, too."""
    tokens, _, given, logprobs = right

    def pixels(rgb, by_pillow):
        return smoothed_by_torch(rgb, (by_pillow.shape[2] // 16, by_pillow.shape[1] // 16))

    used = inputs(request, tokenizer, "huggingface", pixels)[1]
    found = logits(model, tokens + given[:-1], used, POSITIONS)
    return divergence(logprobs[-POSITIONS:], answer.log_probabilities(found))


def by_mistral(tokenizer, request):
    """The tokens of the witness, whose from_openai does not know whether a prompt is to be added."""
    request = {key: value for key, value in copy.deepcopy(request).items() if key != "add_generation_prompt"}
    return tokenizer.encode_chat_completion(ChatCompletionRequest.from_openai(**request)).tokens


# Mistakes


def without_images(request):
    request = copy.deepcopy(request)
    for message in request["messages"]:
        if isinstance(message["content"], list):
            message["content"] = [part for part in message["content"] if part["type"] == "text"]
    return request


def exchanged(request):
    """The images in the opposite order."""
    request = copy.deepcopy(request)
    parts = [part for one in request["messages"] if isinstance(one["content"], list) for part in one["content"]
             if part["type"] == "image_url"]  # fmt: skip
    for part, other in zip(parts, [part["image_url"] for part in parts][::-1], strict=True):
        part["image_url"] = other
    return request


RULES = {"images by transformers' rule": "huggingface", "images by mistral-common's rule": "mistral"}
# What can become of a request before a model sees it: a request, or pixels, to another.
WAYS = {
    "images dropped": (without_images, None),
    "images in the opposite order": (exchanged, None),
    "images black": (None, lambda rgb, right: faults.normalised(np.zeros((*right.shape[1:], 3)))),
    "images white": (None, lambda rgb, right: faults.normalised(np.full((*right.shape[1:], 3), 255))),
    "red and blue exchanged": (None, lambda rgb, right: stretched(rgb[..., ::-1].copy(), (right.shape[2] // 16, right.shape[1] // 16))),
    "[IMG_BREAK] and [IMG_END] exchanged": (None, None),
} | {rule: (None, None) for rule in RULES}  # fmt: skip


def wrong_answers(arguments):
    """{prompt: (tokens, likeliest tokens, their log-probabilities)} of one mistake, where they are not right; None
    where nobody can say.
    """
    suspect, right = arguments
    model = checkpoint.open_checkpoint("seeded:small")
    fault = pixels = change = None
    rgb = on_white
    if suspect in text_faults.FAULTS | text_faults.FORMS:
        text_faults.put(suspect)
    elif suspect in faults.FAULTS | faults.FORMS:
        fault = (faults.FAULTS | faults.FORMS)[suspect]
    elif suspect == "P-alpha":
        rgb = faults.without_alpha
    elif suspect in WAYS:
        change, pixels = WAYS[suspect]
    else:
        pixels = (faults.PIXEL_FAULTS | faults.PIXEL_FORMS)[suspect]
    tokenizer = text_oracle.Tokenizer(make_goldens.TOKENIZER)
    if suspect.startswith("[IMG_BREAK]"):
        text_oracle.IMG_BREAK, text_oracle.IMG_END = 15, 14
    result = {}
    for name, (_, request) in (PROMPTS | SIZES).items():
        request = change(request) if change else request
        if not all(one["content"] for one in request["messages"]):
            result[name] = None
            continue
        tokens, used = inputs(request, tokenizer, RULES.get(suspect, rule_of(name)), pixels, rgb)
        if name in SIZES:
            if tokens != right[name]:
                result[name] = tokens, None, None
            continue
        try:
            row = answer.log_probabilities(logits(model, tokens, used, 1, fault))
        except (AssertionError, ValueError) as refusal:
            print(f"{suspect}, {name}: {refusal}", flush=True)
            result[name] = None
            continue
        if not np.isfinite(row).all():
            result[name] = None
            continue
        truth = right[name]
        moved = divergence(truth[3][-POSITIONS : -POSITIONS + 1], row)
        if tokens != truth[0] or not moved <= 1e-14:
            result[name] = tokens, *(x[0] for x in likeliest(row, TOLD))
    return suspect, result


# Cases


def case(name, title, operation, inputs, expect, **keys):
    return {
        "id": f"endpoint/{name}", "title": title, "stage": "endpoint", "exposes": [], "subject": {"operation": operation},
        "model": "seeded:small", "inputs": inputs, "expect": expect, "compare": "exact", "requires": [],
        "conflicts_with": [], "importance": "high", "basis": "Docs/Conformance.md, an endpoint",
        "oracle": {"name": "Fixtures/oracle", "version": f"numpy {np.__version__}, python {platform.python_version()}"},
        "witnesses": [], "since": SINCE, "retired": None,
    } | keys  # fmt: skip


def rule_keys(kind, name):
    """What of a case says whose rule of images is asked: a server has one, and is not asked the other."""
    if rule_of(name) == "huggingface":
        other = name.removeprefix("huggingface-")
        return {"requires": ["image.huggingface"], "conflicts_with": [f"endpoint/{kind}/{other}"]}
    other = f"huggingface-{name}"
    return {"conflicts_with": [f"endpoint/{kind}/{other}"]} if other in PROMPTS else {}


def token_witness(name):
    if rule_of(name) == "huggingface":
        return {"name": "PixtralImageProcessorPil, of the grid", "version": transformers.__version__}
    return {"name": "mistral-common", "version": mistral_common.__version__}


def ids(suspects):
    """Mistakes of Docs/Faults.md among those, without their forms."""
    return sorted(
        {suspect.split("~")[0] for suspect in suspects if re.fullmatch(r"[A-Z]-[a-z0-9~-]+", suspect)}
    )


def is_plain_together(found, right, noise):
    """Whether a mistake, made as it stands, is 5 standard errors of the amount by which all prompts show it
    (MistakeFit.swift): in float32, by Mistral's rule of images, of fifteen log-probabilities behind prompts of which
    not one alone has the weight.
    """
    count = worst = squares = squared = 0
    for name, one in found.items():
        # The same image once more says nothing new.
        if one is None or one[1] is None or rule_of(name) == "huggingface" or name == "image-again":
            continue
        row = right[name][3][-POSITIONS : -POSITIONS + 1]
        golden, values = (x[0] for x in likeliest(row, KEPT))
        common = np.isin(one[1], golden)
        moves = one[2][common] - row[0, one[1][common]]
        variance = max(2 * max(noise[name]["float32"].values()) / np.exp(values[:TOLD]).sum(), 1e-14)
        weight = (moves**2).sum() / variance
        count, squares, squared = count + moves.size, squares + weight, squared + weight**2
        worst += np.abs(moves).sum() ** 2 / variance
    return count >= 15 and squares**2 >= 1.2 * squared and squares > 5 * math.sqrt(worst)


def main():
    tokenizer = text_oracle.Tokenizer(make_goldens.TOKENIZER)
    mistral = MistralTokenizer.from_file(str(make_goldens.TOKENIZER))
    model = checkpoint.open_checkpoint("seeded:small")
    right = right_answers(model, tokenizer)
    sizes = {name: rendered(request, tokenizer)[0] for name, (_, request) in SIZES.items()}
    for name, (_, request) in (PROMPTS | SIZES).items():
        if rule_of(name) == "huggingface":
            continue
        found = by_mistral(mistral, request)
        assert found == (sizes[name] if name in sizes else right[name][0]), (
            f"{name}: mistral-common has other tokens"
        )
    torch.set_num_threads(1)
    peer = witness_transformers.build(*witness_transformers.read_checkpoint("seeded:small"), torch.float32)
    witness = {}
    for name, (tokens, pixels, given, logprobs) in right.items():
        with torch.inference_mode():
            images = [torch.from_numpy(x).float() for x in pixels]
            found = peer(
                input_ids=torch.tensor([tokens + given[:-1]]), use_cache=False, **torch_session.batch(images)
            ).logits
        found = answer.log_probabilities(found[0, -POSITIONS:].double().numpy())
        witness[name] = divergence(logprobs[-POSITIONS:], found)
    print("witness", {name: f"{x:.1e}" for name, x in witness.items()}, flush=True)
    suspects = [*text_faults.FAULTS, *text_faults.FORMS, *faults.FAULTS, *faults.FORMS,
                *faults.PIXEL_FAULTS, *faults.PIXEL_FORMS, "P-alpha", *WAYS]  # fmt: skip
    noise, wrong = {name: {} for name in right}, {}
    with concurrent.futures.ProcessPoolExecutor(2, max_tasks_per_child=1) as pool:
        jobs = [(a, s, right) for a in rounding.ARITHMETICS for s in rounding.SCHEDULES]
        for arithmetic, schedule, found in pool.map(noise_of, jobs):
            for name, value in found.items():
                # Nothing is asked to be nearer than a quarter of the unit of rounding.
                least = (2.0 ** -(BITS[arithmetic] + 2)) ** 2
                noise[name].setdefault(arithmetic, {})[schedule] = float(rounded_up(max(value, least)))
        print(
            {a: f"{max(max(of[a].values()) for of in noise.values()):.1e}" for a in rounding.ARITHMETICS},
            flush=True,
        )
        for suspect, found in pool.map(wrong_answers, [(one, right | sizes) for one in suspects]):
            print(f"{suspect}: {len(found)} prompts", flush=True)
            wrong[suspect] = found
    for name in witness:
        noise[name]["float32"]["transformers"] = float(rounded_up(witness[name]))
    for name in filter(lambda name: rule_of(name) == "huggingface", right):
        largest = noise_of_torch(model, tokenizer, right[name], PROMPTS[name][1])
        print(f"{name}: torchvision's stretch {largest:.1e}", flush=True)
        for arithmetic in noise[name]:
            noise[name][arithmetic]["torchvision"] = float(rounded_up(largest))
    write(right, sizes, noise, wrong)


def write(right, sizes, noise, wrong):
    OUT.mkdir(parents=True, exist_ok=True)
    told, rows, lines = [], [], []
    for suspect, found in wrong.items():
        prompts = {}
        for name, one in found.items():
            if one is None:
                prompts[name] = None
                continue
            tokens, likely, logprobs = one
            truth = sizes[name] if name in sizes else right[name][0]
            prompts[name] = {"count": len(tokens), "tokens": hashed(tokens)} if tokens != truth else {}
            if likely is not None:
                prompts[name]["row"] = len(rows)
                told.append(likely)
                rows.append(logprobs)
        if prompts:
            lines.append(suites.line({"suspect": suspect, "prompts": prompts}))
    (FAULTS / "endpoint.jsonl").write_text("".join(lines), encoding="utf-8")
    save_file({"tokens": np.array(told, dtype=np.int32), "logprobs": np.array(rows, dtype=np.float32)},
              FAULTS / "endpoint.safetensors")  # fmt: skip
    tensors = {}
    for name, (tokens, _, given, logprobs) in right.items():
        likely, values = likeliest(logprobs[-POSITIONS:], KEPT)
        tensors |= {f"{name}/top_tokens": likely, f"{name}/top_logprobs": values.astype(np.float64)}
        own = logprobs[np.arange(len(tokens) - 1), tokens[1:]]
        tensors[f"{name}/prompt_logprobs"] = own.astype(np.float32)
    save_file(tensors, OUT / "small.safetensors")
    cases = []
    for name, (what, request) in (PROMPTS | SIZES).items():
        tokens = sizes[name] if name in sizes else right[name][0]
        exposes = ids(
            suspect for suspect, found in wrong.items() if found.get(name) and found[name][0] != tokens
        )
        cases.append(case(
            f"tokens/{name}", f"A server has the right tokens of {what}.", "the tokens of a prompt",
            {"request": request}, {"tokens": tokens}, exposes=exposes, **rule_keys("tokens", name),
            witnesses=[token_witness(name)],
        ))  # fmt: skip
    for name, (tokens, _, given, logprobs) in right.items():
        limit = FAR * max(noise[name]["float32"].values())
        exposes = []
        for suspect, found in wrong.items():
            if found.get(name) and suspect not in WAYS:
                likely, values = found[name][1:]
                p = logprobs[-POSITIONS, likely]
                exposes += (
                    [suspect] if (np.exp(p) * (np.expm1(values - p) - (values - p))).sum() > limit else []
                )
        cases.append(case(
            f"logprobs/{name}", f"A server has the right log-probabilities behind {PROMPTS[name][0]}.",
            "the log-probabilities behind a prompt", {"prompt": name},
            {"file": "small.safetensors", "sha256": sha256(OUT / "small.safetensors"), "answer": given},
            exposes=ids(exposes), compare={"kl": noise[name]}, **rule_keys("logprobs", name),
            witnesses=[{"name": "transformers, float32", "version": transformers.__version__,
                        "distance": noise[name]["float32"]["transformers"]}],
        ))  # fmt: skip
    cases.append(case(
        "mistakes/known", "A server's log-probabilities behind all prompts together are not moved as a known mistake moves them.",
        "how known mistakes move the log-probabilities", {}, {"amount": 0},
        exposes=ids(suspect for suspect, found in wrong.items() if is_plain_together(found, right, noise)),
    ))  # fmt: skip
    for name, prompt, beside, moves, title in INFLUENCE:
        cases.append(case(f"influence/{name}", title, "what moves the log-probabilities",
                          {"prompt": prompt, "beside": beside}, {"moves": moves}))  # fmt: skip
    for name, what, bad, good in ERRORS:
        cases.append(case(f"errors/{name}", f"A server refuses a request that {what}, and takes it mended.",
                          "refuse a request", {"request": bad, "mended": good}, {"reject": "400"}))  # fmt: skip
    for name, title in KEEPS:
        cases.append(case(f"keeps/{name}", title, "what every answer keeps", {}, {"keeps": name}))
    suites.write("small", cases, OUT)
    print(
        sum(file.stat().st_size for file in [*OUT.iterdir(), *FAULTS.glob("endpoint.*")]), "bytes", flush=True
    )


if __name__ == "__main__":
    main()
