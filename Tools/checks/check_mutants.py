"""Do the cases see a mistake? Mutants of the oracle, one small mistake each, are asked the cases.

    python check_mutants.py [--write] [FILE ...]

The answers of the cases are the oracle's own, so each mutant should fail one. A mutant is asked the cases
that run through its line, cheapest first, until one fails; one that ends in an exception, or does not end,
has failed. Mutants of seeded.py are asked the values of Fixtures/seeded too. EQUIVALENT and HOLES say why a
mutant survives.

Exit 1 if a survivor has no reason, or if of those that change an answer fewer die than FLOOR says. --write
makes Docs/Coverage.md: each step of Model.md, Tokens.md and Images.md with its cases and the mutants of the
lines that the oracle marks as its. Two processes; six minutes on two cores.
"""

import argparse
import ast
import base64
import collections
import csv
import json
import math
import os
import re
import resource
import select
import signal
import sys
import time
import types
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy
ROOT = Path(__file__).resolve().parent.parent.parent
ORACLE, CASES = ROOT / "Fixtures" / "oracle", ROOT / "Fixtures" / "cases"
STEPS = ORACLE / "steps.py"
VALUES = ROOT / "Fixtures" / "seeded" / "values.json"
MODEL = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
sys.path.insert(0, str(ORACLE))

import numpy as np  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

import mutants  # noqa: E402

SECONDS = 120  # a mutant; the slowest whole run of all cases takes 15
START_SECONDS = 1.5  # of the processor, to be made: reading the tokenizer takes 0.2
MEMORY = 3 << 30
PROCESSES = 2

FILES = ("oracle", "image", "seeded", "tokens", "chat_request", "openai_request")
REQUESTS = ("chat_request", "openai_request")  # read requests for tokens.py, the second by the first
FLOOR = 0.99  # of those that change an answer so many must die, in each file; it only rises

CHECKPOINTS = {"seeded:tiny": "TINY", "seeded:small": "SMALL"}  # and the name of its parameters
FAR = 8  # times the noise of right runs: a step is wrong from there on

# Functions that compute nothing of the documents: what is kept of a run, and the checks of its input.
SKIPPED = {
    "oracle": ("Trace", "Finished", "tap_names", "check"),
    "seeded": ("SeededTensor.bits",),
}
# Taps on demand, which no case has; the parameters of seeded:pixtral-large, and blocks of memory.
SKIPPED_TEXT = re.compile(r"all_scores|all_weights|^(PIXTRAL_LARGE|NAMED|CHUNK|BLOCK|LAYER_TAPS|ON_DEMAND) ")

