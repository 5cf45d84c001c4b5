"""One step of the model on given inputs: an operation of Docs/Model.md 3, or a stage of it, by oracle.py.

Docs/Conformance.md, steps, has every stage with its parameters and tensors. Here a step is a
checkpoint of nothing but those tensors, so that oracle.py's own functions compute it; weights stand
in it under their whole names, as in a checkpoint.
"""

import math

import numpy as np
import oracle

# What stands in front of the names of a stage's weights in a checkpoint.
PREFIXES = {
    "patch_conv": "vision_encoder.",
    "vision_layer": "vision_encoder.transformer.layers.0.",
    "adapter": "vision_language_adapter.",
    "decoder_layer": "layers.0.",
    "prefill": "layers.0.",
}
LAYER = {
    "attention_norm.weight": ("width",),
    "attention.wq.weight": ("queries", "width"),
    "attention.wk.weight": ("keys", "width"),
    "attention.wv.weight": ("keys", "width"),
    "attention.wo.weight": ("width", "queries"),
    "ffn_norm.weight": ("width",),
    "feed_forward.w1.weight": ("hidden", "width"),
    "feed_forward.w3.weight": ("hidden", "width"),
    "feed_forward.w2.weight": ("width", "hidden"),
}


class Tensors:
    """The tensors of a step as a checkpoint."""

    def __init__(self, stage, parameters, tensors):
        prefix = PREFIXES.get(stage, "")
        self.tensors = {
            (prefix if name.endswith((".weight", ".bias")) else "") + name: tensor
            for name, tensor in tensors.items()
        }
        self.shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
        # The keys of params.json that oracle.py reads, and the decoder's that a fault may read wrongly.
        self.params = {
            "norm_eps": parameters.get("eps"),
            "rope_theta": parameters.get("theta"),
            "n_heads": parameters.get("heads"),
            "n_kv_heads": parameters.get("kv_heads"),
            "head_dim": parameters.get("head_dim"),
            "vision_encoder": {
                "adapter_bias": parameters.get("bias"),
                "image_token_id": parameters.get("image_token_id"),
            },
        }

    def rows(self, name, start, stop):
        rows = self.tensors[name][start:stop].astype(np.float64)
        return rows if rows.ndim == 1 else rows.reshape(stop - start, -1)


def answer(stage, parameters, tensors, changed=lambda checkpoint: checkpoint):
    """The output of a step.

    - parameters: an object of JSON; tensors: by name, of any float dtype.
    - changed: makes another checkpoint of the step's, one with a fault for instance.
    """
    assert stage in STAGES, f"There is no stage {stage}."
    return STAGES[stage](changed(Tensors(stage, parameters, tensors)), parameters)


def given(step, name, columns=None):
    """An input whole."""
    assert name in step.shapes, f"There is no tensor {name}."
    shape = step.shapes[name]
    assert len(shape) == 2 and shape[0] > 0 and columns in (None, shape[1]), (
        f"{name} has the shape {list(shape)}, expected [rows, {columns or 'columns'}]."
    )
    return step.rows(name, 0, shape[0])


def trace():
    """Keeps nothing."""
    return oracle.Trace(None, [])


def rms_norm(step, parameters):
    x = given(step, "x")
    return oracle.rms_norm(x, oracle.vector(step, "norm.weight"), step.params["norm_eps"])


def rotary(step, parameters):
    heads, positions = parameters["heads"], parameters["positions"]
    x = given(step, "x", heads * parameters["head_dim"])
    assert len(positions) == len(x), f"{len(positions)} positions of {len(x)} rows."
    return oracle.rotate(x, token_angles(step, parameters, positions), heads)


def rotary_2d(step, parameters):
    heads = parameters["heads"]
    x = given(step, "x", heads * parameters["head_dim"])
    return oracle.rotate(x, patch_angles(parameters, len(x)), heads)


def attention(step, parameters):
    heads, kv_heads, d = (parameters[key] for key in ("heads", "kv_heads", "head_dim"))
    q, k, v = (given(step, name, n * d) for name, n in (("q", heads), ("k", kv_heads), ("v", kv_heads)))
    part = "decoder" if parameters["causal"] else "vision"
    sees = seen(parameters["segments"], parameters["causal"], len(q), len(k))
    return oracle.attention(q, k, v, heads, kv_heads, sees, trace(), f"{part}.layers.0.")


def silu_product(step, parameters):
    return oracle.silu(given(step, "gate")) * given(step, "up")


def gelu(step, parameters):
    return oracle.gelu(given(step, "x"))


def patch_conv(step, parameters):
    p, rows = parameters["patch_size"], []
    for n in range(sum(name.startswith("image") for name in step.shapes)):
        image = step.rows(f"image{n}", 0, 3).reshape(step.shapes[f"image{n}"])
        assert image.shape[1] % p == 0 and image.shape[2] % p == 0, f"image{n} is no whole number of patches."
        rows.append(oracle.flatten_patches(image, p))
    return oracle.linear(np.concatenate(rows), step, "vision_encoder.patch_conv.weight")


