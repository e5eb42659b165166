"""Token sequences to fixed-shape batches, in numpy.

A batch is `{"tokens" [S, B, T] int32, "mask" [S, B, T] bool, "loss_mask" [S, B, T] bool}`: S optimizer steps of B rows,
padded on the right. `mask` is True on real tokens; `loss_mask[s, b, t]` is True where token t is a target, predicted
from the tokens before it, so position 0 never is. A row or a step of padding is False throughout.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

logger = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]

# 1, 2, 3, 4, 6, 8, 12, ...: neighbours differ by at most a half, so rounding up wastes about a fifth on average.
STEP_BUCKETS: tuple[int, ...] = (1, *(b for k in range(1, 16) for b in (2**k, 3 * 2 ** (k - 1))))
DEFAULT_BUCKETS: tuple[int, ...] = tuple(b for b in STEP_BUCKETS if b >= 16)


def bucket(length: int, buckets: Sequence[int] = DEFAULT_BUCKETS) -> int:
    """The smallest of the ascending `buckets` that holds `length`; ValueError if none does."""
    for size in buckets:
        if length <= size:
            return size
    raise ValueError(f"length {length} is over the largest bucket, {buckets[-1]}; cut it first or add a bucket")


def encode_sequences(texts: Iterable[str], tokenizer: Any, max_length: int, eos: bool = True) -> list[list[int]]:
    """Token ids of each text, cut to `max_length`, ending in one EOS where it fits.

    tokenizer: an HF tokenizer; what it puts in front of a text itself (a BOS) stays. eos=False leaves the EOS out,
    for the reference's padded objective. How many texts were cut is logged as a warning; to have the number, call
    `encode` and `truncate` instead, which this is made of.
    """
    sequences, cut = truncate(encode(texts, tokenizer, eos), max_length)
    if cut:
        logger.warning("%d of %d sequences are over %d tokens and were cut", cut, len(sequences), max_length)
    return sequences


def encode(texts: Iterable[str], tokenizer: Any, eos: bool = True) -> list[list[int]]:
    """Token ids of each text at full length, with one EOS at the end if `eos`; ValueError if there is no EOS token."""
    end = tokenizer.eos_token_id
    if eos and end is None:
        raise ValueError("the tokenizer has no EOS token; set tokenizer.eos_token or pass eos=False")
    sequences = [list(tokenizer.encode(text)) for text in texts]
    return [s if not eos or (s and s[-1] == end) else [*s, end] for s in sequences]


def truncate(sequences: Iterable[Sequence[int]], max_length: int) -> tuple[list[list[int]], int]:
    """The sequences cut at the end to `max_length` tokens, and how many lost something (an EOS counts)."""
    if max_length < 1:
        raise ValueError(f"max_length={max_length}: at least one token is needed")
    sequences = [list(s) for s in sequences]
    return [s[:max_length] for s in sequences], sum(len(s) > max_length for s in sequences)


def epoch_batches(
    sequences: Sequence[Sequence[int]],
    *,
    epochs: int,
    batch_size: int = 1,
    length: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    item: int = 0,
    pad_id: int = 0,
    loss_start: Sequence[int] | None = None,
) -> Batch:
    """Every sequence once per epoch in a fresh order, `batch_size` rows a step; an epoch's last step may be part empty.

    The order is a function of (seed, item, epoch) alone: other items, padding and batch size do not change it.
    length, steps: T and S to pad to; by default the bucket of the longest sequence, and just the steps needed
    (`epochs * ceil(n / batch_size)`, see `steps_needed`). pad_id fills what is empty. loss_start: for each sequence
    the index of its first target, default 1. No sequences give steps of padding only.

    Raises ValueError for a sequence over `length`, or `steps` too few.
    """
    lengths = [len(s) for s in sequences]
    longest = max(lengths, default=0)
    length = bucket(max(longest, 1)) if length is None else length
    if longest > length:
        raise ValueError(f"sequence {lengths.index(longest)} has {longest} tokens and the batch holds {length}")
    needed = steps_needed(len(sequences), epochs, batch_size)
    steps = needed if steps is None else steps
    if steps < needed:
        raise ValueError(
            f"{len(sequences)} sequences, {epochs} epochs, {batch_size} a step: {needed} steps, not {steps}"
        )
    batch = _empty(steps, batch_size, length, pad_id)
    per_epoch = steps_needed(len(sequences), 1, batch_size)
    for epoch in range(epochs):
        for place, index in enumerate(permutation(len(sequences), seed, item, epoch)):
            row = epoch * per_epoch + place // batch_size, place % batch_size
            n = lengths[index]
            batch["tokens"][*row, :n] = sequences[index]
            batch["mask"][*row, :n] = True
            batch["loss_mask"][*row, max(1, loss_start[index] if loss_start else 1) : n] = True
    return batch


def edit_batches(
    lines: Sequence[Sequence[int]],
    passage: Sequence[int],
    *,
    epochs: int,
    batch_size: int,
    line_steps: int,
    length: int,
    pad_id: int = 0,
    seed: int = 0,
    item: int = 0,
) -> Batch:
    """Batches of one self-edit: in each epoch its lines in a fresh order, then the passage it is about.

    Lines are short and the passage is long. With the passage at the same step of every epoch, edits that run side by
    side can be padded to the length of what is there (`edit_lengths`) instead of all to the longest. `line_steps`
    steps an epoch hold the lines, the spare ones padding only; S is `epochs * (line_steps + 1)`. seed, item:
    as in `epoch_batches`. Raises ValueError where the lines need more steps or a sequence more than `length`.
    """
    batches = partial(epoch_batches, epochs=epochs, batch_size=batch_size, length=length, pad_id=pad_id)
    per_epoch = steps_needed(len(lines), 1, batch_size)
    if per_epoch > line_steps:
        raise ValueError(f"{len(lines)} lines take {per_epoch} steps of {batch_size} an epoch, not {line_steps}")
    shuffled, last = batches(lines, seed=seed, item=item), batches([passage])
    batch = _empty(epochs * (line_steps + 1), batch_size, length, pad_id)
    for name, value in batch.items():
        by_epoch = value.reshape(epochs, line_steps + 1, batch_size, length)
        by_epoch[:, :per_epoch] = shuffled[name].reshape(epochs, per_epoch, batch_size, length)
        by_epoch[:, -1] = last[name]
    return batch


def edit_lengths(epochs: int, line_steps: int, line_length: int, length: int) -> np.ndarray:
    """Columns in use at each step of `edit_batches`, int32 `[S]`: `line_length` for lines, `length` for passages."""
    return np.tile(np.array([line_length] * line_steps + [length], np.int32), epochs)


def completion_batches(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, eos_id: int, max_length: int, **settings: Any
) -> Batch:
    """Batches of `(prompt_ids, completion_ids)` with loss on the completion and one EOS only.

    A pair over `max_length` loses the end of its completion, and how many did is logged; one whose prompt leaves no
    room for a target raises ValueError. settings: the keyword arguments of `epoch_batches`.
    """
    sequences, cut = truncate([[*prompt, *completion, eos_id] for prompt, completion in pairs], max_length)
    for index, (prompt, _) in enumerate(pairs):
        if not 0 < len(prompt) < max_length:
            raise ValueError(f"pair {index}: a prompt of {len(prompt)} tokens; it takes 1 to {max_length - 1}")
    if cut:
        logger.warning("%d of %d completions run over %d tokens and were cut", cut, len(sequences), max_length)
    return epoch_batches(sequences, loss_start=[len(prompt) for prompt, _ in pairs], **settings)


def permutation(count: int, *counter: int) -> np.ndarray:
    """A random order of `range(count)`, a function of the integers (>= 0) in `counter` alone, in any numpy version."""
    raw = np.random.Philox(np.random.SeedSequence(counter)).random_raw(count)
    return np.argsort(np.atleast_1d(raw), kind="stable")


def steps_needed(sequences: int, epochs: int, batch_size: int = 1) -> int:
    """Optimizer steps of `epoch_batches`: `epochs * ceil(sequences / batch_size)`."""
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: both are 1 or more")
    return epochs * -(-sequences // batch_size)


class Group(NamedTuple):
    """Items that share one shape: pad their batches to `steps` x `length`."""

    steps: int
    length: int
    items: tuple[int, ...]


def group_by_shape(
    shapes: Sequence[tuple[int, int]],
    waste: float = 0.25,
    *,
    steps: Sequence[int] = STEP_BUCKETS,
    lengths: Sequence[int] = DEFAULT_BUCKETS,
) -> list[Group]:
    """Few groups of items with `(S, T)` shapes, so that as few programs are compiled; shapes are always bucket sizes.

    Each item first goes to its bucket; then groups are joined, the cheapest join first, as long as the padded area
    of all items stays within `1 + waste` times that of the buckets. waste=0 is the buckets alone. Groups come in
    order of shape, and each item is in one of them. A join moves items to a shape that is a pair of bucket sizes too.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for item, (s, t) in enumerate(shapes):
        groups.setdefault((bucket(s, steps), bucket(t, lengths)), []).append(item)
    spare = waste * sum(s * t * len(items) for (s, t), items in groups.items())
    while len(groups) > 1:
        cost, one, other = min(_joins(groups))
        if cost > spare:
            break
        spare -= cost
        joined = groups.pop(one) + groups.pop(other)
        shape = max(one[0], other[0]), max(one[1], other[1])
        groups[shape] = sorted(groups.get(shape, []) + joined)
    return [Group(*shape, tuple(items)) for shape, items in sorted(groups.items())]


