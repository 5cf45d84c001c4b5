"""Makes Fixtures/cases/answer/tiny: what seeded:tiny says of the tokens of answers that are given to it.

    python make_answer_cases.py

The tokens are those that transformers' `generate` chooses in float32, greedily. The log-probabilities are
the float64 oracle's (Fixtures/oracle/answer.py), which computes prompt and answer in one go; transformers,
which computes a position at a time through its cache, is the witness. A case has how far right runs are
from the answer (runtimes/rounding.py: five arithmetics, five schedules, and transformers' float32), and
`faults`: how far each mistake of Docs/Faults.md moves it that shows in float32. Two minutes.
"""

import hashlib
import json
import platform
import sys

import make_goldens  # sets OPENBLAS_NUM_THREADS before numpy is loaded
import numpy as np
import suites
import torch
import transformers
import witness_transformers
from make_noise import BITS, rounded_up
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from safetensors.numpy import load_file, save_file

TOOLS = suites.CASES.parent.parent / "Tools"
sys.path[:0] = [str(TOOLS / folder) for folder in ("runtimes", "checks")]
import answer  # noqa: E402
import checkpoint  # noqa: E402
import faults  # noqa: E402
import oracle  # noqa: E402
import rounding  # noqa: E402
import torch_session  # noqa: E402

NAME = "answer/tiny/cases"
COUNT, TOP = 64, 20
FAR = 8  # times the noise
SINCE = "0.3"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
# Name: title, features, and a case of model/tiny whose request, tokens and pixels it has, or a request.
CASES = {
    "text": ("An answer of 64 tokens goes on where a text conversation ends.", [], "text"),
    "image": ("An answer counts its positions behind all rows, breaks and the end of an image.", [], "image"),
    "two-images": (
        "An answer sees two images that did not see each other.", ["multi-image"], "two-images",
    ),
    "tools": (
        "An answer follows the tools that a request names.", [],
        {"messages": [{"role": "user", "content": "Is it raining in Zürich?"}], "tools": [TOOL]},
    ),
    "continued": (
        "An answer continues an assistant's message that has no end.", [],
        {"messages": [{"role": "user", "content": "Count to ten."},
                      {"role": "assistant", "content": "One, two, three,", "prefix": True}]},
    ),
}  # fmt: skip


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prompt(source, tokenizer):
    """Tokens, pixels, and what `inputs` says of them beside the tokens."""
    if isinstance(source, dict):
        tokens = tokenizer.encode_chat_completion(ChatCompletionRequest.model_validate(source)).tokens
        return tokens, [], {"request": source}
    folder = suites.CASES / "model" / "tiny" / source
    case, stored = json.loads((folder / "case.json").read_text()), folder / "expected.safetensors"
    images = {name: tensor for name, tensor in load_file(stored).items() if name.startswith("image")}
    inputs = {}
    if images:
        inputs = {
            "file": f"../../model/tiny/{source}/expected.safetensors",
            "sha256": sha256(stored),
            "tensors": {name: name for name in sorted(images)},
        }
    return case["expect"]["tokens"], [images[name] for name in sorted(images)], inputs


def by_transformers(model, tokens, images):
    """Greedy tokens, and their log-probabilities."""
    with torch.no_grad():
        out = model.generate(
            input_ids=torch.tensor([tokens]), do_sample=False, max_new_tokens=COUNT, output_logits=True,
            return_dict_in_generate=True, eos_token_id=2, pad_token_id=0,
            **torch_session.batch([torch.from_numpy(image) for image in images]),
        )  # fmt: skip
    chosen = out.sequences[0, len(tokens) :].tolist()
    assert len(chosen) == COUNT, f"an answer of {len(chosen)} tokens"
    return chosen, said(torch.cat(out.logits).double().numpy(), chosen)


def said(logits, tokens):
    """[1, tokens]: the log-probability of each token. One row: a token that is nearly certain has a small
    one, which is not to be judged by its own size.
    """
    return answer.log_probabilities(logits)[np.arange(len(tokens)), tokens][None]


def distance(found, golden):
    return float(np.linalg.norm(found - golden) / np.linalg.norm(golden))


