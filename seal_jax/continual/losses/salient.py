"""More weight for tokens that carry facts: names, dates and numbers, found in the text.

The counterpart, for a decoder, of masking salient spans instead of random ones (arXiv 2002.08909).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax import models
from seal_jax.continual.losses.salient_spans import KINDS, salient_spans
from seal_jax.data.packing import encode
from seal_jax.training.loss import Batch, target_mask, token_log_probs


def salient_sequences(
    texts: Iterable[str], tokenizer: Any, factor: float = 3.0, kinds: Sequence[str] = KINDS, eos: bool = True
) -> tuple[list[list[int]], list[list[float]]]:
    """The texts' tokens, as `data.packing.encode` has them, and each token's weight: `factor` in salient spans, else 1.

    tokenizer: an HF tokenizer that knows its offsets. A token counts as salient if it shares a character with a span.
    Raises ValueError for a tokenizer without offsets, or a factor below 0.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError("a tokenizer that tells its tokens' offsets is needed: load it with use_fast=True")
    if not factor >= 0:
        raise ValueError(f"factor={factor} must be 0 or more")
    texts = list(texts)
    sequences = encode(texts, tokenizer, eos)
    weights = []
    for text, sequence in zip(texts, sequences):
        covered = np.zeros(len(text) + 1, bool)
        for span in salient_spans(text, kinds):
            covered[span.start : span.end] = True
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        row = [factor if covered[a:b].any() else 1.0 for a, b in offsets]
        weights.append(row + [1.0] * (len(sequence) - len(row)))
    return sequences, weights


def with_weights(
    batch: Mapping[str, np.ndarray], sequences: Sequence[Sequence[int]], weights: Sequence[Sequence[float]]
) -> dict[str, np.ndarray]:
    """A packed batch with `"weights"`, float32 like `"tokens"` and 0 at pads; its rows are found by their tokens.

    batch: from `data.packing`, of these sequences or their beginnings, in any order. Raises ValueError for a row that
    is none of them.
    """
    known = _Known(sequences, weights)
    tokens, mask = np.asarray(batch["tokens"]), np.asarray(batch["mask"])
    found = np.zeros(tokens.shape, np.float32)
    for place in np.ndindex(tokens.shape[:-1]):
        row = tuple(tokens[place][mask[place]].tolist())
        of_row = known.beginning(row)
        if of_row is None:
            count = len(sequences)
            raise ValueError(f"row {place} of the batch, of {len(row)} tokens, is none of the {count} sequences")
        found[place][mask[place]] = of_row[: len(row)]
    return {**batch, "weights": found}


class _Known:
    """Weights of sequences, found by the whole of one or by its beginning without a search through all of them."""

    def __init__(self, sequences: Sequence[Sequence[int]], weights: Sequence[Sequence[float]]) -> None:
        self._whole = {tuple(s): w for s, w in zip(sequences, weights)}
        self._cut: dict[int, dict[tuple[int, ...], Sequence[float]]] = {}

    def beginning(self, row: tuple[int, ...]) -> Sequence[float] | None:
        """The weights of the sequence that is this row, else of the first that begins with it; None without one."""
        if row in self._whole:
            return self._whole[row]
        if len(row) not in self._cut:
            cut: dict[tuple[int, ...], Sequence[float]] = {}
            for sequence, weights in self._whole.items():
                cut.setdefault(sequence[: len(row)], weights)
            self._cut[len(row)] = cut
        return self._cut[len(row)].get(row)


class WeightedLoss(NamedTuple):
    """sum of w * NLL / sum of w over the targets, w from `batch["weights"]`; with equal ones, `training.causal_lm`.

    remat, chunk: as in `training.causal_lm`.
    """

    remat: bool = False
    chunk: int | None = None

    def __call__(self, params: Any, config: models.Config, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The loss of one batch as `causal_lm` takes it, with `"weights"` float `[B, T]`: float32 `[]`."""
        del key
        log_probs = token_log_probs(params, config, batch["tokens"], batch["mask"], remat=self.remat, chunk=self.chunk)
        weights = _weights(batch)
        total = weights.sum()
        return -(weights * log_probs).sum() / jnp.where(total > 0, total, 1.0)

    def weight(self, batch: Batch) -> jax.Array:
        """What a part of a batch counts for under `accumulate`: its targets' weights, float32 `[]`."""
        return _weights(batch).sum()


def _weights(batch: Batch) -> jax.Array:
    if "weights" not in batch:
        raise ValueError('the batch has no "weights": make them with losses.with_weights')
    return jnp.where(target_mask(batch), batch["weights"].astype(jnp.float32), 0.0)
