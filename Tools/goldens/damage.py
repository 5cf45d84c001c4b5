"""Requests with everything that a request may hold, and a fault or two in them; patterns of tools,
most of which Python compiles. The same for the same seed; what the checks are fed with.

    python damage.py requests SEED COUNT    (JSON lines {"id", "request"})
    python damage.py patterns SEED COUNT    (the same: each has a tool with a pattern)
    python damage.py schemas SEED COUNT     (the same: each has a JSON schema)
"""

import copy
import json
import random
import re
import sys

import corpus

URL = corpus.picture(16, 16)
IMAGE = URL.split(",")[1]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^a+$"}}, "required": ["a"]}

CHUNKS = [
    {"type": "text", "text": "a"},
    {"type": "image_url", "image_url": URL},
    {"type": "image_url", "image_url": {"url": URL, "detail": "high"}},
    {"type": "image", "image": IMAGE},
    {"type": "image", "image": URL},
    {"type": "input_audio", "input_audio": "UklGRg=="},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "audio_url", "audio_url": "https://example.org/a.wav"},
    {"type": "audio_url", "audio_url": {"url": "https://example.org/a.wav"}},
    {"type": "thinking", "thinking": "a", "closed": True},
]
TOOL_CHOICES = ["auto", "none", "any", "required", {"type": "function", "function": {"name": "f"}}]
RESPONSE_FORMATS = [
    {"type": "text"},
    {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "description": "d", "strict": True}},
    {"type": "json_schema", "json_schema": {"name": "n", "custom_schema": SCHEMA}},
    {"type": "text", "json_schema": {"name": "n", "schema": SCHEMA, "strict": False}},
]  # fmt: skip
KEYWORDS = """
    $id $schema $ref $comment title description format contentMediaType contentEncoding readOnly writeOnly uniqueItems maximum exclusiveMaximum
    minimum exclusiveMinimum multipleOf maxLength minLength maxItems minItems maxProperties minProperties pattern additionalItems contains
    additionalProperties propertyNames if then else not items allOf anyOf oneOf required definitions properties patternProperties dependencies
    enum examples type const default $defs unevaluatedItems
""".split()

# What stands in the place of something else.
VALUES = [
    None, True, False, 0, 1, -1, 2, 0.0, 1.0, 1.5, -0.5, 1e300, 2**53, 2**63, 2**64, float("nan"), float("inf"), [], {}, [None], [{}], [""], ["a"], ["a", "a"],
    {"": None}, {"type": None}, {"type": "text"}, {"type": "function"}, {"url": None}, {"url": URL}, {"data": None}, {"data": ""}, {"data": " "}, {"data": "AA=="},
    {"data": {}}, {"name": "n"}, {"a": {}}, {"a": []}, {"a": 5}, {"[": {}}, "", " ", "\t\n", "\u00a0", "\u001c", "\u200b", "\ufeff", "\u0000", "a", "1", "0", " 1 ", "1.0", "1_0",
    "yes", "off", "True", "null", "none", "text", "function", "json_schema", "user", "assistant", "string", "x" * 70, "é", "\ud800", "a\n", "abcdEF123", "data:", "data:,",
    "data:;base64,", "data:;base64,a", "data:;base64,AAAA", "data:image/png;base64,é", "file://", "file:///nonexistent", "file:///", "ftp://a", "[", "a{4294967295}",
    IMAGE, URL, URL[:-9], URL + "=", URL[:60], "file://\ud800", "file:///tmp", "file:///etc/passwd/x", "file:///a\u0000.png", "file:///" + "a" * 300, "image.png\u0000",
    "data:image/png;base64,\ud800", "A" * 400,
    *("1e2", "1e-1", ".5", "1.", "0.", "-0", "+1", "1__0", "_1", "1_", "0x1", "1.0_0", "1_0.0", "1.00", "1.01", " 1_0 ", "1 0", "٣", "nan", "inf", "-inf", "infinity", "nan(1)", "1e400", "TRUE",
      "tRuE", "oN", "t", "n", "2", "0" * 5000, "0" * 5000 + "1", "1" * 4300, "1" * 4301, "1_" * 4299 + "1", "1_" * 4300 + "1", "0." + "0" * 5000, "1." + "0" * 4400, "-1", "-0.0", "\u00851\u0085",
      "\u001c1", "\u20001", "\n1\n", "１"),
    -(2**63), 2**63 - 1, -(2**63) + 0.0, 9.3e18, 1e19, 0.9999999999999999, 1.0000000000000002, -1e-300, 10**400,
]  # fmt: skip
KEYS = (
    """
    type text image image_url url detail input_audio data format audio_url thinking closed role content name tool_calls id function arguments prefix tool_call_id
    parameters description strict schema custom_schema json_schema tools tool_choice response_format x
""".split()
    + ["", "\ud800", "Type", "type "]
)


