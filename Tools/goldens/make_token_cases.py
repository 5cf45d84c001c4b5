"""Makes Fixtures/cases/tokens: what each release of mistral-common makes of requests, and
sentencepiece of texts.

    python releases.py --fetch && python make_token_cases.py      (deterministic; six minutes on two cores, most of it for the 36 releases)

Every expectation is asked of the oracle here, none is written by hand. What a case expects is the
newest release's answer; `releases` says for which releases that holds, and what the others answer.
The suites: rules, each case one rule and chosen by hand; corpus, random ones from corpus.py.
"""

import base64
import importlib.metadata
import io
import random
import struct
import zlib

import PIL.Image
from sentencepiece import SentencePieceProcessor

import corpus
import releases
import suites

SEED = 20260923

# ---- words for writing requests down ----


def user(*content):
    return {
        "role": "user",
        "content": content[0] if len(content) == 1 and isinstance(content[0], str) else list(content),
    }


def system(*content):
    return {
        "role": "system",
        "content": content[0] if len(content) == 1 and isinstance(content[0], str) else list(content),
    }


def assistant(content=None, calls=None, **more):
    return {
        "role": "assistant",
        "content": content,
        **({} if calls is None else {"tool_calls": calls}),
        **more,
    }


def call(arguments='{"city": "Paris"}', name="weather", id="abcDEF123", **more):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def result(content="21", id="abcDEF123", **more):
    return {"role": "tool", "tool_call_id": id, "content": content, **more}


def text(content):
    return {"type": "text", "text": content}


def picture(width, height):
    return {"type": "image_url", "image_url": {"url": corpus.picture(width, height)}}


def tool(parameters=None, name="weather", **more):
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": "Say it.",
            "parameters": {} if parameters is None else parameters,
            **more,
        },
    }


def behind(data):
    """An image chunk of a file's bytes."""
    kind = "png" if data[1:4] == b"PNG" else "jpeg"
    return at(f"data:image/{kind};base64," + base64.b64encode(data).decode())


def at(url):
    return {"type": "image_url", "image_url": {"url": url}}


def png():
    return base64.b64decode(corpus.picture(40, 20).split(",")[1])


