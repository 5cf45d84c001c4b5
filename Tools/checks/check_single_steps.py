"""Right single steps are never called far: random steps on random inputs, judged by `pixtral-ref compare`.

    python check_single_steps.py BINARY [--runs 1000] [--wrong 10] [--seed N]

A run is one step of `seeded:tiny` (a norm, a product, a rotation, attention, a sum, …) in a random layer, on
random inputs: of unit scale, small, large, with outliers, with rows of unlike scale; few rows and many.
It is computed here, right, in a random arithmetic and a random legal rounding schedule: those of
Tools/goldens/full_schedules.py, and PyTorch's own operations. `compare` judges it twice:

- alone: the candidate is a file with the step's inputs and its output, the reference the trace of a request
  of as many rows. Its values are others, so the output is far; it is then computed anew from the inputs
  and must not be off by itself.
- by truth: the reference has the output in float64, and the limit is that of the tap. Not so for attention
  with scores beyond 15: its noise grows with them, and the limit holds for the model's, which are below.

A right step that is off by itself or FAR is a false alarm. Wrong steps in float32, on inputs that show
them, must be seen. Exit 1 after a false alarm, or if a fault is seen in fewer than 19 of 20 runs.
"""

import argparse
import collections
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # two runs at a time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
import full_schedules  # noqa: E402
from full_schedules import DTYPES, TRUTH, Run, Schedule  # noqa: E402
from full_weights import MODELS, Part, Weights  # noqa: E402

MODEL = MODELS["seeded:tiny"]
WEIGHTS = Weights(MODEL, "cpu")
BREAK, END = 14, 15
ARITHMETICS = ("float32", "tf32", "float16", "bfloat16")
SCHEDULES = [s for s in full_schedules.schedules() if s.arithmetic in ARITHMETICS]
SCHEDULES += [Schedule(a, "library") for a in ("float32", "float16", "bfloat16")]
LARGEST_SCORE = 15.0  # on the model's cases: 14.8
SCALES = ("unit", "small", "large", "outliers", "outlier columns", "unlike rows")


# Random numbers, all from one generator a run


def integers(random, low, high, count=1):
    """From low to high, both included."""
    return torch.randint(low, high + 1, (count,), generator=random).tolist()


def chosen(random, options):
    return options[integers(random, 0, len(options) - 1)[0]]


def drawn(random, scale, rows, columns):
    """A random matrix in float64."""
    x = torch.randn(rows, columns, generator=random, dtype=torch.float64)
    if scale == "small":
        return x * 0.01
    if scale == "large":
        return x * 30
    if scale == "outliers":
        return torch.where(torch.rand(x.shape, generator=random) < 0.01, x * 50, x)
    if scale == "outlier columns":
        return torch.where(torch.rand(columns, generator=random) < 0.05, x * 30, x)
    if scale == "unlike rows":
        return x * 10 ** (2 * torch.rand(rows, 1, generator=random, dtype=torch.float64) - 1)
    return x


# Prompts, each with a trace of pixtral-ref: what a user has for a reference


class Prompt:
    def __init__(self, random, text, grids=()):
        """- text: how many tokens are none of an image's; grids: rows and columns of each image."""
        self.tokens = [1, *integers(random, 1000, MODEL.vocabulary - 1, text - 1)]
        for rows, columns in grids:
            line = [MODEL.image_token] * columns
            self.tokens += (line + [BREAK]) * (rows - 1) + line + [END]
        p = MODEL.patch
        self.images = [torch.randn(3, r * p, c * p, generator=random) for r, c in grids]
        self.patches = sum(r * c for r, c in grids)

    def trace(self, binary, folder):
        self.folder = folder
        tokens, pixels = folder.with_suffix(".json"), folder.with_suffix(".safetensors")
        tokens.write_text(json.dumps({"tokens": self.tokens}))
        command = [binary, "trace", "--checkpoint", "seeded:tiny", "--tokens", tokens, "--out", folder]
        if self.images:
            save_file({f"image{n}": image for n, image in enumerate(self.images)}, pixels)
            command += ["--pixels", pixels]
        if not self.has_logits:
            command += ["--taps", "!logits"]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def has_logits(self):
        """Of many rows they would be large."""
        return len(self.tokens) <= 80


