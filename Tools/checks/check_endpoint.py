"""Servers of seeded:small of which it is known what is altered, judged by `conformance run --endpoint`.

    python check_endpoint.py BINARY [--server PIXTRAL_REF_SERVE] [--keep] [ALTERATION ...]

altered_server.py answers, by transformers and mistral-common. One that alters nothing must pass, in float32,
float16 and bfloat16, whether it tells tokens or their number alone, and one with transformers' rule of images
where that is said; each other must fail, and what it alters must be the first or second of the suspects, but
for what the table below says of it. Mistakes of the vision encoder must be found in bfloat16, too. Each verdict is
reached again from the bodies that were kept. With --server pixtral-ref-serve must pass too. With --keep what
three servers in bfloat16 say becomes recordings/ALTERATION.jsonl, which `make test` judges. Six minutes.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import served

ROOT = Path(__file__).resolve().parent.parent.parent
SERVER = Path(__file__).resolve().parent / "altered_server.py"
# What each has to be called; None where no name is known, and "none of the known" must be first.
CALLED = {
    "images-dropped": "images dropped",
    "images-other-order": "images in the opposite order",
    "images-mirrored": None,
    "images-black": "images black",
    "bos-twice": "T-double-bos~once",
    "breaks-12-13": "L-ids",
    "no-breaks": "L-flat",
    "grid-floored": "G-floor",
    "grid-32": "G-32",
    "by-transformers": "images by transformers' rule",
    "not-normalised": "P-norm~none",
    "alpha-dropped": "P-alpha",
    "gelu-tanh": "A-tanh",
    "theta-1e4": "D-theta~1e4",
    "no-mask": "V-no-mask",
    "vision-gelu": "V-gelu",
    "same-frequencies": "V-same-freqs",
    "scaled-0.9": "log-probabilities scaled by 0.900",
    "base-10": "logarithms to the base of 10",
    "rounded-bfloat16": "log-probabilities rounded to bfloat16",
    "temperature-1.5": "a temperature of 1.500",
    "probabilities": "probabilities in the place of log-probabilities",
    "image-ignored-after-first": None,
    "error-is-200": None,
    "a-digit-of-noise": None,
}  # fmt: skip
# These have to be called made in bfloat16; by all but the first no prompt is surely wrong there.
TOGETHER = ("no-mask", "vision-gelu", "same-frequencies")
RECORDINGS = Path(__file__).resolve().parent / "recordings"
KEPT = ("nothing", "vision-gelu", "same-frequencies")
BFLOAT16 = ("--arithmetic", "bfloat16")
# An alteration that is none, how it is served, and what is said of it.
RIGHT = [
    ("nothing", ("--arithmetic", "float32"), ()),
    ("nothing", ("--arithmetic", "float16"), ("--arithmetic", "float16")),
    ("nothing", BFLOAT16, BFLOAT16),
    ("nothing", ("--tells", "counts", "--top", "5"), ()),
    ("by-transformers", (), ("--images", "huggingface")),
]  # fmt: skip


def judged(binary, url, *options):
    """The exit code and the report."""
    command = [binary, "conformance", "run", "--stage", "endpoint", "--endpoint", url, "--json", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=1200)
    if not done.stdout:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.returncode, json.loads(done.stdout)


def run(binary, url, *options, keep=None):
    """The same, and once more from what was kept.

    - keep: where it is to be kept for good.
    """
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies.jsonl"
        first = judged(binary, url, "--bodies", bodies, *options)
        again = judged(binary, bodies, *options)
        same = [{**report, "runtime": None, "sha256": None} for report in (first[1], again[1])]
        assert same[0] == same[1] and first[0] == again[0], "the bodies that were kept are judged otherwise"
        if keep:
            keep.parent.mkdir(exist_ok=True)
            shutil.copyfile(bodies, keep)
    return first


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--server", metavar="PIXTRAL_REF_SERVE")
    parser.add_argument("--keep", action="store_true", help="keep what servers in bfloat16 say in recordings")
    parser.add_argument("alterations", nargs="*", metavar="ALTERATION")
    options = parser.parse_args()
    wrong = 0

    def say(name, code, report, expected, start, made=None):
        """- made: what the fit of known mistakes has to call it."""
        nonlocal wrong
        suspects = [one["name"] for one in report["endpoint"]["suspects"]]
        failed = [
            one["id"]
            for one in report["cases"]
            if one["verdict"] not in ("passed", "undecided", "unsupported")
        ]
        undecided = [one["id"] for one in report["cases"] if one["verdict"] == "undecided"]
        if expected is False:
            right = code == 0
        else:
            first = suspects[: 2 if expected else 1]
            forms = [name.split("~")[0] for name in first]
            right = code == 1 and (expected or "none of the known") in first + forms
            right |= code == 1 and expected is None and not suspects
        fits = report["endpoint"]["mistakes"]
        right &= [one["looks_like"] for one in fits if one["verdict"] == "made"][:1] == [made] or not made
        wrong += not right
        print(f"{'ok   ' if right else 'WRONG'} {name}: {len(failed)} failed, {len(undecided)} undecided "
              f"{undecided[:4]}; suspects {suspects[:3]}; {time.monotonic() - start:.0f} s", flush=True)  # fmt: skip
        if not right:
            print(f"      {failed[:6]}", flush=True)

    if options.server:
        start = time.monotonic()
        with served.Served(options.server, checkpoint="seeded:small") as server:
            say("pixtral-ref-serve", *run(options.binary, server.url), False, start)
    runs = [(*one, False) for one in RIGHT] if not options.alterations else []
    runs += [(name, (), (), CALLED.get(name, False)) for name in options.alterations or CALLED]
    runs += [
        (name, BFLOAT16, BFLOAT16, CALLED[name])
        for name in TOGETHER
        if name in (options.alterations or TOGETHER)
    ]
    for name, arguments, said, expected in runs:
        start = time.monotonic()
        command = [sys.executable, str(SERVER), name, *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
        ) as process:
            try:
                url = re.search(r"http://\S+", process.stdout.readline())[0]
                is_kept = options.keep and arguments == BFLOAT16 and name in KEPT
                found = run(
                    options.binary, url, *said, keep=RECORDINGS / f"{name}.jsonl" if is_kept else None
                )
                made = expected if arguments == BFLOAT16 and expected else None
                say(" ".join((name, *arguments, *said)), *found, expected, start, made)
            finally:
                process.kill()
    print(f"{wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