# Survivors, by the beginning of their names. No answer changes with these: why.
EQUIVALENT = {
    "image.py, grid: r > 1": "Divided by 1 a side stays as it is.",
    "image.py, grid: 1 → 2": "A side of 1 and one of 2 pixels are one patch both.",
    "image.py, kernel: x <= 1": "At 1 both branches are 0.",
    "image.py, kernel: x < 2": "At 2 the kernel is 0.",
    "image.py, kernel: 2 → 3": "No tap is farther than 2.",
    "image.py, taps: position.astype": "float32 minus float64 is float64: nothing is rounded twice.",
    "image.py, taps: 3 → 4": "Of the five taps then made four are used.",
    "image.py, taps: position - places": "The kernel is even.",
    "image.py, taps: np.clip(places": "Clipping is the same with value and lower bound exchanged.",
    "image.py, stretch: :2 → :": "An image of the right size is stretched by weights of 1 and 0.",
    "image.py, stretch: 2 → 1": "An image of the right size is stretched by weights of 1 and 0.",
    "image.py, stretch: 2 → 3": "An image of the right size is stretched by weights of 1 and 0.",
    "image.py, stretch: rgb.astype": "uint8 is divided in float64 all the same.",
    "image.py, stretch: min(rgb.shape[:2]) < NARROW if": "`rounded` is there to measure, and no rule.",
    "image.py, stretch: min(start + BLOCK": "A slice that ends behind the end ends at it.",
    "image.py, pixels: np.ascontiguousarray": "The same values elsewhere in memory.",
    "oracle.py, rotate: h * d + 1:(h + 1) * d:2": "The next column is one of step 2, and is not reached.",
    "oracle.py, attention: 0 →": "`n` is for taps on demand alone.",
    "oracle.py, gelu: _erf(": "Numbers as Python has them are the same numbers.",
    "oracle.py, flatten_patches: 1 → 2": "−2 for −1 as the length of an axis: NumPy takes any negative.",
    "oracle.py, vision_angles: 0::2": "From the start is from 0.",
    "oracle.py, embeddings: 0 → -1": "The last of one row is the first.",
    "oracle.py, decoder: return x": "Nobody takes what it returns: logits are a tap.",
    "oracle.py, forward: check(": "What is asked here is right; the check refuses what is not.",
    "seeded.py, module: 1024": "`image_size` bounds the grid, which image.py makes.",
    "seeded.py, offset_and_scale: 1 * ": "Once is once.",
    "seeded.py, offset_and_scale: AssertionError(": "Nothing that is seeded gets there.",
    "seeded.py, offset_and_scale: np.float32(": "NumPy rounds Python's numbers to the float32 of the array.",
    "seeded.py, SeededTensor.__init__: np.float32(": "NumPy rounds Python's numbers to the float32 beside them.",
    "seeded.py, SeededTensor.__init__: tuple(": "A shape is a tuple already.",
    "seeded.py, SeededTensor._bits: u32(": "NumPy takes the number for one of its own type.",
    "seeded.py, SeededTensor._bits: self.k1": "NumPy takes the number for one of its own type.",
    "seeded.py, SeededTensor._bits: (x >> u32(8)).astype": "uint32 minus int32 is int64, which holds the same.",
    "seeded.py, SeededTensor._bits: np.int32(1 << 23)": "NumPy takes the number for one of its own type.",
    "seeded.py, SeededTensor._bits: (b + u32(32767)": "It is stored in an array of uint16.",
    "seeded.py, SeededTensor.row_bits: stop - start": "NumPy takes any negative length for what is left.",
    "tokens.py, fields": "The one file that 1.1 allows has no field that shows it.",
    "tokens.py, Tokenizer.__init__: for id, text": "No piece of another kind can be merged: however it is cut in two, one part is no piece.",
    "tokens.py, Tokenizer.__init__: 0 → -1": "The last of one number is the first.",
    "tokens.py, Tokenizer.__init__: True → False": "No user-defined piece begins with another.",
    "tokens.py, Tokenizer.__init__: 1 << 16": "How many words are remembered changes no token.",
    "tokens.py, Tokenizer.__init__: 1 →": "How many words are remembered changes no token.",
    "tokens.py, Tokenizer.__init__: 16 →": "How many words are remembered changes no token.",
    "tokens.py, Tokenizer.encode: '\\udfff' →": "What is compared with it is one scalar, and none lies between.",
    "tokens.py, merged: last['prefix'] or": "Only the last message may have a prefix (6.3).",
    "tokens.py, grid: ratio > 1": "Divided by 1 a side stays as it is.",
    "tokens.py, grid: 1 → 2": "A side of 1 and one of 2 pixels are one patch both.",
    "tokens.py, Template.chat: 1 → 2": "No message has a number below 0.",
    "tokens.py, Template.message: 0 → -1": "An assistant's content is one text at most (10.3).",
    "chat_request.py, boolean: bool(value)": "1 is as true as `true`.",
    "chat_request.py, boolean: isinstance(value, (int, float)) and value in (0, 1) → value in": "Of values of JSON only numbers and booleans are equal to 0 or 1.",
    "chat_request.py, fraction: len(parts) == 1 or all(parts) → all(parts)": "What is empty is no number anyway.",
    "chat_request.py, fraction: len(parts) → parts": "What is empty is no number anyway.",
    "chat_request.py, fraction: 1 → 0": "What is empty is no number anyway.",
    "chat_request.py, natural: '0' → '0x'": "Digits hold no x.",
    "chat_request.py, word.read: ": "Of values of JSON only strings are equal to a string.",
    "chat_request.py, settle: str(error) → error": "Its name is made a string later.",
    "chat_request.py, module: True → False": "Nobody looks at `closed`, `strict` and `parallel_tool_calls` when they have been read.",
    "chat_request.py, module: False → True": "Nobody looks at `closed`, `strict` and `parallel_tool_calls` when they have been read.",
    "chat_request.py, json_schema: False → True": "Nobody looks at `strict` when it has been read.",
    "chat_request.py, module: 'null' → 'nullx'": "Neither is an id (6.5).",
    "chat_request.py, response_format: 'text' → 'textx'": "The type that stands for none is only compared with `json_schema`.",
    "chat_request.py, continued: dict(request)": "Nobody looks at the request again.",
    "chat_request.py, continued: True → False": "Both are booleans.",
    "openai_request.py, elements: value if isinstance(value, list) else [] → value": "What is empty has no elements.",
    "openai_request.py, reasoning: 0 → -1": "If there are two, they are equal.",
    "openai_request.py, settings: True → False": "Nobody looks at `parallel_tool_calls` when it has been read.",
    "chat_request.py, is_texts: 0 → -1": "No list has fewer elements than none.",
    "chat_request.py, is_pattern: return False": "What is no pattern is as false.",
    "chat_request.py, size: 2 → 1": "The second byte of a JPEG begins no marker.",
}

