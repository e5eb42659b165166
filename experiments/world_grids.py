"""What `pretrain_worlds` needs of the grids world: documents, measures, and what the model must reach."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.world import World
from seal_jax import models
from seal_jax.data.arc import Task
from seal_jax.data.worlds import grids, grids_corpus, grids_splits, grids_tokenizer
from seal_jax.seal.arc.edits import edit_prompt

_forward = jax.jit(models.forward, static_argnums=1)


def _draw(rng: np.random.Generator, tok: Any) -> grids_corpus.Document:
    return grids_corpus.draw(rng, functools.partial(edit_prompt, template="arc-edit-plain", tokenizer=tok))


def probe(params: Any, config: models.Config, tok: Any, settings: Any, count: int = 120) -> dict[str, float]:
    """Share of tasks solved in context: rules of pretraining, and the rules and compositions of the choices' split.

    A task is solved if every token of its answer, given those before, is the most likely one: greedy decoding's result.
    """
    composed = ["+" in name for name in grids_splits.SPLITS["dev"]]
    known = _solved(params, config, tok, settings, grids.tasks("pretraining", count, seed=1))
    dev = _solved(params, config, tok, settings, grids.tasks("dev", count, seed=1))
    composed = np.resize(composed, count)
    return {
        "known": float(known.mean()),
        "held_out_rules": float(dev[~composed].mean()),
        "held_out_compositions": float(dev[composed].mean()),
    }


def _solved(params: Any, config: models.Config, tok: Any, settings: Any, tasks: list[Task]) -> np.ndarray:
    """bool `[tasks]`."""
    texts = [grids_corpus.solving(task).text for task in tasks]
    rows = np.zeros((len(tasks), settings.length), np.int32)
    answers = np.zeros((len(tasks), settings.length), bool)
    for row, text in enumerate(texts):
        ids = [*tok(text)["input_ids"], tok.eos_token_id]
        prompt = len(tok(text[: text.rindex(" -> ") + len(" -> ")])["input_ids"])
        rows[row, : len(ids)], answers[row, prompt : len(ids)] = ids, True
    best = np.asarray(_forward(params, config, jnp.asarray(rows), jnp.asarray(rows > 0)).argmax(-1))
    return ((best[:, :-1] == rows[:, 1:]) | ~answers[:, 1:]).all(1)


def _suffices(scores: dict[str, float]) -> bool:
    return scores["known"] >= 0.8 and max(scores["held_out_rules"], scores["held_out_compositions"]) <= 0.25


WORLD = World(
    tokenizer=grids_tokenizer.build,
    draw=_draw,
    probe=probe,
    suffices=_suffices,
    settings={"batch": 24, "length": 136, "steps": 3000, "intermediate_size": 256, "rope_theta": 1000.0},
)
