"""What `pretrain_worlds` needs of the skills world: documents, measures, and what the model must reach."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.world import World
from seal_jax import models
from seal_jax.data.worlds import skills, skills_corpus, skills_tokenizer
from seal_jax.data.worlds.tokenizer import BOS
from seal_jax.transformer2.classify import request

_forward = jax.jit(models.forward, static_argnums=1)


def probe(params: Any, config: models.Config, tok: Any, settings: Any, count: int = 160) -> dict[str, float]:
    """Share of questions of the validation split that greedy decoding answers rightly, and classifies rightly.

    An answer is greedy decoding's if every token of it, given those before, is the most likely one.
    "FAMILY_slips": those answered with the slip in all of their parts.
    """
    scores = {}
    for family in (*skills.LABELS, skills.UNSEEN):
        rng = np.random.default_rng(1)
        asked = [skills.ask(family, "validation", rng, n) for n in range(count)]
        prompts = [f"{BOS}<|user|>{a.text}<|assistant|>" for a in asked]
        scores[family] = _said(params, config, tok, settings, prompts, [a.right for a in asked])
        if family in skills.TRAINED:
            slips = [a.answer([False]) for a in asked]
            scores[f"{family}_slips"] = _said(params, config, tok, settings, prompts, slips)
    mixed = skills.mixed("validation", count)
    prompts = [f"{BOS}<|system|>{skills_tokenizer.WHICH_KIND}<|user|>{request(p)}<|assistant|>" for p in mixed]
    labels = [f"\\boxed{{{p.meta['family']}}}" for p in mixed]
    return {**scores, "classified": _said(params, config, tok, settings, prompts, labels)}


def _said(params: Any, config: models.Config, tok: Any, settings: Any, prompts: list[str], answers: list[str]) -> float:
    rows = np.zeros((len(prompts), settings.length), np.int32)
    told = np.zeros((len(prompts), settings.length), bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers)):
        ids = [*tok(prompt + answer)["input_ids"], tok.eos_token_id]
        rows[row, : len(ids)], told[row, len(tok(prompt)["input_ids"]) : len(ids)] = ids, True
    best = np.asarray(_forward(params, config, jnp.asarray(rows), jnp.asarray(rows > 0)).argmax(-1))
    return float(((best[:, :-1] == rows[:, 1:]) | ~told[:, 1:]).all(1).mean())


def _suffices(scores: dict[str, float]) -> bool:
    return all(0.2 <= scores[family] <= 0.7 for family in skills.TRAINED) and scores[skills.OTHERS] >= 0.8


WORLD = World(
    tokenizer=skills_tokenizer.build,
    draw=lambda rng, tok: skills_corpus.draw(rng),
    probe=probe,
    suffices=_suffices,
    settings={"batch": 128, "length": 24, "steps": 1200, "hidden_size": 96, "intermediate_size": 256, "num_layers": 3},
)
