"""Learning without forgetting (arXiv 1606.09282): stay close to the old model's predictions on the new task's inputs.

The old model is the same base with the adapter of before, so there is no second copy of the weights: `teach` puts a
frozen copy of the adapter's factors into each entry, `attach_taught` is the `attach_fn` that joins both to the base.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import adapters, models
from seal_jax.continual.losses.means import chosen_log_probs, following, hidden_and_next, masked_mean
from seal_jax.training.loss import Batch, by_columns, target_mask
from seal_jax.training.trainable import full_parameters


class Taught(NamedTuple):
    """Parameters of the model that learns, and of the one it was before."""

    student: Any
    teacher: Any


def divergence(old_logits: jax.Array, new_logits: jax.Array, temperature: Any = 2.0) -> jax.Array:
    """T^2 KL(softmax(old / T) || softmax(new / T)) in nats of logits `[..., V]`: float32 `[...]`, 0 where they agree.

    No gradient goes to `old_logits`. temperature: T, a number or an array `[]`.
    """
    old, new = (jax.nn.log_softmax(x.astype(jnp.float32) / temperature) for x in (old_logits, new_logits))
    old = jax.lax.stop_gradient(old)
    return temperature**2 * (jnp.exp(old) * (old - new)).sum(axis=-1)


def distillation(
    old_logits: jax.Array, new_logits: jax.Array, temperature: Any = 2.0, mask: jax.Array | None = None
) -> jax.Array:
    """The mean of `divergence` over all predictions, or those where `mask`, bool `[...]`, is True: float32 `[]`."""
    return masked_mean(divergence(old_logits, new_logits, temperature), mask)


def teach(adapter: adapters.Adapter, teacher: adapters.Adapter | None = None) -> adapters.Adapter:
    """`adapter` with the factors of `teacher` (default: its own, as they are now) beside those that are trained.

    Both may have been taught before; what they held of earlier teachers is dropped, so every task has the same tree.
    To keep to the base model itself, pass an adapter whose `b` is zero. Raises ValueError for other paths, or entries
    that are not LoRA.
    """
    student, frozen = untaught(adapter), untaught(adapter if teacher is None else teacher)
    if student.keys() != frozen.keys():
        raise ValueError(
            f"the teacher adapts {sorted(frozen)} and the student {sorted(student)}; they must be the same"
        )
    other = [path for path, entry in student.items() if not {"a", "b", "scale"} <= entry.keys()]
    if other:
        raise ValueError(f"{other[0]} is no LoRA entry; of other adapters the teacher would be trained as well")
    copied = jax.tree.map(jnp.copy, frozen)  # of its own, so that the student's memory may be donated
    return {path: {**entry, "teacher": copied[path]} for path, entry in student.items()}


def untaught(adapter: adapters.Adapter) -> adapters.Adapter:
    """The adapter without teachers, as `generate`, `save_peft` and everything else takes it."""
    return {path: {key: x for key, x in entry.items() if key != "teacher"} for path, entry in adapter.items()}


def attach_taught(params: models.Params, adapter: Any, factors: Any = None) -> Taught:
    """The `attach_fn` for an adapter that `teach` made. Raises ValueError for one without a teacher."""
    missing = [path for path, entry in adapter.items() if "teacher" not in entry]
    if missing:
        raise ValueError(f"{missing[0]} has no teacher: make the adapter with losses.teach(adapter)")
    frozen = jax.lax.stop_gradient({path: entry["teacher"] for path, entry in adapter.items()})
    return Taught(adapters.attach(params, untaught(adapter), factors), adapters.attach(params, frozen, factors))


def attach_taught_in_full(params: models.Params, adapter: Any, factors: Any = None) -> Taught:
    """The `attach_fn` for training all weights (see `training.full_parameters`): the teacher is `params` as given."""
    return Taught(full_parameters(params, adapter, factors), jax.lax.stop_gradient(params))


class LwfLoss(NamedTuple):
    """Negative log-likelihood of the targets, plus `alpha` times the mean `divergence` over all tokens but pads.

    alpha; temperature: of the divergence; remat, chunk: as in `training.causal_lm`. Its parameters are a `Taught`, from
    `attach_fn=attach_taught`. Equal settings are equal objects.
    """

    alpha: float = 1.0
    temperature: float = 2.0
    remat: bool = False
    chunk: int | None = None

    def __call__(self, params: Taught, config: models.Config, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The loss of one batch `{"tokens", "mask", optionally "loss_mask"}`, float32 `[]`."""
        del key
        hidden, tokens = hidden_and_next(params.student, config, batch, self.remat)
        before = jax.lax.stop_gradient(hidden_and_next(params.teacher, config, batch, False)[0])

        def score(hidden: jax.Array, before: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = models.unembed(params.student, config, hidden)
            old = models.unembed(params.teacher, config, before)
            return chosen_log_probs(logits, tokens), divergence(old, logits, self.temperature)

        log_probs, apart = by_columns(score, (hidden, before, tokens), config.vocab_size, self.chunk)
        return masked_mean(-log_probs, following(target_mask(batch))) + self.alpha * masked_mean(apart, batch["mask"])

    def weight(self, batch: Batch) -> jax.Array:
        """What a part of a batch counts for under `accumulate`: its targets, float32 `[]`."""
        return target_mask(batch).sum(dtype=jnp.float32)


def lwf_loss(alpha: float = 1.0, temperature: float = 2.0, remat: bool = False, chunk: int | None = None) -> LwfLoss:
    """`LwfLoss` with these settings, for `finetune(loss_fn=)`. ValueError unless alpha >= 0 and temperature > 0."""
    if not alpha >= 0 or not temperature > 0:
        raise ValueError(f"LwF takes alpha of 0 or more and a temperature over 0, got {alpha=}, {temperature=}")
    return LwfLoss(alpha, temperature, remat, chunk)
