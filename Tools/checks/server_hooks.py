"""What schemathesis is told about pixtral-ref-serve; check_server_hostile.py names this file to it.

- Answers stay short: a request for many tokens becomes one for few.
- Half of the valid requests are made such that the server has no reason to refuse them, and must answer
  them with 200. (Which message may follow which, and what a tool's schema holds, no schema can say.)
- Answers and streams are what the request asked for, beyond what the document can say.
- Errors have their form, also where a path or a method is not in the document.
"""

import hashlib
import json
import os
from pathlib import Path

import jsonschema
import schemathesis
import yaml

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "Docs" / "openapi.yaml"
SCHEMAS = yaml.safe_load(DOCUMENT.read_text())
MOST_TOKENS = 6
CHAT, TOKENIZE, DETOKENIZE = "/v1/chat/completions", "/tokenize", "/detokenize"
CALL = {"id": "abcDEF123", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CONVERSATIONS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": ""}],
    [{"role": "user", "content": [{"type": "text", "text": "ä日🇩"}]}],
    [
        {"role": "user", "content": "Call."},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "abcDEF123", "content": "1"},
    ],
]
TOOL = {"function": {"name": "f", "parameters": {"type": "object"}}}
# The bodies, as JSON, that must be answered with 200.
must_pass: set[str] = set()


def key(body) -> str:
    return json.dumps(body, sort_keys=True)


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": SCHEMAS["components"]}
    return jsonschema.Draft202012Validator(schema)


def is_valid(path: str, body) -> bool:
    names = {CHAT: "ChatCompletionRequest", TOKENIZE: "TokenizeRequest", DETOKENIZE: "DetokenizeRequest"}
    return validator(names[path]).is_valid(body)


def is_true(value) -> bool:
    """As pydantic reads a boolean."""
    return value in (True, 1) or (
        isinstance(value, str) and value.lower() in ("1", "t", "true", "y", "yes", "on")
    )


def number(value) -> int:
    return int(float(value)) if value is not None else 0


