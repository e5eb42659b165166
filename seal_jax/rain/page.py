"""The explored trees of one prompt as one HTML page to unfold, which needs nothing but itself."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from seal_jax.rain.commit import most_visited_of
from seal_jax.rain.page_style import FOOT, HEAD, LEGEND
from seal_jax.rain.tree import NONE, Tree

CONTEXT = 16  # tokens before a set, by which a tokenizer decides on the spaces in it


class Explored(NamedTuple):
    """One tree and what was said before it.

    said: tokens since the prompt; committed: the slot of the root's child that was committed, -1 for none; shown: bool
    `[N]`, the nodes that are not left out.
    """

    tree: Tree
    said: list[int]
    committed: int
    shown: np.ndarray


def page(trees: Sequence[Tree], tokenizer: Any, *, prompt: str = "", nodes: int = 3000) -> str:
    """An HTML page of the trees before each commit, as `Result.trees` has them for a prompt.

    Each commit unfolds to its root's sets and each set to those below: its text, visits (true ones, and with what
    similar siblings added), mean value, prior; what was committed is marked, and sets that were never visited stand
    in a line of their own. Unfolded, a set begins with the text that the judge was shown of it after the prompt, cut as
    it was, and with the value of that text. The page has no links and loads nothing, and text in it is escaped.

    nodes: about how many visited nodes are shown at the most. Of larger trees those with fewest visits are left out,
    and the page says how many.
    """
    explored = list(_explored(trees, nodes))
    visited = sum(int(one.tree.used.sum()) - 1 for one in explored)
    left = visited - sum(int(one.shown.sum()) - 1 for one in explored)
    text = _decode(tokenizer, [], explored[-1].said + _committed_tokens(explored[-1])) if explored else ""
    said = [_commit(number, one, tokenizer) for number, one in enumerate(explored, 1)]
    facts = f"{_number(len(explored), 'commit')}, {_number(visited, 'visited set')}"
    facts += f"; {left} of them, those with fewest visits, are left out of this page" if left else ""
    texts = f"<dl><dt>Prompt<dd class=text>{_text(prompt)}<dt>Committed<dd class=text>{_text(text)}</dl>"
    return f"{HEAD}{texts}<p>{facts}. {LEGEND}</p>{''.join(said)}{FOOT}"


def _explored(trees: Sequence[Tree], nodes: int) -> Iterator[Explored]:
    least = _least_visits(trees, nodes)
    said: list[int] = []
    for tree in trees:
        # What is below a node has no more visits than it, so that whatever is shown hangs on what is shown.
        shown = np.asarray(tree.used & (tree.true_visits >= least))
        shown[tree.root] = True
        slot = int(most_visited_of(tree))
        one = Explored(tree, said, slot if tree.child_node[tree.root, slot] != NONE else NONE, shown)
        yield one
        said = said + _committed_tokens(one)


def _least_visits(trees: Sequence[Tree], nodes: int) -> int:
    """The fewest visits with which nodes are shown, so that they are not more than `nodes`, the roots not counted."""
    visits = np.concatenate([np.zeros(0, int), *(np.sort(t.true_visits[t.used])[:-1] for t in trees)])
    most = np.sort(visits)[::-1]
    return 0 if len(most) <= nodes else int(most[nodes]) + 1


def _committed_tokens(one: Explored) -> list[int]:
    return _tokens(one.tree, int(one.tree.root), one.committed) if one.committed >= 0 else []


def _tokens(tree: Tree, node: int, slot: int) -> list[int]:
    """The tokens of a node's child."""
    return tree.child_tokens[node, slot, : tree.child_length[node, slot]].tolist()


def _commit(number: int, one: Explored, tokenizer: Any) -> str:
    tree, root = one.tree, int(one.tree.root)
    said = _piece(tokenizer, one.said, _committed_tokens(one))
    what = f"committed <q>{_text(said)}</q>" if one.committed >= 0 else "nothing was committed"
    searches = int(tree.true_visits[root] - tree.start)
    new = _number(searches, "search", "es") + (f" after {_number(int(tree.start), 'visit')} kept" if tree.start else "")
    body = _judged(tree, root, tokenizer) + _children(one, root, one.said, one.committed, tokenizer)
    return f"<details class=commit open><summary>{number}. {what} <small>{new}</small></summary>{body}</details>"