def prompts(random, binary, folder):
    """Of few rows and of many."""

    def between(low, high):
        return integers(random, low, high)[0]

    lengths = [1, 2, between(3, 9), between(10, 40), between(41, 80), between(150, 400), between(401, 1000)]
    result = [Prompt(random, length) for length in lengths]
    for images, least, most in ((1, 1, 1), (1, 1, 6), (2, 1, 5), (3, 2, 7), (2, 8, 16)):
        grids = [(between(least, most), between(least, most)) for _ in range(images)]
        result.append(Prompt(random, between(1, 9), grids))
    for n, prompt in enumerate(result):
        prompt.trace(binary, folder / f"prompt{n}")
    return result


# Steps


@dataclass(frozen=True)
class Step:
    """An operation of the model, between taps."""

    kind: str
    output: str
    inputs: tuple[str, ...]
    compute: Callable  # of a run, the step and its inputs
    part: Part | None = None
    weight: str = ""
    open: tuple[int, ...] = ()  # which inputs a fused kernel takes as they were before they were stored

    def fits(self, prompt):
        """What needs no image is judged on text, where pixtral-ref need not compute the images."""
        needs_images = self.part != MODEL.decoder or self.output == "decoder.embeddings"
        return bool(prompt.images) == needs_images and (prompt.has_logits or self.output != "logits")


def norm(run, step, x):
    return run.whole_norm(x, WEIGHTS(step.weight), step.part.eps)


def linear(run, step, x):
    return run.linear(x, WEIGHTS(step.weight, run.dtype))


def rotation(run, step, x):
    return run.rotated(x, seen(run, step)[1], heads(step))


def attention(run, step, q, k, v):
    compute = run.attention_in_blocks if run.schedule.name == "blocks" else run.attention
    return compute(step.part, q, k, v, seen(run, step)[0])


def total(run, step, x, y):
    return x + y


def swiglu(run, step, gate, up):
    return run.swiglu(gate.to(run.inner), up.to(run.inner))


def gelu(run, step, x):
    return run.gelu(x.to(run.inner))


def patches(run, step, *images):
    return linear(run, step, torch.cat([run.flat_patches(image) for image in images]))


def splice(run, step, adapted):
    x = WEIGHTS.rows("tok_embeddings.weight", run.tokens, run.dtype)
    x[torch.tensor(run.tokens) == MODEL.image_token] = adapted
    return x


def seen(run, step):
    """Mask and angles."""
    return run.seen_patches if step.part == MODEL.vision else run.seen_tokens


def heads(step):
    return step.part.kv_heads if step.output.endswith("k_rotated") else step.part.heads


def layer_steps(part, n):
    here, last = f"{part.taps}{n}.", f"{part.taps}{n - 1}.output"
    first = "vision.ln_pre" if part == MODEL.vision else "decoder.embeddings"
    x = last if n else first

    def step(output, inputs, compute, weight="", open=()):
        taps = tuple(tap if tap == x else here + tap for tap in inputs)
        weight = weight and f"{part.tensors}{n}.{weight}.weight"
        return Step(output, here + output, taps, compute, part, weight, open)

    yield step("attention_norm", [x], norm, "attention_norm")
    for name in "qkv":
        yield step(f"attention.{name}", ["attention_norm"], linear, f"attention.w{name}")
    for name in "qk":
        yield step(f"attention.{name}_rotated", [f"attention.{name}"], rotation, open=(0,))
    yield step("attention.context", ["attention.q_rotated", "attention.k_rotated", "attention.v"], attention)
    yield step("attention.output", ["attention.context"], linear, "attention.wo")
    yield step("residual", [x, "attention.output"], total, open=(1,))
    yield step("ffn_norm", ["residual"], norm, "ffn_norm")
    yield step("feed_forward.gate", ["ffn_norm"], linear, "feed_forward.w1")
    yield step("feed_forward.up", ["ffn_norm"], linear, "feed_forward.w3")
    yield step("feed_forward.hidden", ["feed_forward.gate", "feed_forward.up"], swiglu, open=(0, 1))
    yield step("feed_forward.output", ["feed_forward.hidden"], linear, "feed_forward.w2")
    yield step("output", ["residual", "feed_forward.output"], total, open=(1,))


