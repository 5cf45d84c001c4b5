"""Opens the folder that `pixtral-ref checkpoint write --layout hf` writes with transformers' Auto
classes, and compares what they make of texts and requests with sentencepiece and mistral-common.

    python check_hf_folder.py BINARY [--texts 2000] [--seed SEED] [--write]

Needs torchvision beside requirements.txt: transformers' PixtralProcessor asks for it.

- Texts: those of Fixtures/cases/tokens/text, random ones, and rows of spaces. The tokens must be
  sentencepiece's. Where a text holds the name of a control token, every tokenizer of Hugging Face's
  takes that for the token; told to split_special_tokens, it must give sentencepiece's all the same.
- Requests: those of Fixtures/cases/tokens/request, through AutoProcessor.apply_chat_template. An image
  is one [IMG] in the comparison, for transformers rounds sizes in another way. The random ones must
  have mistral-common's tokens, unless they hold what a template cannot follow. What that is, and where
  the others part, is the last section of Docs/ChatTemplates.md; --write writes it.

Exit 1 if a text or a random request has other tokens, or if the document has another section than
this run.
"""

import argparse
import difflib
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import corpus  # noqa: E402
import suites  # noqa: E402
from check_chat_template import (  # noqa: E402
    CONTROLS, DOCUMENT, OWN, PROCESSOR, judged, prose, summary, versions, without_grids,
)  # fmt: skip


NAMES = [*CONTROLS, PROCESSOR.id_to_piece(PROCESSOR.unk_id())]  # of the special tokens


