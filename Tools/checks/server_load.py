"""200 connections at once, good and bad ones mixed; for check_server_hostile.py."""

import asyncio
import base64
import collections
import contextlib
import json
import random
import re
import time
from pathlib import Path

from server_client import CHAT, DETOKENIZE, MB, SHORT, TOKENIZE, Server, ask, head, post

IMAGE = Path(__file__).resolve().parent.parent.parent / "Fixtures" / "images" / "model-alpha.png"


class Load:
    """Clients of all kinds, one after another on each of 200 connections."""

    def __init__(self, server: Server, seconds: float, seed: int):
        self.server, self.end = server, time.monotonic() + seconds
        self.random = random.Random(seed)
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.slowest: dict[str, float] = {}
        data = IMAGE.read_bytes()
        # With zeros behind it, so that more can follow behind its base64.
        image = base64.b64encode(data + bytes(-len(data) % 3)).decode()
        chunk = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
        self.picture = {"messages": [{"role": "user", "content": [chunk]}]}

    # Name, weight, and what may come. A 429 may come wherever something is computed.
    KINDS = [
        ("plain", 20, "200|429"), ("stream", 20, "200|429"), ("tokenize", 15, "200|429"), ("image", 10, "200|429"),
        ("detokenize", 5, "200|429"), ("models", 5, "200"), ("health", 10, "200"), ("wrong", 5, "400|429"),
        ("slow", 5, "200|429"), ("leaver", 10, "left"), ("large", 4, "200|413|429|closed"), ("objects", 1, "400|413|429|closed"),
    ]  # fmt: skip

    async def client(self):
        names = [name for name, _, _ in self.KINDS]
        weights = [weight for _, weight, _ in self.KINDS]
        while time.monotonic() < self.end:
            name = self.random.choices(names, weights)[0]
            start = time.monotonic()
            try:
                came = await asyncio.wait_for(self.one(name), 180)
            except TimeoutError:
                came = "no answer in 180 s"
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                came = "closed" if isinstance(error, asyncio.IncompleteReadError) else "reset"
            except OSError as error:
                came = f"{type(error).__name__} {error.errno}"
            self.counts[name, came] += 1
            if came == "200":
                self.slowest[name] = max(self.slowest.get(name, 0), time.monotonic() - start)
            if came in ("429", "reset", "closed"):
                await asyncio.sleep(self.random.uniform(0.2, 1))

    async def one(self, name: str) -> str:
        r = self.random
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        try:
            answer = {
                "messages": [{"role": "user", "content": f"Hello {r.random()}"}],
                "max_tokens": r.randint(1, 12),
            }
            match name:
                case "plain":
                    data = post(CHAT, answer)
                case "stream":
                    data = post(CHAT, answer | {"stream": True})
                case "tokenize":
                    data = post(TOKENIZE, {"prompt": "Hello " * r.randint(1, 2000)})
                case "image":
                    data = post(TOKENIZE, self.picture | {"return_token_strs": True})
                case "detokenize":
                    data = post(DETOKENIZE, {"tokens": [r.randrange(32768) for _ in range(100)]})
                case "models" | "health":
                    data = head("GET", "/v1/models" if name == "models" else "/health")
                case "wrong":
                    data = post(
                        CHAT, r.choice([b"[" * 50_000, b"{", b'{"messages": 5}', b'{"messages": "\xff"}'])
                    )
                case "slow":
                    data = post(CHAT, answer)
                    for i in range(0, len(data) - 1, len(data) // 8):
                        writer.write(data[i : i + len(data) // 8])
                        await writer.drain()
                        await asyncio.sleep(r.uniform(0.1, 1.5))
                    data = data[i + len(data) // 8 :]
                case "leaver":
                    writer.write(post(CHAT, answer | {"max_tokens": 50_000, "stream": r.random() < 0.5}))
                    await writer.drain()
                    await asyncio.sleep(r.uniform(0, 1))
                    if r.random() < 0.5:
                        writer.transport.abort()
                    return "left"
                case "large":
                    front, back = json.dumps(self.picture | {"max_tokens": 2}).encode().split(b'"}}]}]', 1)
                    data = self.parts(front, b'"}}]}]' + back, b"AAAA")
                case "objects":
                    data = self.parts(b"[", b"{}]", b"{},")
            status = await self.exchange(reader, writer, data)
            return str(status)
        finally:
            writer.close()

    def parts(self, front: bytes, back: bytes, filler: bytes):
        """A body of 1 to 70 MB between front and back, as its head and pieces of it."""
        size = self.random.randint(1, 70) * MB
        count = (size - len(front) - len(back)) // len(filler)
        length = len(front) + count * len(filler) + len(back)
        yield head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {length}") + front
        while count:
            now = min(count, 300_000)
            yield filler * now
            count -= now
        yield back

    @staticmethod
    async def exchange(reader, writer, data) -> int:
        async def send():
            with contextlib.suppress(ConnectionError):
                for part in [data] if isinstance(data, bytes) else data:
                    writer.write(part)
                    await writer.drain()

        sending = asyncio.create_task(send())
        try:
            before = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            status = int(before.split()[1])
            if found := re.search(r"content-length: (\d+)", before):
                await reader.readexactly(int(found[1]))
            elif "transfer-encoding: chunked" in before:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readline()
            else:
                await reader.read()
            return status
        finally:
            sending.cancel()

    async def watch(self):
        began = time.monotonic()
        while time.monotonic() < self.end:
            await asyncio.sleep(5)
            threads, files = self.server.threads_and_files()
            done = sum(self.counts.values())
            at = time.monotonic() - began
            print(
                f"{at:6.0f} s {self.server.memory('VmRSS') // MB:5} MB {done:7} requests {threads} threads {files} files",
                flush=True,
            )

    async def run(self):
        await asyncio.gather(self.watch(), *(self.client() for _ in range(200)))


def load(binary: str, seconds: float, seed: int) -> list[str]:
    wrong = []
    server = Server(binary)
    print(f"load: 200 connections for {seconds:.0f} s; {server.at_start // MB} MB at the start")
    load = Load(server, seconds, seed)
    asyncio.run(load.run())
    allowed = {name: codes for name, _, codes in load.KINDS}
    print("\nkind        came                 times   slowest 200, s")
    for (name, came), count in sorted(load.counts.items()):
        is_right = re.fullmatch(allowed[name], came) is not None
        slowest = f"{load.slowest[name]:8.1f}" if came == "200" else ""
        print(f"{name:11} {came:20} {count:6}   {slowest}{'' if is_right else '  WRONG'}")
        if not is_right:
            wrong.append(f"load: {name} came to {came}, {count} times")
    if server.process.poll() is not None:
        return [*wrong, f"the server ended with {server.process.returncode}\n{server.tail()}"]
    start = time.monotonic()
    came = ask(server, "POST", CHAT, SHORT, wait=60)
    took = time.monotonic() - start
    time.sleep(5)
    now, most = server.memory("VmRSS") // MB, server.memory("VmHWM") // MB
    threads, files = server.threads_and_files()
    print(f"{sum(load.counts.values())} requests; {threads} threads, {files} files")
    print(f"{server.at_start // MB} MB at the start, {most} at most, {now} at the end")
    print(f"a request behind it: {came} in {took:.2f} s")
    if str(came) != "200" or took > 5:
        wrong.append(f"after the load a request came to {came} in {took:.1f} s")
    if fault := server.memory_fault():
        wrong.append(f"load: {fault}")
    if (code := server.stop()) != 0:
        wrong.append(f"the server ended with {code} in the end\n{server.tail()}")
    return wrong
