"""Random texts and chat requests, the same for the same seed: what the tokens suites and the checks
are fed with.

    python corpus.py texts SEED COUNT       (JSON lines {"id", "text"})
    python corpus.py requests SEED COUNT    (JSON lines {"id", "request"})

Both are made to hurt: every script and kind of white space, strings that look like control tokens,
JSON that is none, tools, results, prefixes, images of every proportion; about a third of the
requests break a rule somewhere.
"""

import base64
import functools
import io
import json
import random
import sys

from PIL import Image

# One plain sentence, in the makers' own words, in 46 languages and 19 scripts: "The train leaves at
# seven, and it will rain tomorrow."
SENTENCES = {
    "en": "The train leaves at seven, and it will rain tomorrow.",
    "de": "Der Zug fährt um sieben, und morgen wird es regnen.",
    "fr": "Le train part à sept heures, et il pleuvra demain.",
    "es": "El tren sale a las siete, y mañana lloverá.",
    "pt": "O comboio parte às sete, e amanhã vai chover.",
    "it": "Il treno parte alle sette, e domani pioverà.",
    "nl": "De trein vertrekt om zeven uur, en morgen gaat het regenen.",
    "sv": "Tåget går klockan sju, och i morgon blir det regn.",
    "da": "Toget kører klokken syv, og i morgen bliver det regnvejr.",
    "fi": "Juna lähtee seitsemältä, ja huomenna sataa.",
    "is": "Lestin fer klukkan sjö og á morgun rignir.",
    "et": "Rong väljub kell seitse ja homme sajab vihma.",
    "lv": "Vilciens atiet septiņos, un rīt līs.",
    "lt": "Traukinys išvyksta septintą, o rytoj lis.",
    "pl": "Pociąg odjeżdża o siódmej, a jutro będzie padać.",
    "cs": "Vlak odjíždí v sedm a zítra bude pršet.",
    "hu": "A vonat hétkor indul, és holnap esni fog.",
    "ro": "Trenul pleacă la șapte, iar mâine va ploua.",
    "tr": "Tren yedide kalkıyor ve yarın yağmur yağacak.",
    "vi": "Tàu khởi hành lúc bảy giờ, và ngày mai trời sẽ mưa.",
    "id": "Kereta berangkat pukul tujuh, dan besok akan hujan.",
    "sw": "Treni inaondoka saa moja, na kesho mvua itanyesha.",
    "cy": "Mae'r trên yn gadael am saith, a bydd hi'n bwrw glaw yfory.",
    "mt": "It-tren jitlaq fis-sebgħa, u għada se tagħmel ix-xita.",
    "ru": "Поезд отходит в семь, а завтра будет дождь.",
    "uk": "Потяг відходить о сьомій, а завтра йтиме дощ.",
    "bg": "Влакът тръгва в седем, а утре ще вали.",
    "sr": "Воз полази у седам, а сутра ће падати киша.",
    "el": "Το τρένο φεύγει στις επτά και αύριο θα βρέξει.",
    "hy": "Գնացքը մեկնում է յոթին, իսկ վաղը անձրև կգա։",
    "ka": "მატარებელი შვიდზე გადის, ხვალ კი იწვიმებს.",
    "he": "הרכבת יוצאת בשבע, ומחר ירד גשם.",
    "ar": "يغادر القطار في السابعة، وغدًا ستمطر.",
    "fa": "قطار ساعت هفت حرکت می‌کند و فردا باران می‌بارد.",
    "hi": "ट्रेन सात बजे चलती है, और कल बारिश होगी।",
    "bn": "ট্রেন সাতটায় ছাড়ে, আর কাল বৃষ্টি হবে।",
    "ta": "ரயில் ஏழு மணிக்குப் புறப்படும், நாளை மழை பெய்யும்.",
    "te": "రైలు ఏడు గంటలకు బయలుదేరుతుంది, రేపు వర్షం పడుతుంది.",
    "th": "รถไฟออกเจ็ดโมง และพรุ่งนี้ฝนจะตก",
    "km": "រថភ្លើងចេញនៅម៉ោងប្រាំពីរ ហើយស្អែកនឹងមានភ្លៀង។",
    "my": "ရထားက ခုနစ်နာရီမှာ ထွက်ပြီး မနက်ဖြန် မိုးရွာမယ်။",
    "am": "ባቡሩ በሰባት ሰዓት ይነሳል፤ ነገም ይዘንባል።",
    "bo": "མེ་འཁོར་ཆུ་ཚོད་བདུན་པར་འཐོན་གྱི་རེད།",
    "ja": "電車は七時に出て、明日は雨が降ります。",
    "zh": "火车七点开，明天会下雨。",
    "ko": "기차는 일곱 시에 떠나고 내일은 비가 온다.",
}

