"""Makes Fixtures/demo: what a runtime with a real mistake answers, for `pixtral-ref demo` to judge.

    python make_demo.py

The runtime is the NumPy oracle in float32 with V-no-mask (Docs/Faults.md): the images of one request see
each other. Its answers lie there as `conformance run --results` takes them: right with one image, wrong
with two. Logits are left out, for they are large, and everything is wrong before them.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Tools" / "runtimes"))
import oracle_session  # noqa: E402
from oracle_session import checkpoint  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

OUT = ROOT / "Fixtures" / "demo"
CASES = ("model/tiny/image", "model/tiny/two-images")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        session = oracle_session.Session("float32", "V-no-mask")
        said = session.answer({"op": "hello", "protocol": 1, "folder": folder})
        said |= {"name": "a port of Pixtral", "version": "of last week", "features": ["trace", "multi-image"]}
        checkpoint.write_checkpoint(checkpoint.open_checkpoint("seeded:tiny"), Path(folder) / "tiny")
        assert session.answer({"op": "load", "id": 0, "checkpoint": f"{folder}/tiny"}) == {"id": 0}
        for case in CASES:
            place = ROOT / "Fixtures" / "cases" / case
            expect = json.loads((place / "case.json").read_text())["expect"]
            golden = load_file(place / expect["tensors"])
            images = {name: tensor for name, tensor in golden.items() if name.startswith("image")}
            save_file(images, f"{folder}/images.safetensors")
            taps = [name for name in golden if name not in images and name != "logits"]
            question = {"op": "trace", "id": 1, "tokens": expect["tokens"], "taps": taps}
            answer = session.answer(question | {"tensors": "images.safetensors"})
            (OUT / case).mkdir(parents=True)
            shutil.copyfile(answer["tensors"], OUT / case / "output.safetensors")
    (OUT / "runtime.json").write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    main()
