"""Runs the oracle, transformers and pixtral-ref on every checkpoint of make_checkpoints.py and
compares them tap by tap.

    python check_checkpoints.py BINARY DIR [--only NAME,...] [--verbose]

For each folder of DIR:

- float64: the worst relF of pixtral-ref against the oracle over all taps. Limit 1e-11: two independent programs, one arithmetic.
- float32: the worst ratio over all taps of (pixtral-ref against the oracle) to (transformers against the oracle). Limit 4: pixtral-ref may
  be as inexact as float32 is, and no more than four times as inexact as somebody else's float32 on the same tap.

Exit 1 if a limit is passed, a tap is missing, or a program fails. Without BINARY ("-") only
transformers is measured.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import witness_transformers  # noqa: E402
from compare import compare, distance, worst  # noqa: E402

ORACLE = Path(__file__).resolve().parent.parent.parent / "Fixtures" / "oracle" / "run.py"
FLOAT64_LIMIT = 1e-11
FLOAT32_LIMIT = 4.0


def inputs(folder):
    """The --tokens and --pixels arguments of a checkpoint folder; the oracle and pixtral-ref take
    the same.
    """
    result = ["--tokens", str(folder / "tokens.json")]
    if (folder / "pixels.safetensors").exists():
        result += ["--pixels", str(folder / "pixels.safetensors")]
    return result


def oracle_trace(folder, scratch):
    out = scratch / "oracle.safetensors"
    subprocess.run(
        [sys.executable, str(ORACLE), "--checkpoint", str(folder), *inputs(folder), "--out", str(out)],
        check=True,
        stdout=sys.stderr,
    )
    return load_file(out)


def witness_trace(folder):
    pixels = folder / "pixels.safetensors"
    tokens, images = witness_transformers.read_inputs(
        folder / "tokens.json", pixels if pixels.exists() else None
    )
    taps = witness_transformers.trace(str(folder), tokens, images, keep=witness_transformers.wanted(None))
    return {tap: matrix.numpy() for tap, matrix in taps.items()}


def our_trace(binary, folder, precision, scratch):
    out = scratch / precision
    command = [
        binary,
        "trace",
        "--checkpoint",
        str(folder),
        *inputs(folder),
        "--precision",
        precision,
        "--out",
        str(out),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load_file(out / "trace.safetensors")


def ratios(expected, ours, witness):
    """(tap, ratio) of ours to the witness, worst first. Where the witness is exact (the embeddings
    of a text), ours must be, too.
    """
    result = []
    for tap, noise in compare(expected, witness).items():
        d = distance(expected[tap], ours[tap]).rel_f if tap in ours else math.inf
        ratio = 0.0 if d == 0 else (d / noise.rel_f if noise.rel_f > 0 else math.inf)
        result.append((tap, ratio, d, noise.rel_f))
    return sorted(result, key=lambda row: -row[1])


def check(folder, binary, verbose):
    """Prints one line for one checkpoint and says whether it is within the limits."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        expected = oracle_trace(folder, scratch)
        witness = witness_trace(folder)
        witness_tap, witness_worst = worst(compare(expected, witness))
        line = f"{folder.name:16} transformers float32 {witness_worst.rel_f:.1e} ({witness_tap})"
        fine = set(witness) == set(expected) and witness_worst.rel_f < 1e-4
        if set(witness) != set(expected):
            line += f"  TAPS OF WITNESS AND ORACLE DIFFER: {sorted(set(witness) ^ set(expected))}"
        if binary != "-":
            double = our_trace(binary, folder, "float64", scratch)
            single = our_trace(binary, folder, "float32", scratch)
            missing = sorted((set(expected) - set(double)) | (set(expected) - set(single)))
            double_tap, double_worst = worst(compare(expected, double))
            ranked = ratios(expected, single, witness)
            tap, ratio, _, _ = ranked[0]
            line += f" | float64 {double_worst.rel_f:.1e} ({double_tap}) | float32 ratio {ratio:.2f} ({tap})"
            fine = fine and not missing and double_worst.rel_f <= FLOAT64_LIMIT and ratio <= FLOAT32_LIMIT
            if missing:
                line += f" | MISSING {missing[:5]}"
            if verbose:
                line += "".join(
                    f"\n    {t:42} ours {d:.2e} witness {n:.2e} ratio {r:.2f}" for t, r, d, n in ranked[:8]
                )
    print(("ok   " if fine else "FAIL ") + line, flush=True)
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help='path of pixtral-ref, or "-"')
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", help="names, joined by commas")
    parser.add_argument("--verbose", action="store_true", help="show the eight worst taps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    only = arguments.only.split(",") if arguments.only else None
    folders = [
        f
        for f in sorted(arguments.folder.iterdir())
        if (f / "params.json").exists() and (only is None or f.name in only)
    ]
    if not folders:
        sys.exit(
            f"no checkpoint in {arguments.folder}; make_checkpoints.py --out {arguments.folder} writes them"
        )
    fine = True
    for folder in folders:
        try:
            fine = check(folder, arguments.binary, arguments.verbose) and fine
        except subprocess.CalledProcessError as error:
            print(f"FAIL {folder.name:16} exit {error.returncode}: {' '.join(error.cmd)}", flush=True)
            fine = False
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