# And these are mistakes that no case sees: which one would.
HOLES = {
    "tokens.py, Tokenizer.__init__: Path(": "tokens.py as a program, which takes the path as a word: no runtime is asked that.",
    "tokens.py, Tokenizer.__init__: ValueError(": "Another file than that of Tokens.md 1.1: a case names one of Fixtures/tokenizer.",
    "chat_request.py, continued: not isinstance(request, dict) or": "A request that is no object: a session asks none (Conformance.md).",
    "openai_request.py, read: isinstance(request, dict) and": "A request that is no object: a session asks none (Conformance.md).",
    "oracle.py, adapter: True → False": "A checkpoint whose params.json lacks `adapter_bias` (Model.md 1): runtimes load those with a name, and all of these have it.",
    "seeded.py, tensor_shapes: True → False": "A checkpoint whose params.json lacks `adapter_bias` (Model.md 1): runtimes load those with a name, and all of these have it.",
}


class Killed(Exception):
    """A case has seen the mutant: its id."""


# ---- the cases ----


class Case:
    def __init__(self, case, ask):
        self.id, self.ask, self.seconds = case["id"], ask, 0.0
        self.lines = {}  # by file: those it runs through; of a random case, its functions
        self.lost = set()  # files of which some lines are not known
        self.in_corpus = False


def suites(folder):
    """Every case of the suites below a folder, with `folder` for its files, and whether it is random."""
    for path in sorted((CASES / folder).rglob("*.json")):
        if path.name in ("case.json", "envelope.json"):
            continue
        shared = json.loads(path.read_text())["shared"]
        if (lines := path.with_suffix(".jsonl")).exists():
            found = [shared | json.loads(line) for line in lines.open(encoding="utf-8")]
        else:
            found = [row_case(shared, row) for row in csv.DictReader(path.with_suffix(".csv").open())]
        for case in found:
            suite = str(path.relative_to(CASES).with_suffix(""))
            yield case | {"folder": path.parent, "suite": suite, "random": path.stem == "corpus"}


def row_case(shared, row):
    words = {key: row.pop(key) for key in ("exposes", "conflicts_with", "since") if key in row}
    text = json.dumps(shared)
    for column, number in row.items():
        text = text.replace(f'"{{{column}}}"', number).replace(f"{{{column}}}", number)
    lists = {key: cell if key == "since" else cell.split() for key, cell in words.items() if cell}
    return json.loads(text) | lists


def of_mistral(case):
    return "image.huggingface" not in case["requires"] and not case["retired"]


