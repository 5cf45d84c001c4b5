"""What clients get of a served seeded:tiny, and that its answers are the golden ones.

    python check_clients.py SERVER [--program PIXTRAL_REF] [--only clients|answers]

- Clients: the two scripts of Pixtral-Large-Instruct-2411's model card, in their shape (requests and the
  openai package; a system prompt of a day, an image by http); the openai package's calls, streams, tools,
  lists and exceptions; a client in the manner of mistral-evals; the line that the server prints, in a
  shell, and `curl -N`; vLLM's keys and its routes for tokens. A content that they get is that of
  `pixtral-ref generate --form openai`.
- Calls of tools: of a checkpoint that recites one (recited.py), whole and streamed, and the turn behind it.
- Answers: 64 greedy tokens of five requests have the tokens and, to the last digit, the log-probabilities
  of `generate`; in float32 those of transformers' `generate` within 1e-4, in float64 the oracle's within
  1e-9, of the prompt too, with its ranks. A sampled answer is that of `generate`.

Exit 1 if anything differs. requirements.txt and requirements-server.txt have the packages. Two minutes.
"""

import argparse
import concurrent.futures
import copy
import datetime
import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import openai
import requests
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from served import ROOT, TOKENIZER, Findings, Served, data_url

PROGRAM = ROOT / ".build" / "release" / "pixtral-ref"
IMAGES = ROOT / "Fixtures" / "images"
CARD = "mistralai/Pixtral-Large-Instruct-2411"
PHOTO = "rocket.jpg"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HELLO = [{"role": "user", "content": "Wie heißt π?"}]
# A call of a tool in pieces none of which comes twice, with a character in two bytes; and what is said
# to the tool's result.
CALL = '[ {" name ":" get _ we ather "," arguments ": ▁{" city " ▁: ▁" Z <0xC3> <0xBC> rich "} } ]'.split()
RESULT = ["▁It", "▁rain", "s", "<0xE2>", "<0x82>", "<0xAC>", "</s>"]


def generate(program, request, *options, checkpoint="seeded:tiny"):
    """What the command says of a request in OpenAI's form."""
    command = [
        program,
        "generate",
        "--json",
        "--form",
        "openai",
        "--checkpoint",
        checkpoint,
        "--request",
        "-",
    ]
    done = subprocess.run(
        [*command, *map(str, options)], input=json.dumps(request).encode(), capture_output=True, check=False
    )
    if done.returncode:
        sys.exit(f"generate: exit code {done.returncode}: {done.stderr.decode()}")
    return json.loads(done.stdout)


class Pictures(http.server.BaseHTTPRequestHandler):
    """Fixtures/images by http."""

    def do_GET(self):
        body = (IMAGES / Path(self.path).name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def short(text, length=40) -> str:
    text = json.dumps(text, ensure_ascii=False)
    return text if len(text) <= length else text[: length - 1] + "…"


# The scripts of the model card


def load_system_prompt(file: Path, model: str) -> str:
    """As the card has it: a text with the model's name and two days filled in."""
    today = datetime.datetime.today()
    yesterday = today - datetime.timedelta(days=1)
    return file.read_text().format(
        name=model.split("/")[-1],
        today=today.strftime("%Y-%m-%d"),
        yesterday=yesterday.strftime("%Y-%m-%d"),
    )


def card_image(url: str, image_url: str):
    """requests, no setting but the model: (messages, response)"""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer token"}
    prompt = load_system_prompt(ROOT / "Fixtures" / "requests" / "system-prompt.txt", CARD)
    messages = [
        {"role": "system", "content": prompt},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What stands on this launch pad, and what day is it?"},
                {"type": "image_url", "image_url": {"url": image_url}},
            ],
        },
    ]
    data = {"model": CARD, "messages": messages}
    return messages, requests.post(
        f"{url}/v1/chat/completions", headers=headers, data=json.dumps(data), timeout=120
    )


def card_text(url: str):
    """The openai package with a key that stands for none, the model as the server lists it, temperature
    0.15: (messages, response)
    """
    client = openai.OpenAI(api_key="EMPTY", base_url=f"{url}/v1")
    model = client.models.list().data[0].id
    messages = [
        {
            "role": "system",
            "content": load_system_prompt(ROOT / "Fixtures" / "requests" / "system-prompt.txt", model),
        },
        {"role": "user", "content": "How many days lie between yesterday and tomorrow?"},
    ]
    return messages, client.chat.completions.create(model=model, messages=messages, temperature=0.15)


