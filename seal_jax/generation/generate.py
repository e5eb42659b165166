"""`generate` and `generate_batch`: prompts in, continuations out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation.bank import Bank, arrange, bank_of, check_count, form_of, pick
from seal_jax.generation.checks import check_row_ids, is_number
from seal_jax.generation.engine import Order, Rows, run
from seal_jax.generation.prompts import Prompt, bucket, encode, row_limits
from seal_jax.generation.settings import Options, check_minimum, keys_of, order_of, with_prefix
from seal_jax.generation.state import Tokens
from seal_jax.models import Config, Params

Prompts = Sequence[Prompt]


class Output(NamedTuple):
    """Continuations, one entry per row: a prompt, or with `samples` each of its samples, one after the other.

    tokens: generated ids without EOS, without the tokens of a stop string and after it; texts: their text up to the
    stop string (None without a tokenizer); logprobs: log-probability of each of `tokens` under the unmodified model
    distribution (no temperature, no filter, no penalty); finished: True if the row ended by EOS or a stop string, False
    if by its limit; top_logprobs: for each of `tokens` the likeliest tokens of that distribution, best first, as
    `(id, log-probability)` (None unless asked for); eos: the token that ended the row, None where it ended by a stop
    string or its limit. A token that begins before a stop string and runs into it is not in `tokens`; its part before
    is in the text.
    """

    tokens: list[list[int]]
    texts: list[str] | None
    logprobs: list[list[float]]
    finished: list[bool]
    top_logprobs: list[list[list[tuple[int, float]]]] | None = None
    eos: list[int | None] | None = None


def generate(
    params: Params,
    config: Config,
    prompts: Prompts,
    key: jax.Array | None,
    max_new_tokens: int | Sequence[int] = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    eos: int | Sequence[int] | None = None,
    stop: str | Sequence[str] | None = (),
    tokenizer: Any = None,
    row_ids: Sequence[int] | None = None,
    *,
    adapters: Any = None,
    adapter_ids: Sequence[int] | None = None,
    factors: Any = None,
    compose: str = "scaled",
    one_program: bool = False,
    **options: Unpack[Options],
) -> Output:
    """Continue every prompt: greedy at temperature 0, else sampled.

    params: stacked or unrolled, plain or with adapters attached; pass `models.unroll(params)` when calling in a loop,
    otherwise each call unrolls. prompts: lists of token ids; or with a tokenizer strings, or lists of messages
    `{"role", "content"}` for its chat template. max_new_tokens: one number, or one per prompt. eos: id or ids that end
    a row; None: the config's and the tokenizer's, (): none.

    Row i draws from `fold_in(key, row_ids[i])` (default: i), so its sample does not depend on the other rows.
    key may be None when greedy. Shapes are bucketed: prompt lengths, rows and new tokens share few programs.

    adapters: a tree with a leading axis N on every leaf (from `stack_adapters` or `finetune_batch`); adapter_ids: which
    of them each prompt uses, -1 for none; factors and compose: as in `adapters.attach`.
    Rows of one adapter are computed together where that costs less, so another assignment may be another program.
    one_program: never; each row reads its own copy of its adapter (of SVF: its scale vector alone), and the kernels.

    Options, under the names and with the numbers of transformers where it has them:

    - min_p: see `Sampling`;
    - repetition_penalty, presence_penalty, frequency_penalty, no_repeat_ngram_size, min_new_tokens: see `Controls`;
    - top_logprobs: how many of the likeliest tokens to report for each new token;
    - samples: rows for each prompt, which is prefilled once; the first is what there is without the others;
    - prefix: from `prefill`, what all prompts begin with and what is not computed again (prompts are given whole);
    - prefill_chunk: tokens of a prompt that are computed at once, which bounds the memory of long ones.

    Raises ValueError before any work for an empty prompt, a token outside the vocabulary, strings or stop strings
    without a tokenizer, messages without a chat template, a prompt that with its new tokens exceeds
    `config.max_position` or does not begin with the prefix, adapters that do not fit, or a bad setting.
    """
    order = order_of(config, (temperature, top_k, top_p), eos, stop, tokenizer, options, compose)
    encoded = encode(prompts, config, tokenizer)
    ids = check_row_ids(row_ids, len(encoded))
    rows = Rows(encoded, row_limits(max_new_tokens, encoded, config), ids)
    check_minimum(order, [rows])
    key = keys_of(key, order.sampling)
    if key.ndim:
        raise ValueError(f"key is {len(key)} keys: expected one; rows draw from fold_in(key, row_ids[i])")
    if adapters is not None:
        used = _adapter_ids(check_count(adapters), adapter_ids, len(encoded))
        found = _routed(params, rows, key, order, options, bank_of(adapters, factors, compose), used, one_program)
    elif adapter_ids is not None:
        raise ValueError("adapter_ids tells which of adapters= each prompt uses: pass both")
    else:
        [found] = run(params, [rows], key[None], with_prefix(order, options, [rows], None))
    return _output(found, order)


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
    eos: int | Sequence[int] | None = None,
    stop: str | Sequence[str] | None = (),
    tokenizer: Any = None,
    factors: Any = None,
    compose: str = "scaled",
    **options: Unpack[Options],
) -> list[Output]:
    """N adapters at once: adapter n continues the prompts `prompts[n]`; the base parameters are shared.

    adapters: an adapter tree with a leading axis N on every leaf (LoRA: a `[N, L, in, r]`, b `[N, L, r, out]`, scale
    `[N, L]`); factors and compose: as in `adapters.attach`. The N lists may differ in length: missing rows are
    inert and finished from the start. max_new_tokens: one number, or one per list of prompts, each a
    number or a list. options: as in `generate`.
    key: one key, of which adapter n uses `fold_in(key, n)`, or N keys. Each Output equals that of `generate` with
    `attach(params, adapter_n)` and that key. N is part of the program's shape and is not bucketed.

    Raises ValueError as `generate`, and if N differs between the adapters' leaves, the prompts and the keys.
    """
    order = order_of(config, (temperature, top_k, top_p), eos, stop, tokenizer, options, compose)
    count = len(prompts)
    if not count:
        return []
    if (found := check_count(adapters)) != count:
        raise ValueError(f"{count} lists of prompts, but adapter leaves lead with axes [({found},)]: expected N")
    each = [max_new_tokens] * count if isinstance(max_new_tokens, int | np.integer) else max_new_tokens
    if len(each) != count:
        raise ValueError(f"{len(each)} lists of max_new_tokens for {count} lists of prompts: expected one each")
    groups = []
    for n, (p, limit) in enumerate(zip(prompts, each)):
        encoded = encode(p, config, tokenizer, f"adapter {n}, ")
        groups.append(Rows(encoded, row_limits(limit, encoded, config, f"adapter {n}, "), range(len(encoded))))
    check_minimum(order, groups)
    keys = keys_of(key, order.sampling)
    if not keys.ndim:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(keys, jnp.arange(count))
    if keys.shape != (count,):
        raise ValueError(f"{len(keys)} keys for {count} adapters: expected one key, or one each")
    order = with_prefix(order, options, groups, count, range(count))
    order = order._replace(bank=bank_of(adapters, factors, compose))
    return [_output(rows, order) for rows in run(params, groups, keys, order)]


def _adapter_ids(count: int, ids: Sequence[int] | None, prompts: int) -> list[int]:
    if ids is None or np.shape(ids) != (prompts,):
        found = "no adapter_ids" if ids is None else f"adapter_ids={ids!r}"
        found = f"{len(ids)} adapter_ids" if ids is not None and np.ndim(ids) else found
        raise ValueError(f"{found} for {prompts} prompts and {count} adapters: expected one each, -1 for no adapter")
    for row, n in enumerate(ids):
        if not is_number(n, np.integer) or not -1 <= n < count:
            raise ValueError(f"adapter_ids has {n!r} for prompt {row}: expected 0..{count - 1}, or -1 for no adapter")
    return [int(n) for n in ids]


def _routed(
    params: Params,
    rows: Rows,
    key: jax.Array,
    order: Order,
    options: Options,
    bank: Bank,
    used: list[int],
    one_program: bool,
) -> list[Tokens]:
    """`run` with prompt i under adapter `used[i]`; one_program: the same for any `used`."""
    arranged = [(n, [row]) for row, n in enumerate(used)] if one_program else arrange(used)
    groups = [Rows([rows.prompts[i] for i in own], rows.limits[own], [rows.ids[i] for i in own]) for _, own in arranged]
    # Whole numbers of groups that other calls have too; groups without prompts cost what a finished row costs.
    spare = bucket(max(len(groups), 1)) - len(groups)
    ids = np.array([n for n, _ in arranged] + [-1] * spare, np.int32)
    program = order.program._replace(form="residual" if one_program else form_of(used))
    order = with_prefix(order._replace(program=program), options, [rows], bank.count, ids)
    order = order._replace(bank=pick(bank, jnp.asarray(ids)))
    groups += [Rows([], np.zeros(0, np.int32), [])] * spare
    found = run(params, groups, jnp.broadcast_to(key, len(groups)), order)
    each = order.program.samples
    placed: list[list[Tokens]] = [[]] * len(rows.prompts)
    for (_, own), part in zip(arranged, found):
        for i, row in enumerate(own):
            placed[row] = part[i * each : (i + 1) * each]
    return [sample for row in placed for sample in row]


def _output(rows: list[Tokens], order: Order) -> Output:
    end = order.end
    cuts = [end.cut(row.tokens.tolist()) for row in rows]
    kept = [Tokens(*(x[:n] for x in row)) for row, (n, _, _) in zip(rows, cuts)]
    likeliest = [[list(zip(*t)) for t in zip(r.top_tokens.tolist(), r.top_logprobs.tolist())] for r in kept]
    return Output(
        tokens=[row.tokens.tolist() for row in kept],
        texts=None if end.tokenizer is None else [text or "" for _, text, _ in cuts],
        logprobs=[row.logprobs.tolist() for row in kept],
        finished=[ended for _, _, ended in cuts],
        top_logprobs=likeliest if order.program.top else None,
        eos=[_eos_after(row.tokens[n : n + 1].tolist(), order) for row, (n, _, _) in zip(rows, cuts)],
    )


def _eos_after(following: list[int], order: Order) -> int | None:
    """The token that follows those kept of a row, if it is one that ends rows."""
    return following[0] if following and following[0] in order.end.eos else None
