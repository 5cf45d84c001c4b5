"""Installs what a runtime needs to be judged here: its packages, and its build if it has one.

Each environment is a folder with a virtual environment, venv, of exactly the packages that its
requirements file pins (no other is asked for), and with whatever the build step of the runtime puts
beside it. What is there already and still says the same is left alone, so a second call takes no time.

Needs Python 3.11 with venv, and pip's way to PyPI. PyTorch is meant in its CPU build (2.13.0+cpu):
if pip does not find that, set PIP_EXTRA_INDEX_URL to the address that PyTorch's site gives.
"""

import argparse
import collections
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import runs


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:  python3.11 install.py transformers-5.23.0 && python3.11 judge.py transformers-5.23.0-eager",
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="an environment, or a run (its environment)")
    parser.add_argument("--into", metavar="DIR", type=Path, default=runs.INSTALLED,
                        help="make DIR/ENVIRONMENT; judge.py wants the same --from (default: .build/runtimes)")  # fmt: skip
    options = runs.parsed(parser)
    for name in options.names:
        install(*runs.environment_of(name), options.into.resolve())
    return 0


def install(folder: str, name: str, environment: dict, into: Path) -> None:
    target, source = into / name, runs.HERE / folder
    target.mkdir(parents=True, exist_ok=True)
    began, did = time.monotonic(), False
    stamps = read_stamps(target)
    requirements = source / environment["requirements"]
    stamp = digest([requirements], ".".join(map(str, sys.version_info[:2])))
    if stamps.get("packages") != stamp or not (target / "venv/bin/python").exists():
        install_packages(name, requirements, target)
        stamps, did = {"packages": stamp}, True  # a build is of these packages, so it is to be made anew
        write_stamps(target, stamps)
    if build := environment.get("build"):
        files = [source / file for file in [build, *environment.get("sources", [])]]
        stamp = digest(files)
        if stamps.get("build") != stamp:
            program = target / "venv/bin/python" if build.endswith(".py") else "sh"
            follow([program, source / build, target], target / "build.log", f"{name}: build", cwd=target)
            did = True
            write_stamps(target, stamps | {"build": stamp})
    print(
        f"{name}: installed in {time.monotonic() - began:.0f} s" if did else f"{name}: was installed already"
    )


def install_packages(name: str, requirements: Path, target: Path) -> None:
    if sys.version_info[:2] != (3, 11):
        raise runs.Wrong(f"requirements are pinned for Python 3.11, this is {sys.version.split()[0]}: "
                         "call install.py with python3.11")  # fmt: skip
    log, title = target / "install.log", f"{name}: packages"
    follow([sys.executable, "-m", "venv", "--clear", target / "venv"], log, title)
    # All are pinned: --no-deps, so that pip neither adds nor doubts one.
    pip = [target / "venv/bin/python", "-m", "pip", "install", "--no-deps", "--no-input", "-r", requirements]
    follow(pip, log, title)


def follow(command: list, log: Path, title: str, cwd: Path | None = None) -> None:
    """Runs a command; its output goes to a log, and its last line to a terminal."""
    shown, last = sys.stderr.isatty(), collections.deque(maxlen=200)
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, cwd=cwd, env=environment, text=True,
                                   errors="replace")  # fmt: skip
        for line in process.stdout:
            file.write(line)
            if line.strip():
                last.append(line.strip())
                if shown:
                    print(f"\r\x1b[K{title}: {line.strip()}"[:110], end="", file=sys.stderr, flush=True)
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if process.wait():
        errors = (
            [line for line in last if line.lower().startswith(("error", "fatal"))]
            or list(last)
            or ["nothing"]
        )
        advice = "; PIP_EXTRA_INDEX_URL says where PyTorch's CPU build is" if "torch==" in errors[-1] else ""
        raise runs.Wrong(
            f"{title} failed with exit {process.returncode}, saying: {errors[-1]}; the whole is in {log}{advice}"
        )


def digest(files: list[Path], *words: str) -> str:
    value = hashlib.sha256("\n".join(words).encode())
    for file in files:
        value.update(file.read_bytes())
    return value.hexdigest()


def read_stamps(target: Path) -> dict:
    file = target / "installed.json"
    return json.loads(file.read_text()) if file.exists() else {}


def write_stamps(target: Path, stamps: dict) -> None:
    (target / "installed.json").write_text(json.dumps(stamps, indent=1) + "\n")


if __name__ == "__main__":
    runs.guarded(main)
