"""`plan`: the verdict on one experiment, and the search for the largest that fits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from seal_jax.models import Config
from seal_jax.models.families import config_from_hf
from seal_jax.plan import process
from seal_jax.plan.inputs import sizes_of
from seal_jax.plan.mesh_choice import axes_of, choose_mesh
from seal_jax.plan.search import Try, largest
from seal_jax.plan.settings import Settings
from seal_jax.plan.topology import parse_topology
from seal_jax.runtime.mesh import ROWS

TIMEOUT = 3600.0  # seconds for one compilation


def plan(
    settings: Settings,
    model: dict[str, Any],
    edits: int | Literal["max"] = 32,
    timeout: float = TIMEOUT,
    on_try: Callable[[Try], None] | None = None,
) -> dict[str, Any]:
    """Compile an experiment for a TPU slice, with no TPU present, and say whether it fits.

    model: the object of a config.json (`read_model_config`). edits: N, the edits trained at once or the adapters that
    generate at once (0: the base model generates); "max" finds the largest N that fits. timeout: seconds for each
    compilation. on_try: called with each finished try.

    Returns `{"fits", "edits", "needed_gib", "available_gib", ...}` for one device of the slice: needed is the peak of
    the dearest program where all fit (its accounts are under "programs"), and else the compiler's estimate for the
    one that does not. Under "tries" is every N that was tried. With "max", the whole is that of the largest N that
    fits, or of the smallest where none does. Not fitting is a result; ValueError is for what cannot be planned.
    """
    config = config_from_hf(model)
    _check_context(settings, config)
    topology = parse_topology(settings.topology)
    choice = choose_mesh(settings.mesh, config, sizes_of(settings, config, 1).parameter_bytes, topology)
    settings = dataclasses.replace(settings, mesh=choice.spec)
    axes = axes_of(choice.spec, topology)
    unit = math.prod(axes[axis] for axis in ROWS)
    _check_edits(edits, unit, settings)
    tries: list[Try] = []

    def attempt(count: int) -> Try:
        found = process.attempt(settings, model, count, timeout)
        seconds = round(sum(program["compile_seconds"] for program in found["programs"]), 1)
        tries.append({key: found[key] for key in ("edits", "fits", "needed_gib", "available_gib")})
        tries[-1]["compile_seconds"] = seconds
        if on_try:
            on_try(tries[-1])
        return found

    chosen = _chosen(largest(attempt, unit)) if edits == "max" else attempt(edits)
    head = {"experiment": settings.experiment, "model_type": config.model_type, "topology": settings.topology}
    return {**head, **chosen, "mesh_reason": choice.reason, "settings": dataclasses.asdict(settings), "tries": tries}


def _check_context(settings: Settings, config: Config) -> None:
    if settings.experiment == "inner_loop":
        tokens, what = max(settings.length, settings.line_length), "a sequence"
    else:
        tokens, what = settings.prompt_tokens + settings.new_tokens, "a prompt with its new tokens"
    if tokens > config.max_position:
        raise ValueError(f"{what} of {tokens} tokens exceeds the model's context of {config.max_position}")


def _check_edits(edits: int | str, unit: int, settings: Settings) -> None:
    least = int(settings.experiment == "inner_loop")
    if edits != "max" and (isinstance(edits, str) or edits < least):
        raise ValueError(f"edits {edits!r}: use {least} or more, or 'max' for the largest number that fits")
    if isinstance(edits, int) and edits % unit:
        raise ValueError(f"{edits} edits do not spread evenly over mesh {settings.mesh!r}; use a multiple of {unit}")


def _chosen(tries: list[Try]) -> Try:
    fitting = [found for found in tries if found["fits"]]
    return max(fitting, key=lambda found: found["edits"]) if fitting else min(tries, key=lambda found: found["edits"])