def shorten(body: dict):
    """The answer has few tokens; what is wrong about a request stays wrong."""
    given = [name for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
    for name in given:
        value = body[name]
        if not validator("Length").is_valid(value):
            continue
        if isinstance(value, str):
            body[name] = "+0_4.0"
        elif value > MOST_TOKENS:
            body[name] = MOST_TOKENS
    if not given:
        body["max_tokens"] = MOST_TOKENS


def mend(path: str, body: dict):
    """A valid request without what the schema cannot rule out."""
    body.pop("model", None)
    if path == DETOKENIZE:
        body["tokens"] = [5 if isinstance(token, str) else token for token in body["tokens"]]
        return
    if "messages" in body:
        body["messages"] = CONVERSATIONS[len(key(body)) % len(CONVERSATIONS)]
        body.pop("continue_final_message", None)
        body.pop("truncate_for_context_length", None)
        if body.get("tools"):
            body["tools"] = [TOOL]
    if path == CHAT:
        # Strings of numbers that are surely in range.
        strings = {"temperature": "0.5", "top_p": " +1e-1", "seed": "1_0", "random_seed": "1", "top_logprobs": " 2 ", "prompt_logprobs": "1.0"}  # fmt: skip
        for name, value in strings.items():
            if isinstance(body.get(name), str):
                body[name] = value
        if "seed" in body:
            body.pop("random_seed", None)
        if body.get("top_logprobs") is not None:
            body["logprobs"] = True
        if is_true(body.get("stream")):
            body.pop("prompt_logprobs", None)
        else:
            body.pop("stream_options", None)


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if not isinstance(body, dict):
        return
    path = case.operation.path
    was_valid = is_valid(path, body)
    if path == CHAT:
        shorten(body)
    half = hashlib.sha256(key(body).encode(errors="replace")).digest()[0] % 2 == 0
    if was_valid and half:
        mend(path, body)
        if is_valid(path, body):
            must_pass.add(key(body))


@schemathesis.check
def valid_requests_are_answered(ctx, response, case):
    if isinstance(case.body, dict) and key(case.body) in must_pass and case.method.upper() == "POST":
        is_json = "json" in (response.request.headers.get("Content-Type") or "")
        if is_json and response.status_code not in (200, 401):
            raise AssertionError(
                f"A request without a fault got {response.status_code}: {response.text[:300]}"
            )


@schemathesis.check
def errors_have_their_form(ctx, response, case):
    if response.status_code < 400 or case.method.upper() == "HEAD" or not response.content:
        return
    try:
        validator("Error").validate(json.loads(response.content.decode("utf-8")))
    except (ValueError, jsonschema.ValidationError) as error:
        raise AssertionError(f"{response.status_code} without the form of an error: {error}") from error


@schemathesis.hook
def filter_failure(context, failure, case, response):
    # It compares each event with the schema of the whole stream, which is a text. `stream` below does better.
    return not type(failure).__name__.startswith("SSE") and failure.code != "ST108"


@schemathesis.check
def answers_are_what_was_asked(ctx, response, case):
    if case.operation.path != CHAT or response.status_code != 200 or not isinstance(case.body, dict):
        return
    kind = response.headers["content-type"][0].split(";")[0]
    asked = case.body
    assert kind == ("text/event-stream" if is_true(asked.get("stream")) else "application/json"), kind
    text = response.content.decode("utf-8")
    if is_true(asked.get("stream")):
        stream(asked, text)
    else:
        plain(asked, json.loads(text))


def plain(asked: dict, answer: dict):
    choice, usage = answer["choices"][0], answer["usage"]
    count, prompt = usage["completion_tokens"], usage["prompt_tokens"]
    assert usage["total_tokens"] == prompt + count
    ids = is_true(asked.get("return_token_ids"))
    assert ("token_ids" in choice) == ids and ("prompt_token_ids" in answer) == ids, "ids"
    if ids:
        assert len(choice["token_ids"]) == count and len(answer["prompt_token_ids"]) == prompt
    assert (choice["logprobs"] is not None) == is_true(asked.get("logprobs")), "logprobs"
    if is_true(asked.get("logprobs")):
        assert len(choice["logprobs"]["content"]) == count
        for position in choice["logprobs"]["content"]:
            assert len(position["top_logprobs"]) == number(asked.get("top_logprobs"))
    wants_prompt = asked.get("prompt_logprobs") is not None
    assert ("prompt_logprobs" in answer) == wants_prompt, "prompt_logprobs"
    if wants_prompt:
        positions = answer["prompt_logprobs"]
        assert len(positions) == prompt and positions[0] is None and None not in positions[1:]
        # The token that stands there is among them, or one more.
        most = number(asked["prompt_logprobs"]) + 1
        assert all(max(1, most - 1) <= len(position) <= most for position in positions[1:])


def stream(asked: dict, text: str):
    assert text.endswith("\n\n"), "the last event does not end"
    events = text[:-2].split("\n\n")
    assert all(event.startswith("data: ") and "\n" not in event for event in events), (
        "not an event of one line"
    )
    assert events.pop() == "data: [DONE]"
    chunks = [json.loads(event[len("data: ") :]) for event in events]
    for chunk in chunks:
        validator("ChatCompletionChunk").validate(chunk)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    usage = None
    if is_true((asked.get("stream_options") or {}).get("include_usage")):
        last = chunks.pop()
        assert last["choices"] == []
        usage = last["usage"]
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}, choices[0]
    assert [choice["finish_reason"] is not None for choice in choices] == [False] * (len(choices) - 1) + [
        True
    ]
    ids = is_true(asked.get("return_token_ids"))
    assert ("prompt_token_ids" in chunks[0]) == ids
    if ids and usage:
        assert len(chunks[0]["prompt_token_ids"]) == usage["prompt_tokens"]
        assert sum(len(choice.get("token_ids", [])) for choice in choices) == usage["completion_tokens"]
    if is_true(asked.get("logprobs")) and usage:
        given = sum(len((choice["logprobs"] or {"content": []})["content"]) for choice in choices)
        assert given == usage["completion_tokens"], "a token without its log-probability"


@schemathesis.hook
def after_call(context, case, response):
    """Counts what came, for the table of check_server_hostile.py."""
    if counts := os.environ.get("SERVER_HOOKS_COUNTS"):
        what = f"{case.method.upper()} {case.operation.path}"
        with open(counts, "a") as file:
            file.write(f"{what} {response.status_code}\n")
            if isinstance(case.body, dict) and key(case.body) in must_pass and case.method.upper() == "POST":
                file.write(f"{what} had to be 200\n")
