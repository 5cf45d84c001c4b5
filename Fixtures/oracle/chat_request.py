"""What a chat request may be, and which exception refuses another: Docs/Tokens.md, sections 5 to 9.

Written from that page (by the page's author), rule by rule; used by tokens.py. Numbers in comments
are the page's. What Python is the rule for is left to Python: `json` (section 4), `re` (8),
`base64` (9.3). Of an image only the header is read, for its size.
"""

import base64
import json
import re
import struct

ROLES = ("system", "user", "assistant", "tool")


class Refused(Exception):
    """With the name of the exception that the page gives."""


def need(condition, name="ValidationError") -> None:
    if not condition:
        raise Refused(name)


# ---- 5. keys and types ----
# A type is a function that takes a value and gives it back, read, or refuses it.

MUST = object()
WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
WHOLE = re.compile(r"([+-]?)(\d+(?:_\d+)*)(\.0+)?", re.ASCII)
TRUE, FALSE = ("1", "on", "t", "true", "y", "yes"), ("0", "off", "f", "false", "n", "no")


def string(value) -> str:
    need(isinstance(value, str))
    return value


def boolean(value) -> bool:
    if isinstance(value, str):
        need(value.lower() in TRUE + FALSE)
        return value.lower() in TRUE
    need(isinstance(value, (int, float)) and value in (0, 1))
    return bool(value)


def fraction(value) -> None:
    """A number from 0 to 1."""
    if isinstance(value, str):
        parts = value.split("_")
        need(len(parts) == 1 or all(parts))
        value = "".join(parts) if len(parts) > 1 else value.strip(WHITE)
        need(NUMBER.fullmatch(value))
        value = float(value)
    need(isinstance(value, (int, float)) and 0 <= value <= 1)


def natural(value) -> None:
    """A whole number from 0."""
    if isinstance(value, str):
        match = WHOLE.fullmatch(value.strip(WHITE))
        need(match)
        digits = match[2].replace("_", "").lstrip("0")
        need(len(digits) <= 4300 and not (match[1] == "-" and digits))
        return
    need(isinstance(value, (int, float)) and value >= 0)
    need(not isinstance(value, float) or value < 2**63 and value.is_integer())


def mapping(value) -> dict:
    need(isinstance(value, dict))
    return value


def word(*words):
    def read(value):
        need(isinstance(value, str) and value in words)
        return value

    return read


def nullable(read):
    return lambda value: None if value is None else read(value)


def either(read_string, read_object):
    return lambda value: read_object(value) if isinstance(value, dict) else read_string(value)


def settle(readings: list) -> list:
    """What all of them give. A ValidationError waits for the others: one may outrank it (5.2)."""
    found, failed = [], False
    for reading in readings:
        try:
            found.append(reading())
        except Refused as error:
            need(str(error) == "ValidationError", str(error))
            failed = True
    need(not failed)
    return found


def array(read):
    def read_all(value):
        need(isinstance(value, list))
        return settle([lambda element=element: read(element) for element in value])

    return read_all


def record(**keys):
    """An object with these keys and no other: each a type, and what stands for it where it is
    absent.
    """

    def read(value):
        def read_key(key, type, absent):
            need(key in value or absent is not MUST)
            return type(value[key]) if key in value else absent

        readings = [lambda key=key, what=what: read_key(key, *what) for key, what in keys.items()]
        found = settle([*readings, lambda: need(not value.keys() - keys.keys())])
        return dict(zip(keys, found))

    return lambda value: read(mapping(value))


def audio(value) -> None:
    need(string(value.get("data") if isinstance(value, dict) else value).strip())


def arguments(value) -> str:
    """5.9"""
    return json.dumps(value) if isinstance(value, dict) else "{}" if value is None else string(value)


def image(value) -> bytes:
    """9.6"""
    data = image_data(value, reading=True)
    need(size(data), "RuntimeError")
    return data


def schema(value) -> None:
    need(is_whole_schema(mapping(value)))


