"""Judges real runtimes by the conformance kit, and writes a small report of each run.

Runs `pixtral-ref conformance run --runtime SESSION --json` for each run, on every stage that its
adapter claims, and writes Fixtures/runtimes/RUN.json: who was judged, when and by which cases, counts
of verdicts, what is wrong first, and the smallest case of each distinct failure. page.py makes
Docs/Runtimes.md of these reports.

install.py has to have made the environment of the run. Exit 0 if every run was judged, whatever the
verdict; 2 if one could not be run, and then its older report stays. --cases asks some alone.
"""

import argparse
import collections
import datetime
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import runs

BINARY = runs.ROOT / ".build" / "release" / "pixtral-ref"
FAILED = ["failed", "crashed", "timed-out", "malformed"]
OTHER_RULE = "the case has mistral-common's answer only, the runtime transformers' rule, on purpose"
MOST_FAILURES, MOST_REASONS, LONGEST_DETAIL = 8, 6, 260


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:  python3.11 install.py transformers-5.23.0 && python3.11 judge.py transformers-5.23.0-eager",
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="RUN", help="a run of a runs.json; --list has them")
    parser.add_argument(
        "--binary", type=Path, default=BINARY, help="pixtral-ref (default: .build/release/pixtral-ref)"
    )
    parser.add_argument("--from", dest="installed", metavar="DIR", type=Path, default=runs.INSTALLED,
                        help="where install.py made the environments (default: .build/runtimes)")  # fmt: skip
    parser.add_argument("--keep", action="store_true",
                        help="also keep the kit's whole report and its page, RUN.json and RUN.html in .build/runtimes/reports; "
                        "there, cases that the profile of a run excuses have failed")  # fmt: skip
    parser.add_argument("--cases", metavar="IDS",
                        help="ask these cases alone, ids or patterns with commas between; shows what came of them, "
                        "writes no report, and exits with 1 if one fails")  # fmt: skip
    options = runs.parsed(parser)
    if options.cases and options.keep:
        parser.error("--keep is for whole runs: leave out --cases")
    if not options.binary.is_file():
        raise runs.Wrong(f"there is no program {options.binary}: make it with "
                         "`swift build -c release --product pixtral-ref`, or say --binary")  # fmt: skip
    chosen = [(name, *runs.run_of(name)) for name in options.names]  # names are checked before anything runs
    judged, failed = 0, False
    for name, folder, run in chosen:
        try:
            if options.cases:
                failed |= ask(session(folder, run, options), run, options)
            else:
                judge(folder, run, options)
            judged += 1
        except runs.Wrong as wrong:
            print(f"judge.py: {name} could not be run: {wrong}", file=sys.stderr)
    return 2 if judged < len(chosen) else int(failed)


def session(folder: str, run: dict, options) -> str:
    """The command of a run's session."""
    environment = (options.installed / run["environment"]).resolve()
    if not (environment / "installed.json").exists():
        raise runs.Wrong(f"its environment is not in {environment}; install.py {run['environment']} makes it")
    places = {"python": environment / "venv/bin/python", "environment": environment, "folder": runs.HERE / folder,
              "tokenizer": runs.TOKENIZER}  # fmt: skip
    for layout in ("hf", "mistral"):
        if f"{{{layout}}}" in run["command"]:
            places[layout] = checkpoint(layout, options)
    return filled(run["command"], {key: shlex.quote(str(path)) for key, path in places.items()})


def asking(session: str, run: dict, options) -> list:
    """The command that asks a session."""
    return [options.binary.resolve(), "conformance", "run", "--runtime", session,
            "--timeout", run.get("timeout", 60)]  # fmt: skip


def ask(session: str, run: dict, options) -> bool:
    """Asks some cases, shows what came of them, and says whether one fails."""
    command = [*asking(session, run, options), "--cases", options.cases]
    code = subprocess.run(list(map(str, command)), check=False, cwd=runs.ROOT).returncode
    if code not in (0, 1):
        raise runs.Wrong(f"pixtral-ref ended with exit {code}")
    return code == 1


def judge(folder: str, run: dict, options) -> None:
    began = time.monotonic()
    whole = conformance(session(folder, run, options), run, options)
    check(whole, run)
    report = reported(whole, folder, run, round(time.monotonic() - began))
    for path in (options.installed.resolve(), runs.ROOT):
        report = without_place(report, str(path))
    runs.REPORTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    (runs.REPORTS / f"{run['id']}.json").write_text(text, encoding="utf-8")
    print(f"{run['id']}: {report['verdict']} in {report['seconds']} s; {summary(report)}", flush=True)


