"""Fresh random requests, texts and tokens through `pixtral-ref tokens`, and through mistral-common
and sentencepiece.

    python check_tokens.py BINARY [COUNT [SEED]]        (COUNT of each kind; 2,000 unless told)

Requests are of four kinds: whole ones (corpus.py), and those of damage.py.

Everything must be the same: tokens, text and grids, or the class of the exception. Exit 1 and the
smallest differing inputs if anything is not.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

from sentencepiece import SentencePieceProcessor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import corpus  # noqa: E402
import damage  # noqa: E402
import releases  # noqa: E402


def ask(binary: str, key: str, values: list) -> list[dict]:
    lines = "".join(json.dumps({"id": number, key: value}) + "\n" for number, value in enumerate(values))
    output = subprocess.run(
        [binary, "tokens", "--jsonl"], input=lines.encode(), check=True, capture_output=True
    ).stdout.decode()
    answers = [json.loads(line) for line in output.split("\n")[:-1]]
    assert [answer["id"] for answer in answers] == list(range(len(values)))
    return answers


def request_answer(answer: dict) -> dict:
    """In the form in which releases.py answers."""
    if "error" in answer:
        return {"reject": answer["error"]["type"]}
    grids = [{"columns": image["columns"], "rows": image["rows"]} for image in answer["images"]]
    return {"tokens": answer["tokens"], "text": answer["text"], "images": grids}


def main() -> None:
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    binary = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(10**6)
    r = random.Random(seed)
    processor = SentencePieceProcessor(model_file=str(releases.MODEL))
    makers = {
        "requests": corpus.request,
        "damaged requests": damage.damaged,
        "schemas": damage.request_with_schema,
        "patterns": damage.request_with_pattern,
    }
    requests = {name: [make(r) for _ in range(count)] for name, make in makers.items()}
    texts = [corpus.text(r) for _ in range(count)]
    lists = [
        [r.choice([r.randrange(32768), r.randrange(1100)]) for _ in range(r.randrange(30))]
        for _ in range(count)
    ]

    checks = {
        name: (
            found,
            [request_answer(answer) for answer in ask(binary, "request", found)],
            releases.answers(releases.CURRENT, [{"request": request} for request in found]),
        )
        for name, found in requests.items()
    } | {
        "texts": (texts, [answer["tokens"] for answer in ask(binary, "text", texts)], [processor.encode(text) for text in texts]),
        "token lists": (lists, [answer["text"] for answer in ask(binary, "tokens", lists)], [processor.decode(tokens) for tokens in lists]),
    }  # fmt: skip
    failed = False
    for name, (inputs, found, expected) in checks.items():
        wrong = [index for index in range(count) if found[index] != expected[index]]
        refused = sum(isinstance(answer, dict) and "reject" in answer for answer in expected)
        print(f"{name}: {count} with seed {seed}, {refused} of them to be refused, {len(wrong)} differ")
        for index in sorted(wrong, key=lambda index: len(json.dumps(inputs[index])))[:3]:
            print(
                f"  {json.dumps(inputs[index])[:500]}\n    expected {json.dumps(expected[index])[:200]}\n    found    {json.dumps(found[index])[:200]}"
            )
        failed = failed or bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
