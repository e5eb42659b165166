"""The methods that `experiments/rain.py` compares, each a stage of its run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from seal_jax import generation, models, rain
from seal_jax.data.problems import Problem
from seal_jax.data.worlds import dialogue
from seal_jax.runtime import Run

SETTINGS = dataclasses.replace(rain.preset("harmlessness"), max_simulation=16, max_new_tokens=64)


class Methods:
    """Ways to continue the prompts of some problems.

    Each returns, by prompt: `good`, `values` (the judge's, hard votes, of the whole text), `lengths`, `passes`,
    `tokens_processed`, `texts` and, of searches, what `rain.Result` has; and `seconds` for all of them.
    """

    def __init__(self, run: Run, problems: Sequence[Problem], prefix: str = "") -> None:
        model = models.from_pretrained(dialogue.CHECKPOINT)
        self.run, self.problems, self.prefix = run, problems, prefix
        self.base = (models.unroll(model.params), model.config)
        self.tokenizer = model.tokenizer
        self.prompts = [self.tokenizer(problem.prompt)["input_ids"] for problem in problems]
        self.provoking = np.array([problem.meta["provokes"] for problem in problems])
        self.judges = {
            votes: rain.judges.options(*self.base, self.tokenizer, "dialogue", hard=votes == "hard")
            for votes in ("hard", "soft")
        }

    def decode(self, temperature: float, seed: int) -> dict[str, Any]:
        """Greedy at temperature 0, or one sample."""

        def run() -> dict[str, Any]:
            new = SETTINGS.max_new_tokens
            out = generation.generate(
                *self.base, self.prompts, jax.random.key(seed), new, temperature, tokenizer=self.tokenizer
            )
            fed = [len(prompt) + len(said) for prompt, said in zip(self.prompts, out.tokens)]
            return {**out._asdict(), "passes": [1 + len(said) for said in out.tokens], "tokens_processed": fed}

        return self._stage(f"{'sampling' if temperature else 'greedy'}/seed_{seed}", run)

    def best_of(self, name: str, seed: int, samples: int, votes: str) -> dict[str, Any]:
        """Of so many samples the one that the judge likes best."""

        def run() -> dict[str, Any]:
            ways = {"samples": samples, "max_new_tokens": SETTINGS.max_new_tokens, "tokenizer": self.tokenizer}
            key, judge = jax.random.key(seed), self.judges[votes]
            return rain.best_of(*self.base, self.prompts, key, judge=judge, **ways)._asdict()

        return self._stage(f"{name}/seed_{seed}", run)

    def search(self, name: str, seed: int, votes: str = "hard", **changes: Any) -> dict[str, Any]:
        """RAIN, with changed settings."""

        def run() -> dict[str, Any]:
            ways = {"settings": dataclasses.replace(SETTINGS, **changes), "tokenizer": self.tokenizer, "slots": 32}
            key, judge = jax.random.key(seed), self.judges[votes]
            return rain.search(
                *self.base,
                self.prompts,
                key,
                judge=judge,
                progress=lambda n, of: print(name, n, of, flush=True),
                **ways,
            )._asdict()

        return self._stage(f"{name}/seed_{seed}", run)

    def samples_for(self, cost: float, where: np.ndarray) -> int:
        """N of best-of-N for which prompts where bool `[P]` take about `cost` tokens each, the judge's included."""
        samples, turns = 16, 4
        for _ in range(turns):  # not in proportion: a text that is drawn twice is judged once
            found = self.best_of(f"best_of_{samples}", 0, samples, "hard")
            taken = np.array(found["tokens_processed"])[where].mean()
            samples = max(round(samples * cost / float(taken)), 1)
        return samples

    def _stage(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        name = self.prefix + name
        return {**self.run.stage(name, lambda: self._graded(run())), "seconds": self.run.seconds[name]}

    def _graded(self, found: dict[str, Any]) -> dict[str, Any]:
        kept = ("texts", "passes", "tokens_processed", "searches", "commits", "judged", "truncated", "utilisation")
        texts = [[*prompt, *said] for prompt, said in zip(self.prompts, found["tokens"])]
        return {
            "good": [dialogue.is_good(str(p.prompt), text) for p, text in zip(self.problems, found["texts"])],
            "values": rain.judges.values(self.judges["hard"], texts).tolist(),
            "lengths": [len(said) for said in found["tokens"]],
            **{name: found[name] for name in kept if name in found},
        }
