"""What a caller asks for, checked and completed before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, cast

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation import prefix as prefixes
from seal_jax.generation.checks import check_integer
from seal_jax.generation.control import Controls, control_rule
from seal_jax.generation.engine import Order, Rows
from seal_jax.generation.sampling import Sampling, rule_of
from seal_jax.generation.state import Program
from seal_jax.generation.stops import ending
from seal_jax.models import Config


class Options(TypedDict, total=False):
    """What `generate` and `generate_batch` take by keyword; see `generate`."""

    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    no_repeat_ngram_size: int
    min_new_tokens: int
    top_logprobs: int
    samples: int
    prefix: prefixes.Prefix | None
    prefill_chunk: int | None


CONTROLS = (
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "no_repeat_ngram_size",
    "min_new_tokens",
)


def order_of(
    config: Config,
    sampling: tuple[float, int | None, float],
    eos: int | Sequence[int] | None,
    stop: str | Sequence[str] | None,
    tokenizer: Any,
    options: Options,
    compose: str = "scaled",
) -> Order:
    """Everything about a call but its rows, adapters and prefix; sampling: temperature, top_k, top_p.

    Raises ValueError for a bad setting and TypeError for an option that does not exist.
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"generate has no option {sorted(unknown)[0]!r}; it has {', '.join(Options.__annotations__)}")
    settings = Sampling(*sampling, min_p=options.get("min_p", 0.0))
    controls = Controls(**{name: cast(Any, options).get(name) for name in CONTROLS if name in options})
    top, samples, chunk = options.get("top_logprobs", 0), options.get("samples", 1), options.get("prefill_chunk")
    size = config.vocab_size
    check_integer("top_logprobs", top, f"0 (none) to {size}, the size of the vocabulary", 0, size)
    check_integer("samples", samples, "1 or more for each prompt", 1)
    prefixes.padded_length(1, chunk)
    program = Program(config, rule_of(settings, config.vocab_size), control_rule(controls), top, samples, compose)
    return Order(program, settings, controls, ending(config, eos, stop, tokenizer), chunk=chunk)


def check_minimum(order: Order, groups: Sequence[Rows]) -> None:
    """Raise ValueError if no row may grow to `min_new_tokens`."""
    least = order.controls.min_new_tokens
    most = max((int(limit) for group in groups for limit in group.limits), default=least)
    if least > most:
        raise ValueError(f"min_new_tokens={least} is more than max_new_tokens, {most}")


def keys_of(key: jax.Array | None, sampling: Sampling) -> jax.Array:
    """The key or keys as a typed array; a greedy program uses none. Raises TypeError for what is no key."""
    if key is None:
        if sampling.temperature > 0:
            raise ValueError(f"temperature={sampling.temperature} samples and needs a key: pass jax.random.key(seed)")
        return jax.random.key(0)
    return typed_key(key)


def typed_key(key: Any) -> jax.Array:
    """A key or keys as a typed array, `jax.random.PRNGKey(seed)` too. Raises TypeError for what is no key."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if not isinstance(key, jax.Array | np.ndarray) or key.dtype != np.uint32:
        raise TypeError(f"key={key!r} is not a random key: pass jax.random.key(seed)")
    return jax.random.wrap_key_data(jnp.asarray(key))


def with_prefix(order: Order, options: Options, groups: Sequence[Rows], count: int | None, ids: Any = None) -> Order:
    """The order with what the rows share of `options["prefix"]`; count: N adapters; ids: which one each group uses.

    Raises ValueError if the prefix is another model's, or a row does not continue it.
    """
    prefix = options.get("prefix")
    if prefix is None:
        return order
    prefixes.check(prefix, order.program.config, count)
    where = (lambda n: "") if len(groups) == 1 else (lambda n: f"adapter {n}, ")
    held = min((prefixes.shared_length(prefix, g.prompts, where(n)) for n, g in enumerate(groups)), default=0)
    part = prefixes.used_part(prefix, held, None if ids is None else np.asarray(ids))
    return order._replace(prefix=((part,), held))
