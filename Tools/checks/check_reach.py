"""A server reads no file outside --files and contacts no address outside --fetch.

    python check_reach.py SERVER [--only files|fetch]

As root on Linux it runs in namespaces of its own (unshare --mount --net): there only the loopback device is
there, every address, 169.254.169.254 too, leads to this machine, /etc/hosts and the name server are the
check's, and nothing that is wrong can get out. Without that, what needs it is named and not tested.

- Files: each URL, bare path and odd spelling of what lies outside is refused; so is what is no plain file.
  That a file is not even opened is seen by inotify. What is said of a file that is there and of one that is
  not is the same but for the name. Links are swapped for files while requests run.
- Fetch: one listener that is named counts what it is asked; others, at other ports, addresses and names,
  count connections, and must stay at 0. Redirects, spellings of addresses, names that move, bodies without
  an end, silence, compressed bodies. The server is to refuse each within 15 s and in 300 MB.

What the contract leaves open (`note`) is printed and not judged. Exit 1 if anything does not hold. A minute
and a half; no packages needed.
"""

import argparse
import concurrent.futures
import ctypes
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from listeners import ALLOWED, SECRET, TOKENS, Listener, Names, certificate, enter, mounted
from served import TOKENIZER, Findings, Served, file_url

LIMIT = 32 << 20  # of a body that is fetched
SECONDS = 15  # ten for a fetch, and what a busy machine takes


def look(server, url, timeout=60):
    """What POST /tokenize makes of an image: (`allowed`, `SECRET`, or the error's type; the answer; seconds)."""
    chunk = {"type": "image_url", "image_url": {"url": url}}
    return asked(server, {"messages": [{"role": "user", "content": [chunk]}]}, timeout)


def asked(server, request, timeout=60):
    start = time.time()
    try:
        status, found = server.post("/tokenize", request, timeout=timeout)
    except Exception as error:  # no answer at all
        return f"NO ANSWER: {error!r}", {}, time.time() - start
    seconds = time.time() - start
    if status == 200:
        return TOKENS.get(found["count"], f"{found['count']} TOKENS"), found, seconds
    return (found["error"]["type"] if status == 400 else f"STATUS {status}"), found, seconds


def refused(outcome: str) -> bool:
    return outcome.isidentifier() and outcome not in ("allowed", "SECRET")


# ---- files ----


class Opened:
    """Which files of some folders are opened, by inotify."""

    def __init__(self, *folders):
        libc = ctypes.CDLL(None, use_errno=True)
        self.file = libc.inotify_init1(os.O_NONBLOCK)
        for folder in folders:
            libc.inotify_add_watch(self.file, os.fsencode(folder), 0x20)  # IN_OPEN

    def names(self) -> list[str]:
        time.sleep(0.05)
        try:
            data = os.read(self.file, 1 << 20)
        except BlockingIOError:
            return []
        found = []
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            name = data[16 : 16 + length].rstrip(b"\0").decode()
            if not mask & 0x40000000 and name:  # IN_ISDIR
                found.append(name)
            data = data[16 + length :]
        return found


