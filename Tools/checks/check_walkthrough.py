"""Follows README's section "Check your runtime" word for word, and then again with faults in the
runtime.

    python check_walkthrough.py BINARY

The commands are the ```sh blocks of that section. They run in a new folder that holds the
repository's Fixtures and Tools, with BINARY as `pixtral-ref` and this Python as `python3`. The
section must end in "all … taps are close" and exit code 0.

So they must with transformers in bfloat16, and with the reference computed from a checkpoint that
`checkpoint write --layout mistral` has written.

Then the same commands run for each fault below, in float32 and in bfloat16. A fault is put into
transformers, in the process that runs Tools/runtimes/transformers_trace.py; that file knows nothing
of it. `compare` must then exit with 1, and the first tap that its verdict names must be the one at
which the fault first shows. (In bfloat16 the tanh GELU is within the noise, and no tap is far.) The two tables that README prints must name the taps and give the verdict of the runs
here. Exit 1 if anything of this is not so.
"""

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HEADING = "Check your runtime"
TAP = re.compile(r"(?:vision|adapter|decoder)\.[a-z0-9_.]*[a-z0-9_]|logits")


# Faults, each put into transformers before the runtime is run


def no_mask():
    """Every patch sees the patches of all images."""
    from transformers.models.pixtral import modeling_pixtral

    right = modeling_pixtral.generate_block_attention_mask
    modeling_pixtral.generate_block_attention_mask = lambda *arguments: right(*arguments) * 0


def swapped_axes():
    """A patch's row turns the pairs that its column should turn, and the other way round."""
    from transformers.models.pixtral.modeling_pixtral import PixtralVisionRotaryEmbedding

    right = PixtralVisionRotaryEmbedding.forward
    PixtralVisionRotaryEmbedding.forward = lambda self, x, position_ids: right(self, x, position_ids.flip(-1))


def tanh_gelu():
    """The tanh form of GELU between the two layers of the projector."""
    from transformers.activations import ACT2CLS, ACT2FN

    ACT2FN["gelu"] = ACT2CLS["gelu_pytorch_tanh"]


def tiled_heads():
    """Key-value heads are laid out 0, 1, 0, 1, … for the query heads; right is 0, 0, …, 1, 1, …"""
    from transformers.models.mistral import modeling_mistral

    modeling_mistral.repeat_kv = lambda heads, times: heads.repeat(1, times, 1, 1)


def break_ids():
    """[IMG_BREAK] and [IMG_END] are taken for 12 and 13, as in Pixtral 12B, instead of 14 and 15."""
    from transformers import LlavaForConditionalGeneration

    right = LlavaForConditionalGeneration.forward

    def forward(self, input_ids, **inputs):
        moved = (input_ids == 14) | (input_ids == 15)
        return right(self, input_ids=input_ids - 2 * moved, **inputs)

    LlavaForConditionalGeneration.forward = forward


FAULTS = {  # fault: the tap at which it first shows
    no_mask: "vision.layers.0.attention.context",
    swapped_axes: "vision.layers.0.attention.q_rotated",
    tanh_gelu: "adapter.gelu",
    break_ids: "decoder.embeddings",
    tiled_heads: "decoder.layers.0.attention.context",
}


WITHIN_BFLOAT16 = {tanh_gelu}


# Ways to walk


def in_bfloat16(commands):
    return [f"{line} --dtype bfloat16" if "Tools/runtimes/" in line else line for line in commands]


def from_mistral_layout(commands):
    """The reference is computed from files too, those of the other layout."""
    write = "pixtral-ref checkpoint write seeded:tiny --layout mistral --out tiny-mistral"
    given = "pixtral-ref trace --checkpoint tiny-mistral"
    return [write, *(line.replace("pixtral-ref trace", given) for line in commands)]


def from_case(commands):
    """The reference is a case: its inputs for the runtime, its expectations for `compare`."""
    case = "Fixtures/cases/model/tiny/two-images"
    return [line.replace(" reference ", f" {case} ") for line in commands]


VARIANTS = {
    "as it is": list,
    "case": from_case,
    "bfloat16": in_bfloat16,
    "mistral layout": from_mistral_layout,
}


def run_as_python(fault, script, *arguments):
    """Stands for `python3 SCRIPT ARGUMENTS`, with the fault in place."""
    {function.__name__: function for function in FAULTS}[fault]()
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


# The walkthrough


def section():
    """The lines of README between the heading and the next of its level."""
    found = re.search(
        rf"^## {HEADING}\n(.*?)(?=^## )", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    if not found:
        sys.exit(f'README.md has no section "{HEADING}"')
    return found[1]


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def follow(commands, binary, fault=None):
    """Runs the commands as a reader would. Returns the exit code and the standard output of the
    last one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("Fixtures", "Tools"):
            (folder / part).symlink_to(ROOT / part)
        (folder / "bin").mkdir()
        (folder / "bin" / "pixtral-ref").symlink_to(binary)
        planted = [__file__, "--with", fault.__name__] if fault else []
        python = folder / "bin" / "python3"
        python.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *planted])} "$@"\n')
        python.chmod(0o755)
        environment = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
        for command in commands:
            shell = ["bash", "-c", command]
            process = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True)
            if process.returncode and command != commands[-1]:
                sys.exit(f"{command}\nexits with {process.returncode}:\n{process.stderr}")
        return process.returncode, process.stdout + process.stderr


def verdict(output):
    """What stands below the table, on one line."""
    return " ".join(output.rstrip().rpartition("\n\n")[2].split())


def first_tap(output):
    """The first tap that the verdict names."""
    found = TAP.search(verdict(output))
    return found[0] if found else None


def differs(sample, output):
    """How a table in README differs from what the program printed: in its taps or their order, or
    in its verdict.
    """
    printed, taps = (re.findall(rf"^({TAP.pattern}) ", text, re.MULTILINE) for text in (sample, output))
    if printed != [tap for tap in taps if tap in printed]:
        return "has other taps"
    return "has another verdict" if verdict(sample) != verdict(output) else None


def check(binary):
    text = section()
    commands = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    samples = blocks(text, "text")
    fine = True

    def report(name, right, said):
        nonlocal fine
        fine = fine and right
        print(f"{'ok' if right else 'WRONG':6}{name:26}{said}", flush=True)

    print("\n".join(commands), end="\n\n")
    outputs = {}
    for name, variant in VARIANTS.items():
        code, output = follow(variant(commands), binary)
        passed = code == 0 and re.match(r"all \d+ taps are close\b", verdict(output))
        report(name, bool(passed), f"exit {code}: {verdict(output)}")
        outputs[name] = output
    for fault, tap in FAULTS.items():
        for name in ("as it is", "bfloat16"):
            code, output = follow(VARIANTS[name](commands), binary, fault)
            said = f"exit {code}: {verdict(output)}"
            if name == "bfloat16" and fault in WITHIN_BFLOAT16:
                report(f"{fault.__name__}, {name}", code == 0, said)
            else:
                right = code == 1 and first_tap(output) == tap
                report(f"{fault.__name__}, {name}", right, said)
            outputs[fault.__name__, name] = output
    for number, name in enumerate(("as it is", (no_mask.__name__, "as it is"))):
        wrong = differs(samples[number], outputs[name]) if number < len(samples) else "there is none"
        report("README", not wrong, f"sample {number + 1}: {wrong or 'as printed here'}")
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    sys.exit(0 if check(parser.parse_args().binary.resolve(strict=True)) else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--with"]:
        run_as_python(*sys.argv[2:])
    else:
        main()
