"""Fresh random requests in OpenAI's form through `pixtral-ref tokens --form openai`, and through
mistral-common's `ChatCompletionRequest.from_openai` and `encode_chat_completion`.

    python check_openai.py BINARY [COUNT] [--seed SEED] [--releases]     (COUNT of all kinds together; 2,000 unless told)

Requests are of six kinds: whole ones, with what OpenAI's clients send beside the rest; the same with
a key that is odd, or with a fault or two (damage.py); several faults at once, of which the first in
mistral-common's order names the exception; schemas; lists of pairs where an object belongs.

Everything must be the same: tokens, text and grids, or the class of the exception. With --releases
the requests that the newest release takes go through `--as` and through each older release too:
where one answers with tokens, they must be the same (`releases.py --fetch` first). Exit 1 and the
smallest differing requests if anything is not.
"""

import argparse
import copy
import json
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import corpus  # noqa: E402
import damage  # noqa: E402
import releases  # noqa: E402

# What OpenAI's clients send beside what mistral-common knows, and its own names for the rest.
EXTRAS = {
    "request": [
        {"seed": 5}, {"seed": None}, {"stop": ["a"]}, {"stop": None}, {"stream": True, "stream_options": {"include_usage": True}}, {"n": 1}, {"user": "u"},
        {"max_completion_tokens": 9}, {"max_tokens": None}, {"logprobs": True, "top_logprobs": 2}, {"logit_bias": {"5": 1}}, {"frequency_penalty": 0, "presence_penalty": 0.5},
        {"metadata": {"a": "b"}}, {"store": False}, {"service_tier": "auto"}, {"modalities": ["text"]}, {"prediction": {"type": "content", "content": "a"}},
        {"parallel_tool_calls": None}, {"parallel_tool_calls": False}, {"reasoning_effort": None}, {"tool_choice": "required"}, {"tools": None}, {"extra_body": {"a": 1}},
        {"tool_choice": {"type": "function", "function": {"name": "f", "strict": None}, "x": 1}}, {"temperature": 1, "top_p": 0.5, "model": "pixtral-large-2411"},
        {"response_format": {"type": "json_object", "x": 1}}, {"functions": []}, {"function_call": "auto"}, {"continue_final_message": False}, {"prompt_cache_key": "k"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True, "x": 1}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "custom_schema": 5}}},
        {"add_generation_prompt": True}, {"chat_template_kwargs": {}}, {"truncate_for_context_length": False}, {"": 1}, {"random_seed": 3},
    ],
    "message": [{"name": "bob"}, {"cache_control": {"type": "ephemeral"}}, {"weight": 1}, {"id": "m"}, {"prefix": True}, {"prefix": "x"}, {"timestamp": 5}],
    "assistant": [{"refusal": None}, {"audio": None}, {"annotations": []}, {"function_call": None}, {"tool_calls": None}, {"tool_calls": []}, {"reasoning": None}, {"reasoning_content": None}],
    "chunk": [{"cache_control": {"type": "ephemeral"}}, {"detail": "high"}, {"annotations": None}],
    "call": [{"index": 0}, {"x": None}],
    "function": [{"x": 1}, {"output": None}],
    "tool": [{"cache_control": {"type": "ephemeral"}}, {"description": "d"}],
    "tool function": [{"strict": None}, {"description": None}, {"parameters": None}, {"returns": {}}, {"strict": True}],
}  # fmt: skip
# What valid requests do not have, or what makes one invalid.
ODD = {
    "request": [
        {"temperature": 1.7}, {"temperature": None}, {"seed": 1, "random_seed": 1}, {"seed": None, "random_seed": None}, {"seed": "x"}, {"seed": -1}, {"tool_choice": None},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}, {"response_format": None}, {"reasoning_effort": "low"}, {"top_p": None},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"pattern": "["}}}}, {"continue_final_message": None}, {"cls": 1}, {"self": 1},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"pattern": "a{4294967295}"}}}}, {"truncate_for_context_length": True},
        {"continue_final_message": True}, {"continue_final_message": "on"}, {"parallel_tool_calls": "maybe"}, {"tools": {}}, {"tools": "f"}, {"tools": [None]}, {"tools": [[]]}, {"tools": 0}, {"tools": False},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": None}}}, {"messages": {}}, {"messages": ""}, {"messages": "a"},
    ],
    "assistant": [
        {"reasoning": "r"}, {"reasoning_content": "r"}, {"reasoning": "r", "reasoning_content": "r"}, {"reasoning": "r", "reasoning_content": "s"}, {"reasoning": 5},
        {"reasoning": 1, "reasoning_content": True}, {"reasoning": [1.0], "reasoning_content": [True]}, {"reasoning": {"a": 1}, "reasoning_content": {"a": 2}}, {"reasoning": ""},
        {"reasoning": {"a": 1, "b": 0}, "reasoning_content": {"b": 0.0, "a": 1}}, {"reasoning": [], "reasoning_content": {}}, {"reasoning": float("nan"), "reasoning_content": float("nan")},
        {"content": [{"type": "thinking", "thinking": "t"}], "reasoning": 5}, {"content": [{"type": "refusal", "refusal": "no"}]}, {"tool_calls": {}}, {"tool_calls": ""},
    ],
    "message": [{"role": "function"}, {"role": None}, {"role": ["user"]}, {"content": {}}, {"content": True}, {"role": "developer"}, {"tool_call_id": None}],
}  # fmt: skip
VALUES = damage.VALUES + [
    [["name", "f"]], [["name", "f"], ["parameters", {}]], [["name", "f"], "ab", [3, 4]], ["ab"], ["ab", "é\ud800"], [[[], 1]], [["name"]], [[]], [{"name": 1, "b": 2}], ["ab", 5], [None],
    "ab", "developer", "tool", "system", {"role": "user", "content": "a"}, [{"role": "user", "content": "a"}], {"type": "file", "file": {}}, {"type": "refusal", "refusal": "a"},
    {"type": "image", "image": damage.URL}, {"type": "text", "text": "a", "x": 1}, {"url": damage.URL, "x": 1}, {"type": []}, {"type": "x"}, 0.0, -0.0,
]  # fmt: skip
KEYS = (
    damage.KEYS
    + "messages seed random_seed reasoning reasoning_content developer cls self index refusal continue_final_message max_tokens temperature".split()
)