def small_window():
    """A PNG of 16 by 16 black pixels whose samples are compressed with a window of 512 bytes."""
    packer = zlib.compressobj(wbits=9)
    samples = packer.compress(bytes(16 * (1 + 16 * 3))) + packer.flush()
    parts = (b"IHDR" + struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0), b"IDAT" + samples, b"IEND")
    chunks = (struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg(size=(40, 20), **options):
    """Black pixels: JFIF's segment, the tables of the samples, a frame, tables of codes, a scan."""
    file = io.BytesIO()
    PIL.Image.new("RGB", size).save(file, "JPEG", **options)
    return file.getvalue()


def segments(data):
    """The segments of a JPEG in front of its scan, by their marker, and the scan."""
    found, place = [], 2
    while data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        found.append((data[place + 1], data[place:end]))
        place = end
    return found, data[place:]


def jpeg_with(*more, drop=(), codes_first=False):
    """A JPEG with segments in front of its others, or without some, or with its codes before its frame."""
    found, scan = segments(jpeg())
    found = sorted(found, key=lambda one: one[0] == 0xC0) if codes_first else found
    kept = [segment for marker, segment in found if marker not in drop]
    return b"\xff\xd8" + b"".join(more) + b"".join(kept) + scan


def like_a_frame(marker):
    """A segment that holds what a frame of 16 by 16 pixels does."""
    return bytes([0xFF, marker]) + bytes.fromhex("001108 0010 0010 03 012200 021101 031101")


A, B = picture(16, 16), picture(40, 20)
HI, BYE = user("Hi"), user("Bye")


def after(call_or_calls):
    """A question, calls, their answer is not there yet, another question."""
    return {
        "messages": [
            HI,
            assistant(calls=call_or_calls if isinstance(call_or_calls, list) else [call_or_calls]),
            BYE,
        ]
    }


def with_arguments(arguments):
    return after(call(arguments))


def with_tool(tool_or_tools):
    return {"messages": [HI], "tools": tool_or_tools if isinstance(tool_or_tools, list) else [tool_or_tools]}


def with_format(**format):
    return {"messages": [HI], "response_format": format}


def nested(depth):
    """A schema with schemas inside of one another."""
    return {"not": nested(depth - 1)} if depth else {}


def say(*messages, **more):
    return {"messages": list(messages), **more}


OVERFLOWS = {"pattern": "\\UFFFFFFFF"}
# The version of the fixtures that first had a rule, where that is not 0.2.
SINCE = dict.fromkeys(
    """
    reject-tool-order reject-tool-order-overflow reject-tool-items-behind reject-tool-items-list-behind
    reject-tool-items-inside reject-tool-dependencies-behind reject-tool-properties-behind
    reject-tool-all-of-behind reject-tool-items-pattern-properties reject-tool-pattern-properties-first
    """.split(),
    "0.3",
)

# ---- rules: name, what it shows, request, exposes ----

RULES = [
    # brackets and spaces
    ("one-turn", "A user message stands between [INST] and [/INST].", say(HI), ["T-spacing"]),
    ("turns", "An assistant message ends with </s> and is set off by no token before.", say(HI, assistant("Yes?"), BYE), ["T-spacing", "T-double-bos"]),
    ("three-turns", "BOS stands once, however many turns there are.", say(HI, assistant("a"), HI, assistant("b"), BYE), ["T-double-bos"]),
    ("empty-user", "An empty user message is two brackets.", say(user("")), []),
    ("blank-user", "A user message of one space keeps it.", say(user(" ")), ["T-spacing"]),
    ("no-chunks", "A user message without chunks is two brackets.", say({"role": "user", "content": []}), []),
    ("leading-space", "A leading space is a piece beside the ▁ in front.", say(user(" Hi")), ["T-spacing"]),
    ("trailing-space", "A user's trailing spaces stay.", say(user("Hi  ")), ["T-spacing"]),
    ("trailing-newline", "A user's trailing line feed stays.", say(user("Hi\n")), []),
    ("crlf", "Carriage returns in a message are kept.", say(user("a\r\nb")), ["T-graphemes"]),
    ("nul", "A NUL is a byte piece.", say(user("a\u0000b")), []),
    ("lower-block", "U+2581 in a message is the same as a space.", say(user("▁Hi")), []),
    ("control-strings", "Control strings in a message are ordinary text.", say(user("[IMG] </s> [/INST]")), ["T-control-in-text"]),
    ("control-strings-system", "Control strings in a system message are ordinary text.", say(system("[INST]"), HI), ["T-control-in-text"]),
    ("control-strings-assistant", "Control strings of the assistant are ordinary text.", say(HI, assistant("</s>[TOOL_CALLS]"), BYE), ["T-control-in-text"]),
    ("reference", "[REF] in a message is a piece of its own, being user-defined.", say(user("x[REF]y[/REF]")), []),
    ("thai", "Merging goes by Unicode scalars.", say(user("สวัสดี")), ["T-graphemes"]),
    ("keycap", "An emoji sequence is several scalars.", say(user("1️⃣👨‍👩‍👧")), ["T-graphemes"]),
    # system
    ("system", "A system message has brackets of its own, in front.", say(system("Be brief."), HI), []),
    ("system-later", "A system message stays where it is.", say(HI, system("Be brief."), BYE), []),
    ("system-last", "A system message may be last.", say(HI, system("Be brief.")), []),
    ("only-system", "A system message may be the whole request.", say(system("Be brief.")), []),
    ("two-systems", "System messages that follow one another stay apart.", say(system("One."), system("Two."), HI), []),
    ("system-splits-users", "A system message keeps two user messages apart.", say(HI, system("One."), BYE), []),
    ("system-empty", "An empty system message is two brackets.", say(system(""), HI), []),
    ("system-spaces", "A system message keeps its spaces.", say(system(" One.  "), HI), ["T-spacing"]),
    ("system-chunks", "Text chunks of a system message are one text, an empty line between them.", say(system(text("One."), text("Two.")), HI), []),
    ("system-empty-chunks", "Empty chunks of a system message vanish.", say(system(text("One."), text(""), text("Two.")), HI), []),
    ("system-no-chunks", "A system message without chunks is two brackets.", say(system(), HI), []),
    ("system-before-prefix", "A system message may stand before the assistant.", say(HI, system("One."), assistant("Yes"), BYE), []),
    # merging
    ("merged-users", "User messages that follow one another are one, an empty line between them.", say(user("a"), user("b")), []),
    ("merged-three-users", "Three user messages are one.", say(user("a"), user("b"), user("c")), []),
    ("merged-empty-user", "An empty user message vanishes beside another.", say(user("a"), user(""), user("b")), []),
    ("merged-blank-user", "A user message of a space does not vanish.", say(user("a"), user(" "), user("b")), []),
    ("merged-assistants", "Assistant messages that follow one another are one.", say(HI, assistant("a"), assistant("b"), BYE), []),
    ("merged-assistant-spaces", "Only the spaces at the very end of merged assistant messages go.", say(HI, assistant("a "), assistant("b "), BYE), []),
    ("merged-empty-assistant", "An empty assistant message vanishes beside another.", say(HI, assistant(""), assistant("b"), BYE), []),
    ("text-chunks", "Text chunks that follow one another are one text.", say(user(text("a"), text("b"))), []),
    ("empty-chunks", "Empty text chunks of a user message vanish.", say(user(text("a"), text(""), text("b"))), []),
    ("chunks-across", "Text chunks are joined across user messages.", say(user(text("a")), user("b"), user(text("c"), text("d"))), []),
    ("merged-calls", "Texts of merged assistant messages stand before the calls.", say(HI, assistant("a"), assistant("b", [call()]), result(), BYE), []),
    ("reject-merged-calls", "Calls are answered before the assistant goes on, even where the two messages would be one.", say(HI, assistant("a", [call()]), assistant("b", [call(id="ABCdef456")]), result(), BYE), []),
    # assistant
    ("assistant-first", "An assistant message may come first.", say(assistant("Yes?"), HI), []),
    ("assistant-spaces", "The assistant's trailing spaces go, other white space stays.", say(HI, assistant(" b \n  "), BYE), []),
    ("assistant-newline", "A trailing line feed of the assistant stays.", say(HI, assistant("b\n"), BYE), []),
    ("assistant-tab", "A trailing tab of the assistant stays, and the spaces before it.", say(HI, assistant("b \t"), BYE), []),
    ("assistant-no-break-space", "A no-break space is no space to be dropped.", say(HI, assistant("b\u00a0"), BYE), []),
    ("assistant-blank", "An assistant message of spaces is just </s>.", say(HI, assistant("   "), BYE), []),
    ("assistant-chunks", "Text chunks of the assistant are one text.", say(HI, assistant([text("a"), text("b ")]), BYE), []),
    ("assistant-combining", "Spaces before a combining mark are no trailing spaces.", say(HI, assistant("b \u0301"), BYE), ["T-graphemes"]),
    # images
    ("image-alone", "An image is rows of [IMG], each with an [IMG_BREAK], the last with [IMG_END].", say(user(B)), ["L-ids", "L-flat", "L-extra-break"]),
    ("image-one-patch", "An image of a pixel is one [IMG] and an [IMG_END].", say(user(picture(1, 1))), ["L-ids", "L-extra-break"]),
    ("image-first", "An image before a text stays there.", say(user(A, text("a"))), []),
    ("image-last", "One image behind one text is put before it.", say(user(text("a"), A)), []),
    ("image-middle", "An image between texts stays there.", say(user(text("a"), A, text("b"))), []),
    ("two-texts-image", "Two texts are one before the image is put first.", say(user(text("a"), text("b"), A)), []),
    ("empty-text-image", "An empty text before an image vanishes.", say(user(text(""), A)), []),
    ("image-empty-text", "An empty text behind an image vanishes.", say(user(A, text(""))), []),
    ("two-images", "Two images keep their order.", say(user(A, B)), ["L-last-image"]),
    ("two-images-messages", "Images of two user messages keep their order.", say(user(A), user(B)), ["L-last-image"]),
    ("text-two-images", "A text before two images stays there.", say(user(text("a"), A, B)), []),
    ("image-text-image", "A text between images stays there.", say(user(A, text("a"), B)), ["T-double-bos"]),
    ("image-merged", "An image of the next user message is put before the text of the one before.", say(user("a"), user(A)), []),
    ("image-second-turn", "Images of every turn are read, each where it is.", say(user(A, text("a")), assistant("b"), user(text("c"), B)), ["L-last-image"]),
    ("image-string", "image_url may be the URL itself.", say(user({"type": "image_url", "image_url": corpus.picture(16, 16)})), []),
    ("image-detail", "detail of an image changes no token.", say(user({"type": "image_url", "image_url": {"url": corpus.picture(16, 16), "detail": "high"}})), []),
    ("image-chunk", "An image chunk holds base64 alone.", say(user({"type": "image", "image": corpus.picture(16, 16).split(",")[1]})), []),
    ("image-wide", "An image of 4000 by 1 pixels is one row of 64.", say(user(picture(4000, 1))), []),
    ("image-tall", "An image of 1 by 4000 pixels is 64 rows of one.", say(user(picture(1, 4000))), []),
    ("image-rounding", "Half a pixel is rounded to even before patches are counted.", say(user(picture(2048, 33))), ["G-half-away"]),
    # tools
    ("tools", "Tools stand before the last user message.", say(HI, tools=[tool()]), ["T-tools-place"]),
    ("tools-two-turns", "Tools stand before the last user message, not the first.", say(HI, assistant("a"), BYE, tools=[tool()]), ["T-tools-place"]),
    ("tools-system", "Tools stand behind the system message.", say(system("One."), HI, tools=[tool()]), ["T-tools-place"]),
    ("tools-after-result", "Tools stay before the last user message when a tool has answered since.", say(HI, assistant(calls=[call()]), result(), tools=[tool()]), ["T-tools-place"]),
    ("tools-no-user", "Without a user message no tools are written.", say(system("One."), tools=[tool()]), []),
    ("tools-empty", "An empty list of tools is none.", say(HI, tools=[]), []),
    ("tools-null", "tools may be null.", say(HI, tools=None), []),
    ("tools-two", "Tools are one JSON array.", with_tool([tool(), tool(name="time")]), []),
    ("tools-image", "Tools stand before the [INST] of a message with an image.", say(user(text("a"), A), tools=[tool()]), []),
    ("tool-strict", "strict of a tool is not written.", with_tool(tool(strict=True)), []),
    ("tool-no-type", "A tool's type is written where the request has none.", with_tool({"function": {"name": "f", "parameters": {}}}), []),
    ("tool-no-description", "A tool's description is written where the request has none.", with_tool({"type": "function", "function": {"name": "f", "parameters": {}}}), []),
    ("tool-order", "A tool's name, description and parameters are written in this order.", with_tool({"function": {"parameters": {}, "description": "d", "name": "f"}, "type": "function"}), []),
    ("tool-parameters-order", "Keys of parameters keep their order.", with_tool(tool({"type": "object", "required": ["b"], "properties": {"b": {}, "a": {}}})), []),
    ("tool-unknown-keyword", "Keywords that JSON schema does not know are written.", with_tool(tool({"type": "object", "x-order": [1, 2]})), []),
    ("tool-number", "Numbers of a schema are written as Python writes them.", with_tool(tool({"minimum": 1e16, "maximum": 1.50, "multipleOf": 1e-7})), []),
    ("tool-unicode", "Characters beyond ASCII are not escaped.", with_tool(tool({"description": "Größe 😀 \u2028 \u007f"})), []),
    ("tool-escapes", "Control characters, quotes and backslashes are escaped.", with_tool(tool({"description": "a\"b\\c\n\t\u0001/"})), []),
    ("tool-description-spaces", "A description keeps its white space.", with_tool({"function": {"name": "f", "description": "  a\n", "parameters": {}}}), []),
    ("tool-control-strings", "Control strings in a tool are ordinary text.", with_tool(tool({"description": "[/AVAILABLE_TOOLS][INST]"})), ["T-control-in-text"]),
    ("tool-boolean-schema", "A schema may be true or false inside.", with_tool(tool({"properties": {"a": True}, "additionalProperties": False})), []),
    ("tool-nan", "NaN and Infinity in a tool are written as NaN and Infinity.", with_tool(tool({"default": [float("nan"), float("inf"), -0.0]})), []),
    ("tool-name-longest", "A tool's name may have 64 characters.", with_tool(tool(name="a" * 64)), []),
    # calls
    ("call", "A call is [TOOL_CALLS] and a JSON array of name, arguments and id.", after(call()), []),
    ("call-content", "Content stands before the calls.", say(HI, assistant("Let me see. ", [call()]), result(), BYE), []),
    ("call-blank-content", "Content of spaces before calls is nothing.", say(HI, assistant("  ", [call()]), result(), BYE), []),
    ("call-no-content", "content may be absent beside calls.", say(HI, {"role": "assistant", "tool_calls": [call()]}, result(), BYE), []),
    ("calls", "Calls of one message are one array.", after([call(), call(id="ABCdef456", name="time")]), []),
    ("call-no-type", "A call may have no type.", after({"id": "abcDEF123", "function": {"name": "f", "arguments": "{}"}}), []),
    ("call-type-elsewhere", "type of a call is not written.", after({"function": {"arguments": "{}", "name": "f"}, "type": "function", "id": "abcDEF123"}), []),
    ("calls-empty", "An empty list of calls is none.", say(HI, assistant("a", []), BYE), []),
    ("calls-null", "tool_calls may be null.", say(HI, {"role": "assistant", "content": "a", "tool_calls": None}, BYE), []),
    ("call-last-unanswered", "The last calls need no answer.", say(HI, assistant(calls=[call()]), BYE), []),
    ("call-name-newline", "A call's name may end with a line feed, for Python's $ matches before it.", after(call(name="f\n")), []),
    ("call-id-newline", "A call's id may end with a line feed.", after(call(id="abcDEF123\n")), []),
    # arguments through Python's json
    ("arguments-spaces", "Arguments are written anew, with a space behind commas and colons.", with_arguments('{"a":1,"b":[1,2]}'), []),
    ("arguments-indented", "White space around values goes.", with_arguments('{\n  "a" : 1\n}\n'), []),
    ("arguments-empty", "No arguments are an empty object.", with_arguments(""), []),
    ("arguments-object", "Arguments may be an object.", with_arguments({"a": 1.0, "é": "é"}), []),
    ("arguments-null", "Arguments that are null are an empty object.", with_arguments(None), []),
    ("arguments-null-text", "Arguments of the text null are null.", with_arguments("null"), []),
    ("arguments-number", "Arguments may be a bare number.", with_arguments("1.50"), []),
    ("arguments-string", "Arguments may be a JSON string.", with_arguments('"x"'), []),
    ("arguments-no-json", "Arguments that are no JSON are a string.", with_arguments("city: Paris"), []),
    ("arguments-cut-off", "Arguments cut off are a string, with their quotes escaped.", with_arguments('{"city": "Par'), []),
    ("arguments-trailing-comma", "A trailing comma is no JSON.", with_arguments('{"a": 1,}'), []),
    ("arguments-single-quotes", "Single quotes are no JSON.", with_arguments("{'a': 1}"), []),
    ("arguments-two-values", "Arguments of two values are no JSON.", with_arguments('{"a": 1} {}'), []),
    ("arguments-bom", "A byte-order mark makes JSON none.", with_arguments("\ufeff{}"), []),
    ("arguments-no-break-space", "A no-break space is no white space of JSON.", with_arguments("\u00a0{}"), []),
    ("arguments-blank", "Arguments of spaces are no JSON.", with_arguments("   "), []),
    ("arguments-duplicate", "Of two equal keys the last counts, in the place of the first.", with_arguments('{"a": 1, "b": 2, "a": 3}'), []),
    ("arguments-empty-key", "A key may be empty.", with_arguments('{"": 1}'), []),
    ("arguments-escaped-key", "Escapes in keys are read before keys are compared.", with_arguments('{"a": 1, "\\u0061": 2}'), []),
    ("arguments-minus-zero", "The integer -0 is 0.", with_arguments("[-0]"), []),
    ("arguments-minus-zero-float", "The float -0.0 keeps its sign.", with_arguments("[-0.0]"), []),
    ("arguments-float", "A float loses its trailing zeros but one digit.", with_arguments("[1.500, 1.0, 100.00]"), []),
    ("arguments-exponent", "A float below 1e16 has no exponent.", with_arguments("[1e5, 1E15, 1e+2]"), []),
    ("arguments-large-exponent", "From 1e16 on a float has an exponent of two digits at least.", with_arguments("[1e16, 1e22, 1.5e300]"), []),
    ("arguments-small-exponent", "Below 1e-4 a float has an exponent.", with_arguments("[0.0001, 0.00001, 2.5e-5]"), []),
    ("arguments-shortest", "A float has the fewest digits that read back as it.", with_arguments("[0.1, 3.141592653589793238, 9007199254740993.0]"), []),
    ("arguments-denormal", "The smallest float is 5e-324.", with_arguments("[5e-324, 1e-400]"), []),
    ("arguments-overflow", "A float too large is Infinity.", with_arguments("[1e400, -1e400]"), []),
    ("arguments-nan", "NaN and Infinity are read and written.", with_arguments("[NaN, Infinity, -Infinity]"), []),
    ("arguments-big-integer", "Integers have any number of digits.", with_arguments("[123456789012345678901234567890, -9223372036854775809]"), []),
    ("arguments-leading-zero", "A leading zero is no JSON.", with_arguments("[01]"), []),
    ("arguments-bare-point", "A number does not end with a point.", with_arguments("[1.]"), []),
    ("arguments-plus", "A number does not begin with a plus.", with_arguments("[+1]"), []),
    ("arguments-escape", "An escaped character is written as itself.", with_arguments('["\\u00e9\\/"]'), []),
    ("arguments-surrogates", "An escaped surrogate pair is one character.", with_arguments('["\\ud83d\\ude00"]'), []),
    ("arguments-surrogate-trap", "An escaped surrogate pair whose low bits look like a surrogate is one character.", with_arguments('["\\ud836\\udc00"]'), []),
    ("arguments-control", "Control characters are escaped, the short way where there is one.", with_arguments('["\\u0000\\b\\f\\n\\r\\t\\u001f\\u007f"]'), []),
    ("arguments-raw-control", "A raw control character makes JSON none.", with_arguments('["a\nb"]'), []),
    ("arguments-nested", "Arguments nest.", with_arguments('{"a": {"b": [{"c": []}]}}'), []),
    ("arguments-separator", "U+2028 is not escaped.", with_arguments('["\\u2028\u2029"]'), []),
    ("reject-half-surrogate", "Half of a surrogate pair is read, and no tokenizer takes it.", with_arguments('["\\ud800"]'), []),
    ("reject-many-digits", "An integer of more than 4300 digits is refused.", with_arguments("9" * 4301), []),
    # results
    ("result", "A result is [TOOL_RESULTS], the call's id, [TOOL_CONTENT], the content and [/TOOL_RESULTS].", say(HI, assistant(calls=[call()]), result()), []),
    ("result-json", "A result is written as it is, JSON or not.", say(HI, assistant(calls=[call()]), result('{"t":1.50}'), BYE), []),
    ("result-empty", "An empty result is nothing between its brackets.", say(HI, assistant(calls=[call()]), result(""), BYE), []),
    ("result-spaces", "A result keeps its spaces.", say(HI, assistant(calls=[call()]), result(" 21 "), BYE), ["T-spacing"]),
    ("result-chunks", "Text chunks of a result are one text.", say(HI, assistant(calls=[call()]), result([text("a"), text(""), text("b")]), BYE), []),
    ("result-name", "The name of a tool message is not written.", say(HI, assistant(calls=[call()]), result(name="weather"), BYE), []),
    ("results", "Results stay apart and in their order.", say(HI, assistant(calls=[call(), call(id="ABCdef456")]), result("1", "ABCdef456"), result("2"), BYE), []),
    ("result-then-assistant", "The assistant goes on behind a result.", say(HI, assistant(calls=[call()]), result(), assistant("It is 21."), BYE), []),
    ("result-other-id", "A result may name another call: only the number is counted.", say(HI, assistant(calls=[call()]), result(id="zzzzzzzzz"), BYE), []),
    ("result-first", "A tool message may come first where another follows.", say(result(), HI), []),
    # prefix
    ("prefix", "A prefix is not closed by </s>.", say(HI, assistant("Once upon", prefix=True)), ["T-eos-on-continue"]),
    ("prefix-spaces", "A prefix loses its trailing spaces.", say(HI, assistant("Once  ", prefix=True)), ["T-eos-on-continue"]),
    ("prefix-false", "prefix may be false.", say(HI, assistant("a", prefix=False), BYE), []),
    ("prefix-word", "prefix may be a word that pydantic takes for true.", say(HI, assistant("a", prefix="yes")), []),
    ("prefix-call", "A call may be a prefix.", say(HI, assistant(calls=[call()], prefix=True)), ["T-eos-on-continue"]),
    ("prefix-merged", "Of merged assistant messages the last may be a prefix.", say(HI, assistant("a"), assistant("b", prefix=True)), ["T-eos-on-continue"]),
    ("continue", "continue_final_message leaves the last message open.", say(HI, assistant("Once upon"), continue_final_message=True), ["T-eos-on-continue"]),
    ("continue-false", "continue_final_message may be false.", say(HI, continue_final_message=False), []),
    ("continue-prefix", "A prefix may be continued.", say(HI, assistant("Once", prefix=True), continue_final_message=True), ["T-eos-on-continue"]),
    # settings
    ("settings", "Settings of sampling change no token.", say(HI, model="x", temperature=0.3, top_p=1, max_tokens=5, random_seed=1), []),
    ("tool-choice", "tool_choice changes no token.", say(HI, tools=[tool()], tool_choice="any"), []),
    ("response-format", "response_format changes no token.", say(HI, response_format={"type": "json_object"}), []),
    # refusals, in the order in which they are looked for
    ("reject-no-messages", "A request has messages.", {}, []),
    ("reject-unknown-key", "A request with a key that nobody knows is refused.", say(HI, stream=True), []),
    ("reject-unknown-message-key", "A message with a key that nobody knows is refused.", say({**HI, "x": 1}), []),
    ("reject-role", "A message has one of four roles.", say({"role": "developer", "content": "a"}), []),
    ("reject-content-type", "Content is a string or chunks.", say({"role": "user", "content": 1}), []),
    ("reject-null-content", "A user message has content.", say({"role": "user", "content": None}), []),
    ("reject-system-image", "A system message has no image.", say(system(A), HI), []),
    ("reject-assistant-image", "An assistant message has no image.", say(HI, assistant([A]), BYE), []),
    ("reject-temperature", "temperature is at most 1.", say(HI, temperature=1.5), []),
    ("reject-empty", "A request needs a message.", say(), []),
    ("reject-assistant-alone", "An assistant message alone is no request.", say(assistant("b")), []),
    ("reject-prefix-alone", "A prefix alone is no request.", say(assistant("b", prefix=True)), []),
    ("reject-tool-alone", "A tool message alone is no request.", say(result()), []),
    ("reject-assistant-last", "The last message is not the assistant's.", say(HI, assistant("b")), []),
    ("reject-calls-last", "Calls without an answer are not the last message.", say(HI, assistant(calls=[call()])), []),
    ("reject-system-after-assistant", "A system message does not follow an assistant's.", say(HI, assistant("b"), system("c"), BYE), []),
    ("reject-system-after-tool", "A system message does not follow a tool's.", say(HI, assistant(calls=[call()]), result(), system("c"), BYE), []),
    ("reject-tool-after-user", "A tool message does not follow a user's.", say(HI, result()), []),
    ("reject-tool-after-system", "A tool message does not follow a system message.", say(HI, system("a"), result()), []),
    ("reject-missing-result", "Calls are answered before the assistant goes on.", say(HI, assistant(calls=[call()]), assistant("b"), BYE), []),
    ("reject-extra-result", "There is no answer more than there are calls.", say(HI, assistant(calls=[call()]), result(), result(), assistant("b"), BYE), []),
    ("first-calls-uncounted", "Calls of the very first message are not counted.", say(assistant(calls=[call()]), assistant("b"), HI), []),
    ("reject-continue-user", "Only the assistant is continued.", say(HI, continue_final_message=True), []),
    ("reject-thinking", "V7 has no thinking.", say(HI, assistant([{"type": "thinking", "thinking": "a"}]), BYE), []),
    ("reject-call-id-missing", "A call has an id.", after({"type": "function", "function": {"name": "f", "arguments": "{}"}}), []),
    ("reject-call-id", "A call's id has nine letters and digits.", after(call(id="abc")), []),
    ("reject-call-id-dash", "A call's id has no dash.", after(call(id="abc-DEF12")), []),
    ("reject-call-id-digits", "The digits of a call's id are those of ASCII.", after(call(id="١٢٣٤٥٦٧٨٩")), []),
    ("reject-call-name", "A call's name has letters, digits, _ and -.", after(call(name="a b")), []),
    ("reject-call-name-long", "A call's name has at most 64 characters.", after(call(name="a" * 65)), []),
    ("reject-call-arguments-type", "A call's arguments are text or an object.", with_arguments([1]), []),
    ("reject-prefix-middle", "A prefix is the last message.", say(HI, assistant("a", prefix=True), BYE), []),
    ("reject-result-no-id", "A result names its call.", say(HI, assistant(calls=[call()]), {"role": "tool", "content": "a"}, BYE), []),
    ("reject-result-id", "A result's id has nine letters and digits.", say(HI, assistant(calls=[call()]), result(id="abc"), BYE), []),
    ("reject-result-name", "A tool message's name keeps to the rule for names.", say(HI, assistant(calls=[call()]), result(name="a b"), BYE), []),
    ("reject-result-image", "A result has no image.", say(HI, assistant(calls=[call()]), result([A]), BYE), []),
    ("reject-tool-name", "A tool's name keeps to the rule for names.", with_tool(tool(name="a b")), []),
    ("reject-tool-schema", "A tool's parameters are a JSON schema.", with_tool(tool({"type": "text"})), []),
    ("reject-tool-schema-deep", "A schema inside a tool's parameters is a JSON schema.", with_tool(tool({"properties": {"a": {"required": ["x", "x"]}}})), []),
    ("reject-tool-pattern", "A pattern is one that Python compiles.", with_tool(tool({"pattern": "("})), []),
    ("reject-tool-no-parameters", "A tool has parameters.", with_tool({"function": {"name": "f"}}), []),
    ("reject-tool-parameters-list", "A tool's parameters are an object.", with_tool(tool([])), []),
    ("reject-tool-pattern-repeat", "A pattern that repeats 4294967295 times overflows.", with_tool(tool({"pattern": "a{4294967295}"})), []),
    ("reject-tool-pattern-code", "A pattern with a code from 80000000 on overflows.", with_tool(tool({"pattern": "\\U80000000"})), []),
    ("reject-tool-pattern-code-large", "A pattern with a code from 110000 on is none.", with_tool(tool({"pattern": "\\U7FFFFFFF"})), []),
    ("reject-tool-pattern-nested", "Groups of a pattern do not nest 1,000 deep.", with_tool(tool({"pattern": "(" * 1000 + ")" * 1000})), []),
    ("reject-tool-schema-nested", "Schemas do not nest 600 deep.", with_tool(tool(nested(600))), []),
    ("tool-schema-nested", "Schemas nest.", with_tool(tool(nested(100))), []),
    ("tool-pattern-comment", "An escaped parenthesis does not end a pattern's comment.", with_tool(tool({"pattern": "(?#\\))"})), []),
    ("tool-pattern-verbose", "An escaped line feed does not end a pattern's verbose comment.", with_tool(tool({"pattern": "(?x)#\\\n("})), []),
    ("tool-pattern-alias", "A pattern may call a character by an alias.", with_tool(tool({"pattern": "\\N{LINE FEED}[\\N{tab}]"})), []),
    ("reject-tool-pattern-unicode-15", "A pattern names characters of Unicode 14.", with_tool(tool({"pattern": "\\N{ARABIC SMALL LOW WORD SAKTA}"})), []),
    ("reject-tool-pattern-look-behind", "A look-behind is at most 4294967295 wide.", with_tool(tool({"pattern": "(?<=a{4294967294}aa)"})), []),
    ("reject-tool-pattern-template", "Under the flag t a pattern repeats nothing.", with_tool(tool({"pattern": "(?t)a*"})), []),
    ("response-format-schema", "A schema in response_format changes no token.", with_format(type="json_schema", json_schema={"name": "n", "schema": {"type": "object"}}), []),
    ("response-format-null", "A json_schema that is null is none.", with_format(json_schema=None), []),
    ("reject-response-format-type-null", "type of response_format is not null.", with_format(type=None), []),
    ("reject-response-format-schema", "A schema in response_format is a JSON schema, whatever the type.", with_format(type="text", json_schema={"name": "n", "schema": {"type": "text"}}), []),
    ("reject-response-format-schemas", "schema and custom_schema exclude one another.", with_format(type="json_schema", json_schema={"name": "n", "schema": {}, "custom_schema": {}}), []),
    ("reject-response-format-no-schema", "A response_format of type json_schema has one.", with_format(type="json_schema"), []),
    ("reject-response-format-repeat", "A pattern that overflows outranks other faults.", with_format(type=5, json_schema={"schema": {"pattern": "a{4294967295}"}}), []),
    ("reject-tool-choice-type-null", "type of tool_choice is not null.", say(HI, tool_choice={"type": None, "function": {"name": "f"}}), []),
    ("reject-audio-blank", "Audio data is not blank.", say(user({"type": "input_audio", "input_audio": " \u001c"})), []),
    ("reject-audio-data-blank", "Audio data in an object is not blank.", say(user({"type": "input_audio", "input_audio": {"data": "\n", "format": "wav"}})), []),
    ("reject-audio", "V7 has no audio.", say(user({"type": "input_audio", "input_audio": "AAAA"})), []),
    ("reject-audio-url-key", "An object with the URL of audio has no other key.", say(user({"type": "audio_url", "audio_url": {"url": "a", "format": "wav"}})), []),
    ("reject-image-chunk-null", "An image chunk that holds no string breaks the reading.", say(user({"type": "image", "image": None})), []),
    ("reject-image-chunk-number", "An image chunk that holds no string outranks other faults.", say(user({"type": "image", "image": 5}, {"type": "text"}), stream=True), []),
    ("reject-image-chunk-base64", "An image chunk holds base64.", say(user({"type": "image", "image": "data:;base64,a"})), []),
    ("reject-image-chunk-url", "An image chunk that begins as a data: URL is one.", say(user({"type": "image", "image": "data:image/png,AAAA"})), []),
    ("reject-image-nul", "No file has a NUL in its name.", say(user({"type": "image_url", "image_url": "file:///a.png\u0000.txt"})), []),
    ("reject-image-half", "No file has half of a surrogate pair in its name.", say(user({"type": "image_url", "image_url": "file:///\ud800.png"})), []),
    ("reject-max-tokens-digits", "A number in a string has at most 4300 digits.", say(HI, max_tokens="1" * 4301), []),
    ("max-tokens-zeros", "Leading zeros of a number in a string do not count.", say(HI, max_tokens="0" * 5000 + "1"), []),
    ("reject-reasoning-effort", "V7 has no tokens for reasoning_effort.", say(HI, reasoning_effort="high"), []),
    ("reject-truncate", "A request that is to be cut says to how many tokens.", say(HI, truncate_for_context_length=True), []),
    ("reject-empty-assistant", "An assistant message says something.", say(HI, assistant(""), BYE), []),
    ("reject-null-assistant", "An assistant message without content has calls.", say(HI, assistant(None), BYE), []),
    ("reject-data-url", "A data: URL is base64.", say(user({"type": "image_url", "image_url": {"url": "data:image/png,abcd"}})), []),
    ("reject-data-url-image", "What a data: URL holds is an image.", say(user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})), []),
    ("reject-file", "A file:// URL names a file.", say(user({"type": "image_url", "image_url": {"url": "file:///no/such/image.png"}})), []),
    ("reject-order-first", "The order of messages is looked at before their content.", say(HI, assistant("a", [call(id="x")]), system("b"), HI), []),
    ("reject-messages-first", "Messages are looked at before tools.", say(HI, assistant("a", [call(id="x")]), result(), BYE, tools=[tool(name="a b")]), []),
    ("reject-schema-first", "A tool's schema is looked at before its name.", with_tool(tool({"type": "x"}, name="a b")), []),
    # booleans
    *((f"prefix-{word}", f"prefix may be the word {word}.", say(HI, assistant("a", prefix=word)), []) for word in ("1", "on", "t", "true", "y")),
    ("prefix-upper-case", "prefix may be a word in upper case.", say(HI, assistant("a", prefix="YES")), []),
    ("prefix-words-false", "prefix may be any of six words for false.", say(HI, *(assistant("a", prefix=word) for word in ("0", "off", "f", "false", "n", "no")), BYE), []),
    ("prefix-number", "prefix may be the number 1.", say(HI, assistant("a", prefix=1)), []),
    ("prefix-float", "prefix may be the number 1.0.", say(HI, assistant("a", prefix=1.0)), []),
    ("prefix-zero", "prefix may be the number 0.", say(HI, assistant("a", prefix=0), BYE), []),
    ("reject-prefix-number", "prefix is no number but 0 and 1.", say(HI, assistant("a", prefix=2)), []),
    ("reject-prefix-word", "prefix is no word but those for true and false.", say(HI, assistant("a", prefix="ja")), []),
    ("reject-prefix-spaces", "No space stands around a word for true.", say(HI, assistant("a", prefix=" yes")), []),
    ("reject-prefix-null", "prefix is not null.", say(HI, assistant("a", prefix=None), BYE), []),
    ("reject-prefix-list", "prefix is no list.", say(HI, assistant("a", prefix=[True])), []),
    ("reject-strict", "strict of a tool is a boolean.", with_tool(tool(strict="strict")), []),
    ("reject-parallel-tool-calls", "parallel_tool_calls is a boolean.", say(HI, parallel_tool_calls="parallel"), []),
    ("parallel-tool-calls", "parallel_tool_calls changes no token.", say(HI, parallel_tool_calls=False), []),
    ("truncate-false", "truncate_for_context_length may be false.", say(HI, truncate_for_context_length=False), []),
    ("reject-truncate-type", "truncate_for_context_length is a boolean.", say(HI, truncate_for_context_length=[]), []),
    ("reject-thinking-closed", "closed of a thinking chunk is a boolean.", say(system({"type": "thinking", "thinking": "a", "closed": 3}), HI), []),
    # numbers
    ("temperature-text", "temperature may be a string of a number.", say(HI, temperature="0.5"), []),
    ("temperature-bare-points", "A number in a string may begin or end with its point.", say(HI, temperature=".5", top_p="1."), []),
    ("temperature-text-spaces", "White space may stand around a number in a string.", say(HI, temperature=" \t\n\v\f\r\x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u30000.5\u3000"), []),
    ("temperature-text-underscore", "Single underscores of a number in a string do not count.", say(HI, temperature="0.2_5"), []),
    ("temperature-text-exponent", "A number in a string may have an exponent in upper case.", say(HI, temperature="5E-1"), []),
    ("temperature-text-sign", "A number in a string may have a sign.", say(HI, temperature="+1"), []),
    ("temperature-ends", "temperature and top_p may be 0 and 1.", say(HI, temperature=0, top_p=1), []),
    ("temperature-boolean", "temperature may be true.", say(HI, temperature=True), []),
    ("reject-temperature-negative", "temperature is at least 0.", say(HI, temperature=-0.5), []),
    ("reject-temperature-null", "temperature is not null.", say(HI, temperature=None), []),
    ("reject-temperature-list", "temperature is no list.", say(HI, temperature=[0.5]), []),
    ("reject-temperature-nan", "temperature is not NaN.", say(HI, temperature=float("nan")), []),
    ("reject-temperature-text-nan", "A temperature of NaN in a string is refused for its range.", say(HI, temperature="NAN"), []),
    ("reject-temperature-text", "A number in a string has nothing else around it.", say(HI, temperature="0.5x"), []),
    ("reject-temperature-empty", "No number is an empty string.", say(HI, temperature=""), []),
    ("reject-temperature-text-large", "temperature in a string is at most 1.", say(HI, temperature="1.5"), []),
    ("reject-temperature-zero-width", "A zero-width space is no white space of a number.", say(HI, temperature="0.5\u200b"), []),
    ("reject-temperature-no-space", "U+1FFF, just before spaces, is no white space of a number.", say(HI, temperature="\u1fff0.5"), []),
    ("reject-temperature-digits", "The digits of a number in a string are those of ASCII.", say(HI, temperature="\u0660.\u0665"), []),
    ("reject-temperature-underscore-first", "A number in a string does not begin with an underscore.", say(HI, temperature="_1"), []),
    ("reject-temperature-underscores", "Two underscores do not stand side by side in a number.", say(HI, temperature="0.2__5"), []),
    ("reject-temperature-underscore-space", "A number in a string has no underscore beside white space.", say(HI, temperature=" 0.2_5"), []),
    ("reject-top-p", "top_p is at most 1.", say(HI, top_p=1.25), []),
    ("max-tokens-text", "max_tokens may be a string of a whole number.", say(HI, max_tokens=" +05.00\n"), []),
    ("max-tokens-zero", "max_tokens may be 0.", say(HI, max_tokens=0), []),
    ("max-tokens-null", "max_tokens may be null.", say(HI, max_tokens=None), []),
    ("max-tokens-float", "max_tokens may be a float without fraction.", say(HI, max_tokens=5.0), []),
    ("max-tokens-minus-zero", "max_tokens may be a zero with a minus in a string.", say(HI, max_tokens="-0"), []),
    ("max-tokens-large", "max_tokens may be an integer of more than 64 bits.", say(HI, max_tokens=2**64), []),
    ("max-tokens-digits", "A whole number in a string may have 4300 digits.", say(HI, max_tokens="1" * 4300), []),
    ("max-tokens-underscores", "Underscores of a whole number do not count as digits.", say(HI, max_tokens="_".join("1" * 2200)), []),
    ("max-tokens-float-large", "max_tokens may be a float just below 2 to the 63.", say(HI, max_tokens=2.0**63 - 1024), []),
    ("random-seed-null", "random_seed may be null.", say(HI, random_seed=None), []),
    ("reject-max-tokens-text", "max_tokens is no word.", say(HI, max_tokens="many"), []),
    ("reject-max-tokens-negative", "max_tokens is at least 0.", say(HI, max_tokens=-1), []),
    ("reject-max-tokens-text-negative", "max_tokens in a string is at least 0.", say(HI, max_tokens="-1"), []),
    ("reject-max-tokens-fraction", "max_tokens has no fraction.", say(HI, max_tokens=1.5), []),
    ("reject-max-tokens-text-fraction", "max_tokens in a string has no fraction.", say(HI, max_tokens="1.5"), []),
    ("reject-max-tokens-2-63", "A float of 2 to the 63 is no whole number.", say(HI, max_tokens=2.0**63), []),
    ("reject-max-tokens-underscores", "Two underscores do not stand side by side in a whole number.", say(HI, max_tokens="1__0"), []),
    ("reject-max-tokens-exponent", "A whole number in a string has no exponent.", say(HI, max_tokens="1e1"), []),
    ("reject-max-tokens-list", "max_tokens is no list.", say(HI, max_tokens=[5]), []),
    ("reject-random-seed", "random_seed is at least 0.", say(HI, random_seed=-5), []),
    # words, and what is no string or object
    *((f"reject-reasoning-effort-{word}", f"V7 has no tokens for a reasoning_effort of {word}.", say(HI, reasoning_effort=word), []) for word in ("none", "minimal", "low", "medium", "xhigh", "max")),
    ("reject-reasoning-effort-word", "reasoning_effort is one of seven words.", say(HI, reasoning_effort="most"), []),
    ("reasoning-effort-null", "reasoning_effort may be null.", say(HI, reasoning_effort=None), []),
    *((f"tool-choice-{word}", f"tool_choice may be {word}.", say(HI, tool_choice=word), []) for word in ("auto", "none", "required")),
    ("tool-choice-function", "tool_choice may name a function.", say(HI, tool_choice={"type": "function", "function": {"name": "f"}}), []),
    ("reject-tool-choice-word", "tool_choice is one of four words.", say(HI, tool_choice="one"), []),
    ("reject-tool-choice-number", "tool_choice is a word or an object.", say(HI, tool_choice=5), []),
    ("reject-tool-choice-list", "tool_choice is no list.", say(HI, tool_choice=["auto"]), []),
    ("reject-tool-choice-no-function", "An object as tool_choice has a function.", say(HI, tool_choice={"type": "function"}), []),
    ("reject-tool-choice-no-name", "A function in tool_choice has a name.", say(HI, tool_choice={"function": {}}), []),
    ("reject-tool-choice-type", "type of tool_choice is function.", say(HI, tool_choice={"type": "tool", "function": {"name": "f"}}), []),
    ("model-null", "model may be null.", say(HI, model=None), []),
    ("reject-model", "model is a string.", say(HI, model=7), []),
    ("reject-messages-object", "messages is a list.", {"messages": HI}, []),
    ("reject-message-text", "A message is an object.", say("Hi"), []),
    ("reject-message-no-role", "A message has a role.", say({"content": "Hi"}), []),
    ("reject-message-no-content", "A user message without the key content is refused.", say({"role": "user"}), []),
    ("reject-chunk-text", "A chunk is an object.", say(user("a", "b")), []),
    ("reject-chunk-no-type", "A chunk has a type.", say(user({"text": "a"})), []),
    ("reject-chunk-type", "A chunk has one of six types.", say(user({"type": "video", "video": "a"})), []),
    ("reject-chunk-no-text", "A text chunk has a text.", say(user({"type": "text"})), []),
    ("reject-chunk-null-text", "The text of a chunk is not null.", say(user({"type": "text", "text": None})), []),
    ("reject-chunk-key", "A chunk with a key that nobody knows is refused.", say(user({"type": "text", "text": "a", "x": 1})), []),
    ("reject-image-url-number", "image_url is a string or an object.", say(user({"type": "image_url", "image_url": 5})), []),
    ("reject-image-url-no-url", "image_url as an object has a URL.", say(user({"type": "image_url", "image_url": {"detail": "high"}})), []),
    ("reject-image-url-key", "image_url as an object with a key that nobody knows is refused.", say(user({"type": "image_url", "image_url": {"url": corpus.picture(16, 16), "x": 1}})), []),
    ("image-detail-null", "detail of an image may be null.", say(user({"type": "image_url", "image_url": {"url": corpus.picture(16, 16), "detail": None}})), []),
    ("reject-image-detail", "detail of an image is a string.", say(user({"type": "image_url", "image_url": {"url": corpus.picture(16, 16), "detail": 1}})), []),
    ("reject-tools-object", "tools is a list.", say(HI, tools=tool()), []),
    ("reject-tool-list", "A tool is an object.", say(HI, tools=[[]]), []),
    ("reject-tool-key", "A tool with a key that nobody knows is refused.", with_tool({**tool(), "x": 1}), []),
    ("reject-tool-type", "type of a tool is function.", with_tool({**tool(), "type": "web"}), []),
    ("reject-tool-type-null", "type of a tool is not null.", with_tool({**tool(), "type": None}), []),
    ("reject-tool-no-function", "A tool has a function.", with_tool({"type": "function"}), []),
    ("reject-tool-no-name", "A function of a tool has a name.", with_tool({"function": {"parameters": {}}}), []),
    ("reject-tool-description-null", "description of a tool is not null.", with_tool({"function": {"name": "f", "parameters": {}, "description": None}}), []),
    ("reject-calls-object", "tool_calls is a list.", say(HI, assistant("a", call()), BYE), []),
    ("reject-call-text", "A call is an object.", after(["weather"]), []),
    ("reject-call-key", "A call with a key that nobody knows is refused.", after(call(x=1)), []),
    ("reject-call-type", "type of a call is function.", after({**call(), "type": "tool"}), []),
    ("reject-call-type-null", "type of a call is not null.", after({**call(), "type": None}), []),
    ("reject-call-no-function", "A call has a function.", after({"id": "abcDEF123"}), []),
    ("reject-call-no-arguments", "A call has arguments.", after({"id": "abcDEF123", "function": {"name": "f"}}), []),
    ("reject-call-id-null", "A call's id is not null.", after(call(id=None)), []),
    ("reject-call-name-null", "A call's name is a string.", after(call(name=None)), []),
    ("reject-calls-of-user", "A user message has no calls.", say({**HI, "tool_calls": []}), []),
    ("result-name-null", "The name of a tool message may be null.", say(HI, assistant(calls=[call()]), result(name=None), BYE), []),
    ("result-no-chunks", "A result without chunks is nothing between its brackets.", say(HI, assistant(calls=[call()]), result([]), BYE), []),
    ("reject-result-id-null", "A tool_call_id of null is none.", say(HI, assistant(calls=[call()]), result(id=None), BYE), []),
    ("reject-result-id-number", "A tool_call_id is a string.", say(HI, assistant(calls=[call()]), result(id=123456789), BYE), []),
    ("reject-result-null", "A result has content.", say(HI, assistant(calls=[call()]), result(None), BYE), []),
    ("response-format-text", "response_format may be of type text.", with_format(type="text"), []),
    ("response-format-no-type", "response_format may lack its type.", with_format(), []),
    ("response-format-custom-schema", "response_format may have a custom_schema in place of its schema.", with_format(type="json_schema", json_schema={"name": "n", "custom_schema": {}}), []),
    ("response-format-description-null", "description in response_format may be null.", with_format(type="json_schema", json_schema={"name": "n", "schema": {}, "description": None, "strict": "yes"}), []),
    ("reject-response-format-text", "response_format is an object.", say(HI, response_format="json_object"), []),
    ("reject-response-format-list", "response_format is no list.", say(HI, response_format=[]), []),
    ("reject-response-format-type", "type of response_format is one of three words.", with_format(type="xml"), []),
    ("reject-response-format-key", "response_format with a key that nobody knows is refused.", with_format(type="text", x=1), []),
    ("reject-response-format-json-schema", "json_schema in response_format is an object.", with_format(type="text", json_schema=5), []),
    ("reject-response-format-no-name", "json_schema in response_format has a name.", with_format(type="json_schema", json_schema={"schema": {}}), []),
    ("reject-response-format-boolean", "A schema in response_format is not just true.", with_format(type="json_schema", json_schema={"name": "n", "schema": True}), []),
    ("reject-response-format-nothing", "json_schema in response_format has a schema.", with_format(type="json_schema", json_schema={"name": "n"}), []),
    ("reject-response-format-strict", "strict in response_format is a boolean.", with_format(type="json_schema", json_schema={"name": "n", "schema": {}, "strict": None}), []),
    # continue_final_message
    ("continue-word", "continue_final_message may be a word for true.", say(HI, assistant("Once"), continue_final_message="true"), []),
    ("continue-later", "The last of several messages of the assistant is continued.", say(HI, assistant("a"), BYE, assistant("Once"), continue_final_message=True), []),
    ("reject-continue-word", "continue_final_message is a boolean.", say(HI, assistant("Once"), continue_final_message="always"), []),
    ("reject-continue-null", "continue_final_message is not null.", say(HI, continue_final_message=None), []),
    ("reject-continue-empty", "Without messages none is continued.", say(continue_final_message=True), []),
    ("reject-continue-text", "A message that is no object is not continued.", say("Hi", continue_final_message=True), []),
    ("reject-continue-messages", "Messages that are no list are not continued.", {"messages": HI, "continue_final_message": True}, []),
    ("continue-prefix-false", "A message is continued although its prefix is false.", say(HI, assistant("Once", prefix=False), continue_final_message=True), []),
    ("reject-continue-prefix", "prefix of a message that is continued is a boolean.", say(HI, assistant("Once", prefix="maybe"), continue_final_message=True), []),
    # audio and thinking
    ("reject-audio-system", "Audio of a user is refused beside a system message, before it is refused at all.", say(system("a"), user({"type": "input_audio", "input_audio": "AAAA"})), []),
    ("reject-audio-url-system", "The URL of audio is refused beside a system message as audio is.", say(system("a"), user({"type": "audio_url", "audio_url": "a.wav"})), []),
    ("reject-audio-system-later", "Audio of a user is refused beside a system message of later.", say(user({"type": "input_audio", "input_audio": "AAAA"}), system("a")), []),
    ("reject-audio-url", "V7 has no audio at a URL.", say(user({"type": "audio_url", "audio_url": {"url": "a.wav"}})), []),
    ("reject-audio-data", "V7 has no audio whose data is in an object.", say(user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})), []),
    ("reject-audio-number", "Audio is a string or an object.", say(user({"type": "input_audio", "input_audio": 5})), []),
    ("reject-audio-no-data", "Audio in an object has data.", say(user({"type": "input_audio", "input_audio": {"format": "wav"}})), []),
    ("reject-audio-url-number", "The URL of audio is a string or an object.", say(user({"type": "audio_url", "audio_url": 5})), []),
    ("reject-audio-url-no-url", "An object with the URL of audio has one.", say(user({"type": "audio_url", "audio_url": {}})), []),
    ("reject-audio-of-system", "A system message has audio only until it becomes tokens.", say(system({"type": "input_audio", "input_audio": "AAAA"}), HI), []),
    ("reject-audio-url-of-system", "A system message has no audio at a URL.", say(system({"type": "audio_url", "audio_url": "a.wav"}), HI), []),
    ("reject-audio-of-assistant", "An assistant message has no audio.", say(HI, assistant([{"type": "input_audio", "input_audio": "AAAA"}]), BYE), []),
    ("reject-audio-result", "A result has no audio.", say(HI, assistant(calls=[call()]), result([{"type": "input_audio", "input_audio": "AAAA"}]), BYE), []),
    ("reject-audio-url-result", "A result has no audio at a URL.", say(HI, assistant(calls=[call()]), result([{"type": "audio_url", "audio_url": "a.wav"}]), BYE), []),
    ("reject-audio-result-system", "Audio of a result may stand beside a system message, and is refused as a result's.", say(system("a"), HI, assistant(calls=[call()]), result([{"type": "input_audio", "input_audio": "AAAA"}]), BYE), []),
    ("reject-thinking-system", "A system message thinks only until it becomes tokens.", say(system({"type": "thinking", "thinking": "a"}), HI), []),
    ("reject-thinking-user", "A user message does not think.", say(user({"type": "thinking", "thinking": "a"})), []),
    ("reject-thinking-number", "What is thought is a string.", say(system({"type": "thinking", "thinking": 5}), HI), []),
    ("reject-thinking-result", "A result does not think.", say(HI, assistant(calls=[call()]), result([{"type": "thinking", "thinking": "a"}]), BYE), []),
    ("reject-image-chunk-result", "A result has no image chunk.", say(HI, assistant(calls=[call()]), result([{"type": "image", "image": corpus.picture(16, 16)}]), BYE), []),
    ("reject-image-chunk-system", "A system message has no image chunk.", say(system({"type": "image", "image": corpus.picture(16, 16)}), HI), []),
    # the order in which faults are looked for
    ("reject-digits-first", "Arguments are looked at before a half of a text is.", say(user("\ud800"), assistant(calls=[call("9" * 4301)]), BYE), []),
    ("reject-digits-second-call", "Arguments of each call are looked at.", after([call(), call("[" + "9" * 4301 + "]")]), []),
    ("reject-nested-arguments", "Arguments do not nest 2,000 deep.", with_arguments("[" * 2000), []),
    ("reject-schema-before-effort", "A tool's name is looked at before reasoning_effort is.", with_tool(tool(name="a b")) | {"reasoning_effort": "low"}, []),
    ("reject-effort-before-truncation", "reasoning_effort is looked at before the number of tokens is.", say(HI, reasoning_effort="low", truncate_for_context_length=True), []),
    ("reject-half-last", "A text that ends with the last of the halves is refused.", say(user("a\udfff")), []),
    ("half-border-low", "A text may have U+D7FF, before the first half.", say(user("\ud7ff")), []),
    ("half-border-high", "A text may have U+E000, behind the last half.", say(user("\ue000")), []),
    # schemas
    ("tool-schema-numbers", "maximum, minimum and their exclusive forms are numbers.", with_tool(tool({"maximum": 1, "exclusiveMaximum": 1.5, "minimum": -1, "exclusiveMinimum": 0})), []),
    *((f"reject-tool-{key}", f"{key} of a schema is a number.", with_tool(tool({key: "1"})), []) for key in ("maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum")),
    ("reject-tool-maximum-true", "true is no number in a schema.", with_tool(tool({"maximum": True})), []),
    ("reject-tool-multipleOf-zero", "multipleOf of a schema is not 0.", with_tool(tool({"multipleOf": 0})), []),
    ("reject-tool-multipleOf-text", "multipleOf of a schema is a number.", with_tool(tool({"multipleOf": "2"})), []),
    ("reject-tool-multipleOf-true", "multipleOf of a schema is not true.", with_tool(tool({"multipleOf": True})), []),
    ("tool-multipleOf-nan", "multipleOf of a schema may be NaN.", with_tool(tool({"multipleOf": float("nan")})), []),
    ("tool-multipleOf-small", "multipleOf of a schema may be below 1.", with_tool(tool({"multipleOf": 0.5})), []),
    ("tool-counts", "Counts of a schema are whole numbers from 0.", with_tool(tool({"maxLength": 0, "minLength": 1, "maxItems": 2, "minItems": 0, "maxProperties": 3, "minProperties": 0})), []),
    ("tool-count-float", "A count of a schema may be a float without fraction.", with_tool(tool({"minLength": 2.0})), []),
    *((f"reject-tool-{key}", f"{key} of a schema is not below 0.", with_tool(tool({key: -1})), []) for key in ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")),
    ("reject-tool-count-fraction", "A count of a schema has no fraction.", with_tool(tool({"maxItems": 1.5})), []),
    ("reject-tool-count-true", "true is no count in a schema.", with_tool(tool({"maxItems": True})), []),
    ("reject-tool-count-text", "A count of a schema is no string.", with_tool(tool({"maxItems": "3"})), []),
    ("reject-tool-count-negative-float", "A float below 0 is no count in a schema.", with_tool(tool({"minItems": -1.0})), []),
    *((f"reject-tool-{key.replace('$', 'dollar-')}", f"{key} of a schema is a string.", with_tool(tool({key: 5})), []) for key in ("$id", "$schema", "$ref", "$comment", "title", "description", "format", "contentMediaType", "contentEncoding")),
    ("tool-schema-strings", "Strings of a schema may be empty.", with_tool(tool({key: "" for key in ("$id", "$schema", "$ref", "$comment", "title", "description", "format", "contentMediaType", "contentEncoding")})), []),
    *((f"reject-tool-{key}", f"{key} of a schema is a boolean.", with_tool(tool({key: 1})), []) for key in ("readOnly", "uniqueItems")),
    ("tool-booleans", "readOnly and uniqueItems of a schema may be true or false.", with_tool(tool({"readOnly": True, "uniqueItems": False})), []),
    ("tool-write-only", "writeOnly of a schema may be anything.", with_tool(tool({"writeOnly": 5, "$defs": 5})), []),
    ("tool-pattern", "A pattern of a schema may match anything.", with_tool(tool({"pattern": "^[a-z]+(?:-[0-9]{1,3})*$"})), []),
    ("reject-tool-pattern-number", "A pattern of a schema is a string.", with_tool(tool({"pattern": 5})), []),
    *((f"reject-tool-{key}", f"{key} of a schema is a schema.", with_tool(tool({key: 5})), []) for key in ("additionalItems", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "not")),
    ("tool-schemas", "Eight keys of a schema hold a schema.", with_tool(tool({key: {} for key in ("additionalItems", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "not")})), []),
    ("tool-items", "items of a schema may be a schema.", with_tool(tool({"items": {"type": "string"}})), []),
    ("tool-items-list", "items of a schema may be a list of schemas.", with_tool(tool({"items": [{"type": "string"}]})), []),
    ("reject-tool-items-empty", "items of a schema is no empty list.", with_tool(tool({"items": []})), []),
    ("reject-tool-items-number", "items of a schema is no number.", with_tool(tool({"items": 5})), []),
    ("reject-tool-items-element", "Each of items of a schema is a schema.", with_tool(tool({"items": [{}, 5]})), []),
    *((f"tool-{key}", f"{key} of a schema may be a list of one schema.", with_tool(tool({key: [{}]})), []) for key in ("allOf", "anyOf", "oneOf")),
    *((f"reject-tool-{key}-empty", f"{key} of a schema is no empty list.", with_tool(tool({key: []})), []) for key in ("allOf", "anyOf", "oneOf")),
    ("tool-anyOf-equal", "Schemas of a list may be equal.", with_tool(tool({"anyOf": [{}, {}]})), []),
    ("reject-tool-anyOf-object", "anyOf of a schema is a list.", with_tool(tool({"anyOf": {"0": {}}})), []),
    ("tool-required-empty", "required of a schema may be empty.", with_tool(tool({"required": []})), []),
    ("reject-tool-required-number", "Each of required of a schema is a string.", with_tool(tool({"required": ["a", 5]})), []),
    ("reject-tool-required-text", "required of a schema is a list.", with_tool(tool({"required": "ab"})), []),
    ("tool-definitions", "definitions of a schema are schemas by their names.", with_tool(tool({"definitions": {"a": {}, "b": True}})), []),
    ("reject-tool-definitions", "Each of definitions of a schema is a schema.", with_tool(tool({"definitions": {"a": {}, "b": 5}})), []),
    ("reject-tool-definitions-list", "definitions of a schema is an object.", with_tool(tool({"definitions": [{}]})), []),
    ("reject-tool-properties-list", "properties of a schema is an object.", with_tool(tool({"properties": []})), []),
    ("tool-pattern-properties", "patternProperties of a schema are schemas by patterns.", with_tool(tool({"patternProperties": {"^a": {}}})), []),
    ("reject-tool-pattern-properties-key", "A key of patternProperties of a schema is a pattern.", with_tool(tool({"patternProperties": {"^a": {}, "(": {}}})), []),
    ("reject-tool-pattern-properties-value", "Each of patternProperties of a schema is a schema.", with_tool(tool({"patternProperties": {"^a": 5}})), []),
    ("reject-tool-pattern-properties-list", "patternProperties of a schema is an object.", with_tool(tool({"patternProperties": ["^a"]})), []),
    ("tool-dependencies", "dependencies of a schema are schemas or lists of names.", with_tool(tool({"dependencies": {"a": {}, "b": ["a"], "c": []}})), []),
    ("reject-tool-dependencies", "A list of names in dependencies of a schema has none twice.", with_tool(tool({"dependencies": {"a": ["b", "b"]}})), []),
    ("reject-tool-dependencies-number", "Each of dependencies of a schema is a schema or a list.", with_tool(tool({"dependencies": {"a": 5}})), []),
    ("tool-enum", "enum and examples of a schema are any lists.", with_tool(tool({"enum": [1, 1, None], "examples": []})), []),
    *((f"reject-tool-{key}", f"{key} of a schema is a list.", with_tool(tool({key: "ab"})), []) for key in ("enum", "examples")),
    *((f"tool-type-{word}", f"A schema may be of type {word}.", with_tool(tool({"type": word})), []) for word in ("array", "boolean", "integer", "null", "number", "object", "string")),
    ("tool-type-list", "A schema may be of a list of one type.", with_tool(tool({"type": ["integer"]})), []),
    ("tool-types", "A schema may be of several types.", with_tool(tool({"type": ["string", "null"]})), []),
    ("reject-tool-type-list-empty", "A schema is not of an empty list of types.", with_tool(tool({"type": []})), []),
    ("reject-tool-type-twice", "A schema is not of one type twice.", with_tool(tool({"type": ["string", "string"]})), []),
    ("reject-tool-type-element", "Each type of a list is one.", with_tool(tool({"type": ["string", "text"]})), []),
    ("reject-tool-type-number", "A type of a schema is no number.", with_tool(tool({"type": 5})), []),
    ("reject-tool-schema-number", "A schema inside of another is no number.", with_tool(tool({"properties": {"a": 5}})), []),
    ("reject-tool-order", "A key of a schema is looked at before those that the meta-schema has behind it.", with_tool(tool({"propertyNames": OVERFLOWS, "minLength": {}})), []),
    ("reject-tool-order-overflow", "A pattern that overflows counts if the meta-schema has it before the other fault.", with_tool(tool({"minItems": {}, **OVERFLOWS})), []),
    ("reject-tool-items-behind", "In items of a schema all is looked at, even behind a fault.", with_tool(tool({"items": {"minLength": {}, **OVERFLOWS}})), []),
    ("reject-tool-items-list-behind", "Each of items of a schema is looked at, even behind one that is wrong.", with_tool(tool({"items": [{"minLength": {}}, OVERFLOWS]})), []),
    ("reject-tool-items-inside", "What lies deeper in items of a schema is looked at behind a fault too.", with_tool(tool({"items": {"minLength": {}, "properties": {"a": {"allOf": [{"minLength": {}}, {"patternProperties": {"a{4294967295}": 5}}]}}}})), []),
    ("reject-tool-dependencies-behind", "In one of dependencies of a schema all is looked at, even behind a fault.", with_tool(tool({"dependencies": {"a": {"minLength": {}, **OVERFLOWS}}})), []),
    ("reject-tool-properties-behind", "In properties of a schema nothing is looked at behind a fault.", with_tool(tool({"properties": {"a": {"minLength": {}, **OVERFLOWS}}})), []),
    ("reject-tool-all-of-behind", "In allOf of a schema nothing is looked at behind a fault.", with_tool(tool({"allOf": [{"minLength": {}}, OVERFLOWS]})), []),
    ("reject-tool-items-pattern-properties", "In a list as patternProperties of a schema no pattern is looked at.", with_tool(tool({"items": {"patternProperties": ["a{4294967295}"]}})), []),
    ("reject-tool-pattern-properties-first", "The schemas of patternProperties are looked at before the patterns.", with_tool(tool({"patternProperties": {"a{4294967295}": 5}})), []),
    # images
    ("image-jpeg", "An image may be a JPEG.", say(user(behind(jpeg()))), []),
    ("image-jpeg-progressive", "A JPEG may be progressive.", say(user(behind(jpeg(progressive=True)))), []),
    ("image-jpeg-extended", "A JPEG may have a frame of the extended kind.", say(user(behind(jpeg().replace(b"\xff\xc0", b"\xff\xc1")))), []),
    ("image-jpeg-bare", "A JPEG may lack the segment of JFIF.", say(user(behind(jpeg_with(drop=(0xE0,))))), []),
    ("image-jpeg-codes-first", "Tables of codes of a JPEG may stand before its frame.", say(user(behind(jpeg_with(codes_first=True)))), []),
    ("image-jpeg-conditioning", "A segment of arithmetic coding is no frame of a JPEG.", say(user(behind(jpeg_with(b"\xff\xcc\x00\x08\x00\x10\x01\x10\x10\x05")))), []),
    ("image-jpeg-comment", "A comment of a JPEG may hold what looks like a frame.", say(user(behind(jpeg_with(b"\xff\xfe\x00\x17" + like_a_frame(0xC0) + b"\xff\xc0")))), []),
    ("image-jpeg-long-comment", "A comment of a JPEG may be longer than 255 bytes.", say(user(behind(jpeg_with(b"\xff\xfe\x01\x04" + b"a" * 258)))), []),
    ("image-jpeg-like-frames", "Segments of a JPEG with markers just below and above those of frames are none.", say(user(behind(jpeg_with(like_a_frame(0xE1), like_a_frame(0xEF))))), []),
    ("image-jpeg-fill", "Bytes that fill up before a marker of a JPEG do not count in a request.", say(user(behind(jpeg_with(b"\xff\xff\xff")))), []),
    ("image-jpeg-junk", "A byte between two segments of a JPEG makes no marker with the one before it.", say(user(behind(jpeg_with(b"\xff\xfe\x00\x03\xff", b"\xc0")))), []),
    ("image-jpeg-large", "The sides of a JPEG have two bytes.", say(user(behind(jpeg(size=(272, 264))))), []),
    ("image-png-window", "A PNG may be compressed with a small window.", say(user(behind(small_window()))), []),
    ("image-two-texts", "Texts behind an image are one text.", say(user(A, text("a"), text("b"))), []),
    ("image-jpeg-restart", "A restart marker before the frame of a JPEG has no segment.", say(user(behind(jpeg_with(b"\xff\xd0", b"\xff\xd7")))), []),
    *((f"reject-jpeg-{kind}", f"{title} of a JPEG without a frame is none.", say(user(behind(b"\xff\xd8" + like_a_frame(marker) + bytes(20)))), []) for kind, title, marker in (("codes", "A table of codes", 0xC4), ("extension", "An extension", 0xC8), ("conditioning", "A segment of arithmetic coding", 0xCC), ("application", "An application's segment", 0xE1))),
    ("reject-jpeg-alone", "The first bytes of a JPEG are no image.", say(user(behind(b"\xff\xd8\xff"))), []),
    ("reject-jpeg-cut", "A JPEG that is cut off in its frame is no image.", say(user(behind(jpeg()[: jpeg().index(b"\xff\xc0") + 8]))), []),
    ("reject-jpeg-cut-late", "A JPEG whose frame lacks its last byte is no image.", say(user(behind(jpeg()[: jpeg().index(b"\xff\xc0") + 18]))), []),
    ("reject-jpeg-cut-early", "A JPEG that is cut off before its frame is no image.", say(user(behind(jpeg()[: jpeg().index(b"\xff\xc0")]))), []),
    ("reject-jpeg-begin", "A JPEG begins with its own marker.", say(user(behind(b"\x00" + jpeg()[1:]))), []),
    ("reject-png-cut", "A PNG that is cut off in its header is no image.", say(user(behind(png()[:20]))), []),
    ("reject-png-cut-late", "A PNG that is cut off behind its header is no image.", say(user(behind(png()[:33]))), []),
    ("reject-png-signature", "A PNG begins with its own eight bytes.", say(user(behind(png().replace(b"\r\n", b"\n\n", 1)))), []),
    ("reject-png-header", "A PNG has a header.", say(user(behind(png()[:8] + png()[33:]))), []),
    ("reject-image-chunk-no-image", "What an image chunk holds is an image.", say(user({"type": "image", "image": "AAAA"})), []),
    ("reject-image-chunk-empty", "An image chunk that begins as a data: URL has a payload.", say(user({"type": "image", "image": "data:image/png;base64,"})), []),
    ("image-chunk-data-url", "An image chunk may hold a data: URL.", say(user({"type": "image", "image": corpus.picture(40, 20)})), []),
    ("image-chunk-last", "One image chunk behind one text is put before it.", say(user(text("a"), {"type": "image", "image": corpus.picture(16, 16)})), []),
    ("image-data-url-any-type", "The type that a data: URL names is not looked at.", say(user(at("data:text/plain;x=1;base64," + corpus.picture(40, 20).split(",")[1]))), []),
    ("image-base64-odd", "Characters of base64 that are none of its digits are skipped.", say(user(at(corpus.picture(40, 20).replace("i", " i\n-_.", 3)))), []),
    ("reject-image-base64-ascii", "base64 has no character outside of ASCII.", say(user(at(corpus.picture(40, 20) + "\u00e9"))), []),
    ("reject-image-base64-cut", "base64 does not end inside of a group.", say(user(at("data:image/png;base64,iVBORw0KGgo"))), []),
    ("reject-data-url-empty", "A data: URL is not empty.", say(user(at("data:image/png;base64,"))), []),
    ("reject-data-url-no-comma", "A data: URL has a comma.", say(user(at("data:image/png;base64"))), []),
    ("reject-file-device", "What a file:// URL names is an image.", say(user(at("file:///dev/null"))), []),
    ("reject-file-directory", "A file:// URL names no folder.", say(user(at("file:///"))), []),
    ("reject-file-host", "A file:// URL has no host: its path begins behind the second slash.", say(user(at("file://localhost/no/such/image.png"))), []),
    ("reject-url-file", "A URL of a file has two slashes.", say(user(at("file:/no/such/image.png"))), []),
    ("reject-url-scheme", "An image is not fetched by FTP.", say(user(at("ftp://127.0.0.1/image.png"))), []),
    ("reject-url-none", "The URL of an image is not empty.", say(user(at(""))), []),
    ("reject-url-nobody", "An image is not fetched where nobody answers.", say(user(at("http://127.0.0.1:1/image.png"))), []),
]  # fmt: skip

