"""`pixtral-ref generate` against transformers, the oracle and mistral-common, on seeded:tiny.

    python check_generate.py BINARY [--calls 300] [--seed 0]

- Greedy, 64 tokens of five requests: transformers' `generate` in float32 chooses the same tokens until
  the two most likely are nearer than NOISE, and says the same log-probabilities within 1e-4; the oracle
  in float64 says the same within 1e-9, of what `generate` chose, and `--force` of what it is given.
- Sampled: each token is what Docs/Answer.md 3 chooses from the oracle's logits, by the lines below.
- Calls of tools in random answers, whole and damaged: mistral-common's decoder, and behind it the
  regular expression that vLLM falls back to, read the same.
- System prompts: the answer is that to the message which Python's `open` and `str.format` make, or both
  refuse.

Exit 1 if anything differs. A minute.
"""

import argparse
import copy
import datetime
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from mistral_common.experimental.tools import _decode_tool_calls, _split_content_and_tool_calls
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from safetensors.numpy import load_file
from transformers import LlavaForConditionalGeneration

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Fixtures" / "oracle"))
sys.path.insert(0, str(ROOT / "Tools" / "runtimes"))
import answer as oracle_answer
import checkpoint as oracle_checkpoint
import torch_session

MODEL = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
IMAGES = ROOT / "Fixtures" / "images"
COUNT = 64
NOISE = 1e-4
TOOL_CALLS = 5
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def generate(binary, *options, code=0):
    """What the program says with --json; None where it refuses."""
    done = subprocess.run(
        [binary, "generate", "--json", *map(str, options)], check=False, capture_output=True, text=True
    )
    if done.returncode not in (code, 2):
        sys.exit(f"exit code {done.returncode}: {done.stderr}")
    return json.loads(done.stdout) if done.returncode == 0 else None


def requests():
    """{name: request}; images by absolute paths."""
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }

    def image(name):
        return {"type": "image_url", "image_url": {"url": f"file://{IMAGES / name}"}}

    small, other = sorted(path.name for path in IMAGES.glob("*.png"))[:2]
    return {
        "text": {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Wie heißt π?"},
            ]
        },
        "image": {
            "messages": [{"role": "user", "content": [image(small), {"type": "text", "text": "What is it?"}]}]
        },
        "two images": {
            "messages": [
                {"role": "user", "content": [image(small), {"type": "text", "text": "and"}, image(other)]}
            ]
        },
        "tools": {"messages": [{"role": "user", "content": "Is it raining in Zürich?"}], "tools": [tool]},
        "continued": {
            "messages": [
                {"role": "user", "content": "Count."},
                {"role": "assistant", "content": "One, two,", "prefix": True},
            ]
        },
    }


def pixels(binary, folder, request):
    """The program's own: what others make of an image is 1e-6 from them, and so are then the answers."""
    contents = [message["content"] for message in request["messages"] if isinstance(message["content"], list)]
    urls = [chunk["image_url"]["url"] for content in contents for chunk in content if "image_url" in chunk]
    files = [url.removeprefix("file://") for url in urls]
    if not files:
        return []
    stored = folder / "pixels.safetensors"
    subprocess.run([binary, "image", *files, "--pixels", stored], check=True, capture_output=True)
    stored = load_file(stored)
    return [stored[f"image{n}"] for n in range(len(files))]


def transformers_answer(model, tokens, images):
    """Greedy tokens and [COUNT, V] logits in float64."""
    with torch.no_grad():
        out = model.generate(
            input_ids=torch.tensor([tokens]), do_sample=False, max_new_tokens=COUNT, output_logits=True,
            return_dict_in_generate=True, eos_token_id=2, pad_token_id=0, **torch_session.batch(images),
        )  # fmt: skip
    logits = torch.cat(out.logits).double().numpy()
    return out.sequences[0, len(tokens) :].tolist(), logits