def model_steps():
    vision, decoder = MODEL.vision, MODEL.decoder
    last = {part: f"{part.taps}{part.layers - 1}.output" for part in (vision, decoder)}

    def step(output, inputs, compute, part, weight="", open=()):
        return Step(output, output, inputs, compute, part, weight and f"{weight}.weight", open)

    yield step("vision.patch_conv", (), patches, vision, "vision_encoder.patch_conv")
    yield step("vision.ln_pre", ("vision.patch_conv",), norm, vision, "vision_encoder.ln_pre")
    yield step("adapter.w_in", (last[vision],), linear, vision, "vision_language_adapter.w_in")
    yield step("adapter.gelu", ("adapter.w_in",), gelu, vision, open=(0,))
    yield step("adapter.w_out", ("adapter.gelu",), linear, vision, "vision_language_adapter.w_out")
    yield step("decoder.embeddings", ("adapter.w_out",), splice, decoder)
    yield step("decoder.norm", (last[decoder],), norm, decoder, "norm")
    yield step("logits", ("decoder.norm",), linear, decoder, "output")


STEPS = collections.defaultdict(list)  # by kind
for found in [s for p in (MODEL.vision, MODEL.decoder) for n in range(p.layers) for s in layer_steps(p, n)]:
    STEPS[found.kind].append(found)
for found in model_steps():
    STEPS[found.kind].append(found)


def width(tap):
    """The columns of an input."""
    step = next(step for steps in STEPS.values() for step in steps if step.output == tap)
    return WIDTHS[step.kind](step.part)


WIDTHS = collections.defaultdict(lambda: lambda part: part.width)
WIDTHS |= {
    f"attention.{name}": lambda part: part.heads * part.head_dim for name in ("q", "q_rotated", "context")
}
WIDTHS |= {
    f"attention.{name}": lambda part: part.kv_heads * part.head_dim for name in ("k", "k_rotated", "v")
}
WIDTHS |= {f"feed_forward.{name}": lambda part: part.hidden for name in ("gate", "up", "hidden")}
WIDTHS |= {f"adapter.{name}": lambda part: MODEL.decoder.width for name in ("w_in", "gelu", "w_out")}


# Right runs


