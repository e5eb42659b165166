"""Best of N: draw whole continuations, judge each, keep the best; what a search has to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from seal_jax.generation import generate
from seal_jax.generation.checks import check_integer, check_row_ids
from seal_jax.generation.prompts import Prompt, encode
from seal_jax.models import Config, Params, unroll
from seal_jax.rain.host import after_bos
from seal_jax.rain.judge import Judge
from seal_jax.rain.judges import values


class BestOf(NamedTuple):
    """The best continuation of each of P prompts, under the names of `Result`.

    texts: None without a tokenizer; values: what the judge thinks of them; passes: forward passes one after the other,
    a prompt's samples and judgements being a batch; tokens_processed: in them; judged: distinct texts.
    """

    texts: list[str | None]
    tokens: list[list[int]]
    values: list[float]
    passes: list[int]
    tokens_processed: list[int]
    judged: list[int]


def best_of(
    params: Params,
    config: Config,
    prompts: Sequence[Prompt],
    key: jax.Array,
    *,
    judge: Judge,
    samples: int,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    tokenizer: Any = None,
    stop: str | Sequence[str] | None = None,
    eos: int | Sequence[int] | None = None,
    row_ids: Sequence[int] | None = None,
    rows: int = 256,
) -> BestOf:
    """Draw so many samples of each prompt and keep the one that the judge values most, the first of equals.

    A text that is drawn twice is judged once. The judge is shown prompt, without its BOS, and continuation.
    rows: samples drawn at once, as many prompts' as fit and one prompt's at least; the rest as in `generate`,
    errors included.
    """
    check_integer("samples", samples, "a positive number of continuations of each prompt", 1)
    encoded = [prompt.tolist() for prompt in encode(prompts, config, tokenizer)]
    params = unroll(params)
    longest = max(map(len, encoded), default=0)
    judge.check(longest + max_new_tokens)
    ids, at_once = check_row_ids(row_ids, len(encoded)), max(rows // samples, 1)
    ways: dict[str, Any] = {"eos": eos, "stop": stop, "tokenizer": tokenizer, "samples": samples}
    chosen: list[tuple[Any, ...]] = []
    for start in range(0, len(encoded), at_once):
        part = slice(start, start + at_once)
        out = generate(params, config, encoded[part], key, max_new_tokens, temperature, row_ids=list(ids[part]), **ways)
        drawn = list(zip(out.tokens, out.texts or [None] * len(out.tokens)))
        groups = [drawn[n : n + samples] for n in range(0, len(drawn), samples)]
        shown = [prompt[after_bos(prompt, tokenizer) :] for prompt in encoded[part]]
        chosen += _chosen(judge, encoded[part], shown, groups, jax.random.fold_in(key, start))
    return BestOf(*([row[n] for row in chosen] for n in range(len(BestOf._fields))))


def _chosen(
    judge: Judge, prompts: Sequence[list[int]], shown: Sequence[list[int]], groups: list[list[Any]], key: jax.Array
) -> list[Any]:
    """A row of BestOf's fields for each prompt; shown: what of each prompt the judge sees."""
    distinct = [list(dict.fromkeys(tuple(tokens) for tokens, _ in group)) for group in groups]
    texts = [[*prompt, *sample] for prompt, each in zip(shown, distinct) for sample in each]
    found = iter(values(judge, texts, key).tolist())
    rows = []
    for prompt, seen, group, each in zip(prompts, shown, groups, distinct):
        value = {sample: next(found) for sample in each}
        tokens, text = max(group, key=lambda drawn: value[tuple(drawn[0])])
        lengths = [len(sample) for sample, _ in group]
        judged = sum(len(seen) + len(sample) + judge.extra_tokens for sample in each) if judge.passes else 0
        passes = 1 + max(lengths) + judge.passes
        rows.append((text, tokens, value[tuple(tokens)], passes, len(prompt) + sum(lengths) + judged, len(each)))
    return rows
