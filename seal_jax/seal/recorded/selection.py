"""ReST-EM selection from the results of a ranking."""

from __future__ import annotations

import math
import pathlib
from typing import NamedTuple

from seal_jax.data import json_fields
from seal_jax.seal import rest_em
from seal_jax.seal.recorded import results
from seal_jax.seal.recorded.files import need, read


class Selection(NamedTuple):
    """rows: `{"prompt", "completion"}` of every chosen edit; chosen: its index, by article; notes: what was odd."""

    rows: list[dict[str, str]]
    chosen: list[list[int]]
    notes: list[str]


def selection(path: str | pathlib.Path, k_best: int = 1) -> Selection:
    """The best `k_best` non-blank completions of each article by adapter accuracy, ties in order of generation.

    The reward is the stored `adapter_mean` of a completion, which is what the reference sorts by; where it is missing
    or null, the mean of its verdicts. Raises ValueError that says where for a file that cannot be used, and one in
    which nothing can be chosen.
    """
    found = read(path)
    need(found, "seal select", "results")
    articles = results.articles_of(found)
    prompts = [json_fields.text(article.item, "prompt", article.where) for article in articles]
    texts = [_texts(article) for article in articles]
    rewards = [[_reward(completion) for completion in article.completions] for article in articles]
    chosen = rest_em.select(rewards, texts, k_best)
    rows = rest_em.sft_rows(prompts, texts, chosen)
    if not rows:
        raise ValueError(
            f"{path}: nothing can be chosen: of {sum(map(len, texts))} completions, "
            f"{sum(not text.strip() for row in texts for text in row)} are blank and "
            f"{sum(math.isnan(value) for row in rewards for value in row)} have no reward"
        )
    return Selection(rows, chosen, _notes(articles, rewards, chosen))


def _reward(completion: results.Completion) -> float:
    stored = completion.stored["adapter_mean"]
    return completion.stats()["adapter_mean"] if math.isnan(stored) else stored


def _texts(article: results.Article) -> list[str]:
    listed = article.item["completions"]
    return [json_fields.text(item, "text", f"{article.where}, completion {i}") for i, item in enumerate(listed)]


def _notes(articles: list[results.Article], rewards: list[list[float]], chosen: list[list[int]]) -> list[str]:
    completions = [completion for article in articles for completion in article.completions]
    unchecked = sum(not completion.from_verdicts() for completion in completions)
    other = [completion for completion in completions if results.conflicts(completion)]
    silent = [c for c in completions if c.from_verdicts() and math.isnan(c.stored["adapter_mean"])]
    unknown = sum(math.isnan(value) for row in rewards for value in row)
    without = [article.where for article, indices in zip(articles, chosen) if not indices]
    total = len(completions)
    told = {
        f"{unchecked} of {total} completions have no verdicts; their stored means are used (stored_completion_means)": (
            unchecked - unknown
        ),
        f"{len(other)} of {total} completions store another adapter_mean than that of their verdicts; the stored one "
        f"counts, first: {other[0].where if other else ''}": len(other),
        f"{len(silent)} of {total} completions store no adapter_mean; that of their verdicts counts, "
        f"first: {silent[0].where if silent else ''}": len(silent),
        f"{unknown} of {total} completions have no reward and are not chosen": unknown,
        f"{len(without)} articles give no row, first: {without[0] if without else ''}": len(without),
    }
    return [note for note, count in told.items() if count > 0]
