"""How much the size of the output depends on each parameter: the importance of MAS. It needs inputs and no labels.

`mean_x |d |f(x)|^2 / d theta|`, with the absolute value of each row's gradient (`per="example"`, the paper) or of a
batch's mean gradient (`per="batch"`, avalanche and others; one backward pass per batch, and rows may cancel).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import adapters, models
from seal_jax.continual.importance.average import Batches, Program, averaged
from seal_jax.continual.importance.language import Held, model, parts
from seal_jax.runtime.mesh import mesh_of, use
from seal_jax.training.trainable import AttachFn

OUTPUTS = ("hidden", "logits")
PER = ("example", "batch")


def sensitivity(
    params: models.Params,
    config: models.Config,
    batches: Batches,
    output: str = "hidden",
    per: str = "example",
    adapter: Any = None,
    *,
    factors: Any = None,
    attach_fn: AttachFn = adapters.attach,
    remat: bool = False,
) -> Any:
    """The sensitivity of a language model at the last token of its prompts: a float32 tree, ready for `consolidate`.

    batches: `{"tokens", "mask"}`, an iterable of `[B, T]` or one dict of `[S, B, T]`. With "loss_mask" a prompt ends
    before the row's first target, so that batches of training serve; else with its last real token.
    output: f(x) is the final normalised hidden state there, or the logits. adapter, factors, attach_fn: as in `fisher`.
    Raises ValueError for unknown choices or no rows at all.
    """
    if output not in OUTPUTS:
        raise ValueError(f"output={output!r} is not one of {', '.join(map(repr, OUTPUTS))}")
    wrt, held = parts(params, adapter, factors)
    program = Program(LastToken(config, attach_fn, output, remat), _by_rows(per), "size")
    with use(mesh_of(params)):
        return averaged(program, wrt, held, batches, jax.random.key(0))


def output_sensitivity(
    output_fn: Callable[[Any, Mapping[str, Any]], jax.Array], params: Any, batches: Batches, per: str = "example"
) -> Any:
    """`sensitivity` of any model: `output_fn(params, batch)` -> `[B, ...]`, params any tree of arrays.

    batches: dicts of arrays, an iterable of `[B, ...]` or one of `[S, B, ...]`. `output_fn` is static: make it once. It
    is pure with stacked batches, to be jitted or vmapped.
    """
    return averaged(Program(Output(output_fn), _by_rows(per), "size"), params, None, batches, jax.random.key(0))


class LastToken(NamedTuple):
    """The squared norm of the output at each prompt's end, summed over rows, and how many rows have a prompt."""

    config: Any
    attach_fn: AttachFn
    output: str
    remat: bool

    def __call__(self, wrt: Any, held: Held, batch: Any, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Float32 `[]`, float32 `[]`."""
        params = model(wrt, held, self.attach_fn)
        mask = batch["mask"]
        begun = jnp.cumsum(batch.get("loss_mask", jnp.zeros_like(mask)), axis=-1) > 0
        prompt = mask & ~begun
        hidden = models.hidden_states(params, self.config, batch["tokens"], mask, remat=self.remat)
        last = jnp.where(prompt, jnp.arange(mask.shape[1]), 0).max(axis=-1)
        found = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
        if self.output == "logits":
            found = models.unembed(params, self.config, found)
        has_prompt = prompt.any(axis=-1)
        norms = jnp.where(has_prompt, jnp.square(found.astype(jnp.float32)).sum(axis=-1), 0.0)
        return norms.sum(), has_prompt.sum(dtype=jnp.float32)


class Output(NamedTuple):
    """`LastToken` of a function that makes outputs."""

    output_fn: Callable[[Any, Mapping[str, Any]], jax.Array]

    def __call__(self, wrt: Any, held: None, batch: Any, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Float32 `[]`, float32 `[]`."""
        found = self.output_fn(wrt, batch).astype(jnp.float32)
        return jnp.square(found).sum(), jnp.float32(found.shape[0])


def _by_rows(per: str) -> bool:
    if per not in PER:
        raise ValueError(f"per={per!r} is not one of {', '.join(map(repr, PER))}")
    return per == "example"
