"""`seal-jax demo`: SEAL end to end on the embedded biographies world."""

from __future__ import annotations

import dataclasses
import pathlib

from seal_jax.cli.options import RunOptions
from seal_jax.cli.report import Report, finished


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(RunOptions):
    """Two rounds of SEAL with the embedded checkpoint on people it has never met: minutes on two CPU cores."""

    out: pathlib.Path = pathlib.Path("runs/demo")
    """The directory of the run: config.json, metrics.jsonl, result.json. A run that was stopped goes on from it."""

    def __call__(self) -> Report:
        """Run the study and write the table and the figure."""
        from seal_jax.runtime import Run
        from seal_jax.seal import demo

        with Run(self.out, self, self.restart) as run:
            return finished(run, demo.run_demo(run, seed=self.seed, dtype=self.dtype, mesh=self.mesh))