def vision_layer(step, parameters):
    heads, x = parameters["heads"], given(step, "x")
    check_layer(step, "vision_layer", parameters, x)
    return oracle.layer(
        x,
        step,
        PREFIXES["vision_layer"],
        parameters["eps"],
        heads,
        heads,
        patch_angles(parameters, len(x)),
        seen([grid["rows"] * grid["columns"] for grid in parameters["grids"]], False, len(x), len(x)),
        trace(),
        "vision.layers.0.",
    )


def adapter(step, parameters):
    return oracle.adapter(step, given(step, "x"), trace())


def splice(step, parameters):
    tokens = parameters["tokens"]
    images = given(step, "image_rows") if "image_rows" in step.shapes else None
    marks = sum(token == parameters["image_token_id"] for token in tokens)
    assert marks == (0 if images is None else len(images)), f"{marks} [IMG] tokens and other image rows."
    return oracle.embeddings(step, tokens, images, trace())


def decoder_layer(step, parameters):
    x = given(step, "x")
    return decoder(step, parameters, x, 0)


def prefill(step, parameters):
    """The rows of x behind those whose rotated keys and values are given."""
    x, count = given(step, "x"), parameters["position"]
    width = parameters["kv_heads"] * parameters["head_dim"]
    earlier = [given(step, name, width) for name in ("k_rotated", "v")]
    assert all(len(rows) == count for rows in earlier), f"k_rotated and v have other than {count} rows."

    plain = oracle.attention

    def behind(q, k, v, *rest):
        k, v = (np.concatenate(pair) for pair in zip(earlier, (k, v), strict=True))
        return plain(q, k, v, *rest)

    oracle.attention = behind
    try:
        return decoder(step, parameters, x, count)
    finally:
        oracle.attention = plain


def decoder(step, parameters, x, first):
    """A layer of the decoder; `first` is the position of its first row."""
    check_layer(step, "decoder_layer", parameters, x)
    positions = range(first, first + len(x))
    return oracle.layer(
        x,
        step,
        PREFIXES["decoder_layer"],
        step.params["norm_eps"],
        parameters["heads"],
        parameters["kv_heads"],
        token_angles(step, parameters, positions),
        seen([first + len(x)], True, len(x), first + len(x)),
        trace(),
        "decoder.layers.0.",
    )


def head(step, parameters):
    x = oracle.rms_norm(given(step, "x"), oracle.vector(step, "norm.weight"), step.params["norm_eps"])
    return oracle.linear(x, step, "output.weight")


def token_angles(step, parameters, positions):
    """Model.md 7.3."""
    theta, d = step.params["rope_theta"], parameters["head_dim"]
    return oracle.decoder_angles(max(positions) + 1, theta, d)[list(positions)]


def patch_angles(parameters, rows):
    """Model.md 5.3."""
    places = [(row, column) for grid in parameters["grids"]
              for row in range(grid["rows"]) for column in range(grid["columns"])]  # fmt: skip
    assert len(places) == rows, f"{len(places)} patches in the grids, {rows} rows."
    return oracle.vision_angles(places, parameters["theta"], parameters["head_dim"])


def seen(segments, causal, queries, keys):
    """[queries, keys]: whether a row sees another. The queries are the last of the keys' positions."""
    assert sum(segments) == keys >= queries, f"Segments of {sum(segments)} rows, {keys} rows of k."
    segment = np.repeat(np.arange(len(segments)), segments)
    position = np.arange(keys)
    sees = segment[:, None] == segment[None, :]
    if causal:
        sees &= position[None, :] <= position[:, None]
    return sees[keys - queries :]


def check_layer(step, stage, parameters, x):
    """The shapes of a layer's weights."""
    heads, d = parameters["heads"], parameters["head_dim"]
    w1 = step.shapes.get(PREFIXES[stage] + "feed_forward.w1.weight", (0,))
    sizes = {
        "width": x.shape[1],
        "queries": heads * d,
        "keys": parameters.get("kv_heads", heads) * d,
        "hidden": w1[0],
    }
    for name, dimensions in LAYER.items():
        shape, found = tuple(sizes[key] for key in dimensions), step.shapes.get(PREFIXES[stage] + name)
        assert found == shape, f"{name} has the shape {found}, expected {list(shape)}."
    assert math.prod(sizes.values()) > 0, "A layer without columns."


STAGES = {
    function.__name__: function
    for function in (rms_norm, rotary, rotary_2d, attention, silu_product, gelu, patch_conv,
                     vision_layer, adapter, splice, decoder_layer, head, prefill)
}  # fmt: skip