def check_files(binary, folder, findings):
    inside, outside, like = folder / "in", folder / "out", folder / "in-not"
    for one in (inside / "sub", outside / "sub", like):
        one.mkdir(parents=True)
    for place in (outside, outside / "sub", like, folder):
        (place / "secret.png").write_bytes(SECRET)
    for name in ("a.png", "sub/a.png", "blank in name.png", "per%41cent.png", "é.png", "x?y#z.png"):
        (inside / name).write_bytes(ALLOWED)
    links = {
        "in-relative.png": "sub/a.png", "in-absolute.png": inside / "sub" / "a.png", "in-up.png": "sub/../a.png",
        "out-relative.png": "../out/secret.png", "out-absolute.png": outside / "secret.png", "out-folder": "../out", "out-folder-absolute": outside,
        "out-root": "/", "chain1.png": "chain2.png", "chain2.png": "sub/chain3.png", "sub/chain3.png": "../../out/secret.png", "up": "..", "like": "../in-not",
        "loop.png": "loop.png", "self": ".", "dangling.png": "../out/missing.png", "proc": "/proc/self/root", "by-like.png": "../in/../out/secret.png",
        "back.png": "../in/a.png",
    }  # fmt: skip
    for name, target in links.items():
        (inside / name).symlink_to(target)
    os.mkfifo(inside / "fifo.png")
    unix = socket.socket(socket.AF_UNIX)
    os.chdir(inside)
    unix.bind("socket.png")
    os.chdir("/")
    devices = []
    for name, minor in {"null.png": 3, "zero.png": 5}.items():
        try:
            os.mknod(inside / name, 0o666 | 0o020000, os.makedev(1, minor))
            open(inside / name).close()
            devices.append(name)
        except OSError:
            print(f"not tested: a device in the folder ({name})")
            (inside / name).unlink(missing_ok=True)
    seen = Opened(outside, outside / "sub", like, folder)

    # The server stands in the folder of the secret, and keeps a descriptor of it.
    descriptor = os.open(outside / "secret.png", os.O_RDONLY)
    process = {"cwd": outside, "pass_fds": [descriptor]}
    with Served(binary, "--files", inside, **process) as server:
        for name in (
            "a.png",
            "sub/a.png",
            "in-relative.png",
            "blank in name.png",
            "é.png",
            "x?y#z.png",
            "per%41cent.png",
        ):
            outcome, found, _ = look(server, file_url(inside / name))
            findings.say(f"file below the folder, {name}", outcome == "allowed", outcome + said(found))
        for name in (
            "in-absolute.png",
            "in-up.png",
            "self/a.png",
            "back.png",
            "sub/../a.png",
            "./a.png",
            "/a.png",
            "out-folder/../in/a.png",
        ):
            outcome, found, _ = look(server, file_url(f"{inside}/{name}"))
            note(
                f"below the folder by a detour, {name}",
                outcome in ("allowed",) or refused(outcome),
                outcome,
                findings,
            )

        late = inside / "late.png"
        late.symlink_to("../out/secret.png")
        shutil.copytree(inside / "sub", inside / "late", symlinks=True)
        shutil.rmtree(inside / "late")
        (inside / "late").symlink_to("../out")
        wrong = [
            *(file_url(inside / name) for name in links if name.startswith(("out-", "chain", "loop", "dang", "by")) and name.endswith(".png")),
            *(file_url(inside / name / "secret.png") for name in ("out-folder", "out-folder-absolute", "up", "like", "up/out", "out-folder/sub", "sub/../out-folder", "late", "self/self/out-folder")),
            file_url(f"{inside}/out-root{outside}/secret.png"), file_url(f"{inside}/proc{outside}/secret.png"),
            file_url(late), file_url(outside / "secret.png"), file_url(like / "secret.png"), file_url(folder / "secret.png"),
            *(file_url(f"{inside}/{name}") for name in ("../out/secret.png", "sub/../../out/secret.png", "../in-not/secret.png", "./../out/./secret.png", "//../out/secret.png", "sub//..//../out/secret.png")),
            *(file_url(f"{inside}/{name}") for name in ("%2e%2e/out/secret.png", "%2E%2E/out/secret.png", "..%2fout%2fsecret.png", ".%2e/out/secret.png", "%252e%252e/out/secret.png", "..\\out\\secret.png", "%c0%ae%c0%ae/out/secret.png")),
            file_url(f"{inside}-not/secret.png"), file_url(f"{inside}/../in-not/secret.png"),
            file_url(f"/proc/self/fd/{descriptor}"), file_url(f"/proc/{server.process.pid}/fd/{descriptor}"), file_url(f"/dev/fd/{descriptor}"),
            file_url(f"/proc/self/root{outside}/secret.png"), file_url("/proc/self/cwd/secret.png"), file_url(f"/proc/{os.getpid()}/root{outside}/secret.png"),
            file_url("secret.png"), file_url("./secret.png"), file_url("../out/secret.png"), f"file:{outside}/secret.png", f"file:/{outside}/secret.png", f"file://localhost{outside}/secret.png",
            f"file://127.0.0.1{outside}/secret.png", f"FILE://{outside}/secret.png", f" file://{outside}/secret.png", f"file:////{outside}/secret.png", f"file://{outside}/secret.png\0.png",
            f"file://{inside}/a.png\0", f"file://{inside}/\0/../../out/secret.png",
            f"file://{outside}/secret.png?x", f"file://{outside}/secret.png#x", f"file://~/secret.png", f"file://$PWD/secret.png", f"file://{inside}*/secret.png", f"file://{outside}/sec?et.png",
            str(outside / "secret.png"), "secret.png", "./secret.png", "../out/secret.png", "sub/secret.png", f"{inside}/../out/secret.png", str(inside / "a.png"), "path:secret.png", "", ".", "/",
            f"localhost{outside}/secret.png", f"unix:{outside}/secret.png", f"ftp://{outside}/secret.png", f"jar:file://{outside}/secret.png", f"data:file://{outside}/secret.png", f"data:;base64,file://{outside}/secret.png",
            file_url(inside), file_url(f"{inside}/"), file_url(inside / "sub"), file_url("/"), file_url(""), file_url(outside),
            *(file_url(inside / name) for name in ["fifo.png", "socket.png", *devices]),
            file_url("/dev/null"), file_url("/dev/zero"), file_url("/dev/stdin"), file_url("/proc/self/environ"), file_url("/etc/passwd"), file_url("/" + "a" * 5000), file_url(f"{inside}/" + "a" * 300),
            file_url(f"{inside}/" + "sub/../" * 3000 + "a.png"),
        ]  # fmt: skip
        seen.names()
        bad, slow, types = [], [], {}
        for url in wrong:
            outcome, _, seconds = look(server, url)
            types.setdefault(outcome, []).append(Path(url).name[:12])
            if not refused(outcome):
                bad.append((url[-80:], outcome))
            if seconds > 5:
                slow.append((url[-80:], seconds))
        findings.say(
            f"{len(wrong)} URLs and paths of what must not be read",
            not bad,
            bad or {kind: (len(names), names[-4:]) for kind, names in types.items()},
        )
        findings.say("each refused at once", not slow, slow or "within 5 s")
        names = seen.names()
        findings.say("nothing outside was opened", not names, names or "seen by inotify")
        check_silence(server, inside, outside, findings)
        # A file's other ways in: an `image` chunk, a tool's result, a chunk of audio, a text.
        url = file_url(outside / "secret.png")
        ways = {
            "image chunk": {"type": "image", "image": url}, "image_url as a text": {"type": "image_url", "image_url": url},
            "audio_url": {"type": "audio_url", "audio_url": {"url": url}}, "input_audio": {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}},
        }  # fmt: skip
        seen.names()
        outcomes = {
            what: asked(server, {"messages": [{"role": "user", "content": [chunk]}]})[0]
            for what, chunk in ways.items()
        }
        findings.say(
            "other kinds of chunks", all(map(refused, outcomes.values())) and not seen.names(), outcomes
        )
        check_swaps(server, inside, outside, findings)
        findings.say("memory", memory(server) < 300, f"{memory(server):.0f} MB at most")
    findings.say("exit code after SIGTERM", server.code == 0, server.code)
    seen.names()
    with Served(binary, **process) as server:
        urls = [file_url(inside / "a.png"), file_url(outside / "secret.png"), "secret.png", str(outside / "secret.png"), "./secret.png", file_url("secret.png"), file_url("/nowhere.png")]  # fmt: skip
        outcomes = {url[-30:]: look(server, url)[0] for url in urls}
        findings.say(
            "no --files, nothing is read",
            all(map(refused, outcomes.values())),
            sorted(set(outcomes.values())),
        )
        there, missing = (look(server, file_url(outside / name))[1] for name in ("secret.png", "absent.png"))
        findings.say("no --files, the same of a file that is there", alike(there, missing), said(there))
        findings.say("no --files, nothing outside was opened", not (names := seen.names()), names)
    # The folder itself by a link, relative, with a slash behind; and folders that are none.
    (folder / "link-to-in").symlink_to("in")
    for given in (folder / "link-to-in", "../in", f"{inside}/", f"{inside}/sub/.."):
        with Served(binary, "--files", given, **process) as server:
            outcome, _, _ = look(server, file_url(inside / "a.png"))
            through, _, _ = look(server, file_url(folder / "link-to-in" / "a.png"))
            out, _, _ = look(server, file_url(inside / "out-relative.png"))
            good = refused(out) and outcome == "allowed"
            findings.say(
                f"--files {str(given).replace(str(folder), '…')}",
                good,
                f"{outcome}; by the link {through}; a link out {out}",
            )
    for given in ("missing", "in/a.png"):
        command = [binary, "--port", "0", "--tokenizer", TOKENIZER, "--files", folder / given]
        try:
            done = subprocess.run(command, capture_output=True, timeout=30, check=False)
            said_so = f"exit {done.returncode}: {done.stderr.decode()[-150:].strip()}"
            findings.say(f"--files {given}", done.returncode in (2, 64), said_so)
        except subprocess.TimeoutExpired:
            findings.say(f"--files {given}", False, "it serves")
    os.close(descriptor)


