"""`generate` and `generate_batch`: prompts in, continuations out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation import decode
from seal_jax.generation.bank import Bank
from seal_jax.generation.engine import Rows, run
from seal_jax.generation.prompts import encode, row_limits
from seal_jax.generation.sampling import Sampling, rule_of
from seal_jax.generation.stops import Ending, ending
from seal_jax.models import Config, Params

Prompts = Sequence[str | Sequence[int]]


class Output(NamedTuple):
    """Continuations, one entry per prompt.

    tokens: generated ids without EOS, without the tokens of a stop string and after it; texts: their text up to the
    stop string (None without a tokenizer); logprobs: log-probability of each of `tokens` under the unmodified model
    distribution (no temperature, no filter); finished: True if the row ended by EOS or a stop string, False if by its
    limit. A token that begins before a stop string and runs into it is not in `tokens`; its part before is in the text.
    """

    tokens: list[list[int]]
    texts: list[str] | None
    logprobs: list[list[float]]
    finished: list[bool]


def generate(
    params: Params,
    config: Config,
    prompts: Prompts,
    key: jax.Array | None,
    max_new_tokens: int | Sequence[int] = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    eos: Sequence[int] | None = None,
    stop: str | Sequence[str] = (),
    tokenizer: Any = None,
    row_ids: Sequence[int] | None = None,
) -> Output:
    """Continue every prompt: greedy at temperature 0, else sampled.

    params: stacked or unrolled, plain or with adapters attached; pass `models.unroll(params)` when calling in a loop,
    otherwise each call unrolls. prompts: lists of token ids, or strings with a tokenizer. max_new_tokens: one number,
    or one per prompt. eos: ids that end a row; None: the config's and the tokenizer's, (): none.

    Row i draws from `fold_in(key, row_ids[i])` (default: i), so its sample does not depend on the other rows.
    key may be None when greedy. Shapes are bucketed: prompt lengths, rows and new tokens share few programs.

    Raises ValueError before any work for an empty prompt, a token outside the vocabulary, strings or stop strings
    without a tokenizer, a prompt that with its new tokens exceeds `config.max_position`, or a bad setting.
    """
    sampling = Sampling(temperature, top_k, top_p)
    end = ending(config, eos, stop, tokenizer)
    encoded = encode(prompts, config, tokenizer)
    limits = row_limits(max_new_tokens, encoded, config)
    ids = range(len(encoded)) if row_ids is None else row_ids
    if len(ids) != len(encoded):
        raise ValueError(f"{len(ids)} row_ids for {len(encoded)} prompts: expected one each")
    keys = _keys(key, sampling)
    if keys.ndim:
        raise ValueError(f"key is {len(keys)} keys: expected one; rows draw from fold_in(key, row_ids[i])")
    program = decode.Program(config, rule_of(sampling, config.vocab_size))
    [(tokens, logprobs)] = run(params, program, None, [Rows(encoded, limits, ids)], keys[None], sampling, end)
    return _output(tokens, logprobs, end)


def generate_batch(
    params: Params,
    config: Config,
    adapters: Any,
    prompts: Sequence[Prompts],
    key: jax.Array | None,
    max_new_tokens: int | Sequence[int | Sequence[int]] = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    eos: Sequence[int] | None = None,
    stop: str | Sequence[str] = (),
    tokenizer: Any = None,
    factors: Any = None,
    compose: str = "scaled",
) -> list[Output]:
    """N adapters at once: adapter n continues the prompts `prompts[n]`; the base parameters are shared.

    adapters: an adapter tree with a leading axis N on every leaf (LoRA: a `[N, L, in, r]`, b `[N, L, r, out]`, scale
    `[N, L]`); factors and compose: as in `adapters.attach`. The N lists may differ in length: missing rows are
    inert and finished from the start. max_new_tokens: one number, or one per list of prompts, each a
    number or a list.
    key: one key, of which adapter n uses `fold_in(key, n)`, or N keys. Each Output equals that of `generate` with
    `attach(params, adapter_n)` and that key. N is part of the program's shape and is not bucketed.

    Raises ValueError as `generate`, and if N differs between the adapters' leaves, the prompts and the keys.
    """
    sampling = Sampling(temperature, top_k, top_p)
    end = ending(config, eos, stop, tokenizer)
    count = len(prompts)
    if not count:
        return []
    shapes = {x.shape[:1] for x in jax.tree.leaves(adapters)}
    if shapes != {(count,)}:
        raise ValueError(f"{count} lists of prompts, but adapter leaves lead with axes {sorted(shapes)}: expected N")
    each = [max_new_tokens] * count if isinstance(max_new_tokens, int | np.integer) else max_new_tokens
    if len(each) != count:
        raise ValueError(f"{len(each)} lists of max_new_tokens for {count} lists of prompts: expected one each")
    groups = []
    for n, (p, limit) in enumerate(zip(prompts, each)):
        encoded = encode(p, config, tokenizer, f"adapter {n}, ")
        groups.append(Rows(encoded, row_limits(limit, encoded, config, f"adapter {n}, "), range(len(encoded))))
    keys = _keys(key, sampling)
    if not keys.ndim:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(keys, jnp.arange(count))
    if keys.shape != (count,):
        raise ValueError(f"{len(keys)} keys for {count} adapters: expected one key, or one each")
    program = decode.Program(config, rule_of(sampling, config.vocab_size), compose)
    found = run(params, program, Bank(adapters, factors), groups, keys, sampling, end)
    return [_output(tokens, logprobs, end) for tokens, logprobs in found]


def _keys(key: jax.Array | None, sampling: Sampling) -> jax.Array:
    """The key or keys as a typed array; a greedy program takes any and uses none."""
    if key is None:
        if sampling.temperature > 0:
            raise ValueError(f"temperature={sampling.temperature} samples and needs a key: pass jax.random.key(seed)")
        return jax.random.key(0)
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def _output(tokens: list[list[int]], logprobs: list[list[float]], end: Ending) -> Output:
    cuts = [end.cut(t) for t in tokens]
    return Output(
        tokens=[t[:n] for t, (n, _, _) in zip(tokens, cuts)],
        texts=None if end.tokenizer is None else [text or "" for _, text, _ in cuts],
        logprobs=[p[:n] for p, (n, _, _) in zip(logprobs, cuts)],
        finished=[ended for _, _, ended in cuts],
    )
