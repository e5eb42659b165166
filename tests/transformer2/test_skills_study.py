"""Parts of the study: standard errors against hand-made ones, arms that learn in some layers, mixtures by problem."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_tasks

from seal_jax import adapters
from seal_jax.runtime import Run
from seal_jax.transformer2 import reinforce
from seal_jax.transformer2.few_shot import FewShot
from seal_jax.transformer2.study import Arm, AttachLayers, RewardInLayers, Study, fresh, over_seeds, parameters, train
from seal_jax.transformer2.study_mixtures import adapted, by_name, sorting_accuracy
from seal_jax.transformer2.study_transfer import shuffled

SMALL = reinforce.Settings(iterations=2, batch_size=4, learning_rate=0.1, eval_every=2, micro_batch=4, rows=8)


@pytest.fixture(scope="module")
def model():
    return toy_tasks.model()


@pytest.fixture(scope="module")
def factors(model):
    return adapters.svf.factor(model.params, ("mlp",))


def test_over_seeds_pairs_problems_with_themselves():
    found = over_seeds([[True, True, False, True], [True, False, False, True]], [True, False, False, False])
    gains = np.array([0.0, 0.5, 0.0, 1.0])
    assert found["accuracy"] == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert found["difference"] == pytest.approx(gains.mean())
    assert found["difference_stderr"] == pytest.approx(gains.std(ddof=1) / 2)
    assert found["seeds"] == [0.75, 0.5]
    assert found["seeds_stderr"] == pytest.approx(math.sqrt(0.25**2 / 2 / 2))


def test_over_seeds_leaves_out_what_is_ungraded_anywhere():
    found = over_seeds([[True, None, True], [True, True, False]], [False, True, True])
    assert found["problems"] == 2
    assert found["accuracy"] == pytest.approx(0.75)
    assert over_seeds([[True, False]], [False, False])["seeds_stderr"] is None


def test_an_arm_in_some_layers_starts_as_the_base_in_the_others_and_learns_nothing_there(model, factors, tmp_path):
    settings = {field.name: getattr(SMALL, field.name) for field in dataclasses.fields(SMALL)}
    arm = Arm(RewardInLayers(**settings, layers=(1,)))
    start = fresh(jax.random.key(0), model.params, arm, factors)
    task = toy_tasks.task(lambda problem, completion: len(completion) % 2 == 0)
    with Run(tmp_path, {}) as run:
        found = train(Study(run, model, {"toy": task}, 3), "half", arm, factors)["toy"]
    assert len(found.verdicts) == len(task.test)
    assert all((entry["raw"][0] == entry["raw"][0, 0]).all() for entry in found.adapter.values())

    def size(adapter):
        attached = AttachLayers((1,))(model.params, adapter, factors)
        return sum(
            (jnp.asarray(x["kernel"]) ** 2).sum() for x in adapters.materialize(attached)["layers"]["mlp"].values()
        )

    gradients = jax.grad(size)(adapters.svf.init(jax.random.key(1), factors, 0.0, 1.0))
    assert all((entry["raw"][0] == 0).all() and (entry["raw"][1] != 0).all() for entry in gradients.values())
    whole = adapters.materialize(adapters.attach(model.params, start, factors, form="residual"))
    for name, module in whole["layers"]["mlp"].items():
        np.testing.assert_array_equal(module["kernel"][0], model.params["layers"]["mlp"][name]["kernel"][0])
        assert (module["kernel"][1] != model.params["layers"]["mlp"][name]["kernel"][1]).any()
    everything = Arm(SMALL)
    assert 2 * parameters(start, arm) == parameters(start, everything) == sum(x.size for x in jax.tree.leaves(start))


def test_lora_counts_what_is_trained(model):
    arm = Arm(SMALL, "lora", ("q_proj", "v_proj"), rank=4)
    start = fresh(jax.random.key(0), model.params, arm, None)
    shapes = [model.params["layers"]["self_attn"][name]["kernel"].shape for name in ("q_proj", "v_proj")]
    assert parameters(start, arm) == sum(layers * 4 * (fan_in + fan_out) for layers, fan_in, fan_out in shapes)
    with pytest.raises(ValueError, match="factors"):
        fresh(jax.random.key(0), model.params, Arm(SMALL), None)


def test_few_shot_scores_everything_on_what_is_no_shot(model, factors, tmp_path):
    task = toy_tasks.task(lambda problem, completion: len(completion) % 2 == 0)
    experts = {n: adapters.svf.init(jax.random.key(i), factors, 0.0, 1.0) for i, n in enumerate("ab")}
    search = FewShot(generations=1, at_once=10)
    found = []
    with Run(tmp_path, {}) as run:
        for seed in (0, 1):
            study = Study(run, model, {"toy": task}, seed)
            found.append(adapted(study, "unseen", task, experts, factors, {"cem": search}, shots=3))
            again = adapted(study, "unseen", task, experts, factors, {"cem": search}, shots=3)
            assert again == found[-1]
    ids = {problem.id for problem in task.test}
    for one in found:
        assert len(one["problems"]) == 5
        assert set(one["problems"]) < ids
        assert {len(verdicts) for verdicts in one["verdicts"].values()} == {5}
    table = by_name(found)
    assert set(table) == {"base", "a", "b", "cem"}
    assert table["base"]["difference"] == 0
    assert table["cem"]["problems"] == len({p for one in found for p in one["problems"]})
    assert np.shape(table["cem"]["weights"]) == (2, 2)


def test_by_name_averages_a_problem_over_the_seeds_that_scored_it():
    one = {"problems": ["p", "q"], "verdicts": {"base": [True, False], "x": [True, True]}, "searches": {}}
    other = {"problems": ["q", "r"], "verdicts": {"base": [True, False], "x": [True, True]}, "searches": {}}
    table = by_name([one, other])
    assert table["x"]["problems"] == 3
    assert table["base"]["accuracy"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert table["x"]["difference"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert table["x"]["seeds"] == [1.0, 1.0]
    assert table["x"]["seeds_stderr"] == 0.0
    assert table["x"]["difference_seeds"] == [0.5, 0.5]
    assert table["x"]["difference_seeds_stderr"] == 0.0
    later = {**other, "verdicts": {"base": [False, False], "x": [True, True]}}
    assert by_name([one, later])["x"]["difference_seeds_stderr"] == pytest.approx(0.25)
    assert by_name([one])["x"]["difference_seeds_stderr"] is None


def test_shuffled_experts_have_the_same_scales_in_another_order(factors):
    expert = adapters.svf.init(jax.random.key(0), factors)
    other = shuffled(jax.random.key(1), expert)
    for path, entry in expert.items():
        assert (entry["raw"] != other[path]["raw"]).any()
        np.testing.assert_array_equal(jnp.sort(entry["raw"]), jnp.sort(other[path]["raw"]))


def test_sorting_accuracy_takes_tasks_without_an_expert_for_others():
    labels = {"sums": ["sums", "others"], "chat": ["others", "sums"]}
    assert sorting_accuracy(labels, ["sums", "letters"]) == 0.5
