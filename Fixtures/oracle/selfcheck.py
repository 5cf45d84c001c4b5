"""Checks the oracle against plain loops, and reports the statistics that Model.md 9 claims for
seeded:tiny.

    python selfcheck.py

The loops use Python numbers only and are written apart from oracle.py and seeded.py.
"""

import math
import pathlib
import struct
import tempfile
import time

import numpy as np

import checkpoint as checkpoints
import oracle
import seeded
import tensors

IMAGE, BREAK, END = 10, 14, 15


def single(x):
    """The float64 x rounded to float32."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def seeded_value(seed, name, n, offset, scale):
    """Model.md 9.1 to 9.4 with Python numbers."""
    h = 0xCBF29CE484222325
    for byte in f"{seed}:{name}".encode("utf-8"):
        h ^= byte
        h = h * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    k0, k1, mask = h & 0xFFFFFFFF, h >> 32, 0xFFFFFFFF
    x = n ^ k0
    x = x ^ (x >> 16)
    x = (x * 0x85EBCA6B + k1) & mask
    x = x ^ (x >> 13)
    x = x * 0xC2B2AE35 & mask
    x = x ^ (x >> 16)
    m = (x >> 8) - 2**23
    step = single(scale) * 2.0**-23
    w = single(offset + single(m * step))  # both exact in float64 before they are rounded
    if w == 0:
        return 0.0
    fraction, exponent = math.frexp(w)  # 0.5 <= |fraction| < 1; bfloat16 keeps 8 bits of it
    return math.ldexp(round(fraction * 256), exponent - 8)  # round() takes halves to even


def check_seeded():
    tiny = seeded.SeededCheckpoint(seeded.TINY)
    large = seeded.SeededCheckpoint(seeded.PIXTRAL_LARGE)
    cases = [
        (tiny, "norm.weight", 1, 0.5),
        (tiny, "layers.2.attention.wq.weight", 0, 1.5 * math.sqrt(3 / 80)),
        (tiny, "layers.2.attention.wo.weight", 0, 1.5 * math.sqrt(3 / 120) / math.sqrt(6)),
        (
            tiny,
            "vision_encoder.transformer.layers.1.feed_forward.w2.weight",
            0,
            1.5 * math.sqrt(3 / 144) / math.sqrt(4),
        ),
        (tiny, "tok_embeddings.weight", 0, math.sqrt(3)),
        (large, "output.weight", 0, 2 * math.sqrt(3 / 12288)),
        (large, "vision_encoder.patch_conv.weight", 0, math.sqrt(3 / 768)),
    ]
    for source, name, offset, scale in cases:
        tensor = source.tensor(name)
        stop = tensor.count
        start = max(0, stop - 40000)  # spans a border between chunks
        bits = tensor.bits(start, stop)
        values = tensors.bfloat16_to_float32(bits)
        for n in range(start, stop, 1 if stop - start < 100 else 7):
            assert float(values[n - start]) == seeded_value(2411, name, n, offset, scale), (name, n)
    rows = tiny.rows("layers.0.attention.wk.weight", 3, 9)
    assert np.array_equal(rows, tiny.rows("layers.0.attention.wk.weight", 0, 40)[3:9])
    print("seeded function: equal to the loop")


def tiny_request(grids, text, rng):
    """Images of noise with smooth parts, and a prompt that holds them."""
    pixels, tokens = [], [1]
    for rows, columns in grids:
        coarse = rng.normal(size=(3, rows, columns)).repeat(16, axis=1).repeat(16, axis=2)
        pixels.append((coarse + 0.5 * rng.normal(size=coarse.shape)).astype(np.float32))
        for row in range(rows):
            tokens += [IMAGE] * columns + [END if row == rows - 1 else BREAK]
    tokens += [int(t) for t in rng.integers(1000, 32768, size=text - 1)]
    return tokens, pixels


def run(source, tokens, pixels):
    taps = {}
    names = oracle.tap_names(source.params, bool(pixels))
    oracle.forward(source, tokens, pixels, oracle.Trace(taps.__setitem__, names))
    assert list(taps) == names, "the taps did not come in the order of tap_names"
    return taps


def close(a, b, what):
    assert math.isclose(a, b, rel_tol=1e-11, abs_tol=1e-11), (what, a, b)


def check_attention(taps, tap, row, heads, kv_heads, d, angle, sees):
    """One row of one layer, from q and k to the context. angle(row, pair), sees(row, other row)."""
    q, k, v = (taps[tap + "attention." + letter].tolist() for letter in "qkv")
    n = len(q)

    def rotated(x, at, head):
        out = []
        for i in range(d // 2):
            z = complex(x[at][head * d + 2 * i], x[at][head * d + 2 * i + 1])
            t = angle(at, i)
            z *= complex(math.cos(t), math.sin(t))
            out += [z.real, z.imag]
        return out

    for h in range(heads):
        g = h * kv_heads // heads
        qr = rotated(q, row, h)
        for c in range(d):
            close(qr[c], taps[tap + "attention.q_rotated"][row, h * d + c], "q_rotated")
        raised, total, context = [], 0.0, [0.0] * d
        for j in range(n):
            score = taps[tap + "attention.scores"][row, h * n + j]
            if not sees(row, j):
                assert score == -math.inf and taps[tap + "attention.weights"][row, h * n + j] == 0
                raised.append(0.0)
                continue
            kr = rotated(k, j, g)
            for c in range(d):
                close(kr[c], taps[tap + "attention.k_rotated"][j, g * d + c], "k_rotated")
            s = sum(a * b for a, b in zip(qr, kr)) / d**0.5
            close(s, score, "scores")
            raised.append(math.exp(s))
            total += raised[-1]
        for j in range(n):
            close(raised[j] / total, taps[tap + "attention.weights"][row, h * n + j], "weights")
            for c in range(d):
                context[c] += raised[j] / total * v[j][g * d + c]
        for c in range(d):
            close(context[c], taps[tap + "attention.context"][row, h * d + c], "context")


def check_forward():
    """Two images in one prompt, so that the border between them shows."""
    params = {**seeded.TINY, "vision_encoder": {**seeded.TINY["vision_encoder"], "adapter_bias": True}}
    source = seeded.SeededCheckpoint(params)
    tokens, pixels = tiny_request([(3, 2), (2, 4)], 12, np.random.default_rng(1))
    taps = run(source, tokens, pixels)

    places = [(r, c) for r in range(3) for c in range(2)] + [(r, c) for r in range(2) for c in range(4)]
    f = [1e4 ** (-2 * j / 12) for j in range(6)]

    def vision_angle(patch, i):
        row, column = places[patch]
        return row * f[2 * i] if i < 3 else column * f[2 * (i - 3) + 1]

    def decoder_angle(position, i):
        return position * 1e6 ** (-2 * i / 20)

    for row in (5, 10):
        check_attention(
            taps, "vision.layers.1.", row, 5, 5, 12, vision_angle, lambda i, j: (i < 6) == (j < 6)
        )
    for row in (0, 17):
        check_attention(taps, "decoder.layers.2.", row, 6, 2, 20, decoder_angle, lambda i, j: j <= i)

    def dot(name, out, x):
        return sum(a * b for a, b in zip(source.rows(name, out, out + 1)[0].tolist(), x))

    # One patch: the last of the first image, at row 2, column 1; one value of patch_conv.
    weight = source.rows("vision_encoder.patch_conv.weight", 7, 8)[0].tolist()
    total, place = 0.0, 0
    for channel in range(3):
        for y in range(16):
            for x in range(16):
                total += weight[place] * float(pixels[0][channel, 32 + y, 16 + x])
                place += 1
    close(total, taps["vision.patch_conv"][5, 7], "patch_conv")

    # One row through norm, feed-forward and adapter.
    x = taps["vision.patch_conv"][13].tolist()
    root = math.sqrt(sum(a * a for a in x) / 60 + 1e-5)
    norm = source.rows("vision_encoder.ln_pre.weight", 0, 60).tolist()
    for c in range(60):
        close(x[c] / root * norm[c], taps["vision.ln_pre"][13, c], "ln_pre")
    tap, part = "decoder.layers.1.", "layers.1."
    normed = taps[tap + "ffn_norm"][4].tolist()
    hidden = []
    for c in range(208):
        gate = dot(part + "feed_forward.w1.weight", c, normed)
        up = dot(part + "feed_forward.w3.weight", c, normed)
        hidden.append(gate * up / (1 + math.exp(-gate)))
        close(hidden[-1], taps[tap + "feed_forward.hidden"][4, c], "hidden")
    for c in range(0, 80, 9):
        fed = dot(part + "feed_forward.w2.weight", c, hidden)
        out = (
            taps["decoder.layers.0.output"][4, c]
            + dot(part + "attention.wo.weight", c, taps[tap + "attention.context"][4].tolist())
            + fed
        )
        close(out, taps[tap + "output"][4, c], "output")
    inner = []
    bias = source.rows("vision_language_adapter.w_in.bias", 0, 80).tolist()
    for c in range(80):
        y = (
            dot("vision_language_adapter.w_in.weight", c, taps["vision.layers.1.output"][6].tolist())
            + bias[c]
        )
        inner.append(y * math.erfc(-y / math.sqrt(2)) / 2)
        close(inner[-1], taps["adapter.gelu"][6, c], "gelu")
    bias = source.rows("vision_language_adapter.w_out.bias", 0, 80).tolist()
    image_rows = [t for t, token in enumerate(tokens) if token == IMAGE]
    for c in range(0, 80, 7):
        y = dot("vision_language_adapter.w_out.weight", c, inner) + bias[c]
        close(y, taps["decoder.embeddings"][image_rows[6], c], "embeddings")
    after = image_rows[-1] + 1
    assert tokens[after] == END
    assert np.array_equal(
        taps["decoder.embeddings"][after], source.rows("tok_embeddings.weight", END, END + 1)[0]
    )
    for c in (0, 5, 32767):
        close(dot("output.weight", c, taps["decoder.norm"][-1].tolist()), taps["logits"][-1, c], "logits")
    print("forward pass: equal to the loops")

    # The same through folders: every dtype here holds the values that matter exactly or almost.
    with tempfile.TemporaryDirectory() as folder:
        for dtype, shards, tolerance in (
            ("BF16", 1, 0),
            ("BF16", 4, 0),
            ("F32", 2, 0),
            ("F64", 1, 0),
            ("F16", 1, 1e-3),
        ):
            target = pathlib.Path(folder) / f"{dtype}-{shards}"
            checkpoints.write_checkpoint(source, target, dtype, shards)
            opened = checkpoints.open_checkpoint(target)
            assert len(list(target.glob("*.safetensors"))) == shards
            again = run(opened, tokens, pixels)
            worst = np.abs(again["logits"] - taps["logits"]).max()
            assert worst <= tolerance, (dtype, shards, worst)
    print("folders: equal logits from BF16, F32, F64, sharded or not; F16 within 1e-3")

    for wrong in (tokens[2:], tokens + [IMAGE], []):
        try:
            oracle.check(source, wrong, pixels)
        except AssertionError as refusal:
            print("refused, as it should:", refusal)
        else:
            raise AssertionError("not refused")


def rms(x):
    return math.sqrt(np.mean(x * x))


def statistics(source, grids, text):
    tokens, pixels = tiny_request(grids, text, np.random.default_rng(2))
    start = time.time()
    taps = run(source, tokens, pixels)
    print(f"\nseeded:tiny, images {grids}, {len(tokens)} tokens: {time.time() - start:.2f} s with all taps")
    short = [name for name in oracle.LAYER_TAPS if name not in oracle.ON_DEMAND]
    for part, layers, heads in (("vision", 2, 5), ("decoder", 3, 6)):
        print(f"RMS of {part} taps, by layer")
        for tap in short:
            print(f"  {tap:24}", *(f"{rms(taps[f'{part}.layers.{n}.{tap}']):7.3f}" for n in range(layers)))
        for n in range(layers):
            scores = taps[f"{part}.layers.{n}.attention.scores"]
            rows = scores.shape[0]
            weights = taps[f"{part}.layers.{n}.attention.weights"].reshape(rows, heads, rows)
            seen = np.isfinite(scores[:, :rows]).sum(axis=1)  # keys a row sees
            deviation = scores[np.isfinite(scores)].std()
            print(
                f"  layer {n}: scores deviate {deviation:.2f}; mean largest weight {weights.max(axis=2).mean():.3f}, "
                f"uniform would be {np.mean(1 / seen):.3f}; over rows with 30 keys or more: "
                + (
                    f"{weights[seen >= 30].max(axis=2).mean():.3f} against {np.mean(1 / seen[seen >= 30]):.3f}"
                    if (seen >= 30).any()
                    else "none"
                )
            )
    print("RMS of the others")
    for name, matrix in taps.items():
        if ".layers." not in name:
            print(f"  {name:24} {rms(matrix):7.3f}")


def main():
    check_seeded()
    check_forward()
    statistics(seeded.SeededCheckpoint(seeded.TINY), [(5, 3)], 40)


if __name__ == "__main__":
    main()
