"""Makes the cases of the full shape from what full_requests.py and full_model.py have written.

    python make_full_cases.py INPUTS RESULTS

INPUTS/NAME has tokens.json, RESULTS/NAME has digest.safetensors and envelope.json. Writes
Fixtures/cases/model/large/NAME/{case.json, digest.safetensors}; the envelope lies beside them.
"""

import json
import shutil
import sys
from pathlib import Path

import mistral_common
from PIL import Image

from full_requests import CASES, requests
from make_goldens import SINCE, image_paths, oracle, sha256, write_json  # and the way to Fixtures/oracle

import seeded  # isort: skip

TITLES = {
    "text": "A chat of four messages goes through all 88 layers of the full shape.",
    "image": "An image of 512 by 512 pixels and a question go through all layers of the full shape.",
    "two-images": "Two images of different sizes go through the full shape without seeing each other.",
}


def make(name, messages, inputs, results):
    folder = CASES / name
    tokens = json.loads((inputs / name / "tokens.json").read_text())
    shutil.copy(results / name / "digest.safetensors", folder / "digest.safetensors")
    (folder / "digest.safetensors").chmod(0o644)
    envelope = json.loads((folder / "envelope.json").read_text())
    paths = image_paths(messages)
    sizes = [Image.open(folder / path).size for path in paths]
    question = {"request": {"file": "request.json", "sha256": sha256(folder / "request.json")}}
    if paths:
        question["images"] = [{"file": path, "sha256": sha256(folder / path)} for path in paths]
    write_json(
        folder / "case.json",
        {
            "id": f"model/large/{name}",
            "title": TITLES[name],
            "stage": "model",
            "exposes": [],
            "subject": {"operation": "from a chat request to logits, Docs/Model.md 4 to 7"}
            | seeded.PIXTRAL_LARGE
            | {"vision_norm_eps": oracle.VISION_NORM_EPS},
            "model": "seeded:pixtral-large",
            "inputs": question,
            "expect": {
                "tokens": tokens["tokens"],
                "text": tokens["text"],
                "grids": [
                    {"width": width, "height": height} | grid
                    for (width, height), grid in zip(sizes, tokens["grids"], strict=True)
                ],
                "digest": "digest.safetensors",
                "sha256": sha256(folder / "digest.safetensors"),
            },
            "compare": {"envelope": "envelope.json"},
            "requires": sorted(
                {f"image.{'png' if path.endswith('png') else 'jpeg'}" for path in paths}
                | ({"multi-image"} if len(paths) > 1 else set())
            ),
            "conflicts_with": [],
            "importance": "high",
            "why": "The yardstick of the full shape: what is off in one layer of many shows here only.",
            "basis": "MistralTokenizer.encode_chat_completion; for the taps Docs/Model.md 5 to 7",
            "oracle": {
                "name": "Tools/goldens/full_model.py, in float64",
                "version": f"torch {envelope['torch']} on {envelope['device']}",
            },
            "witnesses": [
                {
                    "name": "transformers",
                    "version": envelope["transformers"],
                    "torch": envelope["torch"],
                    "what": "its layers in float32, one after another, are schedules of envelope.json",
                },
                {
                    "name": "mistral-common",
                    "version": mistral_common.__version__,
                    "what": "tokens, text and pixels are its own output",
                },
            ],
            "since": SINCE,
            "retired": None,
        },
    )


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: python make_full_cases.py INPUTS RESULTS")
    for name, messages in requests().items():
        make(name, messages, Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