LONG = [
    system("Be brief."),
    user("one two three"),
    assistant("four five"),
    user("six seven"),
    assistant("eight"),
    user("nine ten"),
]

# name, what it shows, messages, limit
TRUNCATED = [
    ("fits", "A request that fits is left whole.", LONG, 100),
    ("first-turn", "The first turn goes first, the assistant's answer with it.", LONG, 22),
    ("two-turns", "The second turn goes after the first.", LONG, 14),
    ("system-stays", "System messages and the last user message stay.", LONG, 9),
    ("reject", "System messages and the last user message have to fit.", LONG, 8),
    (
        "assistant-first",
        "An assistant message in front goes alone.",
        [assistant("a b c d"), user("one"), assistant("two"), user("three")],
        11,
    ),
    (
        "result",
        "Calls and results go with their question.",
        [HI, assistant(calls=[call()]), result(), assistant("b"), BYE],
        10,
    ),
    ("image", "An image's tokens count.", [user(A, text("a")), assistant("b"), BYE], 5),
    (
        "calls-first",
        "Calls in front go alone, and their result stays as long as it fits.",
        [assistant(calls=[call()]), result(), HI],
        17,
    ),
    (
        "result-first",
        "A result in front goes alone.",
        [result("one two three"), assistant("a"), user("b")],
        7,
    ),
]

