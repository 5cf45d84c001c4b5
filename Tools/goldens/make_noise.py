"""Writes Sources/PixtralReference/Comparison/NoiseTable.swift from the envelopes of the model cases.

    python make_noise.py            needs no package

An envelope (Fixtures/cases/model/*/*/envelope.json, by full_model.py) has the distance of every legal
rounding schedule from float64 at every tap. The table has, for each model, tap and arithmetic, the
largest of any schedule and case, rounded up to two digits, and at least a quarter of the unit of rounding,
which is less than storing a value once has: a tap that is only copied has none. float64 has the least schedules, and errors grow with
the unit: it has at least what float32 has, times 2 to the -29.
"""

import json
import math
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CASES = ROOT / "Fixtures" / "cases" / "model"
OUT = ROOT / "Sources" / "PixtralReference" / "Comparison" / "NoiseTable.swift"
BITS = {"float64": 53, "float32": 24, "tf32": 11, "float16": 11, "bfloat16": 8}
HEAD = '''/// How far right runs are from float64 at each tap of the seeded models: for float64, float32, tf32,
/// float16 and bfloat16 the largest relF of any legal rounding schedule on any model case. Made by
/// Tools/goldens/make_noise.py from Fixtures/cases/model/*/*/envelope.json.
let noiseTable = """
'''


def rounded_up(x):
    """x to two digits, not below it."""
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    digits, exponent = f"{math.ceil(x / unit * (1 - 1e-12)) * unit:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def order(tap):
    """In the order of computation, as far as sorting by stage and layer gives it; steps keep theirs."""
    parts = tap.split(".")
    stage = {"vision": 0, "adapter": 2, "decoder": 3, "logits": 5}[parts[0]]
    if parts[1:2] == ["layers"]:
        return (stage + 1, int(parts[2]))
    return (5, 0) if tap in ("decoder.norm", "logits") else (stage, 0)


def main():
    models = {}
    for path in sorted(CASES.glob("*/*/envelope.json")):
        envelope = json.loads(path.read_text())
        table = models.setdefault(envelope["model"], {})
        for arithmetic, measured in envelope["arithmetics"].items():
            assert arithmetic == "float64" or len(measured["relF"]) >= 4, (path, arithmetic)
            for n, tap in enumerate(envelope["taps"]):
                most = max(distances[n] for distances in measured["relF"].values())
                numbers = table.setdefault(tap, dict.fromkeys(BITS, 0.0))
                numbers[arithmetic] = max(numbers[arithmetic], most)
    lines = []
    for model, table in sorted(models.items()):
        lines.append(model)
        for tap in sorted(table, key=order):
            numbers = table[tap]
            numbers["float64"] = max(numbers["float64"], numbers["float32"] * 2.0**-29)
            lines.append(
                " ".join([tap, *(rounded_up(max(numbers[a], 2.0 ** -(b + 2))) for a, b in BITS.items())])
            )
    OUT.write_text(HEAD + "".join(f"  {line}\n" for line in lines) + '  """\n')


if __name__ == "__main__":
    main()
