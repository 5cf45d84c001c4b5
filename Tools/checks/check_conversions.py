"""Makes right and wrong conversions of a checkpoint and looks at what pixtral-ref says of them.

    python check_conversions.py BINARY

Right ones are transformers' own: `checkpoint write`'s Hugging Face folder loaded and saved by
LlavaForConditionalGeneration, in bfloat16, float32 and float16, in one file and in shards, and every
generation of names. trace must give the same bytes as from Mistral's layout (in bfloat16 and float32), and
`checkpoint compare` must call each faithful. Wrong ones are made of the written folders with PyTorch, one
mistake each: `checkpoint compare` must name the tensor, the verdict and what is said of it, and nothing
else. Exit 1 if one is said wrong.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

REQUEST = Path(__file__).resolve().parent.parent.parent / "Fixtures/requests/two-images.json"
LAYER = "language_model.model.layers.1."
VISION = "vision_tower.transformer.layers.0."


def permuted(weight, heads):
    """Mistral's order → half-split, as the conversion scripts write it."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def unpermuted(weight, heads):
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def swap(tensors, a, b):
    tensors[a], tensors[b] = tensors[b].clone(), tensors[a].clone()


def one_value(tensors):
    tensors["language_model.lm_head.weight"][3, 17] += 0.5


def overflow(tensors):
    name = LAYER + "mlp.down_proj.weight"
    tensors[name] = (tensors[name].float() * 1e6).half()


def change(name, edit):
    def apply(tensors):
        tensors[name] = edit(tensors[name].clone()).contiguous()

    return apply


def layer_of_another(tensors):
    for name in list(tensors):
        if name.startswith(LAYER):
            tensors[name] = tensors[name.replace("layers.1.", "layers.2.")].clone()


