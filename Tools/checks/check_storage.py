"""Compares what reads JSON and safetensors with Python's `json` and with safetensors, on mutated
texts and headers: what is accepted, and every value.

usage: check_storage.py READERS [COUNT [SEED]]

READERS is Tools/fuzz/readers, which `make check` builds. COUNT is how many JSON texts (200,000 by
default); there are a twentieth as many headers. What Python takes and RFC 8259 does not (NaN) is to
be refused, and by decision also: a key twice in an object, half of a surrogate pair, an integer
beyond 64 bits, a number beyond a double, more than 127 levels. Of headers, moreover: a tensor that is
an array, a dtype that is an object, sizes beyond 63 bits, more than 64 dimensions,
and two names that are one to Unicode.
"""

import json
import math
import random
import struct
import subprocess
import sys
import unicodedata

from safetensors import SafetensorError, deserialize

DTYPES = (
    "BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 "
    "F32 F64 I64 U64 C64"
).split()
DEPTH = 127


class Refused(Exception):
    """Python would read it; the reader must not."""


# ---- what Python reads, without what is to be refused


def unique(pairs):
    if len({key for key, _ in pairs}) < len(pairs):
        raise Refused("a key twice")
    return dict(pairs)


def constant(word):
    raise Refused(word)


def check(value, depth=0):
    if isinstance(value, (list, dict)):
        if depth == DEPTH:
            raise Refused("depth")
        for item in value.items() if isinstance(value, dict) else value:
            if isinstance(value, dict):
                check(item[0])
                item = item[1]
            check(item, depth + 1)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, float) and not math.isfinite(value):
        raise Refused("a number beyond a double")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Refused("an integer beyond 64 bits")


def expected_json(text: bytes):
    """(True, value) or (False, reason)"""
    try:
        value = json.loads(text.decode(), object_pairs_hook=unique, parse_constant=constant)
        check(value)
    except (ValueError, RecursionError, Refused) as error:
        return False, str(error)
    return True, value