def _children(one: Explored, node: int, before: list[int], committed: int, tokenizer: Any) -> str:
    """The list of a node's visited children, most visits first, and the line of the others."""
    tree, count = one.tree, int(one.tree.child_count[node])
    below = tree.child_node[node, :count]
    visited = [slot for slot in range(count) if below[slot] != NONE and one.shown[below[slot]]]
    visited.sort(key=lambda slot: (-tree.visits[below[slot]], slot))
    items = [_child(one, node, slot, before, slot == committed, tokenizer) for slot in visited]
    left = int((below != NONE).sum()) - len(visited)
    items += [f"<li class=rest>{left} with fewer visits are left out"] if left else []
    items += [_unvisited(tree, node, np.flatnonzero(below == NONE), before, tokenizer)] if (below == NONE).any() else []
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _child(one: Explored, node: int, slot: int, before: list[int], committed: bool, tokenizer: Any) -> str:
    tree, tokens = one.tree, _tokens(one.tree, node, slot)
    child = int(tree.child_node[node, slot])
    said, more = int(tree.true_visits[child]), float(tree.visits[child])
    visits = _number(said, "visit") + (f" ({more:.2f} with similar ones)" if more - said > 0.005 else "")
    value, prior = float(tree.value[child]), float(tree.child_prior[node, slot])
    marks = "<b>committed</b> " if committed else ""
    marks += "<i>the text ends here</i> " if tree.terminal[child] else ""
    line = (
        f"<q>{_text(_piece(tokenizer, before, tokens))}</q> {marks}"
        f"<small>{visits}, {_value('value', value)}, prior {prior:.3f}</small>"
    )
    name = " class=committed" if committed else ""
    body = _judged(tree, child, tokenizer) + _children(one, child, before + tokens, NONE, tokenizer)
    if not body:
        return f"<li{name}><div class=leaf>{line}</div>"
    return f"<li{name}><details{' open' if committed else ''}><summary>{line}</summary>{body}</details>"


def _judged(tree: Tree, node: int, tokenizer: Any) -> str:
    """The text after the prompt that a node was judged by; nothing where texts were not kept or nothing is said yet."""
    tokens = tree.shown[node] if len(tree.shown) else tree.shown
    tokens = tokens[tokens != NONE]
    if not tokens.size:
        return ""
    said = _text(_piece(tokenizer, (), tokens.tolist()))
    return f"<div class=judged><q>{said}</q> <small>{_value('judged', float(tree.verdict[node]))}</small></div>"


def _value(name: str, value: float) -> str:
    """A value from -1 to 1 in the colour of its sign."""
    kind = "good" if value > 0 else "bad" if value < 0 else "even"
    return f"<span class={kind}>{name} {value:+.2f}</span>"


def _unvisited(tree: Tree, node: int, slots: np.ndarray, before: list[int], tokenizer: Any) -> str:
    slots = slots[np.argsort(-tree.child_prior[node, slots], kind="stable")]
    texts = (
        f"<q>{_text(_piece(tokenizer, before, _tokens(tree, node, int(slot))))}</q> "
        f"<small>{tree.child_prior[node, slot]:.3f}</small>"
        for slot in slots
    )
    return f"<li class=rest>never visited, with their priors: {', '.join(texts)}"


def _piece(tokenizer: Any, before: Sequence[int], tokens: Sequence[int]) -> str:
    """The text that tokens add to what is before them, with the names of special ones."""
    start, whole = (_decode(tokenizer, before[-CONTEXT:], more) for more in ((), tokens))
    return whole[len(start) :] if whole.startswith(start) else _decode(tokenizer, (), tokens)


def _decode(tokenizer: Any, before: Sequence[int], tokens: Sequence[int]) -> str:
    return tokenizer.decode([*before, *tokens], skip_special_tokens=False)


def _number(count: int, name: str, plural: str = "s") -> str:
    return f"{count} {name}{plural if count != 1 else ''}"


def _text(text: str) -> str:
    """Text to show: escaped, with line ends and other control characters in sight."""
    seen = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    return html.escape(seen).replace("\n", "<span class=end>&#8629;</span>\n")
