"""Docs/Trace.md's account of transformers, run as it is written: its tables of modules and its
`adjacent_pairs`.

    python check_transformers_taps.py BINARY [--checkpoint seeded:tiny] [--request FILE]
                                      [--dtype float32|float16|bfloat16]

BINARY writes the checkpoint in the Hugging Face layout and traces the request;
LlavaForConditionalGeneration.from_pretrained reads the folder and gets the same tokens and pixels;
hooks take what the tables say. Exit 1 if a tap is missing, is beyond the limit of Docs/Trace.md, or
is named by the page and not by pixtral-ref; and if q and k agree without `adjacent_pairs`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.numpy import load_file
from transformers import LlavaForConditionalGeneration
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Tools" / "goldens"))
from compare import distance  # noqa: E402

PAGE = (ROOT / "Docs" / "Trace.md").read_text(encoding="utf-8")
REQUEST = ROOT / "Fixtures" / "cases" / "model" / "tiny" / "two-images" / "request.json"
TOKENIZER = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
transformers.utils.logging.disable_progress_bar()
LIMITS = {"float32": 3e-5, "float16": 1e-2, "bfloat16": 5e-2}


def page_function():
    """`adjacent_pairs`, from the page."""
    names = {}
    exec(
        re.sub(
            r"^    ",
            "",
            re.search(r"^    def adjacent_pairs.*\n(?:    .*\n)+", PAGE, re.MULTILINE).group(),
            flags=re.MULTILINE,
        ),
        names,
    )
    return names["adjacent_pairs"]


def page_rows(layers):
    """[(tap, module, what to take)] from both tables. `layers` are the numbers of layers of vision
    encoder and decoder.
    """
    around = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \| ([\w, ]+) \|$", PAGE, re.MULTILINE)
    inside = re.findall(
        r"^\| `([\w.]+)` \| (`[\w.]+`|the layer itself) \| (`[\w.]+`|the layer itself) \| ([\w, ]+) \|$",
        PAGE,
        re.MULTILINE,
    )
    result = [row for row in around if row[1].startswith(("model.", "lm_head"))]
    for part, module, column, count in (
        ("vision", "model.vision_tower.transformer.layers", 1, layers[0]), ("decoder", "model.language_model.layers", 2, layers[1])
    ):  # fmt: skip
        for n in range(count):
            for row in inside:
                name = "" if row[column] == "the layer itself" else "." + row[column].strip("`")
                result.append((f"{part}.layers.{n}.{row[0]}", f"{module}.{n}{name}", row[3]))
    return result


def joined_heads(tensor):
    """[1, heads, rows, columns] as [rows, heads * columns]."""
    return tensor[0].transpose(0, 1).reshape(tensor.shape[2], -1)


def transformers_taps(folder, rows, tokens, images, dtype):
    """{tap: matrix} as the page says to take them, q and k not yet put back."""
    model = LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager"
    ).eval()
    taps, of_attention = {}, {}

    def keep(tap, tensor):
        taps[tap] = (tensor if tensor.dim() == 2 else tensor[0]).detach().float().numpy().copy()

    for tap, name, take in rows:
        module, what = model.get_submodule(name), take.split(",")[0]
        if what == "input":
            module.register_forward_pre_hook(
                lambda _, given, named, tap=tap: keep(tap, given[0] if given else named["hidden_states"]),
                with_kwargs=True,
            )
        elif what == "output":
            module.register_forward_hook(lambda _, given, output, tap=tap: keep(tap, output))
        else:
            of_attention.setdefault(module, {})[what] = tap

    def spy(eager):
        def attention(module, query, key, value, *rest, **options):
            result, weights = eager(module, query, key, value, *rest, **options)
            for what, tensor in (("query", query), ("key", key), ("weights", weights)):
                keep(of_attention[module][what], joined_heads(tensor))
            return result, weights

        return attention

    for library in (modeling_pixtral, modeling_mistral):
        library.eager_attention_forward = spy(library.eager_attention_forward)
    inputs = {"input_ids": torch.tensor([tokens])}
    if images:
        batch = torch.zeros(len(images), 3, *(max(image.shape[axis] for image in images) for axis in (1, 2)))
        for row, image in zip(batch, images):
            row[:, : image.shape[1], : image.shape[2]] = torch.from_numpy(image)
        inputs |= {
            "pixel_values": batch.to(dtype),
            "image_sizes": torch.tensor([image.shape[1:] for image in images]),
        }
    with torch.inference_mode():
        model(**inputs, use_cache=False)
    return taps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--checkpoint", default="seeded:tiny")
    parser.add_argument("--request", default=str(REQUEST))
    parser.add_argument("--dtype", choices=LIMITS, default="float32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out, files = Path(scratch), ["--tokenizer", str(TOKENIZER)]

        def run(*words):
            subprocess.run(
                [arguments.binary, *words, *files],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        name = arguments.checkpoint
        run("checkpoint", "write", name, "--layout", "hf", "--out", str(out / "hf"))
        run(
            "trace",
            "--checkpoint",
            name,
            "--request",
            arguments.request,
            "--out",
            str(out / "ordinary"),
        )
        run(
            "trace",
            "--checkpoint",
            name,
            "--request",
            arguments.request,
            "--taps",
            "*.attention.weights",
            "--out",
            str(out / "weights"),
        )
        request = json.loads(Path(arguments.request).read_text())
        urls = [
            c["image_url"]["url"]
            for m in request["messages"]
            if isinstance(m["content"], list)
            for c in m["content"]
            if c["type"] == "image_url"
        ]
        images = []
        for n, url in enumerate(urls):
            subprocess.run([arguments.binary, "image", str(Path(arguments.request).parent / url), "--pixels", str(out / f"{n}.safetensors")],
                           check=True, stdout=subprocess.DEVNULL)  # fmt: skip
            images += load_file(out / f"{n}.safetensors").values()
        ours = load_file(out / "ordinary" / "trace.safetensors") | load_file(
            out / "weights" / "trace.safetensors"
        )
        about = json.loads((out / "ordinary" / "trace.json").read_text())
        params = about["parameters"]
        vision = params["vision_encoder"]
        rows = page_rows((vision["num_hidden_layers"], params["n_layers"]))
        theirs = transformers_taps(out / "hf", rows, about["tokens"], images, getattr(torch, arguments.dtype))

    adjacent_pairs, limit, fine, worst = (
        page_function(),
        LIMITS[arguments.dtype],
        set(ours) == set(theirs),
        (0.0, ""),
    )
    if not fine:
        print("taps on one side only:", *sorted(set(ours) ^ set(theirs)))
    for tap, _, take in rows:
        matrix = theirs[tap]
        if take.endswith("put back"):
            if distance(ours[tap], matrix).rel_f <= limit:
                print(f"{tap} agrees without being put back")
                fine = False
            of_vision = vision["hidden_size"] // vision["num_attention_heads"]
            matrix = adjacent_pairs(matrix, of_vision if tap.startswith("vision.") else params["head_dim"])
        moved = distance(ours[tap], matrix).rel_f
        worst = max(worst, (moved, tap))
        if not moved <= limit:
            print(f"{tap} {moved:.1e}")
            fine = False
    print(f"{arguments.dtype}: {len(rows)} taps, the worst {worst[0]:.1e} at {worst[1]}; limit {limit:.0e}")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
