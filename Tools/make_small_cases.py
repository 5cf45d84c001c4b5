"""Makes the cases that need no model: raw text to tokens, image size to grid, RGB to pixels, request to tokens.

usage: make_small_cases.py        (writes below Fixtures/cases; deterministic)

Oracles: sentencepiece for raw text, mistral-common for the rest. Suites of small cases are JSON Lines, a case a line.
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path

import numpy as np
from mistral_common.protocol.instruct.chunk import ImageChunk
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL import Image
from safetensors.numpy import save_file
from sentencepiece import SentencePieceProcessor

FIXTURES = Path(__file__).resolve().parent.parent / "Fixtures"
MODEL = FIXTURES / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"

TEXTS = [
    ("nothing", "No text is no token.", "", []),
    ("word", "A text begins with its own ▁.", "Hello", ["T-spacing"]),
    ("leading-space", "A leading space is a piece of its own beside the ▁ in front.", " Hello", ["T-spacing"]),
    ("double-space", "Spaces are kept as they are.", "Hello  world\n", ["T-spacing"]),
    ("thai", "Merging works on Unicode scalars, not on grapheme clusters.", "สวัสดี", ["T-graphemes"]),
    ("crlf", "Carriage return and line feed are two characters.", "a\r\nb", ["T-graphemes"]),
    ("keycap", "An emoji sequence and a combining accent are several scalars.", "1️⃣ e\u0301", ["T-graphemes"]),
    ("control-strings", "Control strings in text are ordinary text.", "[IMG] </s> [/INST]", ["T-control-in-text"]),
    ("user-defined", "User-defined pieces are matched in text.", "[REF]x[/REF]", []),
    ("reference-document", "User-defined pieces are matched inside a word.", "x[REFERENCE_DOC_3]y", []),
    ("byte-string", "The name of a byte piece in text is ordinary text.", "<0x0A>", []),
    ("digits", "Digits stand alone.", "2024-11-18", []),
    ("lower-block", "U+2581 in text is the same as a space.", "▁▁ x", []),
    ("byte-fallback", "A character without a piece becomes its UTF-8 bytes.", "日本語\u0000\U0001f9d1\u200d\U0001f680", []),
    ("odd-spaces", "Only U+0020 becomes ▁.", "\u00a0\t ", []),
    ("long-run", "Of equal merges the leftmost goes first.", "a" * 25, []),
]

# Width, height, and what would go wrong: DIVERGENCES.md, rows G-.
SIZES = [
    (1, 1, []), (16, 16, []), (17, 16, []), (100, 80, ["G-upscale"]), (1024, 1024, []), (1025, 49, ["G-floor"]), (1025, 577, ["G-ceil"]),
    (1025, 1237, ["G-floor"]), (2048, 33, ["G-half-away"]), (2048, 35, []), (3000, 2000, ["G-32"]), (3000, 1, []), (1, 3000, []),
    (4000, 3000, []), (1365, 1024, []), (5000, 4999, []),
]

USER = lambda *content: {"role": "user", "content": content[0] if isinstance(content[0], str) and len(content) == 1 else list(content)}
TEXT = lambda text: {"type": "text", "text": text}
PICTURE = {"type": "image_url", "image_url": {"url": "../../../images/model-alpha.png"}}
ASSISTANT = lambda text: {"role": "assistant", "content": text}
SYSTEM = lambda text: {"role": "system", "content": text}

REQUESTS = [
    ("one-turn", "A user message stands between [INST] and [/INST].", [USER("Hello")]),
    ("system", "A system message has its own brackets in front.", [SYSTEM("Be brief."), USER("Hello")]),
    ("system-later", "A system message stays where it is.", [USER("Hello"), SYSTEM("Be brief."), USER("Hi")]),
    ("two-systems", "System messages that follow one another stay apart.", [SYSTEM("One."), SYSTEM("Two."), USER("Hello")]),
    ("only-system", "A system message may be all.", [SYSTEM("One.")]),
    ("turns", "An assistant message ends with </s> and is set off by no space.", [USER("Hello"), ASSISTANT("Hi!"), USER("Bye")]),
    ("assistant-first", "An assistant message may come first.", [ASSISTANT("Hi!"), USER("Hello")]),
    ("assistant-spaces", "An assistant's trailing spaces go, its other white space stays.", [USER("a"), ASSISTANT(" b \n  "), USER("c")]),
    ("assistant-blank", "An assistant message of spaces alone is just </s>.", [USER("a"), ASSISTANT("   "), USER("c")]),
    ("merged-users", "User messages that follow one another are one, an empty line between them.", [USER("a"), USER("b")]),
    ("merged-assistants", "Assistant messages that follow one another are one.", [USER("a"), ASSISTANT("b "), ASSISTANT("c"), USER("d")]),
    ("text-chunks", "Text chunks that follow one another are one text, empty ones vanish.", [USER(TEXT("a"), TEXT(""), TEXT("b"))]),
    ("empty-user", "An empty user message is two brackets.", [USER("")]),
    ("no-chunks", "A user message without chunks is two brackets.", [{"role": "user", "content": []}]),
    ("image-first", "An image before a text stays there.", [USER(PICTURE, TEXT("a"))]),
    ("image-last", "A text followed by one image is turned round.", [USER(TEXT("a"), PICTURE)]),
    ("two-texts-image", "Two texts are one text before the image is put first.", [USER(TEXT("a"), TEXT("b"), PICTURE)]),
    ("image-middle", "An image between texts stays there.", [USER(TEXT("a"), PICTURE, TEXT("b"))]),
    ("image-image", "Two images keep their order.", [USER(PICTURE, PICTURE)]),
    ("text-image-image", "A text before two images stays there.", [USER(TEXT("a"), PICTURE, PICTURE)]),
    ("image-merged", "An image of the next user message joins the one before, and is put first where it is the last of two.", [USER("a"), USER(PICTURE)]),
    ("reject-empty", "A request needs a message.", []),
    ("reject-assistant-last", "The last message is not the assistant's.", [USER("a"), ASSISTANT("b")]),
    ("reject-assistant-alone", "One assistant message alone is no request.", [ASSISTANT("b")]),
    ("reject-system-after-assistant", "A system message does not follow an assistant's.", [USER("a"), ASSISTANT("b"), SYSTEM("c"), USER("d")]),
    ("reject-empty-assistant", "An assistant message says something.", [USER("a"), ASSISTANT(""), USER("d")]),
]


def version(package: str) -> dict:
    return {"name": package, "version": importlib.metadata.version(package)}


def case(id: str, title: str, stage: str, subject: dict, inputs: dict, expect: dict, oracle: dict, basis: str, exposes: list, compare="exact") -> dict:
    return {
        "id": id, "title": title, "stage": stage, "exposes": exposes, "subject": subject, "model": None, "inputs": inputs, "expect": expect,
        "compare": compare, "requires": [], "conflicts_with": [], "importance": "high", "basis": basis, "oracle": oracle, "witnesses": [],
        "since": "0.1", "retired": None,
    }


def write_lines(path: str, cases: list) -> None:
    file = FIXTURES / "cases" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in cases), encoding="utf-8")
    print(f"{path}: {len(cases)} cases")


def texts() -> None:
    processor = SentencePieceProcessor(model_file=str(MODEL))
    write_lines("tokens/text/basics.jsonl", [
        case(f"tokens/text/{name}", title, "tokens", {"operation": "encode one stretch of text", "tokenizer": MODEL.name}, {"text": text},
             {"tokens": processor.encode(text)}, version("sentencepiece"), "SentencePieceProcessor.encode", exposes)
        for name, title, text, exposes in TEXTS])


def requests() -> None:
    tokenizer = MistralTokenizer.from_file(str(MODEL))
    folder = FIXTURES / "cases" / "tokens" / "request"
    cases = []
    for name, title, messages in REQUESTS:
        local = json.loads(json.dumps(messages).replace("../../../images", f"file://{FIXTURES}/images"))
        try:
            tokenized = tokenizer.encode_chat_completion(ChatCompletionRequest.from_openai(messages=local))
            expect = {"tokens": tokenized.tokens, "text": tokenized._text}
        except Exception as error:
            expect = {"reject": type(error).__name__}
        assert name.startswith("reject-") == ("reject" in expect), (name, expect)
        cases.append(case(f"tokens/request/{name}", title, "tokens", {"operation": "render a V7 request", "tokenizer": MODEL.name},
                          {"request": {"messages": messages}}, expect, version("mistral-common"),
                          "MistralTokenizer.encode_chat_completion", []))
    folder.mkdir(parents=True, exist_ok=True)
    write_lines("tokens/request/basics.jsonl", cases)


def encoder() -> ImageEncoder:
    return ImageEncoder(ImageConfig(16, 1024), SpecialImageIDs(10, 14, 15))


def grids() -> None:
    cases = []
    for width, height, exposes in SIZES:
        columns, rows = encoder()._image_to_num_tokens(Image.new("1", (width, height)))
        cases.append(case(f"image/grid/{width}x{height}", f"An image of {width}×{height} pixels has {columns} columns and {rows} rows.", "grid",
                          {"operation": "image size to grid", "patch_size": 16, "image_size": 1024}, {"width": width, "height": height},
                          {"columns": columns, "rows": rows}, version("mistral-common"), "ImageEncoder._image_to_num_tokens", exposes))
    write_lines("image/grid/basics.jsonl", cases)


def pixels() -> None:
    """A large JPEG, scaled down: some rows of its normalised pixels."""
    image = FIXTURES / "images" / "model-large.jpg"
    with Image.open(FIXTURES / "images" / "chelsea.png") as photo:
        photo.convert("RGB").resize((1353, 900), Image.Resampling.BICUBIC).save(image, quality=60)
    with Image.open(image) as photo:
        array = encoder()(ImageChunk(image=photo)).image
    rows = [0, 1, 300, array.shape[1] - 1]
    folder = FIXTURES / "cases" / "image" / "pixels" / "scaled-down"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"rows": np.ascontiguousarray(array[:, rows]).astype(np.float32)}, folder / "expected.safetensors")
    digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
    text = json.dumps(case(
        "image/pixels/scaled-down", "An image over 1024 pixels is scaled down without antialiasing.", "pixels",
        {"operation": "image file to normalised pixels", "patch_size": 16, "image_size": 1024, "resize": "opencv-cubic"},
        {"image": {"file": "../../../../images/model-large.jpg", "sha256": digest(image)}},
        {"shape": list(array.shape), "rows": rows, "tensors": "expected.safetensors", "sha256": digest(folder / "expected.safetensors")},
        {**version("mistral-common"), "opencv": importlib.metadata.version("opencv-python-headless"), "pillow": importlib.metadata.version("pillow")},
        "ImageEncoder.__call__", ["P-antialias", "P-norm"], {"max_abs": 1e-5}), indent=2)
    (folder / "case.json").write_text(text + "\n")
    print("image/pixels/scaled-down: 1 case")


if __name__ == "__main__":
    texts()
    requests()
    grids()
    pixels()
