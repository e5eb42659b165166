"""A checkpoint is opened, a run says what it will take and is refused if that cannot fit; then weights are loaded."""

from __future__ import annotations

import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from seal_jax.cli.options import Dtype
    from seal_jax.data.squad import Passage
    from seal_jax.models import Model
    from seal_jax.models.hf import Checkpoint
    from seal_jax.seal.settings import Settings
    from seal_jax.seal.sizes import Footprint


class Opened(NamedTuple):
    """A checkpoint that has been checked, its tokenizer, and the mesh it will live on; no weight has been read."""

    checkpoint: Checkpoint
    tokenizer: Any
    mesh: Mesh | None

    @property
    def axes(self) -> Mapping[str, int]:
        """Devices on each axis of the mesh."""
        from seal_jax.runtime.mesh import axis_sizes

        return axis_sizes("") if self.mesh is None else dict(self.mesh.shape)

    def load(self, dtype: Dtype, unrolled: bool = False) -> Model:
        """Read the weights, with stacked layers or as `models.unroll` gives them.

        Raises DoesNotFitError, naming the numbers, if a device cannot hold its part of them.
        """
        from seal_jax import models
        from seal_jax.models import sizes
        from seal_jax.runtime.resources import Need, check_memory, device_memory

        weights = sizes.weight_bytes(self.checkpoint.config, dtype, self.axes)
        advice = "a smaller model, --dtype bfloat16, or --mesh with fsdp or model"
        check_memory([Need("loading the model", weights, weights, advice)], device_memory())
        params = self.checkpoint.params(dtype, self.mesh, unrolled=unrolled)
        return models.Model(self.checkpoint.config, params, self.tokenizer)


def open_model(name: str, mesh: str = "") -> Opened:
    """Open a checkpoint: a local directory or a hub name. mesh: as `--mesh`.

    What the model does not let the mesh split is told on standard error. Raises ValueError for a mesh that fits neither
    the devices nor the model, and for a model without a tokenizer.
    """
    from seal_jax.models.hf import open_checkpoint
    from seal_jax.runtime.mesh import make_mesh
    from seal_jax.runtime.placement import check_mesh

    made = make_mesh(mesh) if mesh else None
    checkpoint = open_checkpoint(name)
    if made is not None:
        for note in check_mesh(checkpoint.config, made):
            print(f"mesh {mesh}: {note}", file=sys.stderr)
    tokenizer = checkpoint.tokenizer()
    if tokenizer is None:
        raise ValueError(f"{name} has no tokenizer, so it cannot be given text")
    return Opened(checkpoint, tokenizer, made)


def announce_seal(
    opened: Opened,
    passages: Sequence[Passage],
    settings: Settings,
    dtype: str,
    out: pathlib.Path,
    writing: bool = True,
    trying: bool = True,
    rounds: int = 0,
    export: bool = False,
) -> None:
    """Print parameters, adapters, mesh, estimated peak memory and disk of a SEAL run on standard error.

    writing, trying: whether the run writes edits, and whether it tries them in the inner loop and asks questions.
    rounds: of training; 0 trains no policy. Raises DoesNotFitError, naming the number, for a stage whose weights and
    optimizer state exceed the memory of a device, and for more files than the disk takes.
    """
    from seal_jax.seal import sizes

    texts = sizes.longest(opened.tokenizer, passages, settings)
    found = sizes.footprint(opened.checkpoint.config, settings, dtype, texts, opened.axes)
    happens = {"writing edits": writing, "the inner loop": trying, "answering": trying, "the policy update": rounds}
    found = found._replace(needs=[need for need in found.needs if happens[need.name]])
    announce(opened, found, dtype, out, settings.inner.at_once if trying else 0, rounds, export)


def announce(
    opened: Opened,
    found: Footprint,
    dtype: str,
    out: pathlib.Path,
    at_once: int,
    rounds: int = 0,
    export: bool = False,
) -> None:
    """Print a footprint on standard error, and raise as `announce_seal` does. at_once: edits in one program, if any."""
    from seal_jax.runtime import resources
    from seal_jax.seal import sizes

    config, axes, needs = opened.checkpoint.config, opened.axes, found.needs
    disk = sizes.disk_bytes(found, rounds, export)
    available = resources.device_memory()
    warnings = resources.check_memory(needs, available)
    resources.check_disk(out, disk, "the run")
    most = max(needs, key=lambda need: need.about)
    size = resources.gib
    lines = [
        f"model: {config.model_type}, {found.parameters:,} parameters, {size(found.weights)} of {dtype} on each device",
        *([_adapter_line(found, at_once, rounds)] if at_once else []),
        f"mesh: {device_text(axes)}",
        f"memory: about {size(most.about)} on each device at the most ({most.name})"
        + (f", of {size(available)}" if available is not None else ""),
        f"disk: about {size(disk)}{' with the export' if export else ''}, of {size(resources.free_disk(out))} free",
        *(f"warning: {warning}" for warning in warnings),
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _adapter_line(found: Footprint, at_once: int, rounds: int) -> str:
    from seal_jax.runtime.resources import gib

    policy = f"; {found.policy_adapter:,} of the policy" if rounds else ""
    each = f"{found.inner_adapter:,} numbers an edit ({gib(4 * found.inner_adapter)})"
    return f"adapters: {each}, up to {at_once} at once{policy}"


def device_text(axes: Mapping[str, int]) -> str:
    """The axes that split anything and the devices under them: "data=2, model=2 on 4 x TPU v5e"."""
    import jax

    kind = jax.devices()[0].device_kind
    split = ", ".join(f"{axis}={size}" for axis, size in axes.items() if size > 1)
    return f"{split} on {math.prod(axes.values())} x {kind}" if split else f"one device ({kind})"
