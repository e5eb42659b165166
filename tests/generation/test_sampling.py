"""The filters against a slow oracle and transformers, and the distribution of what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from oracles import sampling as oracle

from seal_jax.generation import Sampling, filter_logits
from seal_jax.generation.sampling import Rule, choose, knobs_of, rule_of

LOGITS = 3 * np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
FILTERS = [(None, 0.9), (7, 1.0), (7, 0.5), (1, 1.0), (None, 1e-6), (40, 0.999)]


@pytest.mark.parametrize("logits", [LOGITS, LOGITS - 50, LOGITS / 100], ids=["plain", "negative", "flat"])
@pytest.mark.parametrize(("top_k", "top_p"), FILTERS)
def test_filters_keep_what_the_oracle_and_transformers_keep(logits, top_k, top_p):
    ours = np.asarray(filter_logits(jnp.asarray(logits), top_k, top_p if top_p < 1 else None))
    assert [set(np.flatnonzero(row > -np.inf)) for row in ours] == [oracle.kept(row, top_k, top_p) for row in logits]

    theirs = torch.tensor(logits)
    if top_k:
        theirs = transformers.TopKLogitsWarper(top_k)(None, theirs)
    theirs = transformers.TopPLogitsWarper(top_p)(None, theirs) if top_p < 1 else theirs
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_ties_with_the_last_token_kept_are_kept():
    logits = jnp.array([[2.0, 1.0, 1.0, 0.0]])
    assert np.isfinite(filter_logits(logits, top_k=2)[0]).tolist() == [True, True, True, False]
    assert np.isfinite(filter_logits(logits, top_p=0.6)[0]).tolist() == [True, True, True, False]


@pytest.mark.parametrize("min_p", [0.02, 0.4, 1.0])
def test_min_p_keeps_what_transformers_keeps(min_p):
    ours = filter_logits(jnp.asarray(LOGITS), top_k=20, top_p=0.9, min_p=min_p)
    theirs = transformers.TopPLogitsWarper(0.9)(None, transformers.TopKLogitsWarper(20)(None, torch.tensor(LOGITS)))
    np.testing.assert_array_equal(ours, transformers.MinPLogitsWarper(min_p)(None, theirs).numpy())


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, None, 1.0), (0.6, None, 0.8), (1.5, 9, 0.9)])
def test_draws_follow_the_filtered_distribution(temperature, top_k, top_p):
    draws = 20_000
    row = LOGITS[0]
    expected = draws * oracle.distribution(row, temperature, top_k, top_p)
    sampling = Sampling(temperature, top_k, top_p)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), jnp.arange(draws))
    logits = jnp.broadcast_to(jnp.asarray(row), (draws, len(row)))
    rule = rule_of(sampling, len(row))
    tokens = jax.jit(choose, static_argnums=0)(rule, logits, keys, knobs_of(sampling))
    counts = np.bincount(tokens, minlength=len(row))
    assert counts[expected == 0].sum() == 0
    seen = expected > 0
    statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
    freedom = seen.sum() - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_filters_that_change_nothing_are_not_compiled():
    assert rule_of(Sampling(0.0, 5, 0.5), 40) == Rule(True, None, False)
    assert rule_of(Sampling(1.0, 40, 1.0), 40) == Rule(False, None, False)
    assert rule_of(Sampling(1.0, 39, 0.9), 40) == Rule(False, 39, True)
    assert rule_of(Sampling(1.0, min_p=0.1), 40) == Rule(False, None, False, floor=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": 1e-40}, r"temperature=1e-40: expected 0 \(greedy\) or a positive number from 1e-30"),
        ({"temperature": 1e39}, r"temperature=1e\+39"),
        ({"temperature": "1"}, "temperature='1'"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_k": 2.5}, "top_k=2.5"),
        ({"top_p": 0.0}, r"top_p=0.0.*above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"min_p": -0.1}, "min_p=-0.1.*from 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)
