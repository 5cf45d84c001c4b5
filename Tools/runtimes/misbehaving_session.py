"""A runtime that misbehaves in one way, to try the conformance kit on; otherwise the healthy oracle.

    pixtral-ref conformance run --timeout 2 --runtime 'python misbehaving_session.py MODE'

The first question of each process is answered rightly, and so is `load`; from the second on it
misbehaves. So of a runtime that the kit starts anew after each lapse, every other case passes.

    nan                       the last value of pixels and of logits is NaN (tokens and grids are right)
    silent                    no answer
    crash                     the process ends by a signal, after a word on standard error
    slow                      the right answer, a second later than SECONDS (--seconds, 3)
    not-json                  a line of prose
    wrong-id                  the right answer under the id of the question before
    missing-file              the name of a file that does not exist (tokens and grids are right)
    endless-output            a line without end
    previous-answer           the answer to the question before, under this one's id
    everything-unsupported    it does nothing that it claims; from the first question on
    lies-about-features       it claims image.huggingface, and treats images as mistral-common does
    closes-stdout             standard output is closed, and the process lives on
    exits                     the right answer, and then the process ends
    crash-always              the process ends at every question, the first too
    huge-line                 62 MB of tokens, or of nothing to the purpose
    huge-tensor               a file of pixels or taps of 768 MB (tokens and grids are right)
"""

import argparse
import json
import math
import os
import signal
import sys
import time

import numpy as np
from oracle_session import Session
from safetensors.numpy import load_file, save_file

MODES = [line.split()[0] for line in __doc__.splitlines() if line.startswith("    ") and "  " in line.strip()]


def with_nan(answer):
    """The last value of the pixels, or of the logits."""
    values = load_file(answer["tensors"])
    for name in ("pixels", "logits"):
        if name in values:
            values[name].flat[-1] = np.nan
    save_file(values, answer["tensors"])
    return answer


def enlarge(path):
    """The first tensor alone, with a shape that the file has room for but no memory: a hole."""
    with open(path, "rb") as file:
        name = next(iter(json.loads(file.read(int.from_bytes(file.read(8), "little")))))
    shape = [3, 8000, 8000] if name == "pixels" else [24000, 8000]
    size = math.prod(shape) * 4
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)


def send(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def misbehave(mode, answer, previous, seconds):
    """Sends what `mode` sends in the place of `answer`."""
    right = json.dumps(answer) + "\n"
    match mode:
        case "nan":
            send(json.dumps(with_nan(answer) if "tensors" in answer else answer) + "\n")
        case "silent":
            pass
        case "crash":
            print("out of memory in layer 3", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "slow":
            time.sleep(seconds + 1)
            send(right)
        case "not-json":
            send("Loading checkpoint shards: 100%\n")
        case "wrong-id":
            send(json.dumps(answer | {"id": answer["id"] - 1}) + "\n")
        case "missing-file":
            there = "tensors" in answer
            send(json.dumps(answer | {"tensors": "nowhere.safetensors"} if there else answer) + "\n")
        case "endless-output":
            while True:
                send("[0, " * (1 << 14))
        case "previous-answer":
            send(json.dumps(previous | {"id": answer["id"]}) + "\n")
        case "closes-stdout":
            os.close(sys.stdout.fileno())
            while True:
                time.sleep(60)
        case "exits":
            send(right)
            os._exit(0)
        case "huge-line":
            send(f'{{"id":{answer["id"]},"tokens":[{"1," * (31 << 20)}1]}}\n')
        case "huge-tensor":
            if "tensors" in answer:
                enlarge(answer["tensors"])
            send(right)
        case _:
            send(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--seconds", type=float, default=3.0, help="of the kit's --timeout")
    options = parser.parse_args()
    session, previous = Session(), None
    for line in sys.stdin.buffer:
        question = json.loads(line)
        answer = session.answer(question)
        if question["op"] == "hello":
            if options.mode == "lies-about-features":
                answer["features"].append("image.huggingface")
            send(json.dumps(answer) + "\n")
        elif options.mode == "everything-unsupported":
            send(json.dumps({"id": question["id"], "unsupported": "not today"}) + "\n")
        elif options.mode == "crash-always":
            os._exit(3)
        elif question["op"] == "load":
            send(json.dumps(answer) + "\n")
        elif previous is None and options.mode != "exits":
            send(json.dumps(answer) + "\n")
            previous = answer
        else:
            misbehave(options.mode, answer, previous, options.seconds)
            previous = answer


if __name__ == "__main__":
    main()
