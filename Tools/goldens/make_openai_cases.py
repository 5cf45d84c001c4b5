"""Makes Fixtures/cases/tokens/openai: what each release of mistral-common makes of requests in OpenAI's form,
by `ChatCompletionRequest.from_openai`.

    python releases.py --fetch && python make_openai_cases.py      (deterministic; half a minute on two cores)

Each case is one rule of Docs/Tokens.md 14, chosen by hand. Every expectation is asked of the oracle here, as
in make_token_cases.py. Releases before 1.6.0 have no such form: they answer AttributeError.
"""

import make_token_cases as made
import suites
from make_token_cases import BYE, HI, A, assistant, call, result, say, system, text, tool, user, with_tool

URL = A["image_url"]["url"]
THINKING = {"type": "thinking", "thinking": "t"}


def developer(content):
    return {"role": "developer", "content": content}


def called(*calls, **more):
    """A question, calls and their answer, another question."""
    return say(HI, assistant(calls=list(calls), **more), BYE)


def answered(**keys):
    """A call, and a tool message of these keys."""
    return say(HI, assistant(calls=[call()]), {"role": "tool"} | keys)


def with_function(function):
    return with_tool({"type": "function", "function": function})


def formatted(**json_schema):
    return say(HI, response_format={"type": "json_schema", "json_schema": {"name": "n"} | json_schema})


WRONG = {"pattern": "a{4294967295}"}  # an OverflowError

