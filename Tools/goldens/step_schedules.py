"""Right runs of a step: any stage of Docs/Conformance.md in PyTorch, in any arithmetic and with any of the
legal rounding schedules, or another schedule for each operation.

Operations and schedules are those of full_schedules.py. Five more are here:

  library       PyTorch's own operations, as transformers calls them
  permuted      the terms of each sum in another order
  libm          results of norm, rotation, SwiGLU and GELU off by up to two units in the last place, as
                libraries' roots, exp, erf, sin and cos are
  erfc          GELU as x · erfc(−x/√2) / 2; other forms of GELU are in `steps`
  erf           GELU as x · (1 + erf(x/√2)) / 2 with an erf that is ERF_OFF from the right one, each element
                the way that moves it more. For negative x the sum cancels, and how far a library's erf is
                off there depends on the processor, so `library` alone does not say what right runs do. Not
                in NAMES: a random run does not take it, and only GELU has it (WORSE)

Angles are computed in float64, or in float32 in one of three ways, as runtimes do. (None of these is
used in float64.) `witness` computes the same in float64 by PyTorch's operations only.
"""

import math

import torch
import torch.nn.functional as F
from full_schedules import DTYPES, Run, Schedule
from full_weights import Part

NAMES = {
    "float64": ("steps", "split", "blocks", "library", "permuted", "libm"),
    "float32": ("once", "steps", "fused", "split", "blocks", "serial", "library", "permuted", "libm", "erfc"),
    "tf32": ("once", "steps", "fused", "split", "blocks", "permuted", "libm"),
    "float16": ("once", "steps", "fused", "split", "blocks", "narrow-sums", "library", "permuted", "erfc"),
    "bfloat16": ("once", "steps", "fused", "split", "blocks", "library", "permuted", "erfc"),
}
# What stages with a GELU are measured in besides, and in which arithmetics.
WORSE = {stage: {"float32": ("erf",), "tf32": ("erf",)} for stage in ("gelu", "adapter")}
ERF_OFF = 2.0**-23  # an ulp of 1
ANGLES = ("float64", "power", "exponential", "iterated")
LAYER = ("attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo",
         "ffn_norm", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2")  # fmt: skip


def fixed(arithmetic, name, seed=1):
    """Each operation in one schedule."""
    angles = "power" if name == "library" and arithmetic != "float64" else "float64"
    return StepRun(arithmetic, lambda: name, angles, torch.Generator().manual_seed(seed))


def mixed(arithmetic, random):
    """Each operation in a random schedule."""
    names = NAMES[arithmetic]
    angles = ANGLES if arithmetic != "float64" else ANGLES[:1]
    return StepRun(arithmetic, lambda: chosen(random, names), chosen(random, angles), random)


def chosen(random, options):
    return options[torch.randint(len(options), (1,), generator=random)]


def gelu_by_worse_erf(x):
    """GELU of x (float32) in float32. An erf of ±1 stays as it is, as it does in libraries, and none is beyond it."""
    exact = torch.erf(x.double() * math.sqrt(0.5))
    nearest = exact.to(x.dtype)
    options = []
    for off in (-ERF_OFF, ERF_OFF):
        erf = torch.where(nearest.abs() < 1, (nearest.double() + off).to(x.dtype).clamp(-1, 1), nearest)
        options.append(x * (1 + erf) * 0.5)
    low, high = ((y.double() - x.double() * (1 + exact) / 2).abs() for y in options)
    return torch.where(low > high, *options)


def frequencies(theta, d, how):
    """theta^(−2i / d), d / 2 of them."""
    i = torch.arange(0, d, 2, dtype=torch.float64 if how == "float64" else torch.float32)
    if how == "power":
        return 1 / theta ** (i / d)
    if how == "exponential":
        return torch.exp(-(i / d) * math.log(theta))
    if how == "iterated":
        return torch.cumprod(torch.full_like(i, theta ** (-2 / d)), 0) / torch.tensor(theta ** (-2 / d))
    return theta ** (-i / d)


class StepRun(Run):
    """- pick: names the schedule of the next operation; angles: how angles are computed."""

    def __init__(self, arithmetic, pick, angles, random):
        self.arithmetic, self.dtype, self.pick, self.angles = arithmetic, DTYPES[arithmetic], pick, angles
        self.emulated, self.device, self.random = arithmetic == "tf32", torch.device("cpu"), random
        self.name = "once"

    @property
    def schedule(self):
        name = dict.fromkeys(("erfc", "erf", "permuted", "library", "libm"), "once").get(self.name, self.name)
        return Schedule(self.arithmetic, name)

    @property
    def inner(self):
        return self.schedule.inner

    # Operations

    def norm(self, x, w, eps):
        self.name = self.pick()
        if self.name == "library" and not self.emulated:
            x, w = x.to(self.dtype), w.to(self.dtype)
            return F.rms_norm(x, w.shape, w, eps), 1
        x, root = super().norm(x, w, eps)
        return self.by_library(x), root

    def linear(self, x, w, bias=None):
        self.name = self.pick()
        x, w = x.to(self.dtype), w.to(self.dtype)
        if self.name == "permuted":
            order = torch.randperm(x.shape[1], generator=self.random)
            y = self.product(x[:, order], w[:, order])
        elif self.name == "library":
            y = F.linear(x, w)
        else:
            y = super().linear(x, w)
        if bias is None:
            return y
        return y + bias.to(y.dtype)

    def rotated(self, x, angles, heads):
        self.name = self.pick()
        if self.name == "library":
            cos, sin = (table.to(self.dtype)[:, None] for table in (angles.cos(), angles.sin()))
            a, b = x.to(self.dtype).reshape(len(x), heads, -1, 2).unbind(-1)
            return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).reshape(x.shape)
        return self.by_library(super().rotated(x, angles, heads))

    def context(self, part, q, k, v, sees):
        self.name = self.pick()
        if self.name == "library":
            q, k, v = self.by_head(part, q, k, v)
            context = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=sees)[0]
            return context.transpose(0, 1).reshape(len(sees), -1)
        compute = self.attention_in_blocks if self.name == "blocks" else self.attention
        return compute(part, q, k, v, sees)

    def swiglu(self, gate, up):
        self.name = self.pick()
        if self.name == "library":
            return F.silu(gate.to(self.dtype)) * up.to(self.dtype)
        return self.by_library(super().swiglu(gate.to(self.inner), up.to(self.inner)))

    def gelu(self, x):
        """Several forms of the exact one are in use."""
        self.name = self.pick()
        if self.name in ("library", "erfc"):
            x = x.to(self.dtype)
            return F.gelu(x) if self.name == "library" else x * torch.erfc(-x / math.sqrt(2)) / 2
        if self.name == "erf":
            return gelu_by_worse_erf(x.to(self.dtype))
        x = x.to(self.inner)
        if self.name == "steps" and torch.randint(2, (1,), generator=self.random):
            return x * (0.5 * (1 + torch.erf(x * math.sqrt(0.5))))
        return self.by_library(super().gelu(x))

    def by_library(self, x):
        if self.name != "libm":
            return x
        off = torch.rand(x.shape, generator=self.random, dtype=torch.float64) * 2 - 1
        return (x.double() * (1 + 2 * torch.finfo(self.dtype).eps * off)).to(x.dtype)

    def token_angles(self, parameters, positions):
        f = frequencies(parameters["theta"], parameters["head_dim"], self.angles)
        return torch.tensor(list(positions))[:, None].to(f.dtype) * f

    def patch_angles(self, parameters):
        f = frequencies(parameters["theta"], parameters["head_dim"], self.angles)
        places = places_of(parameters).to(f.dtype)
        return torch.cat([places[:, :1] * f[0::2], places[:, 1:] * f[1::2]], dim=1)

    # Stages: parameters, and tensors in float64

    def step(self, stage, parameters, tensors):
        output = getattr(self, f"step_{stage}")(parameters, {n: t.to(self.dtype) for n, t in tensors.items()})
        return self.closed(output)

    def step_rms_norm(self, parameters, t):
        return self.whole_norm(t["x"], t["norm.weight"], parameters["eps"])

    def step_rotary(self, parameters, t):
        return self.rotated(
            t["x"], self.token_angles(parameters, parameters["positions"]), parameters["heads"]
        )

    def step_rotary_2d(self, parameters, t):
        return self.rotated(t["x"], self.patch_angles(parameters), parameters["heads"])

    def step_attention(self, parameters, t):
        sees = seen(parameters["segments"], parameters["causal"], len(t["q"]))
        return self.context(part_of(parameters), t["q"], t["k"], t["v"], sees)

    def step_silu_product(self, parameters, t):
        return self.swiglu(t["gate"], t["up"])

    def step_gelu(self, parameters, t):
        return self.gelu(t["x"])

    def step_patch_conv(self, parameters, t):
        w = t["patch_conv.weight"]
        return self.linear(flat_patches(t, parameters["patch_size"]), w.flatten(1))

    def step_vision_layer(self, parameters, t):
        segments = [grid["rows"] * grid["columns"] for grid in parameters["grids"]]
        sees = seen(segments, False, len(t["x"]))
        return self.whole_layer(parameters, t, sees, self.patch_angles(parameters))

    def step_decoder_layer(self, parameters, t, past=None):
        first = len(past[0]) if past else 0
        count = len(t["x"])
        sees = seen([first + count], True, count)
        angles = self.token_angles(parameters, range(first, first + count))
        return self.whole_layer(parameters, t, sees, angles, past)

    def step_prefill(self, parameters, t):
        return self.step_decoder_layer(parameters, t, (t["k_rotated"], t["v"]))

    def step_adapter(self, parameters, t):
        x = self.linear(t["x"], t["w_in.weight"], t.get("w_in.bias"))
        x = self.closed(self.gelu(x))
        return self.linear(x, t["w_out.weight"], t.get("w_out.bias"))

    def step_splice(self, parameters, t):
        tokens = torch.tensor(parameters["tokens"])
        x = t["tok_embeddings.weight"][tokens]
        if "image_rows" in t:
            x[tokens == parameters["image_token_id"]] = t["image_rows"]
        return x

    def step_head(self, parameters, t):
        x = self.whole_norm(t["x"], t["norm.weight"], parameters["eps"])
        return self.linear(x, t["output.weight"])

    def whole_layer(self, parameters, t, sees, angles, past=None):
        """Model.md 3.6."""
        part, eps, heads = part_of(parameters), parameters["eps"], parameters["heads"]
        x, root = self.norm(t["x"], t["attention_norm.weight"], eps)
        q, k, v = (self.linear(x, t[f"attention.{name}.weight"]) * root for name in ("wq", "wk", "wv"))
        q = self.closed(self.rotated(q, angles, heads))
        k = self.closed(self.rotated(k, angles, parameters.get("kv_heads", heads)))
        v = self.closed(v)
        if past:
            k, v = torch.cat([past[0], k]), torch.cat([past[1], v])
        context = self.closed(self.context(part, q, k, v, sees))
        residual = self.closed(t["x"] + self.linear(context, t["attention.wo.weight"]))
        x, root = self.norm(residual, t["ffn_norm.weight"], eps)
        gate, up = (self.linear(x, t[f"feed_forward.{name}.weight"]) * root for name in ("w1", "w3"))
        hidden = self.closed(self.swiglu(gate, up))
        return residual + self.linear(hidden, t["feed_forward.w2.weight"])


