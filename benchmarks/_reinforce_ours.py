"""One REINFORCE update as the library makes it, beside the reference's (`_reinforce_torch`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from benchmarks._reinforce_work import CLIP, RATE
from seal_jax import models, training
from seal_jax.transformer2.rows import Row, parts
from seal_jax.transformer2.update import Program, TrainState, _zeros, add_gradients, begin, layered, update


class Ours:
    """The same model, expert and rows. params, factors: stacked."""

    def __init__(self, config: models.Config, params: models.Params, factors: Any, expert: Any) -> None:
        self.params, self.factors, self.expert = models.unroll(params), layered(factors, config), expert
        self.program = Program(config, direction="forward", schedule=training.constant_schedule)
        self.hyper = training.Hyper(RATE, 1, clip=CLIP)

    def begin(self) -> TrainState:
        """A fresh state."""
        return begin(self.expert, self.program)

    def update(self, state: TrainState, rows: Sequence[Row], micro_batch: int) -> TrainState:
        """One optimizer step."""
        how = {"factors": self.factors, "micro_batch": micro_batch}
        return update(self.params, state, rows, self.hyper, self.program, **how)[0]

    def gradients(self, rows: Sequence[Row], micro_batch: int) -> Any:
        """Loss and gradients of all rows, before clipping."""
        sums = _zeros(self.expert, program=self.program)
        for part in parts(rows, micro_batch):
            sums = add_gradients(self.params, self.factors, self.expert, part, sums, program=self.program)
        return sums

    def held_bytes(self) -> int:
        """Of gradients and optimizer state."""
        state = self.begin()
        gradients = jax.tree.leaves(training.trainable(state.adapter))
        return sum(x.nbytes for x in [*gradients, *jax.tree.leaves(state.optimizer)])

    def compiled_bytes(self, rows: Sequence[Row], micro_batch: int) -> dict[str, int]:
        """What the program of the longest micro-batch holds: its arguments (weights and factors first) and the rest."""
        *_, part = parts(rows, micro_batch)
        sums = jax.eval_shape(lambda a: _zeros(a, program=self.program), self.expert)
        lowered = add_gradients.lower(self.params, self.factors, self.expert, part, sums, program=self.program)
        found = lowered.compile().memory_analysis()
        assert found is not None
        return {"arguments": found.argument_size_in_bytes, "temporary": found.temp_size_in_bytes}
