"""Reads and writes suites: many cases of one kind in few bytes. Docs/Cases.md describes the format.

A suite NAME is two files below Fixtures/cases. NAME.json holds `shared`, the keys that its cases
share. Beside it stands either NAME.jsonl, a line a case with `id` and the keys that differ, or,
where a case is a few integers, NAME.csv, whose columns fill the `{column}` placeholders of
`shared`.
"""

import collections
import json
from pathlib import Path

CASES = Path(__file__).resolve().parent.parent.parent / "Fixtures" / "cases"
# Columns of a table that are keys of a case, and what becomes of a cell. An empty cell leaves the
# key as it is shared.
KEY_COLUMNS = {"exposes": str.split, "conflicts_with": str.split, "since": str}


# ---- reading ----


def names() -> list[str]:
    """Every suite, as its path below Fixtures/cases without an ending."""
    files = [*CASES.rglob("*.jsonl"), *CASES.rglob("*.csv")]
    return sorted(str(file.relative_to(CASES).with_suffix("")) for file in files)


def read(name: str, folder: Path = CASES) -> list[dict]:
    """The whole cases of a suite, in its order."""
    shared = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["shared"]
    table = folder / f"{name}.csv"
    if not table.exists():
        text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
        return [
            shared | json.loads(line) for line in text.split("\n") if line
        ]  # not splitlines: U+2028 is a character of some texts
    header, *rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()]
    return [row_case(shared, dict(zip(header, row, strict=True))) for row in rows]


def row_case(shared: dict, cells: dict[str, str]) -> dict:
    numbers = {column: int(cell) for column, cell in cells.items() if column not in KEY_COLUMNS}
    keys = {
        column: KEY_COLUMNS[column](cell) for column, cell in cells.items() if column in KEY_COLUMNS and cell
    }
    return filled(shared, numbers) | keys


def filled(value, numbers: dict[str, int]):
    """`value` with the numbers in its strings. A string that is nothing but a placeholder becomes
    the number itself.
    """
    if isinstance(value, dict):
        return {key: filled(inner, numbers) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, numbers) for inner in value]
    if not isinstance(value, str):
        return value
    for column, number in numbers.items():
        if value == f"{{{column}}}":
            return number
        value = value.replace(f"{{{column}}}", str(number))
    return value


# ---- writing ----


def write(name: str, cases: list[dict], folder: Path = CASES) -> None:
    """A suite of lines. A key is shared with the value that more than half of the cases have."""
    shared = {}
    for key in cases[0]:
        texts = collections.Counter(json.dumps(case[key]) for case in cases)
        text, count = texts.most_common(1)[0]
        if 2 * count > len(cases):
            shared[key] = json.loads(text)
    lines = []
    for case in cases:
        assert case.keys() == cases[0].keys(), f"{case['id']} has other keys than {cases[0]['id']}"
        lines.append(
            line(
                {
                    key: value
                    for key, value in case.items()
                    if key == "id" or key not in shared or different(value, shared[key])
                }
            )
        )
    put(name, ".jsonl", shared, "".join(lines), folder)
    # NaN, which a request may hold, is unequal to itself: cases are compared as text.
    assert [json.dumps(case, sort_keys=True) for case in read(name, folder)] == [
        json.dumps(case, sort_keys=True) for case in cases
    ], f"{name} does not read back"


def write_table(name: str, shared: dict, columns: list[str], rows: list[list]) -> None:
    """A suite of integers. - rows: the cells of each case."""
    put(name, ".csv", shared, "".join(",".join(map(str, row)) + "\n" for row in [columns, *rows]))


def put(name: str, ending: str, shared: dict, content: str, folder: Path = CASES) -> None:
    file = folder / f"{name}{ending}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8", newline="\n")
    description = json.dumps({"shared": shared}, ensure_ascii=False, indent=2) + "\n"
    file.with_suffix(".json").write_text(description, encoding="utf-8", newline="\n")
    ids = [case["id"] for case in read(name, folder)]
    assert len(set(ids)) == len(ids), f"{name} has an id twice"
    print(f"{name}: {len(ids)} cases, {file.stat().st_size >> 10} KiB", flush=True)


def different(value, other) -> bool:
    return json.dumps(value) != json.dumps(other)


def line(case: dict) -> str:
    text = json.dumps(case, ensure_ascii=False, separators=(",", ":"))
    # Half surrogates have no UTF-8: such a line is written in ASCII.
    half = not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
    return (json.dumps(case, separators=(",", ":")) if half else text) + "\n"