def same(a, b) -> bool:
    """Of one type each, doubles bit for bit, keys in one order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return a == b


def expected_file(file: bytes):
    """(True, [[name, dtype, shape], ...]) or (False, reason); a header of other forms is refused."""
    try:
        tensors = deserialize(file)
    except SafetensorError as error:
        return False, str(error)
    length = struct.unpack("<Q", file[:8])[0]
    try:
        header = json.loads(file[8 : 8 + length], object_pairs_hook=unique)
        if len({unicodedata.normalize("NFC", name) for name in header}) < len(header):
            raise Refused("two spellings")
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            if not isinstance(tensor, dict) or not isinstance(tensor["dtype"], str):
                raise Refused("another form")
            if any(size >= 2**63 for size in tensor["shape"]) or len(tensor["shape"]) > 64:
                raise Refused("large sizes")
    except Refused as error:
        return False, str(error)
    return True, sorted([name, info["dtype"], info["shape"]] for name, info in tensors)


# ---- inputs


PIECES = [
    *(b"{ } [ ] , : \" \\ / null true false NaN Infinity -Infinity nul True -0 0 -0.0 00 01 1. .5 -.5 +1 1e 1e+ 1E5").split(),
    *(b"1e-7 1e999 -1e999 1e-999 1.7976931348623157e308 1.7976931348623159e308 5e-324 2e-324 0.1 123456789.125").split(),
    *(b"9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551616").split(),
    *(b'"a" "b" "" "\\u0000" "\\ud83d\\ude00" "\\ud83d" "\\ude00" "\\uD83D\\u0041" "\\u00e9" "\\uDBFF\\uDFFF" "\\u12" "\\x"').split(),
    *(b'"a":1 "\\u0061":2 "\\/\\b\\f\\n\\r\\t\\"\\\\" {} [] [[]] {"a":{}} {"a":1,"a":2} {"a":1,"\\u0061":2} [1,2]').split(),
    b" ", b"\n", b"\t", b"\r", b"\x0b", b"\x00", b"\x7f", b"\x1f", b"\xc2\x85", b"\xc3\xa9", b"e\xcc\x81", b"\xef\xbb\xbf",
    b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xff", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xa0", b"//", b"/**/", b"'a'",
]  # fmt: skip


def value(rng: random.Random, depth: int):
    kind = rng.randrange(9 if depth < 5 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, -1, 7, 10**18, -(2**63), 2**63 - 1, rng.getrandbits(63)])
    if kind == 2:
        return struct.unpack("d", rng.randbytes(8))[0] if rng.random() < 0.5 else rng.uniform(-1e6, 1e6)
    if kind <= 5:
        return "".join(chr(rng.choice([rng.randrange(128), rng.randrange(0xD800), 0x1F600])) for _ in range(rng.randrange(9)))  # fmt: skip
    if kind <= 7:
        return [value(rng, depth + 1) for _ in range(rng.randrange(6))]
    return {value_key(rng): value(rng, depth + 1) for _ in range(rng.choice([0, 1, 3, 12, 40]))}


def value_key(rng: random.Random) -> str:
    return rng.choice("abcdefgh") + str(rng.randrange(99)) * rng.randrange(2)


def mutated(rng: random.Random, text: bytes) -> bytes:
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 8])):
        at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        match rng.randrange(5):
            case 0:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + rng.choice(PIECES) + text[min(end, at + rng.randrange(4)) :]
            case 2:
                text = text[:at] + text[min(end, at + rng.randrange(1, 4)) :]
            case 3:
                text = text[:at] + text[at : at + 20] + text[at:]
            case 4 if at < len(text):
                text = text[:at] + bytes([text[at] ^ 1 << rng.randrange(8)]) + text[at + 1 :]
    return text


def texts(rng: random.Random, count: int):
    for depth in (126, 127, 128, 5000):
        yield b"[" * depth + b"]" * depth
        yield b'{"a":' * depth + b"1" + b"}" * depth
    for piece in PIECES:
        yield piece
        yield b"[" + piece + b"]"
        yield b'{"k":' + piece + b"}"
    for _ in range(count):
        made = value(rng, rng.choice([0, 0, 3, 5]))
        text = json.dumps(made, ensure_ascii=rng.random() < 0.3, indent=rng.choice([None, 1])).encode()
        yield mutated(rng, text[:400])


def headers(rng: random.Random, count: int):
    """Whole files: right ones, nearly right ones, and mutated ones."""
    for _ in range(count):
        header, offset = {}, 0
        if rng.random() < 0.3:
            header["__metadata__"] = rng.choice([None, {}, {"format": "pt", "dtype": "x"}, {"a": 1}, []])
        for n in range(rng.randrange(5)):
            dtype = rng.choice(DTYPES)
            shape = [rng.choice([0, 1, 2, 3, 4, 8]) for _ in range(rng.randrange(4))]
            bits = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "BF16": 16, "C64": 64}.get(dtype)
            size = math.prod(shape) * (bits or int("".join(filter(str.isdigit, dtype.split("_")[0])))) // 8
            info = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
            match rng.randrange(12):
                case 0:
                    info["more"] = value(rng, 3)
                case 1:
                    info = dict(rng.sample(list(info.items()), 3))
                case 2:
                    info[rng.choice(list(info))] = value(rng, 4)
                case 3:
                    info["data_offsets"][rng.randrange(2)] += rng.choice([-1, 1, 8])
                case 4:
                    info["shape"] = [*shape, rng.choice([0, 1, 2**62, 2**63 - 1, 2**63, 2**64])]
            offset += size
            header[rng.choice(["w", "", "é", "e\u0301", "a\0", "a", "__metadata", "dtype"]) + str(n)] = info
        members = list(header.items())
        rng.shuffle(members)
        text = json.dumps(dict(members), ensure_ascii=rng.random() < 0.5).encode()
        if rng.random() < 0.5:
            text = mutated(rng, text)
        data = bytes(max(0, offset + (rng.random() < 0.05)))
        yield struct.pack("<Q", len(text) + (rng.random() < 0.02)) + text + data


# ---- the comparison


def ask(binary: str, kind: str, inputs: list[bytes]) -> list[str]:
    lines = "".join(f"{kind} {text.hex()}\n" for text in inputs)
    answers = subprocess.run([binary], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
    answers = answers.decode().split("\n")[:-1]
    assert len(answers) == len(inputs), f"{len(answers)} answers to {len(inputs)} questions"
    return answers


def main() -> int:
    binary = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    rng = random.Random(seed)
    wrong = 0
    for kind, inputs, expect in (
        ("json", list(texts(rng, count)), expected_json),
        ("safetensors", list(headers(rng, count // 20)), expected_file),
    ):
        accepted = 0
        for text, answer in zip(inputs, ask(binary, kind, inputs), strict=True):
            is_read, value = expect(text)
            word, _, found = answer.partition(" ")
            accepted += word == "read"
            right = (word == "read") == is_read
            if right and is_read:
                found = json.loads(found)
                right = same(found if kind == "json" else sorted(tensor[:3] for tensor in found), value)
            if not right:
                wrong += 1
                if wrong <= 20:
                    print(
                        f"{kind} {text!r}\n  {answer}\n  expected: {'read' if is_read else 'refused'} {value}"
                    )
        print(f"{kind}: {len(inputs)} inputs, {accepted} of them read")
    print(f"{wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
