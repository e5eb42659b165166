"""The array tree equals the Python oracle on random episodes, search by search."""

import functools

import jax
import numpy as np
import pytest
import rain_driver as driver
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import rain_tree as oracle
from rain_golden import close

from seal_jax.rain import Settings, tree_bytes
from seal_jax.rain.tree import full

SMALL = {"max_children": 5, "candidates": 3, "set_lengths": (1, 2, 4), "max_new_tokens": 12, "min_visits": 2}
VARIANTS = {
    "ours": Settings(**SMALL, nodes=12, max_searches=12, floor_searches=4),
    "paper": Settings(
        **SMALL, nodes=9, score="paper", widened_priors="released", similarity=False, max_depth=2, max_searches=5
    ),
}
SIZES = (8, 4)  # of the vocabulary and of an embedding
ROWS = 3


class Episode:
    """One prompt's random inputs and its tree as the oracle builds it."""

    def __init__(self, options, seed, bad, noise):
        self.options, self.rng = options, np.random.default_rng(seed)
        self.bad, self.noise = bad, noise
        self.root = oracle.Node()

    def value(self):
        return -1.0 if self.rng.random() < self.bad else float(self.rng.choice([-1, 0, 1, 0.5]))

    def set_of(self, length):
        return tuple(int(t) for t in self.rng.integers(0, 3, length))

    def candidates(self, length):
        """One to three different sets of a length; the last tokens may be missing, as after an end token."""
        count = self.rng.integers(1, self.options.candidates + 1)
        sets = {self.set_of(max(1, length - int(self.rng.integers(0, 2)))) for _ in range(count)}
        return [(tokens, float(p)) for tokens, p in zip(sorted(sets), self.rng.uniform(0.01, 1, len(sets)))]

    def draw(self, node):
        """The node's first set, or a new one, and another."""
        length, probs = oracle.set_length(self.options, node.step), self.rng.uniform(0.01, 1, 2)
        first = next(iter(node.children)) if self.rng.random() < 0.5 else self.set_of(length)
        second = self.set_of(length)
        pair = [(first, float(probs[0])), (second, float(probs[1]))]
        return pair if first != second else pair[:1]

    def logits(self):
        """Of two to eight tokens, some of them equal."""
        return [float(x) for x in np.round(self.rng.normal(size=self.rng.integers(2, SIZES[0] + 1)) * 2) / 2]

    def search(self):
        """One search of the oracle; the inputs for the arrays, the leaf, and the levels that were widened."""
        drawn, widened = {}, []

        def draw(node):
            drawn[len(node.way())] = pair = self.draw(node)
            return pair

        leaf = self.descend(draw, widened)
        terminal = bool(self.rng.random() < 0.15)
        single = oracle.set_length(self.options, leaf.step) == 1
        sets = self.candidates(oracle.set_length(self.options, leaf.step))
        logits, value = self.logits(), self.value()
        embeddings = np.ones(SIZES[1]) + self.noise * self.rng.normal(size=(len(leaf.way()), SIZES[1]))
        leaf.terminal = terminal
        if not terminal and not leaf.children and len(leaf.way()) < self.options.depth:
            chosen = {"logits": logits} if single else {"candidates": sets}
            oracle.expand(self.options, leaf, leaf is self.root, **chosen)
        embeddings = embeddings.astype(np.float32)
        oracle.backup(self.options, leaf, self.root, value, embeddings)
        inputs = driver.one(self.options, True, drawn, logits, sets, terminal, value, embeddings, SIZES)
        return inputs, leaf, widened

    def descend(self, draw, widened):
        node = self.root
        while node.children:
            if oracle.needs_widening(self.options, node):
                widened.append(len(node.way()))
                oracle.widen(self.options, node, node is self.root, draw(node) if node.logits is None else None)
            node = node.child(oracle.first_largest(oracle.scores(self.options, node)))
        return node

    def budget_left(self, start):
        return max(oracle.budget(self.options, start) + start - self.root.fn, 0)

    def sure(self):
        best = oracle.best_child(self.root)
        return best is not None and best.fn > 0 and oracle.is_sure(self.options, best.fn, best.q)


def check_tree(root, grown, row):
    """Every number of every node."""
    wanted, nodes = oracle.everything(root), driver.look(grown, row)
    assert wanted.keys() == nodes.keys()
    for name, node in nodes.items():
        want = wanted[name]
        assert (node.step, node.fn, node.children) == (want.step, want.fn, len(want.children))
        assert not name or node.tokens == want.tokens
        close([node.n, node.q], [want.n, want.q], 1e-5)
        close([node.prior, node.terminal], [want.prior if name else 0, want.terminal], 1e-5)
        if name and want.fn:
            close(node.embedding, want.embedding, 1e-5)


