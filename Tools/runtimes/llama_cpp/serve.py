"""llama-server on a checkpoint, for pixtral-ref conformance run --endpoint.

    PYTHON serve.py PORT CHECKPOINT [--no-jinja]

CHECKPOINT is in Mistral's layout. It becomes two GGUF files, F32; all else is llama-server's default, but for the port
and the length of the context. With --no-jinja prompts come from the templates written in C++.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from llama import PROGRAMS, convert

parser = argparse.ArgumentParser(description="llama-server on a checkpoint in Mistral's layout")
parser.add_argument("port", type=int)
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--no-jinja", action="store_true")
options = parser.parse_args()
folder = (
    Path(tempfile.gettempdir()) / f"pixtral-llama-server-{options.port}"
)  # made anew: exec leaves no one to remove it
text, vision = convert(options.checkpoint.resolve(), folder)
command = [
    str(PROGRAMS / "llama-server"),
    "-m",
    str(text),
    "--mmproj",
    str(vision),
    "--port",
    str(options.port),
]
command += ["--ctx-size", "8192", "--threads", "2", *(["--no-jinja"] if options.no_jinja else [])]
print(f"llama-server listens on http://127.0.0.1:{options.port}", file=sys.stderr, flush=True)
os.execv(command[0], command)
