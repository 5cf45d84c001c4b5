"""The oracle in any arithmetic, with any of five legal schedules of rounding.

    rounding = Rounding("bfloat16", "steps")
    with rounding.around():
        ...  # oracle.linear, oracle.rms_norm, … round now

An arithmetic is what a runtime multiplies in: float64, float32, tf32 (float32, the factors of products
rounded to 10 bits of mantissa), float16, bfloat16. Values of 16 bits are held in float32. A schedule
says where results are rounded. All of these are Pixtral; none is a mistake:

    once     each operation in float64, its result rounded once; sums of products in float32
    steps    every elementary step (square, mean, root, exp, quotient, …) rounded, rotary tables too
    fused    operations in float32. The result of a product is rounded behind its neighbour (rotation,
             SwiGLU, the residual's sum), not before
    split    as once, and the sum of a product in 8 parts, each rounded, added with rounding
    blocks   as once, and attention over 32 keys at a time, with a running maximum

The oracle's own lines compute in all of them, but for attention in blocks: they are given arrays
that round. An array of `Value` leaves results as they are, one of its subclass `Closed` rounds the result
of every step, whoever the other is; so sums between operations (the residual's, a bias') are rounded
too. A value is *open* while it is wider than the arithmetic.
"""

import contextlib
import functools
import inspect
import math

import numpy as np
import oracle
from checkpoint import row_blocks

import faults

ARITHMETICS = ("float64", "float32", "tf32", "float16", "bfloat16")
SCHEDULES = ("once", "steps", "fused", "split", "blocks")
PARTS, KEYS = 8, 32


# Rounding to the nearest, halves to even


