"""Puts the faults of Docs/Faults.md into the oracle, one at a time, and measures in every model
case where each shows first.

    python check_exposes.py [NAME or small/NAME ...]

For each case and fault: the first tap, in the order of computation, that is further from the right
one than the case's limit for float64 (1e-11), its relF, and how many of the case's float32 limits
(4 times the witness' distance) that is; and the first tap beyond its float32 limit, where that is a
later one or none. Exit 1 if

- a fault shows first at a tap that Docs/Faults.md does not name for it, or shows nowhere first at a tap which it does name;
- it does not show in a model case that the page names for it;
- its largest relF is not the page's figure, or the page has a figure for a fault that is not in faults.py, or the other way round;
- a case claims a fault in `exposes` that does not show by 4 float32 limits (in pixels: by 1e-3).

With NAMEs, and of seeded:small always, only the last is judged. Faults of tokens and grids, and those that end in a refused
load, need no arithmetic and are not in here.
"""

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import make_goldens  # sets OPENBLAS_NUM_THREADS before numpy is loaded  # noqa: E402

import oracle  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

import faults  # noqa: E402
from compare import distance  # noqa: E402

FLOAT64_LIMIT = 1e-11
PIXELS_LIMIT = 1e-3
LIMITS_AWAY = 4.0


def checkpoint(model, base, fault=None):
    """A seeded model, or with `base` the like of it with other parameters; as somebody with the fault
    reads it.
    """
    loaded = make_goldens.oracle_checkpoint.open_checkpoint(model)
    if base:
        loaded = make_goldens.oracle_checkpoint.seeded.SeededCheckpoint(loaded.params | base)
    return faults.Changed(loaded, fault.params, fault.renamed) if fault else loaded


def taps(loaded, case, pixels, keep):
    """Runs the oracle and hands each tap, of its rows those that the case stores, to `keep(name,
    rows)`.
    """
    rows = case["expect"]["rows"]
    names = [
        name for name in oracle.tap_names(loaded.params, bool(pixels)) if not name.endswith(oracle.ON_DEMAND)
    ]
    trace = oracle.Trace(
        lambda name, matrix: keep(name, matrix[rows[name]] if name in rows else matrix), names
    )
    oracle.forward(loaded, case["expect"]["tokens"], pixels, trace)


def first_taps(case, expected, noise, fault):
    """The first tap beyond its float64 limit and the first one beyond its float32 limit, each as
    (tap, relF), or None.
    """
    pixels = [expected[f"image{n}"] for n in range(len(case["expect"]["grids"]))]
    right, found, model = expected, {}, case["model"]
    base = fault.base if model == make_goldens.MODEL else {}
    if base:
        right = {}
        taps(checkpoint(model, base), case, pixels, right.__setitem__)

    def judge(name, matrix):
        moved = distance(right[name], matrix).rel_f
        for precision, limit in (("float64", FLOAT64_LIMIT), ("float32", 4 * noise[name])):
            if moved > max(limit, FLOAT64_LIMIT):
                found.setdefault(precision, (name, moved))
        if "float32" in found:
            raise oracle.Finished  # everything behind it is wrong as well

    with faults.patched(**fault.patches):
        taps(checkpoint(model, base, fault), case, pixels, judge)
    return found.get("float64"), found.get("float32")


def measure(name):
    """Prints one case's table. Returns its measurements as (fault, tap, relF, case or "") and the
    claims of `exposes` that are false.
    """
    folder = make_goldens.MODELS / name if "/" in name else make_goldens.CASES / name
    case = json.loads((folder / "case.json").read_text())
    expected = load_file(folder / case["expect"]["tensors"])
    noise = case["witnesses"][0]["distance"]
    measured, false = [], []

    def report(fault, tap, moved, shows, remark):
        claimed = fault in case["exposes"]
        verdict = (
            "claimed"
            if shows and claimed
            else "CLAIMED, BUT DOES NOT SHOW"
            if claimed
            else "shows, not claimed"
            if shows
            else "hidden"
        )
        print(
            f"{name:16} {fault:18} {tap or '–':40} {f'{moved:9.2e}' if tap else '':9} {remark:18} {verdict}"
        )
        if tap:
            measured.append((fault, tap, moved, case["id"] if shows else ""))
        if claimed and not shows:
            false.append(f"{case['id']} claims {fault}, which does not show")

    for fault, wrong in faults.FAULTS.items():
        exact, single = first_taps(case, expected, noise, wrong)
        tap, moved = exact or (None, 0.0)
        limits = moved / (4 * noise[tap]) if tap and noise[tap] else math.inf if tap else 0.0
        report(fault, tap, moved, limits >= LIMITS_AWAY, f"{limits:.3g} limits" if tap else "")
        if exact and (not single or single[0] != tap):
            print(f"{'':35} float32: {single[0] if single else 'nowhere'}")

    largest = {}
    for n, image in enumerate(case["inputs"].get("images", [])):
        right = expected[f"image{n}"]
        for fault, wrong in faults.pixel_faults(folder / image["file"], right).items():
            largest[fault] = max(largest.get(fault, 0.0), distance(right, wrong).rel_f)
    for fault, moved in largest.items():
        report(fault, "pixels" if moved > FLOAT64_LIMIT else None, moved, moved > PIXELS_LIMIT, "")
    return measured, false


def differences(measured):
    """Sentences about what Docs/Faults.md says and what was measured, where they differ."""
    page = faults.page_faults()
    result = [f"{fault} is not in the page" for fault in sorted({row[0] for row in measured} - set(page))]
    for fault, (places, figure, case) in page.items():
        places = {place for place in places if place == "pixels" or place not in faults.STAGES}
        rows = [row[1:] for row in measured if row[0] == fault]
        found = {tap for tap, _, _ in rows}
        if not found:
            if figure is not None:
                result.append(f"{fault} has a relF in the page and was not measured")
            continue
        if found != places:
            result.append(
                f"{fault} shows first at {', '.join(sorted(found))}; the page says {', '.join(sorted(places))}"
            )
        if case.startswith("model/") and case not in {shows for _, _, shows in rows}:
            result.append(f"{fault} does not show in {case}")
        largest = max(moved for _, moved, _ in rows)
        if figure is None or not math.isclose(figure, largest, rel_tol=0.05):
            result.append(f"{fault} moves its first tap by up to {largest:.1e}; the page says {figure}")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    measured, problems = [], []
    for name in names or [*make_goldens.requests(), *(f"small/{name}" for name in make_goldens.SMALL)]:
        of_case, false = measure(name)
        measured, problems = measured + (of_case if "/" not in name else []), problems + false
    problems += differences(measured) if not names else []
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