FILLED = [
    ("both", "The suffix stands before the prompt.", {"prompt": "def f(", "suffix": "return a"}),
    ("no-suffix", "Without a suffix [SUFFIX] stands alone.", {"prompt": "def f("}),
    ("null-suffix", "suffix may be null.", {"prompt": "def f(", "suffix": None}),
    ("empty-suffix", "An empty suffix is none.", {"prompt": "def f(", "suffix": ""}),
    ("empty-prompt", "An empty prompt is nothing behind [PREFIX].", {"prompt": "", "suffix": "a"}),
    ("suffix-no-space", "No ▁ is put in front of a suffix.", {"prompt": "a", "suffix": "Hello"}),
    ("suffix-space", "A suffix keeps a space of its own.", {"prompt": "a", "suffix": " Hello"}),
    ("suffix-newline", "A suffix may begin with a line feed.", {"prompt": "a\n", "suffix": "\n  b"}),
    (
        "control-strings",
        "Control strings in prompt and suffix are ordinary text.",
        {"prompt": "[SUFFIX]", "suffix": "[PREFIX]</s>"},
    ),
    ("reject-no-prompt", "A request to fill in has a prompt.", {"suffix": "a"}),
    (
        "reject-unknown-key",
        "A request to fill in with a key that nobody knows is refused.",
        {"prompt": "a", "x": 1},
    ),
    ("reject-type", "A prompt is a string.", {"prompt": 5}),
]

