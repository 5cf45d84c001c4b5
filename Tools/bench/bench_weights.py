"""Weights: how fast they are made, what share of a short request through the full shape is left for its
products, and what eight requests save that share one pass of the weights.

    python bench_weights.py BINARY PRODUCTS [--rounds 3] [--layers 8] [--tokens 61] [--out FILE.json]

PRODUCTS is Tools/bench/products; `make bench` builds it. A turn is a whole process of pixtral-ref,
which starts, makes the weights of some decoder layers from the seeded function, multiplies and writes a
tap, and then the same products alone, with weights that cost nothing. Of the turns the fastest counts,
since whatever else the machine does only adds; where it never rests, the times of the processors say
more than those on the clock. Then eight requests together, of 64 tokens and of 8, in turn with one of
them: the products of eight are a floor that no sharing gets below. All this twice: as the environment says, and without the variables that
choose OpenBLAS's kernels.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def run(binary: str, tokens: int, layers: int, environment: dict, requests: int = 1) -> tuple[float, float]:
    """Seconds of a trace from start to end: on the clock, and of the processors."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            json.dumps({"id": n, "tokens": [1] + [1000 + 7 * m + n for m in range(tokens - 1)]})
            for n in range(requests)
        ]
        Path(folder, "requests.jsonl").write_text("\n".join(lines))
        last = f"decoder.layers.{layers - 1}.output"
        command = [binary, "trace", "--checkpoint", "seeded:pixtral-large",
                   "--requests", f"{folder}/requests.jsonl",
                   "--until", last, "--taps", last, "--out", f"{folder}/out"]  # fmt: skip
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            command,
            check=False,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit {done.returncode}\n{done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def products(program: str, *arguments, environment: dict) -> dict:
    command = [program, *map(str, arguments)]
    return json.loads(
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    )


def fastest(turns: list[tuple[float, float]]) -> tuple[float, float]:
    """On the clock, and of the processors."""
    return min(clock for clock, _ in turns), min(processors for _, processors in turns)


def share(arguments, environment: dict) -> list[dict]:
    """Eight requests against one, with the products of either alone."""
    found = []
    layers = max(1, arguments.layers // 4)
    for tokens in (64, 8):
        turns = {"one": [], "eight": [], "products of one": [], "products of eight": []}
        for _ in range(arguments.rounds):
            for requests, name in [(1, "one"), (8, "eight")]:
                turns[name].append(run(arguments.binary, tokens, layers, environment, requests))
                alone = products(arguments.products, tokens * requests, layers, environment=environment)
                turns[f"products of {name}"].append((alone["seconds"], alone["processor_seconds"]))
        best = {name: fastest(times) for name, times in turns.items()}
        for n, time_of in enumerate(["the clock", "processors"]):
            one, eight, floor = (best[name][n] for name in ("one", "eight", "products of eight"))
            print(
                f"  8 requests of {tokens} tokens, {layers} layers, {time_of}: {eight:.2f} s, one {one:.2f} s, "
                f"ratio {eight / one:.2f}, of which their products alone {floor / one:.2f}; "
                f"one by one 8, shared {8 * one / eight:.2f} times as fast"
            )
        found.append({"tokens": tokens, "layers": layers, "requests": 8, "turns": turns})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("products")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=61)
    parser.add_argument("--out", help="write the figures as JSON too")
    arguments = parser.parse_args()

    given = dict(os.environ)
    rates = products(arguments.products, "values", environment=given)
    print("G values a second, one thread, a block in the caches: Swift's loop, C's")
    for name, rate in rates.items():
        print(f"  {name:6}  {rate['swift'] / 1e9:5.2f}  {rate['c'] / 1e9:5.2f}")

    figures = {"values": rates, "runs": []}
    bare = {name: value for name, value in given.items() if name not in VARIABLES}
    chosen = " ".join(f"{name}={given[name]}" for name in VARIABLES if name in given)
    for title, environment in [(chosen, given), ("kernels that OpenBLAS chooses", bare)]:
        if not title:
            continue
        whole, alone = [], []
        for _ in range(arguments.rounds):
            whole.append(run(arguments.binary, arguments.tokens, arguments.layers, environment))
            found = products(arguments.products, arguments.tokens, arguments.layers, environment=environment)
            alone.append((found["seconds"], found["processor_seconds"]))
        print(
            f"{arguments.tokens} tokens, {arguments.layers} decoder layers, {title} ({found['core']}, {found['threads']} threads)"
        )
        for n, time_of in enumerate(["the clock", "processors"]):
            a, b = fastest(whole)[n], fastest(alone)[n]
            print(
                f"  {time_of}: run {a:.2f} s (to {max(x[n] for x in whole):.2f}), products alone {b:.2f} s "
                f"(to {max(x[n] for x in alone):.2f}), {b / a:.0%} of the run; ratio {a / b:.2f} (at most 1.6)"
            )
        figures["runs"].append(
            {
                "environment": title,
                "run": whole,
                "products": alone,
                "core": found["core"],
                "threads": found["threads"],
                "shared": share(arguments, environment),
            }
        )
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
