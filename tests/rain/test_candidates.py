"""Candidate sets against the oracle and the recorded vectors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rain_driver as driver
import rain_golden
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import rain_tree as oracle
from rain_golden import close, sets

from seal_jax.rain import Settings, candidates, expand

OPTIONS = Settings(max_children=5, candidates=4, rollout_tries=6, set_lengths=(3,))
from_rollouts = jax.jit(candidates.from_rollouts, static_argnums=0)
from_sample = jax.jit(candidates.from_sample, static_argnums=0)
priors = jax.jit(expand.priors, static_argnums=0)
add_children = jax.jit(expand.expand, static_argnums=0)
FALSE = np.bool_(False)


def unpacked(found, row=0):
    """[(tokens, log_prob)] of one row."""
    there = np.isfinite(found.log_prob[row])
    assert not np.any(there[1:] & ~there[:-1]), "those that are there come first"
    rows = zip(found.tokens[row][there], found.length[row][there], found.log_prob[row][there])
    return [(tuple(int(t) for t in tokens[:length]), float(p)) for tokens, length, p in rows]


def draw_rollouts(options, rollouts):
    """The arrays' candidates of [(tokens, prob)], the greedy one first."""
    size = options.longest
    tokens = np.array([(*row, *[7] * (size - len(row))) for row, _ in rollouts], np.int32)  # 7: not to be looked at
    length = np.array([len(row) for row, _ in rollouts], np.int32)
    log_prob = np.log(np.array([p for _, p in rollouts], np.float64)).astype(np.float32)
    return unpacked(from_rollouts(options, tokens[None], length[None], log_prob[None]))


ROLLOUT = st.tuples(
    st.lists(st.integers(0, 1), min_size=1, max_size=3).map(tuple), st.floats(1e-6, 1.0, allow_subnormal=False)
)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(rollouts=st.lists(ROLLOUT, min_size=7, max_size=7))
def test_rollouts_are_made_distinct_and_the_greedy_one_is_clamped(rollouts):
    found = draw_rollouts(OPTIONS, rollouts)
    wanted = oracle.distinct_rollouts(OPTIONS, rollouts[0], rollouts[1:])
    assert [t for t, _ in found] == [t for t, _ in wanted]
    close(np.exp([p for _, p in found]), [p for _, p in wanted], 1e-5)


def test_sets_of_vanishing_probability_keep_their_priors():
    """1e-60 is no float32; its logarithm is."""
    log_prob = np.float32([[-140.0, -138.0, -139.0]])
    tokens = np.int32([[[0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    found = from_rollouts(OPTIONS, tokens, np.full((1, 3), 3, np.int32), log_prob)
    prior = priors(OPTIONS, found.log_prob[0], np.isfinite(found.log_prob[0]), FALSE)
    others = np.exp([0.0, -1.0])
    close(prior[:3], np.array([others.sum(), *others]) / (2 * others.sum()), 1e-5)


def test_the_recorded_rollouts_give_the_recorded_priors(shared_data):
    options = Settings(set_lengths=(2,))
    for vector in rain_golden.load(shared_data).data["clamp_vectors"]:
        greedy, *others = [
            (tuple(t for t, _ in steps), float(np.prod([p for _, p in steps])))
            for steps in (vector["greedy_steps"], *vector["rollouts_in_draw_order"])
        ]
        found = draw_rollouts(options, [greedy, *others])
        wanted = sets(vector["candidates"], "prob_after_clamp")
        assert [t for t, _ in found] == [t for t, _ in wanted]
        close(np.exp([p for _, p in found]), [p for _, p in wanted])
        listed = driver.packed(options, [(tokens, np.exp(p)) for tokens, p in found]).log_prob
        prior = priors(options, listed, np.isfinite(listed), FALSE)
        close(prior[: len(found)], vector["priors"])


@pytest.fixture(scope="module")
def grown():
    """Two roots whose children are two sets of three tokens."""
    options = Settings(max_children=5, candidates=4, set_lengths=(3,), nodes=8)
    tree = driver.fresh(options, jax.random.split(jax.random.key(0), 2), 1)
    entries = driver.packed(options, [((1, 2, 3), 0.6), ((1, 2, 4), 0.1)])
    leaf, false = jnp.zeros(2, jnp.int32), jnp.zeros(2, bool)
    return options, add_children(options, tree, leaf, driver.stacked([entries] * 2), false, ~false)


def test_one_sample_is_what_widening_draws(grown):
    """As the oracle does with a greedy rollout beside the sample, whatever the greedy one's probability."""
    options, tree = grown
    tokens = np.int32([[9, 1, 7], [1, 2, 3]])
    length, log_prob = np.int32([2, 3]), np.log(np.float32([0.3, 0.6]))
    found = from_sample(options, tree, jnp.zeros(2, jnp.int32), tokens, length, log_prob)
    for row, sample in enumerate([((9, 1), 0.3), ((1, 2, 3), 0.6)]):
        wanted = oracle.distinct_rollouts(options, ((1, 2, 3), 0.6), [sample])
        got = unpacked(found, row)
        assert [t for t, _ in got] == [t for t, _ in wanted]
        close(np.exp([p for _, p in got]), [p for _, p in wanted])


@functools.partial(jax.jit, static_argnums=0)
def expanded(options, logits):
    tree = driver.tree.init(options, jax.random.split(jax.random.key(0), len(logits)), 1)
    leaf, false = jnp.zeros(len(logits), jnp.int32), jnp.zeros(len(logits), bool)
    return expand.expand(options, tree, leaf, candidates.from_logits(options, logits), false, ~false)


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(logits=st.lists(st.sampled_from([-3.0, -0.0, 0.0, 0.5, 0.5, 2.0, 7.0]), min_size=1, max_size=9))
def test_single_tokens_become_children_in_the_order_of_the_vocabulary(logits):
    """With all that are as likely as the last one, as far as there is room; a vocabulary may be smaller."""
    options = Settings(max_children=5, candidates=3, set_lengths=(1,), nodes=4)
    found = driver.look(expanded(options, driver.padded(logits, (9,), -np.inf)[None]), 0)
    wanted = oracle.token_children(options, logits, options.candidates, True)
    children = [found[(slot,)] for slot in range(found[()].children)]
    assert [child.tokens for child in children] == [tokens for tokens, _ in wanted]
    close([child.prior for child in children], [p for _, p in wanted], 1e-5)