# Conversions in Hugging Face's layout: what is done, and for each tensor of Mistral's name the verdict and
# words of its line.
WRONG = {
    "gate and up swapped": (
        lambda t: swap(t, LAYER + "mlp.gate_proj.weight", LAYER + "mlp.up_proj.weight"),
        {
            "layers.1.feed_forward.w1.weight": ("swapped", "ORIGINAL's layers.1.feed_forward.w3.weight"),
            "layers.1.feed_forward.w3.weight": ("swapped", "ORIGINAL's layers.1.feed_forward.w1.weight"),
        },
    ),
    "k and v swapped": (
        lambda t: swap(t, LAYER + "self_attn.k_proj.weight", LAYER + "self_attn.v_proj.weight"),
        {
            "layers.1.attention.wk.weight": ("different", "relF"),
            "layers.1.attention.wv.weight": ("different", "relF"),
        },
    ),
    "one layer's norms of another": (
        lambda t: swap(
            t, LAYER + "input_layernorm.weight", "language_model.model.layers.2.input_layernorm.weight"
        ),
        {
            "layers.1.attention_norm.weight": ("swapped", "layers.2.attention_norm.weight"),
            "layers.2.attention_norm.weight": ("swapped", "layers.1.attention_norm.weight"),
        },
    ),
    "one layer's tensors of another": (
        layer_of_another,
        {
            f"layers.1.{name}.weight": ("swapped", f"layers.2.{name}.weight")
            for name in [
                "attention_norm",
                "attention.wq",
                "attention.wk",
                "attention.wv",
                "attention.wo",
                "ffn_norm",
                "feed_forward.w1",
                "feed_forward.w2",
                "feed_forward.w3",
            ]
        },
    ),
    "q left in Mistral's order": (
        change(LAYER + "self_attn.q_proj.weight", lambda w: unpermuted(w, 6)),
        {"layers.1.attention.wq.weight": ("permuted", "rows are in Mistral's order")},
    ),
    "vision k left in Mistral's order": (
        change(VISION + "attention.k_proj.weight", lambda w: unpermuted(w, 5)),
        {"vision_encoder.transformer.layers.0.attention.wk.weight": ("permuted", "in Mistral's order")},
    ),
    "k permuted by one head": (
        change(LAYER + "self_attn.k_proj.weight", lambda w: permuted(unpermuted(w, 2), 1)),
        {"layers.1.attention.wk.weight": ("permuted", "by 1 heads of 40 rows instead of 2 of 20")},
    ),
    "q permuted twice": (
        change(LAYER + "self_attn.q_proj.weight", lambda w: permuted(w, 6)),
        {"layers.1.attention.wq.weight": ("permuted", "permuted twice")},
    ),
    "q permuted the other way round": (
        change(LAYER + "self_attn.q_proj.weight", lambda w: unpermuted(unpermuted(w, 6), 6)),
        {"layers.1.attention.wq.weight": ("permuted", "the other way round")},
    ),
    "heads of v in another order": (
        change(LAYER + "self_attn.v_proj.weight", lambda w: w.view(2, 20, 80).flip(0).reshape(40, 80)),
        {"layers.1.attention.wv.weight": ("permuted", "row 0 is ORIGINAL's row 20")},
    ),
    "one value changed": (
        one_value,
        {"output.weight": ("different", "1 of 2621440 values differs, at [3, 17]")},
    ),
    "the embedding of [IMG_BREAK] lost": (
        lambda t: t["language_model.model.embed_tokens.weight"][14].zero_(),
        {"tok_embeddings.weight": ("different", "all in row 14")},
    ),
    "w_out transposed": (
        change("multi_modal_projector.linear_2.weight", lambda w: w.T),
        {"vision_language_adapter.w_out.weight": ("transposed", "")},
    ),
    "w2 transposed": (
        change(LAYER + "mlp.down_proj.weight", lambda w: w.T),
        {"layers.1.feed_forward.w2.weight": ("transposed", "")},
    ),
    "channels of the patches last": (
        change("vision_tower.patch_conv.weight", lambda w: w.permute(0, 2, 3, 1)),
        {"vision_encoder.patch_conv.weight": ("permuted", "[0, 2, 3, 1]")},
    ),
    "rows and columns of the patches swapped": (
        change("vision_tower.patch_conv.weight", lambda w: w.transpose(2, 3)),
        {"vision_encoder.patch_conv.weight": ("permuted", "[0, 1, 3, 2]")},
    ),
    "channels of the patches reversed": (
        change("vision_tower.patch_conv.weight", lambda w: w.flip(1)),
        {"vision_encoder.patch_conv.weight": ("permuted", "blue, green, red")},
    ),
    "wo scaled": (
        change(LAYER + "self_attn.o_proj.weight", lambda w: w * 0.5),
        {"layers.1.attention.wo.weight": ("scaled", "by 0.5")},
    ),
    "wo scaled and rounded": (
        change(LAYER + "self_attn.o_proj.weight", lambda w: w * 1.1),
        {"layers.1.attention.wo.weight": ("scaled", "by 1.")},
    ),
    "float16 overflow": (
        overflow,
        {"layers.1.feed_forward.w2.weight": ("different", "became infinite")},
    ),
    "float8 on the way": (
        change(LAYER + "mlp.up_proj.weight", lambda w: w.to(torch.float8_e4m3fn).bfloat16()),
        {"layers.1.feed_forward.w3.weight": ("different", "relF")},
    ),
    "a bias added": (
        lambda t: t.update({"multi_modal_projector.linear_1.bias": torch.zeros(80, dtype=torch.bfloat16)}),
        {"vision_language_adapter.w_in.bias": ("extra", "")},
    ),
    "a tensor dropped": (
        lambda t: t.pop("language_model.model.norm.weight"),
        {"norm.weight": ("missing", "")},
    ),
    "a vocabulary filled up": (
        change("language_model.lm_head.weight", lambda w: torch.cat([w, w[:64]])),
        {"output.weight": ("reshaped", "[32832, 80]")},
    ),
}

CONFIGS = {
    "rope_theta 1e9": (
        lambda c: c["text_config"].update(rope_theta=1e9, rope_parameters=None),
        {"rope_theta"},
    ),
    "eps dropped": (lambda c: c["text_config"].pop("rms_norm_eps"), {"norm_eps"}),
    "biases claimed": (
        lambda c: c.update(multimodal_projector_bias=True),
        {"vision_encoder.adapter_bias"},
    ),
}


