"""Results of a ranking or an evaluation: articles, their completions, and a verdict of each question and run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from seal_jax.data import json_fields
from seal_jax.seal import reward
from seal_jax.seal.recorded.files import Recorded

Verdicts = list[list[bool | None]]
COMPLETION_KEYS = ("baseline_mean", "baseline_std", "adapter_mean", "adapter_std", "gain_mean")
ARTICLE_KEYS = tuple(reward.article_stats([dict.fromkeys(COMPLETION_KEYS, math.nan)]))
CLOSE = 1e-4  # a stored mean further from that of its verdicts is another number


class Completion(NamedTuple):
    """A completion's verdicts by run, both empty where none are recorded, and its stored statistics (NaN: none)."""

    where: str
    baseline: Verdicts
    adapted: Verdicts
    stored: reward.Stats

    def stats(self) -> reward.Stats:
        """The statistics of the verdicts; where there are none, the stored ones.

        ValueError if these are needed, and one of them is no accuracy.
        """
        if self.from_verdicts():
            return reward.completion_stats(self.baseline, self.adapted)
        return _accuracies(self.stored, self.where)

    def from_verdicts(self) -> bool:
        """Whether `stats` are those of verdicts."""
        return any(verdict is not None for run in self.adapted for verdict in run)


class Article(NamedTuple):
    """A passage: its completions, and its stored statistics, which may be all that is left of theirs (NaN: none)."""

    where: str
    item: Mapping[str, Any]
    completions: list[Completion]
    stored: reward.Stats

    def stats(self) -> reward.Stats | None:
        """The statistics of the completions, the stored ones for what they do not say; None if nothing is known.

        ValueError as `Completion.stats`.
        """
        rows = self.known()
        found = reward.article_stats(rows) if rows else dict.fromkeys(ARTICLE_KEYS, math.nan)
        stored = _accuracies({key: v for key, v in self.stored.items() if math.isnan(found[key])}, self.where)
        found |= stored
        unknown = math.isnan(found["adapter_mean_accuracy"]) and math.isnan(found["baseline_accuracy"])
        return None if unknown else found

    def known(self) -> list[reward.Stats]:
        """The statistics of those completions of which any accuracy is known."""
        rows = [completion.stats() for completion in self.completions]
        return [row for row in rows if not (math.isnan(row["adapter_mean"]) and math.isnan(row["baseline_mean"]))]


def _accuracies(stats: reward.Stats, where: str) -> reward.Stats:
    """Stored statistics as they are. ValueError if one is no accuracy."""
    for key, value in stats.items():
        if abs(value) > 1 or (value < 0 and "gain" not in key):
            raise ValueError(f"{where}, stats: {key!r} is {value}; expected an accuracy, 0 to 1")
    return stats


def articles_of(found: Recorded) -> list[Article]:
    """The articles of a results file. ValueError naming article, completion and question for what cannot be used.

    Statistics that are missing, null or not finite become NaN, and an empty or missing list of questions no verdicts.
    """
    listed = json_fields.get(found.value, "articles", list, str(found.path))
    if not listed:
        raise ValueError(f"{found.path}: there is no article in the file")
    return [_article(item, f"{found.path}: article {i}") for i, item in enumerate(listed)]


def overall(articles: list[Article], path: Any) -> reward.Stats:
    """The recorded `overall`, recomputed, with 4 decimals. ValueError if nothing is known about any completion."""
    rows = [row for row in (article.stats() for article in articles) if row is not None]
    if not rows:
        raise ValueError(
            f"{path}: none of the {len(articles)} articles has a question with a verdict or a completion with a stored "
            "mean, or one of its own; there is nothing to aggregate"
        )
    return reward.rounded(reward.overall_stats(rows))


def source_of(articles: list[Article]) -> str:
    """What the statistics are of, in words."""
    verdicts = {c.from_verdicts() for article in articles for c in article.completions}
    verdicts |= {False for article in articles if not article.completions and article.stats() is not None}
    return " and ".join(["verdicts"] * (True in verdicts) + ["stored statistics"] * (False in verdicts))


