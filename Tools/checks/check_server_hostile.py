"""Nothing that comes over the network harms pixtral-ref-serve: strangers' requests, broken HTTP, load.

usage: check_server_hostile.py BINARY [--only documented,hostile,load] [--kinds KIND,…] [--load 60]
                               [--examples 100] [--seed 1]
       in a virtual environment of its own: pip install -r Tools/requirements-server.txt; 10 minutes

It starts `BINARY --checkpoint seeded:tiny --port 0` itself, anew for each of three parts:

- documented: schemathesis asks for every route of Docs/openapi.yaml, rightly and wrongly. There is no 5xx;
  statuses, types, headers and bodies are those of the document; what breaks a schema is refused
  (server_hooks.py adds what a schema cannot say).
- hostile: each kind of broken or malicious HTTP, JSON and client, a function each. What comes is what the
  contract has for it, or the connection is closed. Afterwards GET /health gives 200.
- load: 200 connections for --load seconds, good and bad ones mixed.

The memory of the server stays below PEAK throughout, and comes back to REST above where it began. It exits
with 1 if anything of that does not hold.
"""

import argparse
import base64
import collections
import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server_client import (
    CHAT,
    DETOKENIZE,
    MB,
    PEAK,
    REST,
    ROOT,
    SHORT,
    TOKENIZE,
    Answers,
    Server,
    ask,
    chunked,
    connect,
    head,
    post,
    talk,
)
from server_load import load

IMAGES = ROOT / "Fixtures" / "images"
KEY = "sesame"


# ---- the table


class Table:
    """What was sent, what may come, what came. `allowed` is a regular expression for the text of Answers."""

    def __init__(self, server: Server):
        self.server = server
        self.wrong: list[str] = []
        self.lock = threading.Lock()

    def row(self, what: str, came, allowed: str, note=""):
        end = f" [{came.end}, {came.seconds:.1f} s]" if isinstance(came, Answers) else ""
        is_right = re.fullmatch(allowed, str(came)) is not None
        with self.lock:
            mark = "      " if is_right else "WRONG "
            print(f"{mark}{what:74.74} {came}{end}{'  ' + note if note else ''}", flush=True)
            if not is_right:
                self.wrong.append(f"{what}: came {came}{end}, allowed {allowed}")

    def section(self, name: str):
        with self.lock:
            print(f"\n-- {name.replace('_', ' ')}")

    def health(self, name: str):
        """After each kind of hostility."""
        server = self.server
        came = ask(server, "GET", "/health", wait=20)
        now, most = server.memory("VmRSS"), server.memory("VmHWM")
        threads, files = server.threads_and_files()
        fault = server.memory_fault()
        print(f"       health {came}; {now // MB} MB, at most {most // MB}; {threads} threads, {files} files")
        if str(came) != "200" or fault:
            self.wrong.append(f"after {name}: health {came}, {fault or 'memory as it should be'}")


# Broken HTTP is refused, with an error in the body or without, or the connection is closed.
REFUSED = r"(4\d\d|50[15])( .*)?|closed|reset"


# ---- hostility, a function a kind