def grid_cases():
    for case in filter(of_mistral, suites("image/grid")):
        sides, rule, expect = case["inputs"], case["subject"], case["expect"]

        def ask(world, sides=sides, rule=rule, expect=expect):
            usual = rule["patch_size"] == 16 and rule["image_size"] == 1024
            size = (sides["width"], sides["height"])
            right = (expect["columns"], expect["rows"])
            # Both programs of the oracle have the rule.
            if not usual:
                return world["image"].grid(*size, rule["patch_size"], rule["image_size"]) == right
            return world["image"].grid(*size) == right and world["tokens"].grid(*size) == right

        yield Case(case, ask)


def pixel_cases():
    import PIL.Image

    for case in filter(of_mistral, suites("image/pixels")):
        inputs, rule, expect = case["inputs"], case["subject"], case["expect"]
        if "file" in inputs:
            with PIL.Image.open(case["folder"] / inputs["file"]) as opened:
                rgb = np.asarray(opened.convert("RGB"))
        else:
            samples = np.frombuffer(base64.b64decode(inputs["rgb"]), np.uint8)
            rgb = samples.reshape(inputs["height"], inputs["width"], 3)
        right = load_file(case["folder"] / expect["file"])[expect["tensor"]].astype(np.float64)

        def ask(world, rgb=rgb, rule=rule, right=right, rows=expect.get("rows"), limit=case["compare"]):
            usual = rule["patch_size"] == 16 and rule["image_size"] == 1024
            found = world["image"].pixels(rgb, *([] if usual else [rule["patch_size"], rule["image_size"]]))
            found = found[:, rows] if rows else found
            if found.shape != right.shape:
                return False
            if "relF" in limit:
                return np.linalg.norm(found - right) <= limit["relF"] * np.linalg.norm(right)
            return np.abs(found - right).max() <= limit["max_abs"]

        yield Case(case, ask)


def model_cases():
    for path in sorted(CASES.glob("model/*/*/case.json")):
        case = json.loads(path.read_text())
        if case["model"] not in CHECKPOINTS:
            continue
        expect, limit = case["expect"], case["compare"]["float64"]["relF"]
        right = load_file(path.parent / expect["tensors"])
        pixels = [right.pop(f"image{n}") for n in range(len(expect.get("grids", [])))]
        right = {name: matrix.astype(np.float64) for name, matrix in right.items()}

        def ask(world, expect=expect, right=right, pixels=pixels, limit=limit, model=case["model"]):
            seen = set()

            def keep(name, matrix):
                rows = expect.get("rows", {}).get(name)
                found = matrix[rows] if rows else matrix
                close = found.shape == right[name].shape and (
                    np.linalg.norm(found - right[name]) <= limit * np.linalg.norm(right[name])
                )
                if not close:
                    raise Killed
                seen.add(name)

            oracle = world["oracle"]
            oracle.forward(world["checkpoints"][model], expect["tokens"], pixels, oracle.Trace(keep, right))
            return seen == set(right)

        yield Case(case, ask)


def step_cases():
    tensors = {path: load_file(path) for path in CASES.glob("steps/*/cases.safetensors")}
    for case in suites("steps"):
        stored = tensors[case["folder"] / case["inputs"]["file"]]
        given = {name: stored[key] for name, key in case["inputs"]["tensors"].items()}
        right = stored[case["expect"]["tensor"]].astype(np.float64)
        far = FAR * noise(case["compare"]["relF"])

        def ask(world, step=case["subject"], given=given, right=right, far=far):
            found = world["steps"].answer(step["step"], step["parameters"], given)
            # Not `>= far`: NaN has failed.
            return found.shape == right.shape and (
                np.linalg.norm(found - right) < far * np.linalg.norm(right)
            )

        yield Case(case, ask)


