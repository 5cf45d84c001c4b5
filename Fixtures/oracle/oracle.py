"""The forward pass in float64, step by step as in Docs/Model.md, with every tap of Model.md 8.

Matrices have one row a patch or a token. Weights are streamed in blocks of rows and never held
whole.
"""

import math

import numpy as np

from checkpoint import row_blocks

VISION_NORM_EPS = 1e-5  # Model.md 1: no key of the format


class Finished(Exception):
    """Raised when the last tap asked for has been computed."""


class Trace:
    """Hands the taps in `wanted` to `keep(name, matrix)`, in the order of computation, and stops
    after `until`.
    """

    def __init__(self, keep, wanted, until=None):
        self.keep, self.wanted, self.until = keep, set(wanted), until

    def wants(self, name):
        return name in self.wanted or name == self.until

    def put(self, name, matrix):
        if name in self.wanted:
            self.keep(name, matrix)
        if name == self.until:
            raise Finished


LAYER_TAPS = (
    "attention_norm",
    "attention.q",
    "attention.k",
    "attention.v",
    "attention.q_rotated",
    "attention.k_rotated",
    "attention.scores",
    "attention.weights",
    "attention.context",
    "attention.output",
    "residual",
    "ffn_norm",
    "feed_forward.gate",
    "feed_forward.up",
    "feed_forward.hidden",
    "feed_forward.output",
    "output",
)
ON_DEMAND = ("attention.scores", "attention.weights")


def tap_names(params, with_images):
    """Every tap, in the order of computation (Model.md 8)."""
    names = []
    if with_images:
        names += ["vision.patch_conv", "vision.ln_pre"]
        for n in range(params["vision_encoder"]["num_hidden_layers"]):
            names += [f"vision.layers.{n}.{tap}" for tap in LAYER_TAPS]
        names += ["adapter.w_in", "adapter.gelu", "adapter.w_out"]
    names += ["decoder.embeddings"]
    for n in range(params["n_layers"]):
        names += [f"decoder.layers.{n}.{tap}" for tap in LAYER_TAPS]
    return names + ["decoder.norm", "logits"]


# Operations, Model.md 3


def vector(checkpoint, name):
    (length,) = checkpoint.shapes[name]
    return checkpoint.rows(name, 0, length)


def linear(x, checkpoint, name):
    """x [n, in] times the transpose of the tensor [out, in], block by block: [n, out]. No bias."""
    shape = checkpoint.shapes[name]
    result = np.empty((x.shape[0], shape[0]))
    for start, stop in row_blocks(shape):
        result[:, start:stop] = x @ checkpoint.rows(name, start, stop).T
    return result


def rms_norm(x, weight, eps):
    """Model.md 3.1. x [n, width], weight [width]."""
    mean_of_squares = np.mean(x * x, axis=1, keepdims=True)
    return x / np.sqrt(mean_of_squares + eps) * weight


def rotate(x, angles, heads):
    """Model.md 3.2. x [n, heads * d], angles [n, d / 2]: the i-th for columns (2i, 2i + 1) of every
    head.
    """
    d = x.shape[1] // heads
    cos, sin = np.cos(angles), np.sin(angles)
    result = np.empty_like(x)
    for h in range(heads):
        a = x[:, h * d : (h + 1) * d : 2]  # columns 0, 2, 4, ... of the head
        b = x[:, h * d + 1 : (h + 1) * d : 2]  # columns 1, 3, 5, ...
        result[:, h * d : (h + 1) * d : 2] = a * cos - b * sin
        result[:, h * d + 1 : (h + 1) * d : 2] = a * sin + b * cos
    return result


def attention(q, k, v, heads, kv_heads, sees, trace, prefix):
    """Model.md 3.3. q [n, heads * d], k and v [n, kv_heads * d], sees [n, n]: whether row i sees
    row j. -> [n, heads * d].
    """
    n = q.shape[0]
    d = q.shape[1] // heads
    context = np.empty_like(q)
    # The on-demand taps of all heads, [n, heads * n], only where asked for.
    all_scores = np.empty((n, heads * n)) if trace.wants(prefix + "attention.scores") else None
    all_weights = np.empty((n, heads * n)) if trace.wants(prefix + "attention.weights") else None
    for h in range(heads):
        g = h // (heads // kv_heads)
        q_h = q[:, h * d : (h + 1) * d]
        k_g = k[:, g * d : (g + 1) * d]
        v_g = v[:, g * d : (g + 1) * d]
        scores = q_h @ k_g.T / math.sqrt(d)
        scores[~sees] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        context[:, h * d : (h + 1) * d] = weights @ v_g
        if all_scores is not None:
            all_scores[:, h * n : (h + 1) * n] = scores
        if all_weights is not None:
            all_weights[:, h * n : (h + 1) * n] = weights
    if all_scores is not None:
        trace.put(prefix + "attention.scores", all_scores)
    if all_weights is not None:
        trace.put(prefix + "attention.weights", all_weights)
    return context