def request(r: random.Random) -> dict:
    """A valid request, or one that only the rules for messages refuse."""
    call = {
        "id": "abcdEF123",
        "type": "function",
        "function": {"name": "f", "arguments": r.choice(['{"a": 1}', {"a": 1}])},
    }
    answer = {
        "role": "assistant",
        "content": r.choice(["b", [{"type": "text", "text": "b"}], None, [CHUNKS[9]]]),
        "prefix": False,
    }
    result = {
        "role": "tool",
        "tool_call_id": "abcdEF123",
        "name": "f",
        "content": r.choice(["c", [{"type": "text", "text": "c"}], [r.choice(CHUNKS)]]),
    }
    whole: dict = {"messages": [
        {"role": "user", "content": [copy.deepcopy(chunk) for chunk in r.sample(CHUNKS[:9], r.randint(0, 3))]},
        {**answer, **r.choice([{}, {"tool_calls": [call]}, {"tool_calls": []}])},
        *r.choice([[], [result]]),
        {"role": "user", "content": "d"},
    ]}  # fmt: skip
    if r.random() < 0.3:
        whole["messages"].insert(0, {"role": "system", "content": r.choice(["s", [r.choice(CHUNKS)]])})
    optional = {
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema(r), "strict": True}}],
        "tool_choice": r.choice(TOOL_CHOICES),
        "response_format": r.choice(RESPONSE_FORMATS),
        "temperature": 0.5, "top_p": 1, "max_tokens": 5, "random_seed": 0, "model": "m", "parallel_tool_calls": True,
        "continue_final_message": False, "truncate_for_context_length": False,
    }  # fmt: skip
    for key in r.sample(list(optional), r.randint(0, 6)):
        whole[key] = optional[key]
    return copy.deepcopy(whole)


def schema(r: random.Random, depth: int = 0):
    """Keywords of JSON Schema with fitting values, mostly."""
    if depth > 2 or r.random() < 0.3:
        return r.choice([SCHEMA, {}, {"type": ["string", "null"]}])
    found = {}
    for key in r.sample(KEYWORDS, r.randint(0, 4)):
        inner = [schema(r, depth + 1) for _ in range(2)]
        found[key] = r.choice([
            "a", True, 1, 2.0, 0.5, inner[0], inner, {"a": inner[0]}, {"a": ["b"]}, ["a", "b"], ["object", "null"], "object", [1], r.choice(VALUES)
        ])  # fmt: skip
    return found


def is_ambiguous(value) -> bool:
    """Whether a schema has several schemas by name and a pattern in them that raises: jsonschema looks
    at them in the order of Python's hashes, which differs from run to run.
    """
    if isinstance(value, list):
        return any(is_ambiguous(element) for element in value)
    if not isinstance(value, dict):
        return False
    named = [value.get(key) for key in ("definitions", "properties", "patternProperties", "dependencies")]
    for found in named:
        if isinstance(found, dict) and len(found) > 1 and re.search(r"4294967295|\\U[F8]", json.dumps(found)):
            return True
    return any(is_ambiguous(element) for element in value.values())