FUNCTION = word("function")
NAMED = record(name=(string, MUST))
IMAGE_URL = record(url=(string, MUST), detail=(nullable(string), None))
CHUNKS = {  # 5.7
    "text": {"text": (string, MUST)},
    "image_url": {"image_url": (either(string, IMAGE_URL), MUST)},
    "image": {"image": (image, MUST)},
    "input_audio": {"input_audio": (audio, MUST)},
    "audio_url": {"audio_url": (either(string, record(url=(string, MUST))), MUST)},
    "thinking": {"thinking": (string, MUST), "closed": (boolean, True)},
}
ALLOWED = {  # 5.6
    "system": ("text", "input_audio", "thinking"),
    "user": ("text", "image_url", "image", "input_audio", "audio_url"),
    "assistant": ("text", "thinking"),
    "tool": ("text", "image_url", "image", "input_audio", "audio_url"),
}
CALL_FUNCTION = record(name=(string, MUST), arguments=(arguments, MUST))
CALL = record(id=(string, "null"), type=(FUNCTION, None), function=(CALL_FUNCTION, MUST))  # 5.9
TOOL_FUNCTION = record(
    name=(string, MUST), parameters=(mapping, MUST), description=(string, ""), strict=(boolean, False)
)
TOOL = record(type=(FUNCTION, None), function=(TOOL_FUNCTION, MUST))  # 5.10
OTHER_KEYS = {
    "system": {},
    "user": {},
    "assistant": {"tool_calls": (nullable(array(CALL)), None), "prefix": (boolean, False)},
    "tool": {"tool_call_id": (nullable(string), None), "name": (nullable(string), None)},
}


def content(role: str):
    def chunk(value) -> dict:
        kind = word(*CHUNKS)(mapping(value).get("type"))
        found = record(type=(string, MUST), **CHUNKS[kind])(value)
        need(kind in ALLOWED[role])  # 5.8
        return found

    def read(value) -> list[dict]:
        return [{"type": "text", "text": value}] if isinstance(value, str) else array(chunk)(value)

    return (nullable(read), None) if role == "assistant" else (read, MUST)


def message(value) -> dict:
    role = word(*ROLES)(mapping(value).get("role"))
    found = record(role=(string, MUST), content=content(role), **OTHER_KEYS[role])(value)
    return {**found, "content": found["content"] or []}


def json_schema(value) -> bool:
    key = "custom_schema" if "schema" not in mapping(value) else "schema"
    more = {"description": (nullable(string), None), "strict": (boolean, False), key: (schema, MUST)}
    record(name=(string, MUST), **more)(value)
    return True


def response_format(value) -> None:
    """5.12"""
    kinds = word("text", "json_object", "json_schema")
    found = record(type=(kinds, "text"), json_schema=(nullable(json_schema), None))(value)
    need(found["type"] != "json_schema" or found["json_schema"])


SAMPLING = {
    "temperature": (fraction, None),
    "top_p": (fraction, None),
    "max_tokens": (nullable(natural), None),
    "random_seed": (nullable(natural), None),
}
REQUEST = record(  # 5.5
    messages=(array(message), MUST),
    tools=(nullable(array(TOOL)), None),
    truncate_for_context_length=(boolean, False),
    reasoning_effort=(nullable(word("none", "minimal", "low", "medium", "high", "xhigh", "max")), None),
    model=(nullable(string), None),
    parallel_tool_calls=(boolean, True),
    tool_choice=(
        either(
            word("auto", "none", "any", "required"), record(type=(FUNCTION, None), function=(NAMED, MUST))
        ),
        None,
    ),
    response_format=(response_format, None),
    **SAMPLING,
)
FILL_IN = record(prompt=(string, MUST), suffix=(nullable(string), None), **SAMPLING)  # 12.1


def continued(request):
    """5.4"""
    if not isinstance(request, dict) or "continue_final_message" not in request:
        return request
    request = dict(request)
    if boolean(request.pop("continue_final_message")):
        messages = request.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else None
        need(isinstance(last, dict) and last.get("role") == "assistant", "InvalidMessageStructureException")
        boolean(last.get("prefix", True))
        request["messages"] = [*messages[:-1], {**last, "prefix": True}]
    return request


def read(request, limit: int | None) -> dict:
    """A request that keeps to sections 5 and 6, as Python's values; absent keys have their
    defaults.

    - limit: the tokens to cut it to, if there is such a number.
    """
    request = REQUEST(continued(request))
    validate(request, limit)
    return request


# ---- 6. what is valid ----

FOLLOWERS = {
    "system": ("system", "user", "assistant"),
    "user": ("system", "user", "assistant"),
    "assistant": ("user", "assistant", "tool"),
    "tool": ("user", "assistant", "tool"),
}


def is_name(text: str) -> bool:
    return re.fullmatch(r"[a-zA-Z0-9_-]{1,64}\n?", text) is not None  # 6.4


