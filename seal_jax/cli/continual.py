"""`seal-jax continual ...`: learn a stream of tasks, figures of a matrix of scores, adapters merged."""

from __future__ import annotations

from typing import Annotated

import tyro

from seal_jax.cli.continual_files import Merge, Metrics
from seal_jax.cli.continual_run import Run

Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Metrics, tyro.conf.subcommand("metrics")]
    | Annotated[Merge, tyro.conf.subcommand("merge")]
)
