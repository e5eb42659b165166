"""One REINFORCE update, ours (`_reinforce_ours`) beside the reference's (`_reinforce_torch`): time, and memory.

In both: from given answers and rewards to the next expert, the pass of the base model for the KL included. Writing and
grading the answers is in neither. Ours pads the rows into micro-batches within the time that is measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import _measure, _reinforce_peak, _reinforce_torch
from benchmarks._measure import Spent
from benchmarks._reinforce_ours import Ours
from benchmarks._reinforce_work import SIZES, Work, config_of, expert_of
from seal_jax import models
from seal_jax.transformer2.rows import Row, parts
from seal_jax.transformer2.update import TrainState

# What is asked on two cores: reference over ours, in seconds; and of gradients and optimizer state, ours over theirs.
GOALS = {"skills": 3.0, "12x768": 1.1}
MEMORY_GOAL = 0.05


def measure(
    sizes: Sequence[str] = SIZES, rounds: int = 3, work: Work | None = None, micro_batch: int = 8, peaks: bool = True
) -> dict[str, Any]:
    """Both updates at every size, by turns, the best of `rounds`; with `peaks` each in a process of its own for memory.

    micro_batch: of ours; the reference has one sequence, and so have we in the row "ours_one_at_a_time".
    """
    work = Work() if work is None else work
    return {size: _measure_size(size, rounds, work, micro_batch, peaks) for size in sizes}


def _measure_size(size: str, rounds: int, work: Work, micro_batch: int, peaks: bool) -> dict[str, Any]:
    config = config_of(size)
    params = models.init(jax.random.key(0), config)
    factors, expert = expert_of(params, work)
    rows = work.rows(config.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        models.save_pretrained(folder, config, params)
        _reinforce_peak.write(folder, factors, expert)
        theirs = _reinforce_torch.Reference(_reinforce_torch.load(folder), factors, expert)
        ours = Ours(config, params, factors, expert)
        agreement = compare(ours, theirs, rows, micro_batch)
        threads = theirs.choose_threads(rows[:4], _measure.machine()["cores"])
        times = _times(ours, theirs, rows, rounds, micro_batch)
        theirs_bytes = theirs.held_bytes(rows)
        del theirs
        found = _peaks(folder, work, micro_batch) if peaks else None
    seconds = {name: spent.wall for name, spent in times.items()}
    return {
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "trained": sum(x.size for x in jax.tree.leaves(expert)),
        "sequences": len(rows),
        "tokens": sum(len(row.prompt) + len(row.completion) for row in rows),
        "padded_tokens": sum(part.tokens.size for part in parts(rows, micro_batch)),
        "micro_batch": micro_batch,
        "torch_threads": threads,
        **agreement,
        "seconds": seconds,
        "cpu_seconds": {name: spent.cpu for name, spent in times.items()},
        "torch_over_ours": seconds["torch"] / seconds["ours"],
        "torch_over_ours_one_at_a_time": seconds["torch"] / seconds["ours_one_at_a_time"],
        "goal": GOALS.get(size),
        "gradients_and_optimizer_bytes": {"ours": ours.held_bytes(), "torch": theirs_bytes},
        "ours_over_torch_bytes": ours.held_bytes() / theirs_bytes,
        "memory_goal": MEMORY_GOAL,
        "compiled_bytes": ours.compiled_bytes(rows, micro_batch),
        "peak_bytes": found,
    }


def _peaks(folder: str, work: Work, micro_batch: int) -> dict[str, int | None]:
    sizes = {"ours": micro_batch, "ours_one_at_a_time": 1, "torch": 1}
    return {name: _reinforce_peak.peak_of(name.split("_")[0], folder, work, size) for name, size in sizes.items()}


def compare(ours: Ours, theirs: Any, rows: Sequence[Row], micro_batch: int) -> dict[str, float]:
    """How far the two are apart: losses, and gradients for p relative to the largest."""
    sums = ours.gradients(rows, micro_batch)
    loss, gradients = theirs.gradients(rows)
    largest = max(float(g.abs().max()) for g in gradients.values())
    far = 0.0
    for path, entry in sums.gradients.items():
        for i, mine in enumerate(np.asarray(entry["raw"])):
            other = gradients[_reinforce_torch.parameter_name(path, i)].numpy()
            far = max(far, float(np.abs(mine - other).max()))
    theirs.forget()
    return {"loss_difference": abs(float(sums.loss) - loss), "gradient_difference": far / largest}


def _times(ours: Ours, theirs: Any, rows: Sequence[Row], rounds: int, micro_batch: int) -> dict[str, Spent]:
    sizes = {"ours": micro_batch, "ours_one_at_a_time": 1}
    states = {name: ours.update(ours.begin(), rows, size) for name, size in sizes.items()}  # compiles
    spent: dict[str, list[Spent]] = {"torch": [], **{name: [] for name in sizes}}
    for _ in range(rounds):
        spent["torch"].append(_measure.timed(lambda: theirs.update(rows)))
        for name, size in sizes.items():

            def one(name: str = name, size: int = size) -> TrainState:
                states[name] = ours.update(states[name], rows, size)
                return states[name]

            spent[name].append(_measure.timed(one))
    return {name: _measure.best(each) for name, each in spent.items()}