def is_id(text: str) -> bool:
    return re.fullmatch(r"[a-zA-Z0-9]{9}\n?", text) is not None  # 6.5


def kinds(message: dict) -> set[str]:
    return {part["type"] for part in message["content"]}


def validate(request: dict, limit: int | None) -> None:
    messages = request["messages"]
    check_order(messages)
    audio = {"input_audio", "audio_url"}
    has_audio = any(one["role"] == "user" and kinds(one) & audio for one in messages)
    need(not has_audio or all(one["role"] != "system" for one in messages), "ValueError")  # 6.2
    for one in messages:  # 6.3
        if one["role"] == "assistant":
            need("thinking" not in kinds(one), "InvalidAssistantMessageException")
            for call in one["tool_calls"] or []:
                right = is_id(call["id"]) and is_name(call["function"]["name"])
                need(right, "InvalidFunctionCallException")
            need(not one["prefix"] or one is messages[-1], "InvalidAssistantMessageException")
        elif one["role"] == "tool":
            need(kinds(one) <= {"text"}, "InvalidToolMessageException")
            need(one["name"] is None or is_name(one["name"]), "InvalidToolMessageException")
            need(one["tool_call_id"] is not None, "InvalidRequestException")
            need(is_id(one["tool_call_id"]), "InvalidToolMessageException")
    for tool in request["tools"] or []:  # 6.6
        need(is_whole_schema(tool["function"]["parameters"]), "InvalidToolSchemaException")
        need(is_name(tool["function"]["name"]), "InvalidToolException")
    need(request["reasoning_effort"] is None, "InvalidRequestException")  # 6.7
    need(not request["truncate_for_context_length"] or limit is not None, "TokenizerException")  # 6.8
    for one in messages:  # 6.9
        for call in one.get("tool_calls") or []:
            value_of(call["function"]["arguments"])


def check_order(messages: list[dict]) -> None:
    """6.1"""
    fault = "InvalidMessageStructureException"
    need(messages, fault)
    last = messages[-1]
    if len(messages) == 1:
        need(last["role"] in ("system", "user"), fault)
    else:
        need(last["role"] != "assistant" or last["prefix"], fault)
    for before, after in zip(messages, messages[1:]):
        need(after["role"] in FOLLOWERS[before["role"]], fault)
    count = 0
    for one in messages[1:]:
        if one["role"] == "tool":
            count -= 1
        elif one["role"] == "assistant":
            need(count == 0, fault)
            if one["tool_calls"] is not None:
                count = len(one["tool_calls"])


def value_of(arguments: str):
    """10.10, with the faults of 6.9."""
    try:
        return json.loads(arguments or "{}")
    except json.JSONDecodeError:
        return arguments
    except (ValueError, RecursionError) as error:
        raise Refused(type(error).__name__) from error


# ---- 7, 8. schemas and patterns ----
# A test says whether a value is right. Those of values with schemas inside take `every` too: `all`, which
# ends at a fault, or `all_of`, which looks at the rest as well (7.6).


def all_of(found) -> bool:
    return all(list(found))


def is_text(value) -> bool:
    return isinstance(value, str)


def is_boolean(value) -> bool:
    return isinstance(value, bool)


def is_list(value) -> bool:
    return isinstance(value, list)


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value) -> bool:
    return is_number(value) and (isinstance(value, int) or value.is_integer()) and value >= 0


def is_pattern(value) -> bool:
    try:
        re.compile(value)
    except (re.error, ValueError):
        return False
    except (OverflowError, RecursionError) as error:  # 8.4, 8.17
        raise Refused(type(error).__name__) from error
    return True


def is_type(value) -> bool:
    return value in ("array", "boolean", "integer", "null", "number", "object", "string")


def is_texts(value, least=0) -> bool:
    right = is_list(value) and len(value) >= least and all(map(is_text, value))
    return right and len(set(value)) == len(value)


def is_types(value) -> bool:
    return is_texts(value, 1) and all(map(is_type, value))


def is_schemas(value, every) -> bool:
    return is_list(value) and len(value) > 0 and every(is_schema(one, every) for one in value)


def are_named(value, every, test) -> bool:
    return isinstance(value, dict) and every(test(one, every) for one in value.values())


def is_whole_schema(value) -> bool:
    try:
        return is_schema(value, all)
    except RecursionError as error:  # 7.5
        raise Refused("RecursionError") from error