def check_card(server, program, pictures, findings):
    messages, response = card_image(server.url, f"{pictures}/{PHOTO}")
    given = response.json()
    local = copy.deepcopy(messages)
    local[1]["content"][1]["image_url"]["url"] = str(IMAGES / PHOTO)
    expected = generate(program, {"messages": local})
    found = given["choices"][0]["message"]["content"] if response.status_code == 200 else given
    findings.say(
        "card, image by http, requests",
        found == expected["text"] and given["usage"] == expected["usage"] and given["model"] == CARD,
        f"{expected['usage']['prompt_tokens']} tokens with the system prompt of today, {short(found)}",
    )
    try:
        messages, response = card_text(server.url)
        expected = generate(program, {"messages": messages, "temperature": 0.15})
        found = response.choices[0].message.content
        good = (
            found == expected["text"]
            and response.usage.completion_tokens == expected["usage"]["completion_tokens"]
        )
        findings.say("card, text, openai, temperature 0.15", good, short(found))
    except openai.OpenAIError as error:
        findings.say("card, text, openai, temperature 0.15", False, error)


# The openai package


def check_openai(server, program, findings):
    client = openai.OpenAI(api_key="EMPTY", base_url=f"{server.url}/v1", max_retries=0)
    create = client.chat.completions.create
    expected = generate(program, {"messages": HELLO}, "--max-tokens", 32, "--logprobs", 5)

    plain = create(model=CARD, messages=HELLO, max_tokens=32)
    choice = plain.choices[0]
    findings.say(
        "openai, plain",
        choice.message.content == expected["text"]
        and (choice.finish_reason, choice.message.role, choice.message.tool_calls)
        == ("length", "assistant", None)
        and plain.usage.to_dict() == expected["usage"]
        and plain.id.startswith("chatcmpl-")
        and abs(plain.created - time.time()) < 60,
        f"{short(choice.message.content)}, {plain.usage.to_dict()}",
    )

    chunks = list(
        create(model=CARD, messages=HELLO, max_tokens=32, stream=True, stream_options={"include_usage": True})
    )
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks[:-1]]
    last = chunks[-1]
    findings.say(
        "openai, stream with usage",
        "".join(deltas) == choice.message.content
        and reasons == [None] * (len(reasons) - 1) + ["length"]
        and (last.choices, last.usage and last.usage.to_dict()) == ([], expected["usage"])
        and chunks[0].choices[0].delta.role == "assistant"
        and len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1,
        f"{len(chunks)} chunks, usage in the last",
    )
    plain_stream = list(create(model=CARD, messages=HELLO, max_tokens=8, stream=True))
    findings.say(
        "openai, stream without usage",
        all(chunk.usage is None and chunk.choices for chunk in plain_stream),
        f"{len(plain_stream)} chunks",
    )
    # The helper raises where an answer is cut at its length; a text to stop at ends this one.
    ended = {"stop": choice.message.content[9:13], "logprobs": True}
    want = generate(program, {"messages": HELLO}, "--max-tokens", 32, "--stop", ended["stop"])
    with client.chat.completions.stream(model=CARD, messages=HELLO, max_tokens=32, **ended) as stream:
        seen = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion().choices[0]
    findings.say(
        "openai, its own helper for streams",
        seen == (final.message.content or "") == want["text"]
        and [one.logprob for one in final.logprobs.content] == want["logprobs"],
        "content and log-probabilities put together",
    )

    asked = create(model=CARD, messages=HELLO, max_tokens=32, logprobs=True, top_logprobs=5)
    said = asked.choices[0].logprobs.content
    tops = [[one.logprob for one in position.top_logprobs] for position in said]
    whole = b"".join(bytes(position.bytes or []) for position in said)
    findings.say(
        "openai, logprobs and top_logprobs 5",
        [position.logprob for position in said] == expected["logprobs"]
        and tops == [[one["logprob"] for one in position] for position in expected["top_logprobs"]]
        and all(position.top_logprobs[0].token == position.token for position in said),
        f"{len(said)} positions, the first {short(said[0].token)} {said[0].logprob:.4f}",
    )
    findings.say(
        "openai, bytes of the tokens",
        whole.decode(errors="replace").removeprefix(" ") == choice.message.content.removeprefix(" "),
        "joined they are the content, but for the space in front; a control token has none",
    )
    bare = create(model=CARD, messages=HELLO, max_tokens=2, logprobs=True)
    findings.say(
        "openai, logprobs alone",
        all(position.top_logprobs == [] for position in bare.choices[0].logprobs.content)
        and choice.logprobs is None,
        "no top_logprobs; null where they are not asked for",
    )

    for tool_choice in ("auto", "none", openai.omit):
        given = {"messages": HELLO, "tools": [TOOL], "tool_choice": tool_choice}
        found = create(model=CARD, max_tokens=16, **given)
        known = {key: value for key, value in given.items() if value is not openai.omit}
        want = generate(program, known, "--max-tokens", 16)
        findings.say(
            f"openai, tools, tool_choice {tool_choice if isinstance(tool_choice, str) else 'absent'}",
            found.choices[0].message.content == want["text"] and found.usage.to_dict() == want["usage"],
            f"{found.usage.prompt_tokens} tokens, {short(found.choices[0].message.content)}",
        )
    call = {
        "id": "VvvODy9mT",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Zürich"}'},
    }
    turns = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"rain": true}'},
    ]
    found = create(model=CARD, messages=turns, tools=[TOOL], max_tokens=16)
    want = generate(program, {"messages": turns, "tools": [TOOL]}, "--max-tokens", 16)
    findings.say(
        "openai, a tool's result",
        found.choices[0].message.content == want["text"] and found.usage.to_dict() == want["usage"],
        f"{found.usage.prompt_tokens} tokens",
    )

    text = choice.message.content
    stop = text[9:13]
    found = create(model=CARD, messages=HELLO, max_tokens=32, stop=[stop, "never"])
    want = generate(program, {"messages": HELLO}, "--max-tokens", 32, "--stop", stop)
    streamed = list(create(model=CARD, messages=HELLO, max_tokens=32, stop=stop, stream=True))
    findings.say(
        "openai, stop",
        found.choices[0].message.content == want["text"] == text[: text.index(stop)]
        and (found.choices[0].finish_reason, found.choices[0].stop_reason) == ("stop", stop)
        and "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == want["text"],
        f"{short(stop)} ends {short(want['text'])}",
    )
    found = create(model=CARD, messages=HELLO, max_completion_tokens=3, max_tokens=9)
    findings.say(
        "openai, max_completion_tokens before max_tokens",
        found.usage.completion_tokens == 3,
        found.usage.completion_tokens,
    )
    found = create(model=CARD, messages=HELLO)
    findings.say(
        "openai, no number of tokens", found.usage.completion_tokens == 256, found.usage.completion_tokens
    )

    def one(n):
        """The n-th client of several at once: what it got, and what it should get."""
        given = {"messages": [{"role": "user", "content": "Count to %d." % n}], "max_tokens": 40 + n}
        if n % 2:
            found = create(model=CARD, **given).choices[0].message.content
        else:
            parts = create(model=CARD, stream=True, **given)
            found = "".join(part.choices[0].delta.content or "" for part in parts)
        return found, generate(program, given)["text"]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        pairs = list(pool.map(one, range(12)))
    same = sum(found == want for found, want in pairs)
    findings.say(
        "openai, 12 clients at once, half of them streaming", same == 12, f"{same} have their own answer"
    )

    models = client.models.list().data
    findings.say(
        "openai, models.list",
        [(model.id, model.object, model.owned_by, model.max_model_len) for model in models]
        == [(CARD, "model", "pixtral-ref", 131072)],
        [model.id for model in models],
    )
    model = client.models.retrieve(CARD)
    findings.say("openai, models.retrieve", model == models[0], model.id)
    raw, _, _ = server.ask("GET", f"/v1/models/{CARD}")
    findings.say("a model's name with its slash as it is", raw == 200, raw)

    def refused(what, kind, check, ask):
        try:
            ask()
            findings.say(what, False, "nothing is raised")
        except openai.OpenAIError as error:
            good = type(error) is kind and check(error) and isinstance(getattr(error, "body", None), dict)
            findings.say(what, good, f"{type(error).__name__}: {short(getattr(error, 'body', None), 150)}")

    refused(
        "openai, a temperature of 1.7", openai.BadRequestError,
        lambda error: error.type == "ValidationError",
        lambda: create(model=CARD, messages=HELLO, temperature=1.7),
    )  # fmt: skip
    refused(
        "openai, no messages", openai.BadRequestError,
        lambda error: error.type not in (None, "invalid_request_error"),
        lambda: create(model=CARD, messages=[]),
    )  # fmt: skip
    for key, value in {
        "n": 2, "frequency_penalty": 0.5, "logit_bias": {"5": 1}, "response_format": {"type": "json_object"},
        "top_logprobs": 3, "tool_choice": "required",
    }.items():  # fmt: skip
        refused(
            f"openai, {key} {short(value)}", openai.BadRequestError,
            lambda error: error.param == key and error.type == "invalid_request_error",
            lambda: create(model=CARD, messages=HELLO, **({"tools": [TOOL]} if key == "tool_choice" else {}), **{key: value}),
        )  # fmt: skip
    refused(
        "openai, more tokens than the context", openai.BadRequestError,
        lambda error: "131072" in error.message.replace(",", ""),
        lambda: create(model=CARD, messages=HELLO, max_tokens=131072),
    )  # fmt: skip
    refused(
        "openai, another model", openai.NotFoundError,
        lambda error: (error.type, error.code) == ("not_found_error", "model_not_found"),
        lambda: create(model="gpt-4o", messages=HELLO),
    )  # fmt: skip
    refused(
        "openai, models.retrieve of another model", openai.NotFoundError,
        lambda error: error.type == "not_found_error",
        lambda: client.models.retrieve("gpt-4o"),
    )  # fmt: skip


