"""Puts mistakes that are not on Docs/Faults.md (strangers.py) into the oracle session: the kit must catch
each where it shows first, and call none by a wrong name.

    python check_strangers.py BINARY [NAME ...]       prints a table, exits 1 if one is not judged so
    python check_strangers.py --session NAME          the runtime with that mistake, in float32

What is right is found without the kit: the oracle with the mistake beside the oracle, in float64. A
model must fail at the first tap that the mistake moves, unless what it moves there is below NOISE; a
step that it moves by more than CLEAR, and than 8 times the noise of float32, must fail; an answer of tokens, a grid or RGB must fail if it is
another. An answer that is given must fail if a mistake behind the prompt moves it by more than NOISE.
A name is right where the listed mistake, in one of its forms, has the very answers of the
stranger: all of the kind of question that either of them moves. Of a stranger that is part of a listed
mistake (`of`) that may be so: a mistake in layer 0 is the whole mistake in the step of a layer.
"""

import argparse
import base64
import collections
import concurrent.futures
import contextlib
import fnmatch
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

ROOT = Path(__file__).resolve().parent.parent.parent
for folder in ("Fixtures/oracle", "Tools/checks", "Tools/runtimes", "Tools/goldens"):
    sys.path.insert(0, str(ROOT / folder))

import answer as given_answer  # noqa: E402
import checkpoint  # noqa: E402
import image  # noqa: E402
import numpy as np  # noqa: E402
import oracle  # noqa: E402
import PIL.Image  # noqa: E402
import steps  # noqa: E402
import tokens  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

import faults  # noqa: E402
import oracle_session  # noqa: E402
import suites  # noqa: E402
import text_faults  # noqa: E402
from strangers import STRANGERS, Stranger  # noqa: E402

CASES = ROOT / "Fixtures" / "cases"
SAME = 1e-9  # relF of two answers in float64 that are one
NOISE = 2e-5  # of a tap: what no right run of float32 reaches on tiny models, and no limit is above
CLEAR = 1e-2  # of a step, of any condition
SECONDS = 300  # a run
# Models without model/tiny/long, whose logits take most time; of tokens the cases that have names.
MODELS = ("model/tiny/image", "model/tiny/small-rgba", "model/tiny/text", "model/tiny/two-images")
CORPUS = "corpus"


# The runtime


class Session(oracle_session.Session):
    """The oracle in float32, with a stranger in it."""

    def __init__(self, name):
        stranger = STRANGERS[name]
        # Under its name, where the session looks for mistakes of the page.
        faults.FAULTS[name] = oracle_session.MODEL_FAULTS[name] = stranger.fault
        if stranger.pixels:
            oracle_session.PIXEL_FAULTS[name] = stranger.pixels
        for change in stranger.text:
            setattr(*change)
        super().__init__("float32", name)
        self.name, self.picture, self.behind = name, stranger.opened, stranger.behind

    def answer_given(self, question):
        if self.behind:
            oracle_session.MODEL_FAULTS[self.name] = faults.Fault(self.behind(len(question["tokens"])))
        return super().answer_given(question)

    def opened(self, file):
        if not self.picture:
            return super().opened(file)
        try:
            with PIL.Image.open(file) as opened:
                opened.load()
                return self.picture(opened)
        except Exception as error:  # of any kind, as in the class above
            raise oracle_session.Rejected(type(error).__name__, str(error)) from error


def serve(name):
    session = Session(name)
    for line in sys.stdin.buffer:
        print(json.dumps(session.answer(json.loads(line))), flush=True)


# Answers of the oracle in float64: {case: {tap: matrix}}, or {case: answer} of what is equal or not


@contextlib.contextmanager
def text_changed(changes):
    before = [(owner, name, getattr(owner, name, None)) for owner, name, _ in changes]
    for change in changes:
        setattr(*change)
    try:
        yield
    finally:
        for owner, name, value in before:
            if value is None:
                delattr(owner, name)  # a builtin's name
            else:
                setattr(owner, name, value)


@functools.cache
def asked(stage):
    """[(folder, case)] of the suites."""
    return [
        ((CASES / name).parent, case)
        for name in suites.names()
        if not name.endswith(CORPUS)
        for case in suites.read(name)
        if case["stage"] == stage and case["retired"] is None and "image.huggingface" not in case["requires"]
    ]


@functools.cache
def models():
    result = []
    for folder in (CASES / name for name in MODELS):
        case = json.loads((folder / "case.json").read_text())
        golden = load_file(folder / case["expect"]["tensors"])
        loaded = checkpoint.open_checkpoint(case["model"])
        pixels = [golden[f"image{n}"] for n in range(len(case["expect"]["grids"]))]
        names = [name for name in oracle.tap_names(loaded.params, bool(pixels)) if name in golden]
        result.append((case["id"], loaded, case["expect"]["tokens"], pixels, names))
    return result