def is_schema(value, every) -> bool:
    """7.1, in the order of 7.6."""
    if isinstance(value, bool):
        return True
    return isinstance(value, dict) and every(
        SCHEMAS[key](value[key], every) if key in SCHEMAS else VALUES[key](value[key])
        for key in KEYWORDS
        if key in value
    )


def is_schema_or(test):
    return lambda value, every: any([is_schema(value, all_of), test(value)])


def are_patterned(value, every) -> bool:
    tests = (lambda: are_named(value, every, is_schema), lambda: every(map(is_pattern, value)))
    return isinstance(value, dict) and every(test() for test in tests)


KEYWORDS = (
    "$id $schema $ref $comment title description readOnly examples multipleOf maximum exclusiveMaximum minimum "
    "exclusiveMinimum maxLength minLength pattern additionalItems items maxItems minItems uniqueItems contains "
    "maxProperties minProperties required additionalProperties definitions properties patternProperties "
    "dependencies propertyNames enum type format contentMediaType contentEncoding if then else allOf anyOf "
    "oneOf not"
).split()
VALUES = {
    **dict.fromkeys("$id $schema $ref $comment title description".split(), is_text),
    **dict.fromkeys("format contentMediaType contentEncoding".split(), is_text),
    **dict.fromkeys(("readOnly", "uniqueItems"), is_boolean),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"), is_number),
    "multipleOf": lambda value: is_number(value) and not value <= 0,
    **dict.fromkeys("maxLength minLength maxItems minItems maxProperties minProperties".split(), is_count),
    "pattern": lambda value: is_text(value) and is_pattern(value),
    "required": is_texts,
    **dict.fromkeys(("enum", "examples"), is_list),
    "type": lambda value: is_type(value) or is_types(value),
}
SCHEMAS = {
    **dict.fromkeys("additionalItems contains additionalProperties propertyNames".split(), is_schema),
    **dict.fromkeys("if then else not".split(), is_schema),
    "items": is_schema_or(lambda value: is_schemas(value, all_of)),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), is_schemas),
    **dict.fromkeys(("definitions", "properties"), lambda value, every: are_named(value, every, is_schema)),
    "patternProperties": are_patterned,
    "dependencies": lambda value, every: are_named(value, every, is_schema_or(is_texts)),
}


# ---- 9. images ----


def image_data(url, reading: bool) -> bytes:
    """The bytes behind a `data:` URL (9.2, 9.3), or what an `image` chunk holds (9.6)."""
    need(isinstance(url, str), "AttributeError")
    payload = url
    if url.startswith("data:"):
        header, _, payload = url.partition(",")
        need(header.endswith(";base64") and payload, "ValidationError" if reading else "ValueError")
    try:
        return base64.b64decode(payload)
    except ValueError as error:
        raise Refused("RuntimeError" if reading else "ValueError") from error


# A marker of a JPEG that begins a segment, and the segment's length. What is no such marker lies between
# segments: bytes that fill up, restart markers.
SEGMENT = re.compile(rb"\xff([^\x00\xd0-\xd9\xff])(..)", re.DOTALL)
FRAME = re.compile(rb"[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]")


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height, from the header of a PNG or the frame of a JPEG; None if it has none, or if a PNG
    has no samples behind it.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and b"IDAT" in data:
        return struct.unpack(">II", data[16:24])
    found = SEGMENT.search(data, 2) if data.startswith(b"\xff\xd8\xff") else None
    while found:
        length = int.from_bytes(found[2], "big")
        if FRAME.match(found[1]):
            frame = data[found.end(1) :][:length]
            if len(frame) != length:  # cut off
                return None
            return int.from_bytes(frame[5:7], "big"), int.from_bytes(frame[3:5], "big")
        found = SEGMENT.search(data, found.end(1) + length)
    return None


def image_size(part: dict) -> tuple[int, int]:
    """Of an image chunk: 9.1, 9.4, 9.5."""
    if part["type"] == "image":
        return size(part["image"])
    url = part["image_url"]["url"] if isinstance(part["image_url"], dict) else part["image_url"]
    if url.startswith("data:"):
        data, fault = image_data(url, reading=False), "ValueError"
    else:
        need(url.startswith("file://"), "ConnectionError" if url.startswith("http") else "ValueError")
        try:
            with open(url.removeprefix("file://"), "rb") as file:
                data, fault = file.read(), "UnidentifiedImageError"
        except (OSError, ValueError) as error:
            raise Refused(type(error).__name__) from error
    found = size(data)
    need(found, fault)
    return found
