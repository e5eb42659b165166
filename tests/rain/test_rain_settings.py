"""What settings refuse, and what they say of sizes."""

import dataclasses

import jax.numpy as jnp
import pytest

from seal_jax.rain import PRESETS, Settings, preset


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("score", "mean"),
        ("widened_priors", None),
        ("eos", "stop"),
        ("simulation", "word"),
        ("max_children", 1),
        ("candidates", 21),
        ("candidates", 0),
        ("rollout_tries", -1),
        ("rollout_top_k", 2.5),
        ("max_searches", True),
        ("max_searches", 1),
        ("floor_searches", 1),
        ("min_visits", -1),
        ("max_new_tokens", 0),
        ("nodes", 1),
        ("max_depth", 0),
        ("temperature", 0.0),
        ("temperature", float("nan")),
        ("root_mix", 1.5),
        ("c_puct", -1.0),
        ("similarity_threshold", -0.5),
        ("value_threshold", 2.0),
        ("set_lengths", ()),
        ("set_lengths", (1, 0)),
    ],
)
def test_a_bad_setting_is_named(field, value):
    with pytest.raises(ValueError, match=f"^{field} .*: use"):
        Settings(**{field: value})


def test_sizes_follow_from_what_is_searched():
    settings = Settings(max_new_tokens=17)
    assert (settings.longest, settings.capacity) == (10, 160)
    assert settings.depth == 5  # 1 + 2 + 4 + 10 tokens are allowed, one more set is not
    assert Settings(max_new_tokens=17, max_depth=2).depth == 2
    assert Settings(max_new_tokens=1000, nodes=6).depth == 5
    assert list(settings.set_length(jnp.array([0, 1, 2, 3, 9]))) == [1, 2, 4, 10, 10]
    assert Settings(set_lengths=[1, 2]) == Settings(set_lengths=(1, 2))  # hashable, as jit needs it
    assert hash(settings)


def test_presets_are_the_papers():
    columns = ("max_searches", "min_visits", "value_threshold", "temperature", "simulation")
    table = {name: tuple(getattr(settings, column) for column in columns) for name, settings in PRESETS.items()}
    assert table == {
        "harmlessness": (50, 6, 0.8, 1.0, "sentence"),
        "attack_defence": (50, 5, 0.8, 2.0, "sentence"),
        "truthfulness": (50, 16, 0.8, 1.0, "end"),
        "sentiment": (50, 6, 0.8, 1.0, "sentence"),
    }
    assert preset("harmlessness") == Settings()
    released = preset("truthfulness", released=True)
    changed = {
        f.name
        for f in dataclasses.fields(released)
        if getattr(released, f.name) != getattr(PRESETS["truthfulness"], f.name)
    }
    assert changed == {"widened_priors", "eos", "remember_values"}
    with pytest.raises(ValueError, match="harmlessness, attack_defence"):
        preset("harmless")
