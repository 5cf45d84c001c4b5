"""Writes Docs/Runtimes.md from the reports in Fixtures/runtimes, which judge.py has written.

    python3.11 page.py            writes the page
    python3.11 page.py --check    writes nothing; exit 1 if the page is not what the reports say

What an adapter had to do, notes and threads come from the runs.json of each folder.
"""

import argparse
import difflib
import json
import re
from pathlib import Path

import runs

PAGE = runs.ROOT / "Docs" / "Runtimes.md"
FAILED = ["failed", "crashed", "timed-out", "malformed"]
INTRODUCTION = """\
# Real runtimes

What public runtimes of Pixtral answer to the cases of [Cases.md](Cases.md), judged as
[Conformance.md](Conformance.md) says, without a GPU. Each row of the table is a run: one version of a
runtime, in one arithmetic, with its own preprocessing where it has one. This page is made by
`Tools/runtimes/page.py` from the reports in [Fixtures/runtimes](../Fixtures/runtimes); nothing on it is
written by hand, but for the notes of those who wrote the adapters
([Tools/runtimes](../Tools/runtimes/README.md)).

Two commands repeat a row, with Python 3.11 and a built pixtral-ref (`make build`), from the top of a checkout; RUN
is its first column:

    python3.11 Tools/runtimes/install.py RUN
    python3.11 Tools/runtimes/judge.py RUN
    git diff Fixtures/runtimes/RUN.json
    python3.11 Tools/runtimes/judge.py RUN --cases CASE

If pip does not find `torch==2.13.0+cpu`, set `PIP_EXTRA_INDEX_URL` to the address that PyTorch's site gives for CPUs.
judge.py writes the report anew, and git shows what differs: date, suite and seconds alone, if the row is repeated.
The last line asks one case of this page alone and shows what came of it; by the cases' own rule, in a row with *, too.

A cell has what became of the cases of a stage, *passed / failed / undecided / unsupported*; a dash is a stage
that the runtime does not have, or its adapter does not reach.

- *Passed*: equal, or within the limit of the case for the arithmetic of the run; a refusal where that is right.
- *Failed*: anything else that was answered, a crash, or no answer in time. A cell in bold has some.
- *Undecided*: of numbers, between 2 and 8 times the noise of right runs.
- *Unsupported*: not asked, because the runtime lacks a feature or follows another rule, or answered so. No pass.
- *Profile*: a row with * treats images by transformers' own rule, on purpose: sides rounded down, an
  antialiased stretch ([Images.md](Images.md)). It is judged by the cases of that rule; those that only have
  mistral-common's answer count as unsupported, and where it takes requests only, a model is judged on the pixels
  that it has made itself. That it differs from mistral-common is no failure here.

*First wrong* is the first operation that is off, in the order of the data, and the mistake of
[Faults.md](Faults.md) that explains it, where one does. Behind the table, the name of a run leads to its report, which
also has why cases are unsupported; a kind of failure has one place, name and manner, its smallest case is the first in
the order of the cases, and eight kinds of a run are shown. Distances and limits are those of the case
([Cases.md](Cases.md#how-a-verdict-is-reached)). Seconds depend on the machine.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare instead of write; exit 1 if it differs")
    options = parser.parse_args()
    text = page(runs.folders(), reports())
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    lines = difflib.unified_diff(
        old.splitlines(), text.splitlines(), "Docs/Runtimes.md", "the reports", lineterm=""
    )
    difference = list(lines)
    print("\n".join(difference) if difference else "Docs/Runtimes.md is what the reports say")
    return 1 if difference else 0


def reports(folder: Path = runs.REPORTS) -> dict[str, dict]:
    """The reports of a folder, by their run or server."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def page(folders: dict, found: dict) -> str:
    known = {run["id"]: run for folder in folders.values() for run in folder["runs"]}
    for name in found.keys() - known.keys():
        raise runs.Wrong(
            f"Fixtures/runtimes/{name}.json is of no run of a runs.json: delete it, or name the run"
        )
    rows = [found[name] for name in known if name in found]
    sections = [section(folder, [(run, found[run["id"]]) for run in folder["runs"] if run["id"] in found])
                for folder in folders.values() if any(run["id"] in found for run in folder["runs"])]  # fmt: skip
    missing = [f"`{name}`" for name in known if name not in found]
    left = [f"Not judged yet: {', '.join(missing)}."] if missing else []
    return "\n".join(
        [INTRODUCTION, matrix(rows), "", *suites(rows), *left, "", *sections, *quantised(), *servers()]
    )


# Quantised weights: the reports of quantised.py


