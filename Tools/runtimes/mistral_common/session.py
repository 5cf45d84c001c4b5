"""mistral-common as a runtime, from release 1.5.0 on.

pixtral-ref conformance run --runtime 'python session.py TOKENIZER_MODEL'
"""

import json
import os
import sys

import stages


def hello(question):
    os.chdir(question["folder"])  # files are named from there
    return {"name": "mistral-common", "version": stages.VERSION, "arithmetic": "float32",
            "features": stages.FEATURES}  # fmt: skip


stages.start(sys.argv[1])
answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin.buffer:
    question = json.loads(line)
    try:
        answer = ({"hello": hello} | stages.OPERATIONS)[question["op"]](question)
    except Exception as error:  # of any kind: an invalid question is refused, with what the library says
        message = str(error).encode(errors="replace").decode()  # half a surrogate pair is no JSON
        answer = {"reject": {"type": type(error).__name__, "message": message[:2000]}}
    print(json.dumps({"id": question.get("id")} | answer), file=answers, flush=True)
