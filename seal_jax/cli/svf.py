"""`seal-jax svf ...`: singular-value experts, trained, evaluated, chosen, mixed and served."""

from __future__ import annotations

from typing import Annotated

import tyro

from seal_jax.cli.svf_cem import Cem
from seal_jax.cli.svf_evaluate import Dispatch, Evaluate
from seal_jax.cli.svf_serve import ServeBatch
from seal_jax.cli.svf_train import Train

Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Dispatch, tyro.conf.subcommand("dispatch")]
    | Annotated[Cem, tyro.conf.subcommand("cem")]
    | Annotated[ServeBatch, tyro.conf.subcommand("serve-batch")]
)