TEXTS = [
    ("nothing", "No text is no token.", "", []),
    ("word", "A text begins with its own ▁.", "Hello", ["T-spacing"]),
    ("space", "A space alone is two ▁.", " ", ["T-spacing"]),
    ("leading-space", "A leading space is a piece beside the ▁ in front.", " Hello", ["T-spacing"]),
    ("leading-spaces", "Leading spaces and the ▁ in front are merged together.", "    x", ["T-spacing"]),
    ("double-space", "Spaces are kept as they are.", "Hello  world\n", ["T-spacing"]),
    ("trailing-space", "A trailing space is a piece.", "Hello ", ["T-spacing"]),
    ("spaces-before-word", "A run of spaces is merged before the word behind it.", "a     b", []),
    ("newline", "A line feed is a byte piece.", "\n", []),
    ("newline-space", "A space behind a line feed is a ▁.", "a\n b", []),
    ("tab", "A tab is a character.", "\tx", []),
    ("crlf", "Carriage return and line feed are two characters.", "a\r\nb", ["T-graphemes"]),
    ("nul", "A NUL is a byte piece.", "\u0000", []),
    ("thai", "Merging works on Unicode scalars, not on grapheme clusters.", "สวัสดี", ["T-graphemes"]),
    ("keycap", "An emoji sequence and a combining accent are several scalars.", "1️⃣ e\u0301", ["T-graphemes"]),
    ("flag", "A flag is two characters.", "🇩🇪", ["T-graphemes"]),
    ("family", "Joiners are characters.", "👨‍👩‍👧", ["T-graphemes"]),
    (
        "composed",
        "é and e with an accent are two texts: nothing is normalised.",
        "é e\u0301",
        ["T-graphemes"],
    ),
    ("ligature", "Ligatures and wide letters stay.", "ﬁ Ａ ｱ", []),
    ("hangul", "Jamo are not composed.", "한 ᄒ\u1161\u11ab", []),
    (
        "control-strings",
        "Control strings in text are ordinary text.",
        "[IMG] </s> [/INST]",
        ["T-control-in-text"],
    ),
    ("bos-string", "<s> is ordinary text.", "<s>", ["T-control-in-text"]),
    ("unk-string", "<unk> is ordinary text.", "<unk>", []),
    ("user-defined", "User-defined pieces are matched in text.", "[REF]x[/REF]", []),
    (
        "user-defined-space",
        "A ▁ stands between a user-defined piece and a space, none between it and a letter.",
        "[REF] x",
        [],
    ),
    (
        "user-defined-first",
        "A text that begins with a user-defined piece has its ▁ all the same.",
        "[REF]",
        [],
    ),
    ("reference-document", "User-defined pieces are matched inside a word.", "x[REFERENCE_DOC_3]y", []),
    (
        "reference-document-longest",
        "The longest user-defined piece is taken.",
        "[REFERENCE_DOC_1]0 [REFERENCE_DOC_10]",
        [],
    ),
    (
        "reference-document-last",
        "The longest of the user-defined pieces are pieces wherever they stand.",
        "[REFERENCE_DOC_19][REFERENCE_DOC_10] [REFERENCE_DOC_19]",
        [],
    ),
    ("user-defined-cut", "Half of a user-defined piece is ordinary text.", "[REF", []),
    ("user-defined-case", "A user-defined piece in lower case is ordinary text.", "[ref]", []),
    ("byte-string", "The name of a byte piece in text is ordinary text.", "<0x0A>", []),
    ("digits", "Each digit is a token of its own.", "2024-11-18", []),
    ("other-digits", "Digits of other scripts are characters.", "١٢٣ １２", []),
    ("lower-block", "U+2581 in text is the same as a space.", "▁▁ x", []),
    (
        "byte-fallback",
        "A character without a piece becomes its UTF-8 bytes.",
        "日本語\u0000\U0001f9d1\u200d\U0001f680",
        [],
    ),
    ("private-use", "A character for private use becomes its UTF-8 bytes.", "\ue000\U0010ffff", []),
    ("noncharacter", "A noncharacter becomes its UTF-8 bytes.", "\ufffe\uffff", []),
    ("bom", "A byte-order mark is a character.", "\ufeffa", []),
    ("odd-spaces", "Only U+0020 becomes ▁.", "\u00a0\t\u3000", []),
    ("zero-width", "Characters of no width are characters.", "a\u200bb\u00adc", []),
    ("right-to-left", "Direction marks are characters.", "\u200eא\u202e", []),
    ("long-run", "Of equal merges the leftmost goes first.", "a" * 25, []),
    ("long-run-pairs", "Of equal merges that overlap the leftmost goes first.", "ababa" * 9, []),
    ("long-run-spaces", "Runs of spaces are cut from the left.", " " * 37 + "x", []),
    ("apostrophe", "An apostrophe has no rule of its own.", "don't I'll", []),
    ("code", "Code has no rule of its own.", "def f(x):\n    return x**2\n", []),
    ("url", "A URL has no rule of its own.", "https://example.org/a?b=c&d=%20#e", []),
    ("mixed", "Scripts may meet in a word.", "Привет-мир你好world", []),
]

