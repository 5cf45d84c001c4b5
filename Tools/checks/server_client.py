"""A running pixtral-ref-serve, and a client for it that can misbehave; for check_server_hostile.py."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MB = 1_000_000
# The most memory that a server may take, and what it may keep beyond that of its start when it rests.
PEAK, REST = 1200 * MB, 300 * MB
CHAT, TOKENIZE, DETOKENIZE = "/v1/chat/completions", "/tokenize", "/detokenize"
SHORT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
FORM = {"message", "type", "param", "code"}


# ---- the server


class Server:
    """A running pixtral-ref-serve. Its log is kept, and shown when something was wrong."""

    def __init__(self, binary: str, *arguments: str):
        self.log = tempfile.TemporaryFile()
        command = [os.path.abspath(binary), "--checkpoint", "seeded:tiny", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, cwd=ROOT)
        self.first_line = self.process.stdout.readline().decode()
        found = re.search(r"http://([^:/]+):(\d+)", self.first_line)
        if not found:
            raise SystemExit(f"no address in the first line: {self.first_line!r}\n{self.tail()}")
        self.host, self.port = found[1], int(found[2])
        ask(self, "POST", CHAT, SHORT)
        self.at_start = self.memory("VmRSS")

    def memory(self, what: str) -> int:
        """VmRSS: bytes in memory; VmHWM: the most there ever were."""
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            if found := re.search(rf"{what}:\s+(\d+) kB", status):
                return 1024 * int(found[1])
        return 0

    def forget_peak(self):
        """VmHWM begins anew."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def memory_fault(self) -> str:
        """Nothing, or that PEAK or REST does not hold."""
        now, most = self.memory("VmRSS"), self.memory("VmHWM")
        if most <= PEAK and now <= self.at_start + REST:
            return ""
        return f"{now // MB} MB now, {most // MB} MB at most, {self.at_start // MB} MB at the start"

    def threads_and_files(self) -> tuple[int, int]:
        with contextlib.suppress(OSError):
            folder = f"/proc/{self.process.pid}"
            return len(os.listdir(f"{folder}/task")), len(os.listdir(f"{folder}/fd"))
        return 0, 0

    def tail(self) -> str:
        self.log.seek(0)
        return self.log.read()[-3000:].decode(errors="replace")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return -9


# ---- a client that can misbehave


def head(method: str, target: str, *headers: str, version="HTTP/1.1", host="Host: localhost") -> bytes:
    lines = [f"{method} {target} {version}", *([host] if host else []), *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="surrogateescape")


