"""Judges a real server by stage endpoint of the conformance kit, and writes a small report.

Starts the server by the serve.py of its folder, waits until it answers, runs `pixtral-ref conformance run
--endpoint`, and ends it. All that was asked and said is kept in recordings/NAME.jsonl, and judged once more as it
stands there: of that Fixtures/runtimes/servers/NAME.json is a report. servers.json has the names. page.py shows the
reports in Docs/Runtimes.md.

install.py has to have made the environment of the server. Exit 0 if every server was judged, whatever the
verdict; 2 if one could not be, and then its older report stays.
"""

import argparse
import collections
import datetime
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import judge
import runs

REPORTS = runs.REPORTS / "servers"
RECORDINGS = runs.HERE / "recordings"
READY, JUDGED, ENDED = 180, 600, 15  # seconds that a server may take to answer, to be judged, to end
POOLED = ("verdict", "mean_kl", "interval", "noise", "prompts", "failed_prompts")
MOST_FAILURES, MOST_SUSPECTS, LONGEST_DETAIL = 8, 3, 120


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a server of servers.json; --list has them")
    parser.add_argument("--binary", type=Path, default=judge.BINARY,
                        help="pixtral-ref; pixtral-ref-serve lies beside it (default: .build/release/pixtral-ref)")  # fmt: skip
    parser.add_argument("--from", dest="installed", metavar="DIR", type=Path, default=runs.INSTALLED,
                        help="where install.py made the environments (default: .build/runtimes)")  # fmt: skip
    parser.add_argument("--again", action="store_true",
                        help="start no server: judge what was kept of it, as after a change of the judge")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the servers and their environments")
    options = parser.parse_args()
    known = runs.servers()
    if options.list:
        for name, server in known.items():
            print(f"{name:34} {server['environment'] or 'pixtral-ref itself'}")
        return 0
    if not options.names:
        parser.error("which server? --list has the names")
    for name in options.names:
        if name not in known:
            raise runs.Wrong(f"there is no server {name}; servers: {', '.join(known)}")
    if not options.binary.is_file():
        raise runs.Wrong(f"there is no program {options.binary}: make it with "
                         "`swift build -c release --product pixtral-ref`, or say --binary")  # fmt: skip
    judged = 0
    for name in options.names:
        try:
            if options.again:
                rejudge(name, known[name], options)
            else:
                record(name, known[name], options)
            judged += 1
        except runs.Wrong as wrong:
            print(f"judge_server.py: {name} could not be judged: {wrong}", file=sys.stderr)
    return 0 if judged == len(options.names) else 2


def record(name: str, server: dict, options) -> None:
    places = {"port": str(free_port()), "runtimes": str(runs.HERE), "binary": str(options.binary.resolve()),
              "installed": str(options.installed.resolve())}  # fmt: skip
    if server["environment"]:
        environment = (options.installed / server["environment"]).resolve()
        python = environment / "venv/bin/python"
        if not python.exists():
            raise runs.Wrong(f"there is no {python}; install.py {server['environment']} makes it")
        places |= {"environment": str(environment), "python": str(python)}
    for layout in ("hf", "mistral"):
        if f"{{{layout}}}" in server["command"] + (server.get("model") or ""):
            places[layout] = str(judge.checkpoint(layout, options))
    command = judge.filled(server["command"], {key: shlex.quote(place) for key, place in places.items()})
    model = judge.filled(server["model"], places) if server.get("model") else None
    url = f"http://127.0.0.1:{places['port']}"
    # A server that is killed leaves its files behind.
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as scratch:
        # A session of its own, so that what the server has started ends with it.
        process = subprocess.Popen(shlex.split(command), cwd=runs.ROOT, stdout=said, stderr=said,
                                   start_new_session=True, env=os.environ | {"TMPDIR": scratch})  # fmt: skip
        try:
            wait(process, url, said)
            began = time.monotonic()
            asked = [*server.get("options", []), "--arithmetic", server["arithmetic"]]
            asked += ["--model", model] if model else []
            said_file = Path(scratch, "said.jsonl")
            live = conformance(url, [*asked, "--bodies", said_file], options)
            seconds = round(time.monotonic() - began)
        finally:
            end(process)
        said_text = said_file.read_text(encoding="utf-8")
    # A recording says nothing of the machine that it was made on.
    for place in (scratch, places.get("environment"), str(options.installed.resolve()), str(runs.ROOT)):
        said_text = judge.without_place(said_text, place) if place else said_text
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, f"{name}.jsonl")
        recording.write_text(said_text, encoding="utf-8")
        again = conformance(recording, [], options)
        if [verdicts(live), live["endpoint"]["suspects"]] != [verdicts(again), again["endpoint"]["suspects"]]:
            raise runs.Wrong("what was recorded of it is judged otherwise than the server was")
        report = reported(name, server, again, seconds)
        RECORDINGS.mkdir(exist_ok=True)
        shutil.move(recording, RECORDINGS / recording.name)
    write_report(name, report)


