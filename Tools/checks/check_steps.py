"""The cases of single steps decide what they claim, and nothing that is right fails them.

    python check_steps.py BINARY [--rounds 2] [--seed 0] [--jobs 2]

- Right runs: PyTorch, each operation in a random rounding schedule (Tools/goldens/step_schedules.py; none of
  these runs is in an envelope), in four arithmetics, every case ROUNDS times each: none may fail. Of
  two rounds that is 1,032 runs.
- Every fault of Docs/Faults.md that a step can have, in Tools/runtimes/oracle_session.py: in float32 it must
  fail each case that claims it and none that is not of its stages, and pass those that hide it. In
  bfloat16 it must fail each case that it is away from by 10 times the noise, and one at least, but for
  the faults that make_step_cases.py says cannot be decided there. Docs/Faults.md says as much.

Prints a table of the faults; exit 1 if anything is otherwise. 2 minutes.

As `check_steps.py --session ARITHMETIC SEED` it is a runtime of the first kind.
"""

import argparse
import collections
import concurrent.futures
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOOLS / "goldens"))
ARITHMETICS = ("float32", "tf32", "float16", "bfloat16")
SURELY = 10  # times the noise: a little beyond 8, for a run in 16 bits has noise of its own


# A right runtime


def session(arithmetic, seed):
    import step_schedules
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(seed)
    for line in sys.stdin:
        question = json.loads(line)
        if question["op"] == "hello":
            folder = Path(question["folder"])
            answer = {
                "name": "random schedules",
                "version": str(seed),
                "arithmetic": arithmetic,
                "features": ["step"],
            }
        else:
            tensors = {
                name: tensor.double() for name, tensor in load_file(folder / question["tensors"]).items()
            }
            run = step_schedules.mixed(arithmetic, random)
            output = run.step(question["stage"], question["parameters"], tensors)
            save_file({"output": output.contiguous()}, folder / "right.safetensors")
            answer = {"id": question["id"], "tensors": "right.safetensors"}
        print(json.dumps(answer), flush=True)


# The kit


def asked(binary, *runtime):
    """{id: its verdict as the report has it}, of all cases of steps."""
    command = [
        binary,
        "conformance",
        "run",
        "--json",
        "--stage",
        "steps",
        "--runtime",
        shlex.join([sys.executable, *map(str, runtime)]),
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode not in (0, 1):
        raise RuntimeError(process.stderr)
    return {case["id"]: case for case in json.loads(process.stdout)["cases"]}


def check_right(binary, arithmetic, seed):
    found = asked(binary, __file__, "--session", arithmetic, seed)
    return arithmetic, found


def check_fault(binary, fault, cases):
    import faults
    import make_step_cases

    problems, row = [], []
    oracle = TOOLS / "runtimes" / "oracle_session.py"
    for arithmetic in ("float32", "bfloat16"):
        found = asked(binary, oracle, "--fault", fault, "--arithmetic", arithmetic)
        failed = {id for id, case in found.items() if case["verdict"] == "failed"}
        claiming = [case for case in cases if fault in case["faults"]]
        best = 0.0
        for case in claiming:
            moved = case["faults"][fault]
            times = (
                float("inf")
                if moved == "refused"
                else moved / make_step_cases.noise(case["compare"]["relF"], arithmetic)
            )
            best = max(best, times)
            if (arithmetic == "float32" or times >= SURELY) and case["id"] not in failed:
                problems.append(
                    f"{fault}, {arithmetic}: {case['id']} {found[case['id']]['verdict']}, {times:.1f} times the noise"
                )
        row += [len(failed), best]
        for case in cases:
            if fault not in faults.STEP_FAULTS[case["subject"]["step"]] or fault in case["hides"]:
                if found[case["id"]]["verdict"] not in ("passed", "undecided"):
                    problems.append(
                        f"{fault}, {arithmetic}: {case['id']} {found[case['id']]['verdict']}, where it does not show"
                    )
        if not failed and fault not in make_step_cases.UNDECIDED:
            problems.append(f"{fault}, {arithmetic}: no case fails")
    return fault, len(claiming), row, problems


def check_page(fault, cases):
    """What Docs/Faults.md says of a fault: how many cases show it, one of them, and one that hides it."""
    import faults

    section = faults.PAGE.read_text(encoding="utf-8").split(f"### {fault}\n")[1].split("\n#")[0]
    said = " ".join(section[section.index("- In steps") :].split("\n- Remedy")[0].split())
    shown = {case["id"] for case in cases if fault in case["faults"]}
    hiding = {case["id"] for case in cases if fault in case["hides"]}
    one, *_, hides = re.findall(r"`(steps/[^`]+)`", said)
    if f"In steps: {len(shown)} cases show it" not in said or one not in shown or hides not in hiding:
        return [f"Docs/Faults.md is not right about {fault} in steps"]
    return []


def main():
    if sys.argv[1:2] == ["--session"]:
        return session(sys.argv[2], int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--rounds", type=int, default=2, help="right runs of each case in each arithmetic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    binary = options.binary.resolve(strict=True)

    import faults
    import make_step_cases
    import suites

    cases = [case for stage in make_step_cases.TAPS for case in suites.read(f"steps/{stage}/cases")]
    problems = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        seeds = [(a, 1_000_003 * options.seed + n) for a in ARITHMETICS for n in range(options.rounds)]
        counts = collections.defaultdict(collections.Counter)
        farthest = collections.Counter()
        for arithmetic, found in pool.map(lambda job: check_right(binary, *job), seeds):
            for id, case in found.items():
                counts[arithmetic][case["verdict"]] += 1
                if case["distance"] is not None:
                    farthest[arithmetic] = max(farthest[arithmetic], 2 * case["distance"] / case["limit"])
                if case["verdict"] not in ("passed", "undecided"):
                    problems.append(f"right run, {arithmetic}: {id} {case['verdict']}, {case['detail']}")
        for arithmetic, verdicts in counts.items():
            print(
                f"{arithmetic:10} {sum(verdicts.values())} right runs: {dict(verdicts)}, at most {farthest[arithmetic]:.2f} times the noise"
            )

        print(f"\n{'fault':18} claimed  failed in float32, best  failed in bfloat16, best: times the noise")
        listed = dict.fromkeys(fault for stage in faults.STEP_FAULTS.values() for fault in stage)
        for fault, claimed, row, wrong in pool.map(lambda fault: check_fault(binary, fault, cases), listed):
            print(
                f"{fault:18} {claimed:7}  {row[0]:17}, {row[1]:7.1e}  {row[2]:18}, {row[3]:7.1f}", flush=True
            )
            problems += wrong + check_page(fault, cases)
    print("\n".join(problems or ["nothing right fails, and every fault is seen"]))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
