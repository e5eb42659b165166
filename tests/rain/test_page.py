"""The page of explored trees: what it says, that nothing in it is markup, its size, and unfolding it in a browser."""

import re
from typing import Any, NamedTuple

import browser
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spelling import Spelling

from seal_jax.rain import tree as trees
from seal_jax.rain.page import page
from seal_jax.rain.settings import Settings

WORDS = ["</s>", "<script>", "alert('x')", "</script>", " & more", "\nline", " good", " bad", "\x07bell", "é"]


class Named(Spelling):
    """Special tokens have names."""

    def decode(self, tokens, skip_special_tokens=False, **options):
        return super().decode(tokens) if skip_special_tokens else "".join(self.texts[t] for t in tokens)


TOKENIZER = Named(WORDS, special={0})


class Node(NamedTuple):
    """A visited node, and the children under it; `similar`: what similar siblings added to its visits."""

    tokens: list
    visits: int
    value: float
    prior: float = 0.5
    similar: float = 0.0
    terminal: bool = False
    children: tuple = ()
    unvisited: tuple = ()


def tree_of(root, start=0, judged=False):
    """One tree as the search hands it over; judged: with texts that the judge was shown, the set and "é" each."""
    settings = Settings(max_children=6, candidates=4, nodes=2 * count(root) + 2, set_lengths=(3,))
    empty = trees.init(settings, jax.random.split(jax.random.key(0), 1), 2, keep_shown=judged)
    arrays: list[Any] = [np.array(x[0]) for x in empty._replace(key=jnp.zeros((1, 1)), start=jnp.array([start]))]
    made = trees.Tree(*arrays)
    free = iter(range(count(root)))

    def put(node, parent, slot):
        at = next(free)
        made.used[at], made.parent[at], made.slot[at] = True, parent, slot
        made.visits[at], made.true_visits[at] = node.visits + node.similar, node.visits
        made.value[at], made.terminal[at] = node.value, node.terminal
        if judged:
            made.shown[at, : len(node.tokens) + 1], made.verdict[at] = [*node.tokens, 9], node.value / 2
        below = [*node.children, *(Node(tokens, 0, 0.0, prior) for tokens, prior in node.unvisited)]
        made.child_count[at] = len(below)
        for number, child in enumerate(below):
            made.child_tokens[at, number, : len(child.tokens)] = child.tokens
            made.child_length[at, number], made.child_prior[at, number] = len(child.tokens), child.prior
            if child.visits:
                made.child_node[at, number] = put(child, at, number)
        return at

    put(root, -1, -1)
    return made


def count(node):
    return 1 + sum(map(count, node.children))


GOOD = Node([6], 5, 0.8, 0.75, 0.4, children=(Node([4, 0], 3, 1.0, terminal=True),), unvisited=(([5], 0.25),))
BAD = Node([1, 2, 3], 4, -1.0, 0.2)
FIRST = Node([], 10, 0.1, children=(BAD, GOOD), unvisited=(([8], 0.04), ([7], 0.05)))
SECOND = Node([], 5, 0.8, children=GOOD.children)


@pytest.fixture(scope="module")
def small():
    return page([tree_of(FIRST), tree_of(SECOND, start=3)], TOKENIZER, prompt="<b>Prompt</b> & \x07")


def test_every_set_is_there_with_its_numbers(small):
    [first, second] = re.findall(r"<details class=commit open>.*?(?=<details class=commit|<script>)", small, re.DOTALL)
    assert "1. committed <q> good</q> <small>10 searches</small>" in first
    assert "2. committed <q> &amp; more&lt;/s&gt;</q> <small>2 searches after 3 visits kept</small>" in second
    assert "<q> good</q> <b>committed</b> <small>5 visits (5.40 with similar ones), " in first
    assert "<span class=good>value +0.80</span>, prior 0.750</small>" in first
    assert "<i>the text ends here</i> <small>3 visits, <span class=good>value +1.00</span>, prior 0.500" in first
    assert "4 visits, <span class=bad>value -1.00</span>, prior 0.200" in first
    never = "never visited, with their priors: <q> bad</q> <small>0.050</small>, <q>\ufffdbell</q> <small>0.040</small>"
    assert never in first
    assert first.index(" good") < first.index("alert"), "most visits first"
    assert "2 commits, 4 visited sets. Before each" in small
    assert "<dt>Committed<dd class=text> good &amp; more&lt;/s&gt;</dl>" in small