class Library(Run):
    """PyTorch's own operations, and the decoder's angles in float32, as transformers has them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        d = MODEL.decoder.head_dim
        frequencies = 1 / MODEL.decoder.theta ** (torch.arange(0, d, 2).float() / d)
        positions = torch.arange(len(self.tokens)).float()
        self.seen_tokens = self.seen_tokens[0], positions[:, None] * frequencies

    def norm(self, x, w, eps):
        return F.rms_norm(x, w.shape, w.to(x.dtype), eps), 1

    def linear(self, x, w):
        return F.linear(x, w)

    def rotated(self, x, angles, heads):
        cos, sin = (table.to(self.dtype)[:, None] for table in (angles.cos(), angles.sin()))
        a, b = x.reshape(len(x), heads, -1, 2).unbind(-1)
        return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).reshape(x.shape)

    def attention(self, part, q, k, v, sees):
        q, k, v = self.by_head(part, q, k, v)
        context = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=sees)[0]
        return context.transpose(0, 1).reshape(len(sees), -1)

    def swiglu(self, gate, up):
        return F.silu(gate) * up

    def gelu(self, x):
        return F.gelu(x)


def run_of(schedule, prompt):
    kind = Library if schedule.name == "library" else Run
    return kind(schedule, MODEL, prompt.tokens, prompt.images, "cpu")


def inputs(random, step, prompt, run, scale=None):
    """By tap, as they are stored; and as the step takes them."""
    if step.compute is patches:
        images = [drawn(random, scale or chosen(random, SCALES), 3, i[0].numel()).float().view(i.shape)
                  for i in prompt.images]  # fmt: skip
        return {f"image{n}": image for n, image in enumerate(images)}, images
    rows = prompt.patches if step.part == MODEL.vision or step.compute is splice else len(prompt.tokens)
    taken = [drawn(random, scale or chosen(random, SCALES), rows, width(tap)) for tap in step.inputs]
    if run.schedule.arithmetic == "float16":
        taken = [x.clamp(-200, 200) for x in taken]  # of more the square is infinite
    if run.schedule.name == "fused":
        taken = [x.to(run.inner) if n in step.open else run.closed(x) for n, x in enumerate(taken)]
    else:
        taken = [run.closed(x) for x in taken]
    return {tap: run.closed(x) for tap, x in zip(step.inputs, taken, strict=True)}, taken


def right(random, step, prompt, schedule, scale=None):
    """Inputs as stored, the right output in the schedule and in float64."""
    run = run_of(schedule, prompt)
    stored, taken = inputs(random, step, prompt, run, scale)
    if schedule.name == "fused" and step.inputs and step.inputs[0].endswith("_norm") and step.weight:
        # The norm's factor comes after the product.
        (tap, x), factor = next(iter(stored.items())), 1 / drawn(random, "unlike rows", len(taken[0]), 1)
        factor = factor.abs().clamp(0.05, 20).to(run.inner)
        x = run.closed(x / factor)
        stored, output = {tap: run.closed(x * factor)}, step.compute(run, step, x) * factor
    else:
        output = step.compute(run, step, *taken)
    return stored, run.closed(output), truth(step, prompt, stored)


def truth(step, prompt, stored):
    run = run_of(TRUTH, prompt)
    return step.compute(run, step, *(x.double() for x in stored.values()))


# Wrong runs: a name, of which kinds, the scale of inputs that show it, which prompts can, what is computed


@dataclass(frozen=True)
class Wrong:
    name: str
    kinds: tuple[str, ...]
    compute: Callable
    scale: str = "unit"
    shows: Callable = lambda step, prompt: True


def normed(change):
    def compute(run, step, x):
        return change(run, x, WEIGHTS(step.weight), step.part.eps)

    return compute


def half_split(run, step, x):
    angles = seen(run, step)[1]
    cos, sin = angles.cos().to(x)[:, None], angles.sin().to(x)[:, None]
    a, b = x.view(len(x), heads(step), 2, -1).unbind(2)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).flatten(1)


def with_angles(change):
    def compute(run, step, x):
        return run.rotated(x, change(run, step), heads(step))

    return compute


def swapped_angles(run, step):
    p = MODEL.patch
    turned = [(image.shape[2] // p, image.shape[1] // p) for image in run.images]
    tables = full_schedules.vision_angles(step.part, turned, "cpu").split([r * c for r, c in turned])
    # Patch (r, c) has what (c, r) of the turned image has.
    pairs = zip(tables, turned, strict=True)
    return torch.cat([table.unflatten(0, grid).transpose(0, 1).flatten(0, 1) for table, grid in pairs])


def theta_times_1000(run, step):
    part = MODEL.decoder
    i = torch.arange(part.head_dim // 2, dtype=torch.float64)
    return torch.arange(len(run.tokens))[:, None] * (1000 * part.theta) ** (-2 * i / part.head_dim)


def scaled_for_other_heads(run, step, q, k, v):
    other = MODEL.decoder if step.part == MODEL.vision else MODEL.vision
    return attention(run, step, q * math.sqrt(step.part.head_dim / other.head_dim), k, v)


def tiled_heads(run, step, q, k, v):
    """Query head h reads key-value head h mod 2: as if q's heads stood in another order."""
    part = step.part
    order = [h for g in range(part.kv_heads) for h in range(g, part.heads, part.kv_heads)]
    moved = q.view(len(q), part.heads, -1)[:, order].flatten(1)
    context = attention(run, step, moved, k, v).view(len(q), part.heads, -1)
    return context[:, torch.tensor(order).argsort()].flatten(1)


def without_mask(run, step, q, k, v):
    return run.attention(step.part, q, k, v, torch.ones_like(seen(run, step)[0]))


def break_rows_too(run, step, adapted):
    x = splice(run, step, adapted)
    x[torch.tensor(run.tokens) == BREAK] = adapted[0]
    return x


def in_decoder(step, prompt):
    return step.part == MODEL.decoder and len(prompt.tokens) > 1


def of_images(step, prompt):
    return step.part == MODEL.vision and len(prompt.images) > 1


def of_patches(step, prompt):
    """Some image has more than one."""
    return step.part == MODEL.vision and prompt.patches > len(prompt.images)


