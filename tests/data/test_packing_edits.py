"""Batches of self-edits: lines, then the passage, and step lengths that change no number."""

import collections

import chex
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given

from seal_jax import adapters, models, training
from seal_jax.data import packing

PAD = 0
CONFIG = models.Config("llama", 61, 32, 48, 2, 4, 2, 8, 128)
sequence = st.lists(st.integers(1, 9), min_size=1, max_size=7)
edits = st.tuples(st.lists(sequence, max_size=6), sequence)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2))  # epochs, batch size, spare line steps


def packed(edit, size, **order):
    (lines, passage), (epochs, batch_size, spare) = edit, size
    line_steps = packing.steps_needed(len(lines), 1, batch_size) + spare
    how = {"epochs": epochs, "batch_size": batch_size, "line_steps": line_steps, "length": 7, "pad_id": PAD, **order}
    return packing.edit_batches(lines, passage, **how), line_steps


def rows(tokens, mask):
    return [tuple(t[m].tolist()) for t, m in zip(tokens.reshape(-1, 7), mask.reshape(-1, 7)) if m.any()]


@given(edits, sizes, st.integers(0, 3))
def test_every_line_once_an_epoch_and_the_passage_last(edit, size, item):
    batch, line_steps = packed(edit, size, item=item)
    assert batch["tokens"].shape == (size[0] * (line_steps + 1), size[1], 7)
    assert (batch["tokens"].dtype, batch["mask"].dtype) == (np.int32, bool)
    for epoch in range(size[0]):
        steps = slice(epoch * (line_steps + 1), (epoch + 1) * (line_steps + 1))
        tokens, mask = batch["tokens"][steps], batch["mask"][steps]
        assert collections.Counter(rows(tokens[:-1], mask[:-1])) == collections.Counter(map(tuple, edit[0]))
        assert rows(tokens[-1], mask[-1]) == [tuple(edit[1])]
        assert mask[-1, 0].any()
        used = mask[:-1].any((1, 2))
        assert used.sum() == packing.steps_needed(len(edit[0]), 1, size[1])
        assert (used[:-1] >= used[1:]).all()  # what is spare is at the end


@given(edits, sizes)
def test_masks_of_edits(edit, size):
    batch, _ = packed(edit, size)
    tokens, mask, loss_mask = (batch[k] for k in ("tokens", "mask", "loss_mask"))
    assert (tokens[~mask] == PAD).all()
    assert (tokens[mask] != PAD).all()
    assert not loss_mask[..., 0].any()
    assert (loss_mask[..., 1:] == mask[..., 1:]).all()


@given(edits, sizes, st.integers(0, 3), st.integers(0, 3))
def test_the_order_of_lines_is_that_of_epoch_batches(edit, size, seed, item):
    """So it depends on (seed, item) alone: spare steps and the batch size change nothing."""
    batch, line_steps = packed(edit, size, seed=seed, item=item)
    by_epoch = [batch[k].reshape(size[0], line_steps + 1, size[1], 7)[:, :-1] for k in ("tokens", "mask")]
    plain = packing.epoch_batches(edit[0], epochs=size[0], length=7, seed=seed, item=item)
    assert rows(*by_epoch) == rows(plain["tokens"], plain["mask"])