def value_cases():
    """Not of the suite, but published beside it: values of seeded tensors, of one with biases too."""
    for entry in json.loads(VALUES.read_text())["checkpoints"]:

        def ask(world, entry=entry):
            checkpoint = valued(world["seeded"], entry["checkpoint"])
            counts = [len(checkpoint.shapes), sum(map(math.prod, checkpoint.shapes.values()))]
            return counts == [entry["tensor_count"], entry["value_count"]] and all(
                right_values(checkpoint.tensor(right["name"]), right) for right in entry["tensors"]
            )

        yield Case({"id": f"Fixtures/seeded/values.json, {entry['checkpoint']}"}, ask)


def valued(seeded, name):
    params = seeded.NAMED[re.match(r"seeded:([a-z-]+)", name)[1]]
    if "adapter_bias true" in name:
        params = params | {"vision_encoder": params["vision_encoder"] | {"adapter_bias": True}}
    return seeded.SeededCheckpoint(params)


def right_values(tensor, right):
    places = {"first": 0, "middle": right["middle_index"]}
    return (
        list(tensor.shape) == right["shape"]
        and all(
            [f"0x{bits:04x}" for bits in tensor.bits(place, place + 4)] == right[key]
            for key, place in places.items()
        )
        and (
            "sum_of_bits" not in right
            or int(tensor.bits(0, tensor.count).sum(dtype=np.uint64)) == right["sum_of_bits"]
        )
    )


def noise(relF):
    """Of a step in float64, as make_step_cases.py has it."""
    return max(*relF["float64"].values(), max(relF["float32"].values()) * 2.0**-29, 2.0**-55)


def token_cases():
    for case in suites("tokens"):
        inputs, expect = case["inputs"], case["expect"]

        def ask(world, inputs=inputs, expect=expect):
            found = world["tokens"].answer(inputs, world["tokenizer"])
            return all(key in found and found[key] == expect[key] for key in expect)

        made = Case(case, ask)
        made.in_corpus = case["random"]
        yield made


# ---- the oracle, right and wrong ----


class Memory:
    """A checkpoint whose tensors have been made once."""

    def __init__(self, checkpoint):
        self.params, self.shapes = checkpoint.params, checkpoint.shapes
        self.tensors = {name: checkpoint.rows(name, 0, shape[0]) for name, shape in self.shapes.items()}

    def rows(self, name, start, stop):
        return self.tensors[name][start:stop]


def module(name, code):
    made = types.ModuleType(name)
    made.__file__ = str(ORACLE / f"{name}.py")
    exec(code, made.__dict__)
    return made


def right_world(sources):
    """The modules by their names, and what is made once."""
    world = {}
    for name in ("seeded", "oracle", "image", "chat_request", "openai_request", "tokens"):
        world[name] = module(name, compile(sources[name], str(ORACLE / f"{name}.py"), "exec"))
        if name in ("chat_request", "openai_request", "oracle"):
            sys.modules[name] = world[name]
    world["steps"] = module("steps", STEPS.read_text())
    world["checkpoints"] = {name: Memory(made) for name, made in checkpoints(world["seeded"]).items()}
    world["tokenizer"] = world["tokens"].Tokenizer(MODEL)
    return world


def checkpoints(seeded):
    return {name: seeded.SeededCheckpoint(getattr(seeded, params)) for name, params in CHECKPOINTS.items()}


def wrong_world(world, sources, file, mutant):
    """The same with a mutant in one file, and everything anew that is made with it."""
    wrong = dict(world)
    wrong[file] = module(file, mutants.mutated(sources[file], mutant))
    if file == "seeded":
        wrong["checkpoints"] = checkpoints(wrong["seeded"])
    if file == "oracle":
        sys.modules["oracle"] = wrong[file]
        wrong["steps"] = module("steps", STEPS.read_text())
    if file in REQUESTS:
        sys.modules[file] = wrong[file]
        for name in REQUESTS[REQUESTS.index(file) + 1 :]:
            sys.modules[name] = wrong[name] = module(name, sources[name])
        wrong["tokens"] = module("tokens", sources["tokens"])
    if file in ("tokens", *REQUESTS):
        tokenizer = wrong["tokens"].Tokenizer
        if mutant.function in ("fields", "fields.varint", "Tokenizer", "Tokenizer.__init__", ""):
            wrong["tokenizer"] = tokenizer(MODEL)
        else:  # what it has read is right
            made = object.__new__(tokenizer)
            made.__dict__ |= world["tokenizer"].__dict__ | {"word": made.merge}
            wrong["tokenizer"] = made
    return wrong


