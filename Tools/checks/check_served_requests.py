"""Fresh random requests in OpenAI's form through a served seeded:tiny, and through mistral-common's
`ChatCompletionRequest.from_openai` and `encode_chat_completion`.

    python check_served_requests.py SERVER [COUNT] [--seed SEED] [--chat 200]     (2,000 unless told)

The requests are those of check_openai.py, of its six kinds. POST /tokenize gives the same tokens, or 400
with the exception's class as `error.type`. --chat of them go to /v1/chat/completions too, with a
max_tokens of 1 and return_token_ids: the same `prompt_token_ids`, or the same refusal. Classes of their own,
which are counted:

- a model that is not served: 404, whatever else the request has; a model that is no text: 400;
- a request that is no object: 400;
- a file:// URL, of which a server without --files says the same whether there is a file or not: refused;
- of chat, a key that the server does not support, or that only the server reads: 400 with `param`.

Exit 1 and the smallest differing requests if anything else differs. `releases.py --fetch` first.
"""

import argparse
import collections
import concurrent.futures
import json
import random
import sys

import check_openai
from check_openai import releases
from served import Served

NAMES = ["x", "m", "n", "pixtral-large-2411"]

# Docs/Serving.md 3.4: what the server takes of a key without another answer; it refuses any other value.
NEUTRAL = {
    "frequency_penalty": [0], "presence_penalty": [0], "repetition_penalty": [1], "logit_bias": [{}], "top_k": [0, -1], "min_p": [0], "min_tokens": [0], "best_of": [1],
    "use_beam_search": [False], "length_penalty": [1], "stop_token_ids": [[]], "include_stop_str_in_output": [False], "ignore_eos": [False], "bad_words": [[]],
    "allowed_token_ids": [], "skip_special_tokens": [True], "spaces_between_special_tokens": [True], "truncate_prompt_tokens": [], "echo": [False],
    "structured_outputs": [], "guided_json": [], "guided_regex": [], "guided_choice": [], "guided_grammar": [], "chat_template": [], "chat_template_kwargs": [{}], "documents": [[], {}],
    "mm_processor_kwargs": [{}], "functions": [[]], "function_call": ["none"], "modalities": [["text"]], "audio": [], "prediction": [], "web_search_options": [], "verbosity": [],
    "return_tokens_as_token_ids": [False], "logits_processors": [[]], "n": [1], "add_special_tokens": [False], "return_prompt_text": [False], "logprob_token_ids": [], "thinking_token_budget": [], "repetition_detection": [],
}  # fmt: skip


def unsupported(request: dict) -> set[str]:
    """Keys that the server must refuse, of a request that mistral-common takes."""
    found = {
        key
        for key, values in NEUTRAL.items()
        if request.get(key) is not None and not any(same(request[key], value) for value in values)
    }
    choice, form = request.get("tool_choice"), request.get("response_format")
    if choice not in (None, "auto", "none"):
        found.add("tool_choice")
    if form is not None and form.get("type", "text") != "text":
        found.add("response_format")
    if request.get("top_logprobs") and request.get("logprobs") is not True:
        found.add("top_logprobs")
    return found


# Where mistral-common refuses the request too, either may come first.
REFUSABLE = ["tool_choice", "response_format", "top_logprobs"]


def same(a, b) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


# Keys that from_openai drops and the server reads: the values that the generator means as right ones. What
# damage puts there may be refused, or, as it stands for a right one (1 for true), taken.
READ = {
    "stop": [["a"], None], "stream": [True, False], "stream_options": [{"include_usage": True}], "n": [1], "logprobs": [True, False], "top_logprobs": [2],
    "max_completion_tokens": [9], "return_token_ids": [True, False],
}  # fmt: skip


def doubtful(request: dict) -> set[str]:
    """Keys of which the page leaves open whether their value is taken: an empty object where an array is
    meant, false for 0, a schema beside the response_format text.
    """
    found = {key for key, right in READ.items() if key in request and request[key] not in right}
    found |= {
        key for key, values in NEUTRAL.items() if key in request and request[key] in ([], {}, "", 0, False)
    }
    if isinstance(request.get("response_format"), dict) and len(request["response_format"]) > 1:
        found.add("response_format")
    return found


def names_a_file(request) -> bool:
    return "file://" in json.dumps(request)


