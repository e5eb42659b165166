"""Aggregation of any recorded results: which kind they are, their statistics recomputed, and what there is to say."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seal_jax.seal.recorded import cpt, few_shot, results, sequential
from seal_jax.seal.recorded.files import Recorded, need, read
from seal_jax.seal.recorded.stated import TOLERANCE, settle

COMBINED = "overall_results.json"  # what the reference calls the aggregate of the runs beside it


class Aggregate(NamedTuple):
    """kind: of `files.KINDS`; result: `{"overall": {...}}` and what else the kind has; notes: what was odd.

    source: what the figures are of, in words.
    """

    kind: str
    result: dict[str, Any]
    notes: list[str]
    source: str = "verdicts"


def aggregate(paths: Sequence[str | pathlib.Path]) -> Aggregate:
    """The statistics of recorded results, recomputed from verdicts; where there are none, from the finest stored ones.

    A figure that cannot be computed, or only to within its last decimal, is the one that the file states, with a note.

    paths: one file of results (ranking, evaluation, continued pretraining, ARC, or a summary of sequential edits); or
    several summaries of sequential edits; or a directory with such summaries, at any depth (`summary*.json` if there
    are any, else all that are summaries). An aggregate among the runs (`overall_results.json`) is left out, and
    compared with what they give.

    Raises ValueError that names the file and the place for what cannot be used, OSError for what cannot be read.
    """
    if not paths:
        raise ValueError("there is no file of results; name one")
    found, notes = _gather([pathlib.Path(path) for path in paths])
    result = _one(found[0]) if len(found) == 1 else _runs(found)
    return result._replace(notes=[*result.notes, *notes])


def _gather(paths: Sequence[pathlib.Path]) -> tuple[list[Recorded], list[str]]:
    """The files, each once, and notes on those that were named again or left out."""
    files: dict[pathlib.Path, Recorded] = {}
    notes: list[str] = []
    again: dict[pathlib.Path, pathlib.Path] = {}
    for path in paths:
        found, left_out = _read(path)
        notes += left_out
        for file in found:
            place = file.path.resolve()
            if place in files:
                again[place] = files[place].path
            files.setdefault(place, file)
    if again:
        notes.append(
            f"{len(again)} files were named more than once and count once, first: {next(iter(again.values()))}"
        )
    return list(files.values()), notes


def _read(path: pathlib.Path) -> tuple[list[Recorded], list[str]]:
    """A file; of a directory its summaries of sequential edits, or everything if there is none. And what is left."""
    if not path.is_dir():
        return [read(path)], []
    files = sorted(path.rglob("*.json"))
    named = [file for file in files if file.name.startswith("summary") or file.name == COMBINED]
    if any(file.name != COMBINED for file in named):
        return [read(file) for file in named], _left(path, files, named, "there are summary*.json")
    found = [read(file) for file in files]
    if not found:
        raise ValueError(f"{path}: there is no .json file in the directory")
    summaries = [file for file in found if file.kind == "sequential"]
    if not summaries:
        return found, []
    return summaries, _left(path, files, [file.path for file in summaries], "they are no summaries")


def _left(path: pathlib.Path, files: Sequence[pathlib.Path], used: Sequence[pathlib.Path], why: str) -> list[str]:
    left = [file for file in files if file not in used]
    what = f"{len(left)} other .json files in {path} were left out, since {why}"
    return [f"{what}, first: {left[0]}"] if left else []


def _one(found: Recorded) -> Aggregate:
    need(found, "seal aggregate", "results", "cpt", "reply", "sequential", "few_shot")
    if found.kind == "results":
        articles = results.articles_of(found)
        source = results.source_of(articles)
        overall, told = settle(found, results.overall(articles, found.path), source == "verdicts")
        return Aggregate("results", {"overall": overall}, [*results.notes_of(articles, found), *told], source)
    if found.kind in ("cpt", "reply"):
        answers = cpt.answers_of(found)
        overall, told = settle(found, cpt.overall(answers, found.path), True)
        result = {"overall": overall, "questions": cpt.changes(answers)}
        return Aggregate(found.kind, result, [*answers.notes, *told])
    if found.kind == "few_shot":
        return Aggregate("few_shot", {"overall": few_shot.overall(found)}, [])
    run = sequential.run_of(found)
    notes = ["a summary holds nothing finer than its means and standard deviations, which are shown as they are stored"]
    if found.path.name == COMBINED:
        notes.append(
            "the standard deviations of an aggregate of the reference are mean_of_run_stds; give its runs to see"
        )
    return Aggregate("sequential", sequential.single(run), notes)


def _runs(found: Sequence[Recorded]) -> Aggregate:
    """Several summaries of sequential edits as one."""
    for file in found:
        need(file, "seal aggregate of several files", "sequential")
    runs = [sequential.run_of(file) for file in found if file.path.name != COMBINED]
    if not runs:
        raise ValueError(f"{found[0].path} and {found[1].path} are both aggregates; name one, or the runs' files")
    result = sequential.combined(runs)
    notes = [
        f"{len(runs)} runs; std_over_sequences is mean_of_run_stds, as the reference recorded it; pooled is that of "
        "all sequences together"
    ]
    if unknown := [run.path for run in runs if math.isnan(run.mean.sum() + run.std.sum())]:
        notes.append(f"{unknown[0]} has cells without a number; the aggregate has none there either")
    for file in found:
        if file.path.name == COMBINED:
            same = _same(sequential.run_of(file), result["overall"])
            notes.append(f"{file.path} is an aggregate and no run; it is {'equal' if same else 'NOT equal'} to this")
    return Aggregate("sequential", result, [*notes, *_copies(runs)])


def _copies(runs: Sequence[sequential.Run]) -> list[str]:
    """Notes on runs that have the numbers of another."""
    notes, first = [], {}
    for run in runs:
        numbers = (run.mean.tobytes(), run.std.tobytes(), run.sequences)
        if numbers in first:
            notes.append(
                f"{run.path} has the same numbers as {first[numbers]}; both count: leave one out if it is a copy"
            )
        first.setdefault(numbers, run.path)
    return notes


def _same(stored: sequential.Run, overall: Mapping[str, Any]) -> bool:
    pairs = zip((stored.mean, stored.std), (np.array(overall[key]) for key in sequential.MATRICES))
    equal = (ours.shape == theirs.shape and np.allclose(ours, theirs, 0, TOLERANCE, True) for ours, theirs in pairs)
    return all(equal) and stored.sequences == overall["n_sequences"]
