"""Tokens: pixtral-ref beside SentencePiece's C++ and mistral-common, in one run, on one thread,
taking turns.

    python bench_tokens.py BINARY [--rounds 5] [--out FILE.json]

What is measured differs to our disadvantage and is left so: pixtral-ref is a fresh process each
time, which starts, loads its tokenizer, reads JSON lines from a file and writes JSON lines with
tokens and pieces; the peers are loaded already, get Python strings or objects, and their answers
are not written anywhere. Texts are of three kinds, since how often words come again decides what is
measured: sentences of 46 languages drawn again and again (few distinct words), real text (the
sources of this Python's own standard library and the licences of Debian, where they are), and
random words that never come twice. How many distinct words there are is printed too.
Only for starting up the peer is a fresh process too. Requests are without images, whose pixels
mistral-common would compute and `tokens` does not.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(
        0, {min(os.sched_getaffinity(0))}
    )  # one core for us, our children and the peers alike

from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from sentencepiece import SentencePieceProcessor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import corpus  # noqa: E402
import releases  # noqa: E402

SEED = 1124


def documents(size: int, count: int) -> list[str]:
    """Running text: sentences of all languages, with now and then a line of code."""
    r = random.Random(SEED + size)
    lines = list(corpus.SENTENCES.values())
    found = []
    for _ in range(count):
        parts, length = [], 0
        while length < size:
            part = r.choice(lines) if r.random() < 0.95 else r.choice(corpus.CODE)
            parts.append(part)
            length += len(part.encode()) + 1
        found.append(" ".join(parts))
    return found


def real_documents(size: int, length: int) -> list[str]:
    """Text that people wrote, licences and the standard library, cut into documents."""
    licences = Path("/usr/share/common-licenses").glob("*")
    text = ""
    for path in [*sorted(licences), *sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))]:
        if path.is_file() and len(text) < length:
            text += path.read_text(encoding="utf-8", errors="ignore")
    return [text[at : at + size] for at in range(0, len(text), size)]


def distinct_words(texts: list[str]) -> tuple[int, int]:
    """What stands between spaces, which is what the tokenizer can remember: how much, and how much
    of it is distinct.
    """
    words = [word for text in texts for word in text.split(" ")]
    return len(words), len(set(words))


def strange_documents(size: int, count: int) -> list[str]:
    """Words that no other document has: nothing that was remembered helps."""
    r = random.Random(SEED)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [
        " ".join("".join(r.choices(letters, k=r.randint(2, 11))) for _ in range(size // 7))
        for _ in range(count)
    ]


def timed(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def program(binary: str, arguments: list[str], stdin=subprocess.DEVNULL) -> None:
    if hasattr(stdin, "seek"):
        stdin.seek(0)
    subprocess.run([binary, "tokens", *arguments], stdin=stdin, check=True, stdout=subprocess.DEVNULL)


def lines(key: str, values: list):
    """An open file of questions. (Through a pipe the peer's Python would take our core while it
    writes.)
    """
    file = tempfile.TemporaryFile()
    for number, value in enumerate(values):
        file.write(json.dumps({"id": number, key: value}, ensure_ascii=False).encode() + b"\n")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="write the figures as JSON too")
    arguments = parser.parse_args()
    processor = SentencePieceProcessor(model_file=str(releases.MODEL))
    mistral = MistralTokenizer.from_file(str(releases.MODEL))

    small, large = documents(2048, 2500), documents(10_000_000, 1)
    texts = {"real": real_documents(2048, 6_000_000), "strange": strange_documents(2048, 2500)}
    r = random.Random(SEED)
    requests: list = []
    while len(requests) < 3000:
        request = corpus.request(r)
        if "image_url" in json.dumps(request):
            continue
        try:
            mistral.encode_chat_completion(ChatCompletionRequest.model_validate(request))
        except Exception:
            continue
        requests.append(request)
    load = f"from mistral_common.tokens.tokenizers.mistral import MistralTokenizer as M; M.from_file({str(releases.MODEL)!r})"

    inputs = {name: lines("text", found) for name, found in texts.items()}
    inputs |= {
        "small": lines("text", small),
        "large": lines("text", large),
        "requests": lines("request", requests),
    }
    texts |= {"small": small, "large": large}
    bytes_of = {name: sum(len(text.encode()) for text in found) for name, found in texts.items()}
    tasks = {
        "2 KB documents": (
            lambda: program(arguments.binary, ["--jsonl"], inputs["small"]),
            lambda: [processor.encode(text) for text in small],
            "sentencepiece", lambda seconds: f"{bytes_of['small'] / seconds / 1e6:.2f} MB/s", 1,
        ),
        "real text, 2 KB": (
            lambda: program(arguments.binary, ["--jsonl"], inputs["real"]),
            lambda: [processor.encode(text) for text in texts["real"]],
            "sentencepiece", lambda seconds: f"{bytes_of['real'] / seconds / 1e6:.2f} MB/s", 1,
        ),
        "words met once, 2 KB": (
            lambda: program(arguments.binary, ["--jsonl"], inputs["strange"]),
            lambda: [processor.encode(text) for text in texts["strange"]],
            "sentencepiece", lambda seconds: f"{bytes_of['strange'] / seconds / 1e6:.2f} MB/s", 1,
        ),
        "one 10 MB document": (
            lambda: program(arguments.binary, ["--jsonl"], inputs["large"]),
            lambda: processor.encode(large[0]),
            "sentencepiece", lambda seconds: f"{bytes_of['large'] / seconds / 1e6:.2f} MB/s", 1,
        ),
        "chat requests": (
            lambda: program(arguments.binary, ["--jsonl"], inputs["requests"]),
            lambda: [mistral.encode_chat_completion(ChatCompletionRequest.model_validate(request)) for request in requests],
            "mistral-common", lambda seconds: f"{len(requests) / seconds:.0f} a second", 5,
        ),
        "start to exit": (
            lambda: program(arguments.binary, ["--text", "hello"]),
            lambda: subprocess.run([sys.executable, "-c", load], check=True),
            "mistral-common, import and load", lambda seconds: f"{seconds * 1000:.0f} ms", 10,
        ),
    }  # fmt: skip
    figures: dict = {"words": {}}
    for name, found in texts.items():
        count, distinct = distinct_words(found)
        print(f"{name}: {bytes_of[name] / 1e6:.1f} MB, {count:,} words, {distinct:,} distinct")
        figures["words"][name] = {"bytes": bytes_of[name], "words": count, "distinct": distinct}
    print(f"\n{'':20} {'pixtral-ref':>16} {'peer':>16} {'ratio':>8} {'at least':>9}   peer")
    for name, (ours, theirs, peer, show, least) in tasks.items():
        times = ([], [])
        for _ in range(arguments.rounds):
            for action, found in zip((ours, theirs), times, strict=True):
                found.append(timed(action))
        a, b = (statistics.median(found) for found in times)
        print(f"{name:20} {show(a):>16} {show(b):>16} {b / a:>8.2f} {least:>9}   {peer}", flush=True)
        figures[name] = {"pixtral_ref_s": times[0], "peer_s": times[1], "ratio": b / a, "peer": peer}

    # The peak of a child of its own: getrusage knows only the largest so far.
    child = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", child, arguments.binary, *options],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        / 1024
        for options in (["tokens", "--text", "hello"], ["tokens", "--help"])
    ]
    print(
        f"memory: {peaks[0]:.0f} MB for the whole process with a tokenizer, {peaks[0] - peaks[1]:.0f} MB more than without one"
    )
    figures["memory_mb"] = {"with_tokenizer": peaks[0], "without": peaks[1]}
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    main()