def check_exceptions(binary, findings):
    """A key, and a queue that is full."""

    def outcome(ask):
        try:
            ask()
            return None, {}
        except openai.APIStatusError as error:
            return error, dict(error.response.headers)

    with Served(binary, "--api-key", "secret") as server:
        for key, good in {"secret": True, "Secret": False}.items():
            client = openai.OpenAI(api_key=key, base_url=f"{server.url}/v1", max_retries=0)
            error, headers = outcome(lambda: client.models.list())
            findings.say(
                f"openai, key {short(key)}",
                error is None
                if good
                else type(error) is openai.AuthenticationError
                and error.type == "authentication_error"
                and headers.get("www-authenticate") == "Bearer",
                "taken" if error is None else f"{type(error).__name__}: {short(error.body, 150)}",
            )
        for path in ("/v1/models", "/nowhere"):
            status, headers, body = server.ask("GET", path)
            findings.say(
                f"no key, GET {path}",
                status == 401
                and headers["WWW-Authenticate"] == "Bearer"
                and json.loads(body)["error"]["type"] == "authentication_error",
                f"{status} {short(body.decode(), 120)}",
            )
        findings.say("GET /health asks for no key", server.ask("GET", "/health")[0] == 200)
    with Served(binary, "--queue", "0") as server:
        client = openai.OpenAI(api_key="-", base_url=f"{server.url}/v1", max_retries=0)
        model = client.models.list().data[0].id
        create = client.chat.completions.create
        with create(model=model, messages=HELLO, max_tokens=20000, stream=True) as stream:
            next(iter(stream))  # It is being computed.
            error, headers = outcome(lambda: create(model=model, messages=HELLO, max_tokens=1))
            findings.say(
                "openai, a full queue",
                type(error) is openai.RateLimitError
                and error.type == "rate_limit_error"
                and "retry-after" in headers,
                f"{type(error).__name__}, Retry-After {headers.get('retry-after')}",
            )
            findings.say("GET /health while the queue is full", server.ask("GET", "/health")[0] == 200)
        # The stream's client has left: its work ends within a layer, and the next one is taken.
        patient = client.with_options(max_retries=5)
        error, _ = outcome(lambda: patient.chat.completions.create(model=model, messages=HELLO, max_tokens=1))
        findings.say("openai, once the other client has left", error is None, error or "answered")
    findings.say("exit code after SIGTERM", server.code == 0, server.code)