def run(model, tokens, images, chosen, arithmetic="float64", schedule="once", fault=None):
    """The log-probabilities in an arithmetic and schedule, with a mistake; None where it is refused."""
    wrong = fault or faults.Fault()
    rounds = rounding.Rounding(arithmetic, schedule)
    kept = {}
    trace = oracle.Trace(
        lambda name, matrix: kept.setdefault(name, rounds.rounded(rounding.plain(matrix))),
        ["logits"],
        "logits",
    )
    with rounds.around(wrong.patches):
        try:
            oracle.forward(
                faults.Changed(model, wrong.params, wrong.renamed), [*tokens, *chosen[:-1]], images, trace
            )
        except (AssertionError, ValueError):  # a converter with D-k-permute stops at heads of 20
            return None
    return said(kept["logits"][len(tokens) - 1 :].astype(np.float64), chosen)


def main():
    torch.set_num_threads(1)
    tokenizer, tiny = (
        MistralTokenizer.from_file(str(make_goldens.TOKENIZER)),
        checkpoint.open_checkpoint("seeded:tiny"),
    )
    model = witness_transformers.build(*witness_transformers.read_checkpoint("seeded:tiny"), torch.float32)
    cases, tensors = [], {}
    for name, (title, requires, source) in CASES.items():
        tokens, images, inputs = prompt(source, tokenizer)
        chosen, witness = by_transformers(model, tokens, images)
        logits = answer.logits(tiny, tokens, images, chosen)
        golden, everything = said(logits, chosen), answer.log_probabilities(logits)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
        tensors[f"{name}/logprobs"] = golden
        tensors[f"{name}/top_tokens"] = order.astype(np.int32)
        tensors[f"{name}/top_logprobs"] = np.take_along_axis(everything, order, axis=1)
        noise = {}
        for arithmetic in rounding.ARITHMETICS:
            noise[arithmetic] = {
                schedule: distance(run(tiny, tokens, images, chosen, arithmetic, schedule), golden)
                for schedule in rounding.SCHEDULES
            }
        noise["float32"]["transformers"] = distance(witness, golden)
        noise = {
            arithmetic: {
                schedule: float(rounded_up(max(x, 2.0 ** -(BITS[arithmetic] + 2))))
                for schedule, x in of.items()
            }
            for arithmetic, of in noise.items()
        }
        limit = FAR * max(noise["float32"].values())
        moved = {}
        for fault, wrong in faults.FAULTS.items():
            found = run(tiny, tokens, images, chosen, fault=wrong)
            if found is not None and (far := distance(found, golden)) >= limit:
                moved[fault] = float(f"{far:.1e}")
        cases.append({
            "id": f"answer/tiny/{name}", "title": title, "stage": "answer", "exposes": sorted(moved),
            "subject": {"operation": "the log-probabilities of an answer that is given"},
            "model": "seeded:tiny",
            "inputs": inputs | {"tokens": tokens, "answer": chosen},
            "expect": {"file": "cases.safetensors", "sha256": "", "tensor": f"{name}/logprobs", "shape": [1, COUNT],
                       "tap": "logprobs", "top": [f"{name}/top_tokens", f"{name}/top_logprobs"]},
            "compare": {"relF": noise}, "faults": moved, "requires": requires, "conflicts_with": [],
            "importance": "high", "basis": "Docs/Answer.md 1 to 5",
            "oracle": {"name": "Fixtures/oracle/answer.py", "version": f"numpy {np.__version__}, python {platform.python_version()}"},
            "witnesses": [{"name": "transformers generate, float32, a position at a time", "version": transformers.__version__,
                           "distance": float(rounded_up(distance(witness, golden)))}],
            "since": SINCE, "retired": None,
        })  # fmt: skip
        print(f"{name}: {len(tokens)} tokens; witness {distance(witness, golden):.1e}; noise "
              + ", ".join(f"{a} {max(of.values()):.1e}" for a, of in noise.items()) + f"; shows {' '.join(moved)}", flush=True)  # fmt: skip
    stored = suites.CASES / "answer" / "tiny" / "cases.safetensors"
    stored.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, stored)
    for case in cases:
        case["expect"]["sha256"] = sha256(stored)
    suites.write(NAME, cases)


if __name__ == "__main__":
    main()
