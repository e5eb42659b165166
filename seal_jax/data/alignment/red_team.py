"""Red-team attempts of hh-rlhf: dialogues in which people try to draw harmful answers; prompts are first turns."""

from __future__ import annotations

from typing import Any

from seal_jax.data.alignment.rows import first_text, read
from seal_jax.data.benchmarks.sources import Source, problems
from seal_jax.data.problems import Problem

SOURCE, CONFIGS = "Anthropic/hh-rlhf", ("red-team-attempts",)
HUMAN, ASSISTANT = "Human:", "Assistant:"
_META = ("task_description", "rating", "min_harmlessness_score_transcript", "tags")


def load(source: Source = SOURCE) -> dict[str, list[Problem]]:
    """Problems by split. prompt: the first human turn, without "Human:"; there is no gold answer.

    meta: the dialogue (`transcript`), and where the release has them what the attempt was about, its rating, the score
    and the tags. Takes rows with `transcript`, or with `chosen` as the preference data of hh-rlhf have, or rows that
    are dialogues as text. Raises as `benchmarks.read_splits`, and ValueError that says where for a dialogue without a
    human turn.
    """
    return problems(read(source, CONFIGS, folders=True), _problem, source)


def first_turn(transcript: str, where: str = "transcript") -> str:
    """What the human says first. ValueError starting with `where` without "Human:" or if nothing follows it."""
    _, mark, rest = transcript.partition(HUMAN)
    turn = rest.split(f"\n{ASSISTANT}")[0].split(f"\n{HUMAN}")[0].strip()
    if not mark or not turn:
        raise ValueError(f"{where}: expected a dialogue with a turn of {HUMAN!r}, not {transcript[:60]!r}")
    return turn


def _problem(row: Any, where: str, name: str) -> Problem:
    transcript = first_text(row, ("transcript", "chosen"), where)
    more = {key: row[key] for key in _META if isinstance(row, dict) and row.get(key) is not None}
    return Problem(f"red-team/{name}", first_turn(transcript, where), None, None, {"transcript": transcript, **more})
