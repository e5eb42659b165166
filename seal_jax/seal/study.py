"""One SEAL study: rounds of training beside the conditions they are to be compared with, on held-out passages."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from seal_jax import models
from seal_jax.data.squad import Passage
from seal_jax.runtime.run import Run
from seal_jax.seal import answers, knowledge, policy
from seal_jax.seal.settings import Settings

Evaluations = dict[str, dict[str, Any]]


def study(
    run: Run,
    model: models.Model,
    train: Sequence[Sequence[Passage]],
    test: Sequence[Passage],
    settings: Settings,
    seed: int = 0,
    oracle: Sequence[str] | None = None,
    control: bool = True,
    export: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Train one round on each member of `train`, evaluate on `test`; returns the run's result.

    The result holds, each with accuracy, log-likelihood of the gold answers and their standard errors:
    "base": no adaptation; "with_passage": neither, but the passage is in the prompt;
    "passage_only": adapted to the bare passage;
    "round_0": to an edit of the untrained policy; "round_1", ...: to one of the policy after so many rounds;
    "other_passage": round_0's edits, each read for questions about another passage;
    "random_edits": the policy had as many rounds of training on randomly chosen edits (`control`);
    "last_edits_first_model": the last policy's edits teach the untrained model, which tells better edits from a better
    learner;
    "oracle": given ideal edits teach the untrained model.
    Also "differences" between them, paired by passage, the reports of the rounds, and seconds by stage. The passages of
    `train` and `test` must be disjoint and fit the model's context, otherwise ValueError before any work.
    """
    _check_disjoint(train, test)
    for passages in (*train, test):  # before the first hour of work, not after it
        policy.check_context(model, passages, settings.edits)
        answers.check_context(model, passages, settings.answering)
    found: Evaluations = {}
    check = lambda name, m, **how: found.__setitem__(  # noqa: E731
        name, knowledge.evaluate(run, f"evaluation/{name}", m, test, settings, seed, **how)
    )
    check("base", model, adapt=False)
    check("with_passage", model, adapt=False, show_passage=True)
    check("passage_only", model, edits=[""] * len(test))
    first = knowledge.write(run, "evaluation/round_0-edits", model, test, settings, seed)
    check("round_0", model, edits=first)
    check("other_passage", model, edits=first, shift=1)
    if oracle is not None:
        check("oracle", model, edits=oracle)
    learner, reports = model, []
    for number, passages in enumerate(train, start=1):
        learner, report = knowledge.train_round(run, f"round_{number}", learner, passages, settings, seed)
        reports.append(report)
        check(f"round_{number}", learner)
    if export:
        models.save_pretrained(export, learner.config, learner.params, learner.tokenizer)
    check("last_edits_first_model", model, writer=learner)
    if control:
        check("random_edits", _random_policy(run, model, train, reports, settings, seed))
    return _result(run, found, reports, len(train))


def differences(found: Evaluations, pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, dict[str, float]]]:
    """`{"a - b": {"accuracy" and "loglik": {"difference", "stderr"}}}` of the pairs that were evaluated."""
    return {
        f"{a} - {b}": {field: knowledge.compare(found[a], found[b], field) for field in ("accuracy", "loglik")}
        for a, b in pairs
        if a in found and b in found and a != b
    }


def _random_policy(
    run: Run,
    model: models.Model,
    train: Sequence[Sequence[Passage]],
    reports: Sequence[dict[str, Any]],
    settings: Settings,
    seed: int,
) -> models.Model:
    for number, (passages, report) in enumerate(zip(train, reports), start=1):
        counts = [len(chosen) for chosen in report["chosen"]]
        model = knowledge.random_round(run, f"random_{number}", model, passages, settings, seed, counts)
    return model


def _check_disjoint(train: Sequence[Sequence[Passage]], test: Sequence[Passage]) -> None:
    seen: dict[str, str] = {}
    for name, passages in (*((f"round {i + 1}", p) for i, p in enumerate(train)), ("the test set", test)):
        for passage in passages:
            if passage.context in seen:
                raise ValueError(f"passage {passage.title!r} is in {seen[passage.context]} and in {name}; split them")
        seen.update({p.context: name for p in passages})


def _result(run: Run, found: Evaluations, reports: Sequence[dict[str, Any]], rounds: int) -> dict[str, Any]:
    last = f"round_{rounds}"
    pairs = [(last, "round_0"), (last, "random_edits"), (last, "last_edits_first_model"), ("random_edits", "round_0")]
    pairs += [("round_0", other) for other in ("base", "passage_only", "other_passage")]
    kept = lambda e: {k: v for k, v in e.items() if k != "by_passage"}  # noqa: E731
    return {
        **{name: kept(e) for name, e in found.items()},
        "differences": differences(found, pairs),
        "rounds": [{k: v for k, v in r.items() if k not in ("rewards", "chosen")} for r in reports],
        "seconds": {name: round(s, 1) for name, s in run.seconds.items()},
    }
