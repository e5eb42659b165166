"""RAIN's search tree, one object per node and one search at a time, in double precision.

`settings` is whatever has the fields of `seal_jax.rain.Settings` that are read here.
"""

import math

import numpy as np

TIE = 1e-6  # what differs by less, relative to the larger or to 1, counts as equal
ZERO_VALUE = 5e-7


class Node:
    """A token set and what is known of the text that ends with it."""

    def __init__(self, tokens=(), parent=None, prior=0.0):
        self.tokens, self.parent, self.prior = tuple(tokens), parent, prior
        self.step = parent.step + 1 if parent else 0
        self.children = {}  # by their tokens, in the order in which they came
        self.n, self.fn, self.q = 0.0, 0, 0.0
        self.embedding = None
        self.logits = None  # of all tokens, where the children are single tokens
        self.listed = None  # else the sets drawn so far and their probabilities, latest first
        self.terminal = False

    def child(self, index):
        return list(self.children.values())[index]

    def way(self):
        """From the node up to the root's child."""
        node, nodes = self, []
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes

    def text(self):
        """All tokens since the root."""
        return [token for node in reversed(self.way()) for token in node.tokens]


def everything(root):
    """Every node below and with the root, by its path of child indices."""
    found = {(): root}
    for index, child in enumerate(root.children.values()):
        found |= {(index, *path): node for path, node in everything(child).items()}
    return found


def size(root):
    """Nodes that have been visited, the root among them."""
    return sum(node.fn > 0 or node is root for node in everything(root).values())


def set_length(settings, step):
    return settings.set_lengths[min(step, len(settings.set_lengths) - 1)]


def tolerance(best):
    return TIE * max(1.0, abs(best))


def first_largest(values):
    best = max(values)
    return next(i for i, value in enumerate(values) if value >= best - tolerance(best))


def normalised(weights):
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def mixed(settings, priors):
    share = settings.root_mix
    return normalised([(1 - share) * p + share / len(priors) for p in priors]) if priors else []


def softmax(logits):
    return normalised([math.exp(logit - max(logits)) for logit in logits])


def likeliest_tokens(settings, logits, count):
    """Tokens as likely as the count-th likeliest or more, by number; of more than fit, those of smaller number."""
    order = sorted(range(len(logits)), key=lambda t: (-logits[t], t))[: settings.max_children]
    last = logits[order[min(count, len(order)) - 1]]
    return sorted(t for t in order if logits[t] >= last)


def token_children(settings, logits, count, is_root):
    tokens = likeliest_tokens(settings, logits, count)
    priors = softmax([logits[t] for t in tokens])
    return [((t,), p) for t, p in zip(tokens, mixed(settings, priors) if is_root else priors)]


def set_children(settings, entries, is_root):
    priors = normalised([prob for _, prob in entries])
    return [(tokens, p) for (tokens, _), p in zip(entries, mixed(settings, priors) if is_root else priors)]


def distinct_rollouts(settings, greedy, sampled):
    """Candidates `[(tokens, prob)]` of one greedy and some sampled rollouts, each (tokens, prob)."""
    others = []
    for tokens, prob in sampled:
        if tokens != greedy[0] and tokens not in [o[0] for o in others] and len(others) < settings.candidates - 1:
            others.append((tokens, prob))
    if not others:
        return [greedy]
    probs = [prob for _, prob in others]
    prob = max(min(greedy[1], math.fsum(probs)), max(probs) + min(probs))
    return [(greedy[0], prob), *others]


def scores(settings, node):
    values = []
    below = math.fsum(child.n for child in node.children.values())
    for child in node.children.values():
        if settings.score == "paper":
            worth, total = child.q, below
        else:
            worth, total = (child.q + 1) / (2 + 1e-5) if child.n else 0.0, node.n
        values.append(worth + settings.c_puct * child.prior * math.sqrt(total) / (1 + child.n))
    return values


def variance_norm(embeddings):
    """Norm of the unbiased variance; NaN for one."""
    if len(embeddings) < 2:
        return math.nan
    return float(np.linalg.norm(np.var(np.array(embeddings, np.float64), axis=0, ddof=1)))


def alike_and_bad(settings, embeddings, values, length):
    """The test for one more child, of the children's embeddings (None without visits) and values."""
    if not settings.widening or len(values) >= settings.max_children or any(e is None for e in embeddings):
        return False
    return variance_norm(embeddings) < settings.widening_coefficient * length and max(values) < -ZERO_VALUE


