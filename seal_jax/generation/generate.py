"""`generate` and `generate_batch`: prompts in, continuations out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation import decode
from seal_jax.generation.prompts import bucket, encode, pad_left, row_limits
from seal_jax.generation.sampling import Sampling, rule_of
from seal_jax.generation.stops import Ending, ending
from seal_jax.models import Config, Params, unroll

SEGMENT = 64  # new tokens before the host looks at the rows and the cache grows; it doubles each time
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
    key = _typed(key, sampling)
    return _run(params, config, None, "scaled", [encoded], [limits], key[None], [ids], sampling, end)[0]


def generate_batch(
    params: Params,
    config: Config,
    adapters: Any,
    prompts: Sequence[Prompts],
    key: jax.Array | None,
    max_new_tokens: int | Sequence[Sequence[int]] = 64,
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
    inert and finished from the start. max_new_tokens: one number, or one list per list of prompts.
    key: one key, of which adapter n uses `fold_in(key, n)`, or N keys. Each Output equals that of `generate` with
    `attach(params, adapter_n)` and that key. N is part of the program's shape and is not bucketed.

    Raises ValueError as `generate`, and if N differs between the adapters' leaves, the prompts and the keys.
    """
    sampling = Sampling(temperature, top_k, top_p)
    end = ending(config, eos, stop, tokenizer)
    count = len(prompts)
    shapes = {x.shape[:1] for x in jax.tree.leaves(adapters)}
    if shapes != {(count,)}:
        raise ValueError(f"{count} lists of prompts, but adapter leaves lead with axes {sorted(shapes)}: expected N")
    encoded = [encode(p, config, tokenizer) for p in prompts]
    each = [max_new_tokens] * count if isinstance(max_new_tokens, int) else max_new_tokens
    limits = [row_limits(m, e, config) for m, e in zip(each, encoded, strict=True)]
    key = _typed(key, sampling)
    keys = key if key.ndim else jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(count))
    if keys.shape != (count,):
        raise ValueError(f"{keys.shape[0]} keys for {count} adapters: expected one key, or one each")
    ids = [range(len(e)) for e in encoded]
    return _run(params, config, decode.Bank(adapters, factors), compose, encoded, limits, keys, ids, sampling, end)


_unrolled = jax.jit(unroll)
_row_keys = jax.jit(jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0))))


def _typed(key: jax.Array | None, sampling: Sampling) -> jax.Array:
    if key is None:
        if sampling.temperature > 0:
            raise ValueError(f"temperature={sampling.temperature} samples and needs a key: pass jax.random.key(seed)")
        return jax.random.key(0)
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def _run(
    params: Params,
    config: Config,
    bank: decode.Bank | None,
    compose: str,
    prompts: Sequence[list[np.ndarray]],
    limits: Sequence[np.ndarray],
    keys: jax.Array,
    ids: Sequence[Sequence[int]],
    sampling: Sampling,
    end: Ending,
) -> list[Output]:
    """Pad the N lists to one shape, run the programs, cut the results. Without adapters N is 1."""
    if not any(len(limit) and limit.max() for limit in limits):
        return [_output([[] for _ in rows], [[] for _ in rows], end) for rows in prompts]
    rows = bucket(max(len(r) for r in prompts))
    length = bucket(max(len(p) for r in prompts for p in r), least=8)
    padded = [pad_left(r, rows, length) for r in prompts]
    fill = lambda values: np.stack([np.pad(np.asarray(v, np.int32), (0, rows - len(v))) for v in values])  # noqa: E731
    job = decode.Job(
        keys=_row_keys(keys, fill(ids)).reshape(-1),
        limits=jnp.asarray(fill(limits).reshape(-1)),
        ends=jnp.asarray(end.tokens),
        temperature=jnp.float32(sampling.temperature),
        top_p=jnp.float32(sampling.top_p),
    )
    tokens, mask = (np.concatenate(x) for x in zip(*padded))
    if not isinstance(params["layers"], tuple):
        params = _unrolled(params)
    options = {"config": config, "compose": compose, "rule": rule_of(sampling, config.vocab_size)}
    new, logprobs = _segments(params, bank, tokens, mask, job, end, options)
    new, logprobs = new.reshape(len(prompts), rows, -1), logprobs.reshape(len(prompts), rows, -1)
    return [
        _output([t[:m].tolist() for t, m in zip(*x)], [p[:m].tolist() for p, m in zip(logprobs[n], x[1])], end)
        for n, x in enumerate(zip(new, limits))
    ]


def _segments(
    params: Params,
    bank: decode.Bank | None,
    tokens: np.ndarray,
    mask: np.ndarray,
    job: decode.Job,
    end: Ending,
    options: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    most = int(job.limits.max())
    room = min(SEGMENT, bucket(most, least=8))
    state = decode.start(params, bank, tokens, mask, job, room=room, **options)
    while most > room:
        done = np.asarray(state.done)
        if end.stop:
            new = np.asarray(state.tokens)
            done = done | [not d and end.spelled(t) for d, t in zip(done, new)]
        if done.all():
            break
        room = min(2 * room, bucket(most))
        state = decode.resume(params, bank, state._replace(done=jnp.asarray(done)), job, room=room, **options)
    return np.asarray(state.tokens), np.asarray(state.logprobs)


def _output(tokens: list[list[int]], logprobs: list[list[float]], end: Ending) -> Output:
    cuts = [end.cut(t) for t in tokens]
    return Output(
        tokens=[t[:n] for t, (n, _, _) in zip(tokens, cuts)],
        texts=None if end.tokenizer is None else [text or "" for _, text, _ in cuts],
        logprobs=[p[:n] for p, (n, _, _) in zip(logprobs, cuts)],
        finished=[ended for _, _, ended in cuts],
    )