@given(edits, sizes)
def test_lengths_hold_what_is_there(edit, size):
    batch, line_steps = packed(edit, size)
    line_length = max((len(x) for x in edit[0]), default=1)
    lengths = packing.edit_lengths(size[0], line_steps, line_length, len(edit[1]))
    assert lengths.dtype == np.int32
    assert lengths.shape == batch["tokens"].shape[:1]
    for step, length in enumerate(lengths):
        assert not batch["mask"][step, :, length:].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"line_steps": 1}, "3 lines take 2 steps of 2 an epoch, not 1"),
        ({"line_steps": 0}, "3 lines take 2 steps of 2 an epoch, not 0"),
        ({"length": 2}, "sequence 1 has 3 tokens and the batch holds 2"),
        ({"length": 3, "passage": [1] * 4}, "sequence 0 has 4 tokens and the batch holds 3"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_edits_that_do_not_fit(change, message):
    how = {"passage": [5], "epochs": 2, "batch_size": 2, "line_steps": 2, "length": 4, **change}
    with pytest.raises(ValueError, match=message):
        packing.edit_batches([[1], [2, 3, 4], [5]], **how)


@pytest.fixture(scope="module")
def model():
    params = models.init(jax.random.key(0), CONFIG)
    return params, adapters.lora.init(jax.random.key(1), params, rank=2, alpha=8)


@pytest.fixture(scope="module")
def two():
    """Two edits of different numbers of lines as one batch `[2, S, 1, 16]` and the lengths of its steps."""
    rng = np.random.default_rng(0)
    draw = lambda n: rng.integers(1, 61, n).tolist()  # noqa: E731
    batches = [
        packing.edit_batches(
            [draw(n) for n in lines], draw(16), epochs=2, batch_size=1, line_steps=3, length=16, item=item
        )
        for item, lines in enumerate([(3, 5, 4), (5,)])
    ]
    return {k: np.stack([b[k] for b in batches]) for k in batches[0]}, packing.edit_lengths(2, 3, 5, 16)


def test_step_lengths_change_no_number(model, two):
    params, adapter = model
    batches, lengths = two
    adapters_ = jax.tree.map(lambda x: np.stack([x, x]), adapter)
    hyper = training.Hyper(np.array([1e-2, 3e-2]), batches["mask"].any((2, 3)).sum(1))
    assert hyper.steps.tolist() == [8, 4]
    trained, metrics = training.finetune_batch(params, CONFIG, adapters_, batches, hyper, lengths=lengths)
    padded, wanted = training.finetune_batch(params, CONFIG, adapters_, batches, hyper)
    np.testing.assert_allclose(metrics["loss"], wanted["loss"], atol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], wanted["grad_norm"], rtol=2e-5)
    chex.assert_trees_all_close(trained, padded, atol=5e-5)  # Adam makes a step of the rounding of a zero gradient
    assert np.isnan(metrics["loss"][1]).tolist() == [False, True, True, False] * 2
    assert metrics["loss"][1, -1] < metrics["loss"][1, 3]

    # An empty step is no step: the same edit without its two empty steps an epoch trains to the same adapter.
    dense = {k: v[1][batches["mask"][1].any((1, 2))] for k, v in batches.items()}
    alone, losses = training.finetune(params, CONFIG, adapter, dense, training.Hyper(3e-2, 4), lengths=[5, 16] * 2)
    np.testing.assert_allclose(losses["loss"], metrics["loss"][1, np.array([0, 3, 4, 7])], atol=1e-6)
    chex.assert_trees_all_close(alone, jax.tree.map(lambda x: x[1], trained), atol=5e-5)


def test_tokens_beyond_a_step_length_are_not_read(model, two):
    params, adapter = model
    batch, lengths = {k: v[0] for k, v in two[0].items()}, two[1]
    beyond = np.arange(16) >= lengths[:, None, None]
    junk = {**batch, "tokens": np.where(beyond, 7, batch["tokens"]), "mask": batch["mask"] | beyond}
    first, second = (
        training.finetune(params, CONFIG, adapter, b, training.Hyper(1e-2, 8), lengths=lengths)[1]["loss"]
        for b in (batch, junk)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("lengths", [[5] * 7, [[5] * 8], [0] + [16] * 7, [17] * 8, []])
def test_step_lengths_that_do_not_fit(model, two, lengths):
    batch = {k: v[0] for k, v in two[0].items()}
    with pytest.raises(ValueError, match=r"lengths must be \[S\]=8 numbers from 1 to T=16, got"):
        training.finetune(*model[:1], CONFIG, model[1], batch, training.Hyper(1e-2, 8), lengths=lengths)