def part_of(parameters):
    heads, d = parameters["heads"], parameters["head_dim"]
    return Part("", "", 0, 1, heads, parameters.get("kv_heads", heads), d, 0, 0.0)


def places_of(parameters):
    return torch.tensor([(row, column) for grid in parameters["grids"]
                         for row in range(grid["rows"]) for column in range(grid["columns"])])  # fmt: skip


def seen(segments, causal, queries):
    keys = sum(segments)
    number = torch.repeat_interleave(torch.arange(len(segments)), torch.tensor(segments))
    sees = number[:, None] == number[None, :]
    return (sees.tril() if causal else sees)[keys - queries :]


def images_of(t):
    return [t[f"image{n}"] for n in range(sum(name.startswith("image") for name in t))]


def flat_patches(t, p):
    """[patches, C·p·p], each in the order channel, y, x."""
    rows = [image.unfold(1, p, p).unfold(2, p, p).permute(1, 2, 0, 3, 4) for image in images_of(t)]
    return torch.cat([x.reshape(-1, x.shape[2] * p * p) for x in rows])


# The witness: float64 by PyTorch's operations, with rotation as complex numbers, convolution, and attention an
# image at a time


def witness(stage, parameters, t):
    return WITNESSES[stage](parameters, t)


def turned(x, angles, heads):
    pairs = torch.view_as_complex(x.reshape(len(x), heads, -1, 2).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None]).reshape(x.shape)


