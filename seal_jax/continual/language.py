"""Language models as a `Problem`: an adapter, or all weights, on a base that stays where it is, on its mesh.

Rows are those of `training.causal_lm`: "tokens" int32 `[n, T]`, "mask" bool, and optionally "loss_mask" bool, which
tokens are targets. `rows` makes them of prompts and answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from seal_jax import adapters, models
from seal_jax.continual.importance.fisher import fisher
from seal_jax.continual.importance.sensitivity import sensitivity
from seal_jax.continual.method import Method, Problem, Rows, Scene, State
from seal_jax.continual.methods.consolidating import Importance
from seal_jax.continual.methods.parts import begun_by
from seal_jax.data.packing import DEFAULT_BUCKETS, bucket, truncate
from seal_jax.training.loss import LossFn, lm_loss
from seal_jax.training.trainable import AttachFn


class LanguageLoss(NamedTuple):
    """A loss of `training`, joined to its model; equal settings are equal objects, so no stream recompiles."""

    config: Any
    loss_fn: LossFn
    attach_fn: AttachFn

    def __call__(self, frozen: Any, params: Any, batch: Rows, key: jax.Array) -> jax.Array:
        """Float32 `[]`. Rows that count 0 have no targets."""
        attached = self.attach_fn(frozen["params"], params, frozen["factors"])
        return self.loss_fn(attached, self.config, counted(batch), key)


class LanguageWeight(NamedTuple):
    """What a part of a batch counts for, by its loss."""

    loss_fn: Any

    def __call__(self, batch: Rows) -> jax.Array:
        """Float32 `[]`."""
        return self.loss_fn.weight(counted(batch))


def problem(
    params: models.Params,
    config: models.Config,
    loss_fn: LossFn | None = None,
    *,
    factors: Any = None,
    attach_fn: AttachFn = adapters.attach,
) -> Problem:
    """The problem of training an adapter on `params`; `run(problem, method, adapter, ...)` starts from that adapter.

    loss_fn: as in `training.finetune`, default `lm_loss()`; also those of `continual.losses`. factors: of SVF adapters.
    attach_fn: how the two are joined; with `training.full_parameters` the "adapter" is a float32 copy of all weights.
    """
    loss_fn = loss_fn or lm_loss()
    base = models.unroll(params) if jax.default_backend() == "cpu" else models.stack(params)
    weight = LanguageWeight(loss_fn) if hasattr(loss_fn, "weight") else None
    frozen = {"params": base, "factors": factors}
    return Problem(LanguageLoss(config, loss_fn, attach_fn), frozen, weight=weight)


def counted(batch: Rows) -> dict[str, Any]:
    """The batch without "rows", and without the tokens of rows that count 0."""
    if "rows" not in batch:
        return dict(batch)
    there = batch["rows"][:, None] > 0
    cut = {name: batch[name] & there for name in ("mask", "loss_mask") if name in batch}
    return {**{name: x for name, x in batch.items() if name != "rows"}, **cut}


def fisher_importance(
    config: models.Config, estimator: str = "gnb", *, attach_fn: AttachFn = adapters.attach, **settings: Any
) -> Importance:
    """The Fisher information per target token for `consolidating`; settings: of `continual.fisher`."""

    def importance(state: State, scene: Scene) -> Any:
        frozen, batches = scene.problem.frozen, dict(scene.batches)
        held = {"adapter": state.params, "factors": frozen["factors"], "attach_fn": attach_fn}
        return fisher(frozen["params"], config, batches, scene.key, estimator, **held, **settings)

    return importance


def output_importance(
    config: models.Config, output: str = "hidden", *, attach_fn: AttachFn = adapters.attach, **settings: Any
) -> Importance:
    """The importance of MAS at the ends of prompts for `consolidating`; settings: of `continual.sensitivity`."""

    def importance(state: State, scene: Scene) -> Any:
        frozen, batches = scene.problem.frozen, dict(scene.batches)
        held = {"adapter": state.params, "factors": frozen["factors"], "attach_fn": attach_fn}
        return sensitivity(frozen["params"], config, batches, output, **held, **settings)

    return importance


def teaching(method: Method) -> Method:
    """`method` for the problem `problem(..., losses.LwfLoss(...), attach_fn=losses.attach_taught)`: LwF.

    Each task's teacher is the adapter as the task found it; start `run` from `losses.teach(adapter)`. In the first task
    that is the model before the stream.
    """
    from seal_jax.continual.losses import teach

    def begin_task(state: State, scene: Scene) -> State:
        return begun_by(method, state._replace(params=teach(state.params)), scene)

    return method._replace(begin_task=begin_task)


def rows(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, length: int | None = None, pad_id: int = 0
) -> dict[str, np.ndarray]:
    """Prompts and answers, token ids each, as right-padded rows whose targets are the answers.

    length: T, default the bucket of the longest; give all tasks of a stream one. A pair that is longer loses the
    beginning of its prompt, so that the answer stays. Add the end-of-text token to the answers. Raises ValueError for
    an answer that is empty or leaves no room for a token before it.
    """
    longest = max((len(p) + len(a) for p, a in pairs), default=0)
    length = bucket(max(longest, 1), DEFAULT_BUCKETS) if length is None else length
    made = {"tokens": np.full((len(pairs), length), pad_id, np.int32)}
    made |= {name: np.zeros((len(pairs), length), bool) for name in ("mask", "loss_mask")}
    for index, (prompt, answer) in enumerate(pairs):
        room = length - len(answer)
        if not answer or room < 1 or not prompt:
            raise ValueError(
                f"pair {index} has {len(prompt)} and {len(answer)} tokens: it needs a prompt and an answer of 1 to "
                f"{length - 1} tokens"
            )
        ids = [*prompt[-room:], *answer]
        made["tokens"][index, : len(ids)] = ids
        made["mask"][index, : len(ids)] = True
        made["loss_mask"][index, len(ids) - len(answer) : len(ids)] = True
    return made


def text_rows(
    sequences: Sequence[Sequence[int]], *, length: int | None = None, pad_id: int = 0
) -> dict[str, np.ndarray]:
    """Token sequences as right-padded rows of which every token but the first is a target; longer ones are cut."""
    longest = max(map(len, sequences), default=0)
    length = bucket(max(longest, 1), DEFAULT_BUCKETS) if length is None else length
    kept, _ = truncate(sequences, length)
    return rows([(s[:1], s[1:]) for s in kept], length=length, pad_id=pad_id)
