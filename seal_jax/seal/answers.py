"""Asking: the questions of passages put to a model, or to N adapted ones at once, graded and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax import adapters, generation, models, training
from seal_jax.data import packing
from seal_jax.data.squad import Passage
from seal_jax.evaluation import Case, Grader, qa
from seal_jax.runtime.clock import timed
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of, row_groups, shard_leading, use
from seal_jax.seal.graders import make_grader
from seal_jax.seal.settings import Answering

Outcome = dict[str, Any]
"""`{"answers": [str], "correct": [bool or None], "loglik": [float]}`, one entry per question; None is ungraded, which
counts as neither right nor wrong; loglik is the mean log-probability of the gold answer's tokens in nats."""


def ask(
    model: models.Model,
    passages: Sequence[Passage],
    answering: Answering,
    show_passage: bool = False,
    rows: int = 64,
    on_progress: Callable[[int], None] | None = None,
    *,
    grader: Grader | None = None,
) -> list[Outcome]:
    """The unadapted model's outcome on every passage's questions; with `show_passage` the passage is in the prompt.

    on_progress: called with the number of questions answered after each `rows` of them. grader: that of the settings
    (`graders.make_grader`), if a caller has made it already. What it leaves ungraded is sent to it once more.
    """
    flat = [(p, q) for p in passages for q in p.questions]
    params = models.unroll(model.params)
    grader = grader or make_grader(model._replace(params=params), answering)
    texts: list[str] = []
    scores: list[float] = []
    for start in range(0, len(flat), rows):
        chunk = flat[start : start + rows]
        prompts = [_prompt(model, p, q.question, answering, show_passage) for p, q in chunk]
        gold = [q.answer for _, q in chunk]
        out = generation.generate(params, model.config, prompts, None, **_decoding(model, answering))
        texts += [text.strip() for text in out.texts or ()]
        rows_ = _gold_rows(model, prompts, gold, rows)
        found = _scored(_gold_log_likelihood, model._replace(params=params), (), rows_)
        scores += [float(score) for score in found[: len(chunk)]]
        if on_progress:
            on_progress(len(chunk))
    return grade_missing(_outcomes(passages, iter(texts), iter(scores), grader), passages, grader)


def check_context(model: models.Model, passages: Sequence[Passage], answering: Answering) -> None:
    """Raise ValueError, naming the passage, if a question with the passage shown does not fit the model's context."""
    for passage in passages:
        for asked in passage.questions:
            _prompt(model, passage, asked.question, answering, show=True)


def ask_adapted(
    model: models.Model,
    trained: adapters.Adapter,
    passages: Sequence[Passage],
    answering: Answering,
    *,
    grader: Grader | None = None,
) -> list[Outcome]:
    """The outcome of adapter n on the questions of passage n, all at once, without the passage.

    trained: adapters with a leading axis N on every leaf; those beyond the passages are not asked anything.
    grader: as in `ask`, but asked once.
    """
    grader = grader or make_grader(model, answering)
    spare = len(jax.tree.leaves(trained)[0]) - len(passages)
    prompts = [[_prompt(model, p, q.question, answering) for q in p.questions] for p in passages]
    gold = [[q.answer for q in p.questions] for p in passages]
    most = max(len(p) for p in prompts)
    outs = generation.generate_batch(
        model.params,
        model.config,
        trained,
        [*prompts, *[[] for _ in range(spare)]],
        None,
        **_decoding(model, answering),
    )
    rows = packing.bucket(max(most, 1), packing.STEP_BUCKETS)
    filled = [_gold_rows(model, p, g, rows) for p, g in zip(prompts, gold)]
    width = max(x[0].shape[1] for x in filled)
    filled = [[np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in row] for row in filled]
    asked = tuple(np.stack([f[k] for f in filled] + [filled[0][k]] * spare) for k in range(3))
    scores = _scored(_gold_by_adapter, model, (trained,), asked)
    texts = [text.strip() for out in outs for text in out.texts or ()]
    flat = [float(score) for p, of_passage in zip(passages, scores) for score in of_passage[: len(p.questions)]]
    return _outcomes(passages, iter(texts), iter(flat), grader)


def grade_missing(outcomes: Sequence[Outcome], passages: Sequence[Passage], grader: Grader) -> list[Outcome]:
    """The outcomes with what was ungraded graded again; outcome n answers the questions of passage n.

    An outcome in which nothing was ungraded, or nothing could be graded now either, is returned as it is.
    """
    missing = [[i for i, v in enumerate(outcome.get("correct", ())) if v is None] for outcome in outcomes]
    if not any(missing):
        return list(outcomes)
    asked = [(n, i) for n, indices in enumerate(missing) for i in indices]
    cases = {n: cases_of(passages[n], outcomes[n]["answers"]) for n, _ in asked}
    found = list(outcomes)
    for (n, i), verdict in zip(asked, grader([cases[n][i] for n, i in asked])):
        if verdict is not None:
            correct = list(found[n]["correct"])
            correct[i] = verdict
            found[n] = {**found[n], "correct": correct}
    return found


