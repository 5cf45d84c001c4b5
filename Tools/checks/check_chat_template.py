"""Renders the tokens suite through transformers' `apply_chat_template`, with mistral-common's own Jinja template for V7, and says where the two differ.

    python check_chat_template.py            (writes Docs/ChatTemplates.md)

What a template gives is text, and how that becomes tokens depends on the tokenizer behind it. It is read in the most favourable way: the names of control
tokens are those tokens, the single space that the template writes behind one is the space that SentencePiece puts in front of a text anyway, each
stretch between is encoded by SentencePiece, and an image is one [IMG], whatever its size.
"""

import sys
from pathlib import Path
import collections
import importlib.metadata
import re

from mistral_common.integrations.chat_templates.chat_templates import convert_tokenizer_to_chat_template
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import releases  # noqa: E402
import suites  # noqa: E402

PROCESSOR = SentencePieceProcessor(model_file=str(releases.MODEL))
CONTROLS = {PROCESSOR.id_to_piece(id): id for id in range(PROCESSOR.get_piece_size()) if PROCESSOR.is_control(id)}
CONTROL = re.compile("(" + "|".join(re.escape(piece) for piece in sorted(CONTROLS, key=len, reverse=True)) + ")")
IMAGE = CONTROLS["[IMG]"]
BLOCK = {IMAGE, CONTROLS["[IMG_BREAK]"], CONTROLS["[IMG_END]"]}


def tokens_of(text: str) -> list[int]:
    tokens: list[int] = []
    for part in CONTROL.split(text):
        if part in CONTROLS:
            tokens.append(CONTROLS[part])
        elif part:
            tokens += PROCESSOR.encode(part[1:] if part.startswith(" ") and tokens else part)
    return tokens


def without_grids(tokens: list[int]) -> list[int]:
    """Each image of a request as one [IMG]."""
    found: list[int] = []
    for token in tokens:
        if token in BLOCK:
            if token == CONTROLS["[IMG_END]"]:
                found.append(IMAGE)
        else:
            found.append(token)
    return found


def render(tokenizer: PreTrainedTokenizerFast, request: dict) -> str:
    messages = request["messages"]
    return tokenizer.apply_chat_template(
        messages, tools=request.get("tools") or None, tokenize=False, continue_final_message=bool(request.get("continue_final_message", False))
    )


def main() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = convert_tokenizer_to_chat_template(releases.MODEL)
    cases = suites.read("tokens/request/rules")
    count: collections.Counter = collections.Counter()
    rows = []
    for case in cases:
        expected = case["expect"]
        try:
            text = render(tokenizer, case["inputs"]["request"])
            found = tokens_of(text)
        except Exception as error:
            found, text = None, f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
        if "reject" in expected:
            verdict = "both refuse" if found is None else "accepted"
        elif found is None:
            verdict = "refused"
        else:
            verdict = "same" if found == without_grids(expected["tokens"]) else "other tokens"
        count[verdict] += 1
        if verdict not in ("same", "both refuse"):
            cell = text.replace("|", "\\|").replace("\n", "⏎")
            cell = "".join(character if character.isprintable() else "·" for character in cell)
            rows.append(f"| `{case['id'].split('/')[-1]}` | {case['title']} | {verdict} | `{cell[:110].replace('`', '´')}` |")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mistral-common", "transformers", "jinja2"))
    valid = count["same"] + count["other tokens"] + count["refused"]
    body = f"""# Chat templates beside mistral-common

Hugging Face users render V7 with a Jinja template. mistral-common itself writes one for this tokenizer, and `Tools/checks/check_chat_template.py` renders the
suite `Fixtures/cases/tokens/request/rules.jsonl` through it with transformers' `apply_chat_template`, reading the result in its favour (see the script).
This page is what it wrote ({versions}).

Of {len(cases)} cases, {valid} are requests that mistral-common takes: the template gives the same tokens for {count["same"]}, other tokens for
{count["other tokens"]}, and refuses {count["refused"]}. Of {count["both refuse"] + count["accepted"]} that mistral-common refuses, the template lets {count["accepted"]} through: a template
cannot be relied on to validate.

| case | rule | with the template | what it renders |
|---|---|---|---|
""" + "\n".join(rows) + "\n"
    (releases.ROOT / "Docs" / "ChatTemplates.md").write_text(body, encoding="utf-8")
    print(dict(count))


if __name__ == "__main__":
    main()
