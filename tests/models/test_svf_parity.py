"""A model with an expert of singular values against transformers on the composed weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from seal_jax import models
from seal_jax.adapters import attach, svf

FORMS = ("factored", "residual", "materialized")
IDS = jax.random.randint(jax.random.key(3), (2, 9), 0, 64)


def error(got, wanted):
    """Relative, in the Frobenius norm."""
    return np.linalg.norm(np.asarray(got, np.float64) - wanted) / np.linalg.norm(wanted)


# MLPs are composed by the formula, in float64.
TINY = models.Config("llama", 64, 32, 80, 2, 4, 2, 8, 64)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Parameters, the factors of their MLPs, an expert, and the logits of transformers on the composed weights."""
    params = jax.tree.map(lambda p: 8 * p if p.ndim > 2 else p, models.init(jax.random.key(0), TINY))
    factors = svf.factor(params, "mlp")
    expert = svf.init(jax.random.key(1), factors, mean=0.0, std=1.5)
    mlp = {path.split("/")[2]: by_the_formula(params, path, entry["raw"]) for path, entry in expert.items()}
    mlp = {name: {"kernel": jnp.asarray(kernel, jnp.float32)} for name, kernel in mlp.items()}
    folder = tmp_path_factory.mktemp("composed")
    models.save_pretrained(folder, TINY, {**params, "layers": {**params["layers"], "mlp": mlp}})
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.tensor(np.asarray(IDS))).logits.numpy()
    return params, factors, expert, logits


def decomposed(params, path):
    """By numpy, in float64."""
    kernel = np.asarray(params["layers"]["mlp"][path.split("/")[2]]["kernel"], np.float64)
    return dict(zip(("u", "s", "vt"), np.linalg.svd(kernel, full_matrices=False)))


def by_the_formula(params, path, raw):
    """Each layer's W', in float64."""
    u, s, vt = decomposed(params, path).values()
    z = 1 / (1 + np.exp(-np.asarray(raw, np.float64)))
    return (s.sum(-1) / (s * z).sum(-1))[:, None, None] * ((u * (s * z)[:, None, :]) @ vt)


@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_that_of_transformers_with_composed_weights(tiny, form):
    """To what float32 gives for the composed weights themselves, and as near as a float32 decomposition comes."""
    params, factors, expert, wanted = tiny
    assert error(models.forward(params, TINY, IDS), wanted) > 0.1
    exact = {path: decomposed(params, path) for path in factors}
    exact = {path: {name: jnp.asarray(x, jnp.float32) for name, x in f.items()} for path, f in exact.items()}
    for found, most in ((exact, 2e-6), (factors, 5e-5)):
        assert error(models.forward(attach(params, expert, found, form=form), TINY, IDS), wanted) < most
