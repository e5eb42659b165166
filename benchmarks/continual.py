"""What regularizers and projections cost: a training step with each of them against the same step with plain AdamW.

One step is the gradient of a decoder's loss and the update, with LoRA r32 on q and v or with all weights trained. The
compared programs take turns, each for a few steps, so that a disturbance meets all of them, and the best round counts.
Memory is the optimizer's state, and the peak of the compiled step: arguments, results and what it needs in between.

    python -m benchmarks.continual [--json] [--sizes 6M] [--trees lora full] [--rounds 5]

Results: docs/continual.md, "Cost".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import _measure
from benchmarks._work import SHAPES, Work
from seal_jax import continual, models, training
from seal_jax.adapters import attach, lora
from seal_jax.training.trainable import join, trainable

TREES = ("lora", "full")
ROWS, LENGTH, RATE = 8, 64, 1e-3
GOALS = dict.fromkeys(("l2_sp", "ewc", "mas", "si"), 1.1)
"""Seconds of a step over those of plain AdamW, on a LoRA tree."""


class Case(NamedTuple):
    """One optimizer. memories: how many gradients of batches in memory it needs besides that of the step."""

    tx: optax.GradientTransformation
    memories: int = 0
    ended: Callable[[Any, Any], Any] | None = None


def cases(columns: int = 64) -> dict[str, Case]:
    """Plain AdamW and each transform beside it, with state as it is after a task: anchors and importances of ones."""
    adam = training.adamw(training.Hyper(RATE, 1, clip=0.0), training.constant_schedule)
    ones = lambda state, params: continual.consolidate(state, params, jax.tree.map(jnp.ones_like, params))  # noqa: E731
    moved = lambda state, params: continual.consolidate(state, params)  # noqa: E731
    return {
        "adamw": Case(adam),
        "l2_sp": Case(optax.chain(adam, continual.l2_sp(0.1, RATE)), ended=moved),
        "ewc": Case(optax.chain(adam, continual.ewc(10.0, RATE)), ended=ones),
        "online_ewc": Case(optax.chain(adam, continual.online_ewc(10.0, RATE)), ended=ones),
        "mas": Case(optax.chain(adam, continual.mas(10.0, RATE)), ended=ones),
        "si": Case(continual.si(adam, 10.0, RATE)),
        "gpm": Case(optax.chain(continual.gpm(columns), adam)),
        "agem": Case(optax.chain(continual.agem(), adam), memories=1),
        "gem, 4 tasks": Case(optax.chain(continual.gem(4), adam), memories=4),
        "olora": Case(optax.chain(continual.olora(1.0, columns), adam), ended=continual.extend_frozen),
    }


def run(
    sizes: Sequence[str] = ("6M",), trees: Sequence[str] = TREES, rounds: int = 5, steps: int = 4
) -> dict[str, Any]:
    """Measure every optimizer at the sizes of `_work.SHAPES` on both trees.

    rounds: how often they take turns; steps: of each turn.
    """
    result: dict[str, Any] = {"benchmark": "continual", **_measure.machine(), "goals": GOALS, "rows": ROWS}
    for size in sizes:
        result[size] = {tree: _measure_tree(SHAPES[size], tree, rounds, steps) for tree in trees}
    return result


def _measure_tree(config: models.Config, tree: str, rounds: int, steps: int) -> dict[str, Any]:
    base = models.init(jax.random.key(0), config)
    if tree == "lora":
        work = Work()
        trained = lora.init(jax.random.key(1), base, rank=work.rank, alpha=work.alpha, targets=work.targets)
        attach_fn = attach
    else:
        trained, attach_fn = base, training.full_parameters
    known = {n: c for n, c in cases().items() if tree == "lora" or n != "olora"}
    frozen = models.unroll(base) if jax.default_backend() == "cpu" else base
    turns = {name: _Turn(case, config, frozen, trained, attach_fn, steps) for name, case in known.items()}
    spent: dict[str, list[_measure.Spent]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            spent[name].append(_measure.timed(turn))
    best = {name: _measure.best(s) for name, s in spent.items()}
    return {
        "parameters": sum(x.size for x in jax.tree.leaves(trainable(trained))),
        "step_seconds": {name: b.wall / steps for name, b in best.items()},
        "time_over_adamw": {name: b.wall / best["adamw"].wall for name, b in best.items()},
        "cpu_over_adamw": {name: b.cpu / best["adamw"].cpu for name, b in best.items()},
        "state_bytes": {name: turn.state_bytes for name, turn in turns.items()},
        "peak_bytes": {name: turn.peak_bytes for name, turn in turns.items()},
    }


class _Turn:
    """Some steps of one optimizer; called, it goes on where it was."""

    def __init__(
        self, case: Case, config: models.Config, frozen: Any, trained: Any, attach_fn: Any, steps: int
    ) -> None:
        tokens = np.random.default_rng(0).integers(0, config.vocab_size, (case.memories + 1, ROWS, LENGTH))
        batches = {"tokens": jnp.asarray(tokens, jnp.int32), "mask": jnp.ones(tokens.shape, bool)}
        params = trainable(jax.tree.map(jnp.copy, trained))
        optimizer = case.tx.init(params)
        if case.ended is not None:
            optimizer = case.ended(optimizer, params)
        self.state_bytes = sum(x.nbytes for x in jax.tree.leaves(optimizer))
        step = jax.jit(_step(case, config, trained, attach_fn), donate_argnums=(0, 1))
        # One array in two places of the state cannot be given away twice.
        self.state = jax.tree.map(jnp.copy, (params, optimizer))
        self.steps, self.rest = steps, (frozen, batches)
        self.compiled = step.lower(*self.state, *self.rest).compile()
        found: Any = self.compiled.memory_analysis()
        sizes = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
        self.peak_bytes = int(sizes + found.temp_size_in_bytes)
        self()

    def __call__(self) -> Any:
        for _ in range(self.steps):
            self.state = self.compiled(*self.state, *self.rest)
        return jax.block_until_ready(self.state)


def _step(case: Case, config: models.Config, trained: Any, attach_fn: Any) -> Callable[..., Any]:
    loss_fn, tx = training.lm_loss(), optax.with_extra_args_support(case.tx)
    kept = None if attach_fn is training.full_parameters else trained

    def step(params: Any, optimizer: Any, frozen: Any, batches: Any) -> tuple[Any, Any]:
        def loss(params: Any, batch: Any) -> jax.Array:
            whole = params if kept is None else join(params, kept)
            return loss_fn(attach_fn(frozen, whole, None), config, batch)

        batch = lambda i: jax.tree.map(lambda x: x[i], batches)  # noqa: E731
        extras = {}
        if case.memories:
            past = jax.lax.map(lambda b: jax.grad(loss)(params, b), jax.tree.map(lambda x: x[1:], batches))
            one = jax.tree.map(lambda x: x[0], past)
            extras = {"memory_grad": one} if case.memories == 1 else {"memory_grads": past}
        updates, optimizer = tx.update(jax.grad(loss)(params, batch(0)), optimizer, params, **extras)
        return optax.apply_updates(params, updates), optimizer

    return step


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line (`argv` without the program's name); prints and returns the result."""
    parser = argparse.ArgumentParser(
        prog="continual", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--sizes", nargs="+", default=["6M"], choices=list(SHAPES)[:-1])
    parser.add_argument("--trees", nargs="+", default=list(TREES), choices=TREES)
    parser.add_argument("--rounds", type=int, default=5, help="turns of the compared programs")
    given = parser.parse_args(argv)
    result = run(given.sizes, given.trees, given.rounds)
    print(json.dumps(result, indent=None if given.json else 2))
    return result


if __name__ == "__main__":
    main()
