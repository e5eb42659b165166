"""The programs that the RAIN benchmark compares: each a turn that says what it did, for the clock to divide by."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import _measure
from benchmarks._rain_recipe import EOS, Bytes, Work
from seal_jax import generation, rain

median = statistics.median


class Done(NamedTuple):
    """What a turn did. tokens: generated ones; searches: 0 without a search; the others are means.

    Of a prompt's searches and tokens, its prefill included: sequential passes, tokens processed, texts judged.
    passes_of_all: of all prompts together, fewer where they share passes; utilisation: of slots.
    """

    tokens: int
    searches: int = 0
    searches_per_token: float = 0.0
    passes_per_search: float = 0.0
    passes_per_token: float = 0.0
    tokens_per_search: float = 0.0
    tokens_per_token: float = 0.0
    judged_per_search: float = 0.0
    passes_of_all_per_search: float = 0.0
    utilisation: float = 1.0
    truncated: int = 0


def searched(work: Work, policy: str, prompts: int, slots: int) -> Done:
    """`rain.search` on the first prompts."""
    recipe = work.recipe
    result = rain.search(
        work.params,
        recipe.config,
        work.prompts[:prompts].tolist(),
        jax.random.key(1),
        judge=work.judge[policy],
        settings=recipe.settings,
        tokenizer=Bytes(),
        slots=slots,
        eos=EOS,
        judged_from=[recipe.prompt - recipe.turn] * prompts,
    )
    found, searches, passes = sum(map(len, result.tokens)), sum(result.searches), sum(result.passes)
    done = _done(found, searches, passes, sum(result.tokens_processed), sum(result.judged), result.total_passes)
    return done._replace(utilisation=result.utilisation, truncated=sum(result.truncated))


def _done(tokens: int, searches: int, passes: int, processed: int, judged: int, of_all: int) -> Done:
    return Done(
        tokens,
        searches,
        searches / tokens,
        passes / searches,
        passes / tokens,
        processed / searches,
        processed / tokens,
        judged / searches,
        of_all / searches,
    )


def looped(work: Work, loop: Any) -> Done:
    """The plain loop on the first prompt."""
    found = loop.run(work.prompts[0].tolist(), 0)
    return _done(len(found.tokens), found.searches, found.passes, found.processed, found.judged, found.passes)


def greedy(work: Work, prompts: int, generate: Callable[[np.ndarray], Any]) -> Done:
    """Greedy decoding of the first prompts, one at a time."""
    for prompt in work.prompts[:prompts]:
        generate(prompt[None])
    return Done(prompts * work.recipe.new)


def ours(work: Work) -> Callable[[np.ndarray], Any]:
    """Our greedy decoding of prompts int32 `[B, P]`."""
    config, new = work.recipe.config, work.recipe.new
    return lambda prompts: generation.generate(work.params, config, prompts.tolist(), None, new, eos=())


def compile_all(work: Work, batch: int) -> None:
    """Run what is compiled once; the policy of a judge is an argument of the same program."""
    greedy(work, 1, ours(work))
    searched(work, "safe", 1, 1)
    searched(work, "safe", batch, batch)


def take(
    rounds: int, turns: Mapping[str, Callable[[], Done]], once: Iterable[str] = ()
) -> tuple[dict[str, list[float]], dict[str, Done]]:
    """Seconds per generated token of every turn of each program, and what the last did; those of `once` take one."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    last: dict[str, Done] = {}
    for number in range(rounds):
        for name, turn in turns.items():
            if number and name in once:
                continue

            def work(name: str = name, turn: Callable[[], Done] = turn) -> None:
                last[name] = turn()

            seconds[name].append(_measure.timed(work).wall / last[name].tokens)
    return seconds, last


def ratios(slower: list[float], faster: list[float], work: float = 1.0) -> dict[str, float]:
    """How many times as long: the median over the turns that both took, and the least and the most.

    work: how many times as much the slower did; divided by.
    """
    found = [a / b / work for a, b in zip(slower, faster)]
    return {"median": median(found), "least": min(found), "most": max(found)}