def judge(request, status: int, found: dict, tokens, expected: dict) -> str:
    """The class of the outcome; WRONG if it is none that there may be."""
    error = found.get("error") if isinstance(found, dict) else None
    model = request.get("model") if isinstance(request, dict) else None
    if status == 404 and isinstance(model, str) and model not in NAMES:
        return "model not served" if error["code"] == "model_not_found" else "WRONG"
    if isinstance(model, str) and model not in NAMES:
        return "refused before its model is looked at" if status == 400 and "reject" in expected else "WRONG"
    if status == 400 and model is not None and not isinstance(model, str) and error["param"] == "model":
        return "refused, a model that is no text"
    if "reject" in expected:
        if status == 400 and error["type"] == expected["reject"]:
            return "refused alike"
        if status == 400 and names_a_file(request):
            return f"refused, a file: {error['type']}"
        if not isinstance(request, dict) and status == 400:
            return f"refused, no object: {error['type']}"
        return "WRONG"
    return "same tokens" if status == 200 and tokens == expected["tokens"] else "WRONG"


def judge_chat(request, status, found, tokens, expected) -> str:
    error = found.get("error") if isinstance(found, dict) else None
    if status == 400 and isinstance(request, dict) and error["type"] == "invalid_request_error":
        refusable = unsupported(request) if "tokens" in expected else {*NEUTRAL, *REFUSABLE}
        if error["param"].split(".")[0] in (refusable | doubtful(request)) & set(request):
            return f"not supported: {error['param']}"
    if (
        status == 200
        and isinstance(request, dict)
        and "tokens" in expected
        and unsupported(request) - doubtful(request)
    ):
        return "WRONG"
    return judge(request, status, found, tokens, expected)


def chat(server, request):
    """(status, object, prompt_token_ids)"""
    if isinstance(request, dict):
        request = {**request, "max_tokens": 1, "return_token_ids": True}
    status, headers, text = server.ask("POST", "/v1/chat/completions", json.dumps(request).encode())
    if headers["Content-Type"].startswith("text/event-stream"):
        first = json.loads(text.split(b"\n\n")[0].removeprefix(b"data: "))
        ended = text.endswith(b"data: [DONE]\n\n")
        return status, first, first.get("prompt_token_ids") if ended else None
    found = json.loads(text)
    return status, found, found.get("prompt_token_ids")


def tokenize(server, request):
    status, found = server.post("/tokenize", json.dumps(request).encode())
    return status, found, found.get("tokens")


def compare(what, requests, answers, wanted, judged) -> bool:
    outcomes = [judged(r, *answer, w) for r, answer, w in zip(requests, answers, wanted, strict=True)]
    counts = collections.Counter(outcomes)
    print(
        f"{what}: {len(requests)} requests; " + ", ".join(f"{n} {name}" for name, n in counts.most_common())
    )
    wrong = [n for n, outcome in enumerate(outcomes) if outcome == "WRONG"]
    for n in sorted(wrong, key=lambda n: len(json.dumps(requests[n])))[:5]:
        print(f"  {json.dumps(requests[n])[:700]}")
        print(
            f"    expected {json.dumps(wanted[n])[:200]}\n    found    {answers[n][0]} {json.dumps(answers[n][1])[:300]}"
        )
    return not wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server")
    parser.add_argument("count", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--chat", type=int, default=200)
    arguments = parser.parse_args()
    r = random.Random(arguments.seed)
    print(f"seed {arguments.seed}")
    good, everything = True, []
    names = [word for name in NAMES for word in ("--name", name)]
    with Served(arguments.server, *names) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        for kind, (make, share) in check_openai.MAKERS.items():
            requests = [make(r) for _ in range(round(arguments.count * share))]
            wanted = check_openai.expected(releases.CURRENT, requests)
            answers = list(pool.map(lambda request: tokenize(server, request), requests))
            good &= compare(kind, requests, answers, wanted, judge)
            everything += zip(requests, wanted, strict=True)
        asked = r.sample(everything, min(arguments.chat, len(everything)))
        # max_tokens is put right: what mistral-common says of it is no matter here.
        right = [
            n for n, (request, _) in enumerate(asked) if isinstance(request, dict) and "max_tokens" in request
        ]
        requests = [request for request, _ in asked]
        wanted = [answer for _, answer in asked]
        again = check_openai.expected(releases.CURRENT, [{**requests[n], "max_tokens": 1} for n in right])
        for n, answer in zip(right, again, strict=True):
            wanted[n] = answer
        answers = list(pool.map(lambda request: chat(server, request), requests))
        good &= compare("chat", requests, answers, wanted, judge_chat)
    print(f"exit code after SIGTERM: {server.code}")
    sys.exit(not good or server.code != 0)


if __name__ == "__main__":
    main()
