"""Makes FOLDER/square.gguf, a checkpoint that mistral.rs loads, by llama.cpp's converter.

    PYTHON build.py FOLDER      (install.py calls it; FOLDER/venv is the environment)

mistral.rs takes no vision part of Pixtral's GGUF files, and of the text only shapes whose heads · head_dim is dim. So
the checkpoint is seeded:small but for 512 columns and 8 heads of 64 (square.params.json), written by Fixtures/oracle.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER, HERE = Path(sys.argv[1]).resolve(), Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent


def run(*command):
    if code := subprocess.run([sys.executable, *map(str, command)]).returncode:
        sys.exit(f"error: {command[0]} ended with {code}; what it said stands above")


run(HERE.parent / "llama_cpp" / "build.py", FOLDER, "--sources")
with tempfile.TemporaryDirectory() as scratch:
    parameters = HERE / "square.params.json"
    writer = ROOT / "Fixtures" / "oracle" / "checkpoint.py"
    run(writer, "--source", parameters, "--seed", 2411, "--dtype", "BF16", "--shards", 1, "--out", scratch)
    tokenizer = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
    shutil.copy(tokenizer, Path(scratch) / "tokenizer.model.v7m1")
    part = FOLDER / "square.gguf.part"
    converter = FOLDER / "llama.cpp" / "convert_hf_to_gguf.py"
    run(converter, scratch, "--mistral-format", "--outtype", "f32", "--outfile", part)
os.replace(part, FOLDER / "square.gguf")
