"""Losses: what counts as a target, what padding must not change, and what the probabilities are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models, training
from seal_jax.training import loss as loss_module

CONFIG = models.Config("llama", 61, 32, 48, 2, 4, 2, 8, 128)
EOS = 0


@pytest.fixture(scope="module")
def params():
    # Large weights make the distributions far from uniform, so that wrong positions or masks would show.
    params = models.init(jax.random.key(0), CONFIG)
    params = jax.tree_util.tree_map_with_path(lambda path, p: p if "norm" in str(path) else 15.0 * p, params)
    return models.unroll(params)


@pytest.fixture(scope="module")
def loss(params):
    jitted = jax.jit(training.causal_lm, static_argnames=("config", "pad_loss", "remat", "chunk"))
    return lambda batch, **kw: jitted(params, CONFIG, {k: jnp.asarray(v) for k, v in batch.items()}, **kw)


def batch_of(lengths, width, pad=EOS, left=False):
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 61, n) for n in lengths]
    tokens, mask = np.full((len(rows), width), pad, np.int32), np.zeros((len(rows), width), bool)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[i, where], mask[i, where] = row, True
    return {"tokens": tokens, "mask": mask}


def dense_log_probs(params, tokens, mask):
    """log p of each token from the full softmax, in NumPy."""
    logits = np.asarray(models.forward(params, CONFIG, jnp.asarray(tokens), jnp.asarray(mask)), np.float64)
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    out = np.zeros(tokens.shape)
    for b in range(tokens.shape[0]):
        for t in range(1, tokens.shape[1]):
            out[b, t] = log_p[b, t - 1, tokens[b, t]]
    return out


def test_token_log_probs_are_the_softmax(params):
    batch = batch_of([9, 5], 9)
    ours = training.token_log_probs(params, CONFIG, jnp.asarray(batch["tokens"]), jnp.asarray(batch["mask"]))
    expected = dense_log_probs(params, **batch)
    assert ours.shape == (2, 9)
    assert ours.dtype == jnp.float32
    np.testing.assert_array_equal(ours[:, 0], 0)
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    assert np.ptp(expected[:, 1:]) > 3


def test_mean_over_real_targets(params, loss):
    batch = batch_of([9, 5], 9)
    log_probs = dense_log_probs(params, **batch)
    np.testing.assert_allclose(loss(batch), -(log_probs[0, 1:].sum() + log_probs[1, 1:5].sum()) / 12, rtol=1e-5)


@pytest.mark.parametrize("pad", [0, 7])
def test_longer_buckets_and_empty_rows_do_not_count(loss, pad):
    tight = loss(batch_of([9, 5], 9))
    np.testing.assert_allclose(loss(batch_of([9, 5], 16, pad)), tight, rtol=1e-6)
    np.testing.assert_allclose(loss(batch_of([9, 5, 0], 16, pad)), tight, rtol=1e-6)


def test_loss_mask_chooses_the_targets(params, loss):
    batch = batch_of([9, 5], 9)
    log_probs = dense_log_probs(params, **batch)
    chosen = np.zeros((2, 9), bool)
    chosen[0, :3] = chosen[1, 5] = True  # the first token is never a target; [1, 5] is the pad after the text
    expected = -(log_probs[0, 1:3].sum() + log_probs[1, 5]) / 3
    np.testing.assert_allclose(loss({**batch, "loss_mask": chosen}), expected, rtol=1e-5)


def test_left_padding_is_right_padding(params):
    right, left = batch_of([9, 5], 12), batch_of([9, 5], 12, left=True)
    values = [training.token_log_probs(params, CONFIG, *map(jnp.asarray, b.values())) for b in (right, left)]
    np.testing.assert_allclose(values[0][1, 1:5], values[1][1, 8:], atol=2e-5)


def test_no_targets_is_zero_with_zero_gradient(params):
    batch = {k: jnp.asarray(v) for k, v in batch_of([1, 0], 9).items()}
    value, grads = jax.jit(jax.value_and_grad(training.causal_lm), static_argnums=1)(params, CONFIG, batch)
    assert value == 0
    assert all(not np.asarray(g).any() for g in jax.tree.leaves(grads))


def test_reference_mean_runs_over_the_pads(loss):
    narrow, wide = (loss(batch_of([5], width), pad_loss="reference") for width in (9, 33))
    masked = loss(batch_of([5], 9))
    assert abs(narrow - masked) > 0.05
    assert abs(narrow - wide) > 0.05
    np.testing.assert_allclose(loss(batch_of([5, 0], 9), pad_loss="reference"), narrow, rtol=1e-6)
    np.testing.assert_allclose(loss(batch_of([9], 9), pad_loss="reference"), loss(batch_of([9], 9)), rtol=1e-6)


def test_remat_changes_nothing(loss):
    batch = batch_of([9, 5], 9)
    np.testing.assert_allclose(loss(batch, remat=True), loss(batch), rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 4, 12])
def test_chunks_of_logits_change_nothing(params, loss, chunk):
    batch = batch_of([9, 5], 12)
    np.testing.assert_allclose(loss(batch, chunk=chunk), loss(batch), rtol=1e-6)


def test_chunked_logits_never_exist_whole(params):
    """Neither forward nor backward: the program's temporary memory is below what all logits alone would take."""
    wide = dataclasses.replace(CONFIG, vocab_size=50_000)
    tokens = jax.ShapeDtypeStruct((4, 128), jnp.int32)
    abstract = jax.eval_shape(lambda: models.init(jax.random.key(0), wide))
    batch = {"tokens": tokens, "mask": jax.ShapeDtypeStruct((4, 128), bool)}
    grads = jax.jit(jax.grad(lambda x, batch: training.causal_lm(x, wide, batch, chunk=8)))
    used = grads.lower(abstract, batch).compile().memory_analysis().temp_size_in_bytes
    assert used < 4 * 128 * 50_000 * 4


def test_large_logits_are_chunked_unasked():
    assert loss_module._chunk((2, 64), 1000) == 64
    assert loss_module._chunk((10, 10_240), 150_000) == 32
    assert loss_module._chunk((4096, 8), 150_000) == 1


def test_options(params):
    assert training.lm_loss("reference", remat=True) == training.lm_loss("reference", remat=True)
    with pytest.raises(ValueError, match="'none' is not one of 'masked', 'reference'"):
        training.causal_lm(params, CONFIG, batch_of([5], 5), pad_loss="none")
