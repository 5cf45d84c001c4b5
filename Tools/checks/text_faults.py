"""The faults of Docs/Faults.md that show in tokens or in grids: each puts one mistake into the
oracle of Docs/Tokens.md (Fixtures/oracle/tokens.py), or into its grid and that of image.py.

`FAULTS` has them by id, and `FORMS` other forms of the same mistakes, as `ID~FORM`. `put(name)` makes
the mistake for the rest of the process. Standard library only.
"""

import math
import re
import sys
import unicodedata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "Fixtures" / "oracle"))
import tokens  # noqa: E402
from tokens import Template, Tokenizer  # noqa: E402

# Layout of image tokens: what Template.chunks gives, changed. No text becomes one of these ids.


def extra_break(self, content, grids, plain=Template.chunks):
    """The last row is closed with a break and an end."""
    result = []
    for token in plain(self, content, grids):
        result += [tokens.IMG_BREAK, token] if token == tokens.IMG_END else [token]
    return result


def flat(self, content, grids, plain=Template.chunks):
    return [token for token in plain(self, content, grids) if token not in (tokens.IMG_BREAK, tokens.IMG_END)]


def is_image(part):
    return part["type"] in ("image", "image_url")


def last_image(messages, plain=tokens.merged):
    """Of all images only the last is used."""
    messages = plain(messages)
    left = sum(is_image(part) for one in messages for part in one["content"])
    for one in messages:
        kept = []
        for part in one["content"]:
            left -= is_image(part)
            if not is_image(part) or left == 0:
                kept.append(part)
        one["content"] = kept
    return messages


def newline_image(self, content, grids, plain=Template.chunks):
    """A line feed between a text and an image, on either side."""
    result = []
    for n, part in enumerate(content):
        if part["type"] == "text":
            before = "\n" if n > 0 and is_image(content[n - 1]) else ""
            behind = "\n" if n + 1 < len(content) and is_image(content[n + 1]) else ""
            part = {"type": "text", "text": before + part["text"] + behind}
        result.append(part)
    return plain(self, result, grids)


# Grids. Columns and rows of an image of width by height pixels.


def scaled(width, height, image_size, rounded):
    r = max(width, height) / image_size
    return (width, height) if r <= 1 else (max(rounded(width / r), 1), max(rounded(height / r), 1))


