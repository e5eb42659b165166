"""Log-probabilities of continuations that are given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation.prompts import Prompt, bucket, encode, pad_left, row_limits
from seal_jax.models import Config, Params, hidden_states, unembed
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of, use


def score(
    params: Params,
    config: Config,
    prompts: Sequence[Prompt],
    continuations: Sequence[str | Sequence[int]],
    tokenizer: Any = None,
) -> list[list[float]]:
    """The log-probability, in nats, of each token of `continuations[i]` after `prompts[i]`; their sum is the row's.

    prompts: as in `generate`; continuations: token ids, or strings, which are tokenised by themselves and without
    special tokens. params: plain or with adapters attached. All rows are one program of bucketed shape; only the
    columns of the continuations get logits. (`training.token_log_probs` has those of whole sequences, with gradients.)

    Raises ValueError before any work as `generate`, and if there are not as many continuations as prompts.
    """
    if len(continuations) != len(prompts):
        raise ValueError(f"{len(continuations)} continuations for {len(prompts)} prompts: expected one each")
    encoded = encode(prompts, config, tokenizer)
    given = encode([_tokens(c, tokenizer) for c in continuations], config, where="the continuation of ")
    row_limits([len(c) for c in given], encoded, config)
    if not encoded:
        return []
    whole = [np.concatenate(pair) for pair in zip(encoded, given)]
    tokens, mask = pad_left(whole, bucket(len(whole)), bucket(max(map(len, whole)), least=8))
    width = min(bucket(max(map(len, given))), tokens.shape[1] - 1)
    with use(mesh_of(params)):
        found = host(_last_log_probs(params, config, tokens, mask, width))
    return [row[width - len(c) :].tolist() for row, c in zip(found, given)]


def _tokens(continuation: str | Sequence[int], tokenizer: Any) -> Any:
    if isinstance(continuation, str) and tokenizer is not None:
        return tokenizer.encode(continuation, add_special_tokens=False)
    return continuation


@partial(jax.jit, static_argnames=("config", "width"))
def _last_log_probs(params: Params, config: Config, tokens: jax.Array, mask: jax.Array, width: int) -> jax.Array:
    """Of the last `width` tokens of each left-padded row: float32 `[R, width]`; row by row, so that logits are few."""
    hidden = hidden_states(params, config, tokens, mask)[:, -width - 1 : -1]

    def row(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        logits = unembed(params, config, pair[0][None])[0]
        chosen = jnp.take_along_axis(logits, pair[1][:, None], axis=-1)[:, 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1)

    return jax.lax.map(row, (hidden, tokens[:, -width:]))
