"""RAIN as a plain loop: one prompt, one text at a time, no cache, every leaf expanded when it is first visited.

Only the random keys are those of the compiled search; a draw is written out here.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from oracles import rain_tree as trees

ROLLOUT, SPARE, SIMULATION = 1 << 20, 2 << 20, 3 << 20
LENGTH = 64  # texts are padded to it, so that the model is compiled once


def fold(key, *numbers):
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key


def gumbel(key, size):
    return np.asarray(jax.random.gumbel(key, (size,), jnp.float32))


class Search:
    """A search of one prompt.

    hidden: tokens -> final states `[T, H]`; logits: a state -> `[V]`; judge: tokens -> value; texts: of the tokens.
    """

    def __init__(self, settings, hidden, logits, judge, texts, *, eos=(), stop=()):
        self.settings, self.hidden, self.logits_of, self.judge = settings, hidden, logits, judge
        self.texts, self.eos, self.stop, self.judged = texts, set(eos), stop, set()

    def run(self, prompt, key, judged_from=0):
        """What was generated, and of every commit the tree before it: `{path: node}`."""
        self.prompt, self.judged_from, self.new = list(prompt), judged_from, []
        root = trees.Node()
        root.key, root.draws = key, 0
        self.root, self.commits, self.searches = root, [], 0
        while True:
            trees.search_set(self.settings, self.root, self.widening, self.value_leaf)
            child = trees.best_child(self.root)
            self.commits.append(snapshot(self.root))
            if child is None:
                return self
            self.new += child.tokens
            self.value = child.q
            self.root = trees.commit(self.settings, self.root)
            self.root.terminal = False
            if not self.root.children:
                self.expand(self.root)
            if self.is_over(self.new) or len(self.new) >= self.settings.max_new_tokens:
                return self

    def value_leaf(self, leaf):
        self.searches += 1
        if leaf.parent is not None and leaf.fn == 0:
            slot = list(leaf.parent.children.values()).index(leaf)
            leaf.key, leaf.draws = fold(leaf.parent.key, slot), 0
            text = self.new + leaf.text()
            ends = not self.eos.isdisjoint(leaf.tokens)
            leaf.terminal = ends or self.is_over(text) or len(text) > self.settings.max_new_tokens
        said = self.simulation(leaf)
        shown = self.shown(self.new + leaf.text() + said)
        text = (*self.prompt[self.judged_from :], *(token for token in shown if token not in self.eos))
        self.judged.add(text)
        value = self.judge(text)
        leaf.verdict = text[len(self.prompt) - self.judged_from :], value
        if not leaf.terminal and not leaf.children:
            self.expand(leaf)
        trees.backup(self.settings, leaf, self.root, value, self.embeddings(leaf, said))

    def is_over(self, said):
        ended = bool(said) and self.settings.eos == "end" and said[-1] in self.eos
        return ended or self.stop_at(said) is not None

    def stop_at(self, said):
        """Where in the text the first complete stop string begins."""
        text = "".join(self.texts[token] for token in said)
        found = [(text.index(stop) + len(stop), text.index(stop)) for stop in self.stop if stop in text]
        return min(found)[1] if found else None

    def without_stop(self, said):
        """The tokens wholly before a stop string."""
        begins, count, width = self.stop_at(said), 0, 0
        while begins is not None and count < len(said) and width + len(self.texts[said[count]]) <= begins:
            width += len(self.texts[said[count]])
            count += 1
        return said if begins is None else said[:count]

    def shown(self, said):
        """What the judge sees of it: no stop string; of a simulation that may break off anywhere whole sentences."""
        if self.settings.simulation == "sentence" or self.is_over(said):
            return self.without_stop(said)
        ends = [i for i, token in enumerate(said) if self.texts[token].endswith((".", "?", "!", "\n"))]
        return said[: ends[-1] + 1] if ends else said

    def closes(self, token):
        return self.settings.simulation == "sentence" and self.texts[token].endswith((",", ".", "?", ":", ";", "\n"))

    def states(self, text):
        return self.hidden(self.prompt + self.new + text)

    def simulation(self, leaf):
        said, text = [], leaf.text()
        if leaf.terminal or self.closes((self.prompt + self.new + text)[-1]):
            return said
        key = fold(leaf.key, SIMULATION, leaf.fn)
        while len(said) < self.settings.max_simulation and len(self.new + text + said) <= self.settings.max_new_tokens:
            logits = self.logits_of(self.states(text + said)[-1])
            said.append(int(np.argmax(logits + gumbel(fold(key, len(said)), len(logits)))))
            if self.closes(said[-1]) or said[-1] in self.eos or self.is_over(self.new + text + said):
                break
        return said

    def embeddings(self, leaf, said):
        text = leaf.text() + said
        states = self.states(text)[len(self.prompt + self.new) :] if text else np.zeros((0, 1))
        found, start = [], len(leaf.text())
        for node in leaf.way():
            start -= len(node.tokens)
            mean = states[start:].mean(0)
            found.append(mean / np.linalg.norm(mean))
        return found

    def expand(self, node):
        is_root = node is self.root
        length = trees.set_length(self.settings, node.step)
        if length == 1:
            logits = self.logits_of(self.states(node.text())[-1])
            trees.expand(self.settings, node, is_root, logits=[float(x) for x in logits])
            return
        rows = [self.rollout(node, fold(node.key, ROLLOUT), row, row == 0) for row in range(self.rows)]
        trees.expand(self.settings, node, is_root, candidates=trees.distinct_rollouts(self.settings, rows[0], rows[1:]))

    @property
    def rows(self):
        return 1 + self.settings.rollout_tries

    def widening(self, node):
        greedy = self.rollout(node, node.key, 0, True)
        sample = self.rollout(node, fold(node.key, SPARE + node.draws // self.rows), node.draws % self.rows, False)
        node.draws += 1
        return trees.distinct_rollouts(self.settings, greedy, [sample])

    def rollout(self, node, key, row, greedy):
        """A set of tokens and its probability."""
        said, log_prob, text = [], 0.0, node.text()
        for step in range(trees.set_length(self.settings, node.step)):
            logits = self.logits_of(self.states(text + said)[-1]) / self.settings.temperature
            likeliest = np.argsort(-logits, kind="stable")[: self.settings.rollout_top_k]
            log_probs = logits[likeliest] - np.log(np.exp(logits[likeliest]).sum())
            noise = gumbel(fold(key, row, step), len(likeliest))
            pick = 0 if greedy else int(np.argmax(log_probs + noise))
            said.append(int(likeliest[pick]))
            log_prob += float(log_probs[pick])
            if self.is_over(self.new + text + said):
                break
        return tuple(said), math.exp(log_prob)


def snapshot(root):
    """Of each visited node its tokens, visits and value, and what it was last judged by, with that value."""
    visited = {path: node for path, node in trees.everything(root).items() if node.fn}
    return {path: (node.tokens, node.n, node.fn, node.q, *node.verdict) for path, node in visited.items()}


def model_of(params, config, forward, unembed):
    """`hidden` and `logits` for `Search`, of a model."""
    run = jax.jit(lambda tokens, mask: forward(params, config, tokens, mask)[0])
    project = jax.jit(lambda x: unembed(params, config, x))

    def hidden(tokens):
        padded = np.zeros((1, LENGTH), np.int32)
        padded[0, : len(tokens)] = tokens
        states = run(jnp.asarray(padded), jnp.asarray(np.arange(LENGTH)[None] < len(tokens)))
        return np.asarray(states)[: len(tokens)]

    return hidden, lambda state: np.asarray(project(jnp.asarray(state)))