def run(options, episodes, skipped, searches=30):
    """Search all episodes in one batch, each compared with its oracle; the trees."""
    keys = jax.random.split(jax.random.key(0), len(episodes))
    grown, starts, overflow = driver.fresh(options, keys, SIZES[1]), [0] * len(episodes), [False] * len(episodes)
    for _ in range(searches):
        away = skipped.random(len(episodes)) < 0.2
        rows = [
            (driver.one(options, False, sizes=SIZES), None, []) if gone else e.search()
            for e, gone in zip(episodes, away)
        ]
        found = driver.search(options, grown, driver.stacked([row[0] for row in rows]))
        for row, (_, leaf, widened) in enumerate(rows):
            if leaf is not None:
                assert list(found.tokens[row, : found.count[row]]) == leaf.text()
                assert list(np.flatnonzero(found.widened[row])) == widened
        grown = found.tree
        stop = check_verdicts(options, episodes, starts, grown, overflow)
        committed = driver.commit_where(options, grown, stop)
        grown = committed.tree
        for row in np.flatnonzero(stop):
            episode = episodes[row]
            episode.root = oracle.commit(options, episode.root)
            starts[row] = episode.root.fn
            assert tuple(committed.tokens[row, : committed.length[row]]) == episode.root.tokens
        for row, episode in enumerate(episodes):
            check_tree(episode.root, grown, row)
        assert not committed.length[~stop].any()
        assert list(grown.overflow) == overflow
    return grown


def check_verdicts(options, episodes, starts, grown, overflow):
    """Compare when to stop, and say which trees can: a root that ends the text has no child to commit."""
    known = driver.verdict(options, grown)
    stop = np.zeros(len(episodes), bool)
    for row, episode in enumerate(episodes):
        best, left = oracle.best_child(episode.root), episode.budget_left(starts[row])
        assert known.best[row] == (list(episode.root.children.values()).index(best) if best else -1)
        assert known.left[row] == left
        assert bool(known.early[row]) == episode.sure()
        crowded = oracle.size(episode.root) == options.capacity
        assert bool(known.stop[row]) == (episode.sure() or left == 0 or crowded)
        stop[row] = known.stop[row] and best is not None and best.fn > 0
        overflow[row] |= bool(stop[row]) and crowded and left > 0 and not episode.sure()
    return stop


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_random_episodes_equal_the_oracle(variant):
    options, grew, overflowed = VARIANTS[variant], 0, 0

    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(
        seed=st.integers(0, 2**32 - 1),
        bad=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
        noise=st.sampled_from([0.01, 0.1, 0.3, 1.0]),
    )
    def check(seed, bad, noise):
        nonlocal grew, overflowed
        episodes = [Episode(options, (seed, row), bad, noise) for row in range(ROWS)]
        grown = run(options, episodes, np.random.default_rng(seed))
        grew += int((grown.child_count == options.max_children).sum())
        overflowed += int(grown.overflow.sum())

    check()
    assert grew, "no node was ever widened to the limit"
    assert overflowed, "no tree was ever full"


def test_a_tree_takes_as_many_bytes_as_it_says():
    options, keys = VARIANTS["ours"], jax.random.split(jax.random.key(0), 2)
    for kept in (False, True):
        grown = jax.eval_shape(functools.partial(driver.tree.init, options, width=6, keep_shown=kept), keys=keys)
        count = sum(field.size * field.dtype.itemsize for field in jax.tree.leaves(grown))
        assert count == 2 * tree_bytes(options, 6, keep_shown=kept)


@pytest.fixture(scope="module")
def chain():
    """A tree that always goes down its first child, searched without a commit until it is full."""
    options = VARIANTS["ours"]
    grown = driver.fresh(options, jax.random.split(jax.random.key(7), ROWS), SIZES[1])
    given_ = driver.one(options, logits=[1.0, 0.0], sets=[((1, 1), 0.5), ((2, 1), 0.25)], sizes=SIZES)
    for _ in range(options.capacity):
        grown = driver.search(options, grown, driver.stacked([given_] * ROWS)).tree
    return options, grown


def test_a_full_tree_is_never_written_over(chain):
    """Another search without a commit is reported, and nodes stay as they are but for the visit of a parent."""
    options, before = chain
    assert full(options, before).all()
    assert not before.overflow.any()
    given_ = driver.one(options, logits=[1.0, 0.0], sets=[((1, 1), 0.5), ((2, 1), 0.25)], sizes=SIZES)
    while not before.overflow.any():
        after = driver.search(options, before, driver.stacked([given_] * ROWS)).tree
        for name in ("used", "parent", "slot", "step", "child_node", "child_tokens"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        before = after


def test_keys_depend_on_the_prompts_key_and_the_path_alone(chain):
    _, grown = chain
    keys = jax.random.split(jax.random.key(7), ROWS)
    for row in range(ROWS):
        for name, node in driver.look(grown, row).items():
            key = keys[row]
            for slot in name:
                key = jax.random.fold_in(key, slot)
            if node.index >= 0:
                found = jax.random.key_data(grown.key[row, node.index])
                np.testing.assert_array_equal(found, jax.random.key_data(key))
