"""Opens pages of `pixtral-ref conformance run --html` in a browser, as people do: on a phone and on a
desk, in the light and in the dark, on paper, offline.

    python check_html.py BINARY [--browser PATH] [--keep FOLDER]

The runs are those of runtimes of which it is known what is wrong: the healthy oracle, some faults of
Docs/Faults.md, the modes of misbehaving_session.py, and one that sends marks of HTML wherever it can.
Of each page:

- it is well-formed, has no script, and is below 5 MB;
- the browser asks for nothing but the page, and reports no error;
- nothing is wider than the screen but what scrolls in a box of its own;
- every text has a contrast of at least 4.5, and 9 pixels of height;
- what was to be seen is there: a curve, pictures, tokens, the command for each failure;
- it prints.

Before that, a page with each of these faults must be found out.

Drives Chromium through its DevTools protocol over a pipe. Without a browser it says so and passes, for
`make check` asks for none. Exit 1 if something is wrong; --keep leaves pages and screenshots. A minute.
"""

import argparse
import base64
import contextlib
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

RUNTIMES = Path(__file__).resolve().parent.parent / "runtimes"
ORACLE = [sys.executable, RUNTIMES / "oracle_session.py"]
MISBEHAVING = [sys.executable, RUNTIMES / "misbehaving_session.py"]
SIZES = {"phone": (360, 800), "desk": (1280, 900)}
LARGEST = 5_000_000

# Answers each question with marks of HTML in the place of words.
HOSTILE = r"""
import json, sys
nasty = "<script>alert(1)</script><img src='http://example.invalid/'>\"'&</bdi></main>" + chr(0x202E) + chr(27)
for number, line in enumerate(sys.stdin):
    question = json.loads(line)
    if question["op"] == "hello":
        answer = {"name": nasty + "W" * 1_000_000, "version": "e\u0301" * 500 + "x" * 500, "arithmetic": "float32",
                  "features": ["tokens", "grid", "pixels", "rgb", "trace"]}
    else:
        kinds = [{"reject": {"type": "x", "message": nasty * 1000}}, {"unsupported": f"{number} {nasty * 1000}"},
                 {"tensors": nasty * 100}, {"tokens": [99999999, 1, -5] * 1000}, {"text": nasty * 1000}]
        answer = {"id": question["id"]} | kinds[number % 5]
    print(json.dumps(answer), flush=True)
"""

# A name: the runtime, the options of the run, and what must be seen on its page.
RUNS = {
    "healthy": ([*ORACLE], ["--stage", "grid,pixels,model"], {"Passed: none of"}),
    "V-no-mask": ([*ORACLE, "--fault", "V-no-mask"], ["--stage", "model"], {"svg", "#mistake-V-no-mask"}),
    "A-tanh": (
        [*ORACLE, "--fault", "A-tanh", "--arithmetic", "float32"],
        ["--stage", "model"],
        {"svg", "#mistake-A-tanh", "first: adapter.gelu", "noise of right runs"},
    ),
    "P-antialias": ([*ORACLE, "--fault", "P-antialias"], ["--stage", "pixels"], {"img"}),
    "P-alpha": ([*ORACLE, "--fault", "P-alpha"], ["--stage", "rgb"], {"img"}),
    "T-spacing": ([*ORACLE, "--fault", "T-spacing"], ["--stage", "tokens"], {".tokens"}),
    "nan": ([*MISBEHAVING, "nan"], ["--cases", "model/tiny/*,image/pixels/1*"], {"svg", "img"}),
    "previous-answer": (
        [*MISBEHAVING, "previous-answer"],
        ["--cases", "model/tiny/*,image/pixels/1*,image/rgb/*,tokens/decode/*"],
        {".texts", "malformed"},
    ),
    "crash": ([*MISBEHAVING, "crash"], ["--cases", "image/grid/100x80,image/grid/17x16"], {"crashed"}),
    "hostile": (
        [sys.executable, "-c", HOSTILE],
        ["--cases", "tokens/fim/*,tokens/request/r*,tokens/decode/*,image/*/1*,model/tiny/*"],
        {"<script>alert(1)</script>"},
    ),
}

