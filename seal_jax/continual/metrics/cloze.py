"""LAMA-style probes of what a model knows: the blank is at the end, and candidates are ranked by likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seal_jax.continual.ranking import log_likelihoods
from seal_jax.models import Config, Params


class Probe(NamedTuple):
    """A fact with its object left out.

    prompt: the text before the blank; candidates: what may fill it, with the space they begin with; answer: the index
    of the right one.
    """

    prompt: str
    candidates: Sequence[str]
    answer: int


class ClozeScores(NamedTuple):
    """What a model knows of probes.

    precision_at_1: share whose likeliest candidate is right; precision_at_k: whose right one is among the k likeliest;
    mean_reciprocal_rank; mean_log_likelihood: of the right candidates, in nats; ranks: the right one's of each, from 1.
    """

    precision_at_1: float
    precision_at_k: float
    mean_reciprocal_rank: float
    mean_log_likelihood: float
    ranks: list[int]


def probe_of(sentence: str, candidates: Sequence[str], answer: str, blank: str = "[MASK]") -> Probe:
    """A probe of a sentence that ends in its blank, a full stop after it or not; candidates without leading space.

    A model that reads from left to right cannot see what follows a blank, so ValueError if anything does; also for an
    answer that is no candidate.
    """
    before, found, after = sentence.partition(blank)
    if not found or after.strip(" .!?"):
        raise ValueError(f"{sentence!r} does not end in its blank {blank!r}: put the object last")
    if answer not in candidates:
        raise ValueError(f"the answer {answer!r} is none of the {len(candidates)} candidates of {sentence!r}")
    space = " " if before.endswith(" ") else ""
    return Probe(before.rstrip(" "), [space + text for text in candidates], list(candidates).index(answer))


def cloze_scores(
    params: Params, config: Config, tokenizer: Any, probes: Sequence[Probe], *, k: int = 10, **how: Any
) -> ClozeScores:
    """What a model knows of the probes; `how` as in `log_likelihoods`. A tie counts against the right candidate.

    Raises ValueError without probes, or where an answer is no index of its candidates.
    """
    if not probes:
        raise ValueError("no probes to score")
    for index, probe in enumerate(probes):
        if not 0 <= probe.answer < len(probe.candidates):
            raise ValueError(f"probe {index}: answer {probe.answer} of {len(probe.candidates)} candidates")
    prompts, candidates = [p.prompt for p in probes], [p.candidates for p in probes]
    found = log_likelihoods(params, config, tokenizer, prompts, candidates, **how)
    right = np.array([scores[p.answer] for p, scores in zip(probes, found, strict=True)])
    ranks = np.array([int((scores >= own).sum()) for scores, own in zip(found, right, strict=True)])
    return ClozeScores(
        precision_at_1=float((ranks == 1).mean()),
        precision_at_k=float((ranks <= k).mean()),
        mean_reciprocal_rank=float((1 / ranks).mean()),
        mean_log_likelihood=float(right.mean()),
        ranks=ranks.tolist(),
    )
