"""Packing: nothing lost, nothing leaked, draws that depend on (seed, item) alone, bounded waste."""

import collections
import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from seal_jax.data import packing
from seal_jax.seal.edits import training_sequences

PAD = 0
sequences = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), max_size=6)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 4))  # epochs, batch size


class Words:
    """A tokenizer of numbers: "3 4" is [3, 4]; `ends` puts an EOS at the end by itself."""

    def __init__(self, eos=2, ends=False):
        self.eos_token_id, self.ends = eos, ends

    def encode(self, text):
        return [int(word) for word in text.split()] + ([self.eos_token_id] if self.ends else [])


def rows(batch):
    """The real tokens of every row that has any, in order of steps."""
    flat = {name: value.reshape(-1, value.shape[-1]) for name, value in batch.items()}
    return [tuple(t[m].tolist()) for t, m in zip(flat["tokens"], flat["mask"]) if m.any()]


@given(sequences, sizes, st.integers(0, 3), st.integers(0, 3))
def test_every_sequence_is_there_once_an_epoch(texts, size, seed, item):
    epochs, batch_size = size
    batch = packing.epoch_batches(texts, epochs=epochs, batch_size=batch_size, seed=seed, item=item)
    per_epoch = -(-len(texts) // batch_size)
    wanted = collections.Counter(map(tuple, texts))
    for epoch in range(epochs):
        part = {name: value[epoch * per_epoch : (epoch + 1) * per_epoch] for name, value in batch.items()}
        assert collections.Counter(rows(part)) == wanted
    assert len(rows(batch)) == epochs * len(texts)


@given(sequences, sizes)
def test_masks(texts, size):
    batch = packing.epoch_batches(texts, epochs=size[0], batch_size=size[1], pad_id=PAD)
    tokens, mask, loss_mask = batch["tokens"], batch["mask"], batch["loss_mask"]
    assert (tokens.dtype, mask.dtype, loss_mask.dtype) == (np.int32, bool, bool)
    assert tokens.shape == mask.shape == loss_mask.shape == (packing.steps_needed(len(texts), *size), size[1], 16)
    assert (tokens[~mask] == PAD).all()
    assert (tokens[mask] != PAD).all()
    assert (mask[..., :-1] >= mask[..., 1:]).all()  # padded on the right
    assert not loss_mask[..., 0].any()
    assert (loss_mask[..., 1:] == mask[..., 1:]).all()


@given(sequences, sizes, st.integers(0, 5))
def test_padding_and_batch_size_do_not_change_the_order(texts, size, item):
    def draw(**settings):
        return packing.epoch_batches(texts, epochs=size[0], seed=3, item=item, **settings)

    alone = draw()
    assert rows(draw(batch_size=size[1])) == rows(alone)
    padded = draw(length=9, steps=50)
    assert padded["tokens"].shape == (50, 1, 9)
    assert rows(padded) == rows(alone)
    assert packing.true_steps(padded) == packing.true_steps(alone) == len(alone["tokens"])


def test_orders_differ_by_seed_item_and_epoch():
    texts = [[i] for i in range(1, 9)]
    draws = [
        rows(packing.epoch_batches(texts, epochs=2, seed=seed, item=item)) for seed, item in ((0, 0), (1, 0), (0, 1))
    ]
    epochs = [tuple(draw[half : half + 8]) for draw in draws for half in (0, 8)]
    assert len(set(epochs)) == len(epochs)


def test_the_order_of_a_seed_never_changes():
    batch = packing.epoch_batches([[1], [2], [3], [4], [5]], epochs=1, seed=7, item=2)
    assert rows(batch) == [(1,), (4,), (2,), (5,), (3,)]


@given(st.lists(sequences.filter(bool), min_size=1, max_size=5), sizes)
def test_stacking_changes_no_edit(edits, size):
    batches = [packing.epoch_batches(t, epochs=size[0], batch_size=size[1], item=i) for i, t in enumerate(edits)]
    stacked, steps = packing.stack_edits(batches, pad_id=PAD)
    assert steps.dtype == np.int32
    assert stacked["tokens"].dtype == np.int32
    assert stacked["tokens"].shape[0] == len(edits)
    assert stacked["tokens"].shape[1] in packing.STEP_BUCKETS
    for index, batch in enumerate(batches):
        s, _, t = batch["tokens"].shape
        assert steps[index] == s
        for name, value in batch.items():
            assert (stacked[name][index, :s, :, :t] == value).all()
            assert not stacked[name][index, s:].any()
            assert not stacked[name][index, :, :, t:].any()


def test_stacking_to_a_given_shape():
    batch = packing.epoch_batches([[1, 2]], epochs=1, length=4)
    stacked, steps = packing.stack_edits([batch, batch], steps=5, length=8, pad_id=9)
    assert stacked["tokens"].shape == (2, 5, 1, 8)
    assert steps.tolist() == [1, 1]
    assert set(stacked["tokens"][~stacked["mask"]].tolist()) == {0, 9}  # the batch's own pads stay
    with pytest.raises(ValueError, match="batch 0 has 1 steps of 4 tokens and does not fit 5 steps of 3"):
        packing.stack_edits([batch], steps=5, length=3)
    with pytest.raises(ValueError, match=r"one number of rows and have \[1, 2\]"):
        packing.stack_edits([batch, packing.epoch_batches([[1, 2]], epochs=1, batch_size=2)])
    with pytest.raises(ValueError, match="no member"):
        packing.stack_edits([])


shapes = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=30)


