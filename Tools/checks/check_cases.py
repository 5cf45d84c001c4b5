"""Every case of Fixtures/cases is what Docs/Cases.md says that a case is: keys, ids, files,
tensors, limits, titles, conflicts.

    python check_cases.py

Needs jsonschema and no other package. Prints a sentence for each thing that is wrong; exit 1 if
there is any, or if there are no cases.
"""

import base64
import collections
import functools
import hashlib
import json
import re
import struct
import sys
from pathlib import Path

import jsonschema

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import suites  # noqa: E402
from releases import RELEASES, ROOT  # noqa: E402

SCHEMAS = ROOT / "Fixtures" / "schema"
FAULTS = ROOT / "Docs" / "Faults.md"
MARGIN = 4  # a limit is so many times the noise, and a fault is so many limits away
# Cases whose margin is smaller, with what it is and why.
NARROW_MARGINS = {
    # OpenCV's portable code computes its weights in float32, which alone is 2.75e-6 from float64;
    # the limit is not raised for it.
    "image/pixels/999x3-noise": 3.6,
}


class Place:
    """Where a case is stored: its id, and the folder that its files are named from."""

    def __init__(self, folder: Path, suite: str | None = None, shared_title: str | None = None):
        self.folder, self.suite, self.shared_title = folder, suite, shared_title


def main() -> None:
    problems: list[str] = []
    found = [*of_suites(problems), *of_folders()]
    cases = {case["id"]: case for case, _ in found}
    schema = validator("case")
    faults = defined_faults()
    used: set[Path] = set()
    for case, place in found:
        errors = list(schema.iter_errors(case))
        if errors:
            problems += [f"{case.get('id')}: {said(error)}" for error in errors]
            continue  # the checks below rely on the schema
        for check in (ids, files, tensors, limits, releases):
            problems += [f"{case['id']}: {sentence}" for sentence in check(case, place)]
        problems += [f"{case['id']}: {sentence}" for sentence in conflicts(case, cases)]
        used |= {(place.folder / file).resolve() for file, _ in named_files(case)}
        if case["stage"] == "model":
            used.add((place.folder / case["compare"]["envelope"]).resolve())
        if faults is not None:
            problems += [
                f"{case['id']}: names {fault}, which Docs/Faults.md does not define."
                for fault in [*case["exposes"], *case.get("hides", [])]
                if fault not in faults
            ]
    problems += [
        f"The id {id} is used {count} times."
        for id, count in collections.Counter(case["id"] for case, _ in found).items()
        if count > 1
    ]
    problems += titles(found)
    problems += [f"{file.relative_to(ROOT)} belongs to no case." for file in strays(used)]
    if not found:
        problems.append("There are no cases.")
    if faults is None:
        print("Docs/Faults.md is not there: ids of faults are not checked.")
    for problem in problems:
        print(problem)
    stages = collections.Counter(case["stage"] for case in cases.values())
    print(
        f"{len(cases)} cases ({', '.join(f'{count} {stage}' for stage, count in stages.items())}), {len(problems)} problems"
    )
    sys.exit(1 if problems else 0)


# ---- where cases are ----


def of_suites(problems: list[str]):
    schema = validator("suite")
    for name in suites.names():
        description = json.loads((suites.CASES / f"{name}.json").read_text(encoding="utf-8"))
        errors = [f"{name}.json: {said(error)}" for error in schema.iter_errors(description)]
        problems += errors
        cases = [] if errors else suites.read(name)
        if not cases and not errors:
            problems.append(f"{name} has no cases.")
        title = description.get("shared", {}).get("title")
        for case in cases:
            yield case, Place((suites.CASES / name).parent, name, title)


def of_folders():
    for file in sorted(suites.CASES.rglob("case.json")):
        yield json.loads(file.read_text(encoding="utf-8")), Place(file.parent)


def strays(used: set[Path]) -> list[Path]:
    of_a_suite = {
        (suites.CASES / f"{name}{ending}").resolve()
        for name in suites.names()
        for ending in (".json", ".jsonl", ".csv")
    }
    files = {
        file.resolve() for file in suites.CASES.rglob("*") if file.is_file() and file.name != "case.json"
    }
    return sorted(files - of_a_suite - used)


# ---- what a case has to be ----