# ---- which lines a case runs through ----


def cover(cases, world, file):
    """Notes of each case its seconds and its lines of a file (of a random one its functions, which takes
    less time); its answer must be right.
    """
    path = str(ORACLE / f"{file}.py")
    for case in cases:
        lines = set()

        def local(frame, event, argument, lines=lines):
            if event == "line":
                lines.add(frame.f_lineno)
            return local

        def begin(frame, event, argument, lines=lines, local=local, case=case):
            if frame.f_code.co_filename != path:
                return None
            if case.in_corpus:
                lines.add(frame.f_code.co_qualname.replace(".<locals>", ""))
                return None
            lines.add(frame.f_lineno)
            return local

        start = time.perf_counter()
        sys.settrace(begin)
        try:
            assert case.ask(world), f"{case.id}: the oracle itself fails it"
        finally:
            was_lost = sys.gettrace() is None
            sys.settrace(None)
        case.seconds = time.perf_counter() - start
        case.lines[file] = lines
        if was_lost:  # where calls are nested too deep for Python, they are too deep to be noted
            case.lost.add(file)


def cases_for(file, mutant, cases):
    """Those that run through it, cheapest first; then random ones. Behind those all others, where it has run
    before any case: when the module was made with its tables, the tokenizer, or a checkpoint.
    """
    lines = {*range(mutant.line, mutant.end + 1)}
    through = {case for case in cases if case.lines[file] & (lines | {mutant.function})}
    is_early = not mutant.function or not through or file == "seeded"
    through |= {case for case in cases if file in case.lost}
    asked = cases if is_early else through
    return sorted(asked, key=lambda case: (case.in_corpus, case not in through, case.seconds))


# ---- a mutant's end ----


def fate(world, sources, file, mutant, cases):
    """The id of the case that sees it, `stops` where it stops when it is made, or ""."""
    signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, START_SECONDS)
    try:
        wrong = wrong_world(world, sources, file, mutant)
    except SyntaxError:
        return None
    except Exception:
        return "stops"
    for case in cases_for(file, mutant, cases):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.3 + 20 * case.seconds)
        try:
            if not case.ask(wrong):
                return case.id
        except Exception:
            return case.id
    return ""


def too_long(number, frame):
    raise TimeoutError


class Job:
    """A mutant in a process of its own, which may be stopped."""

    def __init__(self, number, run):
        self.number = number
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            np.seterr(all="ignore")
            sys.setrecursionlimit(1000)
            try:
                found = run()
            except BaseException:  # out of memory in the midst of it
                found = "stops"
            os.write(write, json.dumps(found).encode())
            os._exit(0)
        os.close(write)
        self.pipe, self.deadline = read, time.monotonic() + SECONDS

    def result(self):
        """What it said; `hangs` if it had to be stopped."""
        late = time.monotonic() > self.deadline
        if late:
            os.kill(self.pid, signal.SIGKILL)
        text = os.read(self.pipe, 1 << 12)
        os.close(self.pipe)
        os.waitpid(self.pid, 0)
        return json.loads(text) if text else "hangs" if late else "stops"


def fates(jobs):
    """Of (number, run) in order: number and result, as they come."""
    running, waiting = [], list(reversed(jobs))
    while running or waiting:
        while waiting and len(running) < PROCESSES:
            running.append(Job(*waiting.pop()))
        ready, _, _ = select.select([job.pipe for job in running], [], [], 0.5)
        for job in list(running):
            if job.pipe in ready or time.monotonic() > job.deadline:
                running.remove(job)
                yield job.number, job.result()


# ---- the steps of the documents ----