def checkpoint(layout: str, options) -> Path:
    """seeded:small in a layout, with its tokenizer: for sessions that need a folder before a model is loaded."""
    folder = (options.installed / "checkpoints" / f"small-{layout}").resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [options.binary, "checkpoint", "write", "seeded:small", "--layout", layout, "--out", folder]
    result = subprocess.run(
        list(map(str, command)), check=False, cwd=runs.ROOT, capture_output=True, text=True
    )
    if result.returncode:
        raise runs.Wrong(f"pixtral-ref wrote no checkpoint: {result.stderr.strip()}")
    return folder


def filled(command: str, places: dict) -> str:
    for key in re.findall(r"\{(\w+)\}", command):
        if key not in places:
            raise runs.Wrong(f"its command has {{{key}}}; there are {', '.join(places)}, hf and mistral")
        command = command.replace(f"{{{key}}}", places[key])
    return command


def conformance(session: str, run: dict, options) -> dict:
    """The kit's own report. It shows its progress on a terminal by itself."""
    command = [*asking(session, run, options), "--json", "--stage", ",".join(run["stages"])]
    if options.keep:
        kept = runs.INSTALLED / "reports"
        kept.mkdir(parents=True, exist_ok=True)
        command += ["--html", kept / f"{run['id']}.html"]
    with tempfile.TemporaryFile() as errors:
        shown = sys.stderr.isatty()
        if shown:
            print(f"{run['id']}: {', '.join(run['stages'])}", file=sys.stderr)
        # What Python says of a set is in the order of its hashes.
        result = subprocess.run(list(map(str, command)), check=False, stdout=subprocess.PIPE, cwd=runs.ROOT,
                                stderr=None if shown else errors, env=os.environ | {"PYTHONHASHSEED": "0"})  # fmt: skip
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    if result.returncode not in (0, 1):
        raise runs.Wrong(
            f"pixtral-ref ended with exit {result.returncode}" + (f", saying: {said[-1500:]}" if said else "")
        )
    if options.keep:
        (kept / f"{run['id']}.json").write_bytes(result.stdout)
    try:
        return json.loads(result.stdout)
    except ValueError as error:
        raise runs.Wrong(f"pixtral-ref printed no report ({error}): {said[-500:]}") from error


def check(whole: dict, run: dict) -> None:
    """A run must be what its runs.json says, and every stage that it claims must have been asked."""
    if whole["runtime"]["arithmetic"] != run["arithmetic"]:
        raise runs.Wrong(
            f"it says that it computes in {whole['runtime']['arithmetic']}, its runs.json {run['arithmetic']}"
        )
    for stage in run["stages"]:
        verdicts = [case["verdict"] for case in whole["cases"] if case["stage"] == stage]
        if set(verdicts) <= {"unsupported"}:
            why = next((case["detail"] for case in whole["cases"] if case["stage"] == stage), "no case")
            raise runs.Wrong(
                f"nothing of stage {stage} was answered ({why}): leave it out of stages, or claim it"
            )


def reported(whole: dict, folder: str, run: dict, seconds: int) -> dict:
    rule = run.get("profile") or profile(whole["cases"])
    cases = [by_rule(case, rule) for case in whole["cases"]]
    failures, left_out = failed(cases)
    wrong = [case for case in cases if case["verdict"] in FAILED]
    first = (
        {key: wrong[0]["id" if key == "case" else key] for key in ("case", "stage", "tap", "looks_like")}
        if wrong
        else None
    )
    names = collections.Counter(case["looks_like"] for case in wrong if case["looks_like"])
    return {
        "run": run["id"], "folder": folder, "runtime": whole["runtime"], "profile": rule,
        "date": datetime.date.today().isoformat(), "suite": whole["suite"], "session": run["command"],
        "layout": run["layout"], "seconds": seconds, "verdict": "failed" if wrong else "passed",
        "stages": {stage: counts(case for case in cases if case["stage"] == stage) for stage in run["stages"]},
        "first_divergence": first,
        "looks_like": [{"looks_like": name, "cases": n} for name, n in names.most_common()],
        "failures": failures, "failures_left_out": left_out, "unsupported": reasons(cases),
    }  # fmt: skip


def profile(cases: list[dict]) -> str | None:
    """Whose images: transformers' own rules (feature image.huggingface), if cases of them were answered."""
    asked = (case["id"] for case in cases if case["verdict"] != "unsupported")
    return "huggingface" if any("/huggingface-" in id for id in asked) else None