@functools.cache
def validator(name: str):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def said(error) -> str:
    """The innermost reason, with its place in the case."""
    inner = jsonschema.exceptions.best_match([error])
    message = inner.message if len(inner.message) < 300 else f"{inner.message[:150]} … {inner.message[-100:]}"
    return f"{inner.json_path}: {message}."


def ids(case: dict, place: Place):
    path = str(place.folder.relative_to(suites.CASES))
    if place.suite is None:
        if case["id"] != path:
            yield f"is stored in {path}, which has to be its id."
    elif case["id"].rpartition("/")[0] != path:
        yield f"is stored in a suite of {path}, and its id has to be {path}/NAME."


def named_files(case: dict) -> list[tuple[str, str]]:
    """Every file that a case names, with its SHA-256."""
    inputs, expect = case["inputs"], case["expect"]
    entries = [inputs, expect]
    if case["stage"] == "model":
        entries = [
            inputs["request"],
            *inputs.get("images", []),
            {"file": expect.get("tensors") or expect["digest"], "sha256": expect["sha256"]},
        ]
    return [(entry["file"], entry["sha256"]) for entry in entries if "file" in entry]


def files(case: dict, place: Place):
    for file, digest in named_files(case):
        path = (place.folder / file).resolve()
        if not path.is_file():
            yield f"{file} is not there."
        elif sha256(path) != digest:
            yield f"{file} has the SHA-256 {sha256(path)}, the case says {digest}."


@functools.cache
def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def header(path: Path) -> dict:
    with path.open("rb") as file:
        return json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))


def tensors(case: dict, place: Place):
    """Sizes: of the samples in base64, of tensors in files, of tokens beside grids."""
    for part in (case["inputs"], case["expect"]):
        if "rgb" in part:
            count = len(base64.b64decode(part["rgb"], validate=True))
            if count != 3 * part["width"] * part["height"]:
                yield f"rgb has {count} bytes, {part['width']}×{part['height']} pixels have {3 * part['width'] * part['height']}."
    if case["stage"] == "pixels":
        yield from stored(case["expect"], case["subject"]["patch_size"], place)
    elif case["stage"] == "steps":
        yield from step(case, place)
    elif case["stage"] == "answer":
        yield from answer(case, place)
    elif case["stage"] == "model":
        yield from enveloped(case, place)
        yield from digested(case, place) if "digest" in case["expect"] else traced(case, place)


def stored(expect: dict, patch_size: int, place: Place):
    """The tensor of a pixels case: [3, height, width], or some rows of it."""
    shape = expect["shape"]
    if len(shape) != 3 or shape[0] != 3 or shape[1] % patch_size or shape[2] % patch_size:
        yield f"pixels of shape {shape} are not [3, rows·{patch_size}, columns·{patch_size}]."
        return
    rows = expect.get("rows")
    if rows and (rows != sorted(set(rows)) or rows[-1] >= shape[1]):
        yield f"rows {rows} are not rising numbers below {shape[1]}."
    yield from tensor(
        place.folder / expect["file"], expect["tensor"], "F32", [3, len(rows), shape[2]] if rows else shape
    )


def tensor(path: Path, name: str, dtype: str, shape: list[int]):
    found = header(path).get(name) if path.is_file() else None
    if found is None:
        yield f"{path.name} has no tensor {name}."
    elif [found["dtype"], found["shape"]] != [dtype, shape]:
        yield f"{name} in {path.name} is {found['dtype']} {found['shape']}, expected {dtype} {shape}."


def step(case: dict, place: Place):
    """The tensors of a step: inputs exact in bfloat16; the mistakes that it shows are far in float32."""
    path = place.folder / case["inputs"]["file"]
    for name, stored in case["inputs"]["tensors"].items():
        entry = header(path).get(stored, {})
        if entry.get("dtype") != "F32":
            yield f"{path.name} has no tensor {stored} of F32, which is to be {name}."
        elif any((data := values(path, entry["data_offsets"]))[0::4] + data[1::4]):
            yield f"{stored} has values that bfloat16 does not have."
    if {*case["hides"]} & {*case["faults"]}:
        yield "it hides a fault that it shows."
    yield from shown(case, place)


