"""`seal-jax demo`: SEAL end to end on the embedded biographies world."""

from __future__ import annotations

import dataclasses
import pathlib

from seal_jax.cli.options import RunOptions
from seal_jax.cli.report import Report, finished
from seal_jax.cli.startup import announce_seal, open_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(RunOptions):
    """Two rounds of SEAL with the embedded checkpoint on people it has never met: minutes on two CPU cores."""

    out: pathlib.Path = pathlib.Path("runs/demo")
    """The directory of the run: config.json, metrics.jsonl, result.json. A run that was stopped goes on from it."""

    def __call__(self) -> Report:
        """Run the study and write the table and the figure."""
        from seal_jax.data.worlds import biographies
        from seal_jax.runtime import Run
        from seal_jax.seal import demo

        with Run(self.out, self, self.restart) as run:
            opened = open_model(str(demo.CHECKPOINT), self.mesh)
            people = biographies.passages("test", demo.TEST, self.seed)
            announce_seal(opened, people, demo.SETTINGS, self.dtype, self.out, rounds=demo.ROUNDS)
            return finished(run, demo.run_demo(run, opened.load(self.dtype), self.seed))