def rejudge(name: str, server: dict, options) -> None:
    recording, old = RECORDINGS / f"{name}.jsonl", REPORTS / f"{name}.json"
    if not (recording.is_file() and old.is_file()):
        raise runs.Wrong(
            f"there is no {recording.relative_to(runs.ROOT)}, or no report on it: judge the server first"
        )
    old = json.loads(old.read_text(encoding="utf-8"))
    report = reported(name, server, conformance(recording, [], options), old["seconds"])
    write_report(name, report | {"date": old["date"]})


def write_report(name: str, report: dict) -> None:
    REPORTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    (REPORTS / f"{name}.json").write_text(text, encoding="utf-8")
    print(
        f"{name}: {report['verdict']}; {report['stages']}; {[one['name'] for one in report['suspects']]}",
        flush=True,
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait(process: subprocess.Popen, url: str, said) -> None:
    """Until /v1/models is answered and, where there is one, /health with 200: llama-server answers 503 while it loads."""
    until = time.monotonic() + READY
    while time.monotonic() < until:
        if process.poll() is not None:
            said.seek(0)
            last = said.read().decode(errors="replace").strip()[-600:]
            raise runs.Wrong(f"the server ended with {process.returncode}, saying: {last}")
        if status(f"{url}/v1/models") == 200 and status(f"{url}/health") in (200, 404):
            return
        time.sleep(0.5)
    raise runs.Wrong(f"the server does not answer after {READY} s")


def status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def end(process: subprocess.Popen) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(ENDED)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def conformance(endpoint: str | Path, more: list, options) -> dict:
    """What the judge says of a server at an address, or of a recording."""
    command = [options.binary.resolve(), "conformance", "run", "--endpoint", endpoint]
    command += ["--stage", "endpoint", "--json", *more]
    try:
        result = subprocess.run(list(map(str, command)), cwd=runs.ROOT, capture_output=True, text=True,
                                timeout=JUDGED)  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise runs.Wrong(f"it was not judged in {JUDGED} s") from error
    if result.returncode not in (0, 1):
        raise runs.Wrong(
            f"pixtral-ref ended with exit {result.returncode}, saying: {result.stderr.strip()[-600:]}"
        )
    return json.loads(result.stdout)


def verdicts(whole: dict) -> list:
    return [(case["id"], case["verdict"]) for case in whole["cases"]]


def reported(name: str, server: dict, whole: dict, seconds: int) -> dict:
    kinds = collections.defaultdict(list)
    for case in whole["cases"]:
        if case["verdict"] in judge.FAILED:
            kinds[case["id"].split("/")[1]].append(case)
    # One of each kind before the second of any.
    ranked = sorted((n, place, case["id"], case) for place, cases in enumerate(kinds.values())
                    for n, case in enumerate(cases))  # fmt: skip
    kept = sorted(ranked[:MOST_FAILURES], key=lambda one: (one[1], one[0]))
    parts = list(dict.fromkeys(case["id"].split("/")[1] for case in whole["cases"]))
    found = whole["endpoint"]
    pooled = found["log_probabilities"]
    return {
        "server": name, "date": datetime.date.today().isoformat(), "suite": whole["suite"],
        "arithmetic": whole["runtime"]["arithmetic"], "command": server["command"], "seconds": seconds,
        "options": server.get("options", []), "weights": found["weights"],
        "capabilities": found["capabilities"], "verdict": "failed" if kinds else "passed",
        "stages": {part: judge.counts(case for case in whole["cases"] if case["id"].split("/")[1] == part)
                   for part in parts},
        "kl": pooled and {key: rounded(pooled[key]) for key in POOLED},
        "mistakes": dict(sorted(collections.Counter(one["verdict"] for one in found["mistakes"]).items())),
        "suspects": [{"name": one["name"], "looks_like": one["looks_like"], "behind": round(one["behind"], 1)}
                     for one in found["suspects"][:MOST_SUSPECTS]],
        "failures": [{"case": case["id"], "verdict": case["verdict"], "looks_like": case["looks_like"],
                      "detail": shortened(case["detail"])} for *_, case in kept],
        "failures_left_out": len(ranked) - len(kept),
    }  # fmt: skip


def rounded(value):
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def shortened(detail: str | None) -> str:
    detail = judge.shortened(detail)
    return detail if len(detail) <= LONGEST_DETAIL else detail[: LONGEST_DETAIL - 2] + " …"


if __name__ == "__main__":
    runs.guarded(main)