def test_what_the_judge_was_shown_unfolds():
    shown = page([tree_of(FIRST, judged=True), tree_of(SECOND, judged=True)], TOKENIZER)
    root = "<summary>1. committed <q> good</q> <small>10 searches</small></summary><div class=judged><q>é</q> <small>"
    assert f"{root}<span class=good>judged +0.05</span></small></div><ul>" in shown
    leaf = "value -1.00</span>, prior 0.200</small></summary><div class=judged><q>&lt;script&gt;alert(&#x27;x&#x27;)"
    assert f"{leaf}&lt;/script&gt;é</q> <small><span class=bad>judged -0.50</span></small></div></details>" in shown
    assert shown.count("class=judged") == 6
    assert "class=judged" not in page([tree_of(FIRST)], TOKENIZER)
    unsaid = tree_of(FIRST, judged=True)
    unsaid.shown[unsaid.root] = trees.NONE
    assert page([unsaid], TOKENIZER).count("class=judged") == count(FIRST) - 1, (
        "the root is judged before anything is said"
    )


def test_text_is_never_markup_and_nothing_is_loaded(small):
    assert "<script>alert" not in small
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in small
    assert "&lt;b&gt;Prompt&lt;/b&gt; &amp; \ufffd" in small
    assert not re.search(r"https?:|src=|href=|@import|url\(", small)
    assert small.count("<script>") == 1


def test_line_ends_are_seen():
    only = Node([], 2, 0.0, children=(Node([5, 9], 1, 0.0),))
    assert "<q><span class=end>&#8629;</span>\nlineé</q>" in page([tree_of(only)], TOKENIZER)


def test_large_trees_are_cut_where_visits_are_fewest():
    children = tuple(
        Node([6], 40 * n, 0.5, children=tuple(Node([7], 5 * n + m, 0.5) for m in range(1, 5))) for n in range(1, 6)
    )
    tree = tree_of(Node([], 700, 0.5, children=children))
    whole, cut = (page([tree] * 20, TOKENIZER, nodes=nodes) for nodes in (500, 100))
    assert "20 commits, 500 visited sets. " in whole
    assert "400 of them, those with fewest visits, are left out of this page" in cut
    assert len(re.findall(r"value \+0.50", cut)) == 100
    assert cut.count("4 with fewer visits are left out") == 20 * 5
    assert len(cut) < len(whole) / 2
    # Equal visits are shown or left out together; the pages of however many commits have a bound.
    assert len(re.findall(r"value \+0.50", page([tree] * 20, TOKENIZER, nodes=99))) == 80


def test_no_tree_and_nothing_committed():
    assert "0 commits, 0 visited sets" in page([], TOKENIZER, prompt="p")
    assert "1. nothing was committed" in page([tree_of(Node([], 1, 0.0, unvisited=(([6], 1.0),)))], TOKENIZER)


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    if reason := browser.missing():
        pytest.skip(reason)
    path = tmp_path_factory.mktemp("page") / "page.html"
    judged = page([tree_of(FIRST, judged=True), tree_of(SECOND, judged=True)], TOKENIZER)
    path.write_text(judged, encoding="utf-8")
    with browser.browser() as made:
        made.open(path.as_uri())
        yield made


def test_sets_unfold_in_a_browser_by_mouse_and_by_keyboard(window):
    """Every step but the last is what a person does: clicks, and keys where the focus is."""
    ends = lambda: [window.shown(found) for found in window.find("li li i")]  # noqa: E731, "the text ends here"
    judged = lambda: [window.shown(found) for found in window.find("li .judged")]  # noqa: E731
    chosen = window.find("li.committed > details > summary")[0]
    assert ends() == [True], "what was committed is unfolded from the start"
    assert sum(judged()) == 2, "with what it was judged by, in both commits"
    window.click(chosen)
    assert ends() == [False]
    assert sum(judged()) == 1
    window.press(browser.ENTER)  # a summary that was clicked has the focus
    assert ends() == [True]
    window.press(browser.SPACE)
    assert ends() == [False]
    [unfold, fold] = window.find("button")
    window.click(unfold)
    assert ends() == [True]
    assert all(judged())
    window.click(fold)
    assert not any(window.shown(found) for found in window.find("li"))
    window.press(browser.TAB)  # from the button to the first commit
    window.press(browser.ENTER)
    assert window.shown(window.find("li")[0])
    assert window.run("return performance.getEntriesByType('resource').length") == 0
    assert window.run("return document.querySelectorAll('q script, dd b, dd script').length") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_can_be_read_in_light_and_in_dark(window, dark):
    """All text has a contrast of at least 4.5 to what is behind it."""
    with browser.browser(dark) as made:
        made.open(window.run("return location.href"))
        assert made.run("return matchMedia('(prefers-color-scheme: dark)').matches") == dark
        assert made.run(CONTRAST) >= 4.5


CONTRAST = """
document.querySelectorAll("details").forEach(d => d.open = true);
const parts = color => color.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
  .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = element => {
  const color = parts(getComputedStyle(element).backgroundColor);
  return color[3] === 0 ? behind(element.parentElement) : color;
};
const ratio = element => {
  const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
return Math.min(...[...document.querySelectorAll("h1, dt, dd, p, q, small, summary, span, b, i, li")].map(ratio));
"""
