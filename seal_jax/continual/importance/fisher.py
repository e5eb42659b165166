"""Estimates of the diagonal of the Fisher information, the importance of EWC.

Every estimate is a mean over targets: tokens of a language model, labels of a classifier. With labels drawn from the
model the scores of different targets are independent with mean zero, so that the square of a *sum* of gradients counts
every target once: `"gnb"` takes one backward pass per batch and `"sampled"` one per row for the same expectation, the
second with less noise. With labels of the data, `"empirical"` squares each row's summed gradient; it goes to zero as
the data are learnt. `"batch_squared"` squares the mean gradient of a batch, as avalanche and TRACE do, which is smaller
by about the number of targets in a batch. The scale of an estimate goes into lambda unless `consolidate` normalises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import adapters, models
from seal_jax.continual.importance.average import Batches, Program, averaged
from seal_jax.continual.importance.language import Held, model, parts
from seal_jax.runtime.mesh import mesh_of, use
from seal_jax.training.loss import by_columns, target_mask
from seal_jax.training.trainable import AttachFn


class Estimator(NamedTuple):
    """sampled: labels are drawn from the model; by_rows, measure: see `average.Program`."""

    sampled: bool
    by_rows: bool
    measure: str


ESTIMATORS = {
    "gnb": Estimator(sampled=True, by_rows=False, measure="square"),
    "sampled": Estimator(sampled=True, by_rows=True, measure="square"),
    "empirical": Estimator(sampled=False, by_rows=True, measure="square"),
    "batch_squared": Estimator(sampled=False, by_rows=False, measure="square_of_mean"),
}


def fisher(
    params: models.Params,
    config: models.Config,
    batches: Batches,
    key: jax.Array,
    estimator: str = "gnb",
    adapter: Any = None,
    *,
    factors: Any = None,
    attach_fn: AttachFn = adapters.attach,
    draws: int = 1,
    remat: bool = False,
    chunk: int | None = None,
) -> Any:
    """The diagonal Fisher of a language model, per target token: a float32 tree, ready for `consolidate`.

    batches: language-model batches as `training.causal_lm` has them, `{"tokens", "mask"}` and optionally "loss_mask",
    which says whose prediction counts (answers, say): an iterable of `[B, T]` ones, or one of arrays `[S, B, T]`.
    Every target is scored given the true tokens before it, those that are drawn too.
    adapter: the tree is like `training.trainable(adapter)`, and the base is not differentiated; None: like `params`.
    draws: labels drawn per target, for less noise. factors, attach_fn: as in `training.finetune`. remat, chunk: as in
    `training.causal_lm`. Compiled once per shape. Raises ValueError for an unknown estimator or no targets at all.
    """
    kind = _estimator(estimator, draws)
    wrt, held = parts(params, adapter, factors)
    score = TokenScore(config, attach_fn, kind.sampled, remat, chunk)
    with use(mesh_of(params)):
        return averaged(Program(score, kind.by_rows, kind.measure, draws), wrt, held, batches, key)


def logits_fisher(
    logits_fn: Callable[[Any, Mapping[str, Any]], jax.Array],
    params: Any,
    batches: Batches,
    key: jax.Array,
    estimator: str = "gnb",
    *,
    draws: int = 1,
) -> Any:
    """`fisher` of any model: `logits_fn(params, batch)` -> `[B, ..., V]`, params any tree of arrays.

    batches: dicts of arrays, an iterable of `[B, ...]` or one of `[S, B, ...]`, whatever `logits_fn` reads, with
    "labels" int `[B, ...]` (for "empirical" and "batch_squared") and optionally "mask" bool `[B, ...]`, which labels
    count. `logits_fn` is static: make it once, not in a loop. It is pure with stacked batches, to be jitted or vmapped.
    """
    kind = _estimator(estimator, draws)
    program = Program(LogitsScore(logits_fn, kind.sampled), kind.by_rows, kind.measure, draws)
    return averaged(program, params, None, batches, key)


class TokenScore(NamedTuple):
    """Negative log-likelihood, summed over the targets of a batch, and their number: an `average.Objective`."""

    config: Any
    attach_fn: AttachFn
    sampled: bool
    remat: bool
    chunk: int | None

    def __call__(self, wrt: Any, held: Held, batch: Any, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Float32 `[]`, float32 `[]`. keys `[B]`."""
        params = model(wrt, held, self.attach_fn)
        tokens = batch["tokens"]
        hidden = models.hidden_states(params, self.config, tokens, batch["mask"], remat=self.remat)
        # Column t predicts token t + 1; the first token is never a target, so what is rolled to the end is False.
        targets = jnp.roll(target_mask(batch), -1, axis=-1)
        labels = jnp.roll(tokens, -1, axis=-1)
        columns = jnp.arange(tokens.shape[1])
        noise = jax.vmap(lambda row: jax.vmap(partial(jax.random.fold_in, row))(columns))(keys)

        def score(hidden: jax.Array, labels: jax.Array, noise: jax.Array) -> jax.Array:
            logits = models.unembed(params, self.config, hidden)
            if self.sampled:
                noise = jax.random.wrap_key_data(noise, impl=jax.random.key_impl(keys))
                labels = jax.vmap(jax.vmap(jax.random.categorical))(noise, jax.lax.stop_gradient(logits))
            return _log_likelihood(logits, labels)

        found = by_columns(score, (hidden, labels, jax.random.key_data(noise)), self.config.vocab_size, self.chunk)
        return -jnp.where(targets, found, 0.0).sum(), targets.sum(dtype=jnp.float32)


class LogitsScore(NamedTuple):
    """`TokenScore` of a function that makes logits."""

    logits_fn: Callable[[Any, Mapping[str, Any]], jax.Array]
    sampled: bool

    def __call__(self, wrt: Any, held: None, batch: Any, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Float32 `[]`, float32 `[]`. keys `[B]`."""
        logits = self.logits_fn(wrt, batch).astype(jnp.float32)
        if self.sampled:
            labels = jax.vmap(jax.random.categorical)(keys, jax.lax.stop_gradient(logits))
        else:
            labels = batch["labels"]
        mask = batch.get("mask", jnp.ones(logits.shape[:-1], bool))
        return -jnp.where(mask, _log_likelihood(logits, labels), 0.0).sum(), mask.sum(dtype=jnp.float32)


def _log_likelihood(logits: jax.Array, labels: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def _estimator(name: str, draws: int) -> Estimator:
    if name not in ESTIMATORS:
        raise ValueError(f"estimator={name!r} is not one of {', '.join(map(repr, ESTIMATORS))}")
    if draws != 1 and not ESTIMATORS[name].sampled:
        raise ValueError(f"draws={draws} with estimator={name!r}, whose labels are those of the data")
    return ESTIMATORS[name]