def bodies_that_are_no_json(table: Table):
    server = table.server
    for what, body, allowed in (
        ("no body", b"", "400 JSONDecodeError"),
        ("broken UTF-8 in a string", b'{"messages": "\xff\xfe"}', "400 UnicodeDecodeError"),
        ("overlong UTF-8", b'{"messages": "\xc0\x80"}', "400 UnicodeDecodeError"),
        ("a surrogate in UTF-8", b'{"messages": "\xed\xa0\x80"}', "400 UnicodeDecodeError"),
        ("cut off within a character", b'{"messages": "\xe2\x82', "400 UnicodeDecodeError"),
        ("a BOM in front", b'\xef\xbb\xbf{"messages": []}', "400 .*"),
        ("a NUL in a string, as it is", b'{"messages": "\x00"}', "400 JSONDecodeError"),
        ("NULs", bytes(1000), "400 .*"),
        ("a comma too many", b'{"messages": [],}', "400 JSONDecodeError"),
        ("something behind it", b'{"messages": []} {}', "400 JSONDecodeError"),
        ("100,000 arrays, not closed", b"[" * 100_000, "400 (RecursionError|JSONDecodeError)"),
        ("100,000 arrays", b"[" * 100_000 + b"]" * 100_000, "400 RecursionError"),
        ("100,000 objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "400 RecursionError"),
        ("null", b"null", "400 .*"),
        ("an array", b"[]", "400 .*"),
        ("a text", b'"messages"', "400 .*"),
        ("a number of 5,000 digits", b'{"messages": %s}' % (b"9" * 5000), "400 ValueError"),
        ("1e999", b'{"messages": 1e999}', "400 TypeError"),
    ):
        table.row(what, talk(server, post(CHAT, body), methods=("POST",)), allowed)
    for path in (TOKENIZE, DETOKENIZE):
        for what, body in (
            ("100,000 arrays", b"[" * 100_000 + b"]" * 100_000),
            ("broken UTF-8", b'{"prompt": "\xff"}'),
        ):
            came = talk(server, post(path, body), methods=("POST",))
            table.row(f"{what} to {path}", came, "400 (RecursionError|UnicodeDecodeError)")


def bodies_that_are_large(table: Table):
    server = table.server
    many = b"[" + b"{}," * (20 * MB - 1) + b"{}]"
    table.row("60 MB of [{},{},…]", talk(server, post(CHAT, many), methods=("POST",), wait=120), "400 .*")
    data = post(CHAT, b'{"messages":' + many + b"}")
    table.row("the same as messages", talk(server, data, methods=("POST",), wait=120), "400 .*")
    keys = b'{"messages": [], ' + b",".join(b'"%d":1' % i for i in range(5 * MB)) + b"}"
    table.row("5 million keys", talk(server, post(CHAT, keys), methods=("POST",), wait=120), "400 .*")
    tokens = b'{"tokens": [' + b"1," * (30 * MB) + b"1]}"
    came = talk(server, post(DETOKENIZE, tokens), methods=("POST",), wait=120)
    table.row("30 million tokens to /detokenize", came, "200|400 .*|413 .*|429 .*")
    word = {"prompt": "a" * (60 * MB)}
    came = talk(server, post(TOKENIZE, word), methods=("POST",), wait=180)
    table.row(
        "a word of 60 MB to /tokenize",
        came,
        "200|400 .*|413 .*|429 .*",
        f"{len(came.bodies[-1]) // MB if came.bodies else 0} MB came",
    )
    text = {"messages": [{"role": "user", "content": "Hello " * (2 * MB)}]}
    table.row(
        "12 MB of text, beyond the context",
        talk(server, post(CHAT, text), methods=("POST",), wait=180),
        "400 invalid_request_error.*",
    )
    zeros = bytes(MB)
    declared = head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {100 * MB}")
    came = talk(server, (part for part in [declared, *[zeros] * 100]), methods=("POST",))
    table.row("100 MB, declared", came, "413 .*")
    table.row("100 MB, declared and not sent", talk(server, declared, methods=("POST",)), "413 .*")
    came = talk(
        server,
        head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {10**30}"),
        methods=("POST",),
    )
    table.row("10^30 bytes, declared", came, "413 .*|400( .*)?")
    declared = head("POST", CHAT, "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%s\r\n" % (MB, zeros)
    came = talk(server, (part for part in [declared, *[chunk] * 100, b"0\r\n\r\n"]), methods=("POST",))
    table.row("100 MB in chunks", came, "413 .*")
    declared = head("POST", CHAT, "Content-Type: application/json")
    came = talk(server, (part for part in [declared, *[zeros] * 100]), methods=("POST",))
    table.row("100 MB, no length at all", came, "400 JSONDecodeError(; 4.*)?|411 .*|400 .*")
    for path in ("/health", "/v1/models", "/nowhere"):
        declared = head("GET", path, f"Content-Length: {100 * MB}")
        came = talk(server, (part for part in [declared, *[zeros] * 100]))
        table.row(f"100 MB with GET {path}", came, "(200|404 .*|413 .*|400 .*)|closed|reset")


def bodies_in_small_chunks(table: Table):
    server = table.server
    whole = json.dumps(SHORT).encode()
    declared = head("POST", CHAT, "Content-Type: application/json", "Transfer-Encoding: chunked")
    table.row("a byte a chunk", talk(server, declared + chunked(whole, 1), methods=("POST",)), "200")
    pad = json.dumps(SHORT | {"pad": "x" * 2 * MB}).encode()
    came = talk(server, declared + chunked(pad, 1), methods=("POST",), wait=60)
    table.row("2 MB, a byte a chunk", came, "200|4.*")
    extended = b"".join(b"1;x=%s\r\n%c\r\n" % (b"y" * 100, byte) for byte in whole) + b"0\r\n\r\n"
    table.row("with extensions", talk(server, declared + extended, methods=("POST",)), f"200|{REFUSED}")
    long = b"1;x=" + b"y" * (20 * MB)
    table.row(
        "an extension of 20 MB", talk(server, declared + long, methods=("POST",), wait=5), f"silent|{REFUSED}"
    )
    trailer = chunked(whole, 10)[:-2] + b"X: y\r\n\r\n"
    table.row("with a trailer", talk(server, declared + trailer, methods=("POST",)), f"200|{REFUSED}")
    trailers = chunked(whole, 10)[:-2] + b"X: y\r\n" * (4 * MB)
    table.row("trailers of 24 MB", talk(server, declared + trailers, methods=("POST",)), f"200|{REFUSED}")
    for what, line in (
        ("no number", b"x\r\n"), ("below 0", b"-1\r\n"), ("with a sign", b"+5\r\nhello\r\n"),
        ("0x5", b"0x5\r\nhello\r\n"), ("2^64 + 1", b"10000000000000001\r\n{\r\n"), ("2^63", b"8000000000000000\r\n"),
        ("2^64 - 1", b"ffffffffffffffff\r\n"), ("nothing", b"\r\n"), ("a space in front", b" 5\r\nhello\r\n"),
        ("a line feed alone", b"5\nhello\r\n"), ("longer than said", b"5\r\nhello!!\r\n"),
        ("a thousand zeros", b"0" * 1000 + b"5\r\nhello\r\n"),
    ):  # fmt: skip
        came = talk(server, declared + line + b"0\r\n\r\n", methods=("POST",))
        # It may also wait for so many bytes, which come to a 408.
        waits = "silent|" if what in ("2^63", "2^64 - 1") else ""
        table.row(f"a chunk's size: {what}", came, waits + REFUSED)


def lengths_that_lie(table: Table):
    server = table.server
    body = json.dumps(SHORT).encode()

    def sent(*lengths: str, rest=body):
        data = head("POST", CHAT, "Content-Type: application/json", *lengths) + rest
        return talk(server, data, methods=("POST",), linger=1)

    table.row("too short a length", sent(f"Content-Length: {len(body) - 5}"), "400 JSONDecodeError(; 4.*)?")
    table.row("two lengths that differ", sent(f"Content-Length: {len(body)}", "Content-Length: 3"), REFUSED)
    table.row("two lengths in one line", sent(f"Content-Length: {len(body)}, 3"), REFUSED)
    same = f"Content-Length: {len(body)}"
    table.row("two equal lengths", sent(same, same), f"200|{REFUSED}")
    for length in (
        f"+{len(body)}",
        "-1",
        "0x10",
        "1e2",
        "",
        "five",
        f"{len(body)}.0",
        "18446744073709551617",
        "٣",
        "1 0",
    ):
        came = sent("Content-Length: " + length.encode().decode("latin-1"))
        table.row(f"Content-Length: {length}", came, REFUSED)


def smuggled_requests(table: Table):
    """A request hidden in another's body must never be answered as one of its own."""
    server = table.server
    hidden = head("GET", "/v1/models/smuggled")
    kind = "Content-Type: application/json"
    once = r"(?!.*404)(40[0-9]|501)( .*)?|closed|reset"
    for what, headers, body in (
        ("both, chunks end first", ["Content-Length: %d" % (5 + len(hidden)), "Transfer-Encoding: chunked"], b"0\r\n\r\n" + hidden),
        ("both, the other order", ["Transfer-Encoding: chunked", "Content-Length: %d" % (5 + len(hidden))], b"0\r\n\r\n" + hidden),
        ("both, the length ends first", ["Content-Length: 4", "Transfer-Encoding: chunked"], b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)),
        ("Transfer-Encoding: xchunked", ["Transfer-Encoding: xchunked"], b"0\r\n\r\n" + hidden),
        ("Transfer-Encoding: chunked, identity", ["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n" + hidden),
        ("Transfer-Encoding: identity", ["Transfer-Encoding: identity"], b"0\r\n\r\n" + hidden),
        ("two, chunked and identity", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], b"0\r\n\r\n" + hidden),
        ("chunked twice", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + hidden),
        ("a space before the colon", ["Transfer-Encoding : chunked", "Content-Length: %d" % (5 + len(hidden))], b"0\r\n\r\n" + hidden),
        ("a space before the name", ["X: y", " Transfer-Encoding: chunked", "Content-Length: %d" % (5 + len(hidden))], b"0\r\n\r\n" + hidden),
        ("a vertical tab in it", ["Transfer-Encoding: \x0bchunked", "Content-Length: %d" % (5 + len(hidden))], b"0\r\n\r\n" + hidden),
        ("a line feed alone before it", ["X: y\nTransfer-Encoding: chunked", "Content-Length: %d" % (5 + len(hidden))], b"0\r\n\r\n" + hidden),
        ("a carriage return alone before it", ["X: y\rTransfer-Encoding: chunked", "Content-Length: %d" % (5 + len(hidden))], b"0\r\n\r\n" + hidden),
        ("a NUL in a header", ["X: y\0Transfer-Encoding: chunked", "Content-Length: %d" % (5 + len(hidden))], b"0\r\n\r\n" + hidden),
    ):  # fmt: skip
        came = talk(server, head("POST", CHAT, kind, *headers) + body, methods=("POST",), linger=1, wait=5)
        table.row(what, came, once)
    data = head("POST", CHAT, kind, "Transfer-Encoding: chunked", version="HTTP/1.0") + b"0\r\n\r\n" + hidden
    table.row("chunks in HTTP/1.0", talk(server, data, methods=("POST",), linger=1, wait=5), once)
    # Here the chunks do end, and what follows is a request of its own.
    data = head("POST", CHAT, kind, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n" + hidden
    came = talk(server, data, methods=("POST",), linger=1, wait=5)
    table.row("Transfer-Encoding: gzip, chunked", came, f"400 [^;]*; 404 [^;]*|{once}")
    data = head("GET", "/health", f"Content-Length: {len(hidden)}") + hidden
    table.row("a body of GET that is a request", talk(server, data, linger=1), "200|" + once)


def heads_that_are_broken(table: Table):
    server = table.server
    for what, data in (
        ("nothing but line ends", b"\r\n" * 1000),
        ("zeros", bytes(100)),
        ("a TLS hello", bytes.fromhex("160301020001000001fc0303") + bytes(200)),
        ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/0.9", b"GET /health\r\n\r\n"),
        ("HTTP/3.0", head("GET", "/health", version="HTTP/3.0")),
        ("HTTP/1.10", head("GET", "/health", version="HTTP/1.10")),
        ("http/1.1", head("GET", "/health", version="http/1.1")),
        ("HTTP/1.1x", head("GET", "/health", version="HTTP/1.1x")),
        ("two spaces", b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a space in the target", head("GET", "/health /x")),
        ("a target without a slash", head("GET", "health")),
        ("no target", b"GET HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a header without colon", head("GET", "/health", "hello")),
        ("a header without name", head("GET", "/health", ": hello")),
        ("a space in a header's name", head("GET", "/health", "a b: hello")),
        ("a folded header", head("GET", "/health", "X: a\r\n b")),
        ("a method of bytes", b"\xff\xfe /health HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("no Host in HTTP/1.1", head("GET", "/health", host="")),
        ("two Hosts", head("GET", "/health", "Host: y")),
    ):
        # These are taken by some servers and harm nobody: no host is told from another here.
        harmless = ("HTTP/1.10", "a folded header", "two spaces", "no Host in HTTP/1.1", "two Hosts")
        lenient = "200|" if what in harmless else ""
        lenient = "silent|" if what in ("nothing but line ends",) else lenient
        table.row(what, talk(server, data, wait=3, linger=0.5), lenient + REFUSED)
    came = talk(server, b"\r\n" + head("GET", "/health"), wait=3)
    table.row("a line end in front, which RFC 9112 2.2 lets pass", came, f"200|{REFUSED}")
    came = talk(server, b"GET /health HTTP/1.1\nHost: x\n\n", wait=3)
    table.row("line feeds alone", came, f"200|{REFUSED}")


def heads_that_are_large(table: Table):
    server = table.server
    for what, data in (
        ("a target of 10 MB", head("GET", "/" + "x" * (10 * MB))),
        ("a query of 10 MB", head("GET", "/health?" + "x" * (10 * MB))),
        ("a method of 10 MB", head("X" * (10 * MB), "/health")),
        ("a header of 10 MB", head("GET", "/health", "X: " + "y" * (10 * MB))),
        ("a header's name of 10 MB", head("GET", "/health", "y" * (10 * MB) + ": x")),
        ("a million headers", head("GET", "/health", *["X: y"] * MB)),
        ("20,000 different headers", head("GET", "/health", *[f"X{i}: y" for i in range(20_000)])),
        ("a header of 1 MB and no end", head("GET", "/health", "X: " + "y" * MB)[:-4]),
    ):
        table.row(what, talk(server, data, wait=5), REFUSED)


def targets(table: Table):
    server = table.server
    for target, allowed in (
        (f"http://{server.host}:{server.port}/health", "200"),
        ("http://elsewhere.example/health", "200|4.*"),
        ("https://elsewhere.example/health", "200|4.*"),
        ("/health?x=y", "200"), ("/health?", "200"), ("/health#x", "200|400 .*|404 .*"), ("/%68ealth", "200|404 .*"),
        ("/%2e/health", "200|404 .*"), ("/v1/%2e%2e/health", "200|404 .*"), ("/v1/../health", "200|404 .*"),
        ("//health", "404 .*|400 .*"), ("/health/", "404 .*"), ("/HEALTH", "404 .*"), ("/health%00", "404 .*|400 .*"),
        ("/v1%2Fmodels", "404 .*"), ("/v1/models/", "404 .*"), ("/v1/models/%", "404 .*|400 .*"),
        ("/v1/models/%zz", "404 .*|400 .*"), ("/v1/models/%ff", "404 .*|400 .*"), ("/v1/models/%00", "404 .*|400 .*"),
        ("/v1/models/%ed%a0%80", "404 .*|400 .*"), ("/v1/models/..%2f..%2fetc%2fpasswd", "404 .*"),
        ("/v1/models/seeded:tiny", "200"), ("/v1/models/seeded%3Atiny", "200"), ("/v1/models/seeded%3atiny?x", "200"),
        ("/v1/models/a/b/c", "404 .*"), ("/v1/models/seeded:tiny/", "404 .*"), ("/", "404 .*"), ("*", "400 .*|404 .*"),
        ("/v1/models/" + "x" * 3000, "404 .*|414 .*|431 .*"), ("/\xff\xfe", "404 .*|400( .*)?"),
    ):  # fmt: skip
        table.row(f"GET {target[:60]!r}", talk(server, head("GET", target)), allowed)


def methods(table: Table):
    server = table.server
    for path in ("/health", "/v1/models", "/v1/models/seeded:tiny"):
        came = ask(server, "HEAD", path)
        table.row(f"HEAD {path}", came, "200")
        length = (came.headers or [{}])[0].get("content-length", "0")
        real = len(ask(server, "GET", path).bodies[0])
        table.row(
            "  its length, that of GET, or none", length, f"{real}|0" if path == "/health" else str(real)
        )
    table.row("HEAD /nowhere", ask(server, "HEAD", "/nowhere"), "404")
    for path in ("/health", "/v1/models", CHAT, TOKENIZE, DETOKENIZE):
        others = ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get", "POSTS"]
        others += ["POST"] if path[1] in "hv" and path != CHAT else ["GET", "HEAD"]
        for method in others:
            came = ask(server, method, path)
            table.row(
                f"{method} {path}",
                came,
                "40[05]( .*)?|501( .*)?" if method in ("BREW", "get", "POSTS") else "405( .*)?",
            )
            allow = sorted(name.strip() for name in (came.headers or [{}])[0].get("allow", "").split(","))
            right = ["POST"] if path in (CHAT, TOKENIZE, DETOKENIZE) else ["GET", "HEAD"]
            if str(came).startswith("405") and allow != right:
                table.row(f"  Allow of {method} {path}", ", ".join(allow), ", ".join(right))
    table.row("TRACE /nowhere", ask(server, "TRACE", "/nowhere"), "404 .*|405 .*")
    table.row("OPTIONS *", talk(server, head("OPTIONS", "*")), "200|204|40[045] .*")
    came = talk(server, head("CONNECT", "elsewhere.example:443"), linger=1)
    table.row("CONNECT elsewhere.example:443", came, "40[045] .*|501 .*|closed")


def versions_and_connections(table: Table):
    server = table.server

    def closes(what: str, came: Answers, allowed="200"):
        table.row(what, came, allowed)
        table.row("  is the connection closed?", came.end, "closed")

    # HTTP/1.0 is answered, and as HTTP/1.1 (Serving.md 7): the server's library does not tell the two apart.
    table.row("HTTP/1.0", talk(server, head("GET", "/health", version="HTTP/1.0", host=""), linger=2), "200")
    came = talk(server, post(CHAT, SHORT | {"stream": True}, version="HTTP/1.0"), methods=("POST",), linger=2)
    table.row("a stream in HTTP/1.0", came, "200")
    closes("Connection: close", talk(server, head("GET", "/health", "Connection: close"), linger=2))
    # Said beside another word it is answered, and the connection kept.
    both = head("GET", "/health", "Connection: Keep-Alive, CLOSE")
    table.row("Connection: Keep-Alive, CLOSE", talk(server, both, linger=2), "200")
    data = head("GET", "/health", "Connection: keep-alive", version="HTTP/1.0")
    table.row("HTTP/1.0 with keep-alive", talk(server, data, linger=0.5), "200")
    data = head(
        "GET",
        "/health",
        "Upgrade: h2c",
        "Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    )
    table.row("an upgrade to HTTP/2", talk(server, data), "200|400 .*")
    whole = post(CHAT, SHORT, "Expect: 100-continue")
    at = whole.index(b"\r\n\r\n") + 4
    came = talk(server, (part for part in (whole[:at], whole[at:])), pause=1, methods=("POST",))
    table.row("Expect: 100-continue, then the body", came, "100; 200|200|417 .*")
    came = talk(server, whole[:at], methods=("POST",), wait=3)
    table.row("Expect: 100-continue, and waits for it", came, "100|417 .*")
    table.row(
        "Expect: something else",
        talk(server, post(CHAT, SHORT, "Expect: tea"), methods=("POST",)),
        "200|417 .*|400 .*",
    )
    large = head(
        "POST", CHAT, "Content-Type: application/json", f"Content-Length: {100 * MB}", "Expect: 100-continue"
    )
    table.row("Expect: 100-continue for 100 MB", talk(server, large, methods=("POST",), wait=3), "413 .*")


def half_closed_and_pipelined(table: Table):
    server = table.server
    for what, data, method in (
        ("GET /health", head("GET", "/health"), "GET"),
        ("an answer", post(CHAT, SHORT), "POST"),
        ("a stream", post(CHAT, SHORT | {"stream": True}), "POST"),
    ):
        came = talk(server, data, close_sending=True, methods=(method,))
        table.row(f"{what}, and no more will be sent", came, "200|closed")
    data = post(CHAT, SHORT)
    table.row(
        "no more will be sent, within a body",
        talk(server, data[:-5], close_sending=True, methods=("POST",)),
        r"40[08]( .*)?|closed|reset",
    )
    table.row(
        "no more will be sent, within a head",
        talk(server, data[:30], close_sending=True),
        r"40[08]( .*)?|closed|reset",
    )
    table.row("opened and closed", talk(server, b"", close_sending=True), "closed|silent")
    came = talk(server, head("GET", "/health") * 50, count=50)
    table.row(
        "50 requests at once", f"{came.statuses.count(200)} answers, {came.end}", "50 answers, .*|.*closed"
    )
    mixed = [
        post(CHAT, SHORT),
        head("GET", "/v1/models"),
        post(TOKENIZE, {"prompt": "x"}),
        head("GET", "/nowhere"),
        post(CHAT, SHORT | {"stream": True}),
        head("GET", "/health"),
    ]
    came = talk(server, b"".join(mixed), count=6, methods=("POST", "GET", "POST", "GET", "POST", "GET"))
    table.row("6 different ones at once, in order", came, r"200; 200; 200; 404 [^;]*; 200; 200|200; .*")
    came = talk(server, head("GET", "/health") * 100_000, count=100_000, wait=5)
    table.row(
        "100,000 at once",
        f"{came.statuses.count(200)} answers, {came.end}",
        "100000 answers, .*|.*(closed|reset)",
    )


def values(table: Table):
    """Bodies that are JSON."""
    server = table.server

    def chat(body: str, allowed: str):
        came = talk(server, post(CHAT, body), methods=("POST",), wait=60)
        table.row(body if len(body) < 75 else body[:60] + " …", came, allowed)
        return came

    def with_key(text: str) -> str:
        return '{"messages": [{"role": "user", "content": "Hi"}], ' + text + "}"

    def content(text: str) -> str:
        return '{"messages": [{"role": "user", "content": %s}], "max_tokens": 1}' % text

    chat(content('"\\u0000"'), "200")
    chat(content('"\\ud800"'), "400 RuntimeError")
    chat(content('"\\udc00\\ud800"'), "400 RuntimeError")
    chat(content('"\\ud83d\\ude00"'), "200")
    chat(content('"%s"' % ("\\ud83c\\udde9" * 1000)), "200")
    for value in ("1e400", "NaN", "Infinity", "-1", "1.5", "10" * 40, '"NaN"', "[]", "{}"):
        chat(with_key(f'"temperature": {value}, "max_tokens": 1'), "400 ValidationError.*")
        chat(with_key(f'"top_p": {value}, "max_tokens": 1'), "400 ValidationError.*")
    for value in (
        "-1",
        "1.5",
        "9" * 30,
        "9" * 4000,
        "9" * 5000,
        "1e308",
        "1e30",
        "NaN",
        "131073",
        "9223372036854775808",
        '"9e9"',
        "[]",
    ):
        chat(with_key(f'"max_tokens": {value}'), "400 .*")
        chat(with_key(f'"max_completion_tokens": {value}'), "400 .*")
    for value in ("1e30", "-1", "NaN", "1.5", '"x"', "[]"):
        chat(with_key(f'"seed": {value}, "max_tokens": 1'), "400 .*")
    chat(with_key('"seed": %s, "max_tokens": 1' % ("9" * 30)), "200")
    for name in ("top_logprobs", "prompt_logprobs"):
        for value in ("-1", "21", "9" * 30, "NaN", "1.5", '"x"', '"21"', "[5]"):
            chat(
                with_key(f'"{name}": {value}, "logprobs": true, "max_tokens": 1'),
                f"400 invalid_request_error {name}|400 ValueError.*",
            )
    chat(with_key('"top_logprobs": 2, "max_tokens": 1'), "400 invalid_request_error (top_)?logprobs")
    chat(
        with_key('"prompt_logprobs": 2, "stream": true, "max_tokens": 1'),
        "400 invalid_request_error (prompt_logprobs|stream)",
    )
    for value in ("2", "0", "-1", "9" * 30, "NaN", '"2"', "false", "[1]"):
        chat(with_key(f'"n": {value}, "max_tokens": 1'), "400 invalid_request_error n")
    for name in ("stream", "logprobs", "return_token_ids"):
        for value in ('"q"', '""', "2", "NaN", "[]"):
            chat(with_key(f'"{name}": {value}, "max_tokens": 1'), f"400 invalid_request_error {name}")
    for value in ("1", "[1]", "[null]", "{}", "[[]]", "true", '"\\ud800"'):
        chat(with_key(f'"stop": {value}, "max_tokens": 1'), "400 .*")
    chat(with_key('"stop": ["%s"], "max_tokens": 3' % ("x" * (5 * MB))), "200|400 .*")
    chat(with_key('"stop": [%s"x"], "max_tokens": 3' % ('"yyyyyyyy",' * 300_000)), "200|400 .*")
    chat(with_key('"stream_options": 1, "stream": true, "max_tokens": 1'), "400 .*")
    chat(with_key('"stream_options": {"include_usage": 2}, "stream": true, "max_tokens": 1'), "400 .*")
    for value in ('"\\ud800"', '"\\u0000"', '"nobody"', '""', '"%s"' % ("x" * MB)):
        chat(with_key(f'"model": {value}, "max_tokens": 1'), "404 not_found_error.*|400 .*")
    chat(with_key('"model": 5, "max_tokens": 1'), "400 .*")
    chat(with_key('"user": NaN, "metadata": {"\\ud800": 1e999}, "\\ud800": 1, "max_tokens": 1'), "200")
    chat(
        with_key('"max_tokens": 1, "max_tokens": 2, "messages": [{"role": "user", "content": "Bye"}]'), "200"
    )
    for key in (
        "frequency_penalty",
        "top_k",
        "logit_bias",
        "stop_token_ids",
        "guided_json",
        "response_format",
        "chat_template",
        "functions",
        "modalities",
        "best_of",
    ):
        for value in ("5", "NaN", '"x"', "[1]", '{"type": "x"}', "9" * 30):
            chat(
                with_key(f'"{key}": {value}, "max_tokens": 1'),
                f"400 (invalid_request_error {key}|ValidationError.*)",
            )
    chat(
        with_key(
            '"tools": [{"function": {"name": "f", "parameters": %s1%s}}]' % ('{"not": ' * 5000, "}" * 5000)
        ),
        "400 RecursionError",
    )
    pattern = "(" * 5000 + ")" * 5000
    chat(
        with_key(
            '"tools": [{"function": {"name": "f", "parameters": {"pattern": "%s"}}}], "max_tokens": 1'
            % pattern
        ),
        "200|400 .*",
    )
    for body, allowed in (
        ('{"tokens": [%s]}' % ("9" * 30), "400 .*"), ('{"tokens": [-1]}', "400 .*"), ('{"tokens": [32768]}', "400 .*"),
        ('{"tokens": [1.5]}', "400 .*"), ('{"tokens": [NaN]}', "400 .*"), ('{"tokens": [null]}', "400 .*"),
        ('{"tokens": "12"}', "400 .*"), ('{"tokens": 1}', "400 .*"), ('{"tokens": []}', "200"), ("{}", "400 .*"), ("[]", "400 .*"),
        ('{"tokens": [0, 32767, 771]}', "200"), ('{"tokens": [1], "model": "nobody"}', "404 not_found_error.*"),
    ):  # fmt: skip
        table.row(f"detokenize {body[:60]}", talk(server, post(DETOKENIZE, body), methods=("POST",)), allowed)
    for body, allowed in (
        ('{"prompt": "\\ud800"}', "400 .*"), ('{"prompt": "\\u0000"}', "200"), ('{"prompt": ""}', "200"), ('{"prompt": null}', "400 .*"),
        ('{"prompt": ["x"]}', "400 .*"), ('{"prompt": "x", "add_special_tokens": "q"}', "400 .*"), ("{}", "400 .*"), ("[]", "400 .*"),
        ('{"prompt": "x", "messages": []}', "400 .*"), ('{"prompt": "x", "return_token_strs": []}', "400 .*"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "400 RuntimeError"), ('{"prompt": "x", "model": "nobody"}', "404 .*"),
    ):  # fmt: skip
        table.row(f"tokenize {body[:60]}", talk(server, post(TOKENIZE, body), methods=("POST",)), allowed)


def types(table: Table):
    server = table.server
    for kind, allowed in (
        ("application/json; charset=utf-8", "200"), ("Application/JSON", "200"), ("application/json ;charset=UTF-8", "200"),
        ("text/plain", "415 .*"), ("application/jsonx", "415 .*"), ("application/x-www-form-urlencoded", "415 .*"),
        ("multipart/form-data; boundary=x", "415 .*"), ("", "415 .*"), ("text/json, application/json", "415 .*|400 .*"),
        ("application/json; charset=utf-16", "200|415 .*"),
    ):  # fmt: skip
        table.row(
            f"Content-Type: {kind}", talk(server, post(CHAT, SHORT, type=kind), methods=("POST",)), allowed
        )
    came = talk(server, post(CHAT, SHORT, "Content-Type: text/plain"), methods=("POST",))
    table.row("two Content-Types", came, "415 .*|400 .*|200")
    came = talk(server, post(CHAT, b"\x1f\x8b" + bytes(20), "Content-Encoding: gzip"), methods=("POST",))
    table.row("Content-Encoding: gzip", came, "415 .*|400 .*")


def images(table: Table):
    server = table.server

    def url(data: bytes) -> str:
        return "data:image/png;base64," + base64.b64encode(data).decode()

    def asked(*urls: str):
        chunks = [{"type": "image_url", "image_url": url} for url in urls]
        return {"messages": [{"role": "user", "content": chunks}], "max_tokens": 1}

    def both(what: str, body, allowed: str, wait=120):
        table.row(what, talk(server, post(CHAT, body), methods=("POST",), wait=wait), allowed)
        table.row("  to /tokenize", talk(server, post(TOKENIZE, body), methods=("POST",), wait=wait), allowed)

    both("a photograph", asked(url((IMAGES / "model-alpha.png").read_bytes())), "200")
    for text in (
        "",
        "data:",
        "data:,",
        "data:;base64,",
        "data:image/png;base64,AAAA",
        "ftp://x/y",
        "/etc/passwd",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "data:image/png;base64,\ud800",
        "\0",
    ):
        both(f"image_url {text!r}"[:70], asked(text), r"400 (?!invalid).*")
    for text in (
        "http://",
        "http://[",
        "http://0/",
        "http://127.0.0.1:1/x",
        "https://localhost/",
        "http://169.254.169.254/latest/",
    ):
        both(f"image_url {text}", asked(text), "400 ConnectionError.*|400 (?!invalid).*", wait=5)
    with trap() as (port, contacts):
        for host in (
            "127.0.0.1",
            "localhost",
            "2130706433",
            "0x7f.1",
            "[::ffff:127.0.0.1]",
            "user@127.0.0.1",
        ):
            both(
                f"image_url http://{host}:PORT/",
                asked(f"http://{host}:{port}/x.png"),
                "400 (?!invalid).*",
                wait=10,
            )
        table.row("  how often it was contacted", len(contacts), "0")
    bomb = png(13377, 13377)
    both(f"179 megapixels in {len(bomb):,} bytes", asked(url(bomb)), "200|400 .*")
    both("one more row", asked(url(png(13378, 13377))), "400 ValueError.*")
    both("4 thousand million pixels", asked(url(png(65535, 65535, rows=1))), "400 ValueError.*")
    flat = png_url(1024, 1024)
    both(
        f"300 images of 1024 × 1024 in {300 * len(flat) // 1000} kB",
        asked(*[flat] * 300),
        "400 invalid_request_error.*|200|413 .*",
        wait=300,
    )


def png_url(width: int, height: int) -> str:
    return "data:image/png;base64," + base64.b64encode(png(width, height)).decode()


def png(width: int, height: int, rows: int | None = None) -> bytes:
    """One grey, one bit a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    line = bytes(1 + (width + 7) // 8)
    packed = zlib.compress(line * (height if rows is None else rows), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@contextlib.contextmanager
def trap():
    """A port that nobody may contact."""
    contacts = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, address = listener.accept()
                contacts.append(address)
                connection.close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], contacts
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


# ---- hostility in time


def endless(server: Server) -> dict:
    """A request whose answer does not end by itself."""
    for i in range(50):
        body = {"messages": [{"role": "user", "content": f"Go on, {i}."}], "max_tokens": 1500}
        if ask(server, "POST", CHAT, body).json()["choices"][0]["finish_reason"] == "length":
            return body | {"max_tokens": 100_000}
    raise SystemExit("every answer of seeded:tiny ends")


def leave(server: Server, body: dict, seconds: float, *, reset=False, read=0, path=CHAT):
    s = connect(server)
    s.sendall(post(path, body))
    got = 0
    while got < read:
        got += len(s.recv(65536))
    time.sleep(seconds)
    if reset:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def clients_that_leave(table: Table):
    """The next request is answered at once."""
    server = table.server
    long = endless(server)
    prompt = {"messages": [{"role": "user", "content": "Hello " * 12_000}], "max_tokens": 1}

    def next_one(what: str, most=2.0):
        start = time.monotonic()
        came = ask(server, "POST", CHAT, SHORT, wait=90)
        took = time.monotonic() - start
        table.row(f"{what}; the next", came, "200")
        table.row(f"  within {most:.0f} s", "yes" if took <= most else f"{took:.1f} s", "yes")

    for reset in (False, True):
        how = "with a reset" if reset else "politely"
        leave(server, long, 1, reset=reset)
        next_one(f"leaves {how}, an answer of 100,000 tokens")
        leave(server, long | {"stream": True}, 0.3, reset=reset, read=5000)
        next_one(f"leaves {how}, a stream of 100,000 tokens")
        leave(server, prompt, 1, reset=reset)
        # One layer of 12,000 tokens is the unit in which work ends.
        next_one(f"leaves {how}, a prompt of 12,000 tokens", most=10)
    leave(server, prompt | {"prompt_logprobs": 20}, 5)
    next_one("leaves the log-probabilities of a prompt of 12,000 tokens", most=10)
    leave(server, {"prompt": "a" * (40 * MB)}, 1, path=TOKENIZE)
    next_one("leaves a word of 40 MB at /tokenize", most=5)
    chunk = {"type": "image_url", "image_url": png_url(13377, 13377)}
    leave(server, {"messages": [{"role": "user", "content": [chunk] * 50}]}, 1, path=TOKENIZE)
    next_one("leaves 50 images of 179 megapixels at /tokenize", most=10)
    leave(server, long | {"logprobs": True, "top_logprobs": 20}, 1)
    next_one("leaves an answer with log-probabilities")
    for _ in range(10):
        threading.Thread(target=leave, args=(server, long, 1)).start()
    time.sleep(1.5)
    next_one("10 leave while they wait", most=3)
    for _ in range(100):
        leave(server, long, 0, reset=True)
    next_one("100 leave at once", most=5)
    s = connect(server)
    data = post(CHAT, long | {"stream": True})
    s.sendall(data)
    s.recv(1000)
    s.sendall(b"x" * 100_000)
    s.close()
    next_one("sends rubbish behind its request, then leaves")


def too_many_wait(table: Table):
    server = table.server
    body = endless(server) | {"max_tokens": 200}
    with ThreadPoolExecutor(60) as pool:
        came = list(pool.map(lambda _: ask(server, "POST", CHAT, body, wait=120), range(60)))
    counts = collections.Counter(str(answer) for answer in came)
    table.row("60 requests at once", dict(counts), r"\{(?=.*'200')(?=.*'429 rate_limit_error').*\}")
    table.row("  what else came", set(counts) - {"200", "429 rate_limit_error"} or "nothing", "nothing")


def senders_that_are_slow(table: Table):
    """All of these at once; each may take 75 seconds, and others are served meanwhile."""
    server = table.server
    whole = post(CHAT, SHORT)
    at = whole.index(b"\r\n\r\n") + 4
    gone = "408 .*|closed|reset"

    def bytes_of(data: bytes, count: int):
        return (data[i : i + 1] for i in range(count))

    def row(what: str, *arguments, allowed=gone, **options):
        came = talk(server, *arguments, wait=75, methods=("POST",), **options)
        table.row(what, came, allowed)
        table.row(
            f"  after at most 75 s: {what}", "yes" if came.seconds <= 78 else f"{came.seconds:.0f} s", "yes"
        )

    jobs = [
        ("a body that never comes", (whole[:at],), {}),
        ("a body of which half comes", (whole[: at + 20],), {}),
        ("a body in chunks that never ends", (head("POST", CHAT, "Content-Type: application/json", "Transfer-Encoding: chunked") + b"1\r\n{\r\n",), {}),
        ("half a head", (whole[:30],), {}),
        ("nothing at all", (b"",), {}),
        ("a head of which a byte comes every 2 s", (bytes_of(b"GET /health HTTP/1.1\r\nX: " + b"y" * 100, 45),), {"pause": 2}),
        ("headers that come every 2 s, for ever", ((b"X: y\r\n" if i else b"GET /health HTTP/1.1\r\n" for i in range(45)),), {"pause": 2}),
        ("a body of which a byte comes every 2 s", ((whole[:at] if i == 0 else b" " for i in range(45)),), {"pause": 2}),
        ("an answer, and then nothing", (whole,), {"linger": 70, "allowed": "200"}),
    ]  # fmt: skip
    with ThreadPoolExecutor(len(jobs) + 1) as pool:
        futures = [pool.submit(row, what, *arguments, **options) for what, arguments, options in jobs]
        futures.append(pool.submit(reader_that_does_not_read, table))
        worst = 0.0
        while not all(future.done() for future in futures):
            start = time.monotonic()
            came = ask(server, "GET", "/health", wait=20)
            worst = max(worst, time.monotonic() - start)
            if str(came) != "200":
                table.row("health meanwhile", came, "200")
            time.sleep(1)
        for future in futures:
            future.result()
    table.row("health meanwhile, within 3 s", "yes" if worst < 3 else f"{worst:.1f} s", "yes")


def reader_that_does_not_read(table: Table):
    """The stream of one who does not read must not keep the others waiting for long."""
    server = table.server
    s = connect(server, receive_buffer=4096)
    body = endless(server) | {"stream": True, "logprobs": True, "top_logprobs": 20}
    s.sendall(post(CHAT, body))
    time.sleep(3)
    start = time.monotonic()
    came = ask(server, "POST", CHAT, SHORT, wait=150)
    took = time.monotonic() - start
    table.row("a stream that nobody reads; the next", came, "200")
    table.row(
        "  within 75 s",
        "yes" if took <= 75 else f"{took:.0f} s",
        "yes",
        f"{took:.0f} s, {server.memory('VmRSS') // MB} MB",
    )
    s.close()


def many_connections(table: Table):
    server = table.server
    sockets = []
    with contextlib.suppress(OSError):
        for _ in range(3000):
            s = socket.socket()
            s.settimeout(2)
            sockets.append(s)
            s.connect((server.host, server.port))
            if len(sockets) % 2:
                s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n")
    try:
        came = str(ask(server, "GET", "/health", wait=10))
    except OSError as error:
        came = f"not connected: {error}"
    # More than the server keeps at once wait in the kernel; that is no harm if it ends.
    what = f"{len(sockets)} connections that say nothing; health meanwhile"
    table.row(what, came, "200|503 .*|closed|reset|silent|not .*")
    for s in sockets:
        s.close()
    time.sleep(1)
    table.row("  and when they are gone", ask(server, "GET", "/health", wait=10), "200")


def bodies_that_are_held(table: Table):
    """60 MB each, of which the last byte does not come: the server keeps few of them."""
    server = table.server
    data = head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {60 * MB}") + b" " * (
        60 * MB - 1
    )
    with ThreadPoolExecutor(40) as pool:
        futures = [pool.submit(talk, server, data, wait=15, methods=("POST",)) for _ in range(40)]
        most = 0
        while not all(future.done() for future in futures):
            most = max(most, server.memory("VmRSS"))
            time.sleep(0.2)
    counts = dict(collections.Counter(str(future.result()) for future in futures))
    table.row("40 bodies of 60 MB at once", counts, r"\{.*(429|silent|closed|reset).*\}", f"{most // MB} MB")
    table.row(f"  below {PEAK // MB} MB", "yes" if most <= PEAK else f"{most // MB} MB", "yes")


def requests_that_cost_much(table: Table):
    """Valid ones of which a small body asks for much memory."""
    server = table.server
    for what, count, more in (
        ("a prompt of 20,000 tokens", 20_000, {}),
        ("log-probabilities of 20,000 positions", 20_000, {"prompt_logprobs": 0}),
        (
            "an answer with 20 log-probabilities each",
            1,
            {"max_tokens": 3000, "logprobs": True, "top_logprobs": 20},
        ),
    ):
        message = {"role": "user", "content": "Hello " * count}
        most = 0
        body = {"messages": [message], "max_tokens": 1} | more
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(ask, server, "POST", CHAT, body, wait=180)
            while not future.done():
                most = max(most, server.memory("VmRSS"))
                time.sleep(0.05)
        table.row(what, future.result(), "200|400 .*|503 .*", f"{most // MB} MB")
        table.row(f"  below {PEAK // MB} MB", "yes" if most <= PEAK else f"{most // MB} MB", "yes")


HOSTILITY = [
    bodies_that_are_no_json, bodies_in_small_chunks, lengths_that_lie, smuggled_requests, heads_that_are_broken,
    heads_that_are_large, targets, methods, types, versions_and_connections, half_closed_and_pipelined, values,
    images, requests_that_cost_much, clients_that_leave, too_many_wait, many_connections, senders_that_are_slow, bodies_that_are_held,
    bodies_that_are_large,
]  # fmt: skip


def keys(table: Table, binary: str):
    server = Server(binary, "--api-key", KEY)
    wrong = [[], ["Authorization: Bearer"], ["Authorization: Bearer "], [f"Authorization: Bearer {KEY}x"],
             [f"Authorization: Bearer {KEY[:-1]}"], [f"Authorization: Basic {KEY}"], [f"Authorization: {KEY}"],
             [f"Authorization: Bearer {KEY} {KEY}"], [f"Authorization: Bearer {KEY.upper()}"], [f"X-Api-Key: {KEY}"],
             ["Authorization: Bearer " + "x" * 5000], ["Authorization: Bearer \xff\xfe"]]  # fmt: skip
    for headers in wrong:
        for what, data in (
            ("GET /v1/models", head("GET", "/v1/models", *headers)),
            ("POST chat", post(CHAT, SHORT, *headers)),
        ):
            table.row(
                f"{what}, {(headers or ['no key'])[0][:40]!r}", talk(server, data), "401 authentication_error"
            )
    twice = [f"Authorization: Bearer {KEY}x", f"Authorization: Bearer {KEY}"]
    table.row("a wrong key and the right one", talk(server, head("GET", "/v1/models", *twice)), "40[01] .*")
    table.row("no key, /nowhere", ask(server, "GET", "/nowhere"), "401 .*|404 .*")
    table.row(
        "no key, 100 MB",
        talk(server, head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {100 * MB}")),
        "401 .*|413 .*",
    )
    table.row("no key, /health", ask(server, "GET", "/health"), "200")
    for word in ("Bearer", "bearer", "BEARER"):
        came = ask(server, "GET", "/v1/models", None, f"Authorization: {word} {KEY}")
        table.row(f"the key, {word}", came, "200" if word == "Bearer" else "200|401 .*")
    table.row("its log does not hold the key", "it does" if KEY in server.tail() else "no", "no")
    table.row("it ends with", server.stop(), "0")


def files(table: Table, binary: str):
    """--files DIR: what lies in it, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        inside, outside = Path(folder, "inside"), Path(folder, "outside.png")
        (inside / "sub").mkdir(parents=True)
        picture = (IMAGES / "model-alpha.png").read_bytes()
        for path in (
            inside / "a.png",
            inside / "sub" / "ä b%20.png",
            outside,
            Path(folder, "inside-too.png"),
        ):
            path.write_bytes(picture)
        (inside / "out.png").symlink_to(outside)
        (inside / "up").symlink_to("..")
        (inside / "in.png").symlink_to("a.png")
        (inside / "round").symlink_to("round")
        (inside / "zero").symlink_to("/dev/zero")
        os.mkfifo(inside / "pipe")
        (inside / "secret.png").write_bytes(b"the secret is xyzzy")
        (inside / "hole.png").touch()
        os.truncate(inside / "hole.png", 10**12)
        server = Server(binary, "--files", str(inside))

        def row(name: str, allowed: str):
            url = name if "://" in name else f"file://{inside}/{name}"
            body = {
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}],
                "max_tokens": 1,
            }
            came = talk(server, post(CHAT, body), methods=("POST",), wait=20)
            table.row(f"file://…/{name}", came, allowed)
            if came.bodies and b"xyzzy" in came.bodies[-1]:
                table.row("  says what is in the file", "it does", "no")

        refused = "400 (?!invalid).*"
        for name, allowed in (
            ("a.png", "200"), ("sub/ä b%20.png", "200"), ("in.png", "200|" + refused), ("sub/../a.png", "200|" + refused),
            ("out.png", refused), ("up/outside.png", refused), ("../outside.png", refused), ("../inside-too.png", refused),
            ("sub/../../outside.png", refused), ("%2e%2e/outside.png", refused), ("round", refused), ("zero", refused),
            ("pipe", refused), ("secret.png", refused), ("hole.png", refused), ("sub", refused), ("", refused), ("a.png\0", refused),
            ("a.png/", refused), ("x" * 5000, refused), ("file://localhost" + str(inside) + "/a.png", refused),
            ("file:///etc/passwd", refused), ("file://a.png", refused + "|200"), ("file:///proc/self/environ", refused),
        ):  # fmt: skip
            row(name, allowed)
        table.row("health", ask(server, "GET", "/health"), "200")
        table.row("it ends with", server.stop(), "0")


def fetches(table: Table, binary: str):
    """--fetch HOST:PORT: that host and port, its size, its time, its redirects."""
    picture = (IMAGES / "model-alpha.png").read_bytes()
    with trap() as (elsewhere, contacts):
        port = None

        def answer(path: str):
            ok = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
            if path == "/a.png":
                yield ok + b"Content-Length: %d\r\n\r\n" % len(picture) + picture
            elif path == "/chunks":
                yield ok + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(picture, 100)
            elif path.startswith("/to/"):
                yield b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % path[4:].encode()
            elif path.startswith("/hop/"):
                n = int(path[5:])
                to = f"/hop/{n - 1}" if n else "/a.png"
                yield f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {to}\r\n\r\n".encode()
            elif path == "/large":
                yield ok + b"Content-Length: %d\r\n\r\n" % (40 * MB)
                yield from [bytes(MB)] * 40
            elif path == "/endless":
                yield ok + b"\r\n"
                while True:
                    yield bytes(MB)
            elif path == "/slow":
                yield ok + b"Content-Length: 1000\r\n\r\n"
                while True:
                    time.sleep(1)
                    yield b"x"
            elif path == "/silent":
                time.sleep(60)
            elif path == "/headers":
                yield ok
                while True:
                    yield b"X: y\r\n" * 10_000
            elif path == "/bomb":
                body = zlib.compress(bytes(200 * MB), 9)
                yield ok + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            elif path == "/short":
                yield ok + b"Content-Length: 100000\r\n\r\n" + picture
            elif path == "/404":
                yield b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello"
            elif path == "/rubbish":
                yield b"hello\r\n\r\n"

        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        def serve(connection: socket.socket):
            with contextlib.suppress(OSError):
                request = b""
                while b"\r\n\r\n" not in request and (part := connection.recv(65536)):
                    request += part
                for part in answer(request.split(b" ")[1].decode("latin-1")):
                    connection.sendall(part)
            connection.close()

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        server = Server(binary, "--fetch", f"127.0.0.1:{port}")
        refused = "400 (?!invalid).*"
        for path, allowed in (
            ("/a.png", "200"), ("/chunks", "200"), ("/to//a.png", "200"), ("/hop/4", "200"), ("/hop/5", refused), ("/hop/100", refused),
            (f"/to/http://127.0.0.1:{elsewhere}/x", refused), (f"/to///127.0.0.1:{elsewhere}/x", refused), ("/to/file:///etc/passwd", refused),
            ("/to/data:image/png;base64," + base64.b64encode(picture).decode(), refused), ("/large", refused), ("/endless", refused),
            ("/slow", refused), ("/silent", refused), ("/headers", refused), ("/bomb", refused), ("/short", refused), ("/404", refused),
            ("/rubbish", refused),
        ):  # fmt: skip
            url = f"http://127.0.0.1:{port}{path}"
            body = {
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}],
                "max_tokens": 1,
            }
            came = talk(server, post(CHAT, body), methods=("POST",), wait=40)
            table.row(f"fetches {path[:60]}", came, allowed)
            table.row("  within 15 s", "yes" if came.seconds <= 15 else f"{came.seconds:.0f} s", "yes")
        for url in (f"http://127.0.0.1:{elsewhere}/x", f"http://localhost:{port}/a.png", f"http://127.0.0.1:{port}@127.0.0.1:{elsewhere}/x", f"http://127.0.0.1:{elsewhere}#@127.0.0.1:{port}/x", f"http://127.0.0.1:{port}\\@127.0.0.1:{elsewhere}/", f"https://127.0.0.1:{port}/a.png", f"http://127.0.0.1:{port}/a.png\r\nX: y", f"http://127.0.0.1:{port}/a.png HTTP/1.0"):  # fmt: skip
            body = {
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}],
                "max_tokens": 1,
            }
            came = talk(server, post(CHAT, body), methods=("POST",), wait=40)
            table.row(f"fetches {url[:60]!r}", came, refused)
        table.row("  how often another port was contacted", len(contacts), "0")
        most = server.memory("VmHWM")
        table.row(
            "  the most memory", "fits" if most < 500 * MB else f"{most // MB} MB", "fits", f"{most // MB} MB"
        )
        table.row("health", ask(server, "GET", "/health"), "200")
        table.row("it ends with", server.stop(), "0")
        listener.close()


