"""Renders the tokens suite through transformers' `apply_chat_template`, with mistral-common's own
Jinja template for V7, and says where the two differ.

    python check_chat_template.py            (writes Docs/ChatTemplates.md)

What a template gives is text, and how that becomes tokens depends on the tokenizer behind it. It is
read in the most favourable way: the names of control tokens are those tokens, the single space that
the template writes behind one is the space that SentencePiece puts in front of a text anyway, each
stretch between is encoded by SentencePiece, and an image is one [IMG], whatever its size.
"""

import sys
from pathlib import Path
import collections
import importlib.metadata
import re
import textwrap

from mistral_common.integrations.chat_templates.chat_templates import convert_tokenizer_to_chat_template
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import releases  # noqa: E402
import suites  # noqa: E402

PROCESSOR = SentencePieceProcessor(model_file=str(releases.MODEL))
CONTROLS = {
    PROCESSOR.id_to_piece(id): id for id in range(PROCESSOR.get_piece_size()) if PROCESSOR.is_control(id)
}
CONTROL = re.compile(
    "(" + "|".join(re.escape(piece) for piece in sorted(CONTROLS, key=len, reverse=True)) + ")"
)
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
        messages,
        tools=request.get("tools") or None,
        tokenize=False,
        continue_final_message=bool(request.get("continue_final_message", False)),
    )


def shown(tokens: list[int], at: int, before: int = 3, behind: int = 3) -> str:
    """The pieces around a token, which is bold; Markdown for one cell of a table."""

    def code(part: list[int]) -> str:
        text = "".join(PROCESSOR.id_to_piece(token) for token in part)
        text = "".join(character if character.isprintable() else "·" for character in text)
        return f"`{text.replace('|', chr(92) + '|').replace('`', '´')}`"

    first = max(at - before, 0)
    parts = [("… " if first else "") + code(tokens[first:at])] if at else []
    parts.append(f"**{code(tokens[at : at + 1])}**" if at < len(tokens) else "*end*")
    if at + 1 < len(tokens):
        parts.append(code(tokens[at + 1 : at + 1 + behind]) + (" …" if at + 1 + behind < len(tokens) else ""))
    return " ".join(parts)


def row(case: dict, verdict: str, found: list[int] | None, error: str) -> str:
    """Where the two part: the first token that differs, or the exception of the one that refuses."""
    expected = case["expect"]
    if verdict == "other tokens":
        wanted = without_grids(expected["tokens"])
        pairs = zip(wanted, found)
        at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(wanted), len(found)))
        cells = shown(wanted, at), shown(found, at)
    elif verdict == "accepted":
        cells = f"*{expected['reject']}*", "tokens"
    else:
        cells = "tokens", f"*{error}*"
    title = case["title"].replace("<", "&lt;")
    return f"| `{case['id'].split('/')[-1]}` | {title} | {verdict} | {cells[0]} | {cells[1]} |"


def prose(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = convert_tokenizer_to_chat_template(releases.MODEL)
    cases = suites.read("tokens/request/rules")
    count: collections.Counter = collections.Counter()
    rows = []
    for case in cases:
        expected = case["expect"]
        found, error = None, ""
        try:
            found = tokens_of(render(tokenizer, case["inputs"]["request"]))
        except Exception as exception:
            error = f"{type(exception).__name__}: {str(exception).splitlines()[0][:80]}"
        if "reject" in expected:
            verdict = "both refuse" if found is None else "accepted"
        elif found is None:
            verdict = "refused"
        else:
            verdict = "same" if found == without_grids(expected["tokens"]) else "other tokens"
        count[verdict] += 1
        if verdict not in ("same", "both refuse"):
            rows.append(row(case, verdict, found, error))
    names = ("mistral-common", "transformers", "jinja2")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    valid = count["same"] + count["other tokens"] + count["refused"]
    paragraphs = [
        f"""Hugging Face users render V7 with a Jinja template. mistral-common itself writes one for this
        tokenizer, and `Tools/checks/check_chat_template.py` renders the suite
        `Fixtures/cases/tokens/request/rules` through it with transformers' `apply_chat_template`,
        reading the result in its favour (see the script). This page is what it wrote ({versions}).""",
        f"""Of {len(cases)} cases, {valid} are requests that mistral-common takes: the template gives the same
        tokens for {count["same"]}, other tokens for {count["other tokens"]}, and refuses {count["refused"]}.
        Of {count["both refuse"] + count["accepted"]} that mistral-common refuses, the template lets
        {count["accepted"]} through: a template cannot be relied on to validate.""",
        """Each row shows where the two part: the first token that differs, in bold, with the pieces around
        it, or the exception of the one that refuses. An image is one `[IMG]` here.""",
    ]
    table = [
        "| case | rule | with the template | mistral-common | the template |",
        "|---|---|---|---|---|",
        *rows,
    ]
    body = "\n\n".join(["# Chat templates beside mistral-common", *map(prose, paragraphs), "\n".join(table)])
    (releases.ROOT / "Docs" / "ChatTemplates.md").write_text(body + "\n", encoding="utf-8")
    print(dict(count))


if __name__ == "__main__":
    main()