def angles_1d(p, positions):
    f = torch.pow(
        torch.tensor(p["theta"], dtype=torch.float64),
        -torch.arange(0, p["head_dim"], 2).double() / p["head_dim"],
    )
    return torch.outer(torch.tensor(list(positions), dtype=torch.float64), f)


def angles_2d(p):
    f = torch.pow(
        torch.tensor(p["theta"], dtype=torch.float64),
        -torch.arange(0, p["head_dim"], 2).double() / p["head_dim"],
    )
    return torch.cat([torch.cat([torch.outer(torch.arange(g["rows"]).double(), f[::2])[:, None].expand(-1, g["columns"], -1),
                                 torch.outer(torch.arange(g["columns"]).double(), f[1::2])[None].expand(g["rows"], -1, -1)], -1)
                      .flatten(0, 1) for g in p["grids"]])  # fmt: skip


def attended(p, q, k, v, segments, causal):
    """A segment at a time; the queries are the last of the keys' positions."""
    heads, kv_heads = p["heads"], p.get("kv_heads", p["heads"])
    first, start, parts = len(k) - len(q), 0, []
    for length in segments:
        end = start + length
        if end > first:
            low = max(start, first)
            own = [x.unflatten(1, (n, -1)).transpose(0, 1)[None]
                   for x, n in ((q[low - first : end - first], heads), (k[start:end], kv_heads), (v[start:end], kv_heads))]  # fmt: skip
            mask = torch.ones(end - low, length, dtype=torch.bool).tril(low - start) if causal else None
            parts.append(F.scaled_dot_product_attention(*own, attn_mask=mask, enable_gqa=True)[0])
        start = end
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts])