def notes_of(articles: list[Article], found: Recorded) -> list[str]:
    """What a reader of the recomputed statistics has to know about the file."""
    completions = [completion for article in articles for completion in article.completions]
    unknown = [article for article in articles if article.stats() is None]
    stored = [c for c in completions if not c.from_verdicts() and not math.isnan(c.stored["adapter_mean"])]
    lost = [c for c in completions if not c.from_verdicts() and math.isnan(c.stored["adapter_mean"])]
    silent = [c for c in completions if c.from_verdicts() and math.isnan(c.stored["adapter_mean"])]
    alone = [article for article in articles if not article.known() and article.stats() is not None]
    ragged = [c for c in completions if len({len(run) for run in c.adapted}) > 1]
    other = [c for c in completions if conflicts(c)]
    ungraded = sum(v is None for c in completions for run in (*c.baseline, *c.adapted) for v in run)
    told = [
        (stored, "have no verdicts; their stored means were used (stored_completion_means)"),
        (lost, "have neither verdicts nor a stored mean and do not count"),
        (silent, "store no adapter_mean; their verdicts have one"),
        (ragged, "have runs with different numbers of questions; a run's accuracy is over those it has"),
        (other, "store another adapter_mean than that of their verdicts; the verdicts count here"),
    ]
    notes = [
        f"{len(which)} of {len(completions)} completions {what}, first: {which[0].where}"
        for which, what in told
        if which
    ]
    if alone:
        notes.append(
            f"{len(alone)} of {len(articles)} articles have nothing but stored figures of their own, which were used, "
            f"first: {alone[0].where}"
        )
    if unknown:
        notes.append(
            f"{len(unknown)} of {len(articles)} articles say nothing and do not count, first: {unknown[0].where}"
        )
    if ungraded:
        notes.append(f"{ungraded} verdicts are null: ungraded, not counted")
    return [*notes, *_counts(articles, found.value)]


def conflicts(completion: Completion) -> bool:
    """Whether the stored adapter_mean is known and is not that of the verdicts."""
    stored = completion.stored["adapter_mean"]
    return completion.from_verdicts() and abs(stored - completion.stats()["adapter_mean"]) > CLOSE


def _counts(articles: list[Article], value: Mapping[str, Any]) -> list[str]:
    """Where the numbers that the file states about itself are not those of its lists."""
    sizes: dict[str, set[int]] = {
        "n_articles": {len(articles)},
        "k_completions": {len(article.completions) for article in articles},
        "eval_times": {len(c.adapted) for article in articles for c in article.completions if c.adapted},
    }
    return [
        f"{key} is {json_fields.shown(value[key])}; the lists have {', '.join(map(str, sorted(found)))}"
        for key, found in sizes.items()
        if key in value and found and found != {value[key] if isinstance(value[key], int) else None}
    ]


def _article(item: Any, where: str) -> Article:
    listed = json_fields.get(item, "completions", list, where)
    stats = _object(item, "stats", where)
    stored = {key: json_fields.number(stats.get(key), f"{where}, stats: {key!r}") for key in ARTICLE_KEYS}
    return Article(where, item, [_completion(c, f"{where}, completion {i}") for i, c in enumerate(listed)], stored)


def _completion(item: Any, where: str) -> Completion:
    if not isinstance(item, dict):
        raise ValueError(f"{where}: expected an object with text, stats and questions, not {json_fields.named(item)}")
    stats = _object(item, "stats", where)
    stored = {key: json_fields.number(stats.get(key), f"{where}, stats: {key!r}") for key in COMPLETION_KEYS}
    questions = json_fields.get(item, "questions", list, where) if item.get("questions") is not None else []
    runs: dict[int, tuple[list[bool | None], list[bool | None]]] = {}
    for number, question in enumerate(questions):
        here = f"{where}, question {number}"
        before, after = runs.setdefault(json_fields.get(question, "rep", int, here), ([], []))
        before.append(_verdict(question, "baseline_correct", here))
        after.append(_verdict(question, "adapter_correct", here))
    return Completion(where, [before for before, _ in runs.values()], [after for _, after in runs.values()], stored)


def as_verdict(value: Any, where: str) -> bool | None:
    """A verdict: true, false, or null for ungraded; 1 and 0 are taken as well. ValueError for anything else."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{where} should be true, false or null, not {json_fields.shown(value)}")


def _verdict(question: dict[str, Any], key: str, where: str) -> bool | None:
    if key not in question:
        raise ValueError(f"{where}: missing key {key!r} (found: {', '.join(question)})")
    return as_verdict(question[key], f"{where}: {key!r}")


def _object(item: Any, key: str, where: str) -> dict[str, Any]:
    """A part of an item that may be missing or null: an empty object then."""
    if isinstance(item, dict) and item.get(key) is None:
        return {}
    return json_fields.get(item, key, dict, where)
