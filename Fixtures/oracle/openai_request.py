"""A chat request in OpenAI's form, read as Docs/Tokens.md, section 14, has it.

Written from that page (by the page's author), rule by rule; used by tokens.py. Numbers in comments are the
page's. What section 5 says of types is chat_request.py's. Every step is done in its order, and its first
fault ends the reading.
"""

import chat_request
from chat_request import boolean, need, nullable, record, string

ROLES = {"user": "user", "assistant": "assistant", "tool": "tool", "system": "system", "developer": "system"}


def kept(value, *keys, **inside):
    """14.1: of an object the keys that are kept; `inside`: keys whose values are objects, and what is kept
    in those.
    """
    if not isinstance(value, dict):
        return value
    found = {key: value[key] for key in value if key in keys or key in inside}
    return {key: kept(inner, *inside[key]) if key in inside else inner for key, inner in found.items()}


def elements(value) -> list:
    """14.3"""
    need(isinstance(value, (list, str, dict)), "TypeError")
    need(isinstance(value, list) or not value, "AttributeError")
    return value if isinstance(value, list) else []


# ---- messages ----

KEPT = {  # 14.5
    "text": lambda value: kept(value, "type", "text"),
    "image_url": lambda value: kept(value, "type", "image_url"),
    "input_audio": lambda value: kept(value, "type", "input_audio"),
    "audio_url": lambda value: kept(value, "type", audio_url=["url"]),
    "thinking": lambda value: kept(value, "type", "thinking", "closed"),
}


def chunk(value) -> dict:
    """14.5"""
    need(isinstance(value, dict), "AttributeError")
    kind = value.get("type")
    need(isinstance(kind, str) and kind in chat_request.CHUNKS, "ValueError")
    need(kind != "image", "AssertionError")
    need(kind != "image_url" or "image_url" in value, "KeyError")
    return record(type=(string, chat_request.MUST), **chat_request.CHUNKS[kind])(KEPT[kind](value))


def content(value) -> list[dict] | None:
    """14.5"""
    need(value is None or isinstance(value, (str, list)), "ValueError")
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    return value if value is None else [chunk(element) for element in value]


def ended(message: dict) -> dict:
    """14.5, the end of a message."""
    role, found = message["role"], message["content"]
    need(found is not None or role == "assistant")
    need(all(part["type"] in chat_request.ALLOWED[role] for part in found or []))
    return {**message, "content": found or []}


def call(value) -> dict:
    """14.6"""
    return chat_request.CALL(kept(value, "id", "type", function=["name", "arguments"]))


def reasoning(value):
    """14.7"""
    given = [value[key] for key in ("reasoning", "reasoning_content") if value.get(key) is not None]
    need(len(given) < 2 or given[0] == given[1], "ValueError")
    return given[0] if given else None


def message(value) -> dict:
    need(isinstance(value, dict), "AttributeError")  # 14.4
    role = value.get("role")
    need(isinstance(role, str) and role in ROLES, "ValueError")
    role = ROLES[role]
    if role == "assistant":
        return assistant(value)
    need("content" in value, "KeyError")
    found = {"role": role, "content": content(value["content"])}
    if role == "tool":  # 14.8
        need("tool_call_id" in value, "KeyError")
        found |= {key: nullable(string)(value.get(key)) for key in ("tool_call_id", "name")}
    return ended(found)


def assistant(value: dict) -> dict:
    calls = value.get("tool_calls")  # 14.6
    need(calls is None or isinstance(calls, list), "ValueError")
    calls = calls and [call(one) for one in calls]
    found = content(value.get("content"))
    thought = reasoning(value)  # 14.7
    if thought is not None:
        need(all(part["type"] != "thinking" for part in found or []), "InvalidAssistantMessageException")
        found = [{"type": "thinking", "thinking": string(thought)}, *(found or [])]
    return ended({"role": "assistant", "content": found, "tool_calls": calls, "prefix": False})


# ---- tools ----


def pairs(value: list) -> dict:
    """14.11: an array that counts as an object."""
    found = {}
    for element in value:
        need(isinstance(element, (list, str, dict)), "TypeError")
        need(len(element) == 2, "ValueError")
        key, inner = element
        need(not isinstance(key, (list, dict)), "TypeError")
        if isinstance(key, str):
            found[key] = inner
    return found


def tool(value) -> dict:
    need(isinstance(value, dict), "AttributeError")  # 14.10
    found = kept(value, "type", "function")
    if found.get("function"):
        found["function"] = function(found["function"])
    return chat_request.TOOL(found)


def function(value) -> dict:
    """14.11"""
    need(isinstance(value, (dict, list, str)), "TypeError")
    need(not isinstance(value, str), "ValueError")
    value = pairs(value) if isinstance(value, list) else value
    found = kept(value, "name", "description", "parameters", "strict")
    # A name that is null is refused as one that is absent is.
    return {"parameters": {}, **{key: inner for key, inner in found.items() if inner is not None}}


# ---- the request ----


def settings(request: dict) -> dict:
    """14.12, and no messages and tools."""
    found = kept(
        request,
        *("model", "temperature", "top_p", "max_tokens", "truncate_for_context_length"),
        *("reasoning_effort", "parallel_tool_calls", "tool_choice", "response_format"),
    )
    if "seed" in request or "random_seed" in request:
        found["random_seed"] = request.get("seed", request.get("random_seed"))
    if "parallel_tool_calls" in found and found["parallel_tool_calls"] is None:
        found["parallel_tool_calls"] = True
    if "tool_choice" in found:
        found["tool_choice"] = kept(found["tool_choice"], "type", function=["name"])
    if "response_format" in found:
        form = found["response_format"]
        schema = form.get("json_schema") if isinstance(form, dict) else None
        own = "schema" if isinstance(schema, dict) and "schema" in schema else "custom_schema"
        found["response_format"] = kept(form, "type", json_schema=["name", "description", "strict", own])
    return chat_request.REQUEST({**found, "messages": []})


def read(request, limit: int | None) -> dict:
    """What chat_request.read makes of Mistral's form."""
    need(isinstance(request, dict) and "messages" in request and "cls" not in request, "TypeError")  # 14.2
    need(not ("seed" in request and "random_seed" in request), "ValueError")
    messages = [message(one) for one in elements(request["messages"])]
    if boolean(request.get("continue_final_message", False)):  # 14.9
        last = messages[-1] if messages else None
        need(last is not None and last["role"] == "assistant", "InvalidMessageStructureException")
        last["prefix"] = True
    tools = request.get("tools")
    if tools is not None:
        tools = [tool(one) for one in elements(tools)]  # 14.10
    found = {**settings(request), "messages": messages, "tools": tools}
    chat_request.validate(found, limit)  # 14.13
    return found
