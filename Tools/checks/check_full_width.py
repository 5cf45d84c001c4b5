"""float32 at the width of Pixtral Large beside PyTorch's: every tap of the first layers.

    python check_full_width.py BINARY [--vision-layers 2] [--decoder-layers 1] [--seed SEED]

`pixtral-ref trace --checkpoint seeded:pixtral-large` runs a request with one small image up to the
last decoder layer asked for. The same layers are computed here from Docs/Model.md with PyTorch and
the weights of Fixtures/oracle, in float64 and in float32, a block of a weight's rows at a time (1 GB
in all). Each tap is measured twice:

- chained: the layers one after another, from the same pixels or embeddings on;
- alone: its operation by itself, from the values that pixtral-ref had there.

Both times the distances of pixtral-ref's float32 and of PyTorch's float32 from float64 are compared.
Exit 1 if pixtral-ref's is more than 4 times PyTorch's, of any tap.
"""

import argparse
import base64
import io
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
sys.path.insert(0, str(ROOT / "Fixtures" / "oracle"))
import oracle  # noqa: E402
import seeded  # noqa: E402
from compare import distance  # noqa: E402

LIMIT = 4.0
SIDE = 128  # of the image, in pixels
VALUES = 1 << 20  # of a weight, widened at a time
TEXT = """A tap is a place in the model. Its matrix has a row for each patch or token, and as many
columns as the model is wide there. What does this picture show, and in which colours?"""