def add(target, kind: str, r: random.Random, odds: float, of: dict = EXTRAS) -> None:
    if isinstance(target, dict) and r.random() < odds:
        target.update(copy.deepcopy(r.choice(of[kind])))


def dressed(whole: dict, r: random.Random) -> dict:
    """A request as OpenAI's clients send it: with their own keys and nulls here and there."""
    odds = r.choice([0, 0.1, 0.3])
    add(whole, "request", r, 2 * odds)
    add(whole, "request", r, odds)
    for message in whole["messages"] if isinstance(whole["messages"], list) else []:
        if not isinstance(message, dict):
            continue
        if message.get("role") == "system" and r.random() < 0.3:
            message["role"] = "developer"
        add(message, "message", r, odds)
        if message.get("role") == "assistant":
            add(message, "assistant", r, odds)
        for chunk in message["content"] if isinstance(message.get("content"), list) else []:
            add(chunk, "chunk", r, odds)
        for call in message["tool_calls"] if isinstance(message.get("tool_calls"), list) else []:
            add(call, "call", r, odds)
            add(call.get("function"), "function", r, odds)
    for tool in whole["tools"] if isinstance(whole.get("tools"), list) else []:
        add(tool, "tool", r, odds)
        add(tool.get("function"), "tool function", r, odds)
    return whole


