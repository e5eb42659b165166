"""The recorded single decisions, taken by the arrays: additions, choices, budgets and stops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rain_driver as driver
import rain_golden
from rain_golden import close, sets

from seal_jax.rain import Settings, candidates, commit, select, widen

OPTIONS = Settings(widened_priors="released", nodes=22)
STEPS = {length: step for step, length in enumerate(OPTIONS.set_lengths)}
WIDTH = 8
early_stop = jax.jit(commit.early_stop, static_argnums=0)
needs_widening = jax.jit(select.needs_widening, static_argnums=0)


@pytest.fixture(scope="module")
def vectors(shared_data):
    return rain_golden.load(shared_data).data


def family(children, step=0, is_root=True, logits=()):
    """A tree (no batch axis) of a node 0 and its children 1 to K: dicts of tokens, n, fn, q, embedding or None."""
    count, options = len(children), OPTIONS
    tree = jax.tree.map(
        lambda x: np.array(x[0]), host(driver.fresh(options, jax.random.split(jax.random.key(0), 1), WIDTH))
    )
    tree.step[0], tree.child_count[0] = step, count
    tree.root[...] = 0 if is_root else options.capacity - 1
    for slot, child in enumerate(children):
        row = child.get("tokens", [slot] * options.set_lengths[step])
        tree.child_tokens[0, slot, : len(row)], tree.child_length[0, slot] = row, len(row)
        tree.child_prior[0, slot] = 1 / count
        if child.get("visited", True):
            node = slot + 1
            tree.used[node], tree.child_node[0, slot], tree.parent[node], tree.slot[node] = True, node, 0, slot
            tree.visits[node], tree.true_visits[node] = child.get("n", 1), child.get("fn", 1)
            tree.value[node] = child.get("q", 0)
            tree.embedding[node] = child.get("embedding", 0)
    if len(logits):
        listed = candidates.from_logits(options, np.float32(logits)[None])
        tree.list_token[0], tree.list_log_prob[0] = listed.tokens[0, :, 0], listed.log_prob[0]
    return tree


def host(tree):
    """With random keys as the numbers they are made of, which numpy can hold."""
    return tree._replace(key=jax.random.key_data(tree.key))


def batch(trees):
    stack = driver.stacked(trees)
    return stack._replace(key=jax.random.wrap_key_data(stack.key))


def test_additions_are_decided_and_made_as_recorded(vectors):
    records = vectors["checkadd_vectors"]
    trees = [family(children_of(r), STEPS[r["L"]], r["is_root"], r.get("logits", ())) for r in records]
    tree, node = batch(trees), jnp.zeros(len(records), jnp.int32)
    found = needs_widening(OPTIONS, tree, node)
    assert list(found) == [r["adds"] for r in records]
    none = driver.stacked([driver.packed(OPTIONS, ())] * len(records))
    wider = jax.jit(widen.widen, static_argnums=0)(OPTIONS, tree, node, none, found)
    for row, record in enumerate(records):
        if record["L"] == 1:
            new = slice(record["K"], int(wider.child_count[row, 0]))
            wanted = sets(record["added"], "prior")
            assert [tuple(t[:1].tolist()) for t in wider.child_tokens[row, 0, new]] == [t for t, _ in wanted]
            close(wider.child_prior[row, 0, new], [p for _, p in wanted])


def children_of(record):
    rows = zip(record["child_tokens"], record["embeddings"], record["q"])
    return [
        {"tokens": tokens, "visited": embedding is not None, "embedding": embedding, "q": q}
        for tokens, embedding, q in rows
    ]


def test_the_most_visited_child_is_as_recorded(vectors):
    records = vectors["most_visited_vectors"]
    trees = batch([family([{"n": n, "q": q} for n, q in zip(r["n"], r["q"])]) for r in records])
    found = jax.jit(commit.most_visited, static_argnums=0)(OPTIONS, trees)
    assert list(found) == [r["most_visited"] for r in records]


def test_budgets_are_as_recorded(vectors):
    for record in vectors["budget_and_stop_vectors"]["budget"]:
        options = dataclasses.replace(OPTIONS, max_searches=record["maxT"])
        tree = family([])
        tree.start[...] = tree.true_visits[0] = record["i0"]
        assert int(commit.searches_left(options, batch([tree]))[0]) == record["searches_allowed"]


def test_stops_are_as_recorded(vectors):
    for record in vectors["budget_and_stop_vectors"]["stop"]:
        options = dataclasses.replace(OPTIONS, min_visits=record["minT"], value_threshold=record["Vt"])
        tree = family([{"n": 1, "q": 1.0}, {"n": record["fn"], "fn": record["fn"], "q": record["q"]}])
        assert bool(early_stop(options, batch([tree]))[0]) == record["stop"]


def test_a_value_that_rounding_put_below_zero_is_zero():
    """Means of float32 values that cancel; a mean of -0.001 is not one."""
    alike = {"embedding": 1.0}
    trees = [family([{"q": q, **alike}, {"q": -1.0, **alike}]) for q in (-1e-7, -1e-3)]
    node = jnp.zeros(2, jnp.int32)
    assert list(needs_widening(OPTIONS, batch(trees), node)) == [False, True]
