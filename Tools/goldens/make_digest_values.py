"""Makes Fixtures/digest/values.json: the digests of a few small matrices, by Tools/runtimes/digest.py.

    python make_digest_values.py

Value number n of a matrix is ((n · 7919) mod 1009 − 504) / 64, exact in every dtype, but for those that
`not_finite` names. Each digest is computed twice, by NumPy and by PyTorch, which must agree to 1e-15 of
the norm. numpy 2.3.5 and torch 2.13.0 made the file.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Tools" / "runtimes"))
from digest import digest_of  # noqa: E402

MATRICES = [  # tap, rows, columns, places that are not finite
    ("decoder.norm", 3, 5, {}),
    ("vision.layers.1.attention.q", 1, 1200, {}),
    ("decoder.layers.87.feed_forward.hidden", 64, 9, {}),
    ("logits", 200, 33, {}),
    ("vision.patch_conv", 65, 40, {}),
    ("decoder.layers.0.attention.scores", 9, 18, {0: "-inf", 5: "nan", 161: "inf"}),
]


def main():
    digests = []
    for tap, rows, columns, not_finite in MATRICES:
        n = np.arange(rows * columns)
        x = (n * 7919 % 1009 - 504) / 64
        for place, value in not_finite.items():
            x[place] = float(value)
        x = x.reshape(rows, columns)
        summary, row_norms, sketch = digest_of(tap, x)
        other = digest_of(tap, torch.from_numpy(x))
        norm = summary[2] * math.sqrt(rows * columns)
        for mine, theirs in zip((summary, row_norms, sketch), other, strict=True):
            assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-15 * norm, tap
        digests.append(
            {
                "tap": tap,
                "rows": rows,
                "columns": columns,
                "not_finite": {str(place): value for place, value in not_finite.items()},
                "summary": [float(number) for number in summary],
                "row_norms": row_norms,
                "sketch": sketch,
            }
        )
    path = ROOT / "Fixtures" / "digest" / "values.json"
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(digest) for digest in digests)
    path.write_text(f'{{"oracle": "Tools/runtimes/digest.py, by NumPy", "digests": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
