"""Sequences of edits and full fine-tuning with the model on a mesh of data, fsdp and model: what one device gives."""

import dataclasses

import numpy as np
import pytest

from seal_jax.runtime.files import read_json
from seal_jax.runtime.mesh import make_mesh
from seal_jax.runtime.placement import shard_params
from seal_jax.runtime.run import Run
from seal_jax.seal import cpt, sequential
from seal_jax.seal.sequential_method import Method
from seal_jax.seal.sequential_weights import MERGED, STACK
from seal_jax.seal.settings_sequential import Pretraining

LAYOUT = "data=2,fsdp=2,model=2"


@pytest.fixture(scope="module")
def spread(tiny):
    return tiny._replace(params=shard_params(tiny.params, make_mesh(LAYOUT), tiny.config))


@pytest.mark.parametrize("weights", [MERGED, STACK])
def test_sequences(tiny, spread, passages, settings, tmp_path, weights):
    """Three sequences do not divide over four devices; one without steps makes up for it."""
    settings = dataclasses.replace(settings, edits=dataclasses.replace(settings.edits, max_new_tokens=8))
    people = passages(6)
    drawn = [people[i : i + 2] for i in (0, 2, 4)]
    found = []
    for name, model in (("one", tiny), ("mesh", spread)):
        with Run(tmp_path / name, {}) as run:
            edits = sequential.run_sequences(run, "seq", model, drawn, settings, 3, Method(weights)).edits
            found.append((edits, read_json(tmp_path / name / "stages/seq/steps.json")["value"]))
    assert found[0][0] == found[1][0]
    for mine, theirs in zip(found[0][1], found[1][1]):
        for a, b in zip(mine, theirs):
            np.testing.assert_allclose(a["loss"], b["loss"], atol=1e-3)
            for one, other in zip(a["outcomes"], b["outcomes"]):
                np.testing.assert_allclose(one["loglik"], other["loglik"], atol=2e-3)


def test_all_weights(tiny, spread, passages, tmp_path):
    """A full fine-tune split over the mesh; eleven rows do not divide either."""
    full = Pretraining(method="full", epochs=1, batch_size=4, learning_rate=3e-3)
    texts = cpt.corpus(passages(3), [["pet: dog", "goat"]] * 3, full)
    losses = []
    for name, model in (("one", tiny), ("mesh", spread)):
        with Run(tmp_path / name, {}) as run:
            learner, report = cpt.pretrain(run, "full", model, texts, full, 1)
            losses.append(report["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    kernel = learner.params["layers"]["mlp"]["down_proj"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape)[1:] == (kernel.shape[1] // 2, kernel.shape[2] // 2)
