"""The fine-tune: N at once against one by one, what is trained, what is compiled, and what is refused."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import adapters, models, training
from seal_jax.training.finetune import _compiled

CONFIG = models.Config("llama", 61, 32, 48, 2, 4, 2, 8, 128)
N, S, B, T = 3, 10, 2, 12
RATES, STEPS = (1e-2, 3e-3, 3e-2), (10, 4, 7)


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


@pytest.fixture(scope="module")
def inits(params):
    return [adapters.lora.init(jax.random.key(i), params, rank=4, alpha=8) for i in range(N)]


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, T + 1, (N, S, B, 1))
    return {"tokens": rng.integers(1, 61, (N, S, B, T), np.int32), "mask": np.arange(T) < lengths}


@pytest.fixture(scope="module")
def many(params, inits, batches):
    hyper = training.Hyper(np.array(RATES), np.array(STEPS), clip=np.array([1.0, 0.0, 0.3]))
    return training.finetune_batch(params, CONFIG, stacked(inits), batches, hyper)


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def item(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def test_many_at_once_are_one_by_one(params, inits, batches, many):
    adapters_, metrics = many
    for i, clip in enumerate((1.0, 0.0, 0.3)):
        hyper = training.Hyper(RATES[i], STEPS[i], clip=clip)
        adapter, alone = training.finetune(params, CONFIG, inits[i], item(batches, i), hyper)
        taken = STEPS[i]
        np.testing.assert_allclose(metrics["loss"][i, :taken], alone["loss"][:taken], atol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"][i, :taken], alone["grad_norm"][:taken], rtol=1e-3)
        assert np.isnan(metrics["loss"][i, taken:]).all()
        chex.assert_trees_all_close(item(adapters_, i), adapter, atol=1e-4)
    assert np.all(metrics["loss"][0, 0] - metrics["loss"][0, -1] != 0)


def test_it_learns(params, inits, batches):
    same = jax.tree.map(lambda x: np.broadcast_to(x[0, :1], (S, B, T)), batches)
    _, metrics = training.finetune(params, CONFIG, inits[0], same, training.Hyper(3e-2, S))
    assert metrics["loss"][-1] < metrics["loss"][0] - 0.1


def test_steps_beyond_the_last_change_nothing(params, inits, batches):
    """Ten batches of which four are used give the same bits whatever the other six hold."""
    hyper = training.Hyper(1e-2, 4, weight_decay=0.1)
    other = jax.tree.map(lambda x: np.concatenate([x[0, :4], x[1, 4:]]), batches)
    first, metrics = training.finetune(params, CONFIG, inits[0], item(batches, 0), hyper)
    second, again = training.finetune(params, CONFIG, inits[0], other, hyper)
    chex.assert_trees_all_equal(first, second)
    np.testing.assert_array_equal(metrics["loss"], again["loss"])
    untouched, metrics = training.finetune(params, CONFIG, inits[0], other, hyper._replace(steps=0))
    chex.assert_trees_all_equal(untouched, inits[0])
    assert np.isnan(metrics["loss"]).all()


def test_scale_is_a_setting(params, inits, batches):
    """It comes back as it was, even under weight decay, and the optimizer holds nothing for it."""
    hyper = training.Hyper(1e-2, 4, weight_decay=0.5)
    adapter, _ = training.finetune(params, CONFIG, inits[0], item(batches, 0), hyper)
    for path, entry in adapter.items():
        np.testing.assert_array_equal(entry["scale"], inits[0][path]["scale"])
        assert np.abs(entry["a"] - inits[0][path]["a"]).max() > 1e-3
    seen = training.trainable(adapter)
    assert {frozenset(entry) for entry in seen.values()} == {frozenset({"a", "b"})}
    state = training.adamw(training.Hyper(1e-2, 4)).init(seen)
    assert sum(x.size for x in jax.tree.leaves(state)) == 1 + 2 * sum(x.size for x in jax.tree.leaves(seen))


def test_scanned_is_unrolled(params, inits, batches):
    hyper = training.Hyper(1e-2, S)
    runs = [
        training.finetune(params, CONFIG, inits[0], item(batches, 0), hyper, unrolled=unrolled)[1]["loss"]
        for unrolled in (True, False)
    ]
    np.testing.assert_allclose(*runs, atol=1e-5)


def test_bfloat16_weights_train_float32_adapters(params, inits, batches, many):
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    adapter, metrics = training.finetune(half, CONFIG, inits[0], item(batches, 0), training.Hyper(RATES[0], S))
    assert {leaf.dtype for leaf in jax.tree.leaves(adapter)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(metrics["loss"], many[1]["loss"][0], atol=0.03)


def test_a_longer_bucket_does_not_change_the_losses(params, inits, batches, many):
    longer = jax.tree.map(lambda x: np.pad(x, [(0, 0)] * 3 + [(0, 5)]), batches)
    hyper = training.Hyper(np.array(RATES), np.array(STEPS), clip=np.array([1.0, 0.0, 0.3]))
    _, metrics = training.finetune_batch(params, CONFIG, stacked(inits), longer, hyper)
    np.testing.assert_allclose(metrics["loss"], many[1]["loss"], atol=1e-5)


def test_a_step_may_be_shorter_or_empty(params, inits, batches, many):
    """Steps cut to their own lengths, with empty ones in between, are the steps of the plain run."""
    real = np.array([0, 1, 3, 4, 5, 7, 8, 9, 10, 11])  # where S=10 real steps go among 12
    spread = jax.tree.map(lambda x: np.zeros((N, 12, B, T), x.dtype), batches)
    lengths = np.full(12, 4)
    lengths[real] = batches["mask"].any((0, 2)).sum(-1)
    for name, x in batches.items():
        spread[name][:, real] = x
    hyper = training.Hyper(np.array(RATES), np.array(STEPS), clip=np.array([1.0, 0.0, 0.3]))
    adapters_, metrics = training.finetune_batch(params, CONFIG, stacked(inits), spread, hyper, lengths=lengths)
    np.testing.assert_allclose(metrics["loss"][:, real], many[1]["loss"], atol=1e-5)
    assert np.isnan(metrics["loss"][:, [2, 6]]).all()
    chex.assert_trees_all_close(adapters_, many[0], atol=1e-4)
    assert len(set(lengths)) > 1
    with pytest.raises(ValueError, match=r"lengths must be \[S\]=12 numbers from 1 to T=12, got \(12,\)"):
        training.finetune_batch(params, CONFIG, stacked(inits), spread, hyper, lengths=lengths + 9)


def test_a_loop_compiles_once(params, inits, batches):
    """New values, rates and step counts are data: the second and third call trace nothing."""
    counted = chex.assert_max_traces(n=1)(training.causal_lm)
    loss_fn = functools.partial(counted)
    before = _compiled._cache_size()
    for round_ in range(3):
        hyper = training.Hyper(np.array(RATES) / (round_ + 1), np.array(STEPS) - round_, seed=round_)
        shifted = {**batches, "tokens": (batches["tokens"] + round_) % 61}
        training.finetune_batch(params, CONFIG, stacked(inits), shifted, hyper, loss_fn=loss_fn)
    assert _compiled._cache_size() == before + 1


def test_segments_are_the_whole(params, inits, batches, many):
    hyper = training.Hyper(RATES[0], STEPS[0])
    state, losses = training.begin(inits[0], hyper), []
    for start in range(0, S, 5):
        segment = {name: x[0, start : start + 5] for name, x in batches.items()}
        state, metrics = training.advance(params, CONFIG, state, segment, hyper)
        state = jax.tree.map(np.asarray, state)  # as read from a checkpoint
        losses.append(metrics["loss"])
    adapter, whole = training.finetune(params, CONFIG, inits[0], item(batches, 0), hyper)
    np.testing.assert_allclose(np.concatenate(losses), whole["loss"], atol=1e-6)
    chex.assert_trees_all_close(state.adapter, adapter, atol=1e-6)
    assert (state.taken, state.position) == (S, S)


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_are_those_of_the_batch(params, inits, parts):
    """Rows of uneven length, and one that is all padding, count as in the whole batch."""
    rng = np.random.default_rng(3)
    lengths = np.array([12, 3, 7, 0])[None, :, None]
    same = {"tokens": rng.integers(1, 61, (6, 4, T), np.int32), "mask": np.arange(T) < np.repeat(lengths, 6, 0)}
    hyper = training.Hyper(1e-2, 6, clip=0.5)
    whole, metrics = training.finetune(params, CONFIG, inits[0], same, hyper)
    split, again = training.finetune(params, CONFIG, inits[0], same, hyper, accumulate=parts)
    np.testing.assert_allclose(again["loss"], metrics["loss"], atol=1e-5)
    np.testing.assert_allclose(again["grad_norm"], metrics["grad_norm"], rtol=1e-4)
    chex.assert_trees_all_close(split, whole, atol=1e-4)


def test_accumulation_of_a_batch_of_fine_tunes(params, inits, batches, many):
    hyper = training.Hyper(np.array(RATES), np.array(STEPS), clip=np.array([1.0, 0.0, 0.3]))
    adapters_, metrics = training.finetune_batch(params, CONFIG, stacked(inits), batches, hyper, accumulate=2)
    np.testing.assert_allclose(metrics["loss"], many[1]["loss"], atol=1e-5)
    chex.assert_trees_all_close(adapters_, many[0], atol=1e-4)
    with pytest.raises(ValueError, match=r"accumulate=3 does not divide the rows of a step, {'tokens': 2, 'mask': 2}"):
        training.finetune_batch(params, CONFIG, stacked(inits), batches, hyper, accumulate=3)


def test_memory_is_handed_on(params, inits, batches):
    """`donate` and `advance` reuse their input's memory; `begin` leaves the caller's adapter alone."""
    hyper = training.Hyper(RATES[0], STEPS[0])
    mine = jax.tree.map(jnp.copy, inits[0])
    given, _ = training.finetune(params, CONFIG, mine, item(batches, 0), hyper, donate=True)
    kept, _ = training.finetune(params, CONFIG, inits[0], item(batches, 0), hyper)
    chex.assert_trees_all_equal(given, kept)
    assert all(x.is_deleted() for x in jax.tree.leaves(training.trainable(mine)))
    first = training.begin(inits[0], hyper)
    training.advance(params, CONFIG, first, item(batches, 0), hyper)
    assert all(x.is_deleted() for x in jax.tree.leaves(training.trainable(first.adapter)))
    assert not any(x.is_deleted() for x in jax.tree.leaves(inits[0]))


def test_svf_is_an_adapter_too(params, batches):
    factors = adapters.svf.factor(params, targets=("mlp",))
    inits = [adapters.svf.init(jax.random.key(i), factors) for i in range(N)]
    hyper = training.Hyper(0.3, S)
    adapters_, metrics = training.finetune_batch(params, CONFIG, stacked(inits), batches, hyper, factors=factors)
    alone, single = training.finetune(params, CONFIG, inits[1], item(batches, 1), hyper, factors=factors)
    np.testing.assert_allclose(metrics["loss"][1], single["loss"], atol=1e-5)
    chex.assert_trees_all_close(item(adapters_, 1), alone, atol=1e-3)
    assert all(np.abs(alone[path]["raw"] - inits[1][path]["raw"]).max() > 0.1 for path in alone)


def test_all_parameters_can_be_the_adapter(params, batches):
    hyper = training.Hyper(1e-2, S)
    attach = training.full_parameters
    trained, metrics = training.finetune(params, CONFIG, params, item(batches, 0), hyper, attach_fn=attach)
    assert jax.tree.structure(trained) == jax.tree.structure(params)
    assert all(np.abs(new - old).max() > 1e-4 for new, old in zip(jax.tree.leaves(trained), jax.tree.leaves(params)))
    _, stacked_ = training.finetune(params, CONFIG, params, item(batches, 0), hyper, attach_fn=attach, unrolled=False)
    np.testing.assert_allclose(metrics["loss"], stacked_["loss"], atol=1e-5)


def test_own_optimizer_and_loss(params, inits, batches):
    """An optax transform with extra arguments, and a loss whose key follows from seed and step alone."""
    seen = []

    def update(updates, state, params=None, *, value, key):
        seen.append((value.shape, key.dtype))
        return jax.tree.map(lambda g: -0.1 * g, updates), state

    def loss_fn(params, config, batch, key):
        return training.causal_lm(params, config, batch) + jax.random.uniform(key)

    tx = optax.GradientTransformationExtraArgs(lambda params: (), update)
    run = functools.partial(training.finetune, params, CONFIG, inits[0], item(batches, 0), tx=tx)
    plain = run(training.Hyper(0.0, S))[1]["loss"]
    noisy = run(training.Hyper(0.0, S, seed=7), loss_fn=loss_fn)[1]["loss"]
    keys = [jax.random.fold_in(jax.random.key(7), t) for t in range(S)]
    np.testing.assert_allclose(noisy - plain, [jax.random.uniform(key) for key in keys], atol=1e-5)
    assert seen[0][0] == ()
    sgd = run(training.Hyper(0.0, S), tx=optax.sgd(0.1))[1]["loss"]
    np.testing.assert_allclose(sgd, plain, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": S + 1}, "hyper.steps=11 but batches hold only S=10"),
        ({"clip": np.ones(2)}, r"hyper.clip has shape \(2,\), expected \(3,\) or a number"),
    ],
)
def test_hyper_that_does_not_fit(params, inits, batches, change, message):
    hyper = training.Hyper(1e-3, S)._replace(**change)
    with pytest.raises(ValueError, match=message):
        training.finetune_batch(params, CONFIG, stacked(inits), batches, hyper)


@pytest.mark.parametrize("token", [61, -1])
def test_tokens_outside_the_vocabulary(params, inits, batches, token):
    batch = jax.tree.map(np.copy, item(batches, 0))
    batch["tokens"][3, 0, 1] = token
    hyper = training.Hyper(1e-3, S)
    for wrong in (batch, jax.tree.map(jnp.asarray, batch)):
        with pytest.raises(ValueError, match=rf'batches\["tokens"\] holds {token}; the vocabulary is 0..60'):
            training.finetune(params, CONFIG, inits[0], wrong, hyper)
        with pytest.raises(ValueError, match=rf"holds {token}"):
            training.advance(params, CONFIG, training.begin(inits[0], hyper), wrong, hyper)


def test_batches_that_do_not_fit(params, inits, batches):
    hyper = training.Hyper(1e-3, S)
    flat = {k: v[:, :, 0] for k, v in batches.items()}
    uneven = {"tokens": batches["tokens"][0], "mask": batches["mask"][0, :4]}
    with pytest.raises(ValueError, match=r"must both be \[N, S, B, T\]"):
        training.finetune_batch(params, CONFIG, stacked(inits), flat, hyper)
    with pytest.raises(ValueError, match=r"equal leading axes \[S, \.\.\.\]"):
        training.finetune(params, CONFIG, inits[0], uneven, hyper)
    with pytest.raises(ValueError, match="every adapter leaf needs the leading axis N=3"):
        training.finetune_batch(params, CONFIG, inits[0], batches, hyper)