@given(shapes, st.floats(0, 1))
def test_groups_hold_every_item_once_within_the_waste(shapes, waste):
    groups = packing.group_by_shape(shapes, waste)
    assert sorted(i for g in groups for i in g.items) == list(range(len(shapes)))
    assert len({(g.steps, g.length) for g in groups}) == len(groups)
    for group in groups:
        assert group.steps in packing.STEP_BUCKETS
        assert group.length in packing.DEFAULT_BUCKETS
        assert all(shapes[i][0] <= group.steps and shapes[i][1] <= group.length for i in group.items)
    buckets = [packing.bucket(s, packing.STEP_BUCKETS) * packing.bucket(t) for s, t in shapes]
    assert sum(g.steps * g.length * len(g.items) for g in groups) <= (1 + waste) * sum(buckets) + 1e-6
    assert len(groups) <= len(packing.group_by_shape(shapes, 0.0))


def test_real_edits_run_as_few_programs(shared_data):
    items = json.loads((shared_data / "seal_recorded/generated/base_val.json").read_text())
    shapes = []
    for item in items:
        texts = training_sequences(item["completions"][0], item["title"], item["context"])
        shapes.append((10 * len(texts), max(len(text) // 4 for text in texts)))  # 10 epochs, about 4 letters a token
    groups = packing.group_by_shape(shapes)
    true = sum(s * t for s, t in shapes)
    assert len(groups) <= 10
    assert sum(g.steps * g.length * len(g.items) for g in groups) <= 1.9 * true


def test_buckets():
    assert packing.STEP_BUCKETS[:8] == (1, 2, 3, 4, 6, 8, 12, 16)
    assert packing.DEFAULT_BUCKETS[:4] == (16, 24, 32, 48)
    assert all(b <= 2 * a for a, b in zip(packing.STEP_BUCKETS, packing.STEP_BUCKETS[1:]))
    assert [packing.bucket(n) for n in (0, 16, 17, 2048)] == [16, 16, 24, 2048]
    with pytest.raises(ValueError, match="length 9 is over the largest bucket, 8"):
        packing.bucket(9, (4, 8))


def test_encoding_ends_in_one_eos_where_it_fits(caplog):
    texts = ["5 6", "5 6 7", "5 6 7 8 9"]
    assert packing.encode_sequences(texts[:2], Words(), 4) == [[5, 6, 2], [5, 6, 7, 2]]
    assert not caplog.records
    assert packing.encode_sequences(texts, Words(), 3) == [[5, 6, 2], [5, 6, 7], [5, 6, 7]]
    assert "2 of 3 sequences are over 3 tokens" in caplog.text
    assert packing.encode_sequences(["5 6"], Words(), 4, eos=False) == [[5, 6]]
    assert packing.encode_sequences(["5", ""], Words(ends=True), 4) == [[5, 2], [2]]
    assert packing.encode_sequences([""], Words(), 4) == [[2]]


def test_completions_alone_are_targets(caplog):
    pairs = [([5, 6], [7, 8]), ([5], [7])]
    batch = packing.completion_batches(pairs, eos_id=2, max_length=8, epochs=1, batch_size=2)
    found = zip(batch["tokens"][0], batch["mask"][0], batch["loss_mask"][0])
    assert sorted((t[real].tolist(), t[target].tolist()) for t, real, target in found) == [
        ([5, 6, 7, 8, 2], [7, 8, 2]),
        ([5, 7, 2], [7, 2]),
    ]
    assert not caplog.records
    batch = packing.completion_batches(pairs, eos_id=2, max_length=3, epochs=1)
    assert sorted(rows(batch)) == [(5, 6, 7), (5, 7, 2)]
    assert "1 of 2 completions run over 3 tokens" in caplog.text
    for prompt in ([], [1, 2, 3]):
        with pytest.raises(ValueError, match=rf"pair 0: a prompt of {len(prompt)} tokens; it takes 1 to 2"):
            packing.completion_batches([(prompt, [4])], eos_id=2, max_length=3, epochs=1)


def test_nothing_to_train_on_is_padding_only():
    batch = packing.epoch_batches([], epochs=2, steps=3)
    assert batch["tokens"].shape == (3, 1, 16)
    assert not batch["mask"].any()
    assert packing.true_steps(batch) == 0


def test_errors():
    with pytest.raises(ValueError, match="sequence 1 has 3 tokens and the batch holds 2"):
        packing.epoch_batches([[1], [1, 2, 3]], epochs=1, length=2)
    with pytest.raises(ValueError, match="2 sequences, 3 epochs, 1 a step: 6 steps, not 5"):
        packing.epoch_batches([[1], [2]], epochs=3, steps=5)
    with pytest.raises(ValueError, match="epochs=0, batch_size=1"):
        packing.epoch_batches([[1]], epochs=0)
    with pytest.raises(ValueError, match="no EOS token"):
        packing.encode_sequences(["1"], Words(eos=None), 4)
    with pytest.raises(ValueError, match="max_length=0"):
        packing.truncate([[1]], 0)