class Runs:
    """Four runs of the same operations: float64 and float32, both chained and from pixtral-ref's own
    inputs.
    """

    def __init__(self, ours: dict[str, torch.Tensor], checkpoint: seeded.SeededCheckpoint):
        self.ours = ours
        self.checkpoint = checkpoint
        self.chained: dict[str, list[torch.Tensor]] = {}  # by tap: float64, float32
        self.ratios: list[float] = []

    def start(self, tap: str) -> str:
        """What comes from here on is chained from pixtral-ref's values of a tap."""
        self.chained[tap] = [self.ours[tap].double(), self.ours[tap]]
        return tap

    def apply(self, tap: str, operation, *inputs: str) -> str:
        """- operation: takes one matrix an input, and computes in their precision."""
        return self.apply_together(tap, lambda runs: [operation(*run) for run in runs], *inputs)

    def linear(self, tap: str, name: str, x: str) -> str:
        weight = self.checkpoint.tensor(name)
        rows = max(1, VALUES * weight.shape[0] // weight.count)

        def operation(runs):
            results = [x.new_empty(len(x), weight.shape[0]) for (x,) in runs]
            for start in range(0, weight.shape[0], rows):
                end = min(start + rows, weight.shape[0])
                single = torch.from_numpy(weight.rows32(start, end)).flatten(1)
                block = {torch.float32: single, torch.float64: single.double()}
                for result, (x,) in zip(results, runs, strict=True):
                    result[:, start:end] = torch.nn.functional.linear(x, block[x.dtype])
            return results

        return self.apply_together(tap, operation, x)

    def vector(self, name: str) -> torch.Tensor:
        weight = self.checkpoint.tensor(name)
        return torch.from_numpy(weight.rows32(0, weight.count))

    def apply_together(self, tap: str, operation, *inputs: str) -> str:
        own = [self.ours[name] for name in inputs]
        runs = [*zip(*(self.chained[name] for name in inputs), strict=True), [x.double() for x in own], own]
        results = operation(runs)
        self.chained[tap] = results[:2]
        cells = []
        for exact, single in (results[:2], results[2:]):
            mine, theirs = (distance(exact, x).rel_f for x in (self.ours[tap], single))
            ratio = 0.0 if mine == 0 else mine / theirs if theirs else math.inf
            self.ratios.append(ratio)
            cells.append(f"{mine:9.1e} {theirs:9.1e} {ratio:6.2f}{' !' if not ratio <= LIMIT else '  '}")
        print(f"{tap:42} {'  '.join(cells)}", flush=True)
        return tap


# Operations, Model.md 3, in the precision of what they are given


def rms_norm(weight: torch.Tensor, eps: float):
    return lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight.to(x.dtype)


def rotation(angles: np.ndarray):
    """Of adjacent pairs; the angles, [rows, head_dim / 2], are float64 in every precision."""
    angle = torch.from_numpy(angles)[:, None]

    def rotate(x):
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x.view(len(x), -1, angle.shape[-1], 2).unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(1)

    return rotate


class Attention:
    def __init__(self, heads: int, shared: int, causal: bool):
        self.heads, self.shared, self.causal = heads, shared, causal

    def scores(self, q, k):
        """[rows, heads * rows]"""
        q = q.view(len(q), self.heads, -1).transpose(0, 1)
        k = k.view(len(k), self.shared, -1).transpose(0, 1).repeat_interleave(self.heads // self.shared, 0)
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        if self.causal:
            scores = scores.masked_fill(torch.ones(scores.shape[1:]).triu(1).bool(), -math.inf)
        return scores.transpose(0, 1).flatten(1)

    def weights(self, scores):
        return scores.view(len(scores), self.heads, -1).softmax(-1).flatten(1)

    def context(self, q, k, v):
        weights = self.weights(self.scores(q, k)).view(len(q), self.heads, -1).transpose(0, 1)
        v = v.view(len(v), self.shared, -1).transpose(0, 1).repeat_interleave(self.heads // self.shared, 0)
        return (weights @ v).transpose(0, 1).flatten(1)


def swiglu(gate, up):
    return torch.nn.functional.silu(gate) * up


# The model, Model.md 5 to 7


def layer(runs: Runs, x: str, tap: str, weights: str, eps: float, attention: Attention, angles) -> str:
    normed = runs.apply(
        f"{tap}.attention_norm", rms_norm(runs.vector(f"{weights}.attention_norm.weight"), eps), x
    )
    q, k, v = (runs.linear(f"{tap}.attention.{n}", f"{weights}.attention.w{n}.weight", normed) for n in "qkv")
    q, k = (runs.apply(f"{n}_rotated", rotation(angles), n) for n in (q, k))
    scores = runs.apply(f"{tap}.attention.scores", attention.scores, q, k)
    runs.apply(f"{tap}.attention.weights", attention.weights, scores)
    context = runs.apply(f"{tap}.attention.context", attention.context, q, k, v)
    attended = runs.linear(f"{tap}.attention.output", f"{weights}.attention.wo.weight", context)
    residual = runs.apply(f"{tap}.residual", torch.add, x, attended)
    normed = runs.apply(f"{tap}.ffn_norm", rms_norm(runs.vector(f"{weights}.ffn_norm.weight"), eps), residual)
    gate = runs.linear(f"{tap}.feed_forward.gate", f"{weights}.feed_forward.w1.weight", normed)
    up = runs.linear(f"{tap}.feed_forward.up", f"{weights}.feed_forward.w3.weight", normed)
    hidden = runs.apply(f"{tap}.feed_forward.hidden", swiglu, gate, up)
    fed = runs.linear(f"{tap}.feed_forward.output", f"{weights}.feed_forward.w2.weight", hidden)
    return runs.apply(f"{tap}.output", torch.add, residual, fed)


def model(runs: Runs, pixels: np.ndarray, vision_layers: int, decoder_layers: int) -> None:
    params = runs.checkpoint.params
    vision = params["vision_encoder"]
    patches = oracle.flatten_patches(pixels, vision["patch_size"]).astype(np.float32)
    runs.ours["patches"] = torch.from_numpy(patches)
    x = runs.linear("vision.patch_conv", "vision_encoder.patch_conv.weight", runs.start("patches"))
    eps, heads = oracle.VISION_NORM_EPS, vision["num_attention_heads"]
    x = runs.apply("vision.ln_pre", rms_norm(runs.vector("vision_encoder.ln_pre.weight"), eps), x)
    columns = pixels.shape[2] // vision["patch_size"]
    places = [divmod(n, columns) for n in range(len(patches))]
    angles = oracle.vision_angles(places, vision["rope_theta"], vision["hidden_size"] // heads)
    for n in range(vision_layers):
        weights = f"vision_encoder.transformer.layers.{n}"
        x = layer(runs, x, f"vision.layers.{n}", weights, eps, Attention(heads, heads, False), angles)

    x = runs.start(f"vision.layers.{vision['num_hidden_layers'] - 1}.output")
    x = runs.linear("adapter.w_in", "vision_language_adapter.w_in.weight", x)
    x = runs.apply("adapter.gelu", torch.nn.functional.gelu, x)
    runs.linear("adapter.w_out", "vision_language_adapter.w_out.weight", x)

    x = runs.start("decoder.embeddings")
    angles = oracle.decoder_angles(len(runs.ours[x]), params["rope_theta"], params["head_dim"])
    attention = Attention(params["n_heads"], params["n_kv_heads"], True)
    for n in range(decoder_layers):
        x = layer(runs, x, f"decoder.layers.{n}", f"layers.{n}", params["norm_eps"], attention, angles)


def trace(binary: str, folder: Path, seed: int, vision_layers: int, decoder_layers: int):
    """The taps of pixtral-ref, and the pixels that it made."""
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    (folder / "image.png").write_bytes(file.getvalue())
    content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": TEXT}]
    request = {"messages": [{"role": "user", "content": content}]}
    (folder / "request.json").write_text(json.dumps(request))
    pixels = folder / "pixels.safetensors"
    run = [binary, "image", folder / "image.png", "--pixels", pixels]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    last = seeded.PIXTRAL_LARGE["vision_encoder"]["num_hidden_layers"] - 1
    layers = [f"vision.layers.{n}" for n in range(vision_layers)]
    layers += [f"decoder.layers.{n}" for n in range(decoder_layers)]
    wanted = ["vision.patch_conv", "vision.ln_pre", f"vision.layers.{last}.output", "adapter.*"]
    wanted += ["decoder.embeddings"]
    for layer in layers:
        wanted += [f"{layer}.*", f"{layer}.attention.scores", f"{layer}.attention.weights"]
    run = [binary, "trace", "--checkpoint", "seeded:pixtral-large", "--request", folder / "request.json"]
    run += ["--until", f"decoder.layers.{decoder_layers - 1}.output", "--taps", ",".join(wanted)]
    subprocess.run(
        [*run, "--out", folder / "out"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ours = load_file(folder / "out" / "trace.safetensors")
    return ours, load_file(pixels)["image0"].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--vision-layers", type=int, default=2)
    parser.add_argument("--decoder-layers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        ours, pixels = trace(
            options.binary, Path(name), options.seed, options.vision_layers, options.decoder_layers
        )
    runs = Runs(ours, seeded.SeededCheckpoint(seeded.PIXTRAL_LARGE))
    print(f"{'':42} chained: ours, PyTorch, ratio   alone: ours, PyTorch, ratio")
    with torch.inference_mode():
        model(runs, pixels, options.vision_layers, options.decoder_layers)
    worst = max(runs.ratios)
    print(f"\nthe worst ratio is {worst:.2f}; the limit is {LIMIT}")
    sys.exit(0 if worst <= LIMIT else 1)


if __name__ == "__main__":
    main()
