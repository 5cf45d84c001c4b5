"""What check_reach.py lets a server fetch from: listeners that count, a name server, and namespaces in
which every address leads to this machine.
"""

import functools
import gzip
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

INSIDE = "PIXTRAL_REACH_INSIDE"


def png(columns: int, rows: int) -> bytes:
    """A black image of so many patches."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns * 16, rows * 16, 8, 0, 0, 0, 0)
    samples = zlib.compress(bytes(rows * 16 * (columns * 16 + 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", samples) + chunk(b"IEND", b"")


# The images differ in their grids, so that the number of tokens says which of them was read.
ALLOWED, SECRET = png(2, 1), png(5, 3)
WITHOUT = 3  # <s>[INST][/INST]
TOKENS = {WITHOUT + 1 * 3: "allowed", WITHOUT + 3 * 6: "SECRET"}


class Listener:
    """Accepts at one address, counts connections, keeps the heads of requests; answers by path."""

    def __init__(self, address="127.0.0.1", port=0, tls=None):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.bind((address, port))
        self.socket.listen(64)
        self.port, self.tls, self.connections, self.heads = self.socket.getsockname()[1], tls, 0, []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.settimeout(40)
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and not head.startswith(b"\x16\x03"):
                    more = connection.recv(65536)
                    if not more:
                        return
                    head += more
                if head.startswith(b"\x16\x03"):  # TLS, where none is spoken
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                    return
                self.heads.append(head.decode("latin-1"))
                self.answer(head.split(b" ")[1].decode("latin-1"), connection)
        except OSError:
            pass

    def answer(self, path, connection):
        path, _, query = path.partition("?")

        def send(status, body=b"", *headers, length=None):
            lines = [f"HTTP/1.1 {status} X", "Connection: close", *headers]
            if length != "none":
                lines.append(f"Content-Length: {len(body) if length is None else length}")
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

        image = "Content-Type: image/png"
        match path.split("/")[1:]:
            case ["to", status]:
                location = bytes.fromhex(query).decode("latin-1")
                send(status, b"", f"Location: {location}")
            case ["hops", count]:
                send(302, b"", f"Location: /hops/{int(count) - 1}" if count != "0" else "Location: /a.png")
            case ["loop"]:
                send(302, b"", "Location: /loop")
            case ["ping"]:
                send(302, b"", "Location: /pong")
            case ["pong"]:
                send(302, b"", "Location: /ping")
            case ["nowhere"]:
                send(302)
            case ["status", status]:
                send(status, ALLOWED, image)
            case ["html"]:
                send(200, b"<!doctype html><title>Sign in</title>", "Content-Type: text/html")
            case ["html-image"]:
                send(200, ALLOWED, "Content-Type: text/html")
            case ["empty"]:
                send(200, b"", image)
            case ["big", size, declared]:
                connection.sendall(
                    f"HTTP/1.1 200 OK\r\n{image}\r\nConnection: close\r\n".encode()
                    + (f"Content-Length: {size}\r\n" if declared == "declared" else "").encode()
                    + b"\r\n"
                    + ALLOWED
                )
                left = int(size) - len(ALLOWED)
                while left > 0:
                    connection.sendall(bytes(min(left, 1 << 16)))
                    left -= 1 << 16
            case ["claims", size]:
                send(200, ALLOWED, image, length=size)
                time.sleep(30)
            case ["short"]:
                send(200, ALLOWED[:-20], image, length=len(ALLOWED))
            case ["endless"]:
                connection.sendall(
                    f"HTTP/1.1 200 OK\r\n{image}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                )
                while True:
                    connection.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            case ["endless-head"]:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    connection.sendall(b"X-Y: " + b"a" * 8000 + b"\r\n")
            case ["slow"]:
                connection.sendall(
                    f"HTTP/1.1 200 OK\r\n{image}\r\nContent-Length: {len(ALLOWED)}\r\n\r\n".encode()
                )
                for byte in ALLOWED:
                    connection.sendall(bytes([byte]))
                    time.sleep(1)
            case ["slow-head"]:
                for byte in b"HTTP/1.1 200 OK\r\n" * 5:
                    connection.sendall(bytes([byte]))
                    time.sleep(1)
            case ["slow-hops", count]:
                time.sleep(3)
                send(
                    302, b"", f"Location: /slow-hops/{int(count) - 1}" if count != "0" else "Location: /a.png"
                )
            case ["silent"]:
                time.sleep(40)
            case ["garbage"]:
                connection.sendall(b"\x16\x03\x01 no http\r\n\r\n")
            case ["gzip"]:
                send(200, gzip.compress(ALLOWED), image, "Content-Encoding: gzip")
            case ["bomb"]:
                body = bomb()
                send(200, body, image, "Content-Encoding: gzip")
            case ["deflate"]:
                send(200, zlib.compress(ALLOWED), image, "Content-Encoding: deflate")
            case ["br"]:
                send(200, ALLOWED, image, "Content-Encoding: br")
            case ["continue"]:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
                send(200, ALLOWED, image)
            case ["cookie"]:
                send(302, b"", "Location: /a.png", "Set-Cookie: a=b")
            case _:
                send(200, ALLOWED, image)


@functools.cache
def bomb() -> bytes:
    """1 GB of zeros behind an image, in 1 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return packer.compress(ALLOWED) + b"".join(packer.compress(zeros) for _ in range(1000)) + packer.flush()


class Names:
    """A name server: answers A questions from a table, counts them."""

    def __init__(self):
        self.table, self.asked = {}, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(4096)
            labels, place = [], 12
            while query[place]:
                labels.append(query[place + 1 : place + 1 + query[place]].decode())
                place += 1 + query[place]
            name, kind = ".".join(labels), struct.unpack_from(">H", query, place + 1)[0]
            self.asked.append(name)
            address = self.table.get(name)
            count = 1 if address and kind == 1 else 0
            answer = (
                query[:2]
                + struct.pack(">HHHHH", 0x8180 if address else 0x8183, 1, count, 0, 0)
                + query[12 : place + 5]
            )
            if count:
                answer += struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(address)
            self.socket.sendto(answer, client)


def enter() -> bool:
    """Into namespaces of our own; whether we are in them."""
    if os.environ.get(INSIDE) == "1":
        subprocess.run("ip link set lo up && ip route add local 0.0.0.0/0 dev lo", shell=True, check=True)
        return True
    if INSIDE in os.environ or os.geteuid() or not shutil.which("unshare") or not shutil.which("ip"):
        return False
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        return False
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--net", sys.executable, *sys.argv])


def mounted(path: str, folder: Path, text: str) -> Path:
    """Puts a file of ours in the place of one of the system, in our mount namespace alone."""
    file = folder / Path(path).name
    file.write_text(text)
    subprocess.run(["mount", "--bind", file, os.path.realpath(path)], check=True)
    return file


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A listener's certificate of its own, and its text. - name: `IP:127.0.0.1`, `DNS:pictures.test`."""
    folder = folder / name.replace(":", "-")
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key", "-out", folder / "cert", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName={name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context, (folder / "cert").read_text()
