"""Prompts and completions as arrays of few shapes, ordered so that a micro-batch pads little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seal_jax.data.packing import bucket, portions

LENGTHS = tuple(k * 2**n for n in range(2, 18) for k in (4, 5, 6, 7))  # 16, 20, 24, 28, 32, 40, 48, 56, 64, ...
COMPLETIONS = tuple(8 * 2**n for n in range(15))


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
    """R rows as arrays, padded on the right.

    tokens int32 and mask bool `[R, T]`; following int32 and targets bool `[R, C]`: the tokens of the completion and
    which of them are there; columns int32 `[R, C]`: where in T each of them is predicted, one before its own place;
    weight and divergence float32 `[R]`. A row of padding has no True and zeros.
    """

    tokens: np.ndarray
    mask: np.ndarray
    following: np.ndarray
    targets: np.ndarray
    columns: np.ndarray
    weight: np.ndarray
    divergence: np.ndarray


def parts(rows: Sequence[Row], at_once: int, multiple: int = 1) -> Iterator[Part]:
    """The rows in micro-batches of `at_once`, short ones first; R is a multiple of `multiple`.

    T and C are those of the longest row and completion of a micro-batch, rounded up to `LENGTHS` and `COMPLETIONS`:
    what all layers compute in small steps, what has logits in large ones, so that there are few programs.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].prompt) + len(rows[i].completion), i))
    for size, chosen in portions(order, at_once, multiple):
        yield _part([rows[i] for i in chosen], size)


def _part(rows: Sequence[Row], size: int) -> Part:
    length = bucket(max(len(row.prompt) + len(row.completion) for row in rows), LENGTHS)
    width = bucket(max(len(row.completion) for row in rows), COMPLETIONS)
    tokens, mask = np.zeros((size, length), np.int32), np.zeros((size, length), bool)
    following, targets = np.zeros((size, width), np.int32), np.zeros((size, width), bool)
    columns = np.zeros((size, width), np.int32)
    weight, divergence = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for i, row in enumerate(rows):
        start, count = len(row.prompt), len(row.completion)
        tokens[i, : start + count] = [*row.prompt, *row.completion]
        mask[i, : start + count] = True
        following[i, :count], targets[i, :count] = row.completion, True
        columns[i, :count] = np.arange(start - 1, start - 1 + count)
        weight[i], divergence[i] = row.weight, row.divergence
    return Part(tokens, mask, following, targets, columns, weight, divergence)
