"""Which of several candidates a model finds likeliest: label sets of classification tasks, cloze probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from seal_jax.data.packing import DEFAULT_BUCKETS, bucket
from seal_jax.generation import score
from seal_jax.models import Config, Params

Normalize = Literal["sum", "mean"]
Text = str | Sequence[int]
"""A text, or its token ids."""


def log_likelihoods(
    params: Params,
    config: Config,
    tokenizer: Any,
    prompts: Sequence[Text],
    candidates: Sequence[Sequence[Text]],
    *,
    normalize: Normalize = "sum",
    rows: int = 64,
) -> list[np.ndarray]:
    """The log-likelihood, in nats, of each candidate after its prompt: a float64 array `[candidates]` for each prompt.

    candidates: those of each prompt, continuations of its text with the space they begin with. Both may be token ids;
    tokenizer: of those that are texts. normalize: the sum over a candidate's tokens, or their mean, which does not
    favour short ones. rows: sequences at once. Pairs are sorted by length and scored in programs of bucketed shapes.
    Raises ValueError for a prompt without candidates, an empty candidate, and a text longer than the model's context.
    """
    pairs = _pairs(tokenizer, prompts, candidates)
    order = sorted(range(len(pairs)), key=lambda k: sum(map(len, pairs[k])))
    found = np.zeros(len(pairs))
    for part in _parts(order, pairs, rows):
        scored = score(params, config, [pairs[k][0] for k in part], [pairs[k][1] for k in part])
        found[part] = [(np.sum if normalize == "sum" else np.mean)(row) for row in scored]
    return np.split(found, np.cumsum([len(of) for of in candidates])[:-1])


def ranked_answers(
    params: Params,
    config: Config,
    tokenizer: Any,
    prompts: Sequence[Text],
    candidates: Sequence[Sequence[Text]],
    **how: Any,
) -> list[int]:
    """The index of each prompt's likeliest candidate, the first of equal ones; arguments as of `log_likelihoods`."""
    return [int(np.argmax(of)) for of in log_likelihoods(params, config, tokenizer, prompts, candidates, **how)]


def _pairs(
    tokenizer: Any, prompts: Sequence[Text], candidates: Sequence[Sequence[Text]]
) -> list[tuple[list[int], list[int]]]:
    """Token ids of each prompt and candidate; tokenised apart, so that all candidates follow the same tokens."""
    if len(prompts) != len(candidates):
        raise ValueError(f"{len(candidates)} sets of candidates for {len(prompts)} prompts: expected one each")
    known: dict[Text, list[int]] = {}

    def tokens(text: Text, **how: Any) -> list[int]:
        if not isinstance(text, str):
            return list(text)
        if text not in known:
            known[text] = list(tokenizer.encode(text, **how))
        return known[text]

    pairs = []
    for index, (prompt, of) in enumerate(zip(prompts, candidates, strict=True)):
        if not of:
            raise ValueError(f"prompt {index} has no candidates")
        context = tokens(prompt)
        for candidate in of:
            pairs.append((context, tokens(candidate, add_special_tokens=False)))
            if not pairs[-1][1]:
                raise ValueError(f"prompt {index}: the candidate {candidate!r} has no tokens")
    return pairs


def _parts(order: Sequence[int], pairs: Sequence[tuple[list[int], list[int]]], rows: int) -> list[list[int]]:
    """The pairs in parts of at most `rows` that share a bucket of length, so that few programs are compiled."""
    if rows < 1:
        raise ValueError(f"rows={rows}: use 1 or more")
    parts: list[list[int]] = []
    last = 0
    for k in order:
        length = bucket(sum(map(len, pairs[k])), DEFAULT_BUCKETS)
        if not parts or len(parts[-1]) == rows or length != last:
            parts.append([])
        parts[-1].append(k)
        last = length
    return parts
