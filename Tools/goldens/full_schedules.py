"""Pixtral's operations (Docs/Model.md 3 to 7) in PyTorch, in any arithmetic and with any of the legal
rounding schedules.

An arithmetic is what a runtime multiplies in: float64, float32, TF32 (float32, the factors of products
rounded to 10 bits of mantissa), float16, bfloat16. A schedule says where results are rounded between
two products. All of these are Pixtral; none is a mistake:

  once          each operation (norm, rotation, softmax, SwiGLU, sum) in wider arithmetic, rounded once
  steps         every elementary step (square, mean, root, exp, quotient, …) rounded, in norm and softmax
                too, with rotary tables in the dtype
  fused         neighbours in one kernel, in float32: the norm's root after the product, rotation and
                SwiGLU of products that are not rounded, the residual's sum as well
  split         the sum of a product in 8 parts, each rounded, added in the dtype
  blocks        attention over 64 keys at a time, softmax corrected as it goes
  serial        (float32, up to 128 tokens of the full width) sums of products term by term, as a plain loop makes them. Libraries
                do so for many rows, and cut the sums of few rows into parts, which is up to four times as exact
  narrow-sums   (float16 only) sums of products in float16, rounded every 64 terms, as GPUs can be told to

The schedules of transformers' own modules are in full_transformers.py. In float64, `once` is the truth and
`steps` is the same.

Matrices are [rows, columns]. A value is *open* while it is wider than the dtype.
"""

import math
from dataclasses import dataclass

import torch

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
WIDER = {
    torch.float64: torch.float64,
    torch.float32: torch.float64,
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
}
PARTS, KEYS = 8, 64
TERMS = {"serial": 1, "narrow-sums": 64}  # added at a time


@dataclass(frozen=True)
class Schedule:
    arithmetic: str
    name: str

    @property
    def dtype(self):
        return DTYPES[self.arithmetic]

    def fits(self, count, width):
        """Whether it is run for a prompt of so many tokens, in a decoder so wide."""
        return self.name != "serial" or count * width <= 128 * 12288

    @property
    def inner(self):
        """What operations other than products compute in."""
        if self.name == "once":
            return WIDER[self.dtype]
        return self.dtype if self.name == "steps" or self.dtype.itemsize > 2 else torch.float32

    def set_library(self):
        """Tells PyTorch what its products may do. Its own default lets them add parts in 16 bits."""
        matmul, own = torch.backends.cuda.matmul, self.name.startswith("transformers")
        matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.arithmetic == "tf32"
        matmul.allow_fp16_reduced_precision_reduction = own
        matmul.allow_bf16_reduced_precision_reduction = own


TRUTH = Schedule("float64", "once")


def schedules():
    """All but those of transformers."""
    names = ("once", "steps", "fused", "split", "blocks")
    result = [Schedule(a, name) for a in DTYPES for name in names]
    result += [Schedule("float32", "serial"), Schedule("float16", "narrow-sums")]
    return [s for s in result if s.arithmetic != "float64" or s.name not in ("once", "steps")]


