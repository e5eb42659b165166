"""ReST-EM's choice of self-edits to train the policy on (arXiv 2312.06585, as SEAL uses it)."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from seal_jax.data.packing import permutation
from seal_jax.runtime.files import write_atomic


def select(
    rewards: Sequence[Sequence[float]],
    completions: Sequence[Sequence[str]],
    k_best: int | None = 1,
    *,
    positive: bool = False,
    baseline: Sequence[float] | None = None,
) -> list[list[int]]:
    """For each passage the indices of its best edits, best first; ties keep the order of generation.

    rewards, completions: by passage, then by edit. Blank completions and rewards that are NaN or -inf are passed over.
    k_best: how many a passage gives at most, None for all. positive: only edits with a reward above the passage's
    `baseline` (0 for the binary reward; with k_best=None that is the paper's equation). A passage may give none.
    Raises ValueError where the lists do not match, or positive is asked without a baseline.
    """
    if k_best is not None and k_best < 1:
        raise ValueError(f"k_best={k_best}: keep one edit or more, or None for all")
    if positive and baseline is None:
        raise ValueError("positive=True keeps edits that are above the baseline: give the baseline of each passage")
    floors = [float("-inf")] * len(rewards) if baseline is None or not positive else baseline
    if not len(rewards) == len(completions) == len(floors):
        raise ValueError(f"passages: {len(rewards)} with rewards, {len(completions)} with edits, {len(floors)} floors")
    return [_best(*passage, k_best, number) for number, passage in enumerate(zip(rewards, completions, floors))]


def _best(
    rewards: Sequence[float], completions: Sequence[str], floor: float, k_best: int | None, number: int
) -> list[int]:
    if len(rewards) != len(completions):
        raise ValueError(f"passage {number}: {len(rewards)} rewards for {len(completions)} completions")
    eligible = [i for i, text in enumerate(completions) if text.strip() and rewards[i] > floor]
    return sorted(eligible, key=lambda i: -rewards[i])[:k_best]


def random_choice(completions: Sequence[Sequence[str]], counts: Sequence[int], seed: int) -> list[list[int]]:
    """For each passage `counts[p]` of its non-blank edits, drawn without replacement: what `select` is to beat.

    The draw of a passage depends on (seed, its position) alone. A passage with fewer edits gives all it has.
    """
    if len(completions) != len(counts):
        raise ValueError(f"{len(completions)} passages have completions and {len(counts)} a count")
    chosen = []
    for passage, (texts, count) in enumerate(zip(completions, counts)):
        eligible = [i for i, text in enumerate(texts) if text.strip()]
        chosen.append([eligible[i] for i in permutation(len(eligible), seed, passage)[:count]])
    return chosen


def sft_rows(
    prompts: Sequence[str], completions: Sequence[Sequence[str]], chosen: Sequence[Sequence[int]]
) -> list[dict[str, str]]:
    """`{"prompt", "completion"}` of every chosen edit, in order of passages; the completion is stripped."""
    if not len(prompts) == len(completions) == len(chosen):
        raise ValueError(f"passages: {len(prompts)} with prompts, {len(completions)} with edits, {len(chosen)} chosen")
    return [
        {"prompt": prompt, "completion": texts[index].strip()}
        for prompt, texts, indices in zip(prompts, completions, chosen)
        for index in indices
    ]


def write_sft_jsonl(path: str | pathlib.Path, rows: Sequence[dict[str, str]]) -> None:
    """One row of `sft_rows` a line, UTF-8, other scripts as they are: the format of the reference's training sets.

    The file is replaced at once; half a character, as a tokenizer may leave it, is written as its JSON escape.
    """
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