def grid_with(rounded, step=1):
    """Scaled sides `rounded`; patches taken in blocks of `step` by `step`."""

    def grid(width, height, patch_size=16, image_size=1024):
        sides = scaled(width, height, image_size, rounded)
        columns, rows = (((side - 1) // (patch_size * step) + 1) * step for side in sides)
        return columns, rows

    return grid


def upscaling_grid(width, height, patch_size=16, image_size=1024):
    r = max(width, height) / image_size
    columns, rows = ((max(round(side / r), 1) - 1) // patch_size + 1 for side in (width, height))
    return columns, rows


def nearest_grid(width, height, patch_size=16, image_size=1024):
    """To the nearest patch, halves up as C rounds them, and 8 to 1,024 patches in all."""
    sides = (width, height)
    columns, rows = (max(1, math.floor(side / patch_size + 0.5)) for side in sides)
    area = width * height / patch_size**2
    if columns * rows > 1024:
        columns, rows = (max(1, math.floor(side / patch_size / math.sqrt(area / 1024))) for side in sides)
    elif columns * rows < 8:
        columns, rows = (math.ceil(side / patch_size * math.sqrt(8 / area)) for side in sides)
    return columns, rows


# Template


def without_space(self, text, mark=True, plain=Tokenizer.encode):
    return plain(self, text, mark=False)


def two_spaces(self, text, mark=True, plain=Tokenizer.encode):
    return plain(self, " " + text if mark else text, mark)


def with_controls(self, text, mark=True, plain=Tokenizer.encode):
    """Names of control tokens inside a text become control tokens."""
    ids = {piece: id for id, piece in enumerate(self.pieces[:32]) if self.kinds[id] == tokens.CONTROL}
    result = []
    for part in re.split("(" + "|".join(map(re.escape, ids)) + ")", text):
        result += [ids[part]] if part in ids else plain(self, part, mark)
    return result


def start_again(self, tokenizer):
    """<s> in front of every text that the template encodes."""
    self.encode = lambda text, mark=True: [tokens.BOS, *tokenizer.encode(text, mark)]


def start_twice(self, request, limit=None, plain=Template.chat):
    """The template begins the prompt, and so does the tokenizer."""
    result, grids = plain(self, request, limit)
    return [tokens.BOS, *result], grids


def tools_first(self, request, limit=None, plain=Template.chat):
    """[AVAILABLE_TOOLS] in front of the first user turn, not of the last."""
    result, grids = plain(self, request, limit)
    if tokens.TOOLS in result:
        start, end = result.index(tokens.TOOLS), result.index(tokens.END_TOOLS) + 1
        listed, first = result[start:end], result.index(tokens.INST)
        result = result[:start] + result[end:]
        result[first:first] = listed
    return result, grids


def tools_inside(self, request, limit=None, plain=Template.chat):
    """[AVAILABLE_TOOLS] behind the [INST] that it belongs in front of."""
    result, grids = plain(self, request, limit)
    if tokens.TOOLS in result:
        start = result.index(tokens.TOOLS)
        user = result.index(tokens.INST, start)
        result[start : user + 1] = [tokens.INST, *result[start:user]]
    return result, grids


def closed_prefix(self, one, grids, plain=Template.message):
    return plain(self, one | {"prefix": False}, grids)


def lost_prefix(self, request, limit=None, plain=Template.chat):
    """`prefix: true` of the last message is lost, and </s> follows."""
    result, grids = plain(self, request, limit)
    last = request["messages"][-1]
    return (result + [tokens.EOS] if last.get("prefix") is True else result), grids


def template_name(self, request, limit=None, plain=Template.chat):
    plain(self, request, limit)  # what is no request is still refused
    return [tokens.BOS, *self.encode("mistral-v7")], []


# Tokenizer


def clusters(stretch):
    """Grapheme clusters, nearly: a scalar and the marks and joiners behind it, CR LF, a flag."""
    result = []
    for scalar in stretch:
        joins = unicodedata.category(scalar) in ("Mn", "Me", "Mc") or scalar == "\u200d"
        pair = result[-1] + scalar if result else ""
        if result and (joins or pair == "\r\n" or re.fullmatch("[\U0001f1e6-\U0001f1ff]{2}", pair)):
            result[-1] = pair
        else:
            result.append(scalar)
    return result


def by_id(self, path, plain=Tokenizer.__init__):
    """Merges in the order of ids."""
    plain(self, path)
    self.score = {text: -id for text, id in self.normal.items()}


# What each sets: (owner, name, value).
FAULTS = {
    "L-ids": [(tokens, "IMG_BREAK", 12), (tokens, "IMG_END", 13)],
    "L-extra-break": [(Template, "chunks", extra_break)],
    "L-flat": [(Template, "chunks", flat)],
    "L-last-image": [(tokens, "merged", last_image)],
    "G-floor": [(tokens, "grid", grid_with(math.floor))],
    "G-ceil": [(tokens, "grid", grid_with(math.ceil))],
    "G-half-away": [(tokens, "grid", grid_with(lambda side: math.floor(side + 0.5)))],
    "G-32": [(tokens, "grid", grid_with(round, step=2))],
    "G-round16": [(tokens, "grid", nearest_grid)],
    "G-upscale": [(tokens, "grid", upscaling_grid)],
    "T-spacing": [(Tokenizer, "encode", without_space)],
    "T-tools-place": [(Template, "chat", tools_inside)],
    # Tokenizer.merge begins with list(stretch), and nothing else in the module calls list.
    "T-graphemes": [(tokens, "list", clusters)],
    "T-control-in-text": [(Tokenizer, "encode", with_controls)],
    "T-double-bos": [(Template, "__init__", start_again)],
    "T-eos-on-continue": [(Template, "message", closed_prefix)],
    "T-template-name": [(Template, "chat", template_name)],
    "T-merge-order": [(Tokenizer, "__init__", by_id)],
    "T-newline-image": [(Template, "chunks", newline_image)],
    "T-openai-prefix": [(Template, "chat", lost_prefix)],
}

FORMS = {
    "T-spacing~doubled": [(Tokenizer, "encode", two_spaces)],
    "T-tools-place~first-turn": [(Template, "chat", tools_first)],
    "T-double-bos~once": [(Template, "chat", start_twice)],
}


def put(fault):
    for owner, name, value in (FAULTS | FORMS)[fault]:
        setattr(owner, name, value)