def model_answers(fault, of_step=None):
    """of_step(stage) -> the fault as a step of the stage has it."""
    answers = {}
    for id, loaded, ids, pixels, names in models():
        found = answers[id] = {}
        changed = faults.Changed(loaded, fault.params, fault.renamed)
        with faults.patched(**fault.patches), np.errstate(all="ignore"):
            try:
                trace = oracle.Trace(lambda name, x, found=found: found.setdefault(name, np.array(x)), names)
                oracle.forward(changed, ids, pixels, trace)
            except (AssertionError, ValueError) as refusal:
                found["refusal"] = str(refusal)
    for folder, case in asked("steps"):
        stored = tensors_of(folder / case["inputs"]["file"])
        inputs = {tap: stored[key] for tap, key in case["inputs"]["tensors"].items()}
        stage = case["subject"]["step"]
        wrong = of_step(stage) if of_step else fault
        with faults.patched(**wrong.patches), np.errstate(all="ignore"):
            try:
                output = steps.answer(
                    stage,
                    case["subject"]["parameters"],
                    inputs,
                    lambda step, wrong=wrong: faults.Changed(step, wrong.params, wrong.renamed),
                )
                answers[case["id"]] = {"output": np.array(output)}
            except (AssertionError, ValueError, KeyError, IndexError) as refusal:
                answers[case["id"]] = {"refusal": str(refusal)}
    return answers


tensors_of = functools.cache(load_file)


def given_answers(behind):
    answers = {}
    for folder, case in asked("answer"):
        inputs = case["inputs"]
        stored = tensors_of(folder / inputs["file"]) if "file" in inputs else {}
        images = [stored[f"image{n}"] for n in range(len(inputs.get("tensors", {})))]
        loaded, ids, given = checkpoint.open_checkpoint(case["model"]), inputs["tokens"], inputs["answer"]
        with faults.patched(**(behind(len(ids)) if behind else {})):
            logits = given_answer.logits(loaded, ids, images, given)
        answers[case["id"]] = given_answer.log_probabilities(logits)[np.arange(len(given)), given]
    return answers


def pixel_answers(wrong):
    answers = {}
    for folder, case in asked("pixels"):
        inputs, subject = case["inputs"], case["subject"]
        if "rgb" in inputs:
            samples = np.frombuffer(base64.b64decode(inputs["rgb"]), dtype=np.uint8)
            rgb = samples.reshape(inputs["height"], inputs["width"], 3)
        else:
            with PIL.Image.open(folder / inputs["file"]) as opened:
                rgb = np.asarray(opened.convert("RGB"))
        right = image.pixels(rgb, subject["patch_size"], subject["image_size"])
        found = wrong(rgb, right) if wrong else right
        answers[case["id"]] = {"pixels": found[:, case["expect"].get("rows", slice(None))]}
    return answers


def rgb_answers(wrong):
    session = oracle_session.Session()
    answers = {}
    for folder, case in asked("rgb"):
        inputs = case["inputs"]
        data = (
            base64.b64decode(inputs["base64"])
            if "base64" in inputs
            else (folder / inputs["file"]).read_bytes()
        )
        try:
            if wrong:
                with PIL.Image.open(io.BytesIO(data)) as opened:
                    opened.load()
                    rgb = wrong(opened)
            else:
                rgb = session.opened(io.BytesIO(data))
        except Exception:  # of any kind: a refusal
            answers[case["id"]] = None
            continue
        answers[case["id"]] = rgb.tobytes()
    return answers


def grid_answers(changes):
    with text_changed(changes):
        return {
            case["id"]: tokens.grid(case["inputs"]["width"], case["inputs"]["height"])
            for _, case in asked("grid")
            if "reject" not in case["expect"]
        }


def token_answers(changes):
    with text_changed(changes):
        tokenizer = tokens.Tokenizer(oracle_session.MODEL)
        found = ((case["id"], tokens.answer(case["inputs"], tokenizer)) for _, case in asked("tokens"))
        return {id: answer.get("tokens", answer.get("text")) for id, answer in found}


def answers_of(stranger, of_step=None):
    match stranger.stage:
        case "model":
            return model_answers(stranger.fault, of_step)
        case "answer":
            return given_answers(stranger.behind)
        case "pixels":
            return pixel_answers(stranger.pixels)
        case "rgb":
            return rgb_answers(stranger.opened)
        case "grid":
            return grid_answers(stranger.text)
        case "tokens":
            return token_answers(stranger.text)


