"""AdamW with clipping and linear decay, one step at a time in float64: the slow and obvious version."""

from __future__ import annotations

import numpy as np


def learning_rate(lr: float, step: int, steps: int, warmup: int) -> float:
    """Linear warm-up from 0, then linear decay to 0; step counts from 0."""
    if step < warmup:
        return lr * step / warmup
    return lr * (steps - step) / (steps - warmup)


def train(params, gradients, lr, steps, warmup=0, weight_decay=0.0, clip=1.0):
    """Apply `gradients`, a list of lists of arrays like `params`; returns the parameters after every step."""
    params = [np.asarray(p, np.float64) for p in params]
    mean = [np.zeros_like(p) for p in params]
    square = [np.zeros_like(p) for p in params]
    history = []
    for step in range(steps):
        grads = [np.asarray(g, np.float64) for g in gradients[step]]
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        if clip > 0 and norm > clip:
            grads = [g * clip / norm for g in grads]
        rate = learning_rate(lr, step, steps, warmup)
        for i, g in enumerate(grads):
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.999 * square[i] + 0.001 * g**2
            m_hat = mean[i] / (1 - 0.9 ** (step + 1))
            v_hat = square[i] / (1 - 0.999 ** (step + 1))
            params[i] = params[i] - rate * (m_hat / (np.sqrt(v_hat) + 1e-8) + weight_decay * params[i])
        history.append([p.copy() for p in params])
    return history