def without_bits(x, count):
    """float32 without the last `count` bits of its mantissa."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    bits = x.view(np.uint32)
    half = np.uint32((1 << (count - 1)) - 1) + ((bits >> np.uint32(count)) & np.uint32(1))
    rounded = (bits + half) & np.uint32(0xFFFFFFFF << count & 0xFFFFFFFF)
    return np.where(np.isnan(x), x, rounded.view(np.float32))


def to_float16(x):
    with np.errstate(over="ignore"):  # what is too large is infinite
        return x.astype(np.float16).astype(np.float32)


def same(x):
    return x


ROUNDED = {
    "float64": lambda x: x.astype(np.float64),
    "float32": lambda x: x.astype(np.float32),
    "tf32": lambda x: x.astype(np.float32),
    "float16": to_float16,
    "bfloat16": lambda x: without_bits(x, 16),
}


# Arrays that round


class Value(np.ndarray):
    """An open array: what is computed with it is not rounded, but for the factors of products."""

    step, factor = staticmethod(same), staticmethod(same)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        inputs = [plain(x) for x in inputs]
        if ufunc is np.matmul:
            inputs = [self.factor(x) for x in inputs]
        result = getattr(ufunc, method)(*inputs, **options)
        if isinstance(result, np.ndarray) and result.dtype.kind == "f":
            result = self.step(result)
        if out:
            out[0][...] = result
            return out[0]
        return result.view(type(self)) if isinstance(result, np.ndarray) else result


def plain(x):
    return x.view(np.ndarray) if isinstance(x, Value) else x


class Rounding:
    """An arithmetic and a schedule: the oracle's operations, as they compute there."""

    def __init__(self, arithmetic="float64", schedule="once"):
        self.arithmetic, self.schedule = arithmetic, schedule
        self.rounded = ROUNDED[arithmetic]
        factor = (lambda x: without_bits(x, 13)) if arithmetic == "tf32" else same

        class Open(Value):
            pass

        class Closed(Open):  # a subclass: where both meet, NumPy asks it
            pass

        Open.factor = Closed.factor = staticmethod(factor)
        Closed.step = staticmethod(self.rounded)
        self.Open, self.Closed = Open, Closed

    def closed(self, x):
        """x rounded to the arithmetic; steps with it round."""
        return self.rounded(plain(np.asarray(x))).view(self.Closed)

    def opened(self, x):
        """x in the width that operations compute in; steps with it do not round."""
        single = self.schedule == "fused" and self.arithmetic != "float64"
        return plain(x).astype(np.float32 if single else np.float64).view(self.Open)

    def inner(self, x):
        """x as the steps of an operation take it."""
        return self.closed(x) if self.schedule == "steps" else self.opened(x)

    # The operations of Model.md 3

    def linear(self, x, checkpoint, name):
        x, shape = plain(self.closed(x)), checkpoint.shapes[name]
        result = np.empty((len(x), shape[0]), x.dtype)
        for start, stop in row_blocks(shape):
            w = plain(self.closed(checkpoint.rows(name, start, stop)))
            result[:, start:stop] = self.product(x, w)
        return result.view(self.Open) if self.schedule == "fused" else self.closed(result)

    def product(self, x, w):
        """x [n, in] times the transpose of w [out, in]; the sums are of the carrier's width."""
        x, w = self.Closed.factor(x), self.Closed.factor(w)
        if self.schedule != "split":
            return x @ w.T
        parts = zip(np.array_split(x, PARTS, axis=1), np.array_split(w, PARTS, axis=1), strict=True)
        return sum(self.closed(a @ b.T) for a, b in parts)

    def rms_norm(self, x, weight, eps, *, right=oracle.rms_norm):
        return self.closed(right(self.inner(x), self.inner(weight), eps))

    def rotate(self, x, angles, heads, *, right=oracle.rotate):
        tables = angles.view(self.Closed if self.schedule == "steps" else self.Open)
        return self.closed(right(self.inner(x), tables, heads))

    def attention(self, q, k, v, *rest, right=oracle.attention):
        q, k, v = (self.inner(self.closed(x)) for x in (q, k, v))
        return self.closed((self.in_blocks if self.schedule == "blocks" else right)(q, k, v, *rest))

    def in_blocks(self, q, k, v, heads, kv_heads, sees, trace, prefix):
        """Attention in parts: a maximum, a sum and a context go from block to block, and are corrected
        where the maximum rises. Weights are rounded before they are divided by their sum. No scores
        or weights are traced.
        """
        d = q.shape[1] // heads
        context = np.empty_like(q)
        for h in range(heads):
            g = h // (heads // kv_heads)
            own, shared = slice(h * d, (h + 1) * d), slice(g * d, (g + 1) * d)
            top = np.full((len(q), 1), -np.inf)
            total, sums = 0.0, 0.0
            for start in range(0, len(k), KEYS):
                keys = slice(start, start + KEYS)
                scores = q[:, own] @ k[keys, shared].T / math.sqrt(d)
                scores[~sees[:, keys]] = -np.inf
                higher = np.maximum(top, plain(scores).max(axis=1, keepdims=True))
                finite = np.maximum(higher, np.finfo(np.float64).min)  # a row may have seen nothing so far
                weights, fade = np.exp(plain(scores) - finite), np.exp(top - finite)
                total = total * fade + weights.sum(axis=1, keepdims=True)
                sums = sums * fade + plain(self.closed(weights).view(self.Open) @ v[keys, shared])
                top = higher
            context[:, own] = sums / total
        return context

    def silu(self, x, *, right=oracle.silu):
        """Open: what it is multiplied with closes it."""
        return right(self.inner(x))

    def gelu(self, x, *, right=oracle.gelu):
        return self.closed(right(self.inner(x)))

    def embeddings(self, *arguments, right=oracle.embeddings):
        return self.closed(right(*arguments))

    # The oracle with all of them

    @contextlib.contextmanager
    def around(self, wrong=None):
        """The oracle in this arithmetic for a while; `wrong` has functions in the place of its own, as
        faults.py writes them. One that calls the right function gets the one that rounds.
        """
        wrong = wrong or {}
        functions = {}
        if self.arithmetic != "float64" or self.schedule not in ("once", "steps"):
            names = ("linear", "rms_norm", "rotate", "attention", "silu", "gelu", "embeddings")
            functions = {name: getattr(self, name) for name in names}
        for name, function in wrong.items():
            functions[name] = self.rounding(function, functions[name]) if name in functions else function
        with faults.patched(**functions):
            yield

    def rounding(self, wrong, right):
        """A function with a mistake, in this arithmetic."""
        if "plain" in inspect.signature(wrong).parameters:
            return functools.partial(wrong, plain=right)

        def function(*arguments):
            return self.closed(
                wrong(
                    *(
                        self.opened(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
                        for x in arguments
                    )
                )
            )

        return function