@functools.cache
def right_answers(stage):
    return answers_of(Stranger(stage))


@functools.cache
def listed_answers(name, stage):
    """Of a mistake of the page, or a form of one."""
    if name in faults.FAULTS | faults.FORMS:
        stranger = Stranger(stage, (faults.FAULTS | faults.FORMS)[name])
        return answers_of(stranger, lambda step: faults.in_step(name, step))
    if name == "P-alpha":
        return answers_of(Stranger(stage, opened=faults.without_alpha))
    if name in faults.PIXEL_FAULTS | faults.PIXEL_FORMS:
        return answers_of(Stranger(stage, pixels=(faults.PIXEL_FAULTS | faults.PIXEL_FORMS)[name]))
    return answers_of(Stranger(stage, text=(text_faults.FAULTS | text_faults.FORMS)[name]))


def forms_of(id):
    everything = [*faults.FAULTS, *faults.FORMS, *faults.PIXEL_FAULTS, *faults.PIXEL_FORMS,
                  *text_faults.FAULTS, *text_faults.FORMS, "P-alpha"]  # fmt: skip
    return [name for name in everything if name.partition("~")[0] == id]


def moved(one, other):
    """How far two answers are apart: relF of the first; of those that are equal or not 0 or 1."""
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
        return float(one is not other and one != other)
    if one.shape != other.shape:
        return 1.0
    with np.errstate(all="ignore"):
        far = np.linalg.norm(one - other) / np.linalg.norm(one)
    return far if np.isfinite(far) else 1.0


def all_moved(right, wrong):
    """{case: {tap: how far}}, taps in order; answers without taps have the tap None."""
    result = {}
    for id, answer in right.items():
        found = wrong[id]
        if not isinstance(answer, dict):
            result[id] = {None: moved(answer, found)}
        elif "refusal" in found or "refusal" in answer:
            result[id] = {None: moved(answer.get("refusal"), found.get("refusal"))}
        else:
            result[id] = {tap: moved(x, found[tap]) if tap in found else 1.0 for tap, x in answer.items()}
    return result


def kind(id):
    """Mistakes are named by kinds of questions: an operation, a stage of steps, whole models."""
    parts = id.split("/")
    return "/".join(parts[:2]) if parts[0] in ("steps", "image") else OPERATIONS.get(parts[1], parts[0])


OPERATIONS = {"text": "encode", "decode": "decode", "fim": "fim"}


def really_is(id, mine, stage):
    """{kind: (of the answers that either moves how many are the listed mistake's own, of how many)},
    of that of its forms that has the most.
    """
    if id == "A-bias":
        return {"model": is_biased(mine)}
    best = {}
    for form in forms_of(id):
        its = listed_answers(form, stage)
        apart, from_right = all_moved(its, mine), all_moved(right_answers(stage), its)
        own_from_right = all_moved(right_answers(stage), mine)
        counts = collections.defaultdict(lambda: [0, 0])
        for case, taps in apart.items():
            largest = [max(part[case].values()) for part in (from_right, own_from_right)]
            if max(largest) > SAME:
                counts[kind(case)][0] += max(taps.values()) <= SAME
                counts[kind(case)][1] += 1
        for key, (same, of) in counts.items():
            if key not in best or same * best[key][1] > best[key][0] * of:
                best[key] = same, of
    return best


def is_biased(mine):
    """A-bias is any bias: a vector that is the same in each row of adapter.w_in."""
    right, same, of = right_answers("model"), 0, 0
    for id, answer in right.items():
        if "adapter.w_in" in answer:
            added = mine[id]["adapter.w_in"] - answer["adapter.w_in"]
            same += bool(np.abs(added).max() > 0 and np.ptp(added, axis=0).max() < SAME)
            of += 1
    return same, of


# The judge


def report_of(binary, name):
    stage = STRANGERS[name].stage
    chosen = [*MODELS, "steps/*"] if stage == "model" else [case["id"] for _, case in asked(stage)]
    runtime = f"exec {sys.executable} {Path(__file__).resolve()} --session {name}"
    command = [binary, "conformance", "run", "--json", "--timeout", "200", "--cases", ",".join(chosen)]
    command += ["--runtime", runtime]
    with tempfile.TemporaryFile() as errors:
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, timeout=SECONDS)
        errors.seek(0)
        assert ran.stdout, errors.read().decode(errors="replace")[-300:]
    return json.loads(ran.stdout)


@functools.cache
def step_noise(id):
    """Of right runs in float32."""
    case = next(case for _, case in asked("steps") if case["id"] == id)
    return max(case["compare"]["relF"]["float32"].values())


