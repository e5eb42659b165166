"""The picture of a tree: its texts, visits and places."""

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from spelling import Spelling

from seal_jax.rain import tree as trees
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree_plot import draw_tree

TOKENIZER = Spelling([" a", " good", " bad", " day"])
# parent, slot, true visits, value, tokens: of nodes 0, 1, ...
NODES = [
    (-1, -1, 9, 0.0, []),
    (0, 1, 5, 0.6, [0, 1]),
    (0, 0, 3, -1.0, [2]),
    (1, 0, 4, 1.0, [3]),
    (1, 1, 1, -1.0, [2, 3]),
]


@pytest.fixture(scope="module")
def tree():
    settings = Settings(max_children=3, candidates=2, nodes=6, set_lengths=(2,))
    empty = trees.init(settings, jax.random.split(jax.random.key(0), 1), 2)
    made = trees.Tree(*(np.array(x[0]) for x in empty._replace(key=np.zeros((1, 1)))))
    for node, (parent, slot, visits, value, tokens) in enumerate(NODES):
        made.used[node], made.parent[node], made.slot[node] = True, parent, slot
        made.visits[node], made.true_visits[node], made.value[node] = visits, visits, value
        if parent >= 0:
            made.child_node[parent, slot] = node
            made.child_count[parent] += 1
            made.child_tokens[parent, slot, : len(tokens)] = tokens
            made.child_length[parent, slot] = len(tokens)
    return made


def drawn(tree, least=1):
    figure, axes = plt.subplots()
    draw_tree(axes, tree, TOKENIZER, least)
    plt.close(figure)
    return {text.get_text(): text for text in axes.texts}


def test_every_visited_set_has_its_text_and_visits(tree):
    assert set(drawn(tree)) == {"root  9", "a good  5", "bad  3", "day  4", "bad day  1"}


def test_sets_with_few_visits_can_be_left_out(tree):
    assert set(drawn(tree, least=4)) == {"root  9", "a good  5", "day  4"}


def test_places_and_colours(tree):
    texts = drawn(tree)
    place = {name: text.get_position() for name, text in texts.items()}
    assert [place[name][0] for name in ("root  9", "a good  5", "bad  3", "day  4")] == [0, 1, 1, 2]
    assert len({place[name][1] for name in ("day  4", "bad day  1", "bad  3")}) == 3
    red, green, _, _ = texts["bad  3"].get_bbox_patch().get_facecolor()
    assert red > green
    red, green, _, _ = texts["day  4"].get_bbox_patch().get_facecolor()
    assert green > red


def test_what_was_committed_has_a_frame(tree):
    framed = [name for name, text in drawn(tree).items() if text.get_bbox_patch().get_edgecolor()[3]]
    assert framed == ["a good  5"]
