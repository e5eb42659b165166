"""What settings refuse, and what they say of sizes."""

import dataclasses
import re
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
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
        ("set_lengths", (True, 2)),
        ("set_lengths", (1.0, 2)),
        ("set_lengths", 4),
        ("set_lengths", "12"),
        ("set_lengths", None),
        ("c_puct", "2"),
        ("c_puct", None),
        ("root_mix", True),
        ("temperature", "1"),
        ("value_threshold", np.array([0.5])),
        ("max_searches", np.float64(10)),
        ("max_searches", "10"),
        ("nodes", False),
        ("similarity", "no"),
        ("widening", 0),
        ("remember_values", None),
    ],
)
def test_a_bad_setting_is_named(field, value):
    with pytest.raises(ValueError, match=f"^{field} {re.escape(repr(value))}: use"):
        Settings(**{field: value})


def test_numbers_of_numpy_are_stored_as_pythons():
    """Equal settings share a compiled program, whatever made their numbers."""
    counts = {"max_searches": np.int64(10), "nodes": np.uint8(30), "set_lengths": np.array([2, 3])}
    given: dict[str, Any] = {"c_puct": 1, "root_mix": np.float32(0.5), "similarity": np.bool_(False), **counts}
    settings = Settings(**given)
    plain = Settings(
        c_puct=1.0, max_searches=10, nodes=30, root_mix=0.5, similarity=False, set_lengths=(2, 3)
    )  # fmt: skip
    assert repr(settings) == repr(plain)
    assert hash(settings) == hash(plain)
    lengths: Any = (np.int64(2),)
    assert repr(Settings(set_lengths=lengths).set_lengths) == "(2,)"


def test_a_set_that_is_never_committed_early_is_warned_of():
    """Before the last of its searches a child of the first root has two visits less than are allowed."""
    with pytest.warns(UserWarning, match=r"^min_visits 16: .* max_searches 18 .* 15 or less"):
        Settings(min_visits=16, max_searches=18)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings(min_visits=16, max_searches=19)
        Settings(min_visits=6, max_searches=2)  # floor_searches allows 15


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
