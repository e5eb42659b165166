"""Block expansion: the grown model is the model until its new layers are trained, in every form and family."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import continual, models, training
from seal_jax.continual import expand
from seal_jax.models import sizes

LLAMA = models.Config(
    "llama", 64, 16, 24, 4, 4, 2, 4, 32, qkv_bias=True, output_bias=True, mlp_bias=True, sliding_windows=(None, 3) * 2
)
FAMILIES = {
    "sequential, biases, windows": LLAMA,
    "sandwich": dataclasses.replace(LLAMA, norm_offset=1.0, residual="sandwich", sliding_windows=None),
    "parallel": models.Config(
        "gpt_neox", 64, 16, 24, 4, 4, 4, 4, 32, norm="layer", residual="parallel", gated_mlp=False, fused_qkv=True,
        qkv_bias=True, output_bias=True, mlp_bias=True,
    ),
}  # fmt: skip
ADAMW = training.adamw(training.Hyper(0.1, 9, weight_decay=0.1))
TOKENS = jnp.arange(14, dtype=jnp.int32).reshape(2, 7)
BATCH = {"tokens": TOKENS, "mask": jnp.ones((2, 7), bool)}


def random_params(config):
    random = np.random.default_rng(0)
    draw = lambda s: jnp.asarray(random.normal(size=s.shape, scale=0.3), s.dtype)  # noqa: E731
    return jax.tree.map(draw, sizes.abstract_params(config))


forward = jax.jit(models.forward, static_argnums=1)


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_the_grown_model_is_the_model(config):
    params = random_params(config)
    grown = expand.expand_blocks(params, config, 2)
    assert grown.config.num_layers == 6
    assert grown.new == (2, 5)
    unrolled = expand.expand_blocks(models.unroll(params), config, 2)
    assert isinstance(unrolled.params["layers"], tuple)
    jax.tree.map(np.testing.assert_array_equal, models.stack(unrolled.params), grown.params)
    wanted = forward(models.unroll(params), config, TOKENS)
    np.testing.assert_array_equal(forward(unrolled.params, unrolled.config, TOKENS), wanted)
    np.testing.assert_allclose(forward(grown.params, grown.config, TOKENS), wanted, atol=1e-5)


def test_layers_are_copied_with_their_windows():
    grown = expand.expand_blocks(random_params(LLAMA), LLAMA, 1, copies=2)
    assert grown.new == (4, 5)
    assert grown.config.windows == (None, 3, None, 3, 3, 3)
    scales = grown.params["layers"]["input_layernorm"]["scale"]
    np.testing.assert_array_equal(scales[4:], scales[3:4].repeat(2, 0))
    for module, name in (("self_attn", "o_proj"), ("mlp", "down_proj")):
        for leaf in grown.params["layers"][module][name].values():
            assert not leaf[4:].any()
            assert leaf[:4].any()


def test_only_new_layers_are_trained():
    """Stacked, with `freeze_mask`; its labels for a partition when unrolled. All that is silent has gradients."""
    config = dataclasses.replace(LLAMA, sliding_windows=None)
    grown = expand.expand_blocks(random_params(config), config, 2)
    grads = jax.jit(jax.grad(training.causal_lm), static_argnums=1)(grown.params, grown.config, BATCH)
    for module, name in (("self_attn", "o_proj"), ("mlp", "down_proj")):
        kernel = grads["layers"][module][name]["kernel"]
        assert jnp.abs(kernel[jnp.array(grown.new)]).max((1, 2)).min() > 1e-6
    tx = optax.chain(ADAMW, continual.freeze_mask(expand.frozen_old(grown.params, grown.new)))
    updates, _ = tx.update(grads, tx.init(grown.params), grown.params)
    moved = {name: np.asarray(jnp.abs(u).max(tuple(range(1, u.ndim)))) for name, u in _flat(updates)}
    for name, most in moved.items():
        if "layers" in name:
            assert (np.flatnonzero(most) == grown.new).all(), name
        else:
            assert not most.any(), name

    unrolled = models.unroll(grown.params)
    labels = jax.tree.map(lambda old: "old" if old else "new", expand.frozen_old(unrolled, grown.new))
    split = optax.partition({"new": ADAMW, "old": optax.set_to_zero()}, labels)
    state = split.init(unrolled)
    split_updates: Any
    split_updates, _ = split.update(models.unroll(grads), state, unrolled)
    still = [not any(u.any() for u in jax.tree.leaves(layer)) for layer in split_updates["layers"]]
    assert still == [i not in grown.new for i in range(6)]
    kept = sum(x.size for x in jax.tree.leaves(state))
    assert kept < 2.1 * sizes.count(unrolled["layers"]) / 3


def _flat(tree):
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def test_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="groups=3 does not divide the 4 layers"):
        expand.expand_blocks({}, LLAMA, 3)
    with pytest.raises(ValueError, match="copies=0: use 1 or more"):
        expand.expand_blocks({}, LLAMA, 2, copies=0)
