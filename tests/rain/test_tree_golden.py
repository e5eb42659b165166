"""The array tree replays the recorded episodes of the released search tree, all of them as one batch."""

import dataclasses

import jax
import numpy as np
import pytest
import rain_driver as driver
import rain_golden
from rain_golden import close, path_of, sets

SIZES = (14, 8)  # of the vocabulary and of an embedding, at least
PLAIN = {"k_init_one_token_level": 1, "outer_loop": False}


@pytest.fixture(scope="module")
def golden(shared_data):
    return rain_golden.load(shared_data)


def given(settings, episode, index, sizes):
    """The listed inputs of a search; an episode that is over takes no part."""
    if index >= len(episode["searches"]):
        return driver.one(settings, where=False, sizes=sizes)
    search = episode["searches"][index]
    levels = enumerate(level["checkadd"] for level in search["levels"])
    grown = search["expansion"] or {}
    return driver.one(
        settings,
        drawn={i: sets(check["drawn"]) for i, check in levels if "drawn" in check},
        logits=grown.get("logits", ()),
        sets=sets(grown.get("candidates", ())),
        terminal=search["terminal"],
        value=search["v"],
        embeddings=rain_golden.embeddings_of(search),
        sizes=sizes,
    )


def check_search(search, found, row, before):
    """The descent, what it added, and every number after the back-up; the tree as seen."""
    nodes = driver.look(found.tree, row)
    index = {node.index: name for name, node in nodes.items() if node.index >= 0}
    assert index[int(found.leaf[row])] == path_of(search["leaf"])
    assert list(found.tokens[row, : found.count[row]]) == search["leaf_tokens"]
    for i, level in enumerate(search["levels"]):
        node = nodes[path_of(level["node"])]
        values = np.asarray(found.scores[row, node.index])
        close(values[np.isfinite(values)], level["scores"])
        assert bool(found.widened[row, i]) == level["checkadd"]["adds"]
        added = level["checkadd"].get("added", [])
        check_children(nodes, level["node"], level["checkadd"]["K"], added)
    assert not found.widened[row, len(search["levels"]) :].any()
    if search["expansion"]:
        check_children(nodes, search["leaf"], 0, search["expansion"]["children"])
    changed = {path_of(name): [n, fn, q] for name, n, fn, q in search["after"]}
    for name, node in nodes.items():
        old = [before[name].n, before[name].fn, before[name].q] if name in before else [0, 0, 0]
        close([node.n, node.fn, node.q], changed.get(name, old))
    for name, embedding in search.get("mean_embeddings", {}).items():
        close(nodes[path_of(name)].embedding[: len(embedding)], embedding)
    return nodes


def check_children(nodes, name, first, wanted):
    """The children of a node from one on, as listed."""
    here = path_of(name)
    slots = range(first, nodes[here].children)
    assert [nodes[(*here, slot)].tokens for slot in slots] == [t for t, _ in sets(wanted, "prior")]
    close([nodes[(*here, slot)].prior for slot in slots], [p for _, p in sets(wanted, "prior")])


def check_verdicts(episodes, searches, grown, known):
    """The child that would be committed, and whether it is sure enough; one program for each rule of stopping."""
    verdicts = {}
    for row, (episode, search) in enumerate(zip(episodes, searches)):
        if search is not None and "most_visited" in search:
            own, wanted = stopping(episode), search["most_visited"]
            if own not in verdicts:
                verdicts[own] = driver.verdict(own, grown)
            best = known[row][(int(verdicts[own].best[row]),)]
            close([best.n, best.fn, best.q], [wanted["n"], wanted["fn"], wanted["q"]])
            if episode["config"]["outer_loop"]:
                assert bool(verdicts[own].early[row]) == wanted["stop"]


def stopping(episode):
    """An episode's settings, alike for those that stop by the same rule."""
    return dataclasses.replace(rain_golden.settings_of(episode), candidates=1)


def check_commit(committed, row, record, budget):
    nodes = driver.look(committed.tree, row)
    assert list(committed.tokens[row, : committed.length[row]]) == record["tokens"]
    assert (nodes[()].index, nodes[()].step) == (int(committed.node[row]), record["new_root"]["step"])
    count = nodes[()].children
    close([nodes[(slot,)].prior for slot in range(count)], record["new_root_priors_after"])
    for name, n, fn, q in record["nodes_after"]:
        node = nodes[path_of(name)]
        close([node.n, node.fn, node.q], [n, fn, q])
    assert budget == record["next_budget"]
    return nodes


def commit_recorded(settings, grown, episodes, index, known):
    """Commit wherever the record does before search `index`."""
    records = [dict(enumerate(rain_golden.commits_before(episode, index))) for episode in episodes]
    for turn in range(max(map(len, records))):
        where = np.array([turn in record for record in records])
        committed = driver.commit_where(settings, grown, where)
        grown = committed.tree
        for row in np.flatnonzero(where):
            budget = int(driver.verdict(stopping(episodes[row]), grown).left[row])
            known[row] = check_commit(committed, row, records[row][turn], budget)
    return grown


def replay(episodes):
    """All episodes in step; the trees."""
    settings, sizes = rain_golden.settings_of({"config": PLAIN}, **rain_golden.room(episodes)), sizes_of(episodes)
    expanding = {}
    for row, episode in enumerate(episodes):
        own = dataclasses.replace(settings, candidates=episode["config"]["k_init_one_token_level"])
        expanding.setdefault(own, np.zeros(len(episodes), bool))[row] = True
    grown = driver.fresh(settings, jax.random.split(jax.random.key(0), len(episodes)), sizes[1])
    known = [driver.look(grown, row) for row in range(len(episodes))]
    for index in range(max(len(episode["searches"]) for episode in episodes)):
        grown = commit_recorded(settings, grown, episodes, index, known)
        inputs = driver.stacked([given(settings, episode, index, sizes) for episode in episodes])
        found = driver.search(settings, grown, inputs, expanding)
        grown = found.tree
        searches = [dict(enumerate(episode["searches"])).get(index) for episode in episodes]
        for row, search in enumerate(searches):
            if search is None:
                assert same(driver.look(grown, row), known[row])
            else:
                known[row] = check_search(search, found, row, known[row])
        check_verdicts(episodes, searches, grown, known)
    assert not grown.overflow.any()
    return commit_recorded(settings, grown, episodes, index + 1, known)


def same(a, b):
    return a.keys() == b.keys() and all(a[k][:7] == b[k][:7] for k in a)


def sizes_of(episodes):
    searches = [s for e in episodes for s in e["searches"]]
    logits = [len((s["expansion"] or {}).get("logits", ())) for s in searches]
    vectors = [len(b["embedding"]) for s in searches for b in s["backup"]]
    return max(*logits, SIZES[0]), max(*vectors, SIZES[1])


def check_final(nodes, final):
    assert sum(node.fn == 0 for node in nodes.values()) == final["unvisited_nodes"]
    for name, step, children, prior, n, fn, q, embedding in final["visited_nodes"]:
        node = nodes[path_of(name)]
        assert (node.step, node.children) == (step, children)
        close([node.n, node.fn, node.q], [n, fn, q])
        if name:
            close(node.prior, prior)
            close(node.embedding[: len(embedding)], embedding)


@pytest.mark.slow
def test_array_trees_replay_every_episode(golden):
    """All in one batch, each with its own number of first candidates; those that are over stand still in it."""
    grown = replay(golden.episodes)
    for row, episode in enumerate(golden.episodes):
        check_final(driver.look(grown, row), episode["final_tree"])
