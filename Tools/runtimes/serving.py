"""What the scripts FOLDER/serve.py share: each starts a real server over seeded:small, to be asked with
`pixtral-ref conformance run --endpoint`. README.md, section Servers, has what each of them tells.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import runs


def options_of(about: str, environment: str, layout: str | None = None) -> argparse.Namespace:
    """The command line of a serve.py: `port`, `python` of the environment, `folder` of the checkpoint and its
    `layout` (asked only where None is given).
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("port", type=int, help="at 127.0.0.1")
    parser.add_argument("--arithmetic", choices=("float32", "bfloat16"), default="float32")
    if layout is None:
        parser.add_argument("--layout", choices=("mistral", "hf"), default="mistral")
    else:
        parser.set_defaults(layout=layout)
    parser.add_argument("--from", dest="installed", metavar="DIR", type=Path, default=runs.INSTALLED,
                        help="where install.py made the environments (default: .build/runtimes)")  # fmt: skip
    parser.add_argument("--binary", type=Path, default=runs.ROOT / ".build" / "release" / "pixtral-ref",
                        help="pixtral-ref, which writes the checkpoint (default: .build/release/pixtral-ref)")  # fmt: skip
    options = parser.parse_args()
    options.python = (options.installed / environment).resolve() / "venv/bin/python"
    if not options.python.exists():
        raise runs.Wrong(f"there is no {options.python}; install.py {environment} makes it")
    options.folder = checkpoint(options)
    return options


def checkpoint(options) -> Path:
    """seeded:small in the layout."""
    folder = (options.installed / "checkpoints" / f"small-{options.layout}").resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [options.binary.resolve(), "checkpoint", "write", "seeded:small", "--layout", options.layout]
    result = subprocess.run([*command, "--out", folder], cwd=runs.ROOT, capture_output=True, text=True)
    if result.returncode:
        raise runs.Wrong(f"pixtral-ref wrote no checkpoint: {result.stderr.strip()}")
    return folder


def with_torchvision() -> dict[str, str]:
    """The environment in which PyTorch's CPU build takes PyPI's torchvision: see shim."""
    path = [str(runs.HERE / "shim"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path), "HF_HUB_OFFLINE": "1"}


def become(command: list, environment: dict[str, str]) -> None:
    """Runs the server in the place of this process, so that a signal to it is one to the server."""
    print("serving:", *command, file=sys.stderr)
    os.execve(command[0], list(map(str, command)), os.environ | environment)
