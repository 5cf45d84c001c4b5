"""The transformers side of bench_vision.py: PixtralVisionModel and a plain adapter in the shape of
seeded:pixtral-large, float32, on the CPU.

    python vision_peer.py [--threads N] [--columns 32 --rows 32] [--attention eager|sdpa]

Speaks lines on stdin and stdout: prints "ready" once the model stands and has run once on a small
image; for each line "run" does one forward pass and prints its seconds; at "quit" (or the end of
stdin) prints the peak resident memory in MiB and ends. Weights are random, uniform and of unit
gain: their values do not matter for time as long as activations stay normal numbers, and that is
checked after every pass.
"""

import argparse
import os
import resource
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USE_HUB_KERNELS", "0")

import torch
from transformers.models.pixtral.configuration_pixtral import PixtralVisionConfig
from transformers.models.pixtral.modeling_pixtral import PixtralVisionModel

# Docs/Model.md, section 1, last column.
DIM = 12288
VISION = dict(
    hidden_size=1408,
    intermediate_size=6144,
    num_hidden_layers=40,
    num_attention_heads=16,
    num_channels=3,
    image_size=1024,
    patch_size=16,
)


def build(attention):
    """The encoder and the adapter. Made without values first (meta), so that random initialisation
    costs nothing twice.
    """
    config = PixtralVisionConfig(
        **VISION, hidden_act="silu", rope_parameters={"rope_type": "axial", "rope_theta": 1e4}
    )
    config._attn_implementation = attention
    with torch.device("meta"):
        tower = PixtralVisionModel(config)
        adapter = torch.nn.Sequential(
            torch.nn.Linear(VISION["hidden_size"], DIM, bias=False),
            torch.nn.GELU(),
            torch.nn.Linear(DIM, DIM, bias=False),
        )
    rotary = type(tower.patch_positional_embedding)(config)
    tower.to_empty(device="cpu")
    adapter.to_empty(device="cpu")
    tower.patch_positional_embedding = rotary  # its table is computed, not loaded: made anew outside meta
    generator = torch.Generator().manual_seed(2411)
    for module in (tower, adapter):
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.data.fill_(1.0)
            else:
                scale = (3 / parameter[0].numel()) ** 0.5
                parameter.data.uniform_(-scale, scale, generator=generator)
    return tower.eval(), adapter.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument(
        "--attention",
        choices=["eager", "sdpa"],
        default="sdpa",
        help="sdpa is what transformers chooses by itself",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tower, adapter = build(arguments.attention)
    generator = torch.Generator().manual_seed(1)
    patch = VISION["patch_size"]

    def forward(rows, columns):
        pixels = torch.randn(1, 3, rows * patch, columns * patch, generator=generator)
        with torch.inference_mode():
            start = time.perf_counter()
            result = adapter(tower(pixels).last_hidden_state)
            seconds = time.perf_counter() - start
        if result.shape != (1, rows * columns, DIM) or not torch.isfinite(result).all():
            raise RuntimeError(f"unexpected result {tuple(result.shape)}")
        return seconds

    forward(2, 2)
    print("ready", flush=True)
    for line in sys.stdin:
        command = line.strip()
        if command == "run":
            print(f"{forward(arguments.rows, arguments.columns):.6f}", flush=True)
        elif command == "quit":
            break
        else:
            raise ValueError(f"unknown command {command!r}")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


if __name__ == "__main__":
    main()
