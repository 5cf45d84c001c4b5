"""Makes Sources/PixtralText/Python/UnicodeAliases.swift: the aliases of characters that Python 3.11
finds, asked of its `unicodedata` (Unicode 14). Prints the checksums that PythonCharacterTests expects.

    python3.11 make_unicode_aliases.py
"""

import ctypes
import unicodedata
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "Sources/PixtralText/Python/UnicodeAliases.swift"


def aliases() -> dict[int, list[str]]:
    """By code point. Python keeps aliases and sequences as names of private characters, and only
    its C interface for the compiler tells them.
    """
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    functions = ctypes.cast(
        pointer(unicodedata._ucnhash_CAPI, b"unicodedata._ucnhash_CAPI"), ctypes.POINTER(ctypes.c_void_p)
    )
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_int, ctypes.c_int)
    name = kind(functions[0])
    buffer = ctypes.create_string_buffer(256)
    found: dict[int, list[str]] = {}
    for code in range(0xF0000, 0xF1000):
        if name(code, buffer, len(buffer), 1):
            alias = buffer.value.decode()
            character = unicodedata.lookup(alias)
            if len(character) == 1:
                found.setdefault(ord(character), []).append(alias)
    return found


def checksum(lines) -> int:
    """FNV-1a of 64 bits over lines with their ends."""
    hash = 0xCBF29CE484222325
    for line in lines:
        for byte in f"{line}\n".encode():
            hash = (hash ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return hash


def main() -> None:
    assert unicodedata.unidata_version == "14.0.0"
    found = aliases()
    selectors = {f"VS{n}" for n in range(1, 257)}
    lines = [
        f"{code:04X} {';'.join(sorted(set(names) - selectors))}"
        for code, names in sorted(found.items())
        if set(names) - selectors
    ]
    TARGET.write_text(
        "// Made by Tools/goldens/make_unicode_aliases.py.\n\n"
        "/// Aliases of characters in Unicode 14: control characters, abbreviations and corrected names. Without\n"
        "/// VS1 to VS256.\n"
        'let unicodeAliases = """\n' + "".join(f"  {line}\n" for line in lines) + '  """\n'
    )
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    names = (f"{ord(c):x} {unicodedata.name(c)}" for c in characters if unicodedata.name(c, None))
    print(f"names: {checksum(names):#x}")
    print(f"identifiers begin: {checksum(f'{ord(c):x}' for c in characters if c.isidentifier()):#x}")
    print(f"identifiers go on: {checksum(f'{ord(c):x}' for c in characters if ('a' + c).isidentifier()):#x}")
    print(f"space: {[f'{ord(c):x}' for c in characters if c.isspace()]}")


if __name__ == "__main__":
    main()
