"""Makes Fixtures/manifest.json: what the suite consists of.

    python make_manifest.py                      (needs no package)

`version` is the suite's, `schema` that of the files of Fixtures/schema; `features` what a case may
require, and `flags` what one may expose, besides the mistakes of Docs/Faults.md; `floors` how many
cases a stage must have at least; `files` and `cases` the SHA-256 of each file, and of each case as it
is written: its case.json, its line, or its row of a table. `retired` are ids that are never used again.

A case that is in the manifest must not vanish and must not change its meaning; this refuses both. With
--changed a case may change, which its commit has to explain.

    pixtral-ref conformance lint                 compares the manifest with what is there
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import suites

FIXTURES = Path(__file__).resolve().parent.parent.parent / "Fixtures"
MANIFEST = FIXTURES / "manifest.json"
VERSION = "0.3"

FEATURES = {
    "image.png": "reads PNG",
    "image.jpeg": "reads JPEG",
    "image.gif": "reads GIF",
    "image.webp": "reads WebP",
    "image.alpha": "lays what is transparent on white",
    "image.huggingface": "treats images as transformers does, on purpose",
    "multi-image": "takes several images in a request",
    "resize.opencv-cubic": "stretches as OpenCV's INTER_CUBIC",
    "resize.opencv-portable": "and gives what OpenCV's portable code gives",
    "tokens.openai": "takes requests in OpenAI's form",
}
# What is more than a number of cases below which a suite is no longer this suite.
FLOORS = {"rgb": 280, "grid": 4000, "tokens": 7700, "pixels": 100, "steps": 40, "model": 8, "answer": 5}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def written_cases():
    """(id, stage, the bytes that it is written in, what it requires) of each."""
    for name in suites.names():
        table = suites.CASES / f"{name}.csv"
        file = table if table.exists() else suites.CASES / f"{name}.jsonl"
        lines = [line for line in file.read_bytes().split(b"\n") if line][1 if table.exists() else 0 :]
        for case, line in zip(suites.read(name), lines, strict=True):
            yield case, line
    for file in sorted(suites.CASES.rglob("case.json")):
        data = file.read_bytes()
        yield json.loads(data), data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changed", action="store_true", help="cases may change their words")
    changed = parser.parse_args().changed
    before = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    cases, stages, required = {}, {}, set()
    for case, data in written_cases():
        assert case["id"] not in cases, f"{case['id']} is there twice"
        assert case["id"] not in before.get("retired", []) or case["retired"], f"{case['id']} was retired"
        cases[case["id"]] = sha256(data)
        stages[case["stage"]] = stages.get(case["stage"], 0) + 1
        required |= set(case["requires"])
    gone = [id for id in before.get("cases", {}) if id not in cases]
    other = [id for id, hash in before.get("cases", {}).items() if cases.get(id, hash) != hash]
    assert not gone, f"{len(gone)} cases have vanished, such as {gone[0]}: retire a case instead"
    assert changed or not other, f"{len(other)} cases have changed, such as {other[0]}: --changed allows it"
    unknown = required - FEATURES.keys()
    assert not unknown, f"features without a meaning: {sorted(unknown)}"
    files = [
        file
        for folder in ("cases", "endpoint", "faults", "images", "requests", "schema", "tokenizer")
        for file in sorted((FIXTURES / folder).rglob("*"))
        if file.is_file()
    ]
    manifest = {
        "suite": "pixtral-ref conformance",
        "version": VERSION,
        "schema": 1,
        "features": {name: FEATURES[name] for name in FEATURES if name in required},
        "flags": {},
        "floors": {stage: floor for stage, floor in FLOORS.items() if stage in stages},
        "retired": sorted(case["id"] for case, _ in written_cases() if case["retired"] is not None),
        "files": {str(file.relative_to(FIXTURES)): sha256(file.read_bytes()) for file in files},
        "cases": dict(sorted(cases.items())),
    }
    MANIFEST.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, {len(files)} files; {len(other)} changed")


if __name__ == "__main__":
    main()
