"""The case endpoint/mistakes/known on servers that are drawn: right ones with noise, and ones that make a mistake.

    python check_mistake_fits.py BINARY [--seeds 40]

Takes what pixtral-ref-serve said (runtimes/recordings), puts the likeliest tokens of a mistake and their
log-probabilities (Fixtures/faults/endpoint.*) in the place of those that were told behind each prompt, adds normal
noise as large as right runs of an arithmetic have, and has the result judged. A right server has to pass; one that makes a
mistake may pass or be undecided if that is too small for the arithmetic, and must not be called by another's name.
Two minutes.
"""

import argparse
import collections
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
from check_endpoint import judged
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Tools/goldens"))
import suites  # noqa: E402

RECORDING = ROOT / "Tools/runtimes/recordings/pixtral-ref-serve.jsonl"
CASE = "endpoint/mistakes/known"
ARITHMETICS = ("float32", "float16", "bfloat16")
TOLD = 20


def lines(path):
    # Not splitlines: U+2028 is a character of some texts.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def prompts():
    """{name: (messages, right tokens [32], their log-probabilities, {arithmetic: the noise of one})}"""
    goldens = load_file(ROOT / "Fixtures/endpoint/small.safetensors")
    cases = {case["id"]: case for case in suites.read("small", ROOT / "Fixtures/endpoint")}
    found = {}
    for id, case in cases.items():
        if not id.startswith("endpoint/logprobs/"):
            continue
        name = case["inputs"]["prompt"]
        tokens, values = (goldens[f"{name}/top_{key}"][0] for key in ("tokens", "logprobs"))
        mass = np.exp(values[:TOLD]).sum()
        noise = {a: math.sqrt(2 * max(case["compare"]["kl"][a].values()) / mass) for a in ARITHMETICS}
        request = cases[f"endpoint/tokens/{name}"]["inputs"]["request"]
        found[name] = request["messages"], tokens[:TOLD], values[:TOLD], noise
    return found


def mistakes():
    """{name: {prompt: (tokens [20], their log-probabilities)}} of those that leave the tokens of every prompt right."""
    told = load_file(ROOT / "Fixtures/faults/endpoint.safetensors")
    found = {}
    for suspect in lines(ROOT / "Fixtures/faults/endpoint.jsonl"):
        answers = suspect["prompts"]
        if any(one is None or "count" in one for one in answers.values()):
            continue
        found[suspect["suspect"]] = {
            prompt: (told["tokens"][one["row"]], told["logprobs"][one["row"]].astype(float))
            for prompt, one in answers.items()
            if "row" in one
        }
    return found


def recording(exchanges, known, mistake, arithmetic, draw):
    """Lines of what a server says that makes a mistake, {} for none."""
    result = []
    for exchange in exchanges:
        if "declared" in exchange:
            exchange = {"declared": exchange["declared"] | {"arithmetic": arithmetic}}
        elif exchange["path"] == "/v1/chat/completions" and exchange["status"] == 200:
            sent, body = json.loads(exchange["sent"]), json.loads(exchange["body"])
            name = next((n for n, one in known.items() if one[0] == sent["messages"]), None)
            if name and sent.get("logprobs"):
                tokens, values = mistake.get(name, known[name][1:3])
                values = values + draw.normal(size=len(values)) * known[name][3][arithmetic]
                body["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = [
                    {"token": f"token_id:{token}", "logprob": float(min(value, 0))}
                    for token, value in zip(tokens, values, strict=True)
                ]
                exchange = exchange | {"body": json.dumps(body)}
        result.append(json.dumps(exchange))
    return "\n".join(result) + "\n"


def verdict(binary, text):
    """Of the case, and what a mistake is called that is made."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "said.jsonl")
        file.write_text(text, encoding="utf-8")
        case = judged(binary, file, "--cases", CASE)[1]["cases"][0]
    # Its words end in: times as far as NAME moves them.
    name = (case["detail"] or "").rpartition(" times as far as ")[2].removesuffix(" moves them")
    return case["verdict"], name if case["verdict"] == "failed" else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--seeds", type=int, default=40, help="right servers of each arithmetic")
    options = parser.parse_args()
    exchanges, known, draw, wrong = lines(RECORDING), prompts(), np.random.default_rng(1), 0
    for arithmetic in ARITHMETICS:
        right = collections.Counter(
            verdict(options.binary, recording(exchanges, known, {}, arithmetic, draw))[0]
            for _ in range(options.seeds)
        )
        wrong += right.total() - right["passed"]
        made, others = collections.defaultdict(list), []
        for name, mistake in mistakes().items():
            found, called = verdict(options.binary, recording(exchanges, known, mistake, arithmetic, draw))
            made[found].append(name)
            # Forms of one mistake may be taken for each other.
            if called and called.split("~")[0] != name.split("~")[0]:
                others.append(f"{name} is called {called}")
        wrong += len(others)
        print(f"{arithmetic}: right servers {dict(right)}; mistakes made {len(made['failed'])}, "
              f"undecided {made['undecided']}, passed {made['passed']}; wrong names {others}", flush=True)  # fmt: skip
    print(f"{wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
