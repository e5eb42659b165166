"""Training all weights in the single-passage regime: N copies at once against one model trained by itself."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from seal_jax import adapters, models, training
from seal_jax.data import packing
from seal_jax.seal import answers, fine_tunes
from seal_jax.seal.edits import training_sequences
from seal_jax.seal.inner_loop import Trial, run_trials
from seal_jax.seal.settings import Inner


@pytest.fixture(scope="module")
def inner(settings):
    return dataclasses.replace(settings.inner, method="full", learning_rate=1e-2)


@pytest.fixture(scope="module")
def trials(passages):
    edits = ["pet: dog\nfield: law", "profession: baker\ncity: Bern"]
    texts = [training_sequences(e, p.title, p.context) for p, e in zip(passages(2), edits)]
    return [Trial(str(i), t, p, seed=3, item=i) for i, (p, t) in enumerate(zip(passages(2), texts))]


def test_side_by_side_as_one_by_one(tiny, settings, inner, trials):
    """Answers and likelihoods are those of a model whose every weight was trained on the same batches."""
    found = run_trials(tiny, trials, inner, settings.answering)
    for trial, outcome in zip(trials, found):
        [sequences] = fine_tunes.encode([trial.texts], tiny, inner)
        batch = packing.edit_batches(
            sequences[:-1], sequences[-1], epochs=2, batch_size=1, line_steps=2, length=24, seed=3, item=trial.item
        )
        batch["tokens"][~batch["mask"]] = 0
        steps = int(batch["mask"].any((1, 2)).sum())
        hyper = training.Hyper(inner.learning_rate, steps, clip=inner.clip, seed=3)
        trained, metrics = training.finetune(
            tiny.params, tiny.config, tiny.params, batch, hyper, attach_fn=training.full_parameters
        )
        assert outcome["loss"] == pytest.approx(float(metrics["loss"][-1]), abs=1e-5)
        alone = answers.ask(tiny._replace(params=trained), [trial.passage], settings.answering)[0]
        assert outcome["answers"] == alone["answers"]
        np.testing.assert_allclose(outcome["loglik"], alone["loglik"], atol=1e-4)
        before = answers.ask(tiny, [trial.passage], settings.answering)[0]
        assert np.abs(np.subtract(before["loglik"], alone["loglik"])).min() > 0.1


def test_all_weights_as_an_adapter(tiny):
    """Every leaf has an entry, and attaching them is replacing them, in the model's dtype."""
    entries = fine_tunes.full(tiny.params)
    assert len(entries) == len(jax.tree.leaves(models.stack(tiny.params)))
    doubled = {path: {"value": 2 * e["value"]} for path, e in entries.items()}
    half = jax.tree.map(lambda x: x.astype("bfloat16"), models.stack(tiny.params))
    wanted = jax.tree.map(lambda x: (2 * x).astype("bfloat16"), models.stack(tiny.params))
    chex.assert_trees_all_equal(adapters.attach(half, doubled), wanted)
    chex.assert_trees_all_equal(models.stack(adapters.attach(models.unroll(half), doubled)), wanted)


def test_an_unknown_method():
    with pytest.raises(ValueError, match="method 'ia3' is not one of lora, full"):
        Inner(method="ia3")