def note(what, good, result, findings):
    """What the contract leaves open, but not beyond all bounds."""
    if good:
        print(f"note  {what}: {result}", flush=True)
    else:
        findings.say(what, False, result)


def reachable(urls: dict, within: bool) -> dict:
    """Without namespaces, those that a server which is wrong would take to this machine: no name is looked up,
    no other machine is asked.
    """
    return {
        what: url
        for what, url in urls.items()
        if within or not re.search(r"\.test|//test|169\.254|10\.0\.0", url)
    }


def said(found) -> str:
    return f": {found['error']['message'][:160]}" if "error" in found else ""


def alike(a, b) -> bool:
    """Whether two errors differ in the last part of the name alone."""
    strip = [
        str(found).replace("secret.png", "*").replace("absent.png", "*").replace("absent", "*")
        for found in (a, b)
    ]
    return strip[0] == strip[1]


def check_silence(server, inside, outside, findings):
    """An error does not tell whether there is a file, a folder, or what it is."""
    shutil.copytree(outside, inside.parent / "other")
    (inside.parent / "other" / "secret.png").write_bytes(b"no image")
    pairs = {
        "a file": (outside / "secret.png", outside / "absent.png"), "by ..": (f"{inside}/../out/secret.png", f"{inside}/../out/absent.png"),
        "by a folder's link": (inside / "out-folder" / "secret.png", inside / "out-folder" / "absent.png"),
        "a folder like it": (inside.parent / "in-not" / "secret.png", inside.parent / "in-not" / "absent.png"),
        "a folder": (f"{outside}", f"{outside.parent}/absent"), "in a folder that is none": (outside / "secret.png" / "x", outside / "absent.png" / "x"),
        "/etc": ("/etc/passwd", "/etc/absent.png"),
    }  # fmt: skip
    told = []
    for what, (there, missing) in pairs.items():
        first, second = (look(server, file_url(path))[1] for path in (there, missing))
        texts = [str(found).replace(str(path), "*") for found, path in ((first, there), (second, missing))]
        if texts[0] != texts[1] and not alike(first, second):
            told.append((what, texts))
    (inside / "out-missing.png").symlink_to("../out/absent.png")
    (inside / "out-there.png").symlink_to("../out/secret.png")
    first, second = (look(server, file_url(inside / f"out-{name}.png"))[1] for name in ("there", "missing"))
    if str(first).replace("there", "*") != str(second).replace("missing", "*"):
        told.append(("a link that leads out, to a file and to none", [str(first), str(second)]))
    findings.say(
        f"{len(pairs) + 1} errors tell nothing of what is outside", not told, told or said(first)[2:]
    )


