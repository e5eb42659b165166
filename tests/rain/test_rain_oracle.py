"""The Python oracle replays every recorded episode and vector of the released search tree."""

import dataclasses

import numpy as np
import pytest
import rain_golden
from oracles import rain_tree as oracle
from rain_golden import close, path_of, sets

from seal_jax.rain import Settings

RELEASED = Settings(widened_priors="released")


@pytest.fixture(scope="module")
def golden(shared_data):
    return rain_golden.load(shared_data)


def check_descent(settings, root, search):
    """Replay the way down, with what was drawn, against each level's record; the leaf."""
    node = root
    for level in search["levels"]:
        check_widening(settings, root, node, level["checkadd"])
        values = oracle.scores(settings, node)
        close(values, level["scores"])
        assert oracle.first_largest(values) == level["chosen"]
        node = node.child(level["chosen"])
    assert not node.children
    assert node.text() == search["leaf_tokens"]
    return node


def check_widening(settings, root, node, wanted):
    assert len(node.children) == wanted["K"]
    assert oracle.needs_widening(settings, node) == wanted["adds"]
    close(max(c.q for c in node.children.values()), wanted["max_child_q"])
    if wanted["var_norm"] is not None:
        close(oracle.variance_norm([c.embedding for c in node.children.values()]), wanted["var_norm"], 1e-5)
    if wanted["adds"]:
        drawn = sets(wanted["drawn"]) if "drawn" in wanted else None
        if drawn:
            close([p for _, p in node.listed], [p for _, p in sets(wanted["stored_list_before"])])
        new = oracle.widen(settings, node, node is root, drawn)
        assert [t for t, _ in new] == [t for t, _ in sets(wanted["added"], "prior")]
        close([p for _, p in new], [p for _, p in sets(wanted["added"], "prior")])


def check_expansion(settings, root, leaf, wanted):
    assert (leaf is root) == wanted["root_mixing"]
    assert oracle.set_length(settings, leaf.step) == wanted["L"]
    candidates = sets(wanted["candidates"]) if "candidates" in wanted else None
    oracle.expand(settings, leaf, leaf is root, wanted.get("logits"), candidates)
    children = sets(wanted["children"], "prior")
    assert list(leaf.children) == [tokens for tokens, _ in children]
    close([c.prior for c in leaf.children.values()], [p for _, p in children])


def check_backup(settings, root, leaf, search, exhaustive):
    cosines = oracle.backup(settings, leaf, root, search["v"], rain_golden.embeddings_of(search))
    for found, record in zip(cosines, search["backup"], strict=True):
        mine = [row for row in found if exhaustive or row[2] > 0]
        assert [row[0] for row in mine] == [row[0] for row in record["siblings"]]
        if mine:
            close([row[1:] for row in mine], [row[1:] for row in record["siblings"]])


def check_statistics(root, rows):
    nodes = oracle.everything(root)
    for name, n, fn, q in rows:
        node = nodes[path_of(name)]
        close([node.n, node.fn, node.q], [n, fn, q])


def check_best(settings, root, wanted, outer_loop):
    """Of children that differ by the rounding of q alone we take the first, and the recorded code takes any."""
    best = oracle.best_child(root)
    close([best.n, best.fn, best.q], [wanted["n"], wanted["fn"], wanted["q"]])
    if outer_loop:
        assert oracle.is_sure(settings, best.fn, best.q) == wanted["stop"]


def check_commit(settings, root, record):
    children = list(root.children.values())
    close([[c.n, c.q, c.fn] for c in children], np.transpose([record[f"child_{name}"] for name in ("n", "q", "fn")]))
    child = children[record["committed_child"]]
    close([c.prior for c in child.children.values()], record["new_root_priors_before"])
    assert oracle.commit(settings, root) is child
    assert list(child.tokens) == record["tokens"]
    close([c.prior for c in child.children.values()], record["new_root_priors_after"])
    assert oracle.budget(settings, child.fn) == record["next_budget"]
    check_statistics(child, record["nodes_after"])
    return child


