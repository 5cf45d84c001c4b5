"""Every release of mistral-common between 1.5.0 and 1.13.1, side by side, each asked in a process
of its own.

    python releases.py --fetch          (downloads and unpacks the wheels below .build/mistral-common)
    python releases.py --ask VERSION    (JSON lines on standard input, an answer a line)

The wheels are pure Python, so that one set of dependencies serves them all: that of
requirements.txt, which installs the newest release.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WHEELS = ROOT / ".build" / "mistral-common"
MODEL = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"

RELEASES = """
    1.5.0 1.5.1 1.5.2 1.5.3 1.5.4 1.5.5 1.5.6 1.6.0 1.6.1 1.6.2 1.6.3 1.6.4 1.7.0 1.8.0 1.8.1 1.8.2 1.8.3 1.8.4 1.8.5 1.8.6 1.8.7 1.8.8
    1.9.0 1.9.1 1.10.0 1.11.0 1.11.1 1.11.2 1.11.3 1.11.4 1.11.5 1.11.6 1.11.7 1.12.0 1.13.0 1.13.1
""".split()
CURRENT = RELEASES[-1]


def fetch() -> None:
    for release in RELEASES:
        folder = WHEELS / release
        if folder.exists():
            continue
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(WHEELS),
            f"mistral-common=={release}",
        ]
        subprocess.run(command, check=True)
        (wheel,) = WHEELS.glob(f"mistral_common-{release}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()


def answers(release: str, questions: list[dict]) -> list[dict]:
    """What a release makes of requests, {"request", "form"?, "max_tokens"?} or {"fim"}: {"tokens",
    "text", "images"} or {"reject": class}. Of the form `openai` it takes what `from_openai` takes.
    """
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    process = subprocess.run(
        [sys.executable, __file__, "--ask", release],
        input=lines,
        check=True,
        capture_output=True,
        text=True,
        # Nothing is fetched through a proxy, which would answer for 127.0.0.1.
        env={**os.environ, "OMP_NUM_THREADS": "1", "no_proxy": "*"},
    )
    found = [json.loads(line) for line in process.stdout.split("\n")[:-1]]
    assert len(found) == len(questions), (release, len(found), process.stderr[-500:])
    return found


def ask(release: str) -> None:
    sys.path.insert(0, str(WHEELS / release))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import mistral_common
    import numpy as np
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    assert str(WHEELS / release) in mistral_common.__file__
    try:
        from mistral_common.protocol.fim.request import FIMRequest
    except ImportError:
        from mistral_common.tokens.instruct.request import FIMRequest
    try:
        import mistral_common.tokens.tokenizers.image as images
    except ImportError:
        import mistral_common.tokens.tokenizers.multimodal as images
    # The grid is asked for here, not the pixels.
    images.transform_image = lambda image, size: np.zeros((3, size[1], size[0]), dtype=np.float32)
    tokenizer = MistralTokenizer.from_file(str(MODEL))
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "fim" in question:
                found = tokenizer.encode_fim(FIMRequest.model_validate(question["fim"]))
                answer = {"tokens": found.tokens, "text": found.text}
            else:
                if question.get("form") == "openai":
                    request = ChatCompletionRequest.from_openai(**question["request"])
                else:
                    request = ChatCompletionRequest.model_validate(question["request"])
                limit = question.get("max_tokens")
                found = tokenizer.encode_chat_completion(
                    request, **({} if limit is None else {"max_model_input_len": limit})
                )
                grids = [
                    {"columns": image.shape[2] // 16, "rows": image.shape[1] // 16} for image in found.images
                ]
                answer = {"tokens": found.tokens, "text": found.text, "images": grids}
        except Exception as error:
            answer = {"reject": type(error).__name__}
        print(json.dumps(answer))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--ask", choices=RELEASES, metavar="VERSION")
    arguments = parser.parse_args()
    if arguments.fetch:
        fetch()
    elif arguments.ask:
        ask(arguments.ask)
    else:
        parser.print_help()