class Check:
    def __init__(self, binary):
        self.binary = binary
        self.wrong = []

    def run(self, *arguments):
        return subprocess.run(
            [self.binary, *map(str, arguments)], check=False, capture_output=True, text=True
        )

    def compare(self, original, converted):
        """The answer of `checkpoint compare --json`, whose exit code must agree with it."""
        result = self.run("checkpoint", "compare", original, converted, "--json")
        if result.returncode not in (0, 1):
            raise SystemExit(f"compare {original} {converted}: {result.stderr}")
        answer = json.loads(result.stdout)
        if (result.returncode == 0) != answer["faithful"]:
            self.fail(converted, "exit code and verdict disagree")
        return answer

    def fail(self, what, why):
        self.wrong.append(what)
        print(f"FAIL {what}: {why}", flush=True)

    def judge(self, what, answer, expected, parameters=frozenset()):
        """Each tensor that is neither identical nor rounded is one that is expected, with its words."""
        found = {
            t["name"]: (t["verdict"], t["detail"])
            for t in answer["tensors"]
            if t["verdict"] not in ("identical", "rounded")
        }
        differing = {p["key"] for p in answer["parameters"] if not p["same"]}
        fine = (
            found.keys() == expected.keys()
            and all(
                found[name][0] == verdict and words in found[name][1]
                for name, (verdict, words) in expected.items()
            )
            and differing == set(parameters)
            and answer["faithful"] == (not expected and not parameters)
        )
        if fine:
            print(f"ok   {what}", flush=True)
        else:
            self.fail(what, f"{found}, parameters {sorted(differing)}, faithful {answer['faithful']}")

    def trace(self, checkpoint, out):
        result = self.run("trace", "--checkpoint", checkpoint, "--request", REQUEST, "--out", out)
        if result.returncode != 0:
            raise SystemExit(f"trace {checkpoint}: {result.stderr}")
        return (out / "trace.safetensors").read_bytes()


