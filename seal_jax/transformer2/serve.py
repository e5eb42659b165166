"""Serving: a batch in which every row has an expert of its own, or none, in one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from seal_jax import generation, models
from seal_jax.data.problems import Problem
from seal_jax.transformer2.classify import OTHERS, Classifier, classify
from seal_jax.transformer2.expert_bank import ExpertBank, expert_bank
from seal_jax.transformer2.experts import Expert


def serve_batch(
    model: models.Model,
    experts: ExpertBank | Mapping[str, Expert],
    prompts: Sequence[Any],
    which: Sequence[str | None] | None = None,
    *,
    classifier: Classifier | None = None,
    max_new_tokens: int | Sequence[int] = 64,
    temperature: float = 0.0,
    key: jax.Array | None = None,
    row_ids: Sequence[int] | None = None,
    stop: str | Sequence[str] | None = (),
    **options: Any,
) -> generation.Output:
    """Continue every prompt under the expert `which` names for it; None is the base model, bit for bit.

    experts: from `expert_bank`; a mapping is made into one, which factors the base, so do that once. prompts: text,
    chat messages or token ids. which: one name a prompt, all None for the base; without it pass 1 chooses, by
    `classifier` (labels are names of experts, by default all of them without criteria), and `others` is the base.
    Further arguments as in `generation.generate`, which see. Every row reads its own scale vector and all of them the
    same weights and factors, so the program depends on the number and length of rows, and not on who uses what: nothing
    is loaded, and nothing compiled, when the assignment changes. Rows do not depend on one another, nor on their order
    (draws are by `row_ids`).

    Raises ValueError for an unknown expert, or a number of names that is not that of the prompts.
    """
    bank = experts if isinstance(experts, ExpertBank) else expert_bank(experts, model.params)
    if which is None:
        which = choose(model, bank, prompts, classifier)
    if isinstance(which, str) or len(which) != len(prompts):
        raise ValueError(f"which={which!r} for {len(prompts)} prompts: give a list of one name, or None, for each")
    return generation.generate(
        model.params,
        model.config,
        prompts,
        key,
        max_new_tokens,
        temperature,
        stop=stop,
        tokenizer=model.tokenizer,
        row_ids=row_ids,
        adapters=bank.adapters,
        adapter_ids=bank.ids(which),
        factors=bank.factors,
        compose=bank.compose,
        one_program=True,
        **options,
    )


def choose(
    model: models.Model, bank: ExpertBank, prompts: Sequence[Any], classifier: Classifier | None = None
) -> list[str | None]:
    """Pass 1: the expert of each prompt (text or messages), by the base model's own sorting; None for `others`.

    Raises ValueError for a label that is no expert, and for prompts that are token ids.
    """
    classifier = classifier or Classifier(dict.fromkeys(bank.names, ""))
    check_labels(classifier, bank)
    for row, prompt in enumerate(prompts):
        if not isinstance(prompt, str) and not (prompt and isinstance(prompt[0], Mapping)):
            raise ValueError(f"prompt {row} is token ids: pass 1 sorts text or messages; say which= for these")
    problems = [Problem(str(row), p if isinstance(p, str) else tuple(p), None) for row, p in enumerate(prompts)]
    labels = classify(model, classifier, problems).labels
    return [None if label == OTHERS else label for label in labels]


def check_labels(classifier: Classifier, bank: ExpertBank) -> None:
    """Raise ValueError unless every label but `others` is an expert of the bank."""
    unknown = [label for label in classifier.names if label != OTHERS and label not in bank.names]
    if unknown:
        raise ValueError(f"label {unknown[0]!r} is no expert; experts are {', '.join(bank.names)}")