def whole_layer(p, t, angles, segments, causal, past=None):
    kv_heads, x = p.get("kv_heads", p["heads"]), t["x"]
    n = F.rms_norm(x, x.shape[1:], t["attention_norm.weight"], p["eps"])
    q, k, v = (F.linear(n, t[f"attention.{name}.weight"]) for name in ("wq", "wk", "wv"))
    q, k = turned(q, angles, p["heads"]), turned(k, angles, kv_heads)
    if past:
        k, v = torch.cat([past[0], k]), torch.cat([past[1], v])
    h = x + F.linear(attended(p, q, k, v, segments, causal), t["attention.wo.weight"])
    n = F.rms_norm(h, h.shape[1:], t["ffn_norm.weight"], p["eps"])
    gate, up = (F.linear(n, t[f"feed_forward.{name}.weight"]) for name in ("w1", "w3"))
    return h + F.linear(F.silu(gate) * up, t["feed_forward.w2.weight"])


def whole_adapter(p, t):
    inner = F.gelu(F.linear(t["x"], t["w_in.weight"], t.get("w_in.bias")))
    return F.linear(inner, t["w_out.weight"], t.get("w_out.bias"))


def convolved(p, t):
    images = [F.conv2d(image[None], t["patch_conv.weight"], stride=p["patch_size"]) for image in images_of(t)]
    return torch.cat([image[0].flatten(1).T for image in images])


def spliced(p, t):
    tokens = torch.tensor(p["tokens"])
    x = F.embedding(tokens, t["tok_embeddings.weight"])
    if "image_rows" not in t:
        return x
    return x.masked_scatter((tokens == p["image_token_id"])[:, None], t["image_rows"])


def normed(p, t):
    return F.rms_norm(t["x"], t["x"].shape[1:], t["norm.weight"], p["eps"])


def patches(p):
    return [grid["rows"] * grid["columns"] for grid in p["grids"]]


def filled(p, t):
    first, count = p["position"], len(t["x"])
    angles = angles_1d(p, range(first, first + count))
    return whole_layer(p, t, angles, [first + count], True, (t["k_rotated"], t["v"]))


WITNESSES = {
    "rms_norm": normed,
    "rotary": lambda p, t: turned(t["x"], angles_1d(p, p["positions"]), p["heads"]),
    "rotary_2d": lambda p, t: turned(t["x"], angles_2d(p), p["heads"]),
    "attention": lambda p, t: attended(p, t["q"], t["k"], t["v"], p["segments"], p["causal"]),
    "silu_product": lambda p, t: F.silu(t["gate"]) * t["up"],
    "gelu": lambda p, t: F.gelu(t["x"]),
    "patch_conv": convolved,
    "vision_layer": lambda p, t: whole_layer(p, t, angles_2d(p), patches(p), False),
    "adapter": whole_adapter,
    "splice": spliced,
    "decoder_layer": lambda p, t: whole_layer(p, t, angles_1d(p, range(len(t["x"]))), [len(t["x"])], True),
    "head": lambda p, t: F.linear(normed(p, t), t["output.weight"]),
    "prefill": filled,
}