def shutdowns(table: Table, binary: str):
    """The running request ends, those that wait and new ones get 503, then exit code 0."""
    for name in (signal.SIGTERM, signal.SIGINT):
        server = Server(binary)
        body = endless(server) | {"max_tokens": 3000}
        waiting = connect(server)
        with ThreadPoolExecutor(5) as pool:
            running = pool.submit(ask, server, "POST", CHAT, body, wait=120)
            time.sleep(0.5)
            others = [pool.submit(ask, server, "POST", CHAT, SHORT, wait=120) for _ in range(3)]
            time.sleep(0.5)
            server.process.send_signal(name)
            time.sleep(0.3)
            try:
                late = ask(server, "GET", "/health", wait=5)
            except OSError:
                late = "refused"
            table.row(f"{name.name}: health meanwhile", late, "503( service_unavailable_error)?")
            try:
                late = ask(server, "POST", CHAT, SHORT, wait=20)
            except OSError:
                late = "refused"
            table.row(f"{name.name}: a new request", late, "503 service_unavailable_error")
            table.row(f"{name.name}: the running request", running.result(), "200")
            for other in others:
                table.row(f"{name.name}: one that waited", other.result(), "503 service_unavailable_error")
        try:
            code = server.process.wait(20)
        except subprocess.TimeoutExpired:
            code = "still there after 20 s"
            server.process.kill()
        table.row(f"{name.name}: exit code", code, "0")
        waiting.close()