# mistral-evals, curl, vLLM


def check_evals(server, program, findings):
    """It waits for an empty 200, then posts with requests what its tasks make."""
    deadline = time.time() + 60
    while time.time() < deadline:
        health = requests.get(f"{server.url}/health", timeout=5)
        if health.status_code == 200 and health.content == b"":
            break
        time.sleep(1)
    image = data_url(IMAGES / "model-left.jpg")
    request = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": image}},
                    {"type": "text", "text": "What is it? Answer with one word."},
                ],
            }
        ],
        "temperature": 0.0,
        "max_tokens": 24,
    }
    expected = generate(program, request)
    body = request | {"model": CARD, "stream": False, "n": 1, "top_p": 1.0}
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    with requests.Session() as session:
        for turn in ("first", "second on the same connection"):
            response = session.post(
                f"{server.url}/v1/chat/completions", headers=headers, data=json.dumps(body), timeout=120
            )
            message = response.json()["choices"][0]["message"]
            findings.say(
                f"evals, an image as data:, {turn}",
                response.status_code == 200
                and message["role"] == "assistant"
                and message["content"] == expected["text"],
                f"health {health.status_code} {health.content!r}, {short(message['content'])}",
            )


def check_curl(server, program, findings):
    command = server.line[server.line.index("curl ") :]
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=60)
    expected = generate(program, {"messages": [{"role": "user", "content": "Hello"}]}, "--max-tokens", 16)
    try:
        found = json.loads(done.stdout)["choices"][0]["message"]["content"]
    except (ValueError, KeyError):
        found = done.stdout + done.stderr
    findings.say("curl, the line that the server prints", found == expected["text"], short(str(found)))
    command = command.replace('"max_tokens": 16', '"max_tokens": 2000, "stream": true').replace(
        "Hello", "Count."
    )
    command = command.replace("curl", "curl -sN", 1)
    process = subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE)
    times, events = [], []
    for line in process.stdout:
        if line.strip():
            times.append(time.time())
            events.append(line)
    process.wait(timeout=60)
    middle = (times[len(times) // 2] - times[0]) / max(times[-1] - times[0], 1e-9)
    findings.say(
        "curl -N, a stream of 2,000 tokens",
        process.returncode == 0
        and events[-1] == b"data: [DONE]\n"
        and len(events) > 2000
        and 0.2 < middle < 0.8,
        f"{len(events)} events in {times[-1] - times[0]:.2f} s, half of them after {100 * middle:.0f}%",
    )


def check_vllm(server, program, tokenizer, findings):
    request = {"messages": HELLO, "max_tokens": 8, "logprobs": True, "return_token_ids": True}
    expected = generate(program, {"messages": HELLO}, "--max-tokens", 8)
    prompt = tokenizer.encode_chat_completion(ChatCompletionRequest(messages=HELLO)).tokens
    status, found = server.post("/v1/chat/completions", request)
    choice = found["choices"][0]
    findings.say(
        "vLLM, return_token_ids",
        status == 200 and found["prompt_token_ids"] == prompt and choice["token_ids"] == expected["tokens"],
        choice.get("token_ids"),
    )
    chunks = server.stream("/v1/chat/completions", request) or [{}]
    ids = [id for chunk in chunks for one in chunk.get("choices", []) for id in one.get("token_ids") or []]
    said = [
        position["logprob"]
        for chunk in chunks
        for one in chunk.get("choices", [])
        for position in (one.get("logprobs") or {}).get("content") or []
    ]
    findings.say(
        "vLLM, return_token_ids in a stream",
        chunks[0].get("prompt_token_ids") == prompt
        and not any("prompt_token_ids" in chunk for chunk in chunks[1:])
        and ids == expected["tokens"]
        and said == expected["logprobs"],
        f"{len(ids)} ids, {len(said)} log-probabilities in {len(chunks)} chunks",
    )
    status, found = server.post("/tokenize", {"model": CARD, "messages": HELLO})
    findings.say(
        "vLLM, /tokenize of messages",
        (status, found)
        == (200, {"count": len(prompt), "max_model_len": 131072, "tokens": prompt, "token_strs": None}),
        short(found, 100),
    )
    inner = tokenizer.instruct_tokenizer.tokenizer
    for text in ["Wie heißt π?", "", " two  spaces\n", "[INST] </s> [REF]", "☂️\u0000é"]:
        for special in (True, False, None):
            options = {} if special is None else {"add_special_tokens": special}
            tokens = inner.encode(text, bos=special is not False, eos=False)
            status, found = server.post("/tokenize", {"prompt": text, "return_token_strs": True, **options})
            back_status, back = server.post("/detokenize", {"tokens": found.get("tokens", [])})
            findings.say(
                f"vLLM, /tokenize and /detokenize of {short(text)}, add_special_tokens {special}",
                (status, back_status) == (200, 200)
                and (found["tokens"], found["count"]) == (tokens, len(tokens))
                and len(found["token_strs"]) == len(tokens)
                and back == {"prompt": inner.decode(tokens)}
                and back["prompt"] == text,
                f"{found.get('tokens')} {short(found.get('token_strs'), 80)}",
            )
    status, found = server.post("/detokenize", {"tokens": [32768]})
    findings.say(
        "vLLM, /detokenize of an id that is none",
        status == 400 and found["error"]["param"] == "tokens",
        short(found, 120),
    )


# Calls of tools


def check_calls(binary, program, folder, tokenizer, findings):
    import recited

    inner = tokenizer.instruct_tokenizer.tokenizer
    chains = [[4, 5, *recited.chain(inner, CALL), 2], [9, *recited.chain(inner, RESULT)]]
    checkpoint = recited.write(program, folder / "recited", chains)
    with Served(binary, checkpoint=str(checkpoint)) as server:
        client = openai.OpenAI(api_key="-", base_url=f"{server.url}/v1", max_retries=0)
        model = client.models.list().data[0].id
        asked = {"model": model, "messages": HELLO, "tools": [TOOL], "max_tokens": 64}
        create = client.chat.completions.create
        choice = create(**asked).choices[0]
        call = (choice.message.tool_calls or [None])[0]
        findings.say(
            "a call of a tool",
            call is not None
            and (choice.finish_reason, choice.message.content) == ("tool_calls", None)
            and (call.type, call.function.name) == ("function", "get_weather")
            and json.loads(call.function.arguments) == {"city": "Zürich"},
            short(choice.message.to_dict(), 200),
        )
        chunks = list(create(**asked, stream=True))
        deltas = [chunk.choices[0].delta for chunk in chunks]
        streamed = [one for delta in deltas for one in delta.tool_calls or []]
        findings.say(
            "a call of a tool in a stream",
            len(streamed) == 1
            and (streamed[0].index, streamed[0].function.name) == (0, "get_weather")
            and call is not None
            and streamed[0].function.arguments == call.function.arguments
            and not any(delta.content for delta in deltas)
            and chunks[-1].choices[0].finish_reason == "tool_calls",
            f"{len(chunks)} chunks",
        )
        try:
            with client.chat.completions.stream(**asked) as stream:
                final = stream.get_final_completion().choices[0]
            good = (
                final.finish_reason == "tool_calls"
                and final.message.tool_calls[0].function.parsed_arguments is not None
            ) or final.message.tool_calls[0].function.name == "get_weather"
            findings.say(
                "a call of a tool by openai's helper for streams", good, short(final.message.to_dict(), 160)
            )
        except Exception as error:
            findings.say("a call of a tool by openai's helper for streams", False, repr(error))
        for what, given in {"none": {"tool_choice": "none"}, "without tools": {"tools": openai.omit}}.items():
            found = create(**(asked | given)).choices[0]
            findings.say(
                f"what looks like a call, {what}",
                not found.message.tool_calls
                and found.finish_reason == "stop"
                and "get_weather" in (found.message.content or ""),
                short(found.message.content, 100),
            )
        cut = create(**(asked | {"max_tokens": 20})).choices[0]
        findings.say(
            "a call that is cut off",
            not cut.message.tool_calls
            and cut.finish_reason == "length"
            and "get_weather" in (cut.message.content or ""),
            f"{cut.finish_reason}, {short(cut.message.content, 60)}",
        )
        if call is None:
            return
        turns = [
            *HELLO,
            choice.message.to_dict(),
            {"role": "tool", "tool_call_id": call.id, "content": '{"rain": true}'},
        ]
        try:
            found = create(**(asked | {"messages": turns})).choices[0]
            findings.say(
                "the turn behind the tool's result",
                (found.message.content, found.finish_reason) == ("It rains€", "stop"),
                f"{short(found.message.content)}, {found.finish_reason}",
            )
            chunks = list(create(**(asked | {"messages": turns}), stream=True))
            texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
            findings.say(
                "the same in a stream, no character cut",
                "".join(texts) == "It rains€" and "€" in texts and "\ufffd" not in "".join(texts),
                texts,
            )
        except openai.OpenAIError as error:
            findings.say("the turn behind the tool's result", False, f"id {call.id!r}: {error}")


# Answers


def openai_form(request):
    """check_generate.py's requests: a prefix is asked for as OpenAI's form has it."""
    request = copy.deepcopy(request)
    if request["messages"][-1].pop("prefix", False):
        request["continue_final_message"] = True
    return request


def check_answers(binary, program, folder, tokenizer, findings):
    import check_generate
    from transformers import LlavaForConditionalGeneration

    import torch

    oracle_answer, oracle = check_generate.oracle_answer, check_generate.oracle_answer.oracle
    hf = folder / "hf"
    subprocess.run(
        [program, "checkpoint", "write", "seeded:tiny", "--layout", "hf", "--out", hf],
        check=True,
        capture_output=True,
    )
    model = LlavaForConditionalGeneration.from_pretrained(
        hf, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tiny = check_generate.oracle_checkpoint.open_checkpoint("seeded:tiny")
    count = check_generate.COUNT
    ask = {"max_tokens": count, "logprobs": True, "top_logprobs": 2, "return_token_ids": True}
    answers = [Served(binary, "--files", IMAGES, "--precision", p) for p in ("float32", "float64")]
    with answers[0] as single, answers[1] as double:
        for name, mistral in check_generate.requests().items():
            request = openai_form(mistral)
            _, found = single.post("/v1/chat/completions", {**request, **ask})
            expected = generate(program, request, "--max-tokens", count, "--logprobs", 2)
            if not findings.say(f"{name}: answered", "choices" in found, short(found, 200)):
                continue
            choice = found["choices"][0]
            said = [position["logprob"] for position in choice["logprobs"]["content"]]
            tops = [[one["logprob"] for one in p["top_logprobs"]] for p in choice["logprobs"]["content"]]
            same = (
                choice["token_ids"] == expected["tokens"] and choice["message"]["content"] == expected["text"]
            )
            findings.say(
                f"{name}: as generate",
                same
                and said == expected["logprobs"]
                and tops == [[one["logprob"] for one in p] for p in expected["top_logprobs"]]
                and choice["finish_reason"] == expected["finish_reason"]
                and found["usage"] == expected["usage"],
                f"{len(said)} tokens, log-probabilities to the last digit",
            )
            encoded = tokenizer.encode_chat_completion(ChatCompletionRequest(**copy.deepcopy(mistral)))
            tokens, images = encoded.tokens, check_generate.pixels(program, folder, mistral)
            findings.say(f"{name}: prompt_token_ids", found["prompt_token_ids"] == tokens, len(tokens))

            theirs, logits = check_generate.transformers_answer(
                model, tokens, [torch.from_numpy(image) for image in images]
            )
            first = next(
                (n for n, (a, b) in enumerate(zip(choice["token_ids"], theirs)) if a != b), len(theirs)
            )
            near = first < len(theirs) and tops[first][0] - tops[first][1] <= check_generate.NOISE
            theirs_said = oracle_answer.log_probabilities(logits)
            far = max((abs(theirs_said[n, theirs[n]] - said[n]) for n in range(first)), default=0)
            findings.say(
                f"{name}: as transformers in float32",
                (first == len(theirs) or near) and far <= 1e-4,
                f"{first} of {len(theirs)} tokens, {far:.1e} away",
            )

            _, found = double.post("/v1/chat/completions", {**request, **ask, "prompt_logprobs": 5})
            choice = found["choices"][0]
            said = [position["logprob"] for position in choice["logprobs"]["content"]]
            kept = {}
            trace = oracle.Trace(kept.__setitem__, ["logits"], "logits")
            oracle.forward(tiny, [*tokens, *choice["token_ids"][:-1]], images, trace)
            whole = oracle_answer.log_probabilities(kept["logits"])
            answer = whole[len(tokens) - 1 :]
            far = max(abs(answer[n, id] - x) for n, (id, x) in enumerate(zip(choice["token_ids"], said)))
            chosen = all(answer[n].max() - answer[n, id] <= 1e-9 for n, id in enumerate(choice["token_ids"]))
            findings.say(f"{name}: as the oracle in float64", far <= 1e-9 and chosen, f"{far:.1e} away")
            check_prompt(name, tokenizer, tokens, whole, found.get("prompt_logprobs"), findings)

            sampling = {"temperature": 0.7, "top_p": 0.9, "seed": 7}
            _, found = single.post("/v1/chat/completions", {**request, **ask, **sampling})
            expected = generate(program, {**request, **sampling}, "--max-tokens", count)
            options = (w for key, value in sampling.items() for w in (f"--{key.replace('_', '-')}", value))
            assert expected == generate(program, request, "--max-tokens", count, *options)
            choice = found["choices"][0]
            findings.say(
                f"{name}: sampled as generate",
                choice["token_ids"] == expected["tokens"]
                and [position["logprob"] for position in choice["logprobs"]["content"]]
                == expected["logprobs"]
                and choice["token_ids"] != theirs,
                choice["token_ids"][:4],
            )
            chunks = single.stream("/v1/chat/completions", {**request, **ask, **sampling}) or []
            ids = [id for chunk in chunks for one in chunk["choices"] for id in one.get("token_ids") or []]
            text = "".join(one["delta"].get("content") or "" for chunk in chunks for one in chunk["choices"])
            findings.say(
                f"{name}: sampled, in a stream",
                ids == choice["token_ids"] and text == choice["message"]["content"],
                f"{len(chunks)} chunks",
            )


def check_prompt(name, tokenizer, tokens, whole, found, findings):
    """prompt_logprobs 5 against [tokens and answer, V] log-probabilities of the oracle: row n is of what
    comes behind token n.
    """
    if not findings.say(
        f"{name}: prompt_logprobs", bool(found) and len(found) == len(tokens) and found[0] is None,
        f"{len(found or [])} positions of {len(tokens)}",
    ):  # fmt: skip
        return
    far, ranks, missing = 0.0, [], []
    for n in range(1, len(tokens)):
        row = whole[n - 1]
        best = sorted(range(len(row)), key=lambda id: (-row[id], id))[:5]
        if set(found[n]) != {str(id) for id in {*best, tokens[n]}}:
            missing.append(n)
        for id, entry in found[n].items():
            far = max(far, abs(row[int(id)] - entry["logprob"]))
            if entry["rank"] != 1 + int((row > row[int(id)]).sum()) or not isinstance(
                entry["decoded_token"], str
            ):
                ranks.append((n, id, entry))
    findings.say(
        f"{name}: prompt_logprobs as the oracle",
        far <= 1e-9 and not ranks and not missing,
        f"{far:.1e} away; ranks that differ {ranks[:2]}, other tokens at {missing[:5]}",
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server")
    parser.add_argument("--program", default=PROGRAM)
    parser.add_argument("--only", choices=["clients", "answers"])
    options = parser.parse_args()
    findings, tokenizer = Findings(), MistralTokenizer.from_file(str(TOKENIZER))
    print(f"openai {openai.__version__}, requests {requests.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options.only != "answers":
            pictures = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
            threading.Thread(target=pictures.serve_forever, daemon=True).start()
            place = f"127.0.0.1:{pictures.server_port}"
            with Served(options.server, "--name", CARD, "--fetch", place) as server:
                parts = [
                    (check_card, (server, options.program, f"http://{place}", findings)),
                    (check_openai, (server, options.program, findings)),
                    (check_evals, (server, options.program, findings)),
                    (check_curl, (server, options.program, findings)),
                    (check_vllm, (server, options.program, tokenizer, findings)),
                ]
                for part, given in parts:
                    attempt(part, given, findings)
            findings.say("exit code after SIGTERM", server.code == 0, server.code)
            attempt(check_exceptions, (options.server, findings), findings)
            attempt(check_calls, (options.server, options.program, folder, tokenizer, findings), findings)
        if options.only != "clients":
            check_answers(options.server, options.program, folder, tokenizer, findings)
    sys.exit(findings.end())


def attempt(part, given, findings):
    """One part that breaks off leaves the others to be looked at."""
    try:
        part(*given)
    except Exception as error:
        findings.say(f"{part.__name__} broke off", False, repr(error)[:300])


if __name__ == "__main__":
    main()
