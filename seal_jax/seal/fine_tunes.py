"""What fine-tunes that run side by side share: texts as tokens, groups of one shape, batches, what they begin from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax import adapters, models, training
from seal_jax.data import packing
from seal_jax.seal.settings import Inner

logger = logging.getLogger(__name__)

# Few shapes, since each is compiled: lines of an epoch (and the passage after them), and tokens of a text.
_STEPS = (1, *(1 + b for b in packing.STEP_BUCKETS))
_LENGTHS = tuple(b for b in packing.DEFAULT_BUCKETS if b < 64 or b.bit_count() == 1)


class Draw(NamedTuple):
    """What the randomness of one fine-tune depends on: its initial adapter and the order of its texts."""

    seed: int
    item: int


def encode(texts: Sequence[Sequence[str]], model: models.Model, inner: Inner) -> list[list[list[int]]]:
    """The texts of each fine-tune as tokens, cut to `inner.max_length`; how many were cut is logged."""
    length = min(inner.max_length, model.config.max_position)
    found, cut = [], 0
    for of_trial in texts:
        encoded = packing.encode(of_trial, model.tokenizer, eos=inner.pad_loss == "masked")
        sequences, over = packing.truncate(encoded, length)
        found.append(sequences)
        cut += over
    if cut:
        logger.warning("%d of %d texts are over %d tokens and were cut", cut, sum(map(len, texts)), length)
    return found


class Group(NamedTuple):
    """Fine-tunes of one shape: N of the program, line steps of an epoch, tokens of a line and of the longest text."""

    size: int
    line_steps: int
    line_length: int
    length: int
    items: tuple[int, ...]


def grouped(
    sequences: Sequence[Sequence[Sequence[int]]], inner: Inner, devices: int, waste: float = 0.25
) -> Iterator[Group]:
    """Groups of at most `at_once` fine-tunes of one shape, in a fixed order; their size is a multiple of `devices`.

    waste: as in `packing.group_by_shape`; infinite puts all fine-tunes into one shape.
    """
    reference = inner.pad_loss == "reference"
    shapes = [
        (
            1 + packing.steps_needed(len(s) - 1, 1, inner.batch_size),
            inner.max_length if reference else max(len(x) for x in s),
        )
        for s in sequences
    ]
    # The released objective depends on how far a text is padded, so there the length is not rounded up.
    lengths = (inner.max_length,) if reference else _LENGTHS
    for group in packing.group_by_shape(shapes, waste, steps=_STEPS, lengths=lengths):
        longest = max((len(x) for i in group.items for x in sequences[i][:-1]), default=1)
        line_length = group.length if reference else min(packing.bucket(longest, _LENGTHS), group.length)
        for size, items in packing.portions(group.items, inner.at_once, devices):
            yield Group(size, group.steps - 1, line_length, group.length, items)


def stacked(
    model: models.Model, draws: Sequence[Draw], sequences: Sequence[Any], group: Group, inner: Inner
) -> tuple[packing.Batch, np.ndarray]:
    """The batches of a group `[N, S, B, T]`, and how many steps of each are real `[N]`.

    Where there are fewer fine-tunes than the group's size, it is filled up with some of no steps.
    """
    batches = [
        packing.edit_batches(
            texts[:-1],
            texts[-1],
            epochs=inner.epochs,
            batch_size=inner.batch_size,
            line_steps=group.line_steps,
            length=group.length,
            pad_id=pad_id(model),
            seed=draw.seed,
            item=draw.item,
        )
        for draw, texts in zip(draws, sequences)
    ]
    spare = group.size - len(batches)
    joined = {name: np.stack([b[name] for b in batches]) for name in batches[0]}
    joined = {name: np.pad(x, [(0, spare)] + [(0, 0)] * (x.ndim - 1)) for name, x in joined.items()}
    return joined, joined["mask"].any((2, 3)).sum(1)


def lengths_of(group: Group, inner: Inner) -> np.ndarray:
    """The columns that each step of `stacked` uses, int32 `[S]`."""
    return packing.edit_lengths(inner.epochs, group.line_steps, group.line_length, group.length)


def widths(batch: packing.Batch) -> np.ndarray:
    """The columns each step of `[S, B, T]` batches needs, int32 `[S]`, of few different numbers."""
    most = batch["tokens"].shape[-1]
    used = batch["mask"].any(1).sum(-1)
    return np.array([min(packing.bucket(max(int(n), 1), _LENGTHS), most) for n in used], np.int32)


def hyper(inner: Inner, steps: np.ndarray, seeds: Sequence[int]) -> training.Hyper:
    """The optimizer's settings of N fine-tunes, `steps [N]`; seeds: of the first of them, the others have 0."""
    return training.Hyper(
        learning_rate=inner.learning_rate,
        steps=jnp.asarray(steps),
        weight_decay=inner.weight_decay,
        clip=inner.clip,
        seed=jnp.array([*seeds, *[0] * (len(steps) - len(seeds))]),
    )


def pad_id(model: models.Model) -> int:
    """The token that fills up batches."""
    # The released code pads with EOS, which matters where pads are trained on.
    return model.tokenizer.eos_token_id if model.tokenizer.eos_token_id is not None else 0


def fresh(model: models.Model, draws: Sequence[Draw], inner: Inner) -> adapters.Adapter:
    """What N fine-tunes begin from, leaves with a leading axis N: an adapter of each draw, or N copies of all weights.

    Copies are float32, as entries `{"value"}` of `adapters.attach`. Equal draws give equal adapters.
    """
    if inner.method == "full":
        return _copies(models.stack(model.params), len(draws))
    seeds = jnp.array([d.seed for d in draws], jnp.uint32)
    items = jnp.array([d.item for d in draws], jnp.uint32)
    shapes = jax.eval_shape(models.stack, model.params)
    return _init_adapters(seeds, items, _Shapes(shapes), inner.rank, inner.alpha, inner.targets)


def full(params: models.Params) -> adapters.Adapter:
    """All weights of a model as an adapter of entries `{"value"}`: float32 copies, to be trained in place of them."""
    leaves = jax.tree_util.tree_flatten_with_path(models.stack(params))[0]
    return {"/".join(str(k.key) for k in path): {"value": jnp.array(leaf, jnp.float32)} for path, leaf in leaves}


@partial(jax.jit, static_argnums=1)
def _copies(params: models.Params, count: int) -> adapters.Adapter:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), full(params))


class _Shapes:
    """Shapes of a parameter tree as a hashable static argument."""

    def __init__(self, tree: Any) -> None:
        leaves, self.structure = jax.tree.flatten(tree)
        self.leaves = tuple((x.shape, x.dtype) for x in leaves)

    def __hash__(self) -> int:
        return hash((self.structure, self.leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shapes) and (self.structure, self.leaves) == (other.structure, other.leaves)

    @property
    def tree(self) -> Any:
        return self.structure.unflatten([jax.ShapeDtypeStruct(*x) for x in self.leaves])


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _init_adapters(seeds: jax.Array, items: jax.Array, shapes: _Shapes, rank: int, alpha: float, targets: Any) -> Any:
    def one(seed: jax.Array, item: jax.Array) -> adapters.Adapter:
        key = jax.random.fold_in(jax.random.key(seed), item)
        return adapters.lora.init(key, shapes.tree, rank, alpha, targets)

    return jax.vmap(one)(seeds, items)
