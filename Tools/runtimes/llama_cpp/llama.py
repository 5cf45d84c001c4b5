"""llama.cpp from Python: GGUF files of a checkpoint, and driver.cpp's answers under the names of our taps.

build.py has put llama.cpp's sources and programs beside this Python's virtual environment.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

SOURCES = Path(sys.prefix).parent / "llama.cpp"
PROGRAMS = SOURCES / "build" / "bin"

# A node of llama.cpp's graph, without the layer's number: our tap. Of several of one name and operation the first.
LAYER = {
    "attention_norm": ("attn_norm", "layer_inp_normed"),
    "attention.q": ("Qcur",),
    "attention.k": ("Kcur",),
    "attention.v": ("Vcur",),
    "attention.q_rotated": ("Qcur:ROPE", "Qcur_pos"),
    "attention.k_rotated": ("Kcur:ROPE", "Kcur_pos"),
    "attention.context": ("kqv_out",),
    "attention.output": ("attn_out",),
    "residual": ("ffn_inp",),
    "ffn_norm": ("ffn_norm", "ffn_inp_normed"),
    "feed_forward.gate": ("ffn_gate",),
    "feed_forward.up": ("ffn_up",),
    "feed_forward.hidden": ("ffn_swiglu",),
    "feed_forward.output": ("ffn_out",),
    "output": ("l_out", "layer_out"),
}
HEADS = ("Qcur", "Kcur", "Vcur")  # [.., rows, heads, head_dim] there


def quiet(command, **options):
    """Runs a command; what it has printed is shown only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stdout[-2000:]}")


def convert(checkpoint, folder, kind="f32"):
    """Two GGUF files by llama.cpp's converter, text and vision, F32; the text's quantised if KIND is no f32.

    Returns their paths. KIND is a name that llama-quantize knows, such as q8_0.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text, vision = folder / "text-f32.gguf", folder / "mmproj-f32.gguf"
    for path, more in (text, []), (vision, ["--mmproj"]):
        command = [
            sys.executable,
            str(SOURCES / "convert_hf_to_gguf.py"),
            str(checkpoint),
            "--mistral-format",
        ]
        quiet([*command, *more, "--outtype", "f32", "--outfile", str(path)])
    if kind != "f32":
        quantised = folder / f"text-{kind}.gguf"
        quiet([str(PROGRAMS / "llama-quantize"), str(text), str(quantised), kind.upper(), "2"])
        text = quantised
    return text, vision


class Driver:
    """driver.cpp as a process: a command, an answer."""

    def __init__(self):
        self.process = subprocess.Popen(
            [str(PROGRAMS / "pixtral-driver")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"GGML_NO_BACKTRACE": "1"},  # an assertion ends it at once
        )  # fmt: skip

    def ask(self, op, **members):
        self.process.stdin.write(json.dumps({"op": op} | members) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"llama.cpp has ended with {self.process.wait()} at {op}"
            )  # a crash, and called so
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def run(self, tokens, images, out, answer=None):
        """Taps of a prompt by our names, float32 [rows, columns]; or the log-probabilities of ANSWER.

        - images: arrays [3, height, width], normalised.
        """
        given = []
        for n, image in enumerate(images):
            path = f"{out}.image{n}"
            image.transpose(1, 2, 0).astype("<f4").tofile(path)
            given.append({"width": image.shape[2], "height": image.shape[1], "file": path})
        said = self.ask("run", tokens=tokens, images=given, answer=answer, out=out)
        return said["logprobs"] if answer is not None else taps(said["tensors"], out)


def matrix(entry, data, vision):
    """A node as [rows, columns]: ggml's dimensions come slowest first. The decoder's products have no heads."""
    a, b, c, d = entry["shape"]
    apart = entry["name"].startswith(HEADS) and (vision or entry["op"] == "ROPE")
    return data.reshape(a * b, c * d) if apart else data.reshape(-1, d)


def taps(entries, path):
    """The nodes that driver.cpp has written to PATH, by our names; parts of a prompt, and images, are joined."""
    found, parts, data = {}, {}, np.memmap(path, "<f4", "r")
    for entry in entries:
        size = int(np.prod(entry["shape"]))
        entry["data"], data = data[:size], data[size:]
        parts.setdefault(entry["part"], []).append(entry)
    for part, nodes in parts.items():
        vision = part.startswith("image")
        taken = image_taps(nodes) if vision else text_taps(nodes)
        for tap, entry in taken:
            found.setdefault(tap, []).append(matrix(entry, entry["data"], vision))
    return {tap: np.ascontiguousarray(np.concatenate(rows)) for tap, rows in found.items()}


def layer_taps(nodes, prefix):
    """Of each layer the nodes of LAYER, with our names."""
    first = {}
    for entry in nodes:
        name, _, layer = entry["name"].partition(" ")[0].rpartition("-")
        if layer.isdigit():
            first.setdefault((name, int(layer)), entry)
            first.setdefault((f"{name}:{entry['op']}", int(layer)), entry)
    for layer in sorted({layer for _, layer in first}):
        for tap, names in LAYER.items():
            for name in names:
                if entry := first.get((name, layer)):
                    yield f"{prefix}.layers.{layer}.{tap}", entry


def image_taps(nodes):
    names = [entry["name"] for entry in nodes]
    norm = names.index("pre_ln")
    # Before it stand the norm without weight, and the transposed convolution.
    yield "vision.patch_conv", nodes[norm - 2]
    yield "vision.ln_pre", nodes[norm]
    yield from layer_taps(nodes, "vision")
    behind = nodes[max(n for n, name in enumerate(names) if name.startswith("layer_out-")) + 1 :]
    products = [entry for entry in behind if entry["op"] == "MUL_MAT"]
    yield "adapter.w_in", products[0]
    yield "adapter.gelu", next(entry for entry in behind if "GELU" in entry["op"])
    yield "adapter.w_out", products[1]


def text_taps(nodes):
    yield "decoder.embeddings", next(entry for entry in nodes if entry["op"] == "GET_ROWS")
    yield from layer_taps(nodes, "decoder")
    yield "decoder.norm", next(entry for entry in nodes if entry["name"] == "result_norm")
    yield "logits", next(entry for entry in nodes if entry["op"] == "OUTPUT")
