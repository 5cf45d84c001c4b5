"""What the model says of an answer that is given, written from Docs/Answer.md 2 and 5."""

import numpy as np

import oracle


def logits(checkpoint, tokens, pixels, answer):
    """[answer, V], float64: row n is what the model says before token n of the answer."""
    kept = {}
    trace = oracle.Trace(kept.__setitem__, ["logits"], "logits")
    oracle.forward(checkpoint, [*tokens, *answer[:-1]], pixels, trace)
    return kept["logits"][len(tokens) - 1 :]


def log_probabilities(logits):
    """The natural logarithm of the softmax of each row."""
    largest = logits.max(axis=1, keepdims=True)
    return logits - largest - np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