# First and last code point of blocks, assigned or not: what no sentence holds.
BLOCKS = {
    "controls": (0x00, 0x1F), "ASCII": (0x20, 0x7E), "C1": (0x7F, 0xA0), "Latin": (0xA0, 0x24F), "combining": (0x300, 0x36F), "Greek": (0x370, 0x3FF),
    "Cyrillic": (0x400, 0x52F), "Hebrew": (0x591, 0x5F4), "Arabic": (0x600, 0x6FF), "Devanagari": (0x900, 0x97F), "Thai": (0xE01, 0xE5B),
    "Tibetan": (0xF00, 0xFDA), "jamo": (0x1100, 0x11FF), "Latin with marks": (0x1E00, 0x1EFF), "punctuation": (0x2000, 0x206F),
    "symbols": (0x2070, 0x2BFF), "kana": (0x3041, 0x30FF), "Han": (0x4E00, 0x9FFF), "Hangul": (0xAC00, 0xD7A3), "private": (0xE000, 0xF8FF),
    "compatibility": (0xF900, 0xFDFF), "noncharacters": (0xFDD0, 0xFDEF), "half width": (0xFF00, 0xFFFF), "Linear B": (0x10000, 0x100FF),
    "music": (0x1D100, 0x1D1FF), "mathematics": (0x1D400, 0x1D7FF), "emoji": (0x1F300, 0x1FAFF), "Han B": (0x20000, 0x2FA1F),
    "unassigned": (0x30000, 0xDFFFF), "tags": (0xE0000, 0xE01EF), "private planes": (0xF0000, 0x10FFFF),
}  # fmt: skip

SPACES = [
    " ", "  ", "   ", "\t", "\n", "\n\n", "\r", "\r\n", "\v", "\f", "\0", "\x1c", "\x85", "\xa0", "\xad", "\u1680", "\u180e", "\u2000", "\u2003", "\u2009",
    "\u200b", "\u200c", "\u200d", "\u2028", "\u2029", "\u202e", "\u202f", "\u2060", "\u3000", "\ufeff", "\ufffc", "\ufffd", "\ufffe", "\uffff", "▁", "▁▁", "▁ ",
    "\ud7ff", "\ue000", "\U0010ffff",
]  # fmt: skip

SEQUENCES = [
    "🇩🇪", "🇩🇪🇫🇷🇮", "👍🏽", "👨‍👩‍👧‍👦", "1️⃣", "#️⃣", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "❤️", "☺︎", "🧑🏿‍🚀", "🫠", "😂😂😂", "e\u0301", "é",
    "A\u030a", "Å", "ﬁ", "ﷺ", "ｱ", "①", "½", "İ", "ß", "ẞ", "a\u0300\u0301\u0302", "가", "ᄀ\u1161\u11a8", "क्षि", "กำ", "לְ", "ﻻ", "Ω", "Ω", "K", "ǆ", "q\u0307\u0323",
]  # fmt: skip

CONTROLS = [
    "<s>", "</s>", "<unk>", "<pad>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/TOOL_RESULTS]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[PREFIX]", "[SUFFIX]", "[MIDDLE]", "[control_17]", "[REF]", "[/REF]", "[[REF]]", "[ref]", "[REF", "[REFERENCE_DOC_3]",
    "[REFERENCE_DOC_1]0", "[REFERENCE_DOC_10]", "[/REFERENCE_DOC_3]", "<0x0A>", "<0x00>", "<0xE2><0x96><0x81>", "[INST", "<|im_start|>",
]  # fmt: skip

CODE = [
    "def f(x):\n    return x**2\n", "for (int i=0;i<n;++i) {\n\t\ta[i] += 1;\n}\n", "\\frac{a}{b} \\sum_{i=0}^{\\infty} x_i^2", '<p class="a">&nbsp;</p>',
    "SELECT * FROM t WHERE a='b';", "https://example.org/a?b=c&d=%20#e", '{"a": [1, 2, {"b": null}]}', "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋", "0x1F600 \\u0041 \\n \\\\",
    "|---|---|\n| a | b |", "==========", "!!!???...", "١٢٣٤", "１２３", "3.14159265358979", "1,000,000", "2024-11-24T10:00:00Z", "1 2 3  4   5", "don't I'll we've",
]  # fmt: skip


