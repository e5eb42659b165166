"""DER and DER++ (arXiv 2004.07211): replayed examples keep the logits that the model had when they were stored."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import models
from seal_jax.continual.losses.means import chosen_log_probs, following, hidden_and_next, masked_mean
from seal_jax.training.loss import Batch, by_columns, target_mask

CURRENT, LOGITS, LABELS = 0, 1, 2
"""What a row of a batch is for, in `batch["role"]`: the task at hand; the stored logits; the labels, by DER++."""


def topk_mse(logits: jax.Array, ids: jax.Array | None, stored: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The mean squared distance to stored logits: float32 `[]`.

    logits: `[..., V]`; ids: int `[..., k]`, the classes whose logits were kept (None: all V); stored: `[..., k]`;
    mask: bool `[...]`, which predictions count. No gradient goes to `stored`.
    """
    return masked_mean(_squared(logits, ids, stored), mask)


def topk_kl(logits: jax.Array, ids: jax.Array | None, stored: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """KL(stored || now) in nats, both renormalised over the kept classes: float32 `[]`. Arguments as in `topk_mse`."""
    return masked_mean(_renormalised(logits, ids, stored), mask)


def top_logits(
    params: Any, config: models.Config, batch: Batch, k: int = 64, *, chunk: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """The k largest logits for every token of a batch given its prefix: ids int32 and logits float32 `[B, T, k]`.

    Entry t is about token t, as in `loss_mask`, and that of the first column means nothing. Store them beside the
    example, of its answer tokens, when it enters the memory. Raises ValueError unless 1 <= k <= the vocabulary's size.
    """
    if not 1 <= k <= config.vocab_size:
        raise ValueError(f"k={k} logits of a vocabulary of {config.vocab_size}: choose 1 to {config.vocab_size}")

    def score(hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.lax.top_k(models.unembed(params, config, hidden), k)

    hidden = hidden_and_next(params, config, batch, False)[0]
    kept, ids = by_columns(score, (hidden,), config.vocab_size, chunk)
    return jnp.roll(ids, 1, axis=1), jnp.roll(kept, 1, axis=1)


class DerLoss(NamedTuple):
    """NLL of current rows + alpha * distance of rows with logits + beta * NLL of rows with labels, means over targets.

    beta=0 is DER; DER++ draws its rows with labels apart from those with logits. distance: "mse" (published), or "kl"
    of the renormalised top k, which no shift of the logits changes. Under `accumulate` the means are those of a part,
    so give each part rows of every role. remat, chunk: as in `training.causal_lm`. Equal settings are equal objects.
    """

    alpha: float = 0.3
    beta: float = 0.5
    distance: str = "mse"
    remat: bool = False
    chunk: int | None = None

    def __call__(self, params: Any, config: models.Config, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The loss of one batch, float32 `[]`.

        batch: as in `training.causal_lm`, with `"role"` int32 `[B, T]` (`CURRENT`, `LOGITS` or `LABELS`, the same along
        a row), and `"topk_ids"` int32, `"topk_logits"` float `[B, T, k]` as `top_logits` gives them.
        """
        del key
        hidden, tokens = hidden_and_next(params, config, batch, self.remat)
        stored = tuple(following(batch[name]) for name in ("topk_ids", "topk_logits"))
        score = partial(_terms, params, config, DISTANCES[self.distance])
        log_probs, apart = by_columns(score, (hidden, tokens, *stored), config.vocab_size, self.chunk)
        chosen, role = following(target_mask(batch)), following(batch["role"])
        current, logits, labels = (chosen & (role == kind) for kind in (CURRENT, LOGITS, LABELS))
        replayed = self.alpha * masked_mean(apart, logits) + self.beta * masked_mean(-log_probs, labels)
        return masked_mean(-log_probs, current) + replayed


def der_loss(
    alpha: float = 0.3, beta: float = 0.5, distance: str = "mse", remat: bool = False, chunk: int | None = None
) -> DerLoss:
    """`DerLoss` with these settings, for `finetune(loss_fn=)`. ValueError for another distance or negative weights."""
    if distance not in DISTANCES or not (alpha >= 0 and beta >= 0):
        raise ValueError(f"DER takes distance 'mse' or 'kl' and alpha, beta >= 0, got {distance!r}, {alpha=}, {beta=}")
    return DerLoss(alpha, beta, distance, remat, chunk)


def _terms(
    params: Any,
    config: models.Config,
    distance: Any,
    hidden: jax.Array,
    tokens: jax.Array,
    ids: jax.Array,
    stored: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    logits = models.unembed(params, config, hidden)
    return chosen_log_probs(logits, tokens), distance(logits, ids, stored)


def _pair(logits: jax.Array, ids: jax.Array | None, stored: jax.Array) -> tuple[jax.Array, jax.Array]:
    now = logits if ids is None else jnp.take_along_axis(logits, ids, axis=-1)
    return now.astype(jnp.float32), jax.lax.stop_gradient(stored).astype(jnp.float32)


def _squared(logits: jax.Array, ids: jax.Array | None, stored: jax.Array) -> jax.Array:
    now, then = _pair(logits, ids, stored)
    return jnp.square(now - then).mean(axis=-1)


def _renormalised(logits: jax.Array, ids: jax.Array | None, stored: jax.Array) -> jax.Array:
    now, then = (jax.nn.log_softmax(x) for x in _pair(logits, ids, stored))
    return (jnp.exp(then) * (then - now)).sum(axis=-1)


DISTANCES = {"mse": _squared, "kl": _renormalised}