NORMS = ("attention_norm", "ffn_norm", "vision.ln_pre", "decoder.norm")
PRODUCTS = tuple(kind for kind, steps in STEPS.items() if steps[0].compute in (linear, patches))
ROTATIONS, CONTEXT = ("attention.q_rotated", "attention.k_rotated"), ("attention.context",)
WRONG = [
    Wrong("eps times 10", NORMS, normed(lambda run, x, w, eps: run.whole_norm(x, w, 10 * eps)), "small"),
    Wrong("mean subtracted", NORMS, normed(lambda run, x, w, eps: run.whole_norm(x - x.mean(1, True), w, eps))),
    Wrong("weight and 1", NORMS, normed(lambda run, x, w, eps: run.whole_norm(x, w.float() + 1, eps))),
    Wrong("TF32 unsaid", PRODUCTS, lambda run, step, *x: steps_in("tf32", run, step, *x)),
    Wrong("bfloat16 sums", PRODUCTS, lambda run, step, *x: steps_in("bfloat16", run, step, *x)),
    Wrong("half-split pairs", ROTATIONS, half_split, shows=lambda s, p: in_decoder(s, p) or of_patches(s, p)),
    Wrong("a position late", ROTATIONS, with_angles(lambda run, step: seen(run, step)[1].roll(-1, 0)),
          shows=in_decoder),
    Wrong("theta times 1,000", ROTATIONS, with_angles(theta_times_1000), shows=in_decoder),
    Wrong("rows for columns", ROTATIONS, with_angles(swapped_angles), shows=of_patches),
    Wrong("scale of other heads", CONTEXT, scaled_for_other_heads,
          shows=lambda s, p: in_decoder(s, p) or of_patches(s, p)),
    Wrong("heads tiled", CONTEXT, tiled_heads, shows=in_decoder),
    Wrong("no causal mask", CONTEXT, without_mask, shows=in_decoder),
    Wrong("no mask of images", CONTEXT, without_mask, shows=of_images),
    Wrong("no residual", ("residual", "output"), lambda run, step, x, y: y.clone()),
    Wrong("GELU for SiLU", ("feed_forward.hidden",), lambda run, step, gate, up: run.gelu(gate) * up),
    Wrong("gate for up", ("feed_forward.hidden",), lambda run, step, gate, up: swiglu(run, step, up, gate)),
    Wrong("GELU with tanh", ("adapter.gelu",), lambda run, step, x: F.gelu(x, approximate="tanh")),
    Wrong("rows one late", ("decoder.embeddings",), lambda run, step, x: splice(run, step, x.roll(1, 0)),
          shows=lambda s, p: p.patches > 1),
    Wrong("breaks too", ("decoder.embeddings",), break_rows_too, shows=lambda s, p: BREAK in p.tokens),
]  # fmt: skip


def steps_in(arithmetic, run, step, *x):
    other = Run(Schedule(arithmetic, "steps"), MODEL, run.tokens, run.images, "cpu")
    return step.compute(other, step, *(y.to(other.dtype) for y in x)).float()


# Judging


def compare(reference, candidate, tap, arithmetic):
    command = [BINARY, "compare", reference, candidate, "--taps", tap, "--json"]
    command += ["--arithmetic", arithmetic] if arithmetic else []
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode not in (0, 1):
        raise RuntimeError(process.stderr)
    return json.loads(process.stdout)


def judged(folder, step, prompt, stored, output, exact, dtype, arithmetic):
    """Whether it is off by itself; and by truth its verdict, if it has one, and relF over the noise."""
    candidate, true = folder / "candidate.safetensors", folder / "truth"
    values = {name: x.contiguous().to(x.dtype if name.startswith("image") else dtype)
              for name, x in (stored | {step.output: output}).items()}  # fmt: skip
    save_file(values, candidate)
    alone = compare(prompt.folder, candidate, step.output, arithmetic)
    if alone["off_by_themselves"] is None:
        raise RuntimeError(f"{step.output} was not computed anew: {alone}")
    off = bool(alone["off_by_themselves"] or alone["off_or_lacking"])
    if step.compute is attention and largest_score(step, prompt, *stored.values()) > LARGEST_SCORE:
        return off, None, 0
    true.mkdir(exist_ok=True)
    shutil.copy(prompt.folder / "trace.json", true)
    save_file({step.output: exact.contiguous()}, true / "trace.safetensors")
    (tap,) = compare(true, candidate, step.output, arithmetic)["taps"]
    return off, tap["verdict"], tap["relF"] / (tap["limit"]["relF"] / 2)


def largest_score(step, prompt, q, k, v):
    run = run_of(TRUTH, prompt)
    q, k, _ = run.by_head(step.part, q.double(), k.double(), v)
    scores = (q @ k.mT)[:, seen(run, step)[0]] / math.sqrt(step.part.head_dim)
    return scores.abs().max()