def post(path: str, body, *headers: str, type="application/json", **more) -> bytes:
    """A whole request; the body may be bytes, text or what becomes JSON."""
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    kind = [f"Content-Type: {type}"] if type else []
    return head("POST", path, *kind, f"Content-Length: {len(body)}", *headers, **more) + body


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class Answers:
    """What came over a connection, cut into answers."""

    def __init__(self, data: bytes, methods: tuple[str, ...], end: str, seconds: float):
        self.end, self.seconds = end, seconds
        self.statuses: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.finals = 0
        self.complete = True
        self.broken = ""
        at = 0
        while at < len(data):
            end_of_head = data.find(b"\r\n\r\n", at)
            lines = data[at : end_of_head if end_of_head >= 0 else at + 100].decode("latin-1").split("\r\n")
            if end_of_head < 0 or not re.match(r"HTTP/1\.[01] \d{3}( |$)", lines[0]):
                self.broken = f"no answer: {lines[0][:60]!r}"
                self.complete = False
                return
            at = end_of_head + 4
            status = int(lines[0].split()[1])
            headers = {
                k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])
            }
            method = methods[min(self.finals, len(methods) - 1)]
            body, whole = b"", True
            if method == "HEAD" or status in (100, 204, 304):
                pass
            elif "content-length" in headers:
                length = int(headers["content-length"])
                body, whole = data[at : at + length], len(data) >= at + length
                at += length
            elif headers.get("transfer-encoding") == "chunked":
                body, at, whole = self.unchunked(data, at)
            else:
                body, at, whole = data[at:], len(data), end == "closed"
            self.statuses.append(status)
            self.headers.append(headers)
            self.bodies.append(body)
            self.finals += status != 100
            self.complete = whole

    @staticmethod
    def unchunked(data: bytes, at: int) -> tuple[bytes, int, bool]:
        """The body of chunks that begin at `at`, where it ends, and whether it does."""
        parts = []
        while True:
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                return b"".join(parts), len(data), False
            size = int(data[at:line_end].split(b";")[0], 16)
            at = line_end + 2
            parts.append(data[at : at + size])
            if len(data) < at + size + 2:
                return b"".join(parts), len(data), False
            at += size + 2
            if size == 0:
                return b"".join(parts), at, True

    def __str__(self) -> str:
        """`200`, `400 JSONDecodeError`, `100; 200`; `closed`, `reset`, `silent` where nothing came."""
        parts = []
        for status, body, headers in zip(self.statuses, self.bodies, self.headers, strict=True):
            part = str(status)
            if status >= 400 and body:
                try:
                    error = json.loads(body)["error"]
                    part += f" {error['type']}" if set(error) == FORM else " (keys of the error)"
                    if error.get("param"):
                        part += f" {error['param']}"
                except (ValueError, KeyError, TypeError):
                    part += " (no error in the body)"
            parts.append(part)
            if status == 405 and "allow" not in headers:
                parts.append("no Allow")
            if status == 429 and "retry-after" not in headers:
                parts.append("no Retry-After")
            if status == 401 and headers.get("www-authenticate") != "Bearer":
                parts.append("no WWW-Authenticate")
        if self.broken:
            parts.append(self.broken)
        elif self.statuses and not self.complete:
            parts.append("cut off")
        return "; ".join(parts) or {"open": "silent"}.get(self.end, self.end)

    def json(self):
        return json.loads(self.bodies[-1])


def connect(server: Server, receive_buffer: int | None = None) -> socket.socket:
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.settimeout(10)
    s.connect((server.host, server.port))
    return s


def talk(
    server: Server,
    data,
    *,
    wait=20.0,
    linger=0.3,
    pause=0.0,
    close_sending=False,
    methods=("GET",),
    count=1,
) -> Answers:
    """Sends data, bytes or an iterable of them with a pause behind each, and reads until the server closes,
    `wait` seconds have passed without a byte in either direction, or `count` whole answers have come and
    nothing else for `linger` seconds. What is left to be sent then is not sent.
    """
    pieces = iter([data] if isinstance(data, bytes) else data)
    s = connect(server)
    s.setblocking(False)
    start = moved = time.monotonic()
    received, left, end, ready, is_sending = bytearray(), memoryview(b""), "open", start, True
    try:
        while True:
            now = time.monotonic()
            if is_sending and not left and now >= ready:
                piece = next(pieces, None)
                if piece is None:
                    is_sending = False
                    if close_sending:
                        s.shutdown(socket.SHUT_WR)
                else:
                    left, ready = memoryview(piece), now + pause
            readable, writable, _ = select.select([s], [s] if left else [], [], 0.05)
            if writable:
                left = left[s.send(left[: 1 << 18]) :]
                moved = time.monotonic()
            if readable:
                part = s.recv(1 << 18)
                if not part:
                    end = "closed"
                    break
                received += part
                moved = time.monotonic()
            elif received:
                so_far = Answers(bytes(received), methods, "open", 0)
                if so_far.complete and so_far.finals >= count and time.monotonic() - moved > linger:
                    break
            limit = wait if not is_sending else max(wait, 2 * pause)
            if time.monotonic() - moved > limit:
                break
    except (ConnectionResetError, BrokenPipeError):
        # What was received before the reset is an answer all the same.
        end = "reset"
        with contextlib.suppress(OSError):
            while part := s.recv(1 << 18):
                received += part
    finally:
        s.close()
    return Answers(bytes(received), methods, end, time.monotonic() - start)


def ask(server: Server, method: str, path: str, body=None, *headers: str, wait=120.0) -> Answers:
    data = head(method, path, *headers) if body is None else post(path, body, *headers)
    return talk(server, data, methods=(method,), wait=wait, linger=0)