# Lines of the oracle name the steps that they are, in comments and docstrings.
DOCUMENT = {"oracle": "Model.md", "image": "Model.md", "seeded": "Model.md",
            "tokens": "Tokens.md", "chat_request": "Tokens.md", "openai_request": "Tokens.md"}  # fmt: skip
# And some that they do not name, by a part of the line.
MARKS = [
    ("oracle", "VISION_NORM_EPS", "Model.md 5.2"),
    ("oracle", "places += ", "Model.md 5.3"),
    ("oracle", "places, image_of = ", "Model.md 5.3"),
    ("oracle", "vision_angles(places", "Model.md 5.3"),
    ("oracle", "image_of", "Model.md 5.4"),
    ("oracle", "patches = np.concatenate", "Model.md 5.1"),
    ("oracle", "patch_conv.weight", "Model.md 5.1"),
    ("oracle", "x = layer(", "Model.md 3.6"),
    ("oracle", "w_in", "Model.md 6.1"),
    ("oracle", "gelu(x)", "Model.md 6.1"),
    ("oracle", "w_out", "Model.md 6.1"),
    ("oracle", "biased", "Model.md 6.1"),
    ("oracle", "decoder_angles(count, ", "Model.md 7.3"),
    ("oracle", "positions", "Model.md 7.4"),
    ("oracle", 'vector(checkpoint, "norm.weight")', "Model.md 7.5"),
    ("oracle", '"output.weight"', "Model.md 7.5"),
]
NUMBER = re.compile(r"(?:(Model|Tokens)\.md )?\b(\d{1,2}\.\d{1,2}|\d{1,2})\b(?!\^)")


def steps_of_lines(file, source):
    """For each line the steps it belongs to, as `Model.md 3.1`: those of its own comment, else of the
    docstring of its function or of the comment before it in it, else of the section.
    """
    lines = source.split("\n")
    own = DOCUMENT[file]
    starts = {}
    functions = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for line in range(node.lineno, node.end_lineno + 1):
                if line not in functions or functions[line][0] < node.lineno:
                    functions[line] = (node.lineno, node.end_lineno)
            docstring = ast.get_docstring(node)
            if docstring:
                starts[node.lineno] = numbers(docstring.split("\n\n")[0], own, strict=own == "Model.md")
    found, section, before, here = {}, [], [], None
    for n, line in enumerate(lines, 1):
        if match := re.match(r"\s*# (?:-+ )?([\d, ]+)\. ", line) or re.match(r"# .*Model\.md (\d+)$", line):
            section, before = [f"{own} {number}" for number in re.findall(r"\d+", match[1])], []
        if functions.get(n) != here:
            here = functions.get(n)
            before = starts.get(here[0], []) if here else []
        elif not here and not line.strip():
            before = []
        _, hash, comment = line.partition("#")
        marked = numbers(comment, own, strict=own == "Model.md") if hash else []
        marked = marked or [step for of, text, step in MARKS if of == file and text in line]
        # In the files of Model.md a mark behind a line is that line's; in the others it begins something.
        if marked and own == "Model.md" and not line.strip().startswith("#"):
            found[n] = marked
        else:
            before = marked or before
            found[n] = before or section
    return found


def numbers(text, own, strict):
    """The steps that a comment names; of Tokens.md without its name."""
    found = []
    if strict and "Model.md" not in text:
        return found
    document = own
    for match in NUMBER.finditer(text):
        document = f"{match[1]}.md" if match[1] else document
        if "." in match[2] or (not strict and re.fullmatch(r"\s*\d+\s*", text)):
            found.append(f"{document} {match[2]}")
    return found


def document_steps(name):
    """The numbered steps of a document: (`3.1`, the beginning of its text), under (`3`, heading)."""
    section, found = "", []
    for line in (ROOT / "Docs" / name).read_text().split("\n"):
        if match := re.match(r"## (\d+)\. (.*)", line):
            section = match[1]
            found.append((section, match[2]))
        elif section and (match := re.match(r"(\d+)\. (.*)", line)):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[2])
            found.append((f"{section}.{match[1]}", text))
    return found


# ---- all of it ----