def right_run(n):
    random = torch.Generator().manual_seed(SEED * 1_000_003 + n)
    kind = chosen(random, KINDS)
    step = chosen(random, STEPS[kind])
    prompt = chosen(random, [p for p in PROMPTS if step.fits(p)])
    arithmetic = chosen(random, ARITHMETICS)
    schedule = chosen(random, [s for s in SCHEDULES if s.arithmetic == arithmetic])
    while True:
        stored, output, exact = right(random, step, prompt, schedule)
        if output.isfinite().all():  # else the inputs are too large for the arithmetic
            break
    # Some runtimes store what they computed in a wider dtype, and say so.
    wide = arithmetic == "tf32" or chosen(random, range(3)) == 0
    dtype, said = (torch.float32, arithmetic) if wide else (DTYPES[arithmetic], None)
    with tempfile.TemporaryDirectory() as name:
        off, verdict, times = judged(Path(name), step, prompt, stored, output, exact, dtype, said)
    rows = len(output)
    return kind, arithmetic, off, verdict, times, f"{step.output}, {schedule.name}, {rows} rows, run {n}"


def wrong_run(n):
    wrong = WRONG[n % len(WRONG)]
    random = torch.Generator().manual_seed(SEED * 1_000_003 + 500_000 + n)
    possible = [(step, p) for kind in wrong.kinds for step in STEPS[kind]
                for p in PROMPTS if step.fits(p) and wrong.shows(step, p)]  # fmt: skip
    step, prompt = chosen(random, possible)
    schedule = Schedule("float32", "steps")
    stored, _, exact = right(random, step, prompt, schedule, wrong.scale)
    output = wrong.compute(run_of(schedule, prompt), step, *stored.values())
    with tempfile.TemporaryDirectory() as name:
        off, verdict, _ = judged(Path(name), step, prompt, stored, output, exact, torch.float32, None)
    return wrong.name, off, verdict == "far", f"{step.output}, {len(output)} rows, run {n}"


def begin(binary, found, kinds, seed):
    global BINARY, PROMPTS, KINDS, SEED
    BINARY, PROMPTS, KINDS, SEED = binary, found, kinds, seed
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


def table(title, rows):
    """rows: of each name, its right runs."""
    print(f"\n{title:24}  runs  close  undecided  FAR  off  most, of the noise")
    for name, runs in rows.items():
        verdicts = collections.Counter(verdict for _, verdict, _ in runs)
        off, most = sum(off for off, _, _ in runs), max(times for _, _, times in runs)
        print(
            f"{name:24}{len(runs):6}{verdicts['close']:7}{verdicts['undecided']:11}{verdicts['far']:5}{off:5}{most:10.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--wrong", type=int, default=10, help="runs of each fault")
    parser.add_argument("--kinds", nargs="+", choices=STEPS, default=list(STEPS), help="of the right steps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    binary = options.binary.resolve(strict=True)
    with tempfile.TemporaryDirectory() as name:
        found = prompts(torch.Generator().manual_seed(options.seed), binary, Path(name))
        arguments = (binary, found, options.kinds, options.seed)
        with multiprocessing.Pool(2, begin, arguments) as pool:
            rights = pool.map(right_run, range(options.runs), chunksize=5)
            jobs = range(len(WRONG) * options.wrong)
            wrongs = pool.map(wrong_run, jobs, chunksize=5)

    by_kind, by_arithmetic = collections.defaultdict(list), collections.defaultdict(list)
    for kind, arithmetic, *result, _ in rights:
        by_kind[kind].append(result)
        by_arithmetic[arithmetic].append(result)
    table("right steps", dict(sorted(by_kind.items(), key=lambda item: list(STEPS).index(item[0]))))
    table("arithmetic", by_arithmetic)
    alarms = []
    for kind, arithmetic, off, verdict, times, where in rights:
        if off or verdict == "far":
            alarms.append(
                f"false alarm: {arithmetic}, {where}: {verdict}, {times:.1f} times the noise{', off' if off else ''}"
            )
    print("\n" + "\n".join(alarms or ["no false alarm"]))

    print(f"\n{'wrong steps, float32':24}  runs  off  FAR by truth")
    missed = []
    for wrong in WRONG:
        runs = [run for run in wrongs if run[0] == wrong.name]
        off, far = sum(run[1] for run in runs), sum(run[2] for run in runs)
        print(f"{wrong.name:24}{len(runs):6}{off:5}{far:5}")
        if min(off, far) < 0.95 * len(runs):
            missed.append(wrong.name)
            print("".join(f"    not seen: {where}\n" for _, o, f, where in runs if not (o and f)), end="")
    sys.exit(1 if alarms or missed else 0)


if __name__ == "__main__":
    main()