def fragment(r: random.Random) -> str:
    match r.randrange(11):
        case 0 | 1:
            sentence = r.choice(list(SENTENCES.values()))
            start = r.randrange(len(sentence))
            return r.choice([sentence, sentence[start:], sentence[: start + 1], sentence.upper()])
        case 2:
            first, last = BLOCKS[r.choice(list(BLOCKS))]
            return "".join(chr(r.randint(first, last)) for _ in range(r.randint(1, 20)))
        case 3:
            return r.choice(SPACES) * r.choice([1, 1, 1, 2, 3, 7])
        case 4:
            return r.choice(SEQUENCES)
        case 5:
            return r.choice(CODE)
        case 6:
            return r.choice(["", " ", "x"]) + r.choice(CONTROLS) + r.choice(["", " ", "x"])
        case 7:
            return str(r.randrange(10 ** r.randint(1, 25)))
        case 8:
            return "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(1, 30)))
        case 9:
            return r.choice(
                ["a", "ab", "aab", ". ", "- ", "=-", "\n ", "\r\n", "的", " the", "0", "é", "😀", "▁"]
            ) * r.randint(1, 40)
        case _:
            return "".join(
                chr(r.choice([r.randrange(0xD800), r.randrange(0xE000, 0x110000)]))
                for _ in range(r.randint(1, 12))
            )


def text(r: random.Random, longest: int = 10**9) -> str:
    if r.random() < 0.06:
        return ""
    whole = "".join(fragment(r) for _ in range(r.choice([1, 1, 2, 2, 3, 4, 6, 10])))
    whole = r.choice(["", "", "", r.choice(SPACES)]) + whole + r.choice(["", "", "", r.choice(SPACES)])
    return whole[:longest]


# ---- requests ----

SIZES = [
    (1, 1),
    (1, 2),
    (15, 16),
    (16, 16),
    (17, 16),
    (32, 48),
    (100, 80),
    (1024, 16),
    (1025, 49),
    (2048, 33),
    (1025, 1),
    (4000, 1),
    (1, 4000),
    (64, 33),
]


@functools.cache
def picture(width: int, height: int, mode: str = "RGB") -> str:
    """A data: URL of a black image."""
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def image(r: random.Random) -> dict:
    size = r.choice(SIZES) if r.random() < 0.3 else (r.randint(1, 50), r.randint(1, 50))
    url = picture(*size, r.choice(["RGB", "L", "RGBA"]))
    return {
        "type": "image_url",
        "image_url": r.choice(
            [url, {"url": url}, {"url": url}, {"url": url, "detail": r.choice(["high", "auto", None])}]
        ),
    }


def content(r: random.Random, role: str, wild: bool, longest: int):
    if wild and r.random() < 0.05:
        return r.choice([None, 3, True, {}, [3], ["a"], [{"type": "text"}], [{"type": "foo"}], [{"type": "text", "text": "a", "x": 1}],
                         [{"type": "thinking", "thinking": "t"}], [{"type": "image_url"}]])  # fmt: skip
    if r.random() < 0.5:
        return text(r, longest)
    pictures = 0.4 if role == "user" else 0.1 if wild else 0
    return [
        image(r)
        if r.random() < pictures
        else {"type": "text", "text": "" if r.random() < 0.15 else text(r, longest)}
        for _ in range(r.choice([0, 1, 1, 2, 2, 3, 4]))
    ]


NUMBERS = """
    0 -0 -0.0 0.0 1.50 1e16 1E5 1e+5 1e-7 1e22 1e23 123456789012345678901234567890 -9223372036854775809 100.0 0.1 1e400 -1e400 1e-400 NaN Infinity
    -Infinity 3.141592653589793238 5e-324 1.7976931348623157e308 12345.678e-3 9007199254740993.0 0.00001 0.0001 123456789.123456789 2.5e-5 -1.5 01 1.
    .5 +1 1e 0x10
""".split()
STRINGS = r"\u00e9 \ud83d\ude00 \ud836\udc00 \ud800 \udc00x \ud800\ud800 \u0000 \/ \b\f\n\r\t \u007f \u2028 \" \\ \u0041 \uD83D\uDE00 \x \u12 \ud83d\u0041".split()


