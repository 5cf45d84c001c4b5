"""Judges the judge: `pixtral-ref conformance run` with runtimes of which it is known what is wrong.

    python check_conformance.py BINARY [--numpy] [ID or MODE ...]

- Tools/runtimes/oracle_session.py, healthy, in float64 and float32: nothing may fail. In each of five
  arithmetics and five schedules of rounding (runtimes/rounding.py) no case of a model or an answer may
  (in all but the first schedule only seeded:tiny is asked).
- The same in float32 with each fault of Docs/Faults.md that NumPy can have: the run must fail, first where the
  page says under *shows first at*, in the page's *case* and in every case that claims the fault, and
  it must be called by its name; so must its other forms. Only the stage is run that the fault shows
  in first, and of a model seeded:tiny. The faults of a model also in float16 and bfloat16: the same, but for those that are
  within the noise there (HIDDEN_IN), of which none may fail where the page does not say.
- Tools/runtimes/minimal_session.py, the one to copy, and transformers_session.py in three arithmetics:
  nothing may fail, in the stages that they have.
- Tools/runtimes/misbehaving_session.py in each of its modes: the verdicts below, and no other cases'.

A run must end by itself with 0 if nothing failed and 1 otherwise, in time and in 500 MB. Prints what
was expected and found, a line a run. Exit 1 if they differ. Two runs go on at a time; 4 minutes.

--numpy leaves out what needs more than NumPy, Pillow and safetensors (`make judge`, which CI runs): the
runtimes of transformers and mistral-common.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faults

TOOLS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOOLS / "runtimes"))
import oracle_session
import rounding

MODEL = TOOLS.parent / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
MEMORY = 500e6
SECONDS = 240  # a run
PATIENT = ("--timeout", "200")  # for those that answer, on a machine with much else to do
TIMEOUT = 5  # an answer of one that misbehaves
TINY = "model/tiny/*"  # whose questions take least time; check_exposes.py has the faults in model/small

# Where a session shows a fault first, if that is not where the page says. RGB is a stage of its own
# in a session; and seeded:tiny's wk makes a converter stop that divides it among the query heads.
ELSEWHERE = {"P-alpha": {"rgb"}, "D-k-permute": {"load"}}

# Claimed in `exposes`, and hidden from the form of the fault in text_faults.py: the bytes of a flag are
# the same whether it is one cluster or two scalars.
HIDDEN = {"T-graphemes": ["tokens/text/flag"]}

# Faults of a model that whole runs in 16 bits cannot show at their own tap: there they move nothing by
# 8 times the noise of right runs. Docs/Trace.md, limits.
HIDDEN_IN = {
    "float16": {
        "P-f16": "float16 rounds the pixels anyway",
        "A-bias": "a bias of 0.02 moves adapter.w_in by 0.9%, 3 to 7 times the noise: undecided there",
        "A-tanh": "2e-4 at adapter.gelu, a tenth of the noise",
        "A-gelu-table": "3e-4 at adapter.gelu, a fifth of the noise",
        "D-eps": "5e-6 at decoder.layers.0.attention_norm, a hundredth of the noise",
    },
    "bfloat16": {
        "P-f16": "bfloat16 rounds the pixels to fewer bits",
        "A-bias": "a bias of 0.02 moves adapter.w_in by 0.9%, less than the noise",
        "A-tanh": "2e-4 at adapter.gelu, a hundredth of the noise",
        "A-gelu-table": "3e-4 at adapter.gelu, a fiftieth of the noise",
        "D-eps": "5e-6 at decoder.layers.0.attention_norm, a six-hundredth of the noise",
    },
}

# Of one that misbehaves: the cases that it is asked, of which the first and no others of their kind
# are answered rightly, and the verdict of each.
ASKED = {
    "image/grid/1025x49": "grid",
    "image/grid/huggingface-1025x49": "huggingface",
    "tokens/request/image-alone": "tokens",
    "tokens/request/image-one-patch": "tokens",
    "image/pixels/16x16-noise": "pixels",
    "image/pixels/100x80-noise": "pixels",
    "model/tiny/text": "model",
    "model/tiny/two-images": "model",
}
# Of one that is gone when the next question comes: nothing else, for a kit that has written no file.
GONE = dict.fromkeys((f"image/grid/{size}" for size in ("1025x49", "1025x577", "1025x1237", "2048x33",
                      "2048x35", "3000x2000", "100x80", "17x16")), "grid")  # fmt: skip


def asked(mode):
    return GONE if mode in ("crash-always", "exits") else ASKED


# In which kinds a mode shows, and as what. Modes after which the kit starts the runtime anew show in
# every second question.
MODES = {
    "nan": ("failed", ("pixels", "model"), False),
    "silent": ("timed-out", ("tokens", "grid", "pixels", "model"), True),
    "crash": ("crashed", ("tokens", "grid", "pixels", "model"), True),
    "slow": ("timed-out", ("tokens", "grid", "pixels", "model"), True),
    "not-json": ("malformed", ("tokens", "grid", "pixels", "model"), True),
    "wrong-id": ("malformed", ("tokens", "grid", "pixels", "model"), True),
    "missing-file": ("malformed", ("pixels", "model"), False),
    "endless-output": ("malformed", ("tokens", "grid", "pixels", "model"), True),
    "huge-line": ("failed", ("tokens", "grid", "pixels", "model"), False),
    "huge-tensor": ("failed", ("pixels", "model"), False),
    "crash-always": ("crashed", ("grid",), False),
    "exits": ("crashed", ("grid",), True),
    "everything-unsupported": ("unsupported", ("tokens", "grid", "pixels", "model"), False),
    # Not crashed: the shell that started the runtime still holds the pipe.
    "closes-stdout": ("timed-out", ("tokens", "grid", "pixels", "model"), True),
}


class Run:
    """One run of the kit: its report, exit code, seconds and largest memory."""

    def __init__(self, binary, runtime, *options, alone=False):
        command = [binary, "conformance", "run", "--json", *options, "--runtime"]
        # Without exec the shell lives on beside the runtime, and holds its pipes.
        command.append(("exec " if alone else "") + shlex.join([sys.executable, *map(str, runtime)]))
        start = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdout=out, stderr=errors)
            self.code = None
            while self.code is None and time.monotonic() - start < SECONDS:
                # Of this process alone, not of the runtime below it.
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    self.code, self.memory = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
                else:
                    time.sleep(0.05)
            if self.code is None:
                process.kill()
                _, _, usage = os.wait4(process.pid, 0)
                self.memory = usage.ru_maxrss * 1024
            process.returncode = self.code
            self.seconds = time.monotonic() - start
            out.seek(0)
            errors.seek(0)
            try:
                self.report = json.load(out)
            except ValueError:
                self.report = None
                self.error = errors.read().decode(errors="replace").strip()[-300:] or "no error either"

    def problems(self, code):
        """Sentences about what no run may do; `code` is the exit code that it should have."""
        if self.code is None:
            return [f"it had not ended after {SECONDS} s"]
        result = [f"exit code {self.code}, expected {code}"] if self.code != code else []
        if self.memory > MEMORY:
            result.append(f"it took {self.memory / 1e6:.0f} MB")
        if self.report is None:
            result.append(f"no report: {self.error}")
        elif self.report["passed"] != (code == 0):
            result.append(f"passed is {self.report['passed']}")
        return result

    def verdicts(self):
        return {case["id"]: case["verdict"] for case in self.report["cases"]} if self.report else {}


def place(first):
    """Where a run shows first that something is wrong: a tap, `load`, or a stage."""
    if not first:
        return "nowhere"
    return first["tap"] or ("load" if first["stage"] == "model" else first["stage"])


def stage_of(places):
    """The first stage that one of these places is in."""
    for stage in ("tokens", "grid", "rgb", "pixels"):
        if stage in places:
            return stage
    return "model"


def check_healthy(binary, name, runtime, *options):
    run = Run(binary, runtime, *options, *PATIENT)
    problems = run.problems(0)
    counts = run.report["counts"] if run.report else {}
    return name, "nothing fails", str({key: n for key, n in counts.items() if n}), run, problems


def check_fault(binary, fault, page, claims):
    id = fault.partition("~")[0]
    expected, _, case = page[id]
    expected = ELSEWHERE.get(id, expected)
    stage = stage_of(expected)
    runtime = [TOOLS / "runtimes" / "oracle_session.py", "--arithmetic", "float32", "--fault", fault]
    chosen = ("--cases", TINY) if stage == "model" else ("--stage", stage)
    run = Run(binary, runtime, *chosen, *PATIENT)
    problems, verdicts = run.problems(1), run.verdicts()
    found = place(run.report and run.report["first_divergence"])
    if found not in expected:
        problems.append(f"it shows first at {found}")
    # Another form of a mistake need not show everywhere.
    for shown in [case, *claims.get(fault, [])] if fault == id else []:
        if shown not in HIDDEN.get(fault, []) and verdicts.get(shown, "failed") != "failed":
            problems.append(f"{shown} {verdicts[shown]}")
    named = run.report and run.report["first_divergence"] and run.report["first_divergence"]["looks_like"]
    if named != id:
        problems.append(f"it is named {named}")
    return fault, " or ".join(sorted(expected)), found, run, problems


def check_fault_in(binary, fault, arithmetic, page):
    """A fault of the model in 16 bits: at its tap if it can be seen there, else nowhere or later."""
    expected, _, case = page[fault]
    runtime = [TOOLS / "runtimes" / "oracle_session.py", "--fault", fault, "--arithmetic", arithmetic]
    run = Run(binary, runtime, "--cases", TINY, *PATIENT)
    found = place(run.report and run.report["first_divergence"])
    if fault in HIDDEN_IN[arithmetic]:
        problems = run.problems(0 if found == "nowhere" else 1)
        if found in expected:
            problems.append("it shows at its tap after all")
        return f"{fault} {arithmetic}", "within the noise", found, run, problems
    problems = run.problems(1)
    if found not in expected:
        problems.append(f"it shows first at {found}")
    if run.verdicts().get(case, "failed") != "failed":
        problems.append(f"{case} {run.verdicts()[case]}")
    return f"{fault} {arithmetic}", " or ".join(sorted(expected)), found, run, problems


def expected_verdicts(mode):
    """{id: verdict} of asked(mode), as the order of the questions gives it."""
    verdict, kinds, anew = MODES.get(mode, ("failed", ("tokens", "grid", "pixels", "model"), False))
    result, questions = {}, 0
    for id, kind in asked(mode).items():
        if kind == "huggingface":
            result[id] = "unsupported"
            continue
        questions += 1
        always = mode in ("everything-unsupported", "crash-always")
        misbehaves = kind in kinds and (questions > 1 or always)
        result[id] = verdict if misbehaves else "passed"
        if misbehaves and anew:
            questions = 0
    if mode == "lies-about-features":
        result = dict.fromkeys(ASKED, "passed") | {
            "image/grid/huggingface-1025x49": "failed",
            "image/grid/1025x49": "unsupported",  # its answer would be another
            "image/pixels/100x80-noise": "unsupported",
        }
    return result


def check_mode(binary, mode):
    runtime = [TOOLS / "runtimes" / "misbehaving_session.py", mode, "--seconds", TIMEOUT]
    run = Run(
        binary,
        runtime,
        "--cases",
        ",".join(asked(mode)),
        "--timeout",
        str(TIMEOUT),
        alone=asked(mode) is GONE,
    )
    problems, found = run.problems(1), run.verdicts()
    expected = expected_verdicts(mode)
    for id, verdict in expected.items():
        allowed = {verdict}
        if mode in ("previous-answer", "huge-line") and verdict == "failed":
            allowed = {"failed", "malformed"}  # a wrong answer, or none
        if mode == "huge-line":
            allowed.add("passed")  # the runtime may be started anew
        if mode == "exits":
            allowed = {"passed", "crashed"}  # as it is gone or not yet when it is asked
        if found.get(id) not in allowed:
            problems.append(f"{id}: expected {verdict}, found {found.get(id)}")
    if mode == "nan" and run.report:
        taps = {case["tap"] for case in run.report["cases"] if case["stage"] == "model"}
        if taps != {"logits"}:
            problems.append(f"the model's NaN shows at {taps}")
    shown = [
        sum(verdicts.get(id) not in ("passed", None) for id in asked(mode)) for verdicts in (expected, found)
    ]
    words = [
        f"{n} {'/'.join(sorted(set(verdicts.values()) - {'passed'}))}"
        for n, verdicts in zip(shown, (expected, found), strict=True)
    ]
    return mode, *words, run, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--numpy", action="store_true", help="only what needs NumPy, Pillow and safetensors")
    options = parser.parse_args()
    page = faults.page_faults()
    listed = subprocess.run([options.binary, "conformance", "list"], check=True, capture_output=True)
    claims = {}
    for case in map(json.loads, listed.stdout.splitlines()):
        for fault in case["exposes"]:
            claims.setdefault(fault, []).append(case["id"])

    session = TOOLS / "runtimes" / "oracle_session.py"
    checks = {
        f"healthy {arithmetic}": lambda arithmetic=arithmetic: check_healthy(
            options.binary, f"healthy {arithmetic}", [session, "--arithmetic", arithmetic]
        )
        for arithmetic in ("float64", "float32")
    }
    for arithmetic, schedule in itertools.product(rounding.ARITHMETICS, rounding.SCHEDULES):
        name = f"{arithmetic} {schedule}"
        runtime = [session, "--arithmetic", arithmetic, "--schedule", schedule]
        chosen = ("model/*" if schedule == "once" else TINY) + ",answer/*"
        checks[name] = lambda name=name, runtime=runtime, chosen=chosen: check_healthy(
            options.binary, name, runtime, "--cases", chosen
        )
    for arithmetic in () if options.numpy else ("float32", "float16", "bfloat16"):
        name = f"transformers {arithmetic}"
        runtime = [TOOLS / "runtimes" / "transformers_session.py", "--arithmetic", arithmetic]
        checks[name] = lambda name=name, runtime=runtime: check_healthy(
            options.binary, name, runtime, "--cases", "model/*,answer/*"
        )
    if not options.numpy:
        checks["minimal"] = lambda: check_healthy(
            options.binary, "minimal", [TOOLS / "runtimes" / "minimal_session.py", MODEL]
        )
    for fault in oracle_session.FAULTS:
        checks[fault] = lambda fault=fault: check_fault(options.binary, fault, page, claims)
    for fault, arithmetic in itertools.product(faults.FAULTS, HIDDEN_IN):
        if fault not in ELSEWHERE:
            checks[f"{fault} {arithmetic}"] = lambda fault=fault, arithmetic=arithmetic: check_fault_in(
                options.binary, fault, arithmetic, page
            )
    for mode in [*MODES, "previous-answer", "lies-about-features"]:
        checks[mode] = lambda mode=mode: check_mode(options.binary, mode)

    wrong = 0
    print(f"{'':26} {'expected':40} {'found':36} {'s':>5} {'MB':>5}")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for outcome in pool.map(lambda name: checks[name](), options.names or checks):
            name, expected, found, run, problems = outcome
            print(
                f"{name:26} {expected:40} {found:36} {run.seconds:5.1f} {run.memory / 1e6:5.0f}", flush=True
            )
            for problem in problems:
                print(f"    {problem}", flush=True)
            wrong += bool(problems)
    missing = sorted(set(page) - set(oracle_session.FAULTS))
    if missing and not options.names:
        print(f"in the page, and not put into the oracle: {', '.join(missing)}")
    print(f"{wrong} of {len(options.names or checks)} runs are not judged as they should be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