def tf32(x):
    """float32 rounded to 10 bits of mantissa, to the nearest: what a GPU's TF32 makes of a factor."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


# Positions, Model.md 5.3 and 7.3: angles in float64 [rows, head_dim / 2]


def vision_angles(part, grids, device):
    """grids: (rows, columns) of each image."""
    places = torch.tensor([(r, c) for rows, columns in grids for r in range(rows) for c in range(columns)])
    j = torch.arange(part.head_dim // 2, dtype=torch.float64)
    f = part.theta ** (-2 * j / part.head_dim)
    angles = torch.cat([places[:, :1] * f[0::2], places[:, 1:] * f[1::2]], dim=1)
    return angles.to(device)


def decoder_angles(part, count, device):
    i = torch.arange(part.head_dim // 2, dtype=torch.float64)
    return (torch.arange(count)[:, None] * part.theta ** (-2 * i / part.head_dim)).to(device)


# Masks, Model.md 5.4 and 7.4: whether row i sees row j


def same_image(grids, device):
    image = torch.cat([torch.full((r * c,), n) for n, (r, c) in enumerate(grids)]).to(device)
    return image[:, None] == image[None, :]


def causal(count, device):
    return torch.ones(count, count, dtype=torch.bool, device=device).tril()


class Run:
    """One run through the model. Its own results are what it computes on with: `x` is its residual
    stream. `put(tap, matrix)` takes what a tap holds.
    """

    def __init__(self, schedule, model, tokens, images, device):
        self.schedule, self.model = schedule, model
        self.dtype, self.inner = schedule.dtype, schedule.inner
        self.tokens, self.images, self.device = tokens, images, torch.device(device)
        self.emulated = schedule.arithmetic == "tf32" and self.device.type == "cpu"
        p = model.patch
        grids = [(image.shape[1] // p, image.shape[2] // p) for image in images]
        if images:
            self.seen_patches = same_image(grids, device), vision_angles(model.vision, grids, device)
        self.seen_tokens = causal(len(tokens), device), decoder_angles(model.decoder, len(tokens), device)
        self.x = self.adapted = None

    # Stages

    def patches(self, n, weights, put):
        """Model.md 5.1 and 5.2."""
        self.x = torch.cat([self.flat_patches(image) for image in self.images])
        x = self.closed(self.linear(self.x, weights("vision_encoder.patch_conv.weight", self.dtype)))
        put("vision.patch_conv", x)
        self.x = self.whole_norm(x, weights("vision_encoder.ln_pre.weight"), self.model.vision.eps)
        put("vision.ln_pre", self.x)

    def flat_patches(self, image):
        """[C, rows·p, columns·p] as [rows·columns, C·p·p], each in the order channel, y, x."""
        channels, height, width = image.shape
        p = self.model.patch
        tiles = image.reshape(channels, height // p, p, width // p, p).permute(1, 3, 0, 2, 4)
        return tiles.reshape(-1, channels * p * p).to(self.device, self.dtype)

    def vision(self, n, weights, put):
        self.layer(self.model.vision, n, *self.seen_patches, weights, put)

    def adapter(self, n, weights, put):
        """Model.md 6.1, without biases: the seeded models have none."""
        x = self.linear(self.x, weights("vision_language_adapter.w_in.weight", self.dtype))
        put("adapter.w_in", self.closed(x))
        x = self.closed(self.gelu(x.to(self.inner)))
        put("adapter.gelu", x)
        self.adapted = self.closed(
            self.linear(x, weights("vision_language_adapter.w_out.weight", self.dtype))
        )
        put("adapter.w_out", self.adapted)

    def embeddings(self, n, weights, put):
        """Model.md 6.2."""
        self.x = weights.rows("tok_embeddings.weight", self.tokens, self.dtype)
        if self.images:
            marks = torch.tensor(self.tokens, device=self.device) == self.model.image_token
            self.x[marks] = self.adapted
        put("decoder.embeddings", self.x)

    def decoder(self, n, weights, put):
        self.layer(self.model.decoder, n, *self.seen_tokens, weights, put)

    def head(self, n, weights, put):
        """Model.md 7.5."""
        self.x = self.whole_norm(self.x, weights("norm.weight"), self.model.decoder.eps)
        put("decoder.norm", self.x)
        put("logits", self.closed(self.linear(self.x, weights("output.weight", self.dtype))))

    def layer(self, part, n, sees, angles, weights, put):
        """Model.md 3.6."""

        def weight(name, dtype=self.dtype):
            return weights(f"{part.tensors}{n}.{name}.weight", dtype)

        def tap(name, x):
            put(f"{part.taps}{n}.{name}", self.closed(x))

        x, root = self.norm(self.x, weight("attention_norm", torch.bfloat16), part.eps)
        tap("attention_norm", x * root)
        q, k, v = (self.linear(x, weight(f"attention.{name}")) * root for name in ("wq", "wk", "wv"))
        tap("attention.q", q)
        tap("attention.k", k)
        tap("attention.v", v)
        q = self.closed(self.rotated(q, angles, part.heads))
        k = self.closed(self.rotated(k, angles, part.kv_heads))
        tap("attention.q_rotated", q)
        tap("attention.k_rotated", k)
        attention = self.attention_in_blocks if self.schedule.name == "blocks" else self.attention
        context = attention(part, q, k, self.closed(v), sees)
        tap("attention.context", context)
        attended = self.linear(context, weight("attention.wo"))
        tap("attention.output", attended)
        residual = self.closed(self.x + attended)
        tap("residual", residual)

        x, root = self.norm(residual, weight("ffn_norm", torch.bfloat16), part.eps)
        tap("ffn_norm", x * root)
        gate, up = (self.linear(x, weight(f"feed_forward.{name}")) * root for name in ("w1", "w3"))
        tap("feed_forward.gate", gate)
        tap("feed_forward.up", up)
        hidden = self.closed(self.swiglu(gate.to(self.inner), up.to(self.inner)))
        tap("feed_forward.hidden", hidden)
        fed = self.linear(hidden, weight("feed_forward.w2"))
        tap("feed_forward.output", fed)
        self.x = self.closed(residual + fed)
        tap("output", self.x)

    # Operations. Each computes in `inner`, where every step of PyTorch is rounded to that dtype.

    def closed(self, x):
        return x.to(self.dtype)

    def norm(self, x, w, eps):
        """Model.md 3.1 as a factor of the product that follows and what the product is multiplied
        with: 1, but where norm and product are fused.
        """
        x, w = x.to(self.inner), w.to(self.inner)
        mean = (x * x).mean(dim=1, keepdim=True)
        if self.schedule.name == "fused":
            return self.closed(x * w), 1 / torch.sqrt(mean + eps)
        return self.closed(x / torch.sqrt(mean + eps) * w), 1

    def whole_norm(self, x, w, eps):
        x, root = self.norm(x, w, eps)
        return self.closed(x * root)

    def linear(self, x, w):
        """x · wᵀ. The result is open if the schedule is fused."""
        if self.schedule.name == "fused":
            return self.open_product(x, w)
        if self.schedule.name == "split":
            parts = zip(x.chunk(PARTS, dim=1), w.chunk(PARTS, dim=1))
            return sum(self.product(a, b) for a, b in parts)
        if self.schedule.name in TERMS:
            return self.sum_by_terms(x, w, TERMS[self.schedule.name])
        return self.product(x, w)

    def product(self, a, b):
        """a […, n, k] · (b […, m, k])ᵀ, the library's, in the dtype."""
        if self.emulated:
            a, b = tf32(a), tf32(b)
        return a @ b.mT

    def open_product(self, a, b):
        """The same of 16 bits, with its sums in float32 left as they are."""
        if self.dtype.itemsize > 2:
            return self.product(a, b)
        if self.device.type == "cuda" and a.dim() == 2:
            return torch.mm(a, b.mT, out_dtype=torch.float32)
        return a.float() @ b.float().mT

    def sum_by_terms(self, x, w, terms):
        """The sum in the dtype, so many terms at a time."""
        result = self.product(x[:, :terms], w[:, :terms])
        for start in range(terms, x.shape[1], terms):
            result.addmm_(x[:, start : start + terms], w[:, start : start + terms].mT)
        return result

    def rotated(self, x, angles, heads):
        """Model.md 3.2."""
        cos, sin = (table.to(self.inner)[:, None] for table in (angles.cos(), angles.sin()))
        a, b = x.to(self.inner).reshape(len(x), heads, -1, 2).unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).reshape(x.shape)

    def by_head(self, part, q, k, v):
        """Each [heads, rows, head_dim]; a key-value head once for each query head that reads it."""
        q = q.reshape(len(q), part.heads, part.head_dim).transpose(0, 1)
        k, v = (x.reshape(len(x), part.kv_heads, part.head_dim).transpose(0, 1) for x in (k, v))
        times = part.heads // part.kv_heads
        return q, k.repeat_interleave(times, 0), v.repeat_interleave(times, 0)

    def attention(self, part, q, k, v, sees):
        """Model.md 3.3, closed."""
        q, k, v = self.by_head(part, q, k, v)
        scores = self.product(q, k) if self.schedule.name == "steps" else self.open_product(q, k)
        scores = scores.to(self.inner) / math.sqrt(part.head_dim)
        scores.masked_fill_(~sees, -torch.inf)
        scores -= scores.amax(dim=2, keepdim=True)
        weights = scores.exp_()
        weights = self.closed(weights / weights.sum(dim=2, keepdim=True))
        return self.product(weights, v.mT).transpose(0, 1).reshape(sees.shape[0], -1)

    def attention_in_blocks(self, part, q, k, v, sees):
        """The same, with a running maximum, sum and context, which are corrected where the maximum
        rises. Weights are rounded before they are divided by their sum.
        """
        q, k, v = self.by_head(part, q, k, v)
        context = torch.zeros(q.shape, dtype=self.inner, device=q.device)
        total = torch.zeros(*q.shape[:2], 1, dtype=self.inner, device=q.device)
        top = torch.full_like(total, -torch.inf)
        for keys in torch.arange(k.shape[1], device=q.device).split(KEYS):
            scores = self.open_product(q, k[:, keys]).to(self.inner) / math.sqrt(part.head_dim)
            scores.masked_fill_(~sees[:, keys], -torch.inf)
            higher = torch.maximum(top, scores.amax(dim=2, keepdim=True))
            finite = higher.clamp_min(torch.finfo(self.inner).min)  # a row may have seen nothing so far
            weights = (scores - finite).exp_()
            fade = (top - finite).exp_()
            total = total * fade + weights.sum(dim=2, keepdim=True)
            part_of_context = self.open_product(self.closed(weights), v[:, keys].mT)
            context = context * fade + part_of_context.to(self.inner)
            top = higher
        return self.closed(context / total).transpose(0, 1).reshape(sees.shape[0], -1)

    def swiglu(self, gate, up):
        """Model.md 3.4."""
        return gate / (1 + torch.exp(-gate)) * up

    def gelu(self, x):
        """Model.md 3.5."""
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