def quantised() -> list[str]:
    """A section with a row for each kind of weights; nothing without reports."""
    found = list(reports(runs.REPORTS / "quantised").values())
    if not found:
        return []
    lines = [
        "## Quantised weights", "",
        "The error of llama.cpp on quantised weights of seeded:small, in two parts ([quantised.py](../Tools/runtimes/quantised.py)",
        "says how). *Arithmetic*: llama.cpp beside pixtral-ref on llama.cpp's own weights, made float32 by gguf-py; products are",
        "computed anew from rows rounded to 8 bits, which is the method and no mistake. *Representation*: pixtral-ref on those",
        "weights beside pixtral-ref on the original ones; it is reported, and never fails. KL is a mean in nats, with 95%.", "",
        "    python3.11 Tools/runtimes/install.py llama-cpp",
        "    .build/runtimes/llama-cpp/venv/bin/python Tools/runtimes/quantised.py q8_0 q4_k_m [--plant]", "",
        "| weights | arithmetic | worst product, times its noise | places | KL in texts | in images | behind an image | same likeliest token |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in found:
        arithmetic, classes = one["arithmetic"], one["representation"]["classes"]

        def kl(name, classes=classes):
            low, high = classes[name]["kl_interval"]
            return f"{classes[name]['kl']:.2g} ({low:.2g} to {high:.2g})"

        worst = arithmetic["worst_product"]
        lines.append(f"| {one['kind']} | {arithmetic['verdict']} | `{worst['tap']}` {worst['times']} | {one['representation']['positions']:,} "
                     f"| {kl('text')} | {kl('image')} | {kl('behind an image')} | {classes['all']['same_top']:.1%} |")  # fmt: skip
    return [*lines, ""]


# Servers: the reports of judge_server.py


def servers() -> list[str]:
    """A section with a row for each server; nothing without reports."""
    found = list(reports(runs.REPORTS / "servers").values())
    if not found:
        return []
    lines = [
        "## Servers", "",
        "Servers of seeded:small, judged over HTTP by the stage `endpoint` ([Conformance.md](Conformance.md#an-endpoint)); one with",
        "† has other weights (`--other-weights`). NAME is the first column. `--list` has the environment of each, which",
        "`install.py` makes; pixtral-ref-serve is built by `make serve`:", "",
        "    python3.11 Tools/runtimes/judge_server.py --list",
        "    python3.11 Tools/runtimes/install.py ENVIRONMENT",
        "    python3.11 Tools/runtimes/judge_server.py NAME", "",
        "All that each was asked and said is kept in Tools/runtimes/recordings. This judges it again, from any checkout:", "",
        "    pixtral-ref conformance run --endpoint Tools/runtimes/recordings/NAME.jsonl --stage endpoint", "",
        "A star has the meaning that it has above: the server is judged by transformers' rule of images (`--images huggingface`).",
        "A cell of *it tells* is what was found out by asking. Four cases of every server are of the other rule, and unsupported.", "",
        "| server | it tells | verdict | tokens | log-probabilities | known mistakes | influence | errors | keeps | suspected first | what was found first |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in found:
        can = one["capabilities"]
        tells = "tokens" if can["tokens"] else "their number" if can["counts"] else "no tokens"
        tells += f", {can['top_logprobs']} likeliest" if can["top_logprobs"] else ", no log-probabilities"
        cells = [", ".join(f"{count} {word}" for word, count in one["stages"].get(stage, {}).items()) or "–"
                 for stage in ("tokens", "logprobs", "mistakes", "influence", "errors", "keeps")]  # fmt: skip
        suspect = one["suspects"][0] if one["suspects"] else None
        named = faults(suspect["looks_like"]) or cell(suspect["name"]) if suspect else "–"
        first = one["failures"][0] if one["failures"] else None
        what = f"`{first['case']}`: {cell(first['detail'])}" if first else "nothing"
        verdict = one["verdict"] if one["verdict"] == "passed" else f"**{one['verdict']}**"
        name = f"`{one['server']}`" + ("*" if "huggingface" in one["options"] else "")
        name += "" if one["weights"] == "seeded:small" else "†"
        lines.append("| " + " | ".join([name, tells, verdict, *cells, named, what]) + " |")
    known = runs.servers()
    for one in found:
        if one["server"] not in known:
            raise runs.Wrong(
                f"Fixtures/runtimes/servers/{one['server']}.json is of no server of servers.json: delete it"
            )
    notes = [f"- `{one['server']}`, {one['arithmetic']}: {known[one['server']]['notes']}" for one in found
             if known[one["server"]].get("notes")]  # fmt: skip
    missing = [f"`{name}`" for name in known if name not in {one["server"] for one in found}]
    left = [f"Not judged yet: {', '.join(missing)}.", ""] if missing else []
    return [*lines, "", *notes, *([""] if notes else []), *left]


def suites(rows: list[dict]) -> list[str]:
    current = json.loads((runs.ROOT / "Fixtures/manifest.json").read_text(encoding="utf-8"))["version"]
    older = [
        f"`{row['run']}` ({row['suite']['version']})" for row in rows if row["suite"]["version"] != current
    ]
    of = sorted({row["suite"]["sha256"][:12] for row in rows})
    each = " …; each report says its own" if len(of) > 1 else " …"
    return [
        f"Suite {current} (SHA-256 of its Fixtures/manifest.json on that day: {', '.join(of)}{each})."
    ] + ([f"Older: {', '.join(older)}."] if older else [])


def matrix(rows: list[dict]) -> str:
    heads = ["run", "version", "arithmetic", "date", *runs.STAGES, "first wrong"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        runtime = row["runtime"]
        lines.append([
            f"`{row['run']}`" + ("*" if row["profile"] else ""), cell(f"{runtime['name']} {runtime['version']}"),
            runtime["arithmetic"], row["date"],
            *(tally(row["stages"].get(stage)) for stage in runs.STAGES), first_wrong(row["first_divergence"]),
        ])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tally(counts: dict | None) -> str:
    if counts is None:
        return "–"
    wrong = sum(counts.get(verdict, 0) for verdict in FAILED)
    numbers = [counts.get("passed", 0), wrong, counts.get("undecided", 0), counts.get("unsupported", 0)]
    text = " / ".join(f"{n:,}" for n in numbers)
    return f"**{text}**" if wrong else text


def first_wrong(first: dict | None) -> str:
    if not first:
        return "nothing"
    place = first["stage"] + (f", `{first['tap']}`" if first["tap"] else "")
    name = f"{faults(first['looks_like'])}, at " if first["looks_like"] else ""
    return f"{name}{place}, `{first['case']}`"


def faults(names: str | None) -> str:
    """Names of mistakes, each a link to its place in Faults.md."""
    return ", ".join(f"[{name}](Faults.md#{name.lower()})" for name in (names or "").split(", ") if name)


def section(folder: dict, judged: list[tuple[dict, dict]]) -> str:
    lines = [f"## {folder['runtime']}", "", folder["about"], ""]
    for run, report in judged:
        notes = f" {run['notes']}" if run.get("notes") else ""
        link = f"[`{run['id']}`](../Fixtures/runtimes/{run['id']}.json)"
        lines.append(f"- {link}: {report['verdict']}, in {report['seconds']:,} s.{notes}")
    lines += ["", *failures(judged)]
    threads = sorted({thread(entry) for run, _ in judged for entry in run.get("upstream", [])})
    if threads:
        lines += [f"Upstream: {'; '.join(threads)}.", ""]
    return "\n".join(lines)


def failures(judged: list[tuple[dict, dict]]) -> list[str]:
    """A table of what is wrong: a row for each distinct failure, with the runs that have it."""
    kinds: dict[tuple, list] = {}
    for _, report in judged:
        for failure in report["failures"]:
            key = tuple(failure[key] or "" for key in ("stage", "verdict", "tap", "looks_like", "case"))
            kinds.setdefault(key, []).append((report, failure))
    if not kinds:
        return ["Nothing failed.", ""]
    lines = [
        "| what is wrong at | smallest case | looks like | what was found | runs, and cases of the kind |",
        "|---|---|---|---|---|",
    ]
    for (stage, verdict, tap, name, case), same in kinds.items():
        failure = same[0][1]
        where = stage + (f", `{tap}`" if tap else "") + (f" ({verdict})" if verdict != "failed" else "")
        who = "; ".join(f"`{report['run']}` {other['cases']:,}" for report, other in same)
        lines.append(f"| {where} | `{case}` | {faults(name) or '–'} | {said(failure)} | {who} |")
    left = [
        f"`{report['run']}` {report['failures_left_out']}"
        for _, report in judged
        if report["failures_left_out"]
    ]
    return [*lines, ""] + ([f"Kinds that are not shown: {', '.join(left)}.", ""] if left else [])


def said(failure: dict) -> str:
    words = []
    if "distance" in failure:
        limit = f", limit {failure['limit']:.2g}" if "limit" in failure else ""
        words.append(f"distance {failure['distance']:.2g}{limit}")
    return cell("; ".join(words + ([failure["detail"]] if failure["detail"] else [])))


def cell(text: str) -> str:
    """Text for one cell of a table: what a runtime said is no Markdown."""
    text = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text))
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def thread(entry: str | dict) -> str:
    """A link to an issue or a pull request, said as owner/name#number where the address is GitHub's."""
    url = entry if isinstance(entry, str) else entry["url"]
    match = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)/(?:issues|pull|discussions)/(\d+)", url)
    link = f"[{match[1]}#{match[2]}]({url})" if match else f"<{url}>"
    return link if isinstance(entry, str) else f"{link}, {entry['about']}"


if __name__ == "__main__":
    runs.guarded(main)