def answer(case: dict, place: Place):
    """The tensors of a given answer: a log-probability for each token, and the likeliest tokens."""
    expect, count = case["expect"], len(case["inputs"]["answer"])
    path = place.folder / expect["file"]
    if expect["shape"] != [1, count]:
        yield f"its answer is of shape {expect['shape']}, expected {[1, count]}."
    width = header(path).get(expect["top"][0], {}).get("shape", [0, 0])[-1]
    yield from tensor(path, expect["top"][0], "I32", [count, width])
    yield from tensor(path, expect["top"][1], "F64", [count, width])
    for name, stored in case["inputs"].get("tensors", {}).items():
        if header(place.folder / case["inputs"]["file"]).get(stored, {}).get("dtype") != "F32":
            yield f"{case['inputs']['file']} has no tensor {stored} of F32, which is to be {name}."
    yield from shown(case, place)


def shown(case: dict, place: Place):
    """The answer is there, and the mistakes that are claimed are far in float32."""
    expect = case["expect"]
    yield from tensor(place.folder / expect["file"], expect["tensor"], "F64", expect["shape"])
    noise = max(2.0**-26, *case["compare"]["relF"]["float32"].values())
    for fault, moved in case["faults"].items():
        if moved != "refused" and moved < 8 * noise:
            yield f"{fault} moves it by {moved}, which is less than 8 times the noise {noise} of float32."
    if sorted(case["faults"]) != sorted(case["exposes"]):
        yield "its exposes are not its faults."


def values(path: Path, offsets: list[int]) -> bytes:
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    return data[start + offsets[0] : start + offsets[1]]


def traced(case: dict, place: Place):
    """The tensors of a model case: image0, … and the taps, a row a token or patch, or the rows that
    are listed.
    """
    inputs, expect, encoder = case["inputs"], case["expect"], case["subject"]["vision_encoder"]
    grids, pixels, side = expect["grids"], inputs.get("pixels", []), encoder["patch_size"]
    if not len(grids) == len(inputs.get("images", [])) == len(pixels):
        yield f"has {len(inputs.get('images', []))} images, {len(pixels)} pixels and {len(grids)} grids."
        return
    path = place.folder / expect["tensors"]
    for number, (grid, image) in enumerate(zip(grids, pixels, strict=True)):
        shape = [3, grid["rows"] * side, grid["columns"] * side]
        if [image["tensor"], image["shape"]] != [f"image{number}", shape]:
            yield f"pixels {number} are {image['tensor']} {image['shape']}, expected image{number} {shape}."
        yield from tensor(path, f"image{number}", "F32", shape)
    patches = sum(grid["columns"] * grid["rows"] for grid in grids)
    if expect["tokens"].count(encoder["image_token_id"]) != patches:
        yield f"its tokens have {expect['tokens'].count(encoder['image_token_id'])} [IMG], its grids {patches} patches."
    taps = {
        name: entry
        for name, entry in header(path).items()
        if not re.fullmatch(r"image\d+|__metadata__", name)
    }
    for name, entry in taps.items():
        rows = expect["rows"].get(
            name, range(patches if name.startswith(("vision.", "adapter.")) else len(expect["tokens"]))
        )
        if entry["dtype"] != "F64" or len(entry["shape"]) != 2 or entry["shape"][0] != len(rows):
            yield f"{name} is {entry['dtype']} {entry['shape']}, expected F64 and {len(rows)} rows."
    measured = next((witness["distance"] for witness in case["witnesses"] if "distance" in witness), {})
    for name in sorted({*taps} ^ {*measured}):
        yield f"{name} has {'a tensor and no' if name in taps else 'no tensor and a'} witness' distance."
    for name in sorted({*expect["rows"]} - {*taps}):
        yield f"rows are listed of {name}, which has no tensor."


def digested(case: dict, place: Place):
    """The digest of a model case: three tensors a tap; and as many [IMG] as patches."""
    expect, image = case["expect"], case["subject"]["vision_encoder"]["image_token_id"]
    patches = sum(grid["columns"] * grid["rows"] for grid in expect["grids"])
    if expect["tokens"].count(image) != patches:
        yield f"its tokens have {expect['tokens'].count(image)} [IMG], its grids {patches} patches."
    path = place.folder / expect["digest"]
    for name in [name for name in header(path) if name.endswith(".summary")]:
        tap = name.removesuffix(".summary")
        rows = patches if tap.startswith(("vision.", "adapter.")) else len(expect["tokens"])
        yield from tensor(path, name, "F64", [6])
        yield from tensor(path, f"{tap}.row_norms", "F32", [min(rows, 64)])
        yield from tensor(path, f"{tap}.sketch", "F32", [512])