def check_greedy(binary, folder, tokenizer, problems):
    hf = folder / "hf"
    subprocess.run(
        [binary, "checkpoint", "write", "seeded:tiny", "--layout", "hf", "--out", hf],
        check=True,
        capture_output=True,
    )
    model = LlavaForConditionalGeneration.from_pretrained(
        hf, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tiny = oracle_checkpoint.open_checkpoint("seeded:tiny")
    print(
        f"{'request':12} {'tokens':>6} {'same as transformers':>20} {'logprobs':>9} {'oracle':>9} {'forced':>9}"
    )
    for name, request in requests().items():
        encoded = tokenizer.encode_chat_completion(ChatCompletionRequest(**copy.deepcopy(request)))
        tokens, images = encoded.tokens, pixels(binary, folder, request)
        file = folder / "request.json"
        file.write_text(json.dumps(request))
        ours = generate(binary, "--request", file, "--max-tokens", COUNT, "--logprobs", 2)
        theirs, logits = transformers_answer(model, tokens, [torch.from_numpy(one) for one in images])
        if ours["usage"]["prompt_tokens"] != len(tokens):
            problems.append(
                f"{name}: {ours['usage']['prompt_tokens']} tokens of the prompt, not {len(tokens)}"
            )
        same = next((n for n, (a, b) in enumerate(zip(ours["tokens"], theirs)) if a != b), COUNT)
        if same < len(theirs):
            best = ours["top_logprobs"][same]
            if best[0]["logprob"] - best[1]["logprob"] > NOISE:
                problems.append(
                    f"{name}: token {same} is {ours['tokens'][same]}, transformers' {theirs[same]}"
                )
        theirs_said = oracle_answer.log_probabilities(logits)
        far = max(
            (abs(theirs_said[n, theirs[n]] - ours["logprobs"][n]) for n in range(min(same, len(theirs)))),
            default=0,
        )
        if far > 1e-4:
            problems.append(f"{name}: a log-probability is {far:.1e} from transformers'")

        double = generate(binary, "--request", file, "--max-tokens", COUNT, "--precision", "float64")
        said = oracle_answer.log_probabilities(oracle_answer.logits(tiny, tokens, images, double["tokens"]))
        of_oracle = max(
            abs(said[n, id] - x) for n, (id, x) in enumerate(zip(double["tokens"], double["logprobs"]))
        )
        wrong = [n for n, id in enumerate(double["tokens"]) if said[n].max() - said[n, id] > 1e-9]
        if wrong or of_oracle > 1e-9:
            problems.append(
                f"{name}: {of_oracle:.1e} from the oracle, which would have chosen others at {wrong}"
            )
        forced = folder / "forced.json"
        forced.write_text(json.dumps(theirs))
        given = generate(binary, "--request", file, "--force", forced, "--precision", "float64")
        said = oracle_answer.log_probabilities(oracle_answer.logits(tiny, tokens, images, theirs))
        of_forced = max(abs(said[n, id] - x) for n, (id, x) in enumerate(zip(theirs, given["logprobs"])))
        if given["tokens"] != theirs or of_forced > 1e-9:
            problems.append(f"{name}: forced, {of_forced:.1e} from the oracle")
        print(
            f"{name:12} {len(tokens):6} {same:16}/{len(theirs)} {far:9.1e} {of_oracle:9.1e} {of_forced:9.1e}",
            flush=True,
        )

        settings = {"temperature": 0.8, "top_p": 0.9, "seed": 7}
        sampled = generate(
            binary, "--request", file, "--max-tokens", COUNT, "--precision", "float64",
            *(word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", value)),
        )  # fmt: skip
        logits = oracle_answer.logits(tiny, tokens, images, sampled["tokens"])
        expected = sample(logits, **settings)
        if sampled["tokens"] != expected:
            problems.append(f"{name}: sampled {sampled['tokens'][:8]}…, Docs/Answer.md {expected[:8]}…")


def sample(logits, temperature, top_p, seed):
    """Docs/Answer.md 3."""
    mask, state, result = (1 << 64) - 1, seed, []
    for row in logits:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        unit = ((z ^ (z >> 31)) >> 11) * 2.0**-53
        order = sorted(range(len(row)), key=lambda id: (-row[id], id))
        weights = [math.exp((row[id] - row[order[0]]) / temperature) for id in order]
        total, kept = sum(weights), 0.0
        for count, weight in enumerate(weights, 1):
            kept += weight
            if kept >= top_p * total:
                break
        running = 0.0
        for id, weight in zip(order[:count], weights):
            running += weight
            if running > unit * kept:
                break
        result.append(id)
    return result


# Calls of tools


def random_calls(draw):
    """An answer's text behind [TOOL_CALLS], right or damaged."""

    def value(depth=0):
        kind = draw.randrange(8 if depth < 2 else 6)
        if kind == 6:
            return [value(depth + 1) for _ in range(draw.randrange(3))]
        if kind == 7:
            return {draw.choice(["a", "b", "ü", ""]): value(depth + 1) for _ in range(draw.randrange(3))}
        return [None, True, draw.randrange(-9, 10**12), draw.random(), 'Zürich ☂ \\"', "]} [{"][kind]

    def call():
        made = {"name": draw.choice(["f", "get_weather", "ü"]), "arguments": {"x": value(), "city": "Paris"}}
        if draw.random() < 0.6:
            made["id"] = draw.choice(["VvvODy9mT", "", "null"])
        for key in list(made):
            damage = draw.random()
            if damage < 0.05:
                del made[key]
            elif damage < 0.1:
                made[key] = value()
        return made

    calls = [call() for _ in range(draw.randrange(1, 4))]
    text = json.dumps(
        calls if draw.random() < 0.9 else draw.choice([calls[0], {}, [], 5]), ensure_ascii=draw.random() < 0.5
    )
    damage = draw.random()
    if damage < 0.1:
        text = text[: draw.randrange(len(text))]
    elif damage < 0.2:
        text = (
            draw.choice(["Here: ", "x", "[", "{", "\n"]) + text + draw.choice(["", " done", "]", "}]", "\n"])
        )
    elif damage < 0.25:
        text = text.replace('"', "'", draw.randrange(4))
    return text


def mistral_calls(tokenizer, tokens):
    """[(id, name, arguments)] by mistral-common; failing that by vLLM's regular expression; else None."""
    inner = tokenizer.instruct_tokenizer.tokenizer
    _, parts = _split_content_and_tool_calls(tokens, TOOL_CALLS)

    def read(parts):
        calls = _decode_tool_calls(parts, inner)
        return [(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls]

    try:
        return read(parts)
    except (ValueError, TypeError, IndexError):
        pass
    try:
        found = []
        for part in parts:
            text = inner.decode([id for id in part if id != TOOL_CALLS])
            try:
                json.loads(text)
            except ValueError:
                text = re.findall(r"\[{.*}\]", text, re.DOTALL)[0]
            found.append([TOOL_CALLS, *inner.encode(text, bos=False, eos=False)])
        return read(found)
    except (ValueError, TypeError, IndexError):
        return None


def check_calls(binary, folder, tokenizer, count, draw, problems):
    request, forced = folder / "calls.json", folder / "answer.json"
    request.write_text(json.dumps(requests()["tools"]))
    inner = tokenizer.instruct_tokenizer.tokenizer
    read = refused = 0
    for _ in range(count):
        parts = [random_calls(draw) for _ in range(1 if draw.random() < 0.9 else 2)]
        before = (
            inner.encode(draw.choice(["Sure.", "☂"]), bos=False, eos=False) if draw.random() < 0.2 else []
        )
        tokens = before + [
            id for part in parts for id in [TOOL_CALLS, *inner.encode(part, bos=False, eos=False)]
        ]
        tokens += [2] if draw.random() < 0.8 else []
        forced.write_text(json.dumps(tokens))
        ours = generate(binary, "--request", request, "--force", forced)
        expected = mistral_calls(tokenizer, tokens)
        functions = [(call["id"], call["function"]) for call in ours.get("tool_calls", [])]
        found = [(id, function["name"], json.loads(function["arguments"])) for id, function in functions]
        if found != (expected or []):
            problems.append(f"calls of {parts}: {found}, expected {expected}")
        if expected is None and "tool_calls_problem" not in ours:
            problems.append(f"calls of {parts}: nothing is said of what cannot be read")
        # vLLM writes the letters of other scripts as they are; mistral-common escapes them.
        if any(
            f["arguments"] != json.dumps(json.loads(f["arguments"]), ensure_ascii=False) for _, f in functions
        ):
            problems.append(f"calls of {parts}: arguments are not written as vLLM does")
        if expected and ours["text"] != inner.decode(before):
            problems.append(f"calls of {parts}: the text is {ours['text']!r}")
        read += bool(expected)
        refused += expected is None
    print(f"calls: {count} answers, {read} read, {refused} not")


# System prompts


def check_system_prompts(binary, folder, draw, problems):
    request, template, whole = folder / "request.json", folder / "system.txt", folder / "whole.json"
    request.write_text(json.dumps(requests()["text"]))
    filled = refused = 0
    for _ in range(60):
        words = [
            "You are {name}. ",
            "Today is {today}",
            ", yesterday {yesterday}",
            "{{ }}",
            "Zürich\n",
            "\r\n\r",
            "{",
            "}",
            "{x}",
            "{}",
        ]
        weights = [4, 4, 4, 3, 3, 2, 0.3, 0.3, 0.3, 0.3]
        text = "".join(draw.choices(words, weights, k=draw.randrange(1, 6)))
        day = datetime.date(2023, 12, 25) + datetime.timedelta(days=draw.randrange(900))
        fields = {"name": "Pixtral", "today": f"{day}", "yesterday": f"{day - datetime.timedelta(days=1)}"}
        template.write_bytes(text.encode())
        try:
            with open(template, encoding="utf-8") as file:
                expected = file.read().format(**fields)
        except (KeyError, ValueError, IndexError):
            expected = None
        ours = generate(
            binary, "--request", request, "--system-prompt", template, "--name", "Pixtral", "--today", day, "--max-tokens", 2
        )  # fmt: skip
        if (ours is None) != (expected is None):
            problems.append(f"system prompt {text!r}: refused by one")
        if ours and expected is not None:
            # The answer to the request with this message in it, to the last bit of the log-probabilities:
            # another digit of a day would be another prompt of the same length.
            messages = [{"role": "system", "content": expected}, *requests()["text"]["messages"]]
            whole.write_text(json.dumps({"messages": messages}))
            if ours != generate(binary, "--request", whole, "--max-tokens", 2):
                problems.append(f"system prompt {text!r}: another answer than to {expected!r}")
        filled += expected is not None
        refused += expected is None
    print(f"system prompts: {filled} filled in, {refused} refused")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tokenizer, draw, problems = MistralTokenizer.from_file(str(MODEL)), random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        check_greedy(options.binary, folder, tokenizer, problems)
        check_calls(options.binary, folder, tokenizer, options.calls, draw, problems)
        check_system_prompts(options.binary, folder, draw, problems)
    for problem in problems[:20]:
        print(problem)
    print(f"{len(problems)} differences")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