def cases_of(passage: Passage, answers: Sequence[str]) -> list[Case]:
    """The passage's questions, under their topic line, with their gold answers and these answers, for a grader."""
    questions = zip(passage.questions, answers, strict=True)
    return [Case(qa.topic_question(passage.title, q.question), q.answer, answer) for q, answer in questions]


def _prompt(model: models.Model, p: Passage, question: str, answering: Answering, show: bool = False) -> str:
    prompt = qa.answer_prompt(
        p.title,
        question,
        answering.template,
        context=p.context if show else None,
        tokenizer=model.tokenizer if answering.chat else None,
    )
    tokens, most = len(model.tokenizer.encode(prompt)), answering.max_new_tokens
    if tokens + most > model.config.max_position:
        raise ValueError(
            f"passage {p.title!r}: a question{' with the passage' if show else ''} takes {tokens} tokens and its "
            f"answer up to {most}; the model's context is {model.config.max_position}"
        )
    return prompt


def _decoding(model: models.Model, answering: Answering) -> dict[str, Any]:
    return {"max_new_tokens": answering.max_new_tokens, "stop": answering.stop, "tokenizer": model.tokenizer}


def _gold_rows(
    model: models.Model, prompts: Sequence[str], gold: Sequence[str], rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompt and gold answer as right-padded rows `[rows, T]`: tokens, mask of real tokens, mask of the answer."""
    encode = model.tokenizer.encode
    filled: list[tuple[list[int], int]] = []
    for prompt, answer in zip(prompts, gold):
        head = encode(prompt)
        whole = encode(prompt + ("" if prompt[-1:].isspace() else " ") + answer)
        shared = next((i for i, (a, b) in enumerate(zip(head, whole)) if a != b), len(head))
        filled.append((whole, min(shared, len(whole) - 1)))
    width = packing.bucket(max((len(w) for w, _ in filled), default=1))
    tokens = np.zeros((rows, width), np.int32)
    mask, target = np.zeros((rows, width), bool), np.zeros((rows, width), bool)
    for row, (whole, start) in enumerate(filled):
        tokens[row, : len(whole)] = whole
        mask[row, : len(whole)] = True
        target[row, start : len(whole)] = True
    return tokens, mask, target


def _scored(
    program: Callable[..., jax.Array], model: models.Model, adapted: tuple[Any, ...], rows: tuple[np.ndarray, ...]
) -> np.ndarray:
    """What `program(params, config, *adapted, *rows)` gives, its rows spread over the model's mesh if they divide."""
    mesh = mesh_of(model.params)
    if mesh is not None and len(rows[0]) % row_groups(mesh) == 0:
        rows = shard_leading(rows, mesh)
    with use(mesh):
        return host(timed("scoring", program, model.params, model.config, *adapted, *rows))


@partial(jax.jit, static_argnums=1)
def _gold_log_likelihood(params: Any, config: Any, tokens: jax.Array, mask: jax.Array, target: jax.Array) -> jax.Array:
    """Mean log-probability of each row's target tokens: `[B, T]` -> float32 `[B]`, 0 for a row without any."""
    chosen = jnp.where(target, training.token_log_probs(params, config, tokens, mask), 0.0)
    return chosen.sum(-1) / jnp.maximum(target.sum(-1, dtype=jnp.float32), 1.0)


@partial(jax.jit, static_argnums=1)
def _gold_by_adapter(
    params: Any, config: Any, adapters_: Any, tokens: jax.Array, mask: jax.Array, target: jax.Array
) -> jax.Array:
    """`_gold_log_likelihood` of N adapters on their own rows: `[N, B, T]` -> float32 `[N, B]`."""
    score = lambda a, *rows: _gold_log_likelihood(adapters.attach(params, a), config, *rows)  # noqa: E731
    return jax.vmap(score)(adapters_, tokens, mask, target)


def _outcomes(
    passages: Sequence[Passage], texts: Iterator[str], scores: Iterator[float], grade: Grader
) -> list[Outcome]:
    """Outcomes of passages from the answers and scores of their questions, one after the other; graded all at once."""
    answers = [[next(texts) for _ in p.questions] for p in passages]
    logliks = [[next(scores) for _ in p.questions] for p in passages]
    graded = iter(grade([case for p, said in zip(passages, answers) for case in cases_of(p, said)]))
    return [
        {"answers": said, "correct": [next(graded) for _ in said], "loglik": loglik}
        for said, loglik in zip(answers, logliks)
    ]


def verdicts(outcomes: Sequence[Mapping[str, Any]], field: str = "correct") -> np.ndarray:
    """One field of all outcomes, question after question: float64 `[questions]`, NaN where it is None."""
    return np.array([value for outcome in outcomes for value in outcome[field]], np.float64)