def check(binary, name):
    """-> (where expected, where found, names with how often, problems, remarks)"""
    stage = STRANGERS[name].stage
    mine = answers_of(STRANGERS[name])
    distances = all_moved(right_answers(stage), mine)
    if max(max(taps.values()) for taps in distances.values()) <= SAME:
        return "nowhere", "not asked", {}, ["it moves nothing"], []
    report = report_of(binary, name)
    found = {case["id"]: case for case in report["cases"]}
    problems, remarks, expected = [], [], "nowhere"
    missed = collections.Counter()
    for id, taps in distances.items():
        verdict, shown = found[id]["verdict"], found[id]["tap"]
        changed = {tap: far for tap, far in taps.items() if far > SAME}
        if not changed:
            if verdict != "passed" and verdict != "unsupported":
                problems.append(f"{id} {verdict} at {shown}, and nothing is moved there")
            continue
        first = next(iter(changed))
        surely = max(CLEAR, 8 * step_noise(id)) if id.startswith("steps/") else NOISE
        clear = {tap: far for tap, far in changed.items() if far > surely}
        if verdict == "unsupported":
            continue
        if stage == "model" and id.startswith("model/"):
            expected = first if expected == "nowhere" else expected
            if clear and verdict not in ("failed", "malformed"):
                missed[f"{verdict} although a tap is moved by {max(clear.values()):.1e}"] += 1
            elif verdict == "failed" and shown not in (first, next(iter(clear), None)):
                (problems if changed[first] > NOISE else remarks).append(
                    f"{id} at {shown}, not {first}, moved by {changed[first]:.1e} there"
                )
            elif verdict == "failed" and shown != first:
                remarks.append(f"{id} at {shown}: {first} is moved by {changed[first]:.1e} only")
            elif verdict != "failed":
                remarks.append(f"{id} {verdict}: at most {max(changed.values()):.1e} at a tap")
        elif clear and verdict != "failed":
            far = max(clear.values())
            missed[
                f"{'step' if stage == 'model' else stage} {verdict} although moved by {far:.1e}: {id}"
            ] += 1
    problems += [f"{what} ({count})" for what, count in missed.items()][:4]
    if stage != "model":
        expected = stage
    first = report["first_divergence"]
    where = "nowhere" if not first else first["tap"] or first["stage"]
    if first and first["stage"] == "steps" and expected == "nowhere":
        expected = first["tap"]  # it shows in steps only
    if report["passed"]:
        problems.append("it is not caught")
    names = collections.Counter(
        (case["looks_like"], kind(case["id"])) for case in report["cases"] if case["looks_like"]
    )
    for both, where_named in names:
        for one in both.split(", "):
            same, of = really_is(one, mine, stage).get(where_named, (0, 0))
            words = f"{where_named}: {one}, whose own answers {same} of {of} are"
            (remarks if same == of or NEAR.get(name) == one else problems).append(words)
    counted = {f"{both} ({where_named})": count for (both, where_named), count in names.items()}
    return expected, where, counted, problems, remarks


# Nearer to a listed mistake than a quarter of its way from the truth, at all that was asked of a kind: they
# bear its name by the rule (Docs/Conformance.md, names of mistakes).
NEAR = {
    "quick-gelu-in-vision": "V-gelu",
    "norm-eps-zero": "D-eps",
    "gelu-table-above-zero": "A-gelu-table",
}


def attempt(binary, name):
    try:
        return check(binary, name)
    except Exception as error:  # one mistake that cannot be made does not end the check
        return "?", "?", {}, [f"{type(error).__name__}: {error}"], []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", nargs="?")
    parser.add_argument("names", nargs="*", help="strangers, or patterns of them")
    parser.add_argument("--session", choices=STRANGERS, metavar="NAME")
    options = parser.parse_args()
    if options.session:
        return serve(options.session)
    if not options.binary:
        parser.error("a BINARY, or --session NAME")
    patterns = options.names or ["*"]
    names = [name for name in STRANGERS if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    names.sort(key=lambda name: STRANGERS[name].stage)  # what is right is computed once a stage
    wrong = named = 0
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        outcomes = pool.map(functools.partial(attempt, options.binary), names)
        for name, (expected, found, counted, problems, remarks) in zip(names, outcomes, strict=True):
            words = "; ".join(f"{count} {what}" for what, count in counted.items()) or "no name"
            print(f"{name:32} {STRANGERS[name].of or '':18} {expected:40} {found:40} {words}", flush=True)
            for line in [f"PROBLEM {problem}" for problem in problems] + remarks:
                print(f"    {line}", flush=True)
            wrong += bool(problems)
            named += bool(counted)
    print(f"{wrong} of {len(names)} strangers are not judged as they should be; {named} bear a name")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
