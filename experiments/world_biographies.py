"""What `pretrain_worlds` needs of the biographies world: documents, measures, and what the model must reach."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.world import World
from seal_jax import models
from seal_jax.data.worlds import biographies, biographies_corpus, tokenizer


def probe(params: Any, config: models.Config, tok: Any, settings: Any, count: int = 64) -> dict[str, float]:
    """Share of questions whose one-token answer is the most likely token: reading, known and unknown people."""
    rng = np.random.default_rng(10_000 + settings.seed)
    strangers = [biographies.person(n) for n in biographies.names("dev")[-count:]]
    known = [biographies.person(n) for n in biographies.names("known")[:count]]
    return {
        "reading": _answered(params, config, tok, settings, strangers, rng, with_passage=True),
        "known": _answered(params, config, tok, settings, known, rng, with_passage=False),
        "unknown": _answered(params, config, tok, settings, strangers, rng, with_passage=False),
    }


def _answered(
    params: Any, config: models.Config, tok: Any, settings: Any, people: list, rng: Any, *, with_passage: bool
) -> float:
    prompts, gold = [], []
    for who in people:
        for i in range(len(who.values)):
            asked = biographies.question(who, i, rng)
            context = f"{who.name}\n{biographies.tell(who, rng)}\n" if with_passage else ""
            prompts.append(tok(f"{context}Topic: {who.name}\n{asked.question}\nAnswer:")["input_ids"])
            gold.append(tok(asked.answer)["input_ids"][0])
    rows = np.zeros((len(prompts), settings.length), np.int32)
    for row, ids in enumerate(prompts):
        rows[row, : len(ids)] = ids
    logits = _forward(params, config, jnp.asarray(rows), jnp.asarray(rows > 0))
    last = np.array([len(ids) - 1 for ids in prompts])
    best = np.asarray(logits[np.arange(len(prompts)), last].argmax(-1))
    return float((best == np.array(gold)).mean())


_forward = jax.jit(models.forward, static_argnums=1)


def _suffices(scores: dict[str, float]) -> bool:
    return scores["reading"] >= 0.9 and scores["unknown"] <= 0.1 and scores["known"] >= 0.6


WORLD = World(
    tokenizer=tokenizer.build,
    draw=lambda rng, tok: biographies_corpus.draw(rng),
    probe=probe,
    suffices=_suffices,
    settings={},
)
