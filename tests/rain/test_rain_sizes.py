"""The formula of a search's memory, against the arrays and the compiled program."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import pytest

from seal_jax import models
from seal_jax.rain import embeddings, sizes
from seal_jax.rain.endings import make_endings
from seal_jax.rain.judge import from_reward
from seal_jax.rain.settings import Settings
from seal_jax.rain.state import Fixed, Program, empty
from seal_jax.rain.step import run
from seal_jax.runtime import resources

CONFIG = models.Config(
    model_type="llama",
    vocab_size=40,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_position=512,
)
SETTINGS = Settings(max_new_tokens=14, max_simulation=4, max_searches=14, set_lengths=(1, 2, 4), candidates=4)


def program(columns=16, settings=SETTINGS, pause=False):
    return Program(CONFIG, settings, columns, (40,), 2, CONFIG.hidden_size, pause)


def always(tokens, mask, key):
    del mask, key
    return jnp.ones(len(tokens))


def size_of(tree):
    return sum(
        8 * x.size if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x.size * x.dtype.itemsize
        for x in jax.tree.leaves(tree)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("columns", "trees"), [(16, False), (192, False), (16, True)])
def test_formula_is_what_the_arrays_take(columns, trees, dtype):
    found = sizes.memory(CONFIG, SETTINGS, 3, columns, dtype, trees=trees)
    state = jax.eval_shape(lambda: empty(program(columns, pause=trees), 3, dtype))
    assert found.text == size_of(state.text)
    assert found.pages == size_of(state.pages)
    assert found.trees == size_of(state.tree)
    assert found.kept == size_of(state)


def test_formula_is_what_the_compiled_program_holds():
    params = models.unroll(models.init(jax.random.key(0), CONFIG))
    endings = make_endings(None, CONFIG.vocab_size, (0,), ())
    fixed = Fixed(params, from_reward(always), embeddings.hidden_mean(), endings)
    plan = program(columns=256)
    state = jax.eval_shape(lambda: empty(plan, 4, jnp.float32))
    compiled = run.lower(plan, fixed, state, jnp.int32(4)).compile().memory_analysis()
    found = sizes.memory(CONFIG, SETTINGS, 4, 256, group=plan.group)
    assert compiled.argument_size_in_bytes == pytest.approx(found.kept + size_of(fixed), rel=0.01)
    assert compiled.alias_size_in_bytes == pytest.approx(found.kept, rel=0.01)
    assert found.work / 3 < compiled.temp_size_in_bytes < 3 * found.work < found.kept  # no copy of what is kept


def test_a_search_that_cannot_fit_says_so(monkeypatch):
    monkeypatch.setattr(resources, "device_memory", lambda: 1 << 20)
    with pytest.raises(resources.DoesNotFitError, match=r"the search needs .* use fewer slots"):
        sizes.check_memory(program(), 64, jnp.float32)


def test_what_several_programs_keep_adds_up(monkeypatch):
    found = sizes.memory(CONFIG, SETTINGS, 4, 16, group=2)
    monkeypatch.setattr(resources, "device_memory", lambda: int(1.5 * found.kept))
    sizes.check_memory(program(), 4, jnp.float32)
    with pytest.raises(resources.DoesNotFitError, match="the search needs"):
        sizes.check_memory(program(), 4, jnp.float32, programs=2)


def test_depth_is_what_few_searches_reach_unless_it_is_given():
    assert sizes.depth_of(dataclasses.replace(SETTINGS, max_new_tokens=1000)) == 16
    assert sizes.depth_of(dataclasses.replace(SETTINGS, max_new_tokens=1000, max_depth=30)) == 30
    assert sizes.depth_of(SETTINGS) == SETTINGS.depth < 16


def test_what_settings_warn_of_is_said_once():
    with pytest.warns(UserWarning, match="min_visits 12: "):
        settings = dataclasses.replace(SETTINGS, floor_searches=2, min_visits=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deep = sizes.with_depth(settings)
    assert (deep.max_depth, deep.min_visits) == (sizes.depth_of(settings), 12)
