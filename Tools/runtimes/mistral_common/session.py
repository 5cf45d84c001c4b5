"""mistral-common as a runtime, from release 1.5.0 on.

pixtral-ref conformance run --runtime 'python session.py TOKENIZER_MODEL'
"""

import os
import sys
from pathlib import Path

import stages

sys.path.append(str(Path(__file__).resolve().parent.parent))
from answering import serve  # noqa: E402

sys.path.pop()  # the folders there are no packages


def hello(question):
    os.chdir(question["folder"])  # files are named from there
    return {"name": "mistral-common", "version": stages.VERSION, "arithmetic": "float32",
            "features": stages.FEATURES}  # fmt: skip


stages.start(sys.argv[1])
answers, sys.stdout = sys.stdout, sys.stderr
serve({"hello": hello} | stages.OPERATIONS, answers)
