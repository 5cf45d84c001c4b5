"""Texts and chat requests to tokens, and tokens to text, as Docs/Tokens.md has it.

    python tokens.py MODEL < questions.jsonl      (lines as `pixtral-ref tokens --jsonl` takes them)

Written from that page (by the page's author), rule by rule: the standard library, plain loops, no
speed. Numbers in comments are the page's. What requests may be is in chat_request.py, and in
openai_request.py for those in OpenAI's form.
"""

import functools
import hashlib
import json
import re
import struct
import sys
from pathlib import Path

import chat_request
import openai_request
from chat_request import FILL_IN, Refused, image_size, need, value_of

# 1.6
BOS, EOS, INST, END_INST, CALLS, TOOLS, END_TOOLS, RESULTS, END_RESULTS = range(1, 10)
IMG, PREFIX, SUFFIX, IMG_BREAK, IMG_END, SYSTEM, END_SYSTEM, CONTENT = 10, 11, 13, 14, 15, 16, 17, 18
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # 1.5
MARK = "\u2581"


# ---- 1. the model file ----


def fields(message: bytes):
    """1.2"""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        size = varint() if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
        yield tag >> 3, message[at : at + size]
        at += size


class Tokenizer:
    DIGEST = "1b968b8dc352f42192367337c78ccc61e1eaddc6d641a579372d4f20694beb7a"

    def __init__(self, path):
        data = Path(path).read_bytes()
        if hashlib.sha256(data).hexdigest() != self.DIGEST:  # 1.1
            raise ValueError(f"{path}: not the file of Tokens.md 1.1")
        pieces = [dict(fields(value)) for number, value in fields(data) if number == 1]  # 1.3, 1.4
        self.pieces = [piece[1].decode() for piece in pieces]
        self.kinds = [piece[3] for piece in pieces]
        self.normal = {text: id for id, text in enumerate(self.pieces) if self.kinds[id] == NORMAL}
        self.score = {text: struct.unpack("<f", pieces[id][2])[0] for text, id in self.normal.items()}
        marked = [id for id, kind in enumerate(self.kinds) if kind == USER_DEFINED]
        self.user_defined = {self.pieces[id]: id for id in marked}
        longest_first = sorted(self.user_defined, key=len, reverse=True)
        self.cut = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")  # 2.4
        self.first_byte = self.kinds.index(BYTE)
        self.word = functools.lru_cache(1 << 16)(self.merge)

    # ---- 2. from text to tokens ----

    def encode(self, text: str, mark: bool = True) -> list[int]:
        need(not any("\ud800" <= scalar <= "\udfff" for scalar in text), "RuntimeError")  # 2.1
        if not text:  # 2.2
            return []
        text = (MARK if mark else "") + text.replace(" ", MARK)  # 2.3
        tokens: list[int] = []
        for part in self.cut.split(text):  # 2.4
            if part in self.user_defined:
                tokens.append(self.user_defined[part])
            else:
                # No merge crosses the beginning of a word (1.7).
                for word in re.findall(f"{MARK}+[^{MARK}]*|[^{MARK}]+", part):
                    tokens += self.word(word)
        return tokens

    def merge(self, stretch: str) -> list[int]:
        symbols = list(stretch)  # 2.5
        while True:
            pairs = [a + b for a, b in zip(symbols, symbols[1:])]
            found = [(-self.score[pair], at) for at, pair in enumerate(pairs) if pair in self.score]  # 2.6
            if not found:
                break
            _, at = min(found)  # 2.7
            symbols[at : at + 2] = [pairs[at]]
        tokens: list[int] = []
        for symbol in symbols:  # 2.8
            if symbol in self.normal:
                tokens.append(self.normal[symbol])
            else:
                tokens += [self.first_byte + byte for byte in symbol.encode()]
        return tokens

    def text(self, tokens: list[int]) -> str:
        """2.9"""
        return "".join(self.pieces[token] for token in tokens)

    # ---- 3. from tokens to text ----

    def decode(self, tokens: list[int]) -> str:
        need(all(0 <= token < len(self.pieces) for token in tokens), "IndexError")  # 3.1
        text, run, left_out = "", b"", False
        for token in tokens:
            kind, piece = self.kinds[token], self.pieces[token]
            if kind == BYTE:
                run += bytes([token - self.first_byte])
                continue
            text, run = text + characters(run), b""  # 3.7
            if kind == UNKNOWN:
                text += " \u2047 "  # 3.4
            elif kind in (NORMAL, USER_DEFINED):
                if piece.startswith(MARK) and not text and not left_out:  # 3.6
                    piece, left_out = piece[1:], True
                text += piece.replace(MARK, " ")  # 3.5
        return text + characters(run)


def characters(run: bytes) -> str:
    """3.8"""
    text = ""
    while run:
        for size in (1, 2, 3, 4):
            try:
                text += run[:size].decode()
            except UnicodeDecodeError:
                continue
            run = run[size:]
            break
        else:
            text += "\ufffd"
            run = run[1:]
    return text


# ---- 10. the template ----


def merged(messages: list[dict]) -> list[dict]:
    """10.2"""
    found: list[dict] = []
    for one in messages:
        one = {**one, "tool_calls": one.get("tool_calls") or [], "prefix": one.get("prefix")}
        if found and one["role"] == found[-1]["role"] and one["role"] in ("user", "assistant"):
            last = found[-1]
            last["content"] = last["content"] + one["content"]
            last["tool_calls"] = last["tool_calls"] + one["tool_calls"]
            last["prefix"] = last["prefix"] or one["prefix"]
        else:
            found.append(one)
    return [{**one, "content": joined(one["content"])} for one in found]