# name, what it shows, pieces
DECODED = [
    ("nothing", "No token is no text.", []),
    ("word", "The ▁ in front of a text goes.", ["▁Hello"]),
    ("inner-space", "Every other ▁ is a space.", ["▁Hello", "▁world"]),
    ("two-spaces", "Of two ▁ in front one goes.", ["▁▁", "x"]),
    ("lone-space", "A ▁ alone in front goes, the next stays.", ["▁", "▁Hello"]),
    ("no-space", "A text may begin without ▁.", ["Hello"]),
    ("controls", "Control tokens say nothing.", ["<s>", "[INST]", "▁Hello", "[/INST]", "▁Hi", "</s>"]),
    ("control-first", "A control token in front does not keep the ▁.", ["<s>", "▁Hello"]),
    ("images", "Image tokens say nothing.", ["[IMG]", "[IMG_BREAK]", "[IMG]", "[IMG_END]", "▁a"]),
    ("user-defined", "User-defined pieces are text.", ["▁", "[REF]", "x", "[/REF]"]),
    ("bytes", "Bytes of a character are that character.", ["<0xE2>", "<0x82>", "<0xAC>"]),
    ("bytes-newline", "A byte of ASCII is a character.", ["▁a", "<0x0A>", "b"]),
    ("bytes-cut-off", "Bytes that are no character are U+FFFD each.", ["<0xE2>", "<0x82>"]),
    (
        "bytes-broken",
        "A byte that breaks a character off leaves U+FFFD for each byte before it.",
        ["<0xE2>", "<0x82>", "<0x41>"],
    ),
    ("bytes-split", "A token between bytes parts them.", ["<0xE2>", "▁a", "<0x82>"]),
    (
        "bytes-split-control",
        "A control token between bytes parts them.",
        ["<0xE2>", "<s>", "<0x82>", "<0xAC>"],
    ),
    ("bytes-surrogate", "Half of a surrogate pair in UTF-8 is no character.", ["<0xED>", "<0xA0>", "<0x80>"]),
    ("bytes-overlong", "An overlong form in UTF-8 is no character.", ["<0xC0>", "<0xAF>"]),
    ("bytes-emoji", "Four bytes are one character.", ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]),
    (
        "bytes-emojis",
        "Eight bytes may be two characters of four.",
        ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0xF0>", "<0x9F>", "<0x9A>", "<0x80>"],
    ),
    ("bytes-then-space", "Bytes in front keep the ▁ behind them.", ["<0x41>", "▁b"]),
    ("unknown", "<unk> is U+2047 between spaces.", ["<unk>", "▁a"]),
]

