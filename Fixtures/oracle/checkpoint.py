"""Checkpoints behind one interface, and a writer of checkpoints for tests.

A checkpoint has `params` (the dict of params.json), `shapes` (name -> shape) and `rows(name, start,
stop)`: rows start ..< stop along the first dimension as float64, [stop - start, product of the
other dimensions], or [stop - start] for a vector. Nothing is read or computed before it is asked
for.

    python checkpoint.py --source seeded:tiny|DIR|PARAMS.json [--seed N] --dtype BF16 --shards 1 --out DIR
"""

import argparse
import json
import math
import pathlib

import seeded
import tensors


class FolderCheckpoint:
    """Mistral's layout, Model.md 2."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.params = json.loads((folder / "params.json").read_text())
        single = folder / "consolidated.safetensors"
        index = folder / "consolidated.safetensors.index.json"
        assert single.exists() != index.exists(), (
            f"{folder} must hold either consolidated.safetensors or consolidated.safetensors.index.json, and not both."
        )
        self.where = {}
        if single.exists():
            reader = tensors.Reader(single)
            self.where = {name: reader for name in reader.names()}
        else:
            weight_map = json.loads(index.read_text())["weight_map"]
            readers = {file: tensors.Reader(folder / file) for file in sorted(set(weight_map.values()))}
            for file, reader in readers.items():
                for name in reader.names():
                    assert weight_map.get(name) == file, (
                        f"{name} is in {file}, but the index does not say so."
                    )
            for name, file in weight_map.items():
                assert name in readers[file].entries, f"{name} is not in {file}, though the index says so."
                self.where[name] = readers[file]

        self.shapes = seeded.tensor_shapes(self.params)
        for name, shape in self.shapes.items():
            assert name in self.where, f"{folder} has no tensor {name}."
            found = self.where[name].shape(name)
            assert found == shape, f"{name} has shape {found}, and params.json asks for {shape}."
        extra = sorted(set(self.where) - set(self.shapes))
        assert not extra, f"{folder} has tensors that Model.md 2 does not know: {', '.join(extra[:5])}."

    def rows(self, name, start, stop):
        reader = self.where[name]
        stored = tensors.widen(reader.array(name)[start:stop], reader.dtype(name))
        return stored.reshape(stop - start, -1) if stored.ndim > 1 else stored


class DictCheckpoint:
    """Arrays in memory, for tests."""

    def __init__(self, params, arrays):
        self.params = params
        self.shapes = seeded.tensor_shapes(params)
        self.arrays = arrays
        for name, shape in self.shapes.items():
            assert arrays[name].shape == shape, (
                f"{name} has shape {arrays[name].shape}, and the parameters ask for {shape}."
            )

    def rows(self, name, start, stop):
        part = self.arrays[name][start:stop].astype("float64")
        return part.reshape(stop - start, -1) if part.ndim > 1 else part


def open_checkpoint(name):
    """`seeded:NAME` or a folder."""
    if str(name).startswith("seeded:"):
        known = str(name).removeprefix("seeded:")
        assert known in seeded.NAMED, (
            f"There is no seeded checkpoint {name}; there are {', '.join(seeded.NAMED)}."
        )
        return seeded.SeededCheckpoint(seeded.NAMED[known])
    return FolderCheckpoint(name)


def row_blocks(shape, values=1 << 22):
    """Ranges of rows that hold about `values` values each."""
    step = max(1, values // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


def write_checkpoint(source, folder, dtype="BF16", shards=1, params=None):
    """Writes params.json and the tensors of `source`: a checkpoint, or a dict of arrays (then with
    `params`).

    `dtype` is BF16, F16, F32 or F64. With shards > 1 the tensors are spread over that many files,
    with an index.
    """
    if isinstance(source, dict):
        source = DictCheckpoint(params, source)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(params or source.params, indent=2) + "\n")

    # Files get about the same number of values, but always at least one tensor.
    names = list(source.shapes)
    assert 1 <= shards <= len(names), "More shards than tensors."
    total = sum(math.prod(shape) for shape in source.shapes.values())
    groups, seen = [[]], 0
    for place, name in enumerate(names):
        full = seen * shards >= total * len(groups)
        left = len(names) - place
        if groups[-1] and len(groups) < shards and (full or left <= shards - len(groups)):
            groups.append([])
        groups[-1].append(name)
        seen += math.prod(source.shapes[name])

    weight_map = {}
    for number, group in enumerate(groups, start=1):
        file = (
            "consolidated.safetensors"
            if shards == 1
            else f"consolidated-{number:05}-of-{shards:05}.safetensors"
        )
        writer = tensors.Writer(folder / file, group)
        for name in group:
            shape = source.shapes[name]
            blocks = (tensors.narrow(source.rows(name, *block), dtype) for block in row_blocks(shape))
            writer.add(name, shape, dtype, blocks)
            weight_map[name] = file
        writer.close()
    if shards > 1:
        itemsize = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}[dtype]
        index = {"metadata": {"total_size": total * itemsize}, "weight_map": weight_map}
        (folder / "consolidated.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Writes a checkpoint in Mistral's layout.")
    parser.add_argument(
        "--source", required=True, help="seeded:NAME, a folder, or a params.json for seeded values"
    )
    parser.add_argument("--seed", type=int, default=seeded.SEED, help="with a params.json only")
    parser.add_argument("--dtype", default="BF16", choices=list(tensors.STORED))
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    if options.source.endswith(".json"):
        params = json.loads(pathlib.Path(options.source).read_text())
        source = seeded.SeededCheckpoint(params, options.seed)
    else:
        source = open_checkpoint(options.source)
    write_checkpoint(source, options.out, options.dtype, options.shards)


if __name__ == "__main__":
    main()
