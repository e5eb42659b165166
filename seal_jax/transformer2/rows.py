"""Prompts and completions as arrays of few shapes, ordered so that a micro-batch pads little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seal_jax.data.packing import STEP_BUCKETS, portions
from seal_jax.data.packing import bucket as bucket_of

BUCKETS = tuple(b for b in STEP_BUCKETS if b >= 8)


class Row(NamedTuple):
    """One sequence of an update.

    prompt, completion: token ids, the targets being the completion's. weight: what the log-likelihood of each target is
    multiplied by, in an objective that is maximised; divergence: what the divergence at each target is multiplied by,
    subtracted from it. Both hold the division by the batch already, so that the loss of an update is a sum of rows.
    """

    prompt: Sequence[int]
    completion: Sequence[int]
    weight: float
    divergence: float = 0.0


class Part(NamedTuple):
    """R rows as arrays: the prompt ends and the completion begins at the same column of every row.

    tokens int32 and mask bool `[R, P + C]`, prompts padded on their left and completions on their right; targets bool
    `[R, C]`; weight and divergence float32 `[R]`. A row of padding has no True and zeros.
    """

    tokens: np.ndarray
    mask: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    divergence: np.ndarray


def parts(rows: Sequence[Row], at_once: int, multiple: int = 1) -> Iterator[Part]:
    """The rows in micro-batches of `at_once`, short completions first; R is a multiple of `multiple`.

    P is that of the longest prompt and C that of the longest completion of the micro-batch, both rounded up to
    `BUCKETS`: prompts of a task are much alike, and completions are not.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].completion), i))
    before = bucket_of(max((len(row.prompt) for row in rows), default=1), BUCKETS)
    for size, chosen in portions(order, at_once, multiple):
        yield _part([rows[i] for i in chosen], size, before)


def _part(rows: Sequence[Row], size: int, before: int) -> Part:
    after = bucket_of(max(len(row.completion) for row in rows), BUCKETS)
    tokens = np.zeros((size, before + after), np.int32)
    mask = np.zeros((size, before + after), bool)
    weight, divergence = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for i, row in enumerate(rows):
        real = slice(before - len(row.prompt), before + len(row.completion))
        tokens[i, real] = [*row.prompt, *row.completion]
        mask[i, real] = True
        weight[i], divergence[i] = row.weight, row.divergence
    return Part(tokens, mask, mask[:, before:].copy(), weight, divergence)
