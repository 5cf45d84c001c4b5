"""`transformers serve` over seeded:small in Hugging Face's layout.

    python3.11 serve.py PORT

The model is called by its folder, which GET /v1/models does not list: give it as --model. Ready when GET
/health answers 200.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs  # noqa: E402
import serving  # noqa: E402


def main() -> None:
    options = serving.options_of(__doc__.splitlines()[0], "transformers-serve-5.23.0", "hf")
    (options.installed / "hub").mkdir(exist_ok=True)  # GET /v1/models answers 500 if there is none
    command = [
        options.python,
        Path(__file__).with_name("served.py"),
        "serve",
        options.folder,
        "--device",
        "cpu",
    ]
    command += ["--dtype", options.arithmetic, "--host", "127.0.0.1", "--port", options.port]
    serving.become(
        command, serving.with_torchvision() | {"HF_HUB_CACHE": str((options.installed / "hub").resolve())}
    )


runs.guarded(main)
