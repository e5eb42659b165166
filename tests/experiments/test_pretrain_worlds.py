"""The script that makes the embedded checkpoint: what it trains on, and that a killed run resumes bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import pretrain_worlds
from seal_jax import models
from seal_jax.data.worlds import biographies_corpus, tokenizer

TINY = pretrain_worlds.Settings(
    steps=4, batch=2, warmup=1, hidden_size=16, intermediate_size=16, num_layers=1, num_heads=2, evaluate_every=2
)


class Killed(BaseException):
    """Stands for a signal in the middle of a run."""


@pytest.fixture(scope="module")
def tok():
    return tokenizer.build()


def test_target_weights_cover_answers_and_skip_pads(tok):
    document = biographies_corpus.reading(np.random.default_rng(0))
    tokens, weights = pretrain_worlds.encode([document], tok, 160)
    answers = [tok.decode([t]) for t, w in zip(tokens[0], weights[0]) if w == biographies_corpus.ANSWER_WEIGHT]
    asked = [line.removeprefix("Answer: ") for line in document.text.split("\n") if line.startswith("Answer:")]
    assert [a.strip() for a in answers] == asked
    real = len(tok.encode(document.text)) + 1
    assert tokens[0, real - 1] == tok.eos_token_id
    assert weights[0, real - 1] == 1.0
    assert (weights[0, :real] > 0).all()
    assert not weights[0, real:].any()


def test_killed_and_resumed_gives_the_weights_of_an_uninterrupted_run(tmp_path, monkeypatch):
    whole = dataclasses.replace(TINY, out=str(tmp_path / "a"), export=str(tmp_path / "a/model"))
    killed = dataclasses.replace(TINY, out=str(tmp_path / "b"), export=str(tmp_path / "b/model"))
    monkeypatch.setattr(pretrain_worlds, "probe", lambda *_: {})
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # optax's Muon relies on both
        pretrain_worlds.main(whole)
        make_batch = pretrain_worlds.make_batch

        def dying(step, *rest):
            if step == 3:
                raise Killed
            return make_batch(step, *rest)

        monkeypatch.setattr(pretrain_worlds, "make_batch", dying)
        with pytest.raises(Killed):
            pretrain_worlds.main(killed)
        monkeypatch.setattr(pretrain_worlds, "make_batch", make_batch)
        pretrain_worlds.main(killed)
    first, second = (models.from_pretrained(s.export).params for s in (whole, killed))
    jax.tree.map(np.testing.assert_array_equal, first, second)
