"""The study of the skills world as settings and tables; the study itself is `experiments/transformer2.py`."""

import json

import pytest

from seal_jax.transformer2 import demo, skills
from seal_jax.transformer2.study import over_seeds

BASE, ONE = over_seeds([[True, False]], [True, False]), over_seeds([[True, True]], [True, False])


def test_tables_have_a_row_for_each_condition_with_its_paired_difference():
    families = ("sums", "letters", "ranks")
    result = {
        "base": dict.fromkeys(families, BASE),
        "methods": {"svf_reward": {"parameters": 864, **dict.fromkeys(families, ONE)}},
        "unseen": {"base": BASE, "cem": ONE},
        "dispatch": {"prompt": dict.fromkeys((*families, "others", "pairs", "all"), ONE)},
        "transfer": {"other_seed": {"sums": {"base": BASE, "ordered": ONE}}},
    }
    trained, unseen, two, moved = demo.tables(result).values()
    assert [row["method"] for row in trained] == ["base", "svf_reward"]
    assert trained[0]["sums"] == unseen[0]["accuracy"] == moved[0]["base"] == "50.0"
    assert trained[1]["parameters"] == 864
    assert {trained[1]["ranks"], unseen[1]["accuracy"], two[0]["all"], moved[0]["ordered"]} == {"100.0 (+50.0 ± 50.0)"}
    assert (moved[0]["model"], moved[0]["family"]) == ("other_seed", "sums")


def test_layers_that_learn_are_layers_of_the_checkpoint():
    layers = json.loads((skills.CHECKPOINT / "config.json").read_text())["num_hidden_layers"]
    chosen = [arm.layers for arm in demo.ABLATIONS.values() if arm.layers]
    assert chosen
    assert all(set(each) < set(range(layers)) for each in chosen)


def test_lora_has_more_parameters_by_the_ratio_that_is_told():
    arms = demo.Settings().arms
    assert {name: arm.kind for name, arm in arms.items()} == {
        "svf_reward": "svf",
        "svf_solutions": "svf",
        "lora_reward": "lora",
        "lora_solutions": "lora",
    }
    config = json.loads((skills.CHECKPOINT / "config.json").read_text())
    layers, width = config["num_hidden_layers"], config["hidden_size"]
    singular, lora = 3 * layers * width, 2 * layers * 16 * 2 * width
    assert lora / singular == pytest.approx(21.3, abs=0.1)