# Run in the page: what is wider than the screen, too faint or too small. Text in an SVG has the page's
# or the card's ground.
MEASURE = r"""
(() => {
  const shown = element => element.getClientRects().length > 0;
  const inBox = element => element.closest(".scroll");
  const numbers = colour => (colour.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length && colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const wide = [], faint = [], small = [];
  for (const element of document.querySelectorAll("body *")) {
    if (!shown(element)) continue;
    if (!inBox(element) && !element.closest("svg") && element.getBoundingClientRect().right > innerWidth + 1) wide.push(element.outerHTML.slice(0, 90));
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(element);
    const isSVG = element.namespaceURI.endsWith("svg");
    if (isSVG && element.tagName !== "text") continue;
    const [one, other] = [light(numbers(isSVG ? style.fill : style.color)), light(ground(element))];
    const contrast = (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
    if (contrast < 4.5) faint.push(contrast.toFixed(1) + " " + element.outerHTML.slice(0, 90));
    const scale = isSVG ? element.getScreenCTM().a : 1;
    if (parseFloat(style.fontSize) * scale < 9) small.push((parseFloat(style.fontSize) * scale).toFixed(1) + " " + element.outerHTML.slice(0, 90));
  }
  const count = selector => [...document.querySelectorAll(selector)].filter(shown).length;
  return {
    width: document.documentElement.scrollWidth, screen: innerWidth, wide, faint, small,
    ground: light(ground(document.body)), height: document.documentElement.scrollHeight,
    main: count("main"), scripts: document.scripts.length, articles: count("article"),
    commands: [...document.querySelectorAll("article pre")].filter(e => e.textContent.includes("conformance run")).length,
    curves: [...document.querySelectorAll(".curve > svg")].filter(shown).length, figures: count("figure.curve"),
    broken: [...document.images].filter(image => !image.naturalWidth).length, images: count("img"),
    tokens: count(".tokens"), texts: count(".texts"), text: document.body.textContent,
    anchors: [...document.querySelectorAll("a")].map(a => a.getAttribute("href")),
  };
})()
"""


