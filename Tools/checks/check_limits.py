"""Measures the memory and the time of each command against the size of its input, hostile inputs
included, and compares the memory with the bounds of Docs/Limits.md.

usage: check_limits.py BINARY [--write]        needs pillow and numpy; 3 minutes, 1 GB below /tmp

Every row is run once, with its input made anew. Peak memory must be within the row's bound, which is
computed from the size of the input as the page says. Where rows double their input, the time may at
most triple from one to the next. With --write the table of the page is written from what was
measured.
"""

import argparse
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "Docs" / "Limits.md"
MB = 1_000_000
Image.MAX_IMAGE_PIXELS = None


def words(size: int) -> str:
    """Words of letters, of which few come twice."""
    r = random.Random(size)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    found, count = [], 0
    while count < size:
        word = "".join(r.choices(letters, weights=range(26, 0, -1), k=r.randint(2, 11)))
        found.append(word)
        count += len(word) + 1
    return " ".join(found)[:size]


def user(content) -> dict:
    return {"role": "user", "content": content}


def safetensors(path: Path, header: str, data: int = 0) -> Path:
    """A file whose data, if there are any, are zeros that take no room on the disk."""
    coded = header.encode()
    coded += b" " * (-len(coded) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(coded)) + coded)
        file.truncate(8 + len(coded) + data)
    return path


