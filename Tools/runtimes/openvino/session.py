"""OpenVINO's graphs of Pixtral, as optimum-intel exports them, as a runtime for the conformance kit.

    pixtral-ref conformance run --runtime 'python session.py HF_FOLDER [--arithmetic float32|bfloat16]'

HF_FOLDER is a checkpoint in Hugging Face's layout, of which the tokenizer is taken.

- tokens: texts alone, through the graphs of openvino_tokenizers. Requests are unsupported: chat templates are
  not in the graphs.
- model, answer: a checkpoint is exported when it is loaded. The vision graph takes one image; the rows that it
  gives are put in the places of [IMG] here, for optimum-intel's own class that joins the graphs refuses
  Pixtral. Nodes within the graphs are made outputs too: the taps. An answer goes through the state of the
  language graph, its cache, a token at a time.
"""

import argparse
import os
import re
import runpy
import sys
import tempfile
from pathlib import Path

answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
os.dup2(2, 1)
os.environ["HF_HUB_OFFLINE"] = "1"
shim = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "shim")
declared = runpy.run_path(os.path.join(shim, "sitecustomize.py"))  # kept alive
import numpy  # noqa: E402
import openvino  # noqa: E402
import openvino_tokenizers  # noqa: E402
from optimum.exporters.openvino import main_export  # noqa: E402
from optimum.intel import OVConfig  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

sys.path.append(str(Path(__file__).resolve().parent.parent))
from answering import serve  # noqa: E402

sys.path.pop()  # the folders there are no packages