def declare_torchvision() -> torch.library.Library:
    """PyPI's torchvision is built for CUDA's torch. Beside the CPU build its import stops at two
    operators that nothing here calls.
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def texts(count: int, seed: int) -> list[str]:
    found = [
        case["inputs"]["text"]
        for suite in suites.names()
        if suite.startswith("tokens/text/")
        for case in suites.read(suite)
    ]
    r = random.Random(seed)
    found += [corpus.text(r) for _ in range(count)]
    found += [" " * length + end for length in range(100) for end in ("", "x", "\n", "[REF]")]
    # Names of bytes and of user-defined pieces, side by side.
    names = ["[REF]", "[/REF]", "[REFERENCE_DOC_1]", "0", "<0x0A>", "<0x0", "<", " "]
    return found + ["".join(r.choices(names, k=r.randint(1, 6))) for _ in range(500)]


def check_texts(tokenizer, count: int, seed: int) -> bool:
    wrong, named, taken = [], 0, 0
    for text in texts(count, seed):
        try:
            text.encode()
        except UnicodeEncodeError:
            continue  # half a surrogate pair has no UTF-8
        expected = PROCESSOR.encode(text)
        found = tokenizer(text, add_special_tokens=False).input_ids
        if any(name in text for name in NAMES):
            named += 1
            taken += found != expected
            found = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        if found != expected:
            wrong.append(f"{text!r}: {found[:20]}, sentencepiece {expected[:20]}")
    print(f"texts, seed {seed}: {len(wrong)} have other tokens")
    print(f"{named} hold the name of a control token, which {taken} take for it unless told otherwise")
    print("\n".join(sorted(wrong, key=len)[:10]))
    return not wrong


def with_images(message: dict) -> dict:
    """The images of a message opened by Pillow, for PixtralProcessor's own way is torchvision's, of which
    the CPU build of torch has no more than the names.
    """
    if not isinstance(message.get("content"), list):
        return message
    chunks = []
    for chunk in message["content"]:
        if chunk["type"] in ("image", "image_url"):
            from transformers.image_utils import load_image

            source = chunk[chunk["type"]]
            chunk = {
                "type": "image",
                "image": load_image(source["url"] if isinstance(source, dict) else source),
            }
        chunks.append(chunk)
    return {**message, "content": chunks}


def render(processor, request: dict) -> list[int]:
    """The tokens of a request, each image as one [IMG]."""
    answer = processor.apply_chat_template(
        [with_images(message) for message in request["messages"]],
        tools=request.get("tools") or None,
        tokenize=True,
        return_dict=True,
        continue_final_message=bool(request.get("continue_final_message", False)),
    )
    return without_grids(answer["input_ids"][0].tolist())


def followed(request: dict) -> bool:
    """Whether the template ought to follow: no name of a control token, no arguments as text, and no
    message that transformers itself continues.
    """
    text = json.dumps(request, ensure_ascii=False)
    calls = [call for message in request["messages"] for call in message.get("tool_calls") or []]
    return not (
        any(name in text for name in NAMES)
        or any(isinstance(call["function"]["arguments"], str) for call in calls)
        or request.get("continue_final_message")
    )


def check_corpus(processor) -> bool:
    """The random requests of the suite tokens/request/corpus."""
    cases = [
        case
        for case in suites.read("tokens/request/corpus")
        if "tokens" in case["expect"] and followed(case["inputs"]["request"])
    ]
    wrong, vanished = [], 0
    for case in cases:
        try:
            found = render(processor, case["inputs"]["request"])
        except ValueError as error:
            if "Size must contain" not in str(error):
                raise
            vanished += 1  # of an image transformers rounds a side down to nothing
            continue
        if found != without_grids(case["expect"]["tokens"]):
            wrong.append(case["id"])
    print(
        f"{len(cases)} random requests: {len(wrong)} have other tokens, {vanished} have too slender an image"
    )
    print("\n".join(wrong[:10]))
    return not wrong


def section(processor) -> str:
    answers = judged(lambda request: render(processor, request))
    paragraphs = [
        f"""chat_template.jinja is pixtral-ref's own. `Tools/checks/check_hf_folder.py` renders the same suite
        with the folder's AutoProcessor ({versions("transformers", "tokenizers", "jinja2")}): the tokens are
        those of tokenizer.json, and the images are opened.""",
        f"""{summary(answers)}. What it cannot follow:""",
    ]
    points = [
        """- The name of a control token in a text becomes the token, as with every tokenizer of Hugging Face's.
        With `sanitize_control_tokens=True` it stays text, but is cut into other tokens than
        mistral-common's.""",
        """- transformers refuses images of which a side is rounded down to nothing, and where it continues a
        message itself it drops white space at the end. With `"prefix": true` in the message it does not.""",
        """- It cannot read JSON. Arguments given as text stand as they are: give an object.""",
        """- It does not know the keys beside messages and tools, and checks no names and no schemas.""",
        """- It does not count results, and takes conversations that end with the assistant, for trainers.""",
    ]
    lists = []
    for verdict, words in {
        "other tokens": "Other tokens",
        "refused": "Refused",
        "accepted": "Refused by mistral-common alone",
    }.items():
        names = [case["id"].split("/")[-1] for case, found, _, _ in answers if found == verdict]
        lists += [f"{words}: {', '.join(f'`{name}`' for name in names)}."] if names else []
    return (
        "\n\n".join(
            [
                OWN.rstrip(),
                *map(prose, paragraphs),
                "\n".join(prose(point).replace("\n", "\n  ") for point in points),
                *map(prose, lists),
            ]
        )
        + "\n"
    )


def check_requests(processor, write: bool) -> bool:
    text = DOCUMENT.read_text(encoding="utf-8")
    before, heading, own = text.partition(OWN)
    found = section(processor)
    if write:
        DOCUMENT.write_text(f"{before.rstrip()}\n\n{found}", encoding="utf-8")
        return True
    lines = difflib.unified_diff(
        (heading + own).splitlines(), found.splitlines(), "document", "run", lineterm=""
    )
    difference = list(lines)
    print(f"requests: Docs/ChatTemplates.md has {'another' if difference else 'the same'} section")
    print("\n".join(difference))
    return not difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    library = declare_torchvision()  # gone when this name is
    from transformers import AutoConfig, AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration

    with tempfile.TemporaryDirectory() as folder:
        command = [options.binary, "checkpoint", "write", "seeded:tiny", "--layout", "hf", "--out", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        config = AutoConfig.from_pretrained(folder)
        model, loaded = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
        left = {key: value for key, value in loaded.items() if value}
        print(f"{type(config).__name__} and {type(model).__name__}: {left or 'every tensor is taken'}")
        right = not left
        right &= check_texts(AutoTokenizer.from_pretrained(folder), options.texts, options.seed)
        processor = AutoProcessor.from_pretrained(folder)
        right &= check_corpus(processor)
        right &= check_requests(processor, options.write)
    del library
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