def json_text(r: random.Random, depth: int = 0) -> str:
    """Text that is JSON, or nearly."""

    def space():
        return r.choice(["", "", "", " ", "\n", "\t ", "\r\n"])

    kind = r.random()
    if depth > 3 or kind < 0.3:
        return space() + r.choice(NUMBERS + ["1", "2", "true", "false", "null", "True", "{}", "[]"]) + space()
    if kind < 0.5:
        return (
            space()
            + r.choice([json.dumps(text(r, 40), ensure_ascii=r.random() < 0.5), f'"{r.choice(STRINGS)}"'])
            + space()
        )
    if kind < 0.65:
        return (
            space()
            + "["
            + ",".join(json_text(r, depth + 1) for _ in range(r.randint(0, 4)))
            + r.choice(["", "", "", "", ","])
            + "]"
            + space()
        )
    keys = [
        r.choice(['"a"', '"b"', '"a"', '"é"', '"\\u0061"', '""', f'"{r.choice(STRINGS)}"'])
        for _ in range(r.randint(0, 4))
    ]
    return (
        space()
        + "{"
        + ",".join(f"{space()}{key}{space()}:{json_text(r, depth + 1)}" for key in keys)
        + "}"
        + space()
    )


def value(r: random.Random, depth: int = 0):
    if depth > 2 or r.random() < 0.5:
        return r.choice(
            [
                0,
                1,
                -1,
                True,
                False,
                None,
                1.5,
                1e16,
                1e-7,
                123456789012345678901234567890,
                -0.0,
                0.1,
                2.0,
                float("inf"),
                float("nan"),
                text(r, 30),
            ]
        )
    if r.random() < 0.5:
        return [value(r, depth + 1) for _ in range(r.randint(0, 3))]
    return {r.choice(["a", "b", "é", text(r, 6)]): value(r, depth + 1) for _ in range(r.randint(0, 3))}


def arguments(r: random.Random, wild: bool):
    kind = r.random()
    if kind < 0.5:
        return json_text(r)
    if kind < 0.6:
        return {r.choice(["a", "b", text(r, 6)]): value(r) for _ in range(r.randint(0, 3))}
    if kind < 0.7:
        return r.choice(
            [
                "",
                "{}",
                "null",
                "[]",
                "   ",
                "\ufeff{}",
                '{"a":1}x',
                '"x"',
                "NaN",
                "-",
                '{"a"',
                '{"a":1,}',
                "{'a':1}",
                "1 2",
                "\xa01",
                "//x",
                text(r, 60),
            ]
        )
    if wild and kind < 0.74:
        return r.choice([None, 3, [1], True])
    return json.dumps(
        {
            r.choice(["location", "n", "unit"]): r.choice(["Paris", 3, 1.5, None, ["a"], {"x": 1}])
            for _ in range(r.randint(0, 3))
        }
    )


def call_id(r: random.Random, wild: bool):
    if wild and r.random() < 0.08:
        return r.choice(
            ["null", "", "short", "toolongid0", "abc-12345", "abcdefghi\n", "é23456789", "١٢٣٤٥٦٧٨٩", None, 5]
        )
    return "".join(
        r.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for _ in range(9)
    )


def name(r: random.Random, wild: bool):
    if wild and r.random() < 0.08:
        return r.choice(["", "a b", "é", "a" * 64, "a" * 65, "a\n", "a.b", "-", None, 4])
    return r.choice(["f", "get_weather", "get-weather", "A1", "x" * 20])


FAULTS = [
    {"type": "foo"}, {"type": []}, {"type": ["string", "string"]}, {"properties": []}, {"properties": {"a": 5}}, {"required": ["a", "a"]}, {"minLength": -1},
    {"minLength": 1.0}, {"minLength": 1.5}, {"enum": []}, {"enum": 5}, {"items": []}, {"pattern": "["}, {"pattern": "a+"}, {"$ref": 5}, {"title": 5}, {"anyOf": []},
    {"not": 5}, {"dependencies": {"a": ["b", "b"]}}, {"patternProperties": {"(": {}}}, {"multipleOf": 0}, {"uniqueItems": 1}, {"exclusiveMinimum": True},
    {"$defs": {"a": 5}}, {"writeOnly": 1}, 5, None, [],
]  # fmt: skip


def tool(r: random.Random, wild: bool):
    kinds = ["string", "number", "integer", "boolean", "array", "object", "null"]
    schema = r.choice([
        {},
        {"type": "object", "properties": {r.choice(["location", "é", "a b"]): {"type": r.choice(kinds), "description": text(r, 40)}}, "required": ["location"]},
        {"type": "object", "properties": {"a": {"enum": [value(r, 2)], "default": value(r, 1)}}, "additionalProperties": r.choice([True, False, {}])},
        {"title": text(r, 20), "foo": value(r, 1)},
    ])  # fmt: skip
    function = {
        "name": name(r, wild),
        "parameters": r.choice(FAULTS) if wild and r.random() < 0.2 else schema,
    }
    if r.random() < 0.7:
        function["description"] = text(r, 60)
    if r.random() < 0.4:
        function["strict"] = r.choice([True, False, "maybe"] if wild else [True, False])
    function = dict(r.sample(list(function.items()), len(function)))
    return {"function": function} if r.random() < 0.3 else {"type": "function", "function": function}