def plain(r: random.Random) -> dict:
    """Valid, or broken by a rule for messages."""
    whole = dressed(corpus.request(r), r)
    last = whole["messages"][-1] if whole["messages"] else {}
    if isinstance(last, dict) and last.get("role") == "assistant" and r.random() < 0.7:
        whole["continue_final_message"] = True
    return whole


def odd(r: random.Random) -> dict:
    """With a key that no valid request has, or a known one with what is not taken there."""
    whole = plain(r)
    for _ in range(r.choice([1, 1, 2, 3])):
        add(whole, "request", r, 0.4, ODD)
        for message in whole["messages"] if isinstance(whole["messages"], list) else []:
            add(message, "message", r, 0.1, ODD)
            if isinstance(message, dict) and message.get("role") == "assistant":
                add(message, "assistant", r, 0.2, ODD)
            if isinstance(message, dict) and message and r.random() < 0.05:
                del message[r.choice(list(message))]
    return whole


@damage.unambiguous
def damaged(r: random.Random):
    if r.random() < 0.01:
        return r.choice(VALUES)
    whole = dressed(damage.request(r), r)
    # Every `image` chunk is refused in this form, whatever comes behind it: most go.
    if r.random() < 0.9:
        for message in whole["messages"]:
            if isinstance(message["content"], list):
                message["content"] = [chunk for chunk in message["content"] if chunk["type"] != "image"]
    return damage.harm(whole, r, VALUES, KEYS)


# Right and wrong values of each key, one for each way in which it can be wrong.
CLASHES = {
    "content": ["a", None, 5, [], [5], [{"type": "x"}], [{"type": "text"}], [{"type": "image_url"}], [{"type": "image"}], [{"type": "thinking", "thinking": "a"}],
                [{"type": "text", "text": "a"}, 5]],
    "tool_calls": [None, [], 5, [5], [{"function": {"name": "f"}}], [{"id": "abcdEF123", "function": {"name": "f", "arguments": "{}"}}]],
    "tool_call_id": ["abcdEF123", None, 5], "name": ["f", None, 5], "reasoning": [None, "a", 5], "reasoning_content": [None, "a", 5], "prefix": [True, 5],
    "continue_final_message": [True, False, None], "tools": [None, [], 5, "f", [5], [{}], [{"function": 5}], [{"function": [5]}], [{"function": {"name": "f"}}]],
    "seed": [None, 5, "x"], "random_seed": [5, None], "model": ["m", 5], "temperature": [1, 2], "reasoning_effort": [None, "low", "x"], "tool_choice": ["auto", None], "cls": [1],
}  # fmt: skip


def clash(r: random.Random) -> dict:
    """Each key is there or not, right or wrong."""

    def some(keys: str, odds: float) -> dict:
        return {
            key: copy.deepcopy(r.choice(CLASHES[key][:1] * 3 + CLASHES[key]))
            for key in keys.split()
            if r.random() < odds
        }

    messages: list = [{"role": "user", "content": "a"}]
    for _ in range(r.choice([0, 1, 1, 2])):
        role = r.choice(["user", "assistant", "assistant", "tool", "tool", "developer", "system", "robot"])
        message = {"role": role, **some("content", 0.9), **some("tool_calls tool_call_id", 0.7)}
        messages.append(message | some("name reasoning reasoning_content prefix", 0.15))
    whole = {"messages": messages} if r.random() < 0.97 else {}
    settings = some("seed random_seed model temperature reasoning_effort tool_choice cls", 0.05)
    return whole | some("continue_final_message tools", 0.3) | settings


