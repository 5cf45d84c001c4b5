"""How far two traces are apart, tap by tap. Used by the makers, and by hand: python compare.py
EXPECTED ACTUAL.

The measure is relF = |a - e| / |e| (Frobenius norms, summed in float64): one number a tap which
says by what part of its own size a tensor is off, and which a single unlucky element near zero
cannot spoil. The worst row is the same for the row that is most off: it shows a fault that touches
few tokens and drowns in the whole. Both sides must be finite; -inf at the same places (attention
scores that may not be seen) counts as equal.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Distance:
    """The distance of one tap. `rel_f` is infinite where shapes differ or where one side alone is
    not finite.
    """

    rel_f: float
    worst_row: int = -1
    worst_row_rel: float = 0.0
    problem: str = ""


def distance(expected, actual):
    """relF of two tensors, both seen as matrices with one row a token, patch or pixel row."""
    e = np.asarray(expected, dtype=np.float64)
    a = np.asarray(actual, dtype=np.float64)
    if e.shape != a.shape:
        return Distance(math.inf, problem=f"shape {a.shape} instead of {e.shape}")
    if np.isnan(e).any() or np.isnan(a).any():
        return Distance(math.inf, problem="NaN")
    infinite_e, infinite_a = np.isinf(e), np.isinf(a)
    if not np.array_equal(np.where(infinite_e, e, 0), np.where(infinite_a, a, 0)):
        return Distance(math.inf, problem="infinite at other places")
    e = np.where(infinite_e, 0, e).reshape(e.shape[0], -1)
    a = np.where(infinite_a, 0, a).reshape(e.shape)
    rows_error = np.linalg.norm(a - e, axis=1)
    rows_size = np.linalg.norm(e, axis=1)
    error, size = np.linalg.norm(rows_error), np.linalg.norm(rows_size)
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = np.where(rows_error == 0, 0.0, rows_error / rows_size)
    worst = int(np.argmax(rows))
    rel_f = 0.0 if error == 0 else (float(error / size) if size > 0 else math.inf)
    return Distance(rel_f, worst, float(rows[worst]))


def compare(expected, actual):
    """The distances of all taps that both traces have, in the order of `expected`."""
    return {tap: distance(e, actual[tap]) for tap, e in expected.items() if tap in actual}


def worst(distances):
    """The tap that is furthest off and its distance."""
    tap = max(distances, key=lambda name: distances[name].rel_f)
    return tap, distances[tap]


def main():
    from safetensors.numpy import load_file

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("expected")
    parser.add_argument("actual")
    arguments = parser.parse_args()
    expected, actual = load_file(arguments.expected), load_file(arguments.actual)
    for tap, d in compare(expected, actual).items():
        print(f"{tap:45} {d.rel_f:10.3e}  row {d.worst_row} {d.worst_row_rel:10.3e} {d.problem}")
    for tap in sorted(set(expected) ^ set(actual)):
        print(f"{tap:45} only in {'EXPECTED' if tap in expected else 'ACTUAL'}")


if __name__ == "__main__":
    main()
