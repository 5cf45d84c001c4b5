"""A checkpoint that recites: after each token that is named it says the next one, with certainty.

seeded:tiny never calls a tool, and no text of a request can make it. This one does, so that what a server
makes of a call can be seen from outside.
"""

import subprocess
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def write(binary, folder: Path, chains: list[list[int]]) -> Path:
    """Mistral's layout. - binary: pixtral-ref; chains: tokens, none of which has two successors."""
    command = [binary, "checkpoint", "write", "seeded:tiny", "--layout", "mistral", "--out", folder]
    subprocess.run(command, check=True, capture_output=True)
    file = folder / "consolidated.safetensors"
    tensors = load_file(file)
    # The layers add nothing, so that the logits depend on the last token alone.
    for name in tensors:
        if name.startswith("layers.") and name.endswith(("wo.weight", "w2.weight")):
            tensors[name] = torch.zeros_like(tensors[name])
    tensors["norm.weight"] = torch.ones_like(tensors["norm.weight"])
    output = torch.zeros_like(tensors["output.weight"])
    embeddings = tensors["tok_embeddings.weight"].float()
    following = {}
    for chain in chains:
        for token, after in zip(chain, chain[1:]):
            assert following.setdefault(token, after) == after, f"{token} has two successors"
    for token, after in following.items():
        output[after] += (embeddings[token] / embeddings[token].norm() * 8).to(output.dtype)
    tensors["output.weight"] = output
    save_file(tensors, file)
    return folder


def chain(tokenizer, pieces: list[str]) -> list[int]:
    """Ids. - tokenizer: mistral-common's inner one; pieces: as SentencePiece has them, `<0xC3>` for a byte."""
    ids = {tokenizer.id_to_piece(token): token for token in range(tokenizer.n_words)}
    return [ids[piece] for piece in pieces]