def replay(episode):
    settings = rain_golden.settings_of(episode)
    root = oracle.Node()
    for index, search in enumerate(episode["searches"]):
        for record in rain_golden.commits_before(episode, index):
            root = check_commit(settings, root, record)
        leaf = check_descent(settings, root, search)
        if search["expansion"]:
            check_expansion(settings, root, leaf, search["expansion"])
        check_backup(settings, root, leaf, search, exhaustive=not episode["config"]["outer_loop"])
        check_statistics(root, search["after"])
        if "most_visited" in search:
            check_best(settings, root, search["most_visited"], episode["config"]["outer_loop"])
    for record in rain_golden.commits_before(episode, len(episode["searches"])):
        root = check_commit(settings, root, record)
    return root


def test_the_oracle_replays_every_episode(golden):
    for episode in golden.episodes:
        root = replay(episode)
        final = episode["final_tree"]
        nodes = oracle.everything(root)
        assert sum(node.fn == 0 for node in nodes.values()) == final["unvisited_nodes"]
        for name, step, children, prior, n, fn, q, embedding in final["visited_nodes"]:
            node = nodes[path_of(name)]
            assert (node.step, len(node.children)) == (step, children)
            close([node.n, node.fn, node.q], [n, fn, q])
            if name:
                close(node.prior, prior)
                close(node.embedding, embedding)


def test_greedy_candidates_are_clamped_as_recorded(golden):
    for vector in golden.data["clamp_vectors"]:
        *rollouts, greedy = [
            (tuple(t for t, _ in steps), float(np.prod([p for _, p in steps])))
            for steps in (*vector["rollouts_in_draw_order"], vector["greedy_steps"])
        ]
        found = oracle.distinct_rollouts(RELEASED, greedy, rollouts)
        wanted = sets(vector["candidates"], "prob_after_clamp")
        assert [t for t, _ in found] == [t for t, _ in wanted]
        close([p for _, p in found], [p for _, p in wanted])
        close([p for _, p in oracle.set_children(RELEASED, found, False)], vector["priors"])


def test_additions_are_tested_as_recorded(golden):
    for vector in golden.data["checkadd_vectors"]:
        found = oracle.alike_and_bad(RELEASED, vector["embeddings"], vector["q"], vector["L"])
        assert found == vector["adds"], vector["note"]
        if vector["var_norm"] is not None:
            close(oracle.variance_norm(vector["embeddings"]), vector["var_norm"], 1e-5)
        if vector["adds"] and vector["L"] == 1:
            node = oracle.Node()
            node.logits = vector["logits"]
            node.children = {tuple(t): oracle.Node(t, node) for t in vector["child_tokens"]}
            new = oracle.widen(RELEASED, node, vector["is_root"], None)
            wanted = sets(vector["added"], "prior")
            assert [t for t, _ in new] == [t for t, _ in wanted]
            close([p for _, p in new], [p for _, p in wanted])


def test_choices_budgets_and_votes_are_as_recorded(golden):
    for vector in golden.data["most_visited_vectors"]:
        assert oracle.most_visited(vector["n"], vector["q"]) == vector["most_visited"]
    for vector in golden.data["budget_and_stop_vectors"]["budget"]:
        settings = dataclasses.replace(RELEASED, max_searches=vector["maxT"])
        assert oracle.budget(settings, vector["i0"]) == vector["searches_allowed"]
    for vector in golden.data["budget_and_stop_vectors"]["stop"]:
        settings = dataclasses.replace(RELEASED, min_visits=vector["minT"], value_threshold=vector["Vt"])
        assert oracle.is_sure(settings, vector["fn"], vector["q"]) == vector["stop"]
    for vector in golden.data["judge_vectors"]:
        probabilities = [vector[name] for name in ("order1_pA", "order1_pB", "order2_pA", "order2_pB")]
        assert oracle.vote(*probabilities) == vector["v"]
