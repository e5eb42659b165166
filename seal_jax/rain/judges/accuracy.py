"""How good a judge is: its values of texts, and how often they are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from seal_jax.evaluation.matrix import known_error
from seal_jax.generation.prompts import bucket, pad_left
from seal_jax.rain.judge import Judge
from seal_jax.rain.judges.verdict import Verdict, verdicts
from seal_jax.runtime.mesh import mesh_of, use


class Accuracy(NamedTuple):
    """How a judge did on labelled texts; shares in [0, 1].

    correct: the value has the label's sign; stderr: of it; by_order: the vote of each order is right, empty for a judge
    that does not ask in orders; undecided: the value is 0; positive: the value is above 0 (0 or 1: the judge always
    says the same); values: float32 `[N]`.
    """

    correct: float
    stderr: float
    by_order: tuple[float, ...]
    undecided: float
    positive: float
    values: np.ndarray


def accuracy(
    judge: Judge,
    texts: Sequence[str | Sequence[int]],
    labels: Sequence[float],
    key: Any = None,
    tokenizer: Any = None,
    rows: int = 64,
) -> Accuracy:
    """Compare a judge's values with labels, 1 for good, -1 for bad, 0 for neither. Arguments as in `values`.

    Raises ValueError for no texts, and for labels that are not as many or of other values.
    """
    wanted = np.asarray(labels, np.float32)
    if not len(texts) or wanted.shape != (len(texts),) or not np.isin(wanted, (-1, 0, 1)).all():
        raise ValueError(f"{len(texts)} texts with labels {labels!r:.80}: expected texts, and -1, 0 or 1 for each")
    found = values(judge, texts, key, tokenizer, rows)
    right = np.sign(found) == wanted
    by_order = ()
    if isinstance(judge.apply, Verdict):
        votes = np.concatenate(list(_batches(partial(_votes, judge), judge, texts, tokenizer, rows)))
        by_order = tuple(float(x) for x in (np.sign(votes) == wanted[:, None]).mean(axis=0))
    undecided, good = float((found == 0).mean()), float((found > 0).mean())
    return Accuracy(float(right.mean()), known_error(right), by_order, undecided, good, found)


def values(
    judge: Judge,
    texts: Sequence[str | Sequence[int]],
    key: Any = None,
    tokenizer: Any = None,
    rows: int = 64,
) -> np.ndarray:
    """A judge's values of texts: float32 `[N]`.

    texts: token ids, or strings, which are tokenised by themselves and without special tokens; rows: texts at once.
    key: for a judge that draws; the n-th batch is given `fold_in(key, n)`. Raises ValueError for a string without a
    tokenizer, and a text that does not fit.
    """

    def apply(tokens: np.ndarray, mask: np.ndarray, batch: int) -> jax.Array:
        return _values(judge, tokens, mask, None if key is None else jax.random.fold_in(key, batch))

    found = list(_batches(apply, judge, texts, tokenizer, rows))
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def _batches(
    apply: Callable[[np.ndarray, np.ndarray, int], jax.Array], judge: Judge, texts: Any, tokenizer: Any, rows: int
) -> Iterator[np.ndarray]:
    """What `apply` returns for batches of texts of one shape, without the rows that fill up the last."""
    encoded = [_tokens(number, text, tokenizer) for number, text in enumerate(texts)]
    longest = max(map(len, encoded), default=0)
    judge.check(longest)
    width = bucket(longest, least=8)
    rows = min(rows, bucket(len(encoded)))
    for batch, start in enumerate(range(0, len(encoded), rows)):
        part = encoded[start : start + rows]
        tokens, mask = pad_left(part, rows, width)
        with use(mesh_of(judge.arrays)):
            yield np.asarray(apply(tokens, mask, batch))[: len(part)]


def _tokens(number: int, text: str | Sequence[int], tokenizer: Any) -> np.ndarray:
    if isinstance(text, str):
        if tokenizer is None:
            raise ValueError(f"text {number} is a string: pass tokenizer=, or texts as lists of token ids")
        text = tokenizer.encode(text, add_special_tokens=False)
    return np.asarray(text, np.int32)


@jax.jit
def _values(judge: Judge, tokens: jax.Array, mask: jax.Array, key: Any) -> jax.Array:
    return judge(tokens, mask, key)


@jax.jit
def _votes(judge: Judge, tokens: jax.Array, mask: jax.Array, batch: Any) -> jax.Array:
    """The vote of each order, float32 `[R, O]`."""
    assert isinstance(judge.apply, Verdict)
    scores = judge.apply.scores(judge.arrays, tokens, mask)
    return verdicts(scores[:, :, None], judge.arrays.values)