def check_swaps(server, inside, outside, findings):
    """While requests run, a name is now a file and now a link that leads out, and so is a folder."""
    stop, places = threading.Event(), (inside / "swap.png", inside / "swap")
    (inside / "kept").mkdir()
    (inside / "kept" / "secret.png").write_bytes(ALLOWED)

    def swap():
        turn = 0
        while not stop.is_set():
            turn += 1
            new = inside / "new"
            if turn % 2:
                shutil.copyfile(inside / "a.png", new)
            else:
                new.symlink_to("../out/secret.png")
            new.replace(places[0])
            link = inside / "new-folder"
            link.symlink_to("kept" if turn % 2 else "../out")
            link.replace(places[1])

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            urls = [file_url(places[0]), file_url(places[1] / "secret.png")] * 300
            outcomes = list(pool.map(lambda url: look(server, url)[0], urls))
    finally:
        stop.set()
        thread.join()
    counts = {name: outcomes.count(name) for name in sorted(set(outcomes))}
    findings.say(
        "links swapped while 600 requests run",
        counts.get("allowed", 0) > 0 and all(name == "allowed" or refused(name) for name in counts),
        counts,
    )


def memory(server) -> float:
    """The most that the server has had, MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


# ---- fetch ----


def check_fetch(binary, folder, within, findings):
    named = Listener()
    port = named.port
    secure = Listener(tls=certificate(folder, "IP:127.0.0.1")[0])
    # Strangers: another port of the same address, the same port of others; with namespaces every other
    # address at all, at the ports that matter.
    strangers = {"another port": Listener(), "127.0.0.2": Listener("127.0.0.2", port)}
    try:
        strangers["::1"] = Listener("::1", port)
    except OSError:
        print("not tested: IPv6")
    stranger = strangers["another port"].port
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = nobody.getsockname()[1]
    options = [word for one in (port, secure.port, closed) for word in ("--fetch", f"127.0.0.1:{one}")]
    hosts, names, trusted = None, None, None
    if within:
        for name, given in {"80": ("0.0.0.0", 80), "443": ("0.0.0.0", 443), "22": ("0.0.0.0", 22)}.items():
            strangers[f"every address, port {name}"] = Listener(*given)
        text = "127.0.0.1 localhost pictures.test same.test\n127.0.0.2 other.test\n"
        hosts = mounted("/etc/hosts", folder, text)
        mounted("/etc/resolv.conf", folder, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        names = Names()
        names.table |= {"moving.test": "127.0.0.1", "stranger.test": "127.0.0.2"}
        # A certificate that the machine trusts, of one name; no other machine's is trusted here.
        tls, text = certificate(folder, "DNS:pictures.test")
        mounted("/etc/ssl/certs/ca-certificates.crt", folder, text)
        trusted = Listener(tls=tls)
        for place in (port, trusted.port):
            options += ["--fetch", f"pictures.test:{place}", "--fetch", f"moving.test:{place}"]
    else:
        print(
            "not tested: names that change their addresses, other machines' addresses, the name server (no namespaces)"
        )
    # A proxy of the environment is a stranger too.
    proxy = f"http://127.0.0.1:{stranger}"
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    for key in ("http_proxy", "https_proxy", "all_proxy"):
        environment |= {key: proxy, key.upper(): proxy}

    def contacted():
        return {name: one.connections for name, one in strangers.items() if one.connections}

    with Served(binary, *options, env=environment) as server:
        if names:
            names.asked.clear()
        base = f"http://127.0.0.1:{port}"

        def judge(what, url, good, seconds_at_most=SECONDS):
            before = dict(contacted())
            outcome, found, seconds = look(server, url)
            fine = good(outcome) and seconds <= seconds_at_most and contacted() == before
            news = "" if contacted() == before else f"; CONTACTED {contacted()}"
            findings.say(f"fetch, {what}", fine, f"{outcome}{said(found)} ({seconds:.1f} s){news}")
            return outcome

        def allowed(outcome):
            return outcome == "allowed"

        judge("an image", f"{base}/a.png", allowed)
        judge("with a query and a fragment", f"{base}/a.png?x=1&y=%20#z", allowed)
        judge(
            "type text/html, but an image",
            f"{base}/html-image",
            lambda outcome: allowed(outcome) or refused(outcome),
        )
        if within:
            judge("a name that is named", f"http://pictures.test:{port}/a.png", allowed)
        head = named.heads[0] if named.heads else "nothing: it was not contacted"
        secret = [
            line
            for line in head.split("\r\n")
            if line.lower().startswith(("authorization", "cookie", "referer"))
        ]
        findings.say("fetch, what the server says of itself", not secret, head.replace("\r\n", " | ")[:200])

        # Spellings. Of the named address they may be taken or refused; of all others they are refused.
        own = {
            "upper case": f"http://PICTURES.test:{port}/a.png", "a dot at the end": f"http://pictures.test.:{port}/a.png", "a dot behind the address": f"http://127.0.0.1.:{port}/a.png",
            "an integer": f"http://2130706433:{port}/a.png", "octal": f"http://0177.0.0.1:{port}/a.png", "hexadecimal": f"http://0x7f000001:{port}/a.png", "short": f"http://127.1:{port}/a.png",
            "leading zeros": f"http://127.000.000.001:{port}/a.png", "percent": f"http://%31%32%37.0.0.1:{port}/a.png", "IPv6 of IPv4": f"http://[::ffff:127.0.0.1]:{port}/a.png",
            "a blank in front": f" http://127.0.0.1:{port}/a.png", "a scheme in capitals": f"HTTP://127.0.0.1:{port}/a.png", "a user": f"http://user:word@127.0.0.1:{port}/a.png",
            "an empty user": f"http://@127.0.0.1:{port}/a.png", "port with zeros": f"http://127.0.0.1:0{port}/a.png", "full-width digits": f"http://１２７.0.0.1:{port}/a.png", "..": f"{base}/x/../a.png",
            "a line feed in the path": f"{base}/a.png\r\nX-Injected: 1", "the same in percent": f"{base}/a.png%0d%0aX-Injected: 1", "a blank in the path": f"{base}/a b.png", "a letter beyond ASCII": f"{base}/é.png",
        }  # fmt: skip
        seen = {}
        for what, url in reachable(own, within).items():
            outcome, _, _ = look(server, url)
            seen[what] = outcome
            if not allowed(outcome) and not refused(outcome):
                findings.say(f"fetch, the named address, {what}", False, outcome)
        print(f"note  the named address spelt otherwise: {seen}", flush=True)
        findings.say("fetch, spellings of the named address contact no other", not contacted(), contacted())
        findings.say("fetch, no header is injected", not any("\nX-Injected" in head for head in named.heads))
        users = [head for head in named.heads if "authorization" in head.lower()]
        print(f"note  a user's name and word in a URL are {'sent' if users else 'not sent'}", flush=True)

        other = {
            "another port": f"http://127.0.0.1:{stranger}/a.png", "no port": "http://127.0.0.1/a.png", "https, no port": "https://127.0.0.1/a.png", "another address": f"http://127.0.0.2:{port}/a.png",
            "localhost": f"http://localhost:{port}/a.png", "localhost, another port": f"http://localhost:{stranger}/a.png", "IPv6": f"http://[::1]:{port}/a.png", "IPv6 in full": f"http://[0:0:0:0:0:0:0:1]:{port}/a.png",
            "IPv6 with a zone": f"http://[::1%25lo]:{port}/a.png", "an integer": f"http://2130706434:{port}/a.png", "octal": f"http://0177.0.0.2:{port}/a.png", "hexadecimal": f"http://0x7f.0.0.2:{port}/a.png",
            "short": f"http://127.2:{port}/a.png", "percent": f"http://127.0.0.%32:{port}/a.png", "full-width": f"http://127.0.0.２:{port}/a.png", "ideographic stop": f"http://127。0。0。2:{port}/a.png",
            "circled": f"http://①②⑦.⓪.⓪.②:{port}/a.png", "IPv6 of IPv4": f"http://[::ffff:127.0.0.2]:{port}/a.png", "IPv6 of IPv4, hexadecimal": f"http://[::ffff:7f00:2]:{port}/a.png", "0": f"http://0:{stranger}/a.png", "0.0.0.0": f"http://0.0.0.0:{stranger}/a.png",
            "a user that is the named one": f"http://127.0.0.1:{port}@127.0.0.1:{stranger}/a.png", "a user's name alone": f"http://127.0.0.1@127.0.0.2:{port}/a.png", "two @": f"http://127.0.0.1:{port}@127.0.0.1:{port}@127.0.0.2:{port}/a.png",
            "@ in percent": f"http://127.0.0.1:{port}%40127.0.0.2:{port}/a.png", "backslash before @": f"http://127.0.0.2:{port}\\@127.0.0.1:{port}/a.png", "backslash behind": f"http://127.0.0.1:{port}\\@127.0.0.2:{port}/a.png", "# before @": f"http://127.0.0.2:{port}#@127.0.0.1:{port}/a.png",
            "? before @": f"http://127.0.0.2:{port}?@127.0.0.1:{port}/a.png", "/ before @": f"http://127.0.0.2:{port}/@127.0.0.1:{port}/a.png", ";": f"http://127.0.0.1:{port};@127.0.0.2:{port}/a.png", "one slash": f"http:/127.0.0.2:{port}/a.png",
            "no slash": f"http:127.0.0.2:{port}/a.png", "three slashes": f"http:///127.0.0.2:{port}/a.png", "backslashes": f"http:\\\\127.0.0.2:{port}\\a.png", "a tab": f"http://127.0.0.1\t.0.0.2:{port}/a.png", "a line feed": f"http://127.0.0.2\n:{port}/a.png",
            "a NUL": f"http://127.0.0.2:{port}\0@127.0.0.1:{port}/a.png", "a port too large": f"http://127.0.0.1:{port + 65536}/a.png", "a port below 0": "http://127.0.0.1:-1/a.png", "a port that is none": "http://127.0.0.1:x/a.png", "an empty port": "http://127.0.0.1:/a.png",
            "no host": "http:///a.png", "http alone": "http://", "httpx": f"httpx://127.0.0.2:{port}/a.png", "http in a name": "http", "ftp": f"ftp://127.0.0.2:{port}/a.png", "gopher": f"gopher://127.0.0.2:{port}/_", "scheme-relative": f"//127.0.0.2:{port}/a.png", "ws": f"ws://127.0.0.2:{port}/",
            "the named one with a suffix": f"http://127.0.0.1.other.test:{port}/a.png", "the named one as a prefix": f"http://127.0.0.11:{port}/a.png", "unix": f"http+unix://%2ftmp%2fx/a.png",
        }  # fmt: skip
        other |= {
            "a name with the same address": f"http://same.test:{port}/a.png", "a name of another address": f"http://other.test:{port}/a.png", "a name's port": f"http://pictures.test:{stranger}/a.png", "a name without a port": "http://pictures.test/a.png",
            "by the name server": f"http://stranger.test:{port}/a.png", "below a name": f"http://a.pictures.test:{port}/a.png", "above a name": f"http://test:{port}/a.png", "a name and more": f"http://pictures.test.other.test:{port}/a.png", "metadata": "http://169.254.169.254/latest/", "a private address": "http://10.0.0.1/a.png",
            "a NUL behind a name": f"http://pictures.test\0.other.test:{port}/a.png", "a name in a user": f"http://pictures.test:{port}@other.test:{port}/a.png", "a soft hyphen": f"http://oth\u00ader.test:{port}/a.png",
        }  # fmt: skip
        before, bad, types = named.connections, [], {}
        other = reachable(other, within)
        for what, url in other.items():
            outcome, found, seconds = look(server, url)
            types.setdefault(outcome, []).append(what)
            if not refused(outcome) or contacted() or seconds > 5:
                bad.append((what, url, outcome, contacted()))
                for one in strangers.values():
                    one.connections = 0
        findings.say(
            f"fetch, {len(other)} URLs of addresses that are not named",
            not bad,
            bad or {kind: len(whats) for kind, whats in types.items()},
        )
        findings.say(
            "fetch, nor is the named one asked for them",
            named.connections == before,
            f"{named.connections - before} connections; {types}"[:900],
        )

        def to(location, status=302):
            return f"{base}/to/{status}?{location.encode('latin-1', 'replace').hex()}"

        for status in (301, 302, 303, 307, 308):
            judge(f"redirect {status} to the same host", to("/a.png", status), allowed)
        judge("redirect, scheme-relative, to the same host", to(f"//127.0.0.1:{port}/a.png"), allowed)
        judge("redirect, relative", to("../a.png?x"), allowed)
        if within:
            judge("redirect to another name that is named", to(f"http://pictures.test:{port}/a.png"), allowed)
        judge("redirect with a cookie", f"{base}/cookie", allowed)
        findings.say(
            "fetch, cookies are not kept", not any("\ncookie" in head.lower() for head in named.heads)
        )
        places = {
            "another port": f"http://127.0.0.1:{stranger}/a.png", "another address": f"http://127.0.0.2:{port}/a.png", "scheme-relative, another port": f"//127.0.0.1:{stranger}/a.png", "a file": "file:///etc/passwd", "a file of ours": file_url(Path(__file__)),
            "data:": "data:image/png;base64," + "AAAA", "https": f"https://127.0.0.1:{port}/a.png", "a user": f"http://127.0.0.1:{port}@127.0.0.2:{port}/a.png", "backslashes": f"\\\\127.0.0.2:{port}\\a.png", "slash and backslash": f"/\\127.0.0.2:{port}/a.png",
            "localhost": f"http://localhost:{port}/a.png", "a blank in front": f" http://127.0.0.2:{port}/a.png", "a tab within": f"ht\ttp://127.0.0.2:{port}/a.png", "nothing": "", "a name": f"http://other.test:{port}/a.png", "metadata": "http://169.254.169.254/", "ftp": f"ftp://127.0.0.2:{port}/", "three slashes": f"///127.0.0.2:{port}/a.png",
            "@": f"@127.0.0.2:{port}/a.png", "a port behind": f":{stranger}/a.png", ".": f".127.0.0.2:{port}/a.png",
        }  # fmt: skip
        for what, location in reachable(places, within).items():
            # What is no other address may be asked of the named one.
            judge(
                f"redirect to {what}",
                to(location),
                lambda outcome: (
                    refused(outcome)
                    or allowed(outcome)
                    and what
                    in (
                        "@",
                        "a port behind",
                        ".",
                        "three slashes",
                        "backslashes",
                        "slash and backslash",
                        "a blank in front",
                        "a tab within",
                        "nothing",
                    )
                ),
            )
        judge("redirect without a place", f"{base}/nowhere", refused)
        judge("5 redirects", f"{base}/hops/4", allowed)
        judge("6 redirects", f"{base}/hops/5", refused)
        before = named.connections
        judge("a redirect to itself", f"{base}/loop", refused)
        judge("two that redirect to each other", f"{base}/ping", refused)
        requests = sum("/loop " in head or "/ping " in head or "/pong " in head for head in named.heads)
        findings.say(
            "fetch, a loop is left",
            requests <= 12,
            f"{requests} requests, {named.connections - before} connections",
        )

        for status in (404, 500, 204, 206, 403):
            judge(
                f"status {status} with an image",
                f"{base}/status/{status}",
                lambda outcome: refused(outcome) or status == 206 and allowed(outcome),
            )
        judge("HTML", f"{base}/html", refused)
        judge("an empty body", f"{base}/empty", refused)
        judge("a body shorter than it says", f"{base}/short", refused)
        judge("no http", f"{base}/garbage", refused)
        judge("100 Continue before the answer", f"{base}/continue", allowed)
        for kind in ("gzip", "deflate", "br"):
            judge(f"a body in {kind}", f"{base}/{kind}", lambda outcome: refused(outcome) or allowed(outcome))
        judge("1 GB in gzip", f"{base}/bomb", refused)
        judge("32 MiB", f"{base}/big/{LIMIT}/declared", allowed)
        judge("32 MiB and a byte", f"{base}/big/{LIMIT + 1}/declared", refused)
        judge("33 MiB", f"{base}/big/{33 << 20}/declared", refused)
        judge("33 MiB, undeclared", f"{base}/big/{33 << 20}/undeclared", refused)
        judge("a body that says it has 1 TB", f"{base}/claims/{1 << 40}", refused)
        judge("a length that is none", f"{base}/claims/-1", refused)
        judge("a length of twenty digits", f"{base}/claims/{10**19}", refused)
        judge("https to a port of http", f"https://127.0.0.1:{port}/a.png", refused, 5)
        judge("http to a port of https", f"http://127.0.0.1:{secure.port}/a.png", refused)
        if within:
            judge("https", f"https://pictures.test:{trusted.port}/a.png", allowed)
            judge("https, a redirect to it", to(f"https://pictures.test:{trusted.port}/a.png"), allowed)
            judge("https with another's certificate", f"https://moving.test:{trusted.port}/a.png", refused, 5)
            requests = len(trusted.heads)
            findings.say(
                "fetch, https, what is asked",
                requests == 2,
                f"{requests} requests in {trusted.connections} connections",
            )
        before = secure.connections
        judge("https with a certificate of its own", f"https://127.0.0.1:{secure.port}/a.png", refused, 5)
        judge("where nobody listens", f"http://127.0.0.1:{closed}/a.png", refused, 5)
        findings.say(
            "fetch, no retries without end",
            secure.connections <= before + 2,
            f"{secure.connections - before} connections",
        )
        findings.say("fetch, memory so far", memory(server) < 300, f"{memory(server):.0f} MB at most")
        before = named.connections
        chunks = [{"type": "image_url", "image_url": {"url": f"{base}/a.png"}}]
        outcome, _, _ = asked(server, {"messages": [{"role": "user", "content": chunks}], "temperature": 2})
        findings.say(
            "fetch, a request that is refused for something else",
            outcome == "ValidationError" and named.connections == before,
            outcome,
        )
        urls = [f"{base}/big/{LIMIT}/declared?{n}" for n in range(16)]
        chunks = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        outcome, _, seconds = asked(server, {"messages": [{"role": "user", "content": chunks}]})
        note(
            "16 images of 32 MiB in a request",
            memory(server) < 1000,
            f"{outcome}, {memory(server):.0f} MB at most, {seconds:.1f} s",
            findings,
        )
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            outcomes = [outcome for outcome, _, _ in pool.map(lambda url: look(server, url), urls)]
        counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
        note(
            "16 requests with an image of 32 MiB each",
            memory(server) < 1000,
            f"{counts}, {memory(server):.0f} MB at most",
            findings,
        )
        before = named.connections
        chunks = [{"type": "image_url", "image_url": {"url": f"{base}/a.png?{n}"}} for n in range(65)]
        outcome, _, _ = asked(server, {"messages": [{"role": "user", "content": chunks}]})
        asked_for = named.connections - before
        findings.say(
            "fetch, 65 images in a request",
            refused(outcome) and asked_for <= 64,
            f"{outcome}, {asked_for} fetched",
        )
        urls = [f"{base}/silent?{n}" for n in range(3)]
        chunks = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        outcome, _, seconds = asked(server, {"messages": [{"role": "user", "content": chunks}]})
        fine = refused(outcome) and seconds <= SECONDS
        findings.say("fetch, 3 images that do not come in a request", fine, f"{outcome}, {seconds:.1f} s")
        check_slow(server, base, findings)
        chunk = {"type": "audio_url", "audio_url": {"url": f"http://127.0.0.1:{stranger}/a.wav"}}
        outcome, _, _ = asked(server, {"messages": [{"role": "user", "content": [chunk]}]})
        findings.say("fetch, audio", refused(outcome) and not contacted(), outcome)

        if within:
            hosts.write_text(
                hosts.read_text().replace(
                    "127.0.0.1 localhost pictures.test", "127.0.0.1 localhost\n127.0.0.2 pictures.test"
                )
            )
            names.table["moving.test"] = "127.0.0.2"
            for name in ("pictures.test", "moving.test"):
                moved = socket.gethostbyname(name)
                before = named.connections
                outcome = judge(f"{name}, now at {moved}", f"http://{name}:{port}/a.png", allowed)
                findings.say(
                    f"fetch, {name} is still looked for where it was",
                    named.connections == before + 1 and moved == "127.0.0.2",
                    outcome,
                )
            asked_for = [name for name in names.asked if name != "moving.test"]
            findings.say(
                "fetch, the name server is not asked after the start",
                names.asked.count("moving.test") <= 2 and not asked_for,
                names.asked,
            )
        findings.say(
            "fetch, strangers were not contacted, nor the proxy of the environment",
            not contacted(),
            contacted() or f"{len(strangers)} listeners, {named.connections} connections at the named one",
        )
    findings.say("exit code after SIGTERM", server.code == 0, server.code)

    with Served(binary) as server:
        before = named.connections
        outcomes = {
            url: look(server, url)[0]
            for url in (
                f"{base}/a.png",
                "http://127.0.0.1/",
                "https://127.0.0.1/",
                f"http://localhost:{port}/",
            )
        }
        findings.say(
            "no --fetch, nothing is contacted",
            set(outcomes.values()) == {"ConnectionError"} and named.connections == before and not contacted(),
            outcomes,
        )
    with Served(binary, "--fetch", "127.0.0.1") as server:
        outcome, there, _ = look(server, f"{base}/a.png")
        note(
            "--fetch HOST without a port, another port than 80 and 443",
            allowed(outcome) or refused(outcome),
            outcome + said(there),
            findings,
        )
        strangers["another port"].connections = 0
        outcome, _, _ = look(server, f"http://127.0.0.2:{port}/a.png")
        findings.say(
            "--fetch HOST without a port, another host", refused(outcome) and not contacted(), outcome
        )
    if "::1" in strangers:
        with Served(binary, "--fetch", f"[::1]:{port}") as server:
            outcome, there, _ = look(server, f"http://[::1]:{port}/a.png")
            note("--fetch [::1]:PORT", allowed(outcome) or refused(outcome), outcome + said(there), findings)


def check_slow(server, base, findings):
    """All at once: each ends in time, and meanwhile others are answered."""
    slow = {
        "a body without an end": "endless", "a head without an end": "endless-head", "a byte a second": "slow", "a byte of the head a second": "slow-head",
        "silence": "silent", "a body that does not come": "claims/1000", "four redirects of three seconds": "slow-hops/4",
    }  # fmt: skip
    with concurrent.futures.ThreadPoolExecutor(len(slow) + 1) as pool:
        start = time.time()
        waiting = {what: pool.submit(look, server, f"{base}/{path}") for what, path in slow.items()}
        time.sleep(2)
        status, _, _ = server.ask("GET", "/health", timeout=30)
        healthy = time.time() - start - 2
        answer, _, seconds = asked(server, {"messages": [{"role": "user", "content": []}]})
        for what, future in waiting.items():
            outcome, found, took = future.result()
            findings.say(
                f"fetch, {what}",
                refused(outcome) and took <= SECONDS,
                f"{outcome}{said(found)} ({took:.1f} s)",
            )
    findings.say("fetch, GET /health meanwhile", status == 200 and healthy < 2, f"{status} ({healthy:.1f} s)")
    note(
        "a request without an image meanwhile",
        not answer.startswith("NO ANSWER"),
        f"{answer} ({seconds:.1f} s)",
        findings,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--only", choices=["files", "fetch"])
    arguments = parser.parse_args()
    within = enter()
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder).resolve()
        if arguments.only != "fetch":
            check_files(arguments.server, folder, findings)
        if arguments.only != "files":
            check_fetch(arguments.server, folder, within, findings)
        if within:
            for path in ("/etc/hosts", "/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
                subprocess.run(["umount", os.path.realpath(path)], check=False, capture_output=True)
    sys.exit(findings.end())


if __name__ == "__main__":
    main()
