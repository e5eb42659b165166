"""Results of continued pretraining: one verdict of each question before and after, in the server's reply."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from seal_jax.data import json_fields
from seal_jax.seal.recorded.files import Recorded
from seal_jax.seal.recorded.results import as_verdict

Verdicts = list[bool | None]


class Answers(NamedTuple):
    """Verdicts of the same questions before and after training, and what was odd about where they stand."""

    baseline: Verdicts
    adapted: Verdicts
    notes: list[str]


def answers_of(found: Recorded) -> Answers:
    """The verdicts of a file of continued pretraining, or of a server's reply alone.

    `per_article` is keyed by title, so passages that share one overwrite each other; it is used only where there is no
    `server_reply` and it holds as many questions as were asked. ValueError that says where for what cannot be used.
    """
    path, value = found.path, found.value
    if found.kind == "reply":
        return _of_reply(value, str(path))
    if value.get("server_reply") is not None:
        answers = _of_reply(json_fields.get(value, "server_reply", dict, str(path)), f"{path}: server_reply")
        return answers._replace(notes=[*answers.notes, *_lost(value, path, len(answers.baseline))])
    return _of_articles(value, path)


def overall(answers: Answers, where: Any) -> dict[str, float]:
    """The recorded `overall`: micro accuracies and their difference with 4 decimals; questions, not passages, count."""
    before, after = ([v for v in verdicts if v is not None] for verdicts in answers[:2])
    if not before or not after:
        raise ValueError(f"{where}: no question has a verdict before and after; there is nothing to aggregate")
    baseline, adapted = sum(before) / len(before), sum(after) / len(after)
    found = {"baseline_accuracy": baseline, "adapter_accuracy": adapted, "gain": adapted - baseline}
    return {key: round(number, 4) for key, number in found.items()}


def changes(answers: Answers) -> dict[str, int]:
    """How many questions there are, and how many were gained and lost by training."""
    pairs = list(zip(answers.baseline, answers.adapted))
    return {
        "total": len(pairs),
        "gained": sum(before is False and after is True for before, after in pairs),
        "lost": sum(before is True and after is False for before, after in pairs),
        "ungraded": sum(None in pair for pair in pairs),
    }


def _of_reply(reply: Mapping[str, Any], where: str) -> Answers:
    if "error" in reply:
        raise ValueError(f"{where}: the server answered with an error: {json_fields.shown(reply['error'])}")
    baseline, adapted = (_verdicts(reply, key, where) for key in ("baseline_correct", "adapter_correct"))
    _same_length(baseline, adapted, where)
    gains = reply.get("gains")
    computed = [int(after or 0) - int(before or 0) for before, after in zip(baseline, adapted)]
    odd = gains is not None and gains != computed and None not in (*baseline, *adapted)
    return Answers(baseline, adapted, [f"{where}: its gains are not those of its verdicts"] if odd else [])


def _of_articles(value: Mapping[str, Any], path: pathlib.Path) -> Answers:
    articles = json_fields.get(value, "per_article", dict, f"{path}: without a server_reply")
    baseline: Verdicts = []
    adapted: Verdicts = []
    for title, item in articles.items():
        where = f"{path}: per_article {title!r:.60}"
        before, after = (_verdicts(item, key, where) for key in ("baseline_correct", "adapter_correct"))
        _same_length(before, after, where)
        baseline, adapted = baseline + before, adapted + after
    asked = json_fields.get(value, "eval_questions", int, str(path))
    if asked != len(baseline):
        raise ValueError(
            f"{path}: there is no server_reply, and per_article keeps {len(baseline)} of {asked} questions: it is "
            "keyed by title, so passages that share one overwrote each other; the accuracy cannot be recomputed"
        )
    return Answers(baseline, adapted, ["there is no server_reply; per_article was used, which has every question"])


def _lost(value: Mapping[str, Any], path: pathlib.Path, questions: int) -> list[str]:
    """Notes on a file whose other parts hold less, or other numbers, than its reply."""
    notes = []
    articles = value.get("per_article")
    if isinstance(articles, dict):
        kept = sum(_length(item) for item in articles.values())
        if kept != questions:
            notes.append(
                f"per_article has {len(articles)} titles and {kept} of {questions} questions, because passages that "
                "share a title overwrote each other; server_reply has all and was used"
            )
    asked = value.get("eval_questions")
    if asked is not None and asked != questions:
        notes.append(f"eval_questions is {json_fields.shown(asked)}; server_reply has {questions} verdicts")
    return notes


def _length(item: Any) -> int:
    verdicts = item.get("baseline_correct") if isinstance(item, dict) else None
    return len(verdicts) if isinstance(verdicts, list) else 0


def _verdicts(item: Any, key: str, where: str) -> Verdicts:
    listed = json_fields.get(item, key, list, where)
    return [as_verdict(value, f"{where}: {key!r} {i}") for i, value in enumerate(listed)]


def _same_length(baseline: Verdicts, adapted: Verdicts, where: str) -> None:
    if len(baseline) != len(adapted):
        raise ValueError(f"{where}: {len(baseline)} verdicts before and {len(adapted)} after; expected one each")