def silu(x):
    """Model.md 3.4."""
    with np.errstate(over="ignore"):  # e^(-x) may be infinite; the quotient is then 0, as it should be
        return x / (1 + np.exp(-x))


_erf = np.frompyfunc(math.erf, 1, 1)  # NumPy has no erf; the C library's is right to the last place or so


def gelu(x):
    """Model.md 3.5, row by row because frompyfunc makes Python objects on the way."""
    result = np.empty_like(x)
    for i in range(x.shape[0]):
        erf = _erf(x[i] / math.sqrt(2)).astype(np.float64)
        result[i] = x[i] * (1 + erf) / 2
    return result


def layer(x, checkpoint, weights, eps, heads, kv_heads, angles, sees, trace, tap):
    """Model.md 3.6. x [n, width]; `weights` and `tap` are the prefixes of the layer's tensors and
    taps.
    """
    normed = rms_norm(x, vector(checkpoint, weights + "attention_norm.weight"), eps)
    trace.put(tap + "attention_norm", normed)
    q = linear(normed, checkpoint, weights + "attention.wq.weight")
    trace.put(tap + "attention.q", q)
    k = linear(normed, checkpoint, weights + "attention.wk.weight")
    trace.put(tap + "attention.k", k)
    v = linear(normed, checkpoint, weights + "attention.wv.weight")
    trace.put(tap + "attention.v", v)
    q = rotate(q, angles, heads)
    trace.put(tap + "attention.q_rotated", q)
    k = rotate(k, angles, kv_heads)
    trace.put(tap + "attention.k_rotated", k)
    context = attention(q, k, v, heads, kv_heads, sees, trace, tap)
    trace.put(tap + "attention.context", context)
    attended = linear(context, checkpoint, weights + "attention.wo.weight")
    trace.put(tap + "attention.output", attended)
    residual = x + attended
    trace.put(tap + "residual", residual)

    normed = rms_norm(residual, vector(checkpoint, weights + "ffn_norm.weight"), eps)
    trace.put(tap + "ffn_norm", normed)
    gate = linear(normed, checkpoint, weights + "feed_forward.w1.weight")
    trace.put(tap + "feed_forward.gate", gate)
    up = linear(normed, checkpoint, weights + "feed_forward.w3.weight")
    trace.put(tap + "feed_forward.up", up)
    hidden = silu(gate) * up
    trace.put(tap + "feed_forward.hidden", hidden)
    fed = linear(hidden, checkpoint, weights + "feed_forward.w2.weight")
    trace.put(tap + "feed_forward.output", fed)
    output = residual + fed
    trace.put(tap + "output", output)
    return output


# Vision encoder, Model.md 5


