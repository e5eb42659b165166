"""Direct preference optimisation (arXiv 2305.18290): of two answers, the better one is to become more likely."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import models
from seal_jax.continual.losses.means import masked_mean
from seal_jax.training.loss import Batch, target_mask, token_log_probs

NAMES = ("tokens", "mask", "loss_mask")


def preference_loss(
    chosen: jax.Array,
    rejected: jax.Array,
    reference_chosen: jax.Array,
    reference_rejected: jax.Array,
    beta: Any = 0.1,
    smoothing: Any = 0.0,
) -> jax.Array:
    """-(1 - s) log sigmoid(z) - s log sigmoid(-z), z = beta * the gain of chosen over rejected: float32 `[...]`.

    The four are log-probabilities of whole answers in nats, float `[...]`, under the model and under the reference.
    beta: over 0; smoothing: s in [0, 0.5), the share of pairs thought to be labelled wrongly.
    """
    gain = (chosen - reference_chosen) - (rejected - reference_rejected)
    z = beta * gain.astype(jnp.float32)
    return -(1 - smoothing) * jax.nn.log_sigmoid(z) - smoothing * jax.nn.log_sigmoid(-z)


class DpoLoss(NamedTuple):
    """The mean `preference_loss` of the pairs of a batch. remat, chunk: as in `training.causal_lm`."""

    beta: float = 0.1
    smoothing: float = 0.0
    remat: bool = False
    chunk: int | None = None

    def __call__(self, params: Any, config: models.Config, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The loss of one batch of pairs, float32 `[]`.

        batch: `"tokens"`, `"mask"`, `"loss_mask"` of the chosen answers behind their prompts and `"rejected_tokens"`,
        `"rejected_mask"`, `"rejected_loss_mask"` of the others, `[B, T]` each, through `with_reference`. Rows without
        targets on one side are no pairs. Raises ValueError where an array is missing.
        """
        del key
        both = {name: jnp.concatenate(_sides(batch, name)) for name in (*NAMES, "reference_log_probs")}
        tokens, mask = both["tokens"], both["mask"]
        log_probs = token_log_probs(params, config, tokens, mask, remat=self.remat, chunk=self.chunk)
        targets = target_mask(both)
        sums = (jnp.where(targets, x, 0.0).sum(axis=-1) for x in (log_probs, both["reference_log_probs"]))
        (chosen, rejected), (of_chosen, of_rejected) = (jnp.split(x, 2) for x in sums)
        losses = preference_loss(chosen, rejected, of_chosen, of_rejected, self.beta, self.smoothing)
        return masked_mean(losses, _pairs(targets))

    def weight(self, batch: Batch) -> jax.Array:
        """What a part of a batch counts for under `accumulate`: its pairs, float32 `[]`."""
        both = {name: jnp.concatenate(_sides(batch, name)) for name in NAMES}
        return _pairs(target_mask(both)).sum(dtype=jnp.float32)


def dpo_loss(beta: float = 0.1, smoothing: float = 0.0, remat: bool = False, chunk: int | None = None) -> DpoLoss:
    """`DpoLoss` with these settings, for `finetune(loss_fn=)`. ValueError unless beta > 0 and 0 <= smoothing < 0.5."""
    if not beta > 0 or not 0 <= smoothing < 0.5:
        raise ValueError(f"DPO takes beta over 0 and smoothing in [0, 0.5), got {beta=}, {smoothing=}")
    return DpoLoss(beta, smoothing, remat, chunk)


def _sides(batch: Batch, name: str) -> list[jax.Array]:
    missing = [side for side in (name, f"rejected_{name}") if side not in batch]
    if missing:
        how = "; with_reference adds it" if "reference" in missing[0] else ""
        raise ValueError(f"a batch of pairs needs {missing[0]!r}{how}; this one has {', '.join(sorted(batch))}")
    return [batch[name], batch[f"rejected_{name}"]]


def _pairs(targets: jax.Array) -> jax.Array:
    chosen, rejected = jnp.split(targets.any(axis=-1), 2)
    return chosen & rejected
