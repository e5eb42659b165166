"""What a plan is asked for."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from seal_jax.plan.topology import parse_topology
from seal_jax.runtime.mesh import axis_sizes
from seal_jax.seal.settings import Answering, Inner

Experiment = Literal["inner_loop", "generation"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """An experiment at a size. The defaults are SEAL's released settings (`seal/settings.py`), in bf16.

    Checked when made: ValueError names the field and what would be right.
    """

    experiment: Experiment
    """"inner_loop": N LoRA fine-tunes in one program; "generation": prefill and decode, with N adapters or none."""
    topology: str
    """The TPU slice: "v5e:2x4", "v6e:2x4", "v5p:2x2x2", ..."""
    mesh: str = ""
    """How its chips are used, such as "data=2,model=4"; empty: chosen for the model, and told."""
    rank: int = Inner.rank
    """Rank of the LoRA adapters."""
    targets: tuple[str, ...] = Inner.targets
    """Projections that get an adapter; "all" for every one."""
    batch_size: int = Inner.batch_size
    """Sequences of an optimizer step, for each edit."""
    length: int = Inner.max_length
    """Tokens of the longest sequence trained on, the passage that ends each epoch."""
    lines: int = 8
    """Steps of an epoch that train on the lines of an edit, before the passage."""
    line_length: int = 64
    """Tokens of a line."""
    epochs: int = Inner.epochs
    """How often each sequence is seen. Changes the work, hardly the memory."""
    remat: bool = True
    """Recompute activations in the backward pass; with no-remat they are kept: faster, in far more memory."""
    prompts: int = 8
    """Generation: prompts at once, for each adapter."""
    prompt_tokens: int = 128
    """Generation: tokens a prompt is padded to."""
    new_tokens: int = Answering.max_new_tokens
    """Generation: most tokens a prompt is continued by."""

    def __post_init__(self) -> None:
        counts = ("rank", "batch_size", "length", "line_length", "epochs", "prompts", "prompt_tokens", "new_tokens")
        for field in (*counts, "lines"):
            least = int(field != "lines")
            if getattr(self, field) < least:
                raise ValueError(f"{field} {getattr(self, field)}: use {least} or more")
        if self.experiment not in get_args(Experiment):
            known = ", ".join(get_args(Experiment))
            raise ValueError(f"experiment {self.experiment!r} is not one of {known}")
        if not self.targets:
            raise ValueError('targets are empty: give projections such as "q_proj" "v_proj"')
        axis_sizes(self.mesh)
        parse_topology(self.topology)
