"""Importances against the sums they stand for, row by row, and against a model whose Fisher is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, continual, models, training

KEY = jax.random.key(0)
ROWS, INPUTS, CLASSES = 12, 3, 4
RNG = np.random.default_rng(0)
WEIGHTS = {"w": RNG.normal(size=(INPUTS, CLASSES)).astype(np.float32)}
DATA = {
    "x": RNG.normal(size=(ROWS, INPUTS)).astype(np.float32),
    "labels": RNG.integers(0, CLASSES, ROWS).astype(np.int32),
}


def linear(params, batch):
    return batch["x"] @ params["w"]


def split(data, size):
    return [{k: v[i : i + size] for k, v in data.items()} for i in range(0, len(data["x"]), size)]


def probabilities():
    logits = DATA["x"].astype(np.float64) @ WEIGHTS["w"]
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def score_of_labels():
    """d log p(label | x) / d w of every row: `[ROWS, INPUTS, CLASSES]`."""
    return DATA["x"][:, :, None] * (np.eye(CLASSES)[DATA["labels"]] - probabilities())[:, None, :]


@pytest.mark.parametrize("estimator", ["gnb", "sampled"])
def test_drawn_labels_give_the_fisher_in_closed_form(estimator):
    p = probabilities()
    exact = np.einsum("nd,nv->dv", np.square(DATA["x"]), p * (1 - p)) / ROWS
    few, many = (
        continual.logits_fisher(linear, WEIGHTS, split(DATA, 4), KEY, estimator, draws=n)["w"] for n in (60, 3840)
    )
    error = np.abs(many - exact).max() / exact.mean()
    assert error < 0.12
    assert np.abs(few - exact).max() / exact.mean() > error  # it is an average of draws


def test_labels_of_the_data_row_by_row_and_as_batches():
    scores = score_of_labels()
    empirical = continual.logits_fisher(linear, WEIGHTS, split(DATA, 4), KEY, "empirical")["w"]
    np.testing.assert_allclose(empirical, np.square(scores).mean(0), rtol=1e-5)
    batched = continual.logits_fisher(linear, WEIGHTS, split(DATA, 4), KEY, "batch_squared")["w"]
    expected = np.mean([np.square(scores[i : i + 4].mean(0)) for i in range(0, ROWS, 4)], axis=0)
    np.testing.assert_allclose(batched, expected, rtol=1e-5)
    assert batched.mean() < empirical.mean()


def test_draws_do_not_depend_on_how_rows_are_batched():
    stacked = {k: v.reshape(3, 4, *v.shape[1:]) for k, v in DATA.items()}
    found = [continual.logits_fisher(linear, WEIGHTS, b, KEY, "sampled")["w"] for b in (split(DATA, 4), stacked)]
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(
        found[0], continual.logits_fisher(linear, WEIGHTS, split(DATA, 6), KEY, "sampled")["w"], rtol=1e-6
    )
    other = continual.logits_fisher(linear, WEIGHTS, stacked, jax.random.key(1), "sampled")["w"]
    assert not np.allclose(found[0], other)


def test_masked_labels_count_for_nothing_and_streams_are_vmapped():
    """Two streams at once, one with its last batch masked out: the mean is over what is left."""
    stacked = {k: v.reshape(3, 4, *v.shape[1:]) for k, v in DATA.items()}
    masks = np.ones((2, 3, 4), bool)
    masks[1, 2] = False
    batches = {k: np.stack([v, v]) for k, v in stacked.items()} | {"mask": masks}
    found = jax.vmap(lambda b: continual.logits_fisher(linear, WEIGHTS, b, KEY, "empirical"))(batches)["w"]
    squares = np.square(score_of_labels())
    np.testing.assert_allclose(found, [squares.mean(0), squares[:8].mean(0)], rtol=1e-5)


def test_sensitivity_has_the_size_of_each_rows_gradient_or_of_the_batchs():
    gradients = 2 * np.einsum("nd,nv->ndv", DATA["x"], DATA["x"] @ WEIGHTS["w"])
    rows = continual.output_sensitivity(linear, WEIGHTS, split(DATA, 4))["w"]
    np.testing.assert_allclose(rows, np.abs(gradients).mean(0), rtol=1e-5)
    batches = continual.output_sensitivity(linear, WEIGHTS, split(DATA, 4), per="batch")["w"]
    expected = np.mean([np.abs(gradients[i : i + 4].mean(0)) for i in range(0, ROWS, 4)], axis=0)
    np.testing.assert_allclose(batches, expected, rtol=1e-5)


CONFIG = models.Config("llama", 16, 8, 12, 2, 2, 1, 4, 64)


@pytest.fixture(scope="module")
def model():
    params = models.init(jax.random.key(1), CONFIG)
    adapter = adapters.lora.init(jax.random.key(2), params, rank=2, targets=("q_proj",))
    adapter = jax.tree.map(lambda x: x + 0.1, adapter)
    tokens = jax.random.randint(KEY, (2, 2, 6), 0, CONFIG.vocab_size)
    mask = jnp.ones(tokens.shape, bool).at[:, 1, 4:].set(False)
    batches = {"tokens": tokens, "mask": mask, "loss_mask": mask.at[..., :3].set(False)}
    return params, adapter, batches


def rows_of(batches):
    return [{k: v[s, i : i + 1] for k, v in batches.items()} for s in range(2) for i in range(2)]


def test_fisher_of_an_adapter_is_the_mean_of_squared_rows_per_target(model):
    params, adapter, batches = model

    @jax.jit
    def summed(trained, row):
        full = jax.tree.map(lambda x: x, adapter)
        for path, leaves in trained.items():
            full[path] = full[path] | leaves
        loss = training.causal_lm(adapters.attach(params, full), CONFIG, row)
        return loss * row["loss_mask"].sum(dtype=jnp.float32)

    squares = [jax.tree.map(jnp.square, jax.grad(summed)(training.trainable(adapter), row)) for row in rows_of(batches)]
    targets = float(batches["loss_mask"].sum())
    expected = jax.tree.map(lambda *x: sum(x) / targets, *squares)
    found = continual.fisher(params, CONFIG, batches, KEY, "empirical", adapter)
    assert jax.tree.structure(found) == jax.tree.structure(training.trainable(adapter))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-9), found, expected)


def test_drawn_tokens_of_a_language_model(model):
    """One backward pass a batch estimates what one a row does; chunks of columns change nothing."""
    params, adapter, batches = model
    draws = 1500
    gnb, sampled, chunked = (
        continual.fisher(params, CONFIG, batches, KEY, name, adapter, draws=draws, chunk=chunk)
        for name, chunk in (("gnb", None), ("sampled", None), ("gnb", 2))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-8), gnb, chunked)
    for one, other in zip(jax.tree.leaves(gnb), jax.tree.leaves(sampled), strict=True):
        assert float(jnp.abs(one - other).max()) < 0.2 * float(other.max())
        assert float(jnp.abs(one.mean() / other.mean() - 1)) < 0.1


def test_importances_of_all_weights_have_their_structure(model):
    params, _, batches = model
    found = continual.fisher(params, CONFIG, batches, KEY)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, params)
    assert all(x.dtype == jnp.float32 and (x >= 0).all() for x in jax.tree.leaves(found))


@pytest.mark.parametrize("output", ["hidden", "logits"])
def test_sensitivity_of_an_adapter_at_the_last_token_of_the_prompt(model, output):
    params, adapter, batches = model

    @jax.jit
    def norm(trained, row):
        full = {path: adapter[path] | leaves for path, leaves in trained.items()}
        attached = adapters.attach(params, full)
        read = models.forward if output == "logits" else models.hidden_states
        return jnp.square(read(attached, CONFIG, row["tokens"], row["mask"])[0, 2]).sum()

    sizes = [jax.tree.map(jnp.abs, jax.grad(norm)(training.trainable(adapter), row)) for row in rows_of(batches)]
    expected = jax.tree.map(lambda *x: sum(x) / len(x), *sizes)
    found = continual.sensitivity(params, CONFIG, batches, output, adapter=adapter)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-7), found, expected)


def test_what_cannot_be_estimated_says_so(model):
    params, adapter, batches = model
    masked = batches | {"loss_mask": jnp.zeros_like(batches["mask"])}
    with pytest.raises(ValueError, match="no targets"):
        continual.fisher(params, CONFIG, masked, KEY, "empirical", adapter)
    with pytest.raises(ValueError, match="no targets"):
        continual.logits_fisher(linear, WEIGHTS, [], KEY)
    with pytest.raises(ValueError, match="estimator='hessian' is not one of 'gnb'"):
        continual.fisher(params, CONFIG, batches, KEY, "hessian")
    with pytest.raises(ValueError, match="draws=2 with estimator='empirical'"):
        continual.fisher(params, CONFIG, batches, KEY, "empirical", draws=2)
    with pytest.raises(ValueError, match="draws=0"):
        continual.fisher(params, CONFIG, batches, KEY, draws=0)
    with pytest.raises(ValueError, match="per='token' is not one of 'example', 'batch'"):
        continual.output_sensitivity(linear, WEIGHTS, split(DATA, 4), per="token")
    with pytest.raises(ValueError, match="output='mean' is not one of"):
        continual.sensitivity(params, CONFIG, batches, "mean")
