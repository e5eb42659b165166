"""Top-k and nucleus filtering, one row and one token at a time."""

import numpy as np


def kept(logits: np.ndarray, top_k: int | None = None, top_p: float = 1.0) -> set[int]:
    """The tokens of one row `[V]` that may be drawn: top-k first, then the smallest set reaching top_p of the rest."""
    order = sorted(range(len(logits)), key=lambda t: -logits[t])[: top_k or len(logits)]
    weights = np.exp(np.asarray([logits[t] for t in order], np.float64) - max(logits))
    weights /= weights.sum()
    mass, chosen = 0.0, set()
    for token, weight in zip(order, weights):
        chosen.add(token)
        mass += weight
        if mass >= top_p:
            break
    return chosen


def distribution(logits: np.ndarray, temperature: float, top_k: int | None = None, top_p: float = 1.0) -> np.ndarray:
    """Probability of each token of one row, float64 `[V]`."""
    scaled = np.asarray(logits, np.float64) / temperature
    allowed = kept(scaled, top_k, top_p)
    weights = np.array([np.exp(s - scaled.max()) if t in allowed else 0.0 for t, s in enumerate(scaled)])
    return weights / weights.sum()