def pairs(r: random.Random) -> dict:
    """A tool whose function is a list, which Python makes an object of where it can."""
    members = [
        ["name", "f"], ["parameters", {}], ["parameters", None], ["description", "d"], ["description", None], ["strict", True], ["strict", None], ["x", 1], "ab", "na", {"name": 0, "f": 1},
        {"description": 0, "parameters": 1}, [5, 6], [None, 1], [1.5, []],
    ]  # fmt: skip
    wrong = [
        5,
        None,
        True,
        "",
        "abc",
        [],
        ["name"],
        ["name", "f", "g"],
        {},
        {"name": 1},
        [[], 1],
        [{}, 1],
        {"a": 1, "b": 2, "c": 3},
        "é\u0301a",
    ]
    found = r.sample(members, r.randint(0, 5))
    if r.random() < 0.7:
        found.append(["name", "g"])
    for _ in range(r.choice([0, 0, 1, 2])):
        found.insert(r.randint(0, len(found)), r.choice(wrong))
    function = r.choice([0, 0.0, False, "", {}, None, True, "ab"]) if r.random() < 0.2 else found
    return {
        "messages": [{"role": "user", "content": "a"}],
        "tools": [{"type": "function", "function": function}],
    }


# And each kind's share.
MAKERS = {
    "whole": (plain, 0.4),
    "odd": (odd, 0.15),
    "damaged": (damaged, 0.25),
    "clashes": (clash, 0.1),
    "schemas": (damage.request_with_schema, 0.05),
    "pairs": (pairs, 0.05),
}


def ask(binary: str, requests: list, release: str) -> list[dict]:
    """The program's answers, in the form in which releases.py answers."""
    lines = "".join(json.dumps({"id": n, "request": request}) + "\n" for n, request in enumerate(requests))
    command = [binary, "tokens", "--jsonl", "--form", "openai", "--as", release]
    output = subprocess.run(command, input=lines.encode(), check=True, capture_output=True).stdout.decode()
    answers = [json.loads(line) for line in output.split("\n")[:-1]]
    assert [answer["id"] for answer in answers] == list(range(len(requests)))
    return [request_answer(answer) for answer in answers]


def request_answer(answer: dict) -> dict:
    if "error" in answer:
        return {"reject": answer["error"]["type"]}
    grids = [{"columns": image["columns"], "rows": image["rows"]} for image in answer["images"]]
    return {"tokens": answer["tokens"], "text": answer["text"], "images": grids}


def expected(release: str, requests: list) -> list[dict]:
    return releases.answers(release, [{"request": request, "form": "openai"} for request in requests])


def compare(what: str, requests: list, found: list[dict], wanted: list[dict]) -> bool:
    wrong = [n for n in range(len(requests)) if found[n] != wanted[n]]
    refused = [answer["reject"] for answer in wanted if "reject" in answer]
    print(
        f"{what}: {len(requests)} requests, {len(refused)} of them to be refused"
        f" ({len(set(refused))} exceptions), {len(wrong)} differ"
    )
    for n in sorted(wrong, key=lambda n: len(json.dumps(requests[n])))[:3]:
        print(f"  {json.dumps(requests[n])[:700]}")
        print(f"    expected {json.dumps(wanted[n])[:200]}\n    found    {json.dumps(found[n])[:200]}")
    return not wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("count", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--releases", action="store_true")
    arguments = parser.parse_args()
    r = random.Random(arguments.seed)
    print(f"seed {arguments.seed}")
    good = True
    valid = []
    for kind, (make, share) in MAKERS.items():
        requests = [make(r) for _ in range(round(arguments.count * share))]
        wanted = expected(releases.CURRENT, requests)
        good &= compare(kind, requests, ask(arguments.binary, requests, releases.CURRENT), wanted)
        valid += [request for request, answer in zip(requests, wanted, strict=True) if "tokens" in answer]
    for release in releases.RELEASES[:-1] if arguments.releases else []:
        wanted = expected(release, valid)
        taken = [n for n, answer in enumerate(wanted) if "tokens" in answer]
        if not taken:
            print(f"{release} takes none of them")
            continue
        requests, wanted = [valid[n] for n in taken], [wanted[n] for n in taken]
        good &= compare(release, requests, ask(arguments.binary, requests, release), wanted)
    sys.exit(not good)


if __name__ == "__main__":
    main()