def folder_of(root, name, config, tensors):
    folder = root / name
    folder.mkdir()
    save_file(
        {key: value.contiguous().clone() for key, value in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def check_transformers(check, root, mistral, written):
    """What transformers saves, in dtypes and shards."""
    expected = check.trace(mistral, root / "trace-mistral")
    for dtype in ["bfloat16", "float32", "float16"]:
        model = LlavaForConditionalGeneration.from_pretrained(written, dtype=getattr(torch, dtype))
        for size in ["5GB", "1MB"]:
            name = f"transformers, {dtype}, files of {size}"
            folder = root / f"saved-{dtype}-{size}"
            model.save_pretrained(folder, max_shard_size=size)
            check.judge(name, check.compare(mistral, folder), {})
            if dtype != "float16" and check.trace(folder, root / f"trace-{dtype}-{size}") != expected:
                check.fail(name, "the trace differs from that of Mistral's layout")


def check_names(check, root, mistral, config, tensors):
    """The names of modules in releases from 4.52 on, and those of LlavaModel with a head."""

    def modules(name):
        if name == "language_model.lm_head.weight":
            return "lm_head.weight"
        return "model." + name.replace("language_model.model.", "language_model.")

    def base(name):
        if name == "language_model.lm_head.weight":
            return "lm_head.weight"
        return name.replace("language_model.model.", "language_model.")

    expected = check.trace(mistral, root / "trace-names")
    for kind, rename in [("modules", modules), ("base", base)]:
        folder = folder_of(root, kind, config, {rename(k): v for k, v in tensors.items()})
        check.judge(f"names of {kind}", check.compare(mistral, folder), {})
        if check.trace(folder, root / f"trace-{kind}") != expected:
            check.fail(f"names of {kind}", "the trace differs from that of Mistral's layout")


def check_wrong(check, root, mistral, config, tensors):
    for n, (what, (spoil, expected)) in enumerate(WRONG.items()):
        spoiled = {name: value.clone() for name, value in tensors.items()}
        spoil(spoiled)
        folder = folder_of(root, f"wrong-{n}", config, spoiled)
        check.judge(what, check.compare(mistral, folder), expected)
    for n, (what, (spoil, keys)) in enumerate(CONFIGS.items()):
        spoiled = json.loads(json.dumps(config))
        spoil(spoiled)
        folder = folder_of(root, f"config-{n}", spoiled, tensors)
        check.judge(what, check.compare(mistral, folder), {}, keys)


def check_mistral(check, root, mistral, written):
    """The way back: Mistral's layout made of Hugging Face's, with q and k left in half-split order."""
    tensors = load_file(mistral / "consolidated.safetensors")
    for n, (name, heads) in enumerate([("layers.1.attention.wq", 6), ("layers.1.attention.wk", 2)]):
        folder = root / f"back-{n}"
        folder.mkdir()
        spoiled = dict(tensors)
        spoiled[name + ".weight"] = permuted(tensors[name + ".weight"], heads).contiguous()
        save_file(spoiled, folder / "consolidated.safetensors")
        (folder / "params.json").write_text((mistral / "params.json").read_text())
        expected = {name + ".weight": ("permuted", "half-split order, where Mistral's order is due")}
        check.judge(f"{name} left in half-split order", check.compare(written, folder), expected)


def check_query_heads(check, root, mistral):
    """k permuted by the number of query heads, which needs a shape where that is a whole number of rows."""
    parameters = json.loads((mistral / "params.json").read_text())
    parameters |= {"dim": 64, "n_layers": 1, "head_dim": 16, "hidden_dim": 96, "n_heads": 16, "n_kv_heads": 4}
    generator = torch.Generator().manual_seed(2411)

    def random(*shape):
        return torch.randn(*shape, generator=generator).bfloat16()

    kept = load_file(mistral / "consolidated.safetensors")
    tensors = {name: t for name, t in kept.items() if name.startswith("vision_encoder.")}
    tensors |= {
        "vision_language_adapter.w_in.weight": random(64, 60),
        "vision_language_adapter.w_out.weight": random(64, 64),
        "tok_embeddings.weight": random(32768, 64),
        "norm.weight": random(64),
        "output.weight": random(32768, 64),
        "layers.0.attention_norm.weight": random(64),
        "layers.0.ffn_norm.weight": random(64),
        "layers.0.attention.wq.weight": random(256, 64),
        "layers.0.attention.wk.weight": random(64, 64),
        "layers.0.attention.wv.weight": random(64, 64),
        "layers.0.attention.wo.weight": random(64, 256),
        "layers.0.feed_forward.w1.weight": random(96, 64),
        "layers.0.feed_forward.w2.weight": random(64, 96),
        "layers.0.feed_forward.w3.weight": random(96, 64),
    }
    folders = []
    for name, spoil in [("right", lambda w: w), ("queries", lambda w: unpermuted(permuted(w, 16), 4))]:
        folder = root / f"heads-{name}"
        folder.mkdir()
        made = tensors | {
            "layers.0.attention.wk.weight": spoil(tensors["layers.0.attention.wk.weight"]).contiguous()
        }
        save_file(made, folder / "consolidated.safetensors")
        (folder / "params.json").write_text(json.dumps(parameters))
        folders.append(folder)
    # In Hugging Face's layout the same mistake is the k that a converter has written with 16 heads.
    names = {
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
    }
    written = load_file(root / "hf" / "model.safetensors")
    config = json.loads((root / "hf" / "config.json").read_text())
    config["text_config"] |= {
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "head_dim": 16,
        "intermediate_size": 96,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
    }
    made = {name: t for name, t in written.items() if name.startswith("vision_tower.")}
    made |= {
        "multi_modal_projector.linear_1.weight": tensors["vision_language_adapter.w_in.weight"],
        "multi_modal_projector.linear_2.weight": tensors["vision_language_adapter.w_out.weight"],
        "language_model.model.embed_tokens.weight": tensors["tok_embeddings.weight"],
        "language_model.model.norm.weight": tensors["norm.weight"],
        "language_model.lm_head.weight": tensors["output.weight"],
    }
    for ours, theirs in names.items():
        weight = tensors[f"layers.0.{ours}.weight"]
        if ours in ("attention.wq", "attention.wk"):
            weight = permuted(weight, 16)
        made[f"language_model.model.layers.0.{theirs}.weight"] = weight
    converted = folder_of(root, "heads-hf", config, made)
    expected = {
        "layers.0.attention.wk.weight": (
            "permuted",
            "by 16 heads of 4 rows instead of 4 of 16 (the number of query heads)",
        )
    }
    check.judge("k permuted by query heads", check.compare(folders[0], converted), expected)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    check = Check(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        mistral, written = root / "mistral", root / "hf"
        for layout, folder in [("mistral", mistral), ("hf", written)]:
            result = check.run("checkpoint", "write", "seeded:tiny", "--layout", layout, "--out", folder)
            if result.returncode != 0:
                sys.exit(result.stderr)
        config = json.loads((written / "config.json").read_text())
        tensors = load_file(written / "model.safetensors")
        check_transformers(check, root, mistral, written)
        check_names(check, root, mistral, config, tensors)
        check_wrong(check, root, mistral, config, tensors)
        check_mistral(check, root, mistral, written)
        check_query_heads(check, root, mistral)
    if check.wrong:
        sys.exit(f"{len(check.wrong)} said wrong")


if __name__ == "__main__":
    main()