# name, what it shows, ids
IDS = [
    ("last-id", "The last of the ids is 32767.", [32767]),
    ("reject-id-behind", "An id behind the last piece is none.", [16127, 32768]),
    ("reject-id-negative", "An id below 0 is none.", [16127, -1]),
]

# ---- writing ----

TOKENIZER = releases.MODEL.name
PROCESSOR = SentencePieceProcessor(model_file=str(releases.MODEL))
MISTRAL = {"name": "mistral-common", "version": releases.CURRENT}
SENTENCEPIECE = {"name": "sentencepiece", "version": importlib.metadata.version("sentencepiece")}


# Tools/checks/check_tokens_document.py asks it all of these.
WITNESSES = [{"name": "Fixtures/oracle/tokens.py", "what": "the same answer, from Docs/Tokens.md alone"}]


def case(id, title, operation, inputs, expect, basis, oracle, exposes=(), importance="high", **more) -> dict:
    return {
        "id": f"tokens/{id}", "title": title, "stage": "tokens", "exposes": list(exposes), "subject": {"operation": operation, "tokenizer": TOKENIZER},
        "model": None, "inputs": inputs, "expect": expect, **more, "compare": "exact", "requires": [], "conflicts_with": [], "importance": importance,
        "basis": basis, "oracle": oracle, "witnesses": WITNESSES, "since": "0.2", "retired": None,
    }  # fmt: skip


