"""Salient spans: what is found in texts, weights of real tokenizers' tokens, and the weighted loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models, training
from seal_jax.continual import losses
from seal_jax.data import packing

CONFIG = models.Config("llama", 23, 16, 24, 2, 2, 1, 8, 64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Marie Curie was born in Warsaw on 7 November 1867. She won two Nobel Prizes.",
            "name:Marie Curie name:Warsaw date:7 November 1867 number:two name:Nobel Prizes",
        ),
        ("The University of Vienna opened in 1365.", "name:University of Vienna date:1365"),
        ("Dr. John F. Kennedy met Charles de Gaulle.", "name:John F. Kennedy name:Charles de Gaulle"),
        ("It cost $1,250.50, or 12% of 3.5 million.", "number:$1,250.50 number:12% number:3.5 number:million"),
        (
            "On 2020-01-31, Jan 5, 2021 and 3/4/99; in the 1840s.",
            "date:2020-01-31 date:Jan 5, 2021 date:3/4/99 date:1840s",
        ),
        ("Paris was cold. He liked Paris. Snow fell.", "name:Paris name:Paris"),
        ("Zürich und Łódź liegen in Europa", "name:Łódź name:Europa"),
        ("nothing to see here, i think", ""),
        ("", ""),
    ],
)
def test_spans(text, expected):
    found = " ".join(f"{s.kind}:{text[s.start : s.end]}" for s in losses.salient_spans(text))
    assert found == expected


def test_kinds_are_chosen_after_they_are_told_apart():
    text = "Ada Lovelace, 10 December 1815, wrote 7 notes."
    found = lambda *kinds: [text[s.start : s.end] for s in losses.salient_spans(text, kinds)]  # noqa: E731
    assert found("number") == ["7"]
    assert found("date", "name") == ["Ada Lovelace", "10 December 1815"]


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level BPE with merges of its own, whose tokens do not keep to words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    corpus = ["Curie was born in 1867 in Warsaw, she was born there.", "the 1867 paper"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")


def test_tokens_of_salient_spans_weigh_more_wherever_packing_puts_them(tokenizer):
    texts = ["Marie Curie was born in 1867.", "she was born there", "In Łódź it was 1867"]
    sequences, weights = losses.salient_sequences(texts, tokenizer, factor=4.0)
    assert sequences == packing.encode(texts, tokenizer)
    for text, sequence, row in zip(texts, sequences, weights):
        assert len(sequence) == len(row)
        assert row[-1] == 1.0, "the end of the text"
        heavy = tokenizer.decode([t for t, w in zip(sequence, row) if w == 4.0])
        assert heavy.replace(" ", "") == "".join(text[s.start : s.end] for s in losses.salient_spans(text)).replace(
            " ", ""
        )
    short, _ = packing.truncate(sequences, 8)
    batch = packing.epoch_batches(short, epochs=2, batch_size=2)
    found = losses.with_weights(batch, sequences, weights)
    assert found["weights"].shape == batch["tokens"].shape
    rows = [
        (tuple(t[m]), tuple(w[m])) for t, m, w in zip(*(found[k].reshape(8, -1) for k in ("tokens", "mask", "weights")))
    ]
    expected = {(tuple(s), tuple(w[: len(s)])) for s, w in zip(short, weights)}
    assert {row for row in rows if row[0]} == expected
    assert not found["weights"][~found["mask"]].any()


def test_beginnings_of_many_sequences_are_found_without_a_search_through_all():
    class Token(int):
        compared = 0
        __hash__ = int.__hash__

        def __eq__(self, other):
            Token.compared += 1
            return int(self) == int(other)

    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 9, (600, 12))
    sequences, weights = [[Token(t) for t in row] for row in tokens], rng.uniform(1, 3, tokens.shape).tolist()
    batch = {"tokens": tokens[:, :10].astype(np.int32), "mask": np.ones((600, 10), bool)}
    found = losses.with_weights(batch, sequences, weights)
    np.testing.assert_allclose(found["weights"], np.array(weights)[:, :10], rtol=1e-6)
    assert Token.compared < 30 * len(sequences)


def test_the_loss_is_the_weighted_mean_and_equal_weights_the_plain_one():
    params = jax.tree.map(lambda x: 4 * x, models.init(jax.random.key(0), CONFIG))
    rng, mask = np.random.default_rng(0), np.ones((4, 8), bool)
    mask[0, 4:] = mask[3] = False
    weights = rng.uniform(0.5, 3.0, mask.shape).astype(np.float32)
    batch = {"tokens": jnp.asarray(rng.integers(0, 23, mask.shape), jnp.int32), "mask": jnp.asarray(mask)}
    log_probs = np.asarray(training.token_log_probs(params, CONFIG, batch["tokens"], batch["mask"]))
    counted = weights * mask * (np.arange(8) > 0)
    loss = losses.WeightedLoss()
    found = loss(params, CONFIG, {**batch, "weights": jnp.asarray(weights)})
    assert float(found) == pytest.approx(-(counted * log_probs).sum() / counted.sum(), rel=1e-5)
    assert float(loss.weight({**batch, "weights": jnp.asarray(weights)})) == pytest.approx(counted.sum(), rel=1e-6)
    plain = loss(params, CONFIG, {**batch, "weights": jnp.full((4, 8), 2.0)})
    assert float(plain) == pytest.approx(float(training.causal_lm(params, CONFIG, batch)), rel=1e-6)
    assert float(loss(params, CONFIG, {**batch, "weights": jnp.zeros((4, 8))})) == 0.0


def test_bad_input(tokenizer):
    with pytest.raises(ValueError, match="unknown kind 'places'"):
        losses.salient_spans("x", ("places",))
    with pytest.raises(ValueError, match="use_fast=True"):
        losses.salient_sequences(["x"], object())
    with pytest.raises(ValueError, match="factor=-1"):
        losses.salient_sequences(["x"], tokenizer, factor=-1)
    batch = packing.epoch_batches([[1, 2, 3]], epochs=1)
    with pytest.raises(ValueError, match=r"row \(0, 0\) of the batch, of 3 tokens, is none of the 1 sequences"):
        losses.with_weights(batch, [[1, 2, 4]], [[1.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match=r"make them with losses\.with_weights"):
        losses.WeightedLoss().weight({"tokens": jnp.zeros((1, 3), jnp.int32), "mask": jnp.ones((1, 3), bool)})