def enveloped(case: dict, place: Place):
    """Limits have their evidence: of each arithmetic at least four schedules (three of float64, the
    truth's own), a number of each tap of the case.
    """
    path = place.folder / case["compare"]["envelope"]
    if not path.is_file():
        yield f"{path.name} is not there."
        return
    envelope = json.loads(path.read_text())
    expect = case["expect"]
    names = header(place.folder / (expect.get("tensors") or expect["digest"]))
    if "digest" in expect:
        taps = {name.removesuffix(".summary") for name in names if name.endswith(".summary")}
    else:
        taps = {name for name in names if not re.fullmatch(r"image\d+|__metadata__", name)}
    if envelope["model"] != case["model"]:
        yield f"{path.name} is of {envelope['model']}."
    for tap in sorted({*envelope["taps"]} ^ taps):
        yield f"{tap} is not in both {path.name} and the expectations."
    for arithmetic in ("float32", "tf32", "float16", "bfloat16"):
        if len(envelope["arithmetics"].get(arithmetic, {"relF": {}})["relF"]) < 4:
            yield f"{path.name} has fewer than four schedules of {arithmetic}."
    for arithmetic, measured in envelope["arithmetics"].items():
        for schedule, distances in measured["relF"].items():
            if len(distances) != len(envelope["taps"]) or not all(d >= 0 for d in distances):
                yield f"{path.name}, {arithmetic}, {schedule}: not a distance a tap."


def limits(case: dict, place: Place):
    compare = case["compare"]
    if "noise" not in compare:
        return
    limit = compare.get("max_abs", compare.get("relF"))
    margin = NARROW_MARGINS.get(case["id"], MARGIN)
    if not margin * compare["noise"] <= limit * (1 + 1e-9):
        yield f"its noise {compare['noise']} is more than a {margin}th of its limit {limit}."
    if not MARGIN * limit <= compare["nearest_fault"] * (1 + 1e-9):
        yield f"its nearest fault {compare['nearest_fault']} is not {MARGIN} times its limit {limit}."


def releases(case: dict, place: Place):
    """Ranges follow one another from the first release to the newest, whose answer is `expect`."""
    ranges = case.get("releases")
    if ranges is None:
        return
    for entry in ranges:
        if entry["from"] not in RELEASES or entry["to"] not in RELEASES:
            yield f"{entry['from']} to {entry['to']} are not both releases of mistral-common."
            return
    covered = [
        release
        for entry in ranges
        for release in RELEASES[RELEASES.index(entry["from"]) : RELEASES.index(entry["to"]) + 1]
    ]
    if covered != RELEASES:
        yield "its ranges of releases do not follow one another from the first to the newest."
    if "expect" in ranges[-1]:
        yield "its last range of releases has an answer of its own, which has to be `expect`."
    if any(entry.get("expect") == case["expect"] for entry in ranges):
        yield "a range of releases repeats `expect`."


def conflicts(case: dict, cases: dict[str, dict]):
    for id in case["conflicts_with"]:
        if id not in cases:
            yield f"conflicts with {id}, which does not exist."
        elif case["id"] not in cases[id]["conflicts_with"]:
            yield f"conflicts with {id}, which does not say so."
        elif json.dumps(case["inputs"]) != json.dumps(cases[id]["inputs"]):
            yield f"conflicts with {id}, which has other inputs."


def titles(found: list) -> list[str]:
    """A title that a whole suite shares may stand for many cases; every other title is one case's."""
    seen = collections.Counter(
        (place.suite, case["title"]) for case, place in found if case["title"] != place.shared_title
    )
    return [
        f"The title “{title}” stands for {count} cases of {suite or 'the folders'}."
        for (suite, title), count in seen.items()
        if count > 1
    ]


def defined_faults() -> set[str] | None:
    """The first column of the tables of Docs/Faults.md."""
    if not FAULTS.is_file():
        return None
    return set(
        re.findall(r"^\| *`?([A-Z]-[a-z0-9-]+)`? *\|", FAULTS.read_text(encoding="utf-8"), re.MULTILINE)
    )


if __name__ == "__main__":
    main()
