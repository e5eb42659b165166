"""ARC with the model on a mesh of data, fsdp and model: what one device gives."""

import numpy as np
import pytest
from micro_arc import SEED, TEST, TRAIN, edit, task

from seal_jax.runtime.mesh import make_mesh
from seal_jax.runtime.placement import shard_params
from seal_jax.seal.arc import policy
from seal_jax.seal.arc.trials import Trial, ask, run_trials


@pytest.fixture(scope="module")
def spread(arc_model):
    return arc_model._replace(
        params=shard_params(arc_model.params, make_mesh("data=2,fsdp=2,model=2"), arc_model.config)
    )


def test_written_edits_and_plain_answers_are_those_of_one_device(arc_model, spread, arc_texts):
    written = [policy.write_edits(model, TRAIN, arc_texts, 2, SEED) for model in (spread, arc_model)]
    assert written[0] == written[1]
    assert ask(spread, TEST, arc_texts, True) == ask(arc_model, TEST, arc_texts, True)


def test_trials_are_those_of_one_device(arc_model, spread, arc_texts):
    """Three edits of unlike length: they do not divide over four groups of devices."""
    edits = edit(), edit(epochs=1, rate=3e-2), edit(strategy="train_using_all_tokens")
    trials = [Trial(task(20 + n), one) for n, one in enumerate(edits)]
    for found, wanted in zip(
        run_trials(spread, trials, arc_texts), run_trials(arc_model, trials, arc_texts), strict=True
    ):
        assert {**found, "loss": 0} == {**wanted, "loss": 0}
        assert np.isfinite(wanted["loss"])
        np.testing.assert_allclose(found["loss"], wanted["loss"], atol=1e-4)
