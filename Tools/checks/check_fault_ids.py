"""Every fault id that is written anywhere (V-no-mask, D-tied) is explained in Docs/Faults.md, once.
No packages needed.

    python check_fault_ids.py

Reads Sources, Tests, Tools, Docs, README.md and the cases of Fixtures (there, in JSON, an id is a
whole string). Prints each id that the page does not define and where it stands, ids that the page
defines twice, and ids with a row in a table and no section, or the other way round; exit 1 if there
are any. Ends with the ids that no case claims in `exposes`.
"""

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "Docs" / "Faults.md"
ID = r"[LGPVAMDT]-[a-z0-9]+(?:-[a-z0-9]+)*"
CITED = {
    **dict.fromkeys((".swift", ".c", ".h", ".py", ".md", ".csv"), re.compile(rf"(?<![\w-])({ID})(?![\w-])")),
    **dict.fromkeys((".json", ".jsonl"), re.compile(rf'"({ID})"')),
}


def cited(folder):
    """[(id, "file:line")] of all files below a folder, or of one file."""
    files = [folder] if folder.is_file() else sorted(f for f in folder.rglob("*") if f.suffix in CITED)
    result = []
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            result += [(id, f"{file.relative_to(ROOT)}:{number}") for id in CITED[file.suffix].findall(line)]
    return result


def main():
    text = PAGE.read_text(encoding="utf-8")
    rows, sections = (
        Counter(re.findall(pattern, text, re.MULTILINE))
        for pattern in (rf"^\| `({ID})` \|", rf"^### ({ID})$")
    )
    problems = [f"{id} is defined twice" for id in rows if rows[id] > 1 or sections[id] > 1]
    problems += [
        f"{id} has a row or a section in Docs/Faults.md, and not both"
        for id in sorted(set(rows) ^ set(sections))
    ]

    claimed = {id for id, _ in cited(ROOT / "Fixtures" / "cases")}
    places = [
        place
        for part in ("Sources", "Tests", "Tools", "Docs", "README.md", "Fixtures/cases")
        for place in cited(ROOT / part)
    ]
    if not rows or not claimed:
        problems.append(f"{len(rows)} ids in the page and {len(claimed)} in the cases: nothing was checked")
    undefined = sorted({id for id, _ in places} - set(rows))
    for id in undefined:
        where = [place for other, place in places if other == id]
        problems.append(
            f"{id} is not in Docs/Faults.md: {', '.join(where[:3])}{f' and {len(where) - 3} more' if len(where) > 3 else ''}"
        )
    for problem in problems:
        print(problem)
    print(f"{len(rows)} ids; no case claims {', '.join(sorted(set(rows) - claimed)) or 'none'}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
