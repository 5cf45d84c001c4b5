"""What a position of an answer costs, by how many come before it.

    python bench_answer.py BINARY [--checkpoint seeded:tiny] [--positions 16,256,1024,4096] [--tokens 33] [--layer]

`pixtral-ref generate` answers a text of so many tokens twice: with one token, and with --tokens of them. The
difference is what the others cost; each is the shortest of three runs, taking turns. --layer: one decoder
layer of full width and the output head, from a checkpoint of 4.5 GB in a temporary folder.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Fixtures" / "oracle"))
import seeded  # noqa: E402

ROUNDS = 3


def request(folder, tokens):
    """A text that comes to about so many tokens."""
    file = folder / f"{tokens}.json"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": " and" * max(1, tokens - 3)}]}))
    return file


def seconds(binary, checkpoint, file, count):
    start = time.monotonic()
    done = subprocess.run(
        [binary, "generate", "--checkpoint", checkpoint, "--request", file, "--max-tokens", str(count), "--json"],
        check=True, capture_output=True,
    )  # fmt: skip
    taken, answer = time.monotonic() - start, json.loads(done.stdout)
    return taken, answer["usage"]


def measure(binary, checkpoint, positions, tokens, folder):
    print(f"{'tokens before':>13} {'prefill, s':>10} {'ms a position':>13}")
    for position in positions:
        file = request(folder, position)
        one, many = [], []
        for _ in range(ROUNDS):
            one.append(seconds(binary, checkpoint, file, 1)[0])
            taken, usage = seconds(binary, checkpoint, file, tokens)
            many.append(taken)
        steps = usage["completion_tokens"] - 1
        step = (min(many) - min(one)) / steps
        print(f"{usage['prompt_tokens']:13} {min(one):10.2f} {1e3 * step:13.2f}", flush=True)


def one_layer(folder):
    """A folder with one decoder layer of Pixtral Large, and seeded:tiny's vision encoder."""
    params = dict(seeded.PIXTRAL_LARGE, n_layers=1, vision_encoder=seeded.TINY["vision_encoder"])
    (folder / "params.json").write_text(json.dumps(params))
    subprocess.run(
        [sys.executable, ROOT / "Fixtures" / "oracle" / "checkpoint.py", "--source", folder / "params.json",
         "--dtype", "BF16", "--shards", "1", "--out", folder / "layer"],
        check=True,
    )  # fmt: skip
    return folder / "layer"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--checkpoint", default="seeded:tiny")
    parser.add_argument("--positions", default="16,256,1024,4096")
    parser.add_argument("--tokens", type=int, default=33)
    parser.add_argument("--layer", action="store_true")
    options = parser.parse_args()
    positions = [int(n) for n in options.positions.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        checkpoint = one_layer(folder) if options.layer else options.checkpoint
        measure(options.binary, checkpoint, positions, options.tokens, folder)


if __name__ == "__main__":
    main()
