"""Documents that come again and again in one order, and whether a model expects the next one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seal_jax.data.packing import permutation


def cyclic_order(documents: int, cycles: int, *, shuffled: bool = False, seed: int = 0) -> np.ndarray:
    """Which document is trained on at each step: int32 `[cycles * documents]`.

    The same order in each cycle; `shuffled`, the control, has another one in each. ValueError for counts below 1.
    """
    if documents < 1 or cycles < 1:
        raise ValueError(f"{documents} documents, {cycles} cycles: use 1 or more of both")
    orders = [permutation(documents, seed, cycle) if shuffled else np.arange(documents) for cycle in range(cycles)]
    return np.concatenate(orders).astype(np.int32)


def recovery(losses: ArrayLike, order: ArrayLike) -> np.ndarray:
    """How much of what was forgotten of a document comes back before it is seen again: float64 `[steps]`, NaN at first.

    losses `[steps + 1, documents]`: of every document before the first step and after each; order int `[steps]`: the
    document of each step. At a step that trains on i again: the highest loss on i since it was last trained on, minus
    the loss right before the step. 0 is no anticipation; a model that anticipates has more.
    Raises ValueError for shapes that do not fit.
    """
    scores, steps = np.asarray(losses, np.float64), np.asarray(order)
    if scores.ndim != 2 or len(scores) != len(steps) + 1 or steps.max(initial=0) >= scores.shape[1]:
        raise ValueError(f"losses {scores.shape} and order {steps.shape}: give [steps + 1, documents] and [steps]")
    found, last = np.full(len(steps), np.nan), dict[int, int]()
    for step, document in enumerate(steps.tolist()):
        if document in last:
            found[step] = scores[last[document] + 1 : step + 1, document].max() - scores[step, document]
        last[document] = step
    return found
