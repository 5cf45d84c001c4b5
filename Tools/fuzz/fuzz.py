"""Throws mutated files at what reads strangers' bytes: the PNG and JPEG decoders, and what reads
safetensors files, JSON, params.json and index files.

    python fuzz.py BINARY [--seconds 600] [--readers png,jpeg,safetensors,json,params,index] [--corpus FOLDER]

BINARY is Tools/fuzz/Fuzz.swift with libFuzzer and AddressSanitizer; `make fuzz` builds it. The seeds are
the fixtures: every kind of PNG and JPEG, every request that shows a rule, small safetensors files.
Two readers run at a time. What is found lies in FOLDER/findings; exit 1 if anything is.
"""

import argparse
import base64
import concurrent.futures
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Tools" / "goldens"))

import suites  # noqa: E402


def safetensors(tensors: dict, **more) -> bytes:
    """- tensors: name to (dtype, shape, bytes)."""
    header, content = dict(more), b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(content), len(content) + len(data)],
        }
        content += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def seeds(reader: str):
    if reader in ("png", "jpeg"):
        for case in suites.read(f"image/rgb/{reader}"):
            yield base64.b64decode(case["inputs"]["base64"])
    elif reader == "safetensors":
        pixels = struct.pack("<12f", *(0.25 * n for n in range(12)))
        yield safetensors({"image0": ("F32", [3, 2, 2], pixels)})
        yield safetensors(
            {"image0": ("F32", [3, 2, 2], pixels), "image1": ("BF16", [3, 1, 4], bytes(24))},
            __metadata__={"format": "pt"},
        )
        yield safetensors({"image0": ("F64", [3, 1, 1], bytes(24)), "image1": ("F16", [3, 0, 4], b"")})
        yield safetensors(
            {"a": ("I64", [], bytes(8)), "b": ("F8_E4M3", [3], bytes(3)), "c": ("F4", [2], b"0")}
        )
        yield safetensors({})
    elif reader == "params":
        small = {
            "dim": 4,
            "n_layers": 1,
            "head_dim": 2,
            "hidden_dim": 6,
            "n_heads": 2,
            "n_kv_heads": 1,
            "norm_eps": 1e-5,
            "vocab_size": 20,
            "rope_theta": 1e6,
            "vision_encoder": {
                "hidden_size": 4,
                "num_channels": 3,
                "image_size": 8,
                "patch_size": 2,
                "intermediate_size": 6,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "rope_theta": 1e4,
                "image_token_id": 10,
            },
        }
        yield json.dumps(small).encode()
        yield json.dumps({**small, "tied_embeddings": None, "yarn": {"factor": 4}}).encode()
    elif reader == "index":
        yield b'{"metadata":{"total_size":0},"weight_map":{"a.weight":"a","b.weight":"b"}}'
    else:
        for case in suites.read("tokens/request/rules"):
            yield json.dumps(case["inputs"], ensure_ascii=False).encode(errors="backslashreplace")
            if "request" in case["inputs"]:
                yield json.dumps(case["inputs"]["request"], ensure_ascii=False).encode(
                    errors="backslashreplace"
                )
        yield from (
            b'{"id": 1, "text": "a\\u00e9\\ud83d\\ude00"}',
            b'{"id": [], "tokens": [1, 2, 32767]}',
            b'{"fim": {"prompt": "a", "suffix": "b"}}',
        )


def run(binary: Path, reader: str, seconds: int, corpus: Path) -> tuple[str, int, str]:
    folder, findings = corpus / reader, corpus / "findings"
    folder.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds(reader)):
        (folder / f"seed-{number}").write_bytes(seed)
    command = [
        binary,
        folder,
        f"-max_total_time={seconds}",
        "-timeout=5",
        "-rss_limit_mb=512",
        "-max_len=20000",
        f"-artifact_prefix={findings}/{reader}-",
        "-print_final_stats=1",
    ]
    environment = {
        **os.environ,
        "FUZZ": reader,
        "ASAN_OPTIONS": "quarantine_size_mb=16:detect_leaks=1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    (findings / f"{reader}.log").write_text(done.stderr[-100_000:])
    return reader, done.returncode, done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary", type=Path)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--readers", default="png,jpeg,safetensors,json,params,index")
    parser.add_argument("--corpus", type=Path, default=ROOT / ".build" / "fuzz" / "corpus")
    arguments = parser.parse_args()
    wrong = 0
    if sys.stderr.isatty():
        print(f"{arguments.readers}: {arguments.seconds} seconds each, two at a time", file=sys.stderr)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(
                run, arguments.binary.resolve(), reader, arguments.seconds, arguments.corpus.resolve()
            )
            for reader in arguments.readers.split(",")
        ]
        for job in concurrent.futures.as_completed(jobs):
            reader, code, log = job.result()
            figures = dict(line[6:].split(":") for line in log.splitlines() if line.startswith("stat::"))
            inputs, peak = (
                figures.get(key, "?").strip() for key in ("number_of_executed_units", "peak_rss_mb")
            )
            outcome = "nothing found" if code == 0 else f"a finding, see {arguments.corpus / 'findings'}"
            print(f"{reader}: {inputs} inputs, peak {peak} MB: {outcome}", flush=True)
            wrong += code != 0
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