def matrix(path: Path, shape: list[int]) -> Path:
    size = 4 * int(np.prod(shape))
    entry = {"logits": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    return safetensors(path, json.dumps(entry), size)


class Rows:
    """The rows of the table. Each: command, what the input is, its size in bytes, arguments, standard
    input, bound on the memory in bytes, and what doubles with the row before.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows = []

    def add(self, command, what, size, arguments, bound, text=None, doubles=False):
        self.rows.append((command, what, size, [str(part) for part in arguments], bound, text, doubles))

    def file(self, name: str, content) -> Path:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def tokens(self):
        for n, size in enumerate((10 * MB, 20 * MB, 40 * MB)):
            path = self.file(f"text{n}.json", {"messages": [user(words(size))]})
            self.add(
                "tokens",
                "a text of words",
                size,
                ["tokens", "--request", path],
                40 * MB + 16 * size,
                doubles=n,
            )
        for n, size in enumerate((10 * MB, 20 * MB, 40 * MB)):
            path = self.file(f"word{n}.json", {"messages": [user("a" * size)]})
            self.add(
                "tokens",
                "a text of one word",
                size,
                ["tokens", "--request", path],
                40 * MB + 40 * size,
                doubles=n,
            )
        for n, count in enumerate((100_000, 200_000, 400_000)):
            path = self.file(f"many{n}.json", {"messages": [user("Hi")] * count})
            size = path.stat().st_size
            what = f"{count:,} messages"
            self.add("tokens", what, size, ["tokens", "--request", path], 40 * MB + 32 * size, doubles=n)
        for n, count in enumerate((100_000, 200_000)):
            lines = (json.dumps({"id": i, "request": {"messages": [user("Hello")]}}) for i in range(count))
            text = "\n".join(lines).encode()
            what = f"{count:,} lines of --jsonl"
            self.add("tokens", what, len(text), ["tokens", "--jsonl"], 60 * MB, text, doubles=n)
        for n, size in enumerate((50 * MB, 100 * MB)):
            text = json.dumps({"id": 0, "text": words(1000) * (size // 1000)}).encode()
            self.add(
                "tokens",
                "one line of --jsonl",
                size,
                ["tokens", "--jsonl"],
                40 * MB + 20 * size,
                text,
                doubles=n,
            )

    def images(self):
        folder = self.folder
        flat = Image.new("RGB", (13377, 13377), (10, 20, 30))
        flat.save(folder / "flat.png", compress_level=1)
        flat.save(folder / "flat.jpg")
        noise = Image.fromarray(np.random.RandomState(0).randint(0, 255, (4800, 6900, 3), dtype=np.uint8))
        noise.save(folder / "noise.jpg", quality=30)
        noise.save(folder / "progressive.jpg", quality=30, progressive=True)
        for name, pixels in (("flat.png", "179 megapixels, PNG"), ("flat.jpg", "179 megapixels, JPEG"),
                             ("noise.jpg", "33 megapixels, JPEG"), ("progressive.jpg", "33 megapixels, progressive")):  # fmt: skip
            size = (folder / name).stat().st_size
            self.add("image", pixels, size, ["image", folder / name], 40 * MB + 2 * size)
        out = folder / "pixels.safetensors"
        area = 4800 * 6900
        for name, what, factor in (
            ("noise.jpg", "33 megapixels, --pixels", 3),
            ("progressive.jpg", "the same, progressive", 9),
        ):
            size = (folder / name).stat().st_size
            bound = 60 * MB + 2 * size + factor * area
            self.add("image", what, size, ["image", folder / name, "--pixels", out], bound)
        photo = ROOT / "Fixtures" / "images" / "rocket.jpg"
        files = [photo] * 200
        self.add(
            "image",
            "200 photographs, --pixels",
            200 * photo.stat().st_size,
            ["image", *files, "--pixels", out],
            60 * MB,
        )
        for name in ("noise.jpg", "progressive.jpg"):
            chunk = {"type": "image_url", "image_url": name}
            path = self.file(f"thirty-{name}.json", {"messages": [user([chunk] * 30)]})
            what = f"30 × 33 megapixels in a request, {name}"
            self.add("tokens", what, path.stat().st_size, ["tokens", "--request", path], 100 * MB)

    def compared(self):
        for n, rows in enumerate((10_000, 20_000, 40_000)):
            path = matrix(self.folder / f"matrix{n}.safetensors", [rows, 1000])
            self.add(
                "compare", f"{rows:,} × 1,000", 2 * 4000 * rows, ["compare", path, path], 80 * MB, doubles=n
            )
        path = matrix(self.folder / "row.safetensors", [1, 50_000_000])
        self.add("compare", "1 × 50,000,000", 400 * MB, ["compare", path, path], 80 * MB)
        hostile = {
            "3,000,000 empty objects": '{"a":[' + ",".join(["{}"] * 3_000_000) + "]}",
            "a shape of 4,500,000 sizes": '{"a":{"shape":[' + ",".join(["1"] * 4_500_000) + "]}}",
            "800,000 keys": "{" + ",".join(f'"k{i}":{{}}' for i in range(800_000)) + "}",
            "150,000 empty tensors": "{" + ",".join(
                f'"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(150_000)) + "}",
        }  # fmt: skip
        for n, (what, header) in enumerate(hostile.items()):
            path = safetensors(self.folder / f"hostile{n}.safetensors", header)
            size = path.stat().st_size
            self.add("compare", f"a header of {what}", size, ["compare", path, path], 30 * MB + 8 * size)

    def checkpoints(self):
        for n, (what, text) in enumerate((
            ("params.json of 3,000,000 objects", '{"dim":[' + ",".join(["{}"] * 3_000_000) + "]}"),
            ("params.json of 800,000 keys", "{" + ",".join(f'"k{i}":1' for i in range(800_000)) + "}"),
        )):  # fmt: skip
            folder = self.folder / f"checkpoint{n}"
            folder.mkdir()
            (folder / "params.json").write_text(text)
            self.add(
                "checkpoint", what, len(text), ["checkpoint", "inspect", folder], 40 * MB + 8 * len(text)
            )
        self.add(
            "checkpoint",
            "inspect seeded:pixtral-large",
            0,
            ["checkpoint", "inspect", "seeded:pixtral-large"],
            60 * MB,
        )
        out = self.folder / "written"
        arguments = ["checkpoint", "write", "seeded:tiny", "--layout", "hf", "--out", out]
        self.add("checkpoint", "write seeded:tiny, hf", 0, arguments, 150 * MB)

    def traces(self):
        for n, count in enumerate((1000, 2000, 4000)):
            path = self.file(f"tokens{n}.json", [1] + [1000] * (count - 1))
            # Logits and what they are computed from, a block of a weight for each thread, the program.
            bound = 150 * MB + 4 * count * (32_768 + 2 * 80)
            arguments = ["trace", "--tokens", path, "--out", self.folder / f"trace{n}"]
            self.add(
                "trace", f"seeded:tiny, {count:,} tokens", path.stat().st_size, arguments, bound, doubles=n
            )
        path = self.file("short.json", [1] + [1000] * 60)
        arguments = ["trace", "--checkpoint", "seeded:pixtral-large", "--tokens", path, "--until"]
        arguments += [
            "decoder.layers.0.output",
            "--taps",
            "decoder.layers.0.output",
            "--out",
            self.folder / "large",
        ]
        self.add(
            "trace", "seeded:pixtral-large, 61 tokens, a layer", path.stat().st_size, arguments, 200 * MB
        )
        path = self.file("million.json", [1] * 4_000_000)
        arguments = ["trace", "--tokens", path, "--out", self.folder / "refused"]
        self.add(
            "trace",
            "4,000,000 tokens, refused",
            path.stat().st_size,
            arguments,
            40 * MB + 8 * path.stat().st_size,
        )


# A process of its own, since a child counts the memory of the one that it was forked from.
LAUNCHER = """
import os, subprocess, sys, time
start = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), time.monotonic() - start, usage.ru_maxrss * 1024)
"""


def measured(command: list[str], text: bytes | None, folder: Path) -> tuple[float, int]:
    """Seconds and peak memory in bytes."""
    source = folder / "stdin"
    source.write_bytes(text or b"")
    with open(source, "rb") as stdin:
        launch = [sys.executable, "-c", LAUNCHER, *command]
        found = subprocess.run(launch, stdin=stdin, cwd=folder, capture_output=True, text=True, check=True)
    code, seconds, memory = found.stdout.split()
    if code not in ("0", "2"):
        sys.exit(f"{command} ended with {code}")
    return float(seconds), int(memory)


def megabytes(count: float) -> str:
    return f"{count / MB:.0f}" if count >= 10 * MB else f"{count / MB:.1f}" if count >= MB / 20 else "0"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve(strict=True)
    table = [
        "| command | input | MB | peak memory, MB | bound, MB | seconds |",
        "|---|---|---:|---:|---:|---:|",
    ]
    fine = True
    with tempfile.TemporaryDirectory() as name:
        rows = Rows(Path(name))
        for part in (rows.tokens, rows.images, rows.compared, rows.checkpoints, rows.traces):
            part()
        before = 0.0
        for command, what, size, parts, bound, text, doubles in rows.rows:
            seconds, memory = measured([str(binary), *parts], text, rows.folder)
            wrong = []
            if memory > bound:
                wrong.append(f"takes {megabytes(memory)} MB, more than {megabytes(bound)}")
            if doubles and seconds > 3 * before + 0.5:
                wrong.append(f"takes {seconds:.1f} s, where half the input takes {before:.1f}")
            before = seconds
            table.append(
                f"| `{command}` | {what} | {megabytes(size)} | {megabytes(memory)} | {megabytes(bound)} | {seconds:.1f} |"
            )
            print(table[-1] + "".join(f"  WRONG: {text}" for text in wrong), flush=True)
            fine = fine and not wrong
    if arguments.write:
        page = PAGE.read_text()
        written = re.sub(r"^\| command \| input .*", "", page, flags=re.M | re.S) + "\n".join(table) + "\n"
        PAGE.write_text(written)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
