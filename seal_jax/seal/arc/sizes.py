"""What an ARC run will take, said before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seal_jax import models
from seal_jax.data.arc import Task
from seal_jax.seal import settings as passages
from seal_jax.seal import sizes
from seal_jax.seal.arc.settings import Settings
from seal_jax.seal.arc.texts import Texts


def longest(tasks: Sequence[Task], texts: Texts) -> sizes.Texts:
    """Tokens of the longest sequence without augmentation and of the longest prompt; most queries of a task."""
    return sizes.Texts(
        passage=max(texts.sequences(task, ()).longest for task in tasks),
        prompt=max(len(texts.tokenizer.encode(texts.prompt(task))) for task in tasks),
        questions=max(len(texts.queries(task).prompts) for task in tasks),
        passages=len(tasks),
    )


def footprint(
    config: models.Config,
    settings: Settings,
    dtype: str,
    found: sizes.Texts,
    mesh: Mapping[str, int] = sizes.ONE_DEVICE,
) -> sizes.Footprint:
    """The sizes of a run with these settings, reckoned as those of SEAL on passages; mesh: devices on each axis."""
    ttt, edits, prediction = settings.ttt, settings.edits, settings.prediction
    # Augmentation doubles both sides of a grid at the most, and so makes four times as many cells.
    length = min(4 * found.passage, ttt.max_length, config.max_position)
    # A query is about as long as a sequence without its answer, and room for the longest answer follows it.
    asked = min(found.passage + prediction.max_new_tokens, prediction.length(config.max_position))
    alike = passages.Settings(
        edits=passages.Edits(count=edits.count, max_new_tokens=edits.max_new_tokens, rows=edits.rows),
        inner=passages.Inner(
            rank=ttt.rank,
            alpha=ttt.alpha,
            targets=ttt.targets,
            batch_size=ttt.batch_size,
            max_length=length,
            remat=ttt.remat,
            at_once=ttt.at_once,
        ),
        answering=passages.Answering(max_new_tokens=asked),
        policy=settings.policy,
        seeds=1,
    )
    at_once = found._replace(passage=length, questions=min(found.questions, prediction.rows))
    of = sizes.footprint(config, alike, dtype, at_once, mesh)
    needs = [need._replace(advice=need.advice.replace("--inner.", "--ttt.")) for need in of.needs]
    return of._replace(needs=needs)