def unambiguous(make):
    """Draws again until the answer is certain."""

    def made(r: random.Random) -> dict:
        while is_ambiguous(found := make(r)):
            pass
        return found

    return made


@unambiguous
def request_with_schema(r: random.Random) -> dict:
    """Of a tool, or of response_format: keywords, some of them damaged."""
    whole = {"schema": schema(r)}
    for _ in range(r.choice([0, 1, 1, 2])):
        container, key = r.choice(places(whole, []))
        raises = [
            "a{4294967295}",
            {"pattern": r"\UFFFFFFFF"},
            {"patternProperties": {"a{4294967295}": {}}},
            "[",
        ]
        container[key] = copy.deepcopy(r.choice([*VALUES, *raises * 20]))
    request = {"messages": [{"role": "user", "content": "a"}]}
    if r.random() < 0.5:
        return {**request, "tools": [{"function": {"name": "f", "parameters": whole["schema"]}}]}
    named = {"name": "n", "schema": whole["schema"]}
    return {**request, "response_format": {"type": "json_schema", "json_schema": named}}


def places(value, found: list) -> list:
    """Each (container, key) of a tree."""
    if isinstance(value, dict):
        for key in value:
            found.append((value, key))
            places(value[key], found)
    elif isinstance(value, list):
        for key in range(len(value)):
            found.append((value, key))
            places(value[key], found)
    return found


@unambiguous
def damaged(r: random.Random) -> dict:
    return harm(request(r), r)


def harm(whole: dict, r: random.Random, values: list = VALUES, keys: list = KEYS) -> dict:
    """A request with a fault or two put into it. - values, keys: what stands in the place of others."""
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        found = places(whole, [])
        if not found:
            break
        # The messages are by far the largest part: every key at the top has its share.
        top = r.choice(list(whole)) if r.random() < 0.5 else None
        within = places(whole[top], [(whole, top)]) if top is not None else found
        container, key = r.choice(within)
        match r.randrange(6):
            case 0 | 1 | 2:
                container[key] = copy.deepcopy(r.choice(values))
            case 3:
                del container[key]
            case 4 if isinstance(container[key], dict):
                container[key][r.choice(keys)] = copy.deepcopy(r.choice(values))
            case 4 if isinstance(container, dict):
                container[r.choice(keys)] = copy.deepcopy(r.choice(values))
            case 4:
                container.insert(key, copy.deepcopy(r.choice(values)))
            case _:
                other, place = r.choice(found)
                container[key] = copy.deepcopy(other[place])
        if r.random() < 0.1:
            whole["continue_final_message"] = copy.deepcopy(r.choice(values))
    return whole


# ---- patterns ----

