"""RAIN as one would write it: a plain loop in PyTorch over a tree of objects, one prompt, a cache for the text so far.

The tree is the one that the tests compare with. What is cheap to get right is done: the text so far is not read again,
nor the judge's prompt; rollouts of a node are one batch, and so are both orders of the judge's options; no text is
judged twice. A leaf gets its children when it is first visited, and its way is read anew, as released.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import pathlib
import zlib
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from benchmarks._rain_recipe import EOS, SHARES, Bytes, Work
from seal_jax.rain.endings import SENTENCE
from seal_jax.rain.judges.pieces import tokenise


def _plain_tree() -> Any:
    path = pathlib.Path(__file__).parents[1] / "tests" / "oracles" / "rain_tree.py"
    spec: Any = importlib.util.spec_from_file_location("rain_tree", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


trees = _plain_tree()
ENDS = frozenset(map(ord, SENTENCE))


class Found(NamedTuple):
    """tokens: what was generated; passes: sequential ones; processed: tokens in them; judged: texts."""

    tokens: list[int]
    searches: int
    passes: int
    processed: int
    judged: int


class Search:
    """Searches with a model of transformers on a work's prompts."""

    def __init__(self, model: Any, work: Work, policy: str) -> None:
        self.model, self.settings, self.turn = model, work.recipe.settings, work.recipe.turn
        self.share = SHARES[policy]
        pieces = tokenise(work.template, work.recipe.config, Bytes())
        self.questions = [[*pieces.common, *branch] for branch in pieces.branches]
        self.answers = torch.tensor(pieces.answers[..., 0], dtype=torch.long)
        self.passes = self.processed = 0
        with torch.inference_mode():
            _, self.prefix = self.read([pieces.prefix.tolist()], transformers.DynamicCache(config=model.config))

    def read(self, rows: Any, cache: Any) -> tuple[torch.Tensor, Any]:
        """One pass over int `[R, T]` after what is in the cache: final states `[R, T, H]` and the cache after it."""
        tokens = torch.as_tensor(rows, dtype=torch.long)
        cache = forked(cache, len(tokens))
        self.passes, self.processed = self.passes + 1, self.processed + tokens.numel()
        return self.model.model(tokens, past_key_values=cache, use_cache=True).last_hidden_state, cache

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Of states `[..., H]`, as double precision `[..., V]`."""
        return self.model.lm_head(states).double()

    @torch.inference_mode()
    def run(self, prompt: list[int], seed: int) -> Found:
        """Continue one prompt."""
        self.dice, self.values = torch.Generator().manual_seed(seed), {}
        self.passes = self.processed = self.searches = 0
        self.prompt, self.new, self.root = prompt, [], trees.Node()
        states, self.cache = self.read([prompt], transformers.DynamicCache(config=self.model.config))
        self.last = states[0, -1:]
        while True:
            trees.search_set(self.settings, self.root, self.widening, self.value_leaf)
            child = trees.best_child(self.root)
            if child is None:
                break
            self.new += child.tokens
            states, self.cache = self.read([list(child.tokens)], self.cache)
            self.last = states[0, -1:]
            self.root = trees.commit(self.settings, self.root)
            if len(self.new) >= self.settings.max_new_tokens or self.root.terminal:
                break
            if not self.root.children:
                self.expand(self.root, *self.way(self.root))
        tokens = self.new[: self.settings.max_new_tokens]
        return Found(tokens, self.searches, self.passes, self.processed, len(self.values))

    def way(self, node: Any) -> tuple[torch.Tensor, Any]:
        """States of the tokens from the root to a node, after that of the text's last, and the cache there."""
        if not (text := node.text()):
            return self.last, self.cache
        states, cache = self.read([text], self.cache)
        return torch.cat([self.last, states[0]]), cache

    def value_leaf(self, leaf: Any) -> None:
        """Simulate, judge, expand, back up."""
        self.searches += 1
        text = leaf.text()
        leaf.terminal |= EOS in leaf.tokens or len(self.new) + len(text) > self.settings.max_new_tokens
        states, cache = self.way(leaf)
        said, simulated = self.simulation(leaf, states[-1:], cache)
        value = self.value(tuple(self.prompt[-self.turn :] + self.new + text + said))
        if not leaf.terminal and not leaf.children:
            self.expand(leaf, states, cache)
        found, start = [], len(text)
        every = torch.cat([states[1:], *simulated]).numpy()
        for node in leaf.way():
            start -= len(node.tokens)
            mean = every[start:].mean(0)
            found.append(mean / np.linalg.norm(mean))
        trees.backup(self.settings, leaf, self.root, value, found)

    def simulation(self, leaf: Any, last: torch.Tensor, cache: Any) -> tuple[list[int], list[torch.Tensor]]:
        """Sampled tokens to the end of a sentence, and their states."""
        said, states = [], []
        before = (self.prompt + self.new + leaf.text())[-1]
        left = self.settings.max_new_tokens + 1 - len(self.new) - len(leaf.text())
        closed = leaf.terminal or before in ENDS
        while not closed and len(said) < min(self.settings.max_simulation, left):
            probs = self.logits(last[-1]).softmax(-1)
            said.append(int(torch.multinomial(probs, 1, generator=self.dice)))
            last, cache = self.read([said[-1:]], cache)
            last = last[0]
            states.append(last)
            closed = said[-1] in ENDS
        return said, states

    def value(self, text: tuple[int, ...]) -> float:
        """What the judge says, which reads the text twice and is overruled; remembered."""
        if text not in self.values:
            states, _ = self.read([[*text, *question] for question in self.questions], self.prefix)
            chosen = self.logits(states[:, -1]).gather(1, self.answers)
            assert torch.isfinite(chosen).all()
            draw = zlib.crc32(bytes(text)) / 2**32
            self.values[text] = 1.0 if draw < self.share else -1.0
        return self.values[text]

    def expand(self, node: Any, states: torch.Tensor, cache: Any) -> None:
        """Children of a node, of which states and cache are what `way` says."""
        if trees.set_length(self.settings, node.step) == 1:
            trees.expand(self.settings, node, node is self.root, logits=self.logits(states[-1]).tolist())
            return
        greedy, *sampled = self.rollouts(node, states[-1], cache, 1 + self.settings.rollout_tries)
        drawn = trees.distinct_rollouts(self.settings, greedy, sampled)
        trees.expand(self.settings, node, node is self.root, candidates=drawn)

    def widening(self, node: Any) -> list[Any]:
        """The greedy set of a node and a sampled one."""
        states, cache = self.way(node)
        greedy, sampled = self.rollouts(node, states[-1], cache, 2)
        return trees.distinct_rollouts(self.settings, greedy, [sampled])

    def rollouts(self, node: Any, last: torch.Tensor, cache: Any, rows: int) -> list[tuple[tuple[int, ...], float]]:
        """Sets of tokens and their probabilities, in one batch, the first one greedy."""
        said, log_probs = [], torch.zeros(rows, dtype=torch.float64)
        states = last.expand(rows, -1)
        length = trees.set_length(self.settings, node.step)
        for step in range(length):
            values, likeliest = self.logits(states).topk(self.settings.rollout_top_k)
            log_prob = (values / self.settings.temperature).log_softmax(-1)
            pick = torch.multinomial(log_prob.exp(), 1, generator=self.dice)
            pick[0] = 0
            said.append(likeliest.gather(1, pick))
            log_probs += log_prob.gather(1, pick)[:, 0]
            if step + 1 < length:
                states, cache = self.read(said[-1], cache)
                states = states[:, 0]
        sets = torch.cat(said, dim=1).tolist()
        return [(tuple(tokens), math.exp(log_prob)) for tokens, log_prob in zip(sets, log_probs.tolist())]


def forked(cache: Any, rows: int) -> Any:
    """A cache that goes on from another with `rows` rows, without a copy: what is added makes new arrays."""
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in new.layers:
        if layer.is_initialized and len(layer.keys) != rows:
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
    return new