def by_rule(case: dict, rule: str | None) -> dict:
    """A case as the runtime's own rule for images sees it.

    The kit does not ask who has image.huggingface what conflicts with a case of that rule. Some cases of
    stage pixels have mistral-common's answer and no such case beside them: what differs there differs on
    purpose, and is no failure. The cases of the rule itself judge it. A runtime that takes requests has
    pixels by that rule in whole models, too: there the verdict on its own inputs counts.
    """
    if not rule or case["verdict"] != "failed":
        return case
    if case["stage"] == "pixels" and "/huggingface-" not in case["id"]:
        return case | {"verdict": "unsupported", "looks_like": None, "detail": OTHER_RULE}
    own = re.search(r"on its own inputs the model is (passed|undecided)", case["detail"] or "")
    if case["stage"] == "model" and re.fullmatch(r"image\d+", case["tap"] or "") and own:
        return case | {"verdict": own[1], "looks_like": None}
    return case


def counts(cases) -> dict[str, int]:
    found = collections.Counter(case["verdict"] for case in cases)
    return {
        verdict: found[verdict]
        for verdict in ["passed", *FAILED, "undecided", "unsupported"]
        if found[verdict]
    }


def failed(cases: list[dict]) -> tuple[list[dict], int]:
    """The first case of each kind of failure, with how many there are; and how many kinds are left out.

    Cases come in the kit's order: rules before what is drawn at random, small before large. The first of a
    kind is therefore the smallest. Undecided cases are no failures, and are listed behind them.
    """
    kinds = collections.defaultdict(list)
    for case in cases:
        if case["verdict"] in FAILED or case["verdict"] == "undecided":
            kinds[case["stage"], case["verdict"], case["tap"], case["looks_like"], manner(case)].append(case)
    ordered = sorted(kinds.values(), key=lambda kind: kind[0]["verdict"] == "undecided")
    seen = collections.Counter()
    ranks = []  # the first kind of every stage comes before the second of any
    for number, kind in enumerate(ordered):
        ranks.append((seen[kind[0]["stage"]], number))
        seen[kind[0]["stage"]] += 1
    kept = sorted(number for _, number in sorted(ranks)[:MOST_FAILURES])
    found = [
        {key: kind[0][key] for key in ("stage", "verdict", "tap", "looks_like")}
        | {"cases": len(kind), "case": kind[0]["id"]}
        | {key: kind[0][key] for key in ("distance", "limit") if kind[0][key] is not None}
        | {"detail": shortened(kind[0]["detail"])}
        for kind in (ordered[number] for number in kept)
    ]
    return found, len(ordered) - len(found)


def manner(case: dict) -> str:
    """What tells wrong answers without a tap and a name apart: the suites, and what kind of thing is said of them."""
    if case["tap"] or case["looks_like"]:
        return ""
    return "/".join(case["id"].split("/")[:2]) + re.split(r"[\d:;,'\"`\[(]", case["detail"] or "")[0]


def reasons(cases: list[dict]) -> list[dict]:
    """Why cases were not answered, the most frequent first."""
    found = collections.Counter(
        (case["stage"], shortened(case["detail"])) for case in cases if case["verdict"] == "unsupported"
    )
    return [{"stage": stage, "why": why, "cases": n} for (stage, why), n in found.most_common(MOST_REASONS)]


def shortened(detail: str | None) -> str:
    detail = re.sub(r"/(?:tmp|var|private)/[^\s'\",;:)]*/", "", detail or "")  # the kit's own temporary files
    detail = detail.rstrip(": ")  # of an exception that says nothing
    return detail if len(detail) <= LONGEST_DETAIL else detail[: LONGEST_DETAIL - 2] + " …"


def without_place(value, place: str):
    """A report says nothing about the machine that it was made on."""
    if isinstance(value, dict):
        return {key: without_place(item, place) for key, item in value.items()}
    if isinstance(value, list):
        return [without_place(item, place) for item in value]
    return value.replace(place + "/", "").replace(place, ".") if isinstance(value, str) else value


def summary(report: dict) -> str:
    wrong = report["first_divergence"]
    stages = [
        f"{stage} {found.get('passed', 0)}/{sum(found.values()) - found.get('unsupported', 0)}"
        for stage, found in report["stages"].items()
    ]
    first = (
        f"; first wrong: {wrong['case']} {wrong['tap'] or ''} {wrong['looks_like'] or ''}".rstrip()
        if wrong
        else ""
    )
    return ", ".join(stages) + first


if __name__ == "__main__":
    runs.guarded(main)