ATOMS = [
    "a", "b", ".", "é", " ", "\n", "#", "x", "-", "]", "}", "{", ",", "1", "2", "😀", "\u00a0", "\u2028", "_", "\t", "`",
    r"\A", r"\Z", r"\b", r"\B", r"\d", r"\D", r"\s", r"\S", r"\w", r"\W", r"\a", r"\f", r"\n", r"\r", r"\t", r"\v", r"\0", r"\07", r"\1", r"\2", r"\3", r"\11",
    r"\10", r"\77", r"\100", r"\377", r"\400", r"\99", r"\8", r"\x41", r"\x4", r"\u00e9", r"\u12", r"\U0001F600", r"\U00110000", r"\UFFFFFFFF", r"\U80000000", r"\U7FFFFFFF",
    r"\U0010FFFF", r"\ud800", r"\N{EM DASH}", r"\N{em dash}", r"\N{LINE FEED}", r"\N{NO SUCH}", r"\N{", r"\N{}", r"\N", r"\N{HANGUL SYLLABLE GA}", r"\N{CJK UNIFIED IDEOGRAPH-4E00}",
    r"\N{VARIATION SELECTOR-17}", r"\N{TAG TILDE}", r"\N{KEYCAP DIGIT ONE}", r"\.", r"\]", r"\-", r"\ ", "\\\n", r"\#", r"\)", r"\(", r"\`", r"\é", r"\q", r"\z", r"\G", r"\p", "\\",
]  # fmt: skip
QUANTIFIERS = "* + ? *? +? ?? *+ ++ ?+ {2} {2,} {,2} {1,3} {3,1} {} {,} {a} {2 {2,3}? {2,3}+ {0} {0,} {4294967294} {4294967295} {,4294967295} {4294967296,} {99999999999999999999} ** +* {2}{2}".split()
OPENINGS = (
    "( (?: (?> (?= (?! (?<= (?<= (?<! (?P<n> (?P<m> (?P<n1> (?P<1> (?P<é> (?P<> (?P< (?P (?P=n) (?P=m) (?P=1) (?P=q) (?# (?#\\) (?(1) (?(2) (?(n) (?(m) (?(0) (?(-1) "
    "(?(é) (?(1_0) (?(٣) (?(q) (?() (?(3) (?i) (?x) (?a) (?u) (?t) (?L) (?s) (?m) (?au) (?ix) (?xa) (?i: (?x: (?a: (?u: (?t: (?L: (?-i: (?-x: (?i-x: (?x-i: (?a-i: (?i-a: (?i-i: "
    "(?- (?-: (?i-: (?i (?i- (?z) (?z: (?au: (?s-mx: (?<n> (? (?) (?* (?+ (?1 (?P>n) (?P=n"
).split() + ["(?(+1)", "(?( 1 )", "(?(01)", "(?P<a b>", "(?P< n>", "(?P=n )", "(?( n)", "(?P<n\u0301>", "(?P<ª>", "(?P<\u2118>"]  # fmt: skip


def character_set(r: random.Random) -> str:
    members = []
    for _ in range(r.randint(0, 4)):
        member = r.choice([*ATOMS, "[", "^", "(", "&&", "||", "--", "~~", "[:alpha:]", r"\08", r"\b"])
        if r.random() < 0.3:
            member += "-" + r.choice(["z", "a", "]", *ATOMS])
        members.append(member)
    return (
        "["
        + r.choice(["", "", "^", "]", "^]", "-"])
        + "".join(members)
        + r.choice(["]", "]", "]", "]", "-]", ""])
    )


def pattern(r: random.Random, depth: int = 0) -> str:
    found = r.choice(["(?x)", "(?i)", "(?x) ", "(?a)"]) if depth == 0 and r.random() < 0.2 else ""
    for _ in range(r.randint(0, 4) if depth else r.randint(1, 5)):
        kind = r.random()
        if kind < 0.35 or depth > 4:
            item = r.choice(ATOMS[:20]) if r.random() < 0.6 else r.choice(ATOMS)
        elif kind < 0.45:
            item = character_set(r)
        elif kind < 0.5:
            item = r.choice(["^", "$", "|", "|", "(?#c)", "# c\n", "#\\\n", "# )\n", ")"])
        else:
            opening = r.choice(OPENINGS[:11]) if r.random() < 0.6 else r.choice(OPENINGS)
            item = opening + pattern(r, depth + 1) + r.choice([")", ")", ")", ")", ")", ")", ")", "|)", ""])
        found += item
        if r.random() < 0.3:
            found += r.choice(QUANTIFIERS[:11]) if r.random() < 0.8 else r.choice(QUANTIFIERS)
        if r.random() < 0.05:
            found += "|"
    return found


def request_with_pattern(r: random.Random) -> dict:
    found = pattern(r)
    parameters = {"pattern": found} if r.random() < 0.8 else {"patternProperties": {found: {}}}
    tool = {"function": {"name": "f", "parameters": parameters}}
    return {"messages": [{"role": "user", "content": "a"}], "tools": [tool]}


if __name__ == "__main__":
    makers = {"requests": damaged, "patterns": request_with_pattern, "schemas": request_with_schema}
    if len(sys.argv) != 4 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    generator = random.Random(int(sys.argv[2]))
    for id in range(int(sys.argv[3])):
        print(json.dumps({"id": id, "request": makers[sys.argv[1]](generator)}))