IMG = 10
LAYER = {  # below a layer, in the vision and in the language graph: the node that is the tap
    "attention_norm": ("attention_norm/aten::mul/Multiply_1", "input_layernorm/aten::mul/Multiply_1"),
    "attention.q": ("attention.q_proj/aten::linear/MatMul", "self_attn.q_proj/aten::linear/MatMul"),
    "attention.k": ("attention.k_proj/aten::linear/MatMul", "self_attn.k_proj/aten::linear/MatMul"),
    "attention.v": ("attention.v_proj/aten::linear/MatMul", "self_attn.v_proj/aten::linear/MatMul"),
    "attention.q_rotated": ("attention/aten::add/Add", "self_attn/aten::add/Add"),  # or k's: see tap_of
    "attention.k_rotated": ("attention/aten::add/Add_1", "self_attn/aten::add/Add_1"),
    "attention.context": ("attention/aten::reshape/Reshape", "self_attn/aten::reshape/Reshape_2"),
    "attention.output": ("attention.o_proj/aten::linear/MatMul", "self_attn.o_proj/aten::linear/MatMul"),
    "residual": ("/aten::add/Add", "/aten::add/Add"),
    "ffn_norm": ("ffn_norm/aten::mul/Multiply_1", "post_attention_layernorm/aten::mul/Multiply_1"),
    "feed_forward.gate": ("feed_forward.gate_proj/aten::linear/MatMul", "mlp.gate_proj/aten::linear/MatMul"),
    "feed_forward.up": ("feed_forward.up_proj/aten::linear/MatMul", "mlp.up_proj/aten::linear/MatMul"),
    "feed_forward.hidden": ("feed_forward/aten::mul/Multiply", "mlp/aten::mul/Multiply"),
    "feed_forward.output": (
        "feed_forward.down_proj/aten::linear/MatMul",
        "mlp.down_proj/aten::linear/MatMul",
    ),
    "output": ("/aten::add/Add_1", "/aten::add/Add_1"),
}
TOWER, PROJECTOR = "__module.model.vision_tower", "__module.model.multi_modal_projector"
LANGUAGE = "__module.model.language_model"
NODES = {  # elsewhere
    f"{TOWER}/aten::unsqueeze/Unsqueeze": "vision.patch_conv",
    f"{TOWER}.ln_pre/aten::mul/Multiply_1": "vision.ln_pre",
    f"{PROJECTOR}.linear_1/aten::linear/MatMul": "adapter.w_in",
    f"{PROJECTOR}.act/aten::gelu/Gelu": "adapter.gelu",
    f"{PROJECTOR}.linear_2/aten::linear/MatMul": "adapter.w_out",
    f"{LANGUAGE}.norm/aten::mul/Multiply_1": "decoder.norm",
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder")
parser.add_argument("--arithmetic", choices=("float32", "bfloat16"), default="float32")
FEATURES = ("tokens", "trace", "answer")
parser.add_argument("--features", nargs="+", choices=FEATURES, default=FEATURES)
options = parser.parse_args()
options.folder = os.path.abspath(options.folder)
core = openvino.Core()
PRECISION = {"float32": "f32", "bfloat16": "bf16"}[options.arithmetic]
SETTINGS = {"INFERENCE_PRECISION_HINT": PRECISION, "KV_CACHE_PRECISION": PRECISION}


def hello(question):
    os.chdir(question["folder"])  # files are named from there
    return {"name": "OpenVINO", "version": openvino.__version__.split("-")[0], "arithmetic": options.arithmetic,
            "features": [*options.features, "layout.hf"], "rotary": "half-split"}  # fmt: skip


# Texts


def encode(question):
    return {"tokens": next(iter(tokenizer([question["text"]]).values()))[0].tolist()}


def decode(question):
    return {"text": str(next(iter(detokenizer(numpy.array([question["tokens"]])).values()))[0])}


def tokenizers():
    made = AutoTokenizer.from_pretrained(options.folder)
    pair = openvino_tokenizers.convert_tokenizer(made, with_detokenizer=True, add_special_tokens=False,
                                                 skip_special_tokens=True)  # fmt: skip
    return [core.compile_model(graph, "CPU") for graph in pair]


# Models


STACKS = ("vision", f"{TOWER}.transformer.layers."), ("decoder", f"{LANGUAGE}.layers.")


def tap_of(node):
    """The tap that a node is, or None."""
    name = node.get_friendly_name()
    for which, (part, layers) in enumerate(STACKS):
        if name.startswith(layers):
            number, rest = re.fullmatch(r"(\d+)\.?(.*)", name[len(layers) :]).groups()
            for tap, nodes in LAYER.items():
                if nodes[which] == rest:
                    if tap.endswith(
                        "_rotated"
                    ):  # the exporter numbers the two sums of a layer in either order
                        tap = f"attention.{projection(node)}_rotated"
                    return f"{part}.layers.{number}.{tap}"
    return NODES.get(name)


def projection(node):
    """q or k: of which projection a rotation is."""
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    return re.search(r"\.([qk])_proj/", node.get_friendly_name())[1]


def compiled(path):
    """(the graph with its taps for outputs, the names of the outputs: of a tap the tap's)."""
    graph = core.read_model(path)
    names = [next(iter(output.get_names())) for output in graph.outputs]  # one
    for node in list(graph.get_ops()):
        tap = tap_of(node)
        if tap == "adapter.w_out":  # which is an output already, under another name
            names[0] = tap
        elif tap:
            graph.add_outputs(node.output(0))
            names.append(tap)
    return core.compile_model(graph, "CPU", SETTINGS), names


def load(question):
    global graphs
    graphs = None
    with tempfile.TemporaryDirectory() as folder:
        main_export(question["checkpoint"], folder, task="image-text-to-text", ov_config=OVConfig(dtype="fp32"),
                    convert_tokenizer=False)  # fmt: skip
        parts = ("vision_embeddings", "text_embeddings", "language")
        graphs = [compiled(os.path.join(folder, f"openvino_{part}_model.xml")) for part in parts]
    return {}


def run(request, names, inputs):
    request.infer(inputs)
    found = {}
    for n, name in enumerate(names):
        x = request.get_output_tensor(n).data[0]  # a batch of one
        found[name] = (
            x.transpose(1, 0, 2).reshape(x.shape[1], -1) if x.ndim == 3 else x
        )  # [heads, rows, head_dim]
    return {name: numpy.array(x, dtype=numpy.float32, order="C") for name, x in found.items()}


def forward(question):
    """The prompt through the graphs: (taps, the request of the language graph, which keeps its state)."""
    (vision, vision_names), (text, _), (language, language_names) = graphs
    tensors = load_file(question["tensors"]) if question["tensors"] else {}
    request = vision.create_infer_request()
    parts = [
        run(request, vision_names, {"pixel_values": tensors[f"image{n}"][None]}) for n in range(len(tensors))
    ]
    taps = {name: numpy.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
    tokens = numpy.array([question["tokens"]])
    embeddings = text(tokens)[0].copy()
    if parts:
        embeddings[0, tokens[0] == IMG] = taps["adapter.w_out"]
    taps["decoder.embeddings"] = embeddings[0]
    request = language.create_infer_request()
    return taps | run(request, language_names, language_inputs(embeddings, 0)), request


def language_inputs(embeddings, position):
    count = embeddings.shape[1]
    return {"inputs_embeds": embeddings, "attention_mask": numpy.ones((1, position + count), numpy.int64),
            "position_ids": numpy.arange(position, position + count)[None], "beam_idx": numpy.zeros(1, numpy.int32)}  # fmt: skip


def trace(question):
    taps, _ = forward(question)
    save_file({tap: taps[tap] for tap in question["taps"] if tap in taps}, "taps.safetensors")
    return {"tensors": "taps.safetensors"}


def answer(question):
    taps, request = forward(question)
    text, names = graphs[1][0], graphs[2][1]
    said, row, position = [], taps["logits"][-1], len(question["tokens"])
    for token in question["answer"]:
        row = row.astype(numpy.float64)
        said.append(row[token] - row.max() - numpy.log(numpy.exp(row - row.max()).sum()))
        row = run(request, names, language_inputs(text(numpy.array([[token]]))[0], position))["logits"][-1]
        position += 1
    save_file({"logprobs": numpy.array([said])}, "answer.safetensors")
    return {"tensors": "answer.safetensors"}


graphs = None
if "tokens" in options.features:
    tokenizer, detokenizer = tokenizers()
OPERATIONS = {f.__name__: f for f in (hello, encode, decode, load, trace, answer)}
serve(OPERATIONS, answers)