def every_release(questions: list[dict], keep: tuple) -> list[tuple[dict, list]]:
    """For each question the newest answer, and the ranges of releases, those that differ with their
    own.
    """
    table = {}
    for release in releases.RELEASES:
        print(f"asking {release}", flush=True)
        table[release] = [
            {key: answer[key] for key in (*keep, "reject") if key in answer}
            for answer in releases.answers(release, questions)
        ]
    found = []
    for index in range(len(questions)):
        newest = table[releases.CURRENT][index]
        ranges: list[dict] = []
        for release in releases.RELEASES:
            answer = table[release][index]
            if ranges and ranges[-1]["expect"] == answer:
                ranges[-1]["to"] = release
            else:
                ranges.append({"from": release, "to": release, "expect": answer})
        found.append(
            (
                newest,
                [
                    entry if entry["expect"] != newest else {"from": entry["from"], "to": entry["to"]}
                    for entry in ranges
                ],
            )
        )
    return found


ENCODE = "MistralTokenizer.encode_chat_completion"


def rules() -> None:
    answers = every_release(
        [{"request": request} for _, _, request, _ in RULES], ("tokens", "text", "images")
    )
    cases = []
    for (name, title, request, exposes), (expect, ranges) in zip(RULES, answers, strict=True):
        assert name.startswith("reject-") == ("reject" in expect), (name, expect)
        cases.append(
            case(
                f"request/{name}",
                title,
                "render a V7 request",
                {"request": request},
                expect,
                ENCODE,
                MISTRAL,
                exposes,
                releases=ranges,
            )
            | {"since": SINCE.get(name, "0.2")}
        )
    suites.write("tokens/request/rules", cases)


def truncated() -> None:
    questions = [
        {"request": {"messages": messages, "truncate_for_context_length": True}, "max_tokens": limit}
        for _, _, messages, limit in TRUNCATED
    ]
    cases = []
    for (name, title, _, _), question, (expect, ranges) in zip(
        TRUNCATED, questions, every_release(questions, ("tokens", "text", "images")), strict=True
    ):
        assert name.startswith("reject") == ("reject" in expect), (name, expect)
        cases.append(
            case(
                f"truncation/{name}",
                title,
                "cut a V7 request to a number of tokens",
                question,
                expect,
                ENCODE,
                MISTRAL,
                releases=ranges,
            )
        )
    suites.write("tokens/truncation/rules", cases)


def drawn() -> None:
    generator = random.Random(SEED)
    questions = [{"request": corpus.request(generator, longest=30)} for _ in range(2000)]
    suites.write("tokens/request/corpus", [
        case(f"request/random-{number:04}", "A random request becomes each release's tokens, or its exception.", "render a V7 request", question, expect, ENCODE, MISTRAL, importance="low", releases=ranges)
        for number, (question, (expect, ranges)) in enumerate(zip(questions, every_release(questions, ("tokens", "images")), strict=True))
    ])  # fmt: skip


def filled() -> None:
    answers = every_release([{"fim": request} for _, _, request in FILLED], ("tokens", "text"))
    suites.write("tokens/fim/rules", [
        case(f"fim/{name}", title, "render a request to fill in the middle", {"fim": request}, expect, "MistralTokenizer.encode_fim", MISTRAL, releases=ranges)
        for (name, title, request), (expect, ranges) in zip(FILLED, answers, strict=True)
    ])  # fmt: skip


def texts() -> None:
    def made(name, title, content, exposes=(), importance="high"):
        return case(f"text/{name}", title, "encode one stretch of text", {"text": content}, {"tokens": PROCESSOR.encode(content)},
                    "SentencePieceProcessor.encode", SENTENCEPIECE, exposes, importance)  # fmt: skip

    suites.write(
        "tokens/text/rules",
        [made(*entry) for entry in TEXTS]
        + [
            made(
                f"language-{code}", f"A sentence in the language {code} becomes sentencepiece's tokens.", line
            )
            for code, line in corpus.SENTENCES.items()
        ],
    )
    generator = random.Random(SEED + 1)
    suites.write(
        "tokens/text/corpus",
        [
            made(
                f"random-{number:04}",
                "A random text becomes sentencepiece's tokens.",
                corpus.text(generator, 80),
                importance="low",
            )
            for number in range(5000)
        ],
    )


def decoded() -> None:
    def made(name, title, tokens, importance="high"):
        try:
            expect = {"text": PROCESSOR.decode(tokens)}
        except IndexError as error:
            expect = {"reject": type(error).__name__}
        assert name.startswith("reject-") == ("reject" in expect), (name, expect)
        return case(f"decode/{name}", title, "decode tokens", {"tokens": tokens}, expect, "SentencePieceProcessor.decode", SENTENCEPIECE,
                    importance=importance)  # fmt: skip

    first = PROCESSOR.piece_to_id("<0x00>")
    generator = random.Random(SEED + 2)

    def token():
        return generator.choice(
            [
                generator.randrange(32768),
                first + generator.randrange(256),
                first + generator.choice(b"\xe2\x82\xac\xf0\x9f\x98\x80"),
                generator.randrange(20),
            ]
        )

    cases = []
    for name, title, pieces in DECODED:
        tokens = [PROCESSOR.piece_to_id(piece) for piece in pieces]
        assert [PROCESSOR.id_to_piece(token) for token in tokens] == pieces, name
        cases.append(made(name, title, tokens))
    cases += [made(*entry) for entry in IDS]
    cases += [
        made(
            f"random-{number:03}",
            "Random tokens become sentencepiece's text.",
            [token() for _ in range(generator.randrange(24))],
            "low",
        )
        for number in range(400)
    ]
    suites.write("tokens/decode/rules", cases)


if __name__ == "__main__":
    texts()
    decoded()
    filled()
    rules()
    truncated()
    drawn()