def made(file, source):
    """The mutants of a file that are asked."""
    skipped = SKIPPED.get(file, ())

    def skip(function, text):
        return function.startswith(skipped) or bool(SKIPPED_TEXT.search(text))

    return mutants.mutants(source, skip)


def reason(file, mutant):
    """Whether a survivor is equivalent or a hole, and why; nothing where that is not known."""
    name = f"{file}.py, {mutant.function or 'module'}: {mutant.before} → {mutant.after}"
    for kind, known in (("equivalent", EQUIVALENT), ("hole", HOLES)):
        for start, why in known.items():
            if name.startswith(start):
                return kind, why
    return "unknown", "no reason is known"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"some of {', '.join(FILES)}")
    parser.add_argument("--write", action="store_true", help="make Docs/Coverage.md")
    options = parser.parse_args()
    start = time.monotonic()
    sources = {file: (ORACLE / f"{file}.py").read_text() for file in FILES}
    world = right_world(sources)
    model, grid, tokens = list(model_cases()), list(grid_cases()), list(token_cases())
    steps, images = list(step_cases()), [*grid, *pixel_cases()]
    cases = {
        "oracle": steps + model,
        "seeded": model + list(value_cases()),
        "image": images,
        "tokens": tokens,
        "chat_request": tokens,
        "openai_request": tokens,
    }
    for file in ("tokens", *REQUESTS):
        cover(tokens, world, file)
    cover(grid, world, "tokens")
    for file in ("image", "oracle", "seeded"):
        cover(cases[file], world, file)
    files = options.files or list(FILES)
    print(
        f"{len(model) + len(steps) + len(images) + len(tokens)} cases, {time.monotonic() - start:.0f} s",
        flush=True,
    )

    jobs, asked = [], []
    for file in files:
        for mutant in made(file, sources[file]):
            own = tokens + grid if (file, mutant.function) == ("tokens", "grid") else cases[file]
            asked.append((file, mutant))
            jobs.append((len(jobs), lambda f=file, m=mutant, c=own: fate(world, sources, f, m, c)))
    results = {}
    for number, how in fates(jobs):
        results[number] = how
        if sys.stderr.isatty() or number % 100 == 0:
            print(f"{number} of {len(jobs)}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    found = [(file, mutant, results[n]) for n, (file, mutant) in enumerate(asked) if results[n] is not None]

    survivors = [(file, mutant) for file, mutant, how in found if not how]
    low = []
    for file in files:
        hows = [how for other, _, how in found if other == file]
        dead = sum(map(bool, hows))
        stopped = sum(how in ("stops", "hangs") for how in hows)
        same = sum(other == file and reason(file, mutant)[0] == "equivalent" for other, mutant in survivors)
        share = dead / (len(hows) - same)
        print(f"{file + '.py':16} {dead:5} of {len(hows):5} die, {stopped} of them without a case; "
              f"{same} change no answer: {share:.1%}")  # fmt: skip
        low += [file] if share < FLOOR else []
    kinds = {"equivalent": 0, "hole": 0, "unknown": 0}
    for file, mutant in survivors:
        kind, why = reason(file, mutant)
        kinds[kind] += 1
        print(f"{kind}: {file}.py, {mutant.name}: {why}")
    dead = len(found) - len(survivors)
    share = dead / (len(found) - kinds["equivalent"])
    print(f"{dead} of {len(found)} die, and {kinds['equivalent']} of the others change no answer: {share:.2%}; "
          f"{kinds['hole']} holes, {kinds['unknown']} without a reason; {time.monotonic() - start:.0f} s")  # fmt: skip
    if options.write:
        import coverage_page

        marks = {file: steps_of_lines(file, source) for file, source in sources.items()}
        sizes = collections.Counter(case["suite"] for case in suites("image"))
        text = coverage_page.page(found, marks, cases, document_steps, reason, sizes)
        (ROOT / "Docs" / "Coverage.md").write_text(text)
    sys.exit(bool(low) or kinds["unknown"] > 0)


if __name__ == "__main__":
    main()
