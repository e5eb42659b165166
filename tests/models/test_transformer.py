"""The decoder: every way to run it gives the same numbers, whatever the padding, the layout or the dtype."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models
from seal_jax.models.attention import attend, causal_mask, positions_of
from seal_jax.models.layers import Norm
from seal_jax.models.transformer import _embed

FULL = models.Config("llama", 64, 32, 48, 3, 4, 2, 8, 128, tie_embeddings=True)
MIXED = models.Config(
    *("gemma3_text", 64, 32, 48, 3, 4, 2, 12, 128),
    qk_norm=True,
    qkv_bias=True,
    output_bias=True,
    sliding_windows=(None, 4, 3),
    window_rope_theta=100.0,
    residual="sandwich",
    attention_softcap=5.0,
    logit_softcap=10.0,
)
LEARNED = models.Config(
    *("gpt_neo", 64, 32, 48, 2, 4, 4, 8, 12), norm="layer", rotary_dim=0, learned_positions=True, gated_mlp=False
)
B, T = 3, 10

forward = jax.jit(models.forward, static_argnums=1, static_argnames="remat")
forward_cached = jax.jit(models.forward_cached, static_argnums=1, static_argnames="last_only")


@pytest.fixture(scope="module", params=[FULL, MIXED], ids=["full", "mixed_windows"])
def config(request):
    return request.param


@pytest.fixture(scope="module")
def params(config):
    params = models.init(jax.random.key(0), config)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return tree.unflatten([x + 0.2 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])


@pytest.fixture(scope="module")
def tokens():
    return jax.random.randint(jax.random.key(2), (B, T), 0, 64)


@pytest.fixture(scope="module")
def logits(params, config, tokens):
    return np.asarray(forward(params, config, tokens))


def rms(x):
    return float(jnp.sqrt(jnp.mean(jnp.square(x))))


def test_scanned_is_unrolled(params, config, tokens, logits):
    assert logits.shape == (B, T, 64)
    assert logits.std() > 0.3
    np.testing.assert_allclose(forward(models.unroll(params), config, tokens), logits, atol=1e-5)


def test_stack_is_the_inverse_of_unroll(params):
    unrolled = models.unroll(params)
    assert isinstance(unrolled["layers"], tuple)
    jax.tree.map(np.testing.assert_array_equal, models.stack(unrolled), params)
    assert models.stack(params) is params
    assert models.unroll(unrolled) is unrolled


@pytest.mark.parametrize("pads", [0, 2], ids=["no_pads", "left_pads"])
@pytest.mark.parametrize("split", [(10,), (6, 1, 1, 1, 1), (1, 4, 5)], ids=str)
def test_cached_is_uncached(params, config, tokens, logits, split, pads):
    cache = models.init_cache(config, B, pads + T + 3)
    padded = jnp.concatenate([jnp.zeros((B, pads), jnp.int32), tokens], axis=1)
    mask = jnp.arange(pads + T)[None] >= jnp.full((B, 1), pads)
    pieces, start = [], 0
    for length in (pads + split[0], *split[1:]):
        part = slice(start, start + length)
        new, cache = forward_cached(params, config, padded[:, part], cache, mask[:, part])
        pieces.append(new)
        start += length
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1)[:, pads:], logits, atol=2e-5)
    assert int(cache.index) == pads + T


def test_prefill_can_return_only_the_last_column(params, config, tokens, logits):
    last, _ = forward_cached(params, config, tokens, models.init_cache(config, B, T), last_only=True)
    np.testing.assert_allclose(last, logits[:, -1:], atol=2e-5)


def test_two_continuations_of_one_text_fit_in_one_row(params, config, tokens, logits):
    """Tokens 0..3, then 4..9, then 4..9 once more as other tokens, neither seeing the other."""
    other = (tokens[:, 4:] + 5) % 64
    row = jnp.concatenate([tokens, other], axis=1)
    positions = jnp.concatenate([jnp.arange(T), jnp.arange(4, T)])
    branch = np.repeat([0, 1, 2], [4, T - 4, T - 4])
    seen = (branch[None, :] == 0) | (branch[:, None] == branch[None, :])
    cache = models.init_cache(config, B, len(branch))
    states, cache = jax.jit(models.hidden_cached, static_argnums=1)(
        params, config, row, cache, positions=jnp.broadcast_to(positions, row.shape), seen=jnp.asarray(seen)[None]
    )
    got = models.unembed(params, config, states)
    np.testing.assert_allclose(got[:, :T], logits, atol=2e-5)
    alone = forward(params, config, jnp.concatenate([tokens[:, :4], other], axis=1))
    np.testing.assert_allclose(got[:, T:], alone[:, 4:], atol=2e-5)
    assert int(cache.index) == len(branch)


def test_rows_of_different_length_decode_in_one_cache(params, config, tokens, logits):
    """Row i is padded on the left by i tokens; each row must go on as if it were alone."""
    rows = [jnp.pad(tokens[i, : T - i], (i, 0)) for i in range(B)]
    mask = jnp.arange(T)[None] >= jnp.arange(B)[:, None]
    got, _ = forward_cached(params, config, jnp.stack(rows), models.init_cache(config, B, T), mask)
    for i in range(B):
        np.testing.assert_allclose(got[i, i:], logits[i, : T - i], atol=2e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(params, config, tokens, logits, side):
    width = ((0, 0), (3, 0) if side == "left" else (0, 3))
    padded = jnp.pad(tokens, width, constant_values=7)
    mask = jnp.pad(jnp.ones((B, T), bool), width)
    got = forward(params, config, padded, mask)
    np.testing.assert_allclose(got[:, 3:] if side == "left" else got[:, :T], logits, atol=1e-5)


def test_row_without_any_real_token_is_finite(params, config, tokens):
    mask = jnp.ones((B, T), bool).at[1].set(False)
    grads = jax.jit(jax.grad(lambda p: models.forward(p, config, tokens, mask).sum()))(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))


def test_a_token_does_not_see_later_ones(params, config, tokens, logits):
    changed = forward(params, config, tokens.at[:, 6:].add(1) % 64)
    np.testing.assert_allclose(changed[:, :6], logits[:, :6], atol=1e-5)
    assert np.abs(changed[:, 6:] - logits[:, 6:]).max() > 0.1


def test_a_window_hides_what_is_behind_it(params):
    config = dataclasses.replace(MIXED, num_layers=1, sliding_windows=(3,))
    one = models.init(jax.random.key(3), config)
    tokens = jax.random.randint(jax.random.key(4), (B, T), 0, 64)
    before, after = forward(one, config, tokens), forward(one, config, tokens.at[:, 4].add(1) % 64)
    changed = np.abs(np.asarray(before - after)).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(changed, [4 <= t < 7 for t in range(T)])


@pytest.mark.parametrize("layout", [models.stack, models.unroll])
def test_remat_changes_neither_loss_nor_gradient(params, config, tokens, layout):
    def loss(params, remat):
        return jnp.square(models.forward(params, config, tokens, remat=remat)).mean()

    plain, remat = (jax.jit(jax.value_and_grad(partial(loss, remat=flag)))(layout(params)) for flag in (False, True))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), plain, remat)


def test_hidden_states_are_what_is_unembedded(params, config, tokens, logits):
    states = models.hidden_states(params, config, tokens)
    assert states.shape == (B, T, 32)
    np.testing.assert_allclose(models.unembed(params, config, states), logits, atol=1e-5)


@pytest.mark.parametrize("layout", [models.stack, models.unroll])
def test_bfloat16_runs_and_is_near_float32(params, config, tokens, layout):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    exact = forward(jax.tree.map(lambda x: x.astype(jnp.float32), half), config, tokens)
    got = forward(layout(half), config, tokens)
    assert got.dtype == jnp.float32
    assert 0 < rms(got - exact) < 0.02 * exact.std()
    cached, cache = forward_cached(half, config, tokens, models.init_cache(config, B, T, jnp.bfloat16))
    assert cache.keys[0].dtype == jnp.bfloat16
    assert rms(cached - exact) < 0.02 * exact.std()


def test_init_is_as_documented():
    params = models.init(jax.random.key(0), MIXED, jnp.bfloat16)
    assert {x.dtype.name for x in jax.tree.leaves(params)} == {"bfloat16"}
    kernel = params["layers"]["mlp"]["up_proj"]["kernel"].astype(jnp.float32)
    assert kernel.shape == (3, 32, 48)
    assert abs(float(kernel.std()) - 0.02) < 0.002
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01
    assert (params["layers"]["self_attn"]["q_norm"]["scale"] == 1).all()
    assert (params["layers"]["self_attn"]["q_proj"]["bias"] == 0).all()
    assert "lm_head" not in models.init(jax.random.key(0), FULL)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_kv_heads": 3}, "num_kv_heads=3"),
        ({"head_dim": 7}, "head_dim=7"),
        ({"sliding_windows": (4,)}, "1 entries for 3 layers"),
        ({"rotary_dim": 9}, "rotary_dim=9 does not fit into head_dim=8"),
        ({"fused_qkv": True}, "num_kv_heads=4, not 2"),
    ],
)
def test_impossible_config_is_refused(change, named):
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(FULL, **change)


def test_positions_follow_the_mask():
    mask = jnp.array([[0, 0, 1, 1], [1, 1, 1, 0]], bool)
    np.testing.assert_array_equal(positions_of(mask), [[0, 0, 0, 1], [0, 1, 2, 2]])


def test_mask_is_causal_within_the_window():
    positions = jnp.arange(4)[None]
    valid = jnp.array([[True, False, True, True]])
    got = causal_mask(positions, positions, valid, 3)[0, 0]
    np.testing.assert_array_equal(got, [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]])


def test_learned_positions_follow_the_mask_and_end_with_a_nan():
    params = models.init(jax.random.key(0), LEARNED)
    assert params["embed_positions"]["embedding"].shape == (12, 32)
    tokens = jnp.tile(jax.random.randint(jax.random.key(1), (1, 14), 0, 64), (2, 1))
    mask = jnp.arange(14)[None] >= jnp.array([[2], [0]])
    logits = forward(params, LEARNED, tokens, mask)
    np.testing.assert_allclose(logits[0, 2:], forward(params, LEARNED, tokens[:1, 2:])[0], atol=1e-5)
    assert np.isnan(logits[1, 12:]).all()  # not the last position again, as a clamped index would give


def test_embedding_scale_is_rounded_to_the_dtype_of_the_embedding():
    """As transformers does: sqrt(3072) is 55.5 in bfloat16."""
    config = dataclasses.replace(FULL, embedding_scale=3072**0.5)
    table = jax.random.normal(jax.random.key(0), (64, 32)).astype(jnp.bfloat16)
    tokens = jnp.arange(64)[None]
    got = _embed({"embed_tokens": {"embedding": table}}, config, tokens, tokens)
    np.testing.assert_array_equal(got[0], table * jnp.bfloat16(55.5))
    exact = _embed({"embed_tokens": {"embedding": table.astype(jnp.float32)}}, config, tokens, tokens)
    np.testing.assert_array_equal(exact[0], table.astype(jnp.float32) * np.float32(3072**0.5))


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_norms_of_bfloat16_are_computed_in_float32(kind):
    """What comes out is the exact norm, rounded once: within half a unit in the last of 8 places."""
    config = dataclasses.replace(FULL, norm=kind, norm_offset=1.0)
    x, scale, bias = (jax.random.normal(jax.random.key(i), (8, 32)).astype(jnp.bfloat16) for i in range(3))
    got = Norm(config).apply({"params": {"scale": scale[0], "bias": bias[0]}}, 3 + x)
    wide, scale, bias = (np.asarray(v, np.float64) for v in (3 + x, scale[0], bias[0]))
    wide = wide - wide.mean(-1, keepdims=True) if kind == "layer" else wide
    exact = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6) * (1 + scale) + (bias if kind == "layer" else 0)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, np.float64), exact, rtol=2**-8, atol=1e-5)


def test_a_fresh_norm_with_an_offset_multiplies_by_one():
    params = models.init(jax.random.key(0), dataclasses.replace(FULL, norm_offset=1.0))
    assert (params["norm"]["scale"] == 0).all()
    assert (params["layers"]["input_layernorm"]["scale"] == 0).all()


def test_scale_and_soft_cap_of_attention_logits():
    """Against the formula in float64, with as many key/value heads as query heads."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 1, 5, 2, 4)) * 3
    mask = np.tril(np.ones((5, 5), bool))
    logits = 2.0 * np.tanh(np.einsum("btnd,bsnd->bnts", q, k) * 0.7 / 2.0)
    weights = np.where(mask, np.exp(logits), 0)
    weights /= weights.sum(-1, keepdims=True)
    got = attend(
        *(jnp.asarray(x, jnp.float32) for x in (q, k, v)), jnp.asarray(mask)[None, None], scale=0.7, softcap=2.0
    )
    np.testing.assert_allclose(got, np.einsum("bnts,bsnd->btnd", weights, v), atol=1e-5)
