"""The compiled search: the same tree as the plain loop, whatever batch it runs in; refill, ends, counts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import rain_search

from seal_jax import models
from seal_jax.rain.judge import from_reward
from seal_jax.rain.search import search
from seal_jax.rain.settings import Settings

CONFIG = models.Config(
    model_type="llama",
    vocab_size=40,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_position=256,
)
SETTINGS = Settings(
    max_new_tokens=14,
    max_simulation=4,
    max_searches=14,
    min_visits=4,
    floor_searches=6,
    candidates=4,
    rollout_tries=3,
    rollout_top_k=5,
    max_children=6,
    set_lengths=(1, 2, 4),
    similarity_threshold=0.9,
    widening_coefficient=0.1,
)
EOS = 0
PROMPTS = [[1, 2, 3], [4, 5, 6, 7, 8], [9, 10], [11, 12, 13, 14], [15, 16, 17], [18]]
KEY = jax.random.key(3)


def odd(tokens, mask, key):
    """1 for texts in which the number of tokens that are 3 modulo 7 is even, else -1."""
    del key
    return jnp.where((mask & (tokens % 7 == 3)).sum(-1) % 2 == 0, 1.0, -1.0)


def mostly_bad(tokens, mask, key):
    """A graded value, below 0 for most texts."""
    del key
    total = jnp.where(mask, tokens * 7 % 11, 0).sum(-1).astype(jnp.float32)
    return jnp.sin(total) * 0.6 - 0.5


JUDGES = {"odd": from_reward(odd), "mostly_bad": from_reward(mostly_bad)}


@pytest.fixture(scope="module")
def params():
    params = models.init(jax.random.key(0), CONFIG)
    params["lm_head"]["kernel"] = params["lm_head"]["kernel"] * 60
    return params


def run(params, prompts, judge="odd", settings=SETTINGS, **options):
    return search(params, CONFIG, prompts, KEY, judge=JUDGES[judge], settings=settings, eos=[EOS], **options)


def plain(params, row, judge, settings=SETTINGS, **options):
    hidden, logits = rain_search.model_of(params, CONFIG, models.hidden_states, models.unembed)
    apply = JUDGES[judge]

    def value(text):
        tokens = jnp.asarray([text], jnp.int32)
        return float(apply(tokens, jnp.ones(tokens.shape, bool))[0])

    oracle = rain_search.Search(settings, hidden, logits, value, eos=[EOS], **options)
    return oracle.run(PROMPTS[row], jax.random.fold_in(KEY, row))


def visited(tree):
    """Of a tree's visited nodes by path: tokens, visits, true visits, value; as the oracle's snapshot."""
    found, below = {}, [((), int(tree.root), ())]
    while below:
        path, node, tokens = below.pop()
        found[path] = (tokens, float(tree.visits[node]), int(tree.true_visits[node]), float(tree.value[node]))
        for slot in range(tree.child_count[node]):
            if tree.child_node[node, slot] >= 0:
                said = tree.child_tokens[node, slot, : tree.child_length[node, slot]]
                below.append(((*path, slot), int(tree.child_node[node, slot]), tuple(said.tolist())))
    return found


@pytest.mark.parametrize("judge", JUDGES)
def test_same_trees_and_text_as_the_plain_loop(params, judge):
    result = run(params, PROMPTS[:3], judge, slots=3, trees=True)
    for row in range(3):
        oracle = plain(params, row, judge)
        ends = oracle.new[-1:] == [EOS]
        assert result.tokens[row] == oracle.new[: len(oracle.new) - ends][: SETTINGS.max_new_tokens]
        assert result.searches[row] == oracle.searches
        assert result.values[row] == pytest.approx(oracle.value, abs=1e-5)
        assert len(result.trees[row]) == len(oracle.commits)
        for ours, theirs in zip(result.trees[row], oracle.commits):
            ours = visited(ours)
            assert ours.keys() == theirs.keys()
            for path, (tokens, n, fn, q) in theirs.items():
                if path:
                    assert ours[path][0] == tokens
                assert ours[path][1:] == pytest.approx((n, fn, q), abs=1e-4)
