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
    """Where the two part: the first token that differs, or the exception of the template that refuses."""
    if verdict == "other tokens":
        wanted = without_grids(case["expect"]["tokens"])
        pairs = zip(wanted, found)
        at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(wanted), len(found)))
        cells = shown(wanted, at), shown(found, at)
    else:
        cells = "tokens", f"*{error}*"
    title = case["title"].replace("<", "&lt;")
    return f"| `{case['id'].split('/')[-1]}` | {title} | {verdict} | {cells[0]} | {cells[1]} |"


def prose(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)


def judged(tokens_of_request) -> list[tuple]:
    """The suite through a template: each case with its verdict, and the tokens or the error behind it.

    - tokens_of_request: raises what it likes for a request that it refuses.
    """
    answers = []
    for case in suites.read("tokens/request/rules"):
        expected = case["expect"]
        found, error = None, ""
        try:
            found = tokens_of_request(case["inputs"]["request"])
        except Exception as exception:
            error = f"{type(exception).__name__}: {str(exception).splitlines()[0][:80]}"
        if "reject" in expected:
            verdict = "both refuse" if found is None else "accepted"
        elif found is None:
            verdict = "refused"
        else:
            verdict = "same" if found == without_grids(expected["tokens"]) else "other tokens"
        answers.append((case, verdict, found, error))
    return answers


def summary(answers: list[tuple]) -> str:
    count = collections.Counter(verdict for _, verdict, _, _ in answers)
    valid = count["same"] + count["other tokens"] + count["refused"]
    return f"""Of {count.total()} cases, {valid} are requests that mistral-common takes: the template gives the
        same tokens for {count["same"]}, other tokens for {count["other tokens"]}, and refuses
        {count["refused"]}. Of {count["both refuse"] + count["accepted"]} that mistral-common refuses, the
        template lets {count["accepted"]} through"""


def let_through(answers: list[tuple]) -> list[tuple[str, list[str]]]:
    """The names of cases that a template accepts, by the exception that refuses them, the most first."""
    found = collections.defaultdict(list)
    for case, verdict, _, _ in answers:
        if verdict == "accepted":
            found[case["expect"]["reject"]].append(f"`{case['id'].split('/')[-1].removeprefix('reject-')}`")
    return sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0]))


def versions(*packages: str) -> str:
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


DOCUMENT = releases.ROOT / "Docs" / "ChatTemplates.md"
# The second section of the document is check_hf_folder.py's.
OWN = "## The template of `checkpoint write --layout hf`\n"


def main() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = convert_tokenizer_to_chat_template(releases.MODEL)
    answers = judged(lambda request: tokens_of(render(tokenizer, request)))
    paragraphs = [
        f"""Hugging Face users render V7 with a Jinja template. mistral-common itself writes one for this
        tokenizer, and `Tools/checks/check_chat_template.py` renders the suite
        `Fixtures/cases/tokens/request/rules` through it with transformers' `apply_chat_template`,
        reading the result in its favour (see the script). This page is what it wrote
        ({versions("mistral-common", "transformers", "jinja2")}). The last section is about the template
        that pixtral-ref writes.""",
        f"""{summary(answers)}: a template cannot be relied on to validate.""",
        """Each row shows where the two part: the first token that differs, in bold, with the pieces around
        it, or the exception of the template that refuses. An image is one `[IMG]` here.""",
    ]
    table = [
        "| case | rule | with the template | mistral-common | the template |",
        "|---|---|---|---|---|",
        *(row(*answer) for answer in answers if answer[1] in ("other tokens", "refused")),
    ]
    lists = [
        prose("And these are the requests that the template lets through, by mistral-common's exception:")
    ]
    lists.append("\n".join(f"- *{name}*: {', '.join(cases)}." for name, cases in let_through(answers)))
    body = "\n\n".join(
        ["# Chat templates beside mistral-common", *map(prose, paragraphs), "\n".join(table), *lists]
    )
    _, heading, own = DOCUMENT.read_text(encoding="utf-8").partition(OWN)
    DOCUMENT.write_text(f"{body}\n\n{heading}{own}".rstrip("\n") + "\n", encoding="utf-8")
    print(" ".join(summary(answers).split()))


if __name__ == "__main__":
    main()