def message(r: random.Random, role: str, wild: bool, ids: list, longest: int) -> dict:
    found = {"role": role, "content": content(r, role, wild, longest)}
    if role == "assistant":
        if r.random() < 0.35:
            new = [call_id(r, wild) for _ in range(r.choice([1, 1, 2, 3]))]
            ids += new
            found["tool_calls"] = [
                {
                    "id": id,
                    "type": "function",
                    "function": {"name": name(r, wild), "arguments": arguments(r, wild)},
                }
                for id in new
            ]
            found["content"] = r.choice([found["content"], None, ""])
        elif not wild:
            while (
                not found["content"]
                or isinstance(found["content"], list)
                and not any(chunk["text"] for chunk in found["content"])
            ):
                found["content"] = content(r, role, False, longest)
        if wild and r.random() < 0.15:
            found["prefix"] = r.choice([True, False, "x", None, 1])
    if role == "tool":
        if ids and r.random() < 0.8:
            found["tool_call_id"] = ids.pop(0)
        elif not wild or r.random() < 0.7:
            found["tool_call_id"] = call_id(r, wild)
        if r.random() < 0.3:
            found["name"] = name(r, wild)
    if wild and r.random() < 0.02:
        found[r.choice(["name", "x", "role", "weight"])] = r.choice(["x", None, 5])
    return found


SETTINGS = [
    {"model": "x"},
    {"temperature": 0.3},
    {"max_tokens": 5},
    {"random_seed": 1},
    {"tools": None},
    {"tool_choice": "auto"},
    {"response_format": {"type": "text"}},
    {"top_p": 1},
]
WRONG_SETTINGS = [
    {"temperature": 1.5}, {"max_tokens": -1}, {"stream": True}, {"tools": 5}, {"tool_choice": "x"}, {"reasoning_effort": "low"}, {"reasoning_effort": "foo"},
    {"truncate_for_context_length": True}, {"continue_final_message": "x"}, {"messages": None},
]  # fmt: skip


def request(r: random.Random, longest: int = 300) -> dict:
    """- longest: characters of one text."""
    wild = r.random() < 0.3
    messages: list = []
    ids: list = []
    if wild:
        for _ in range(r.randint(0 if r.random() < 0.05 else 1, 5)):
            messages.append(
                message(
                    r,
                    r.choice(["user", "user", "assistant", "assistant", "system", "tool"]),
                    True,
                    ids,
                    longest,
                )
            )
    else:
        if r.random() < 0.5:
            messages += [message(r, "system", False, [], longest) for _ in range(r.choice([1, 1, 2]))]
        for turn in range(r.randint(1, 2)):
            messages += [message(r, "user", False, [], longest) for _ in range(r.choice([1, 1, 1, 2, 3]))]
            if turn and r.random() < 0.5:
                break
            for _ in range(r.choice([1, 1, 1, 2])):
                ids = []
                messages.append(message(r, "assistant", False, ids, longest))
                messages += [
                    {"role": "tool", "tool_call_id": id, "content": content(r, "tool", False, longest)}
                    for id in ids
                ]
        if messages[-1]["role"] == "assistant":
            if r.random() < 0.6:
                messages[-1]["prefix"] = True
            else:
                messages.append(message(r, "user", False, [], longest))
    whole: dict = {"messages": messages}
    if r.random() < 0.4:
        whole["tools"] = [tool(r, wild) for _ in range(r.choice([0, 1, 1, 2]))]
    if messages and messages[-1]["role"] == "assistant" and r.random() < 0.2:
        whole["continue_final_message"] = r.choice([True, False])
    if r.random() < 0.1:
        whole.update(r.choice(SETTINGS))
    if wild and r.random() < 0.06:
        whole.update(r.choice(WRONG_SETTINGS))
    return whole


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("texts", "requests"):
        sys.exit(__doc__)
    generator = random.Random(int(sys.argv[2]))
    for id in range(int(sys.argv[3])):
        made = {"text": text(generator)} if sys.argv[1] == "texts" else {"request": request(generator)}
        print(json.dumps({"id": id, **made}))
