"""Every case of Fixtures/cases/tokens through Fixtures/oracle/tokens.py, which follows
Docs/Tokens.md.

    python check_tokens_document.py            (needs Python 3.11 and no package)

A mismatch means that the page is wrong or leaves something out. Exit 1 if there is one, or if there
was nothing to ask.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Fixtures" / "oracle"))
import tokens  # noqa: E402

CASES = ROOT / "Fixtures" / "cases" / "tokens"
MODEL = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"


def suite(path: Path) -> list[dict]:
    """The cases of NAME.jsonl. What all of them share may stand in NAME.json; a line's own key
    wins.
    """
    common = path.with_suffix(".json")
    shared = json.loads(common.read_text(encoding="utf-8"))["shared"] if common.exists() else {}
    return [shared | json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def main() -> None:
    tokenizer = tokens.Tokenizer(MODEL)
    asked = wrong = 0
    for path in sorted(CASES.rglob("*.jsonl")):
        cases, differ = suite(path), []
        for case in cases:
            expected, found = case["expect"], tokens.answer(case["inputs"], tokenizer)
            # A suite may leave out what it does not judge, such as the text of a random request.
            judged = found if "reject" in found else {key: found.get(key) for key in expected}
            if judged != expected:
                differ.append((case["id"], expected, judged))
        name = path.relative_to(CASES).with_suffix("")
        print(f"{name}: {len(cases)} cases, {len(differ)} differ")
        for id, expected, found in differ[:5]:
            print(f"  {id}\n    expected {json.dumps(expected)[:200]}")
            print(f"    found    {json.dumps(found)[:200]}")
        asked, wrong = asked + len(cases), wrong + len(differ)
    print(f"{asked} cases, {wrong} differ")
    sys.exit(wrong > 0 or asked == 0)


if __name__ == "__main__":
    main()