def joined(content: list[dict]) -> list[dict]:
    """10.3"""
    found: list[dict] = []
    for part in content:
        if part["type"] != "text":
            found.append(part)
        elif part["text"] and found and found[-1]["type"] == "text":
            found[-1] = {"type": "text", "text": found[-1]["text"] + "\n\n" + part["text"]}
        elif part["text"]:
            found.append(part)
    return found


def dumps(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def grid(width: int, height: int) -> tuple[int, int]:
    """Columns and rows: Model.md 4.1."""
    ratio = max(width, height) / 1024
    sides = [max(round(side / ratio), 1) if ratio > 1 else side for side in (width, height)]
    columns, rows = ((side - 1) // 16 + 1 for side in sides)
    return columns, rows


class Template:
    read = staticmethod(chat_request.read)  # the form of the requests that `chat` takes

    def __init__(self, tokenizer: Tokenizer):
        self.encode = tokenizer.encode

    def chat(self, request, limit: int | None = None) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens of a request, and the grids of its images."""
        request = self.read(request, limit)
        messages = merged(request["messages"])
        last_user = max((n for n, one in enumerate(messages) if one["role"] == "user"), default=-1)
        grids: list[tuple[int, int]] = []
        tokens: list[list[int]] = []
        for n, one in enumerate(messages):
            before = self.tools(request["tools"]) if n == last_user and request["tools"] else []
            tokens.append(before + self.message(one, grids))
        if request["truncate_for_context_length"]:
            truncate(tokens, messages, last_user, limit)
        return [BOS, *(token for part in tokens for token in part)], grids

    def tools(self, tools: list[dict]) -> list[int]:
        """10.7"""
        keys = ("name", "description", "parameters")
        functions = [{key: tool["function"][key] for key in keys} for tool in tools]
        written = [{"type": "function", "function": function} for function in functions]
        return [TOOLS, *self.encode(dumps(written)), END_TOOLS]

    def message(self, one: dict, grids: list) -> list[int]:
        """10.5"""
        content = one["content"]
        match one["role"]:
            case "system":
                return [SYSTEM, *self.chunks(content, grids), END_SYSTEM]
            case "user":
                types = [part["type"] for part in content]
                if types in (["text", "image"], ["text", "image_url"]):
                    content = content[::-1]  # 10.4
                return [INST, *self.chunks(content, grids), END_INST]
            case "assistant":
                need(content or one["tool_calls"], "TokenizerException")  # 10.13
                tokens = self.encode(content[0]["text"].rstrip(" ")) if content else []  # 10.8
                if one["tool_calls"]:
                    tokens += [CALLS, *self.encode(dumps([described(call) for call in one["tool_calls"]]))]
                return tokens + ([] if one["prefix"] else [EOS])  # 10.12
            case "tool":
                id = self.encode(one["tool_call_id"])
                return [RESULTS, *id, CONTENT, *self.chunks(content, grids), END_RESULTS]

    def chunks(self, content: list[dict], grids: list) -> list[int]:
        tokens: list[int] = []
        for part in content:
            match part["type"]:
                case "text":
                    tokens += self.encode(part["text"])
                case "image" | "image_url":
                    columns, rows = grid(*image_size(part))
                    grids.append((columns, rows))
                    tokens += ([IMG] * columns + [IMG_BREAK]) * rows  # Model.md 4.5
                    tokens[-1] = IMG_END
                case "thinking":
                    raise Refused("TokenizerException")  # 10.14
                case _:
                    raise Refused("AssertionError")
        return tokens

    def fill_in(self, request) -> list[int]:
        """12"""
        request = FILL_IN(request)
        prompt, suffix = self.encode(request["prompt"]), self.encode(request["suffix"] or "", mark=False)
        return [BOS, SUFFIX, *suffix, PREFIX, *prompt]


def described(call: dict) -> dict:
    """10.9"""
    function = call["function"]
    return {"name": function["name"], "arguments": value_of(function["arguments"]), "id": call["id"]}


def truncate(tokens: list[list[int]], messages: list[dict], last_user: int, limit: int) -> None:
    """11"""

    def too_many() -> bool:
        return sum(map(len, tokens)) > limit

    def drop(n: int) -> None:
        if messages[n]["role"] != "system" and n != last_user:
            tokens[n] = []

    n = 0
    while n < len(messages) and too_many():
        is_user = messages[n]["role"] == "user"
        drop(n)
        n += 1
        while is_user and n < len(messages) and messages[n]["role"] != "user":  # 11.4
            drop(n)
            n += 1
    need(not too_many(), "TokenizerException")


def answer(question: dict, tokenizer: Tokenizer) -> dict:
    """What the suites expect: of `request` (with `max_tokens` and `form`), `fim`, `text` or `tokens`."""
    template = Template(tokenizer)
    if question.get("form") == "openai":
        template.read = openai_request.read
    try:
        if "request" in question:
            tokens, grids = template.chat(question["request"], question.get("max_tokens"))
            images = [{"columns": columns, "rows": rows} for columns, rows in grids]
            return {"tokens": tokens, "text": tokenizer.text(tokens), "images": images}
        if "fim" in question:
            tokens = template.fill_in(question["fim"])
            return {"tokens": tokens, "text": tokenizer.text(tokens)}
        if "text" in question:
            tokens = tokenizer.encode(question["text"])
            return {"tokens": tokens, "pieces": [tokenizer.pieces[token] for token in tokens]}
        return {"text": tokenizer.decode(question["tokens"])}
    except Refused as refused:
        return {"reject": str(refused)}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    model = Tokenizer(sys.argv[1])
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps({"id": question.get("id"), **answer(question, model)}))
