"""mlx_vlm.server over seeded:small in Hugging Face's layout.

    python3.11 serve.py PORT [--arithmetic bfloat16]

It loads the folder only with two changes, which are made in a copy: `model_type` is pixtral, and the
projector has biases, which are zero. The server computes in the dtype of the weights; for float32 the
copy's are widened, which changes no value. Ready when GET /health answers 200.
"""

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs  # noqa: E402
import serving  # noqa: E402


def main() -> None:
    options = serving.options_of(__doc__.splitlines()[0], "mlx-vlm-0.7.10", "hf")
    folder = altered(options.folder, options.arithmetic)
    command = [options.python, "-m", "mlx_vlm.server", "--model", folder]
    command += ["--host", "127.0.0.1", "--port", options.port, "--top-logprobs-k", 20]
    serving.become(command, {"HF_HUB_OFFLINE": "1"})


def altered(folder: Path, arithmetic: str) -> Path:
    """A copy that mlx-vlm loads, beside the folder."""
    out = folder.with_name(f"{folder.name}-mlx-{arithmetic}")
    out.mkdir(exist_ok=True)
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            (out / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "pixtral"}
    for part in (config, config["text_config"], config["vision_config"]):
        part["torch_dtype"] = arithmetic
    (out / "config.json").write_text(json.dumps(config, indent=2))
    tensors = read(folder / "model.safetensors")
    for n in (1, 2):
        name = next(name for name in tensors if name.endswith(f"multi_modal_projector.linear_{n}.weight"))
        size = tensors[name][0][0]
        tensors[name.removesuffix("weight") + "bias"] = ([size], bytes(2 * size))
    write(out / "model.safetensors", tensors, arithmetic == "float32")
    return out


def read(path: Path) -> dict[str, tuple[list[int], bytes]]:
    """Of each tensor its shape and its bytes, bfloat16."""
    whole = path.read_bytes()
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8:start])
    header.pop("__metadata__", None)
    found = {}
    for name, tensor in header.items():
        assert tensor["dtype"] == "BF16", f"{name} is {tensor['dtype']}"
        first, end = tensor["data_offsets"]
        found[name] = (tensor["shape"], whole[start + first : start + end])
    return found


def write(path: Path, tensors: dict[str, tuple[list[int], bytes]], widened: bool) -> None:
    header, data, place = {"__metadata__": {"format": "pt"}}, [], 0
    for name, (shape, stored) in tensors.items():
        if widened:  # bfloat16 is the high half of a float32
            wide = bytearray(2 * len(stored))
            wide[2::4], wide[3::4] = stored[0::2], stored[1::2]
            stored = bytes(wide)
        header[name] = {"dtype": "F32" if widened else "BF16", "shape": shape,
                        "data_offsets": [place, place + len(stored)]}  # fmt: skip
        data.append(stored)
        place += len(stored)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


runs.guarded(main)