def needs_widening(settings, node):
    children = node.children.values()
    embeddings, values = [c.embedding for c in children], [c.q for c in children]
    return alike_and_bad(settings, embeddings, values, set_length(settings, node.step))


def widen(settings, node, is_root, drawn):
    """Add what follows in the node's logits, or what is new of the drawn [(tokens, prob)]; what was added."""
    count = len(node.children) + 1
    if node.logits is not None:
        entries = token_children(settings, node.logits, count, is_root)
    else:
        node.listed = [*drawn, *node.listed]
        entries = set_children(settings, node.listed[:count], is_root)
    room = settings.max_children - len(node.children)
    new = []
    for tokens, prior in entries:
        if tokens not in node.children and len(new) < room:
            node.children[tokens] = Node(tokens, node, prior)
            new.append((tokens, prior))
    if new and settings.widened_priors == "renormalised":
        priors = normalised([child.prior for child in node.children.values()])
        for child, prior in zip(node.children.values(), priors):
            child.prior = prior
    return new


def expand(settings, node, is_root, logits=None, candidates=None):
    """Children from the logits of all tokens, or from candidate sets [(tokens, prob)]."""
    if logits is not None:
        node.logits = logits
        entries = token_children(settings, logits, settings.candidates, is_root)
    else:
        node.listed = list(candidates)
        entries = set_children(settings, candidates, is_root)
    node.children = {tokens: Node(tokens, node, prior) for tokens, prior in entries}


def descend(settings, root, draw):
    """The leaf that is searched next; draw(node) -> [(tokens, prob)] is asked where longer sets are widened."""
    node = root
    while node.children:
        if needs_widening(settings, node):
            widen(settings, node, node is root, draw(node) if node.logits is None else None)
        node = node.child(first_largest(scores(settings, node)))
    return node


def cosine(a, b):
    return float(np.dot(a, b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-8))


def backup(settings, leaf, root, value, embeddings):
    """Count a visit; embeddings: one for each node of `leaf.way()`. The cosines with siblings, by level."""
    cosines = []
    for node, new in zip(leaf.way(), embeddings):
        node.n, node.fn = node.n + 1, node.fn + 1
        new = np.asarray(new, np.float64)
        node.embedding = new if node.fn == 1 else node.embedding + (new - node.embedding) / node.fn
        cosines.append(visit_similar(settings, node, value))
    root.n, root.fn = root.n + 1, root.fn + 1
    for node in [*leaf.way(), root]:
        node.q += (value - node.q) / node.n
    return cosines


def visit_similar(settings, node, value):
    found = []
    for index, sibling in enumerate(node.parent.children.values()):
        if sibling is node or sibling.embedding is None:
            continue
        likeness = cosine(node.embedding, sibling.embedding)
        weight = settings.similarity_weight * likeness if likeness >= settings.similarity_threshold else 0.0
        if settings.similarity and weight:
            sibling.q = (sibling.q * sibling.n + weight * value) / (sibling.n + weight)
            sibling.n += weight
        found.append((index, likeness, weight))
    return found


def most_visited(visits, values):
    best = max(visits)
    allowed = [n >= best - tolerance(best) for n in visits]
    return first_largest([q if ok else -math.inf for q, ok in zip(values, allowed)])


def best_child(root):
    """The child that would be committed, None without any."""
    children = list(root.children.values())
    return children[most_visited([c.n for c in children], [c.q for c in children])] if children else None


def is_sure(settings, fn, q):
    return fn > settings.min_visits and q > settings.value_threshold + TIE


def budget(settings, visits_before):
    return max(settings.max_searches, visits_before + settings.floor_searches) - visits_before


def search_set(settings, root, widening, value_leaf):
    """Search until a set is to be committed. widening: what `descend` draws with; value_leaf: called with each leaf."""
    for _ in range(budget(settings, root.fn)):
        value_leaf(descend(settings, root, widening))
        best = best_child(root)
        if best is not None and is_sure(settings, best.fn, best.q):
            return


def commit(settings, root):
    """The new root: the most visited child with all below it."""
    child = best_child(root)
    for grandchild, prior in zip(child.children.values(), mixed(settings, [c.prior for c in child.children.values()])):
        grandchild.prior = prior
    child.parent = None
    return child


def vote(first_a, first_b, second_a, second_b):
    """A judge's value from the probabilities of both answers in both orders of the options."""
    return (first_a > first_b) + (second_b > second_a) - 1.0
