"""Builds llama.cpp and driver.cpp in FOLDER/llama.cpp, by the programs of this Python's environment.

    PYTHON build.py FOLDER      (install.py calls it; FOLDER/venv is the environment)

With --sources nothing is compiled: the converter is in Python.

The sources are those in PyPI's source package of llama-cpp-python 0.3.36, commit 0c1e570, held to its SHA-256. Takes
10 minutes of two cores, and seconds once it has been done. Needs a C++ compiler; cmake and ninja come from
requirements.txt.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE = "llama-cpp-python==0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
TARGETS = ["llama", "mtmd", "llama-common", "llama-quantize", "llama-server"]
FOLDER, HERE = Path(sys.argv[1]).resolve(), Path(__file__).resolve().parent
SOURCES = FOLDER / "llama.cpp"
TOOLS = {**os.environ, "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"}


def run(command, what, **options):
    print(f"llama.cpp: {what}", flush=True)
    if code := subprocess.run(list(map(str, command)), **options).returncode:
        sys.exit(f"error: {what} ended with {code}; what it said stands above")


def fetch():
    """The sources, unpacked whole or not at all."""
    folder = FOLDER / "download"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-build-isolation",
        "--no-binary",
        ":all:",
    ]
    run([*pip, "--dest", str(folder), PACKAGE], "fetching the sources", env=TOOLS)
    archive = next(folder.glob("*.tar.gz"))
    if (found := hashlib.sha256(archive.read_bytes()).hexdigest()) != SHA256:
        sys.exit(f"{archive}: expected SHA-256 {SHA256}, found {found}; delete it and run again.")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    shutil.move(next(folder.glob("*/vendor/llama.cpp")), SOURCES)
    shutil.rmtree(folder)


def main():
    if not SOURCES.exists():
        fetch()
    if "--sources" in sys.argv:
        return
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF"]
    options += ["-DLLAMA_BUILD_EXAMPLES=OFF"]
    build = SOURCES / "build"
    run(["cmake", "-G", "Ninja", "-S", SOURCES, "-B", build, *options], "configuring", env=TOOLS)
    run(["ninja", "-C", build, "-j", "2", *TARGETS], "compiling, about 10 minutes", env=TOOLS)
    headers = ["include", "ggml/include", "common", "tools/mtmd", "vendor"]
    libraries = ["llama-common", "mtmd", "llama", "ggml", "ggml-cpu", "ggml-base"]
    program = build / "bin" / "pixtral-driver"
    command = ["c++", "-std=c++17", "-O2", "-o", program, HERE / "driver.cpp"]
    command += [f"-I{SOURCES / header}" for header in headers]
    command += [f"-L{build / 'bin'}", "-Wl,-rpath,$ORIGIN", *(f"-l{library}" for library in libraries)]
    run(command, "compiling the driver")


main()