def grids(pixels, vision):
    """(rows, columns) of every image, in patches."""
    p = vision["patch_size"]
    result = []
    for number, image in enumerate(pixels):
        assert image.dtype == np.float32 and image.ndim == 3 and image.shape[0] == vision["num_channels"], (
            f"Image {number} must be a float32 tensor [{vision['num_channels']}, height, width]; it is {image.dtype} {image.shape}."
        )
        assert image.shape[1] % p == 0 and image.shape[2] % p == 0 and image.size > 0, (
            f"Image {number} is {image.shape[2]} by {image.shape[1]} pixels, which is no whole number of patches of {p}."
        )
        result.append((image.shape[1] // p, image.shape[2] // p))
    return result


def flatten_patches(image, p):
    """Model.md 5.1: [C, rows * p, columns * p] -> [rows * columns, C * p * p], each row in the
    order (channel, y, x).
    """
    _, height, width = image.shape
    result = []
    for row in range(height // p):
        for column in range(width // p):
            patch = image[:, row * p : (row + 1) * p, column * p : (column + 1) * p]
            result.append(patch.reshape(-1))
    return np.array(result, dtype=np.float64)


def vision_angles(places, theta, e):
    """Model.md 5.3. places: (row, column) of every patch. -> [P, e / 2]."""
    f = [theta ** (-2 * j / e) for j in range(e // 2)]
    even = np.array(f[0::2])  # f_0, f_2, ...
    odd = np.array(f[1::2])  # f_1, f_3, ...
    return np.array([np.concatenate([row * even, column * odd]) for row, column in places])


def vision_encoder(checkpoint, pixels, trace):
    """All images together: [P, E]."""
    vision = checkpoint.params["vision_encoder"]
    heads = vision["num_attention_heads"]
    e = vision["hidden_size"] // heads

    places, image_of = [], []  # of every patch: its (row, column), and which image it is in
    for number, (rows, columns) in enumerate(grids(pixels, vision)):
        places += [(row, column) for row in range(rows) for column in range(columns)]
        image_of += [number] * (rows * columns)
    angles = vision_angles(places, vision["rope_theta"], e)
    image_of = np.array(image_of)
    sees = image_of[:, None] == image_of[None, :]  # Model.md 5.4: [P, P]

    patches = np.concatenate([flatten_patches(image, vision["patch_size"]) for image in pixels])
    x = linear(patches, checkpoint, "vision_encoder.patch_conv.weight")
    trace.put("vision.patch_conv", x)
    x = rms_norm(x, vector(checkpoint, "vision_encoder.ln_pre.weight"), VISION_NORM_EPS)
    trace.put("vision.ln_pre", x)
    for n in range(vision["num_hidden_layers"]):
        x = layer(
            x,
            checkpoint,
            f"vision_encoder.transformer.layers.{n}.",
            VISION_NORM_EPS,
            heads,
            heads,
            angles,
            sees,
            trace,
            f"vision.layers.{n}.",
        )
    return x


# Adapter and embeddings, Model.md 6


def adapter(checkpoint, x, trace):
    """[P, E] -> [P, D]."""
    name = "vision_language_adapter."
    biased = checkpoint.params["vision_encoder"].get("adapter_bias", True)
    x = linear(x, checkpoint, name + "w_in.weight")
    if biased:
        x = x + vector(checkpoint, name + "w_in.bias")
    trace.put("adapter.w_in", x)
    x = gelu(x)
    trace.put("adapter.gelu", x)
    x = linear(x, checkpoint, name + "w_out.weight")
    if biased:
        x = x + vector(checkpoint, name + "w_out.bias")
    trace.put("adapter.w_out", x)
    return x


def embeddings(checkpoint, tokens, images, trace):
    """Model.md 6.2: [T, D]. `images` [P, D] are the rows of adapter.w_out, or None."""
    image_token = checkpoint.params["vision_encoder"]["image_token_id"]
    rows, next_image_row = [], 0
    for token in tokens:
        if token == image_token:
            rows.append(images[next_image_row])
            next_image_row += 1
        else:
            rows.append(checkpoint.rows("tok_embeddings.weight", token, token + 1)[0])
    x = np.array(rows)
    trace.put("decoder.embeddings", x)
    return x


# Decoder, Model.md 7


def decoder_angles(count, theta, d):
    """Model.md 7.3: [T, d / 2]."""
    f = np.array([theta ** (-2 * i / d) for i in range(d // 2)])
    return np.arange(count)[:, None] * f[None, :]


def decoder(checkpoint, x, trace):
    """[T, D] -> [T, V]."""
    params = checkpoint.params
    count = x.shape[0]
    angles = decoder_angles(count, params["rope_theta"], params["head_dim"])
    positions = np.arange(count)
    sees = positions[None, :] <= positions[:, None]  # Model.md 7.4: row i sees j <= i
    for n in range(params["n_layers"]):
        x = layer(
            x,
            checkpoint,
            f"layers.{n}.",
            params["norm_eps"],
            params["n_heads"],
            params["n_kv_heads"],
            angles,
            sees,
            trace,
            f"decoder.layers.{n}.",
        )
    x = rms_norm(x, vector(checkpoint, "norm.weight"), params["norm_eps"])
    trace.put("decoder.norm", x)
    x = linear(x, checkpoint, "output.weight")
    trace.put("logits", x)
    return x


def check(checkpoint, tokens, pixels):
    """What a request must fulfil before anything is computed."""
    params = checkpoint.params
    vision = params["vision_encoder"]
    assert tokens, "There are no tokens."
    for token in tokens:
        assert type(token) is int and 0 <= token < params["vocab_size"], (
            f"{token!r} is no token of a vocabulary of {params['vocab_size']}."
        )
    patches = sum(rows * columns for rows, columns in grids(pixels, vision))
    marks = sum(token == vision["image_token_id"] for token in tokens)
    assert marks == patches, f"The prompt has {marks} [IMG] tokens, but the images have {patches} patches."
    assert params["n_heads"] % params["n_kv_heads"] == 0, "n_heads must be a multiple of n_kv_heads."
    assert params["head_dim"] % 2 == 0, "head_dim must be even."
    assert vision["hidden_size"] % (2 * vision["num_attention_heads"]) == 0, (
        "The vision encoder's head_dim must be whole and even."
    )


def forward(checkpoint, tokens, pixels, trace):
    """Runs the request; what it computes goes to `trace`."""
    check(checkpoint, tokens, pixels)
    try:
        images = None
        if pixels:
            images = adapter(checkpoint, vision_encoder(checkpoint, pixels, trace), trace)
        decoder(checkpoint, embeddings(checkpoint, tokens, images, trace), trace)
    except Finished:
        pass