OWN_SERVER = [keys, files, fetches, shutdowns]


def hostile(binary: str, names: list[str] | None) -> list[str]:
    server = Server(binary)
    print(
        f"hostile: {server.at_start // MB} MB at the start; at most {PEAK // MB}, at rest {REST // MB} more than that"
    )
    table = Table(server)
    for function in HOSTILITY + OWN_SERVER:
        if names and function.__name__ not in names:
            continue
        server.forget_peak()
        table.section(function.__name__)
        try:
            if function in OWN_SERVER:
                function(table, binary)
            else:
                function(table)
        except (OSError, AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
            table.wrong.append(f"{function.__name__} could not go on: {error!r}")
            print(f"WRONG  could not go on: {error!r}")
        if server.process.poll() is not None:
            table.wrong.append(f"{function.__name__}: the server ended with {server.process.returncode}")
            print(f"WRONG  the server ended with {server.process.returncode}\n{server.tail()}")
            table.server = server = Server(binary)
        elif function not in OWN_SERVER:
            table.health(function.__name__)
    code = server.stop()
    if code != 0:
        table.wrong.append(f"the server ended with {code} in the end\n{server.tail()}")
    return table.wrong


# ---- schemathesis


def documented(binary: str, examples: int, seed: int) -> list[str]:
    wrong = []
    server = Server(binary, "--api-key", KEY)
    bin = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as folder:
        config, counts = Path(folder, "schemathesis.toml"), Path(folder, "counts")
        # What no schema can say is refused too; server_hooks.py knows which requests must pass.
        config.write_text("[checks.positive_data_acceptance]\nexpected-statuses = [200, 400, 404]\n")
        command = [
            bin / "schemathesis", "--config-file", config, "run", ROOT / "Docs" / "openapi.yaml",
            "--url", f"http://{server.host}:{server.port}", "-H", f"Authorization: Bearer {KEY}",
            "--max-examples", str(examples), "--seed", str(seed), "--generation-database", "none",
            "--output-sanitize", "false", "--output-truncate", "false", "--no-color", "--request-timeout", "60",
            "--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off",
        ]  # fmt: skip
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parent),
            "SCHEMATHESIS_HOOKS": "server_hooks",
            "SERVER_HOOKS_COUNTS": str(counts),
        }
        code = subprocess.run(list(map(str, command)), env=environment, cwd=folder).returncode
        if code != 0:
            wrong.append(f"schemathesis ended with {code}")
        lines = collections.Counter(counts.read_text().splitlines() if counts.exists() else [])
    for line, count in sorted(lines.items()):
        print(f"{count:6} {line}")
    for path in (CHAT, TOKENIZE, DETOKENIZE):
        if not lines[f"POST {path} had to be 200"] or not lines[f"POST {path} 400"]:
            wrong.append(f"schemathesis sent nothing right, or nothing wrong, to {path}")
    now, most = server.memory("VmRSS"), server.memory("VmHWM")
    print(f"{server.at_start // MB} MB at the start, {most // MB} at most, {now // MB} at the end")
    if fault := server.memory_fault():
        wrong.append(f"schemathesis: {fault}")
    if server.process.poll() is not None:
        wrong.append(f"the server ended with {server.process.returncode}\n{server.tail()}")
    elif (code := server.stop()) != 0:
        wrong.append(f"the server ended with {code} in the end")
    return wrong


def main():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2].partition("\n\n")[0])
    parser.add_argument("binary")
    parser.add_argument("--only", default="documented,hostile,load")
    parser.add_argument("--kinds", help="of hostile: names of functions, with commas between them")
    parser.add_argument("--load", type=float, default=60)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    kinds = arguments.kinds.split(",") if arguments.kinds else None
    known = {function.__name__ for function in HOSTILITY + OWN_SERVER}
    if unknown := set(parts) - {"documented", "hostile", "load"} | set(kinds or []) - known:
        parser.error(f"expected {', '.join(sorted(known))}, found {', '.join(sorted(unknown))}")
    wrong = []
    if "documented" in parts:
        wrong += documented(arguments.binary, arguments.examples, arguments.seed)
    if "hostile" in parts:
        wrong += hostile(arguments.binary, kinds)
    if "load" in parts:
        wrong += load(arguments.binary, arguments.load, arguments.seed)
    print("\n" + ("\n".join(["not as it should be:", *wrong]) if wrong else "all as it should be"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