# name, what it shows, request, exposes
RULES = [
    # the request: 14.1 to 14.3
    ("one-turn", "A request of one message is one in Mistral's form.", say(HI), []),
    ("keys", "Keys of the request that mistral-common does not know are dropped, whatever they hold.", say(HI, stop=["\n"], n="x", stream=True, user=None), []),
    ("keys-max-completion-tokens", "max_completion_tokens is no max_tokens, and is not looked at.", say(HI, max_completion_tokens=-1), []),
    ("reject-cls", "A request has no key cls.", say(HI, cls=None), []),
    ("reject-no-messages", "A request has messages.", {"model": "m"}, []),
    ("reject-messages-null", "messages is not null.", {"messages": None}, []),
    ("reject-messages-object", "messages is no object.", {"messages": HI}, []),
    ("reject-messages-string", "messages is no string.", {"messages": "Hi"}, []),
    ("reject-messages-empty-object", "An empty object counts as no messages.", {"messages": {}}, []),
    ("reject-messages-empty-string", "An empty string counts as no messages.", {"messages": ""}, []),
    ("reject-message-string", "A message is an object.", say("Hi"), []),
    ("reject-first-message", "A fault of the first message outranks one of the second.", say(user() | {"content": {}}, 5), []),
    # roles: 14.4
    ("developer", "A developer is the system.", say(developer("Be brief."), HI), []),
    ("reject-role", "The role of a message is one of five.", say({"role": "function", "name": "f", "content": "a"}), []),
    ("reject-role-absent", "A message has a role.", say({"content": "Hi"}), []),
    ("reject-role-list", "The role of a message is a string.", say(HI | {"role": ["user"]}), []),
    ("message-name", "A user's name is dropped, whatever it is.", say(HI | {"name": 5}), []),
    ("message-keys", "Keys of other roles are dropped from a user message.", say(HI | {"tool_calls": 5, "tool_call_id": 5, "reasoning": 5}), []),
    ("assistant-keys", "refusal, audio and annotations of an assistant message are dropped.", say(HI, assistant("a", refusal="no", audio={"id": "a"}, annotations=[5]), BYE), []),
    ("prefix", "The prefix of a message in the middle is dropped, and so no fault.", say(HI, assistant("a", prefix=True), BYE), []),
    ("prefix-word", "A prefix that is no boolean is dropped.", say(HI, assistant("a", prefix="x"), BYE), []),
    ("reject-prefix-last", "A prefix does not leave the last message open.", say(HI, assistant("a", prefix=True)), []),
    # content: 14.5
    ("content-null", "An assistant's content may be null beside calls.", called(call()), []),
    ("content-absent", "An assistant's content may be absent beside calls.", say(HI, {"role": "assistant", "tool_calls": [call()]}, BYE), []),
    ("content-no-chunks", "A content may be an empty list.", say(HI | {"content": []}), []),
    ("reject-content-null", "A user's content is not null.", say(HI | {"content": None}), []),
    ("reject-content-absent", "A user message has a content.", say({"role": "user"}), []),
    ("reject-content-object", "A content is no object.", say(HI | {"content": text("a")}), []),
    ("reject-content-null-late", "A content that is null is a fault when the message ends, and not before.", answered(content=None), []),
    ("chunk-keys", "Keys of a chunk beside its text are dropped.", say(user(text("a") | {"cache_control": {"type": "ephemeral"}, "image_url": 5})), []),
    ("reject-chunk-string", "A chunk is an object.", say(user("a", "b")), []),
    ("reject-chunk-type", "A chunk of type file is refused.", say(user({"type": "file", "file": {"file_id": "f"}})), []),
    ("reject-chunk-type-absent", "A chunk has a type.", say(user({"text": "a"}, text("b"))), []),
    ("reject-chunk-type-list", "The type of a chunk is a string.", say(user(text("a"), {"type": ["text"]})), []),
    ("reject-chunk-refusal", "A chunk of type refusal is refused.", say(HI, assistant([{"type": "refusal", "refusal": "no"}]), BYE), []),
    ("reject-chunk-image", "A chunk of type image is refused.", say(user(text("a"), {"type": "image", "image": URL})), []),
    ("reject-chunk-role", "The system shows no image.", say(system(text("a"), A), HI), []),
    ("reject-chunk-role-late", "A chunk that its role does not allow is a fault when the message ends, and not before.", say(system(A, 5), HI), []),
    ("image", "image_url may be an object.", say(user(A, text("a"))), []),
    ("image-string", "image_url may be a string.", say(user({"type": "image_url", "image_url": URL}, text("a"))), []),
    ("image-detail", "detail of image_url changes nothing.", say(user({"type": "image_url", "image_url": {"url": URL, "detail": "high"}}, text("a"))), []),
    ("image-detail-beside", "detail beside image_url is dropped.", say(user(A | {"detail": 5}, text("a"))), []),
    ("reject-image-key", "image_url has no key but url and detail.", say(user({"type": "image_url", "image_url": {"url": URL, "x": 1}}, text("a"))), []),
    ("reject-image-absent", "A chunk of an image has image_url.", say(user({"type": "image_url"}, text("a"))), []),
    ("reject-audio", "A chunk of audio is read, and has no tokens.", say(user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, text("a"))), []),
    ("reject-audio-empty", "Audio of nothing is refused when it is read.", say(user({"type": "input_audio", "input_audio": {"data": " "}, "x": 1}, text("a"))), []),
    ("reject-audio-url", "Keys of audio_url beside its url are dropped.", say(user({"type": "audio_url", "audio_url": {"url": "a", "x": 1}}, text("a"))), []),
    # calls: 14.6
    ("call", "A call is one in Mistral's form.", called(call('{"a":1.50}')), []),
    ("call-object", "Arguments of a call may be an object.", called(call({"a": 1.5})), []),
    ("call-null", "Arguments of a call may be null.", called(call(None)), []),
    ("call-keys", "Keys of a call and of its function that a call does not have are dropped.", called({"index": 0, "id": "abcDEF123", "function": {"name": "f", "arguments": "{}", "output": None}}), []),
    ("calls-null", "tool_calls may be null.", say(HI, assistant("a", tool_calls=None), BYE), []),
    ("calls-empty", "tool_calls may be an empty list.", say(HI, assistant("a", []), BYE), []),
    ("function-call", "function_call, which tool_calls has replaced, is dropped.", say(HI, assistant("a", function_call={"name": "f", "arguments": "{}"}), BYE), []),
    ("reject-calls-object", "tool_calls is no object.", say(HI, assistant("a", tool_calls=call()), BYE), []),
    ("reject-call-string", "A call is an object.", say(HI, assistant("a", ["f"]), BYE), []),
    ("reject-call-type", "type of a call is function.", called(call(type="custom")), []),
    ("reject-call-id", "An id of a call has 9 letters and digits, and OpenAI's have more.", called(call(id="call_0123456789abcdef")), []),
    ("reject-call-id-absent", "A call has an id.", called({"function": {"name": "f", "arguments": "{}"}}), []),
    ("reject-calls-first", "The calls of a message are looked at before its content.", say(HI, assistant(5, [5]), BYE), []),
    # reasoning: 14.7
    ("reasoning-null", "reasoning and reasoning_content may be null.", say(HI, assistant("a", reasoning=None, reasoning_content=None), BYE), []),
    ("reject-reasoning", "reasoning is a thinking chunk, which V7 refuses.", say(HI, assistant("a", reasoning="t"), BYE), []),
    ("reject-reasoning-content", "reasoning_content is a thinking chunk, which V7 refuses.", say(HI, assistant("a", reasoning_content="t"), BYE), []),
    ("reject-reasoning-number", "reasoning is a string.", say(HI, assistant("a", reasoning=5), BYE), []),
    ("reject-reasoning-two", "reasoning and reasoning_content do not differ.", say(HI, assistant("a", reasoning="t", reasoning_content="u"), BYE), []),
    ("reject-reasoning-equal", "reasoning of 1 equals reasoning_content of true, and is no string.", say(HI, assistant("a", reasoning=1, reasoning_content=True), BYE), []),
    ("reject-reasoning-chunk", "Beside a thinking chunk there is no reasoning, whatever it is.", say(HI, assistant([text("a"), THINKING], reasoning=5), BYE), []),
    ("reject-reasoning-alone", "reasoning without content is a thinking chunk, which V7 refuses.", say(HI, {"role": "assistant", "reasoning": "t"}, BYE), []),
    ("reject-reasoning-image", "An image beside reasoning is found when the message ends.", say(HI, assistant([A], reasoning="t"), BYE), []),
    ("reject-reasoning-late", "The content is looked at before reasoning.", say(HI, assistant([text("a"), 5], reasoning="t", reasoning_content="u"), BYE), []),
    ("reject-thinking", "A thinking chunk is read, and V7 refuses it.", say(HI, assistant([THINKING | {"closed": False, "x": 1}]), BYE), []),
    ("reject-thinking-closed", "closed of a thinking chunk is a boolean.", say(HI, assistant([THINKING | {"closed": 5}]), BYE), []),
    ("reject-thinking-system", "A thinking chunk of the system has no tokens.", say(developer([THINKING | {"signature": 5}]), HI), []),
    # results: 14.8
    ("result", "A tool message is one in Mistral's form.", say(HI, assistant(calls=[call()]), result(), BYE), []),
    ("result-name", "The name of a tool changes nothing.", say(HI, assistant(calls=[call()]), result(name="weather", x=1), BYE), []),
    ("reject-result-id-absent", "A result has tool_call_id.", answered(content="21"), []),
    ("reject-result-id-null", "A result whose tool_call_id is null is read, and V7 refuses it.", answered(content="21", tool_call_id=None), []),
    ("reject-result-id-number", "tool_call_id is a string.", answered(content="21", tool_call_id=5), []),
    ("reject-result-id", "tool_call_id is 9 letters and digits.", answered(content="21", tool_call_id="call_1"), []),
    ("reject-result-name-number", "The name of a tool is a string.", answered(content="21", tool_call_id="abcDEF123", name=5), []),
    # continue_final_message: 14.9
    ("continue", "continue_final_message leaves the last message open.", say(HI, assistant("Once upon"), continue_final_message=True), ["T-eos-on-continue"]),
    ("continue-word", "continue_final_message may be a word for true.", say(HI, assistant("Once"), continue_final_message="yes"), ["T-eos-on-continue"]),
    ("continue-prefix-false", "A message with a false prefix is continued.", say(HI, assistant("Once", prefix=False), continue_final_message=True), ["T-eos-on-continue"]),
    ("continue-false", "continue_final_message may be false.", say(HI, continue_final_message=False), []),
    ("reject-continue-null", "continue_final_message is not null.", say(HI, continue_final_message=None), []),
    ("reject-continue-word", "continue_final_message is a boolean.", say(HI, assistant("Once"), continue_final_message="always"), []),
    ("reject-continue-user", "A user message is not continued.", say(HI, continue_final_message=True), []),
    ("reject-continue-empty", "Without messages there is none to continue.", say(continue_final_message=True), []),
    ("reject-continue-late", "continue_final_message is looked at behind the messages.", say(HI | {"role": "robot"}, continue_final_message=None), []),
    ("reject-continue-first", "continue_final_message is looked at before the tools.", say(HI, continue_final_message=True, tools=5), []),
    # tools: 14.10, 14.11
    ("tools", "Tools are those of Mistral's form.", with_tool(tool()), []),
    ("tools-null", "tools may be null.", say(HI, tools=None), []),
    ("tools-empty-string", "An empty string counts as no tools.", say(HI, tools=""), []),
    ("tool-bare", "A tool needs nothing but a name.", with_tool({"function": {"name": "f"}}), []),
    ("tool-null", "description, parameters and strict of a tool may be null.", with_function({"name": "f", "description": None, "parameters": None, "strict": None}), []),
    ("tool-keys", "Keys of a tool and of its function that a tool does not have are dropped.", with_tool({**tool(returns={}), "cache_control": {}, "name": 5}), []),
    ("reject-tools-object", "tools is no object.", say(HI, tools=tool()), []),
    ("reject-tools-zero", "tools is no number, not even 0.", say(HI, tools=0), []),
    ("reject-tool-string", "A tool is an object.", say(HI, tools=["f"]), []),
    ("reject-tool-flat", "A tool has its name inside of a function.", with_tool({"type": "function", "name": "f", "parameters": {}}), []),
    ("reject-tool-type", "type of a tool is function.", with_tool({"type": "web_search", "function": {"name": "f"}}), []),
    ("reject-tool-empty", "A function of a tool is no empty array.", with_function([]), []),
    ("reject-tool-null", "A function of a tool is not null.", with_function(None), []),
    ("reject-tool-function-string", "A function of a tool is no string.", with_function("ab"), []),
    ("reject-tool-function-true", "A function of a tool is not true.", with_function(True), []),
    ("reject-tool-name-null", "The name of a tool's function is not null.", with_function({"name": None}), []),
    ("reject-tool-strict", "strict of a tool is a boolean.", with_function({"name": "f", "strict": 5}), []),
    ("reject-tool-description", "description of a tool is a string.", with_function({"name": "f", "description": 5}), []),
    ("reject-tool-parameters", "parameters of a tool are an object, even if Python takes them for false.", with_function({"name": "f", "parameters": []}), []),
    ("reject-tool-schema", "parameters of a tool are a JSON schema.", with_function({"name": "f", "parameters": {"type": "text"}}), []),
    ("reject-tool-name", "The name of a tool keeps to the rule for names.", with_function({"name": "a b"}), []),
    ("tool-pairs", "A tool's function may be an array of pairs.", with_function([["name", "f"], ["description", "d"], ["description", None], ["x", 5]]), []),
    ("tool-pairs-last", "Of pairs with one key in a tool's function the last counts.", with_function([["name", "f"], ["name", "g"]]), []),
    ("tool-pairs-string", "A string of two characters is a pair of a tool's function.", with_function(["ab", ["name", "f"], "é\U0001f600"]), []),
    ("tool-pairs-object", "The keys of an object of two are a pair of a tool's function.", with_function([{"name": 1, "f": 2}]), []),
    ("tool-pairs-key", "A pair of a tool's function is dropped if its key is no string.", with_function([[5, "x"], ["name", "f"], [None, "y"]]), []),
    ("reject-tool-pairs-one", "A pair in a tool's function has a value.", with_function([["name", "f"], ["strict"]]), []),
    ("reject-tool-pairs-three", "A pair in a tool's function has no third element.", with_function([["name", "f", "g"]]), []),
    ("reject-tool-pairs-number", "A pair in a tool's function is no number.", with_function([["name", "f"], 5]), []),
    ("reject-tool-pairs-list", "The key of a pair in a tool's function is no list.", with_function([["name", "f"], [[], 1]]), []),
    # settings: 14.12
    ("seed", "seed counts as random_seed.", say(HI, seed="5"), []),
    ("seed-null", "seed may be null.", say(HI, seed=None), []),
    ("random-seed", "random_seed may be there in the place of seed.", say(HI, random_seed=5), []),
    ("reject-seed", "seed is not below 0.", say(HI, seed=-1), []),
    ("reject-random-seed", "random_seed is a whole number.", say(HI, random_seed=0.5), []),
    ("reject-seeds", "seed and random_seed are not there together, even if one is null.", say(HI, seed=None, random_seed=5), []),
    ("reject-seeds-first", "Two seeds are found before the messages are looked at.", {"messages": 5, "seed": 5, "random_seed": 5}, []),
    ("parallel-null", "parallel_tool_calls may be null.", say(HI, parallel_tool_calls=None), []),
    ("reject-parallel", "parallel_tool_calls is a boolean.", say(HI, parallel_tool_calls="maybe"), []),
    ("model", "model, temperature, top_p and max_tokens change nothing.", say(HI, model="m", temperature=0.5, top_p=1, max_tokens=5), []),
    ("reject-model", "model is a string.", say(HI, model=5), []),
    ("reject-temperature", "A temperature above 1, which OpenAI allows, is refused.", say(HI, temperature=1.5), []),
    ("reject-temperature-null", "temperature is not null.", say(HI, temperature=None), []),
    ("reject-top-p-null", "top_p is not null.", say(HI, top_p=None), []),
    ("reject-max-tokens", "max_tokens is not below 0.", say(HI, max_tokens=-1), []),
    ("tool-choice", "tool_choice may be a word.", say(HI, tools=[tool()], tool_choice="required"), []),
    ("tool-choice-keys", "Keys of tool_choice and of its function that they do not have are dropped.", say(HI, tool_choice={"type": "function", "function": {"name": "f", "strict": None}, "x": 1}), []),
    ("reject-tool-choice-null", "tool_choice is not null.", say(HI, tool_choice=None), []),
    ("reject-tool-choice-type", "type of tool_choice is function.", say(HI, tool_choice={"type": "allowed_tools", "function": {"name": "f"}}), []),
    ("response-format", "Keys of response_format and of its json_schema that they do not have are dropped.", say(HI, response_format={"type": "json_schema", "x": 1, "json_schema": {"name": "n", "schema": {}, "description": "d", "strict": True, "x": 1}}), []),
    ("response-format-custom", "custom_schema stands for schema.", formatted(custom_schema={}), []),
    ("response-format-both", "Beside schema, custom_schema is dropped.", formatted(schema={}, custom_schema=5), []),
    ("reject-response-format-null", "response_format is not null.", say(HI, response_format=None), []),
    ("reject-response-format-type", "type of response_format is one of three words.", say(HI, response_format={"type": "grammar"}), []),
    ("reject-response-format-name", "A json_schema has a name that is a string.", formatted(name=5, schema={}), []),
    ("reject-response-format-description", "description of a json_schema is a string.", formatted(description=5, schema={}), []),
    ("reject-response-format-strict", "strict of a json_schema is a boolean.", formatted(strict=None, schema={}), []),
    ("reject-response-format-custom", "custom_schema is a JSON schema.", formatted(custom_schema={"type": "text"}), []),
    ("reject-response-format-none", "A json_schema has a schema.", formatted(), []),
    ("reject-response-format-string", "json_schema is an object.", say(HI, response_format={"type": "json_schema", "json_schema": "n"}), []),
    ("reject-response-format-overflow", "A pattern of response_format that overflows outranks other settings.", formatted(schema=WRONG) | {"temperature": None}, []),
    ("reject-settings-last", "A fault of a tool outranks one of a setting, even one that overflows.", formatted(schema=WRONG) | {"tools": [5]}, []),
    # what is valid: 14.13
    ("reject-open", "Without continue_final_message the assistant does not speak last.", say(HI, assistant("a")), []),
    ("reject-reasoning-effort", "reasoning_effort is read, and V7 refuses it.", say(HI, reasoning_effort="low"), []),
    ("reject-truncate", "truncate_for_context_length is read, and there is no number of tokens to cut to.", say(HI, truncate_for_context_length=True), []),
    ("reject-half", "Half of a surrogate pair in a content is read, and has no tokens.", say(user("a\ud800")), []),
]  # fmt: skip


def main() -> None:
    questions = [{"request": request, "form": "openai"} for _, _, request, _ in RULES]
    answers = made.every_release(questions, ("tokens", "text", "images"))
    cases = []
    for (name, title, _, exposes), question, (expect, ranges) in zip(RULES, questions, answers, strict=True):
        assert name.startswith("reject-") == ("reject" in expect), (name, expect)
        case = made.case(
            f"openai/{name}",
            title,
            "render a V7 request",
            question,
            expect,
            "ChatCompletionRequest.from_openai and MistralTokenizer.encode_chat_completion",
            made.MISTRAL,
            exposes,
            releases=ranges,
        )
        cases.append(case | {"requires": ["tokens.openai"], "since": "0.3"})
    suites.write("tokens/openai/rules", cases)


if __name__ == "__main__":
    main()