class Browser:
    """Chromium, driven over a pipe: its file descriptors 3 and 4."""

    def __init__(self, path, folder):
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()
        command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
                   "--no-first-run", "--disable-background-networking", "--disable-component-update",
                   f"--user-data-dir={folder}"]  # fmt: skip
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (from_us, to_us)]  # above 3 and 4
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}', *command], pass_fds=ends,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (from_us, to_us, *ends):
            os.close(end)
        self.to, self.source = to_browser, from_browser
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def read(self):
        while b"\0" not in self.rest:
            some = os.read(self.source, 1 << 20)
            assert some, "the browser has ended"
            self.rest += some
        line, self.rest = self.rest.split(b"\0", 1)
        answer = json.loads(line)
        if "method" in answer:
            self.events.append(answer)
        return answer

    def open(self, page, size, scheme):
        """Loads a page anew; gives what it was found to be."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=2,
                 mobile=size[0] < 500)  # fmt: skip
        self.events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.read()
        found = self.ask("Runtime.evaluate", expression=MEASURE, returnByValue=True)["result"]["value"]
        urls = [event["params"]["request"]["url"] for event in self.events
                if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
        found["fetched"] = [url for url in urls if not url.startswith("data:") and url != page.as_uri()]
        found["errors"] = [event["params"]["entry"]["text"] for event in self.events
                           if event["method"] == "Log.entryAdded"]  # fmt: skip
        return found

    def picture(self, path, height):
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True,
                        clip={"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1})  # fmt: skip
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        with contextlib.suppress(OSError):
            os.write(self.to, b'{"id":0,"method":"Browser.close"}\0')
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def problems_of(found, size, scheme, seen):
    """Sentences about what is wrong with a page on a screen."""
    phone = size[0] < 500
    if found["width"] > found["screen"]:
        yield f"the page is {found['width']} pixels wide on a screen of {found['screen']}"
    for kind in ("wide", "faint", "small", "fetched", "errors"):
        if found[kind]:
            yield f"{kind}: {len(found[kind])}, such as {found[kind][0]}"
    if found["main"] != 1 or found["scripts"]:
        yield f"{found['main']} main parts and {found['scripts']} scripts"
    if found["commands"] != found["articles"]:
        yield f"{found['articles']} failures have {found['commands']} commands"
    if found["curves"] != found["figures"]:
        yield f"of {found['figures']} curves {found['curves']} are seen on a {'phone' if phone else 'desk'}"
    if found["broken"]:
        yield f"{found['broken']} pictures that cannot be read"
    if (found["ground"] < 0.2) != (scheme == "dark"):
        yield f"the ground has a luminance of {found['ground']:.2f} in the {scheme}"
    for thing in seen:
        there = {"svg": found["curves"], "img": found["images"], ".tokens": found["tokens"],
                 ".texts": found["texts"]}.get(thing)  # fmt: skip
        if thing.startswith("#"):
            there = thing in found["anchors"]
        if not (thing in found["text"] if there is None else there):
            yield f"{thing} is not there"


def unfound(browser, folder):
    """The faults of a page full of faults that are not found."""
    page = folder / "faulty.html"
    page.write_text(
        "<meta name='viewport' content='width=device-width'><body style='background:#fff'><main>"
        "<p style='width:2000px'>wide</p><p style='color:#aaa'>faint</p><p style='font-size:6px'>small</p>"
        "<img src='missing.png'><script></script><article></article></main>"
    )
    found = " ".join(problems_of(browser.open(page, SIZES["phone"], "dark"), SIZES["phone"], "dark", {"svg"}))
    page.unlink()
    words = ("pixels wide", "wide:", "faint:", "small:", "fetched:", "errors:", "1 scripts", "0 commands",
             "cannot be read", "luminance", "svg is not there")  # fmt: skip
    return [f"{word!r} is not found where it is" for word in words if word not in found]


def check(name, binary, browser, folder, keep):
    runtime, options, seen = RUNS[name]
    page = folder / f"{name}.html"
    command = "exec " + shlex.join(map(str, runtime))
    done = subprocess.run(
        [binary, "conformance", "run", "--runtime", command, "--timeout", "10", "--html", page, *options],
        check=False, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    if done.returncode not in (0, 1) or not page.exists():
        return [f"exit code {done.returncode}: {done.stderr[-300:]}"]
    problems = []
    size = page.stat().st_size
    if size > LARGEST:
        problems.append(f"{size} bytes")
    try:
        xml.etree.ElementTree.parse(page)
    except xml.etree.ElementTree.ParseError as error:
        problems.append(f"not well-formed: {error}")
    for place, screen in SIZES.items():
        for scheme in ("light", "dark"):
            found = browser.open(page, screen, scheme)
            problems += [f"{place}, {scheme}: {p}" for p in problems_of(found, screen, scheme, seen)]
            if keep:
                browser.width = screen[0]
                browser.picture(folder / f"{name}-{place}-{scheme}.png", min(found["height"], 2600))
    paper = base64.b64decode(browser.ask("Page.printToPDF")["data"])
    if not paper.startswith(b"%PDF"):
        problems.append("it does not print")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(RUNS)}")
    parser.add_argument("--browser", default=shutil.which("chromium"))
    parser.add_argument("--keep", type=Path, help="a folder for pages and screenshots")
    options = parser.parse_args()
    if not options.browser:
        print("no chromium here: pages are not looked at")
        return
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "pages"
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        browser = Browser(options.browser, Path(scratch) / "profile")
        try:
            if problems := unfound(browser, folder):
                sys.exit("\n".join(problems))
            for name in options.names or RUNS:
                start = time.monotonic()
                problems = check(name, options.binary.resolve(), browser, folder, options.keep)
                failed = failed or bool(problems)
                print(
                    f"{'WRONG' if problems else 'ok':6}{name}  {time.monotonic() - start:.0f} s",
                    *problems,
                    sep="\n      ",
                )
        finally:
            browser.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
