"""What a run says of itself before it loads the weights, and its refusal of what cannot fit."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seal_jax.data.squad import Passage
    from seal_jax.models import Config
    from seal_jax.seal.settings import Settings


def announce_seal(
    config: Config,
    tokenizer: Any,
    passages: Sequence[Passage],
    settings: Settings,
    dtype: str,
    mesh: Mapping[str, int],
    out: pathlib.Path,
    rounds: int = 0,
    export: bool = False,
) -> None:
    """Print parameters, adapters, mesh, estimated peak memory and disk of a SEAL run on standard error.

    mesh: devices on each axis. rounds: of training; 0 trains no policy. Raises DoesNotFitError, naming the number, for
    a stage whose weights and optimizer state exceed the memory of a device, and for more files than the disk takes.
    """
    from seal_jax.runtime import resources
    from seal_jax.seal import sizes

    texts = sizes.longest(tokenizer, passages, settings)
    found = sizes.footprint(config, settings, dtype, texts, mesh)
    needs = found.needs if rounds else [n for n in found.needs if n.name != "the policy update"]
    disk = sizes.disk_bytes(found, rounds, export)
    available = resources.device_memory()
    warnings = resources.check_memory(needs, available)
    resources.check_disk(out, disk, "the run")
    most = max(needs, key=lambda need: need.about)
    size = resources.gib
    lines = [
        f"model: {config.model_type}, {found.parameters:,} parameters, {size(found.weights)} of {dtype} on each device",
        f"adapters: {found.inner_adapter:,} numbers an edit ({size(4 * found.inner_adapter)}), "
        f"{settings.inner.at_once} at once" + (f"; {found.policy_adapter:,} of the policy" if rounds else ""),
        f"mesh: {device_text(mesh)}",
        f"memory: about {size(most.about)} on each device at the most ({most.name})"
        + (f", of {size(available)}" if available is not None else ""),
        f"disk: about {size(disk)} in {out}, of {size(resources.free_disk(out))} free",
        *(f"warning: {warning}" for warning in warnings),
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def device_text(mesh: Mapping[str, int]) -> str:
    """The axes that split anything and the devices under them: "data=2, model=2 on 4 x TPU v5e"."""
    import jax

    kind = jax.devices()[0].device_kind
    axes = ", ".join(f"{axis}={size}" for axis, size in mesh.items() if size > 1)
    count = 1
    for size in mesh.values():
        count *= size
    return f"{axes} on {count} x {kind}" if axes else f"one device ({kind})"
