"""What the checks of the server share: a served model, started, asked and ended."""

import http.client
import json
import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOKENIZER = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
os.environ["no_proxy"] = "*"  # A proxy would answer for 127.0.0.1.


class Served:
    """`with Served(BINARY, "--files", DIR) as server`: seeded:tiny at a port that the system chooses.

    - `line`: the first line of its standard output; `url`: the address that it names.
    - `code`: the exit code after SIGTERM, which must be 0.
    """

    def __init__(self, binary, *options, checkpoint="seeded:tiny", **process):
        self.log = tempfile.TemporaryFile()
        command = [binary, "--checkpoint", checkpoint, "--port", "0", "--tokenizer", TOKENIZER, *options]
        self.process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=self.log, **process
        )
        lines = queue.SimpleQueue()

        def read():
            for line in self.process.stdout:
                lines.put(line.decode().rstrip("\n"))
            lines.put("")

        threading.Thread(target=read, daemon=True).start()
        try:
            self.line = lines.get(timeout=60)
        except queue.Empty:
            self.line = ""
        address = re.search(r"http://(\[[^\]]*\]|[^\s:/]+):(\d+)", self.line)
        if not address:
            self.process.kill()
            raise SystemExit(
                f"{' '.join(map(str, command))}: the first line names no address: {self.line!r}\n{self.said()}"
            )
        self.url = address[0]
        self.host, self.port = address[1].strip("[]"), int(address[2])
        self.code = None

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.code = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.code = self.process.wait()
        self.log.close()

    def ask(self, method: str, path: str, body=None, headers=None, timeout=120):
        """(status, headers, bytes). - body: bytes, or what is sent as JSON."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            given = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, given | (headers or {}))
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def post(self, path: str, body, **options):
        """(status, the object that came back)"""
        status, _, text = self.ask("POST", path, body, **options)
        return status, json.loads(text)

    def stream(self, path: str, body, timeout=120):
        """The chunks of a stream up to [DONE]; None where that does not come."""
        status, headers, text = self.ask("POST", path, {**body, "stream": True}, timeout=timeout)
        if status != 200 or not headers["Content-Type"].startswith("text/event-stream"):
            return None
        events = text.decode().split("\n\n")
        if events[-2:] != ["data: [DONE]", ""] or not all(
            event.startswith("data: ") for event in events[:-1]
        ):
            return None
        return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def data_url(path) -> str:
    import base64

    kind = "png" if str(path).endswith(".png") else "jpeg"
    with open(path, "rb") as file:
        return f"data:image/{kind};base64," + base64.b64encode(file.read()).decode()


def file_url(path) -> str:
    return "file://" + str(path)


def quoted(name: str) -> str:
    """A model's name as one part of a path."""
    return urllib.parse.quote(name, safe="")


class Findings:
    """Says each result in a line, and remembers what did not hold."""

    def __init__(self):
        self.wrong = []
        self.count = 0

    def say(self, what: str, good: bool, result="") -> bool:
        self.count += 1
        print(f"{'ok   ' if good else 'WRONG'} {what}{': ' if result != '' else ''}{result}", flush=True)
        if not good:
            self.wrong.append(what)
        return good

    def end(self) -> int:
        print(f"{self.count} checks, {len(self.wrong)} wrong")
        return 1 if self.wrong else 0