def portions(items: Sequence[int], most: int, multiple: int = 1) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The items in parts that share one program, each with the number of places its program has.

    Many items fill places for `most` of them, the last part some of those; few get a bucket of their own number. Places
    are rounded up to a multiple of `multiple`, the devices that share them.
    """
    size = min(bucket(len(items), STEP_BUCKETS), most)
    size = -(-size // multiple) * multiple
    for start in range(0, len(items), size):
        yield size, tuple(items[start : start + size])


def stack_edits(
    batches: Sequence[Batch], *, steps: int | None = None, length: int | None = None, pad_id: int = 0
) -> tuple[Batch, np.ndarray]:
    """N batches as one with leading axis N, padded to common S and T, and the true number of steps [N] int32 of each.

    steps, length: S and T; by default the buckets of the largest. All batches must have the same number of rows B.
    Raises ValueError where rows differ or a batch does not fit.
    """
    rows = {batch["tokens"].shape[1] for batch in batches}
    if len(rows) != 1:
        raise ValueError(f"batches to stack need one number of rows and have {sorted(rows) or 'no member'}")
    shapes = [batch["tokens"].shape for batch in batches]
    steps = bucket(max(1, *(s for s, _, _ in shapes)), STEP_BUCKETS) if steps is None else steps
    length = bucket(max(t for _, _, t in shapes)) if length is None else length
    stacked = {name: [] for name in batches[0]}
    for index, batch in enumerate(batches):
        s, _, t = shapes[index]
        if s > steps or t > length:
            raise ValueError(f"batch {index} has {s} steps of {t} tokens and does not fit {steps} steps of {length}")
        for name, value in batch.items():
            fill = pad_id if name == "tokens" else 0
            stacked[name].append(np.pad(value, ((0, steps - s), (0, 0), (0, length - t)), constant_values=fill))
    return {name: np.stack(values) for name, values in stacked.items()}, np.array(
        [true_steps(b) for b in batches], np.int32
    )


def true_steps(batch: Batch) -> int:
    """The number of steps up to the last that holds a real token."""
    used = np.flatnonzero(batch["mask"].any((1, 2)))
    return int(used[-1]) + 1 if used.size else 0


def _joins(groups: dict[tuple[int, int], list[int]]) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """The area each pair of groups would add if padded to one shape."""
    for one, other in itertools.combinations(sorted(groups), 2):
        area = max(one[0], other[0]) * max(one[1], other[1])
        yield sum((area - s * t) * len(groups[s, t]) for s, t in (one, other)), one, other


def _empty(steps: int, rows: int, length: int, pad_id: int) -> Batch:
    shape = (steps, rows, length)
    return {
        "tokens": np.full(shape, pad_id, np.int32),
        "mask": np.zeros(shape, bool),
        "loss_mask": np.zeros(shape, bool),
    }
