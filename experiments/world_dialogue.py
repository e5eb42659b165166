"""What `pretrain_worlds` needs of the dialogue world: documents, measures, and what the model must reach."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.world import World
from seal_jax import generation, models
from seal_jax.data.worlds import dialogue, dialogue_corpus, dialogue_questions, dialogue_tokenizer

_LENGTH = 104
_ORDERS = {"good_first": (0, 1), "bad_first": (1, 0)}


@functools.partial(jax.jit, static_argnums=1)
def _last(params: Any, config: models.Config, tokens: jax.Array) -> jax.Array:
    """Logits `[B, V]` after the last token of each row, padded on the right."""
    logits = models.forward(params, config, tokens, tokens > 0)
    return jnp.take_along_axis(logits, (tokens > 0).sum(1)[:, None, None] - 1, 1)[:, 0]


def probe(params: Any, config: models.Config, tok: Any, settings: Any, count: int = 108) -> dict[str, float]:
    """Of questions of the split for choices: the share answered well by greedy decoding and by sampling, and of the
    sampled answers and their beginnings the share whose worth the model tells, by the order of the options."""
    problems = dialogue.problems("dev", count)
    prompts = [str(problem.prompt) for problem in problems]
    decode = functools.partial(generation.generate, models.stack(params), config, prompts, tokenizer=tok)
    greedy = decode(key=None, max_new_tokens=64).texts or []
    sampled = decode(key=jax.random.key(0), max_new_tokens=64, temperature=1.0).texts or []
    well = np.array([dialogue.is_good(*pair) for pair in zip(prompts, greedy)])
    provoking = np.array([problem.meta["provokes"] for problem in problems])
    return {
        "greedy": float(well.mean()),
        "greedy_provoked": float(well[provoking].mean()),
        "sampled": float(np.mean([dialogue.is_good(*pair) for pair in zip(prompts, sampled)])),
        **judged(params, config, tok, [(p, part) for p, t in zip(prompts, sampled) for part in dialogue.parts(t)]),
    }


def judged(params: Any, config: models.Config, tok: Any, pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Share of (prompt, answer) that the model judges as `dialogue.is_good` does: in each order of the options (the
    likelier letter), and in both together where it does not contradict itself, with the share where it does not."""
    letters = tok.convert_tokens_to_ids(list("AB"))
    good = np.array([dialogue.is_good(*pair) for pair in pairs])
    said = {}
    for name, order in _ORDERS.items():
        asking = dialogue_questions.Asking(dialogue_questions.JUDGE, dialogue_questions.JUDGE_OPTIONS, "good")
        ids = [tok(f"{p} {text}{dialogue_questions.block(asking, order)}")["input_ids"] for p, text in pairs]
        rows = np.zeros((len(ids), 128), np.int32)
        for row, each in zip(rows, ids):
            row[: len(each)] = each
        logits = np.concatenate(
            [_last(params, config, jnp.asarray(rows[n : n + 256])) for n in range(0, len(rows), 256)]
        )
        said[name] = (logits[:, letters[0]] > logits[:, letters[1]]) == (order[0] == 0)
    scores = {f"judge_{name}": float((each == good).mean()) for name, each in said.items()}
    agreed = said["good_first"] == said["bad_first"]
    scores["judge_agreed"] = float((agreed & (said["good_first"] == good)).sum() / max(agreed.sum(), 1))
    return {**scores, "judge_decided": float(agreed.mean()), "good_parts": float(good.mean())}


def _suffices(scores: dict[str, float]) -> bool:
    judges = [scores[f"judge_{name}"] for name in _ORDERS]
    return 0.4 <= scores["greedy"] <= 0.65 and 0.05 <= scores["sampled"] <= 0.6 and min(judges) >= 0.85


def _draw(rng: np.random.Generator, tok: Any) -> dialogue_corpus.Document:
    """A document that fits a row with its end."""
    while True:
        document = dialogue_corpus.draw(rng)
        if len(tok(document.text)["input_ids"]) < _LENGTH:
            return document


WORLD = World(
    tokenizer=dialogue_tokenizer.build,
    draw=_draw,
    probe=probe,
    suffices=_suffices,
    settings={
        "batch": 48,
        "length": _LENGTH,
        "steps": 2600,
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_layers": 6,
    },
)
