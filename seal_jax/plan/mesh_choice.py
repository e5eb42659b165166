"""The mesh to plan for: chosen where none is given, else checked against the slice and the model."""

from __future__ import annotations

import math
from typing import NamedTuple

from seal_jax.models import Config
from seal_jax.plan.topology import Topology
from seal_jax.runtime.mesh import axis_sizes

SHARE = 3  # the weights may take 1 / SHARE of a device, the rest is for what the experiment is about
GIB = 2**30


class Choice(NamedTuple):
    """spec: of the mesh, "data=2,model=4"; reason: why this one."""

    spec: str
    reason: str


def choose_mesh(spec: str, config: Config, weight_bytes: int, topology: Topology) -> Choice:
    """`spec` if there is one and it suits, ValueError if it does not; without one, the mesh with most room for edits.

    That is the one that splits the weights no further than it has to: `model` is the smallest size under which they
    take at most a third of a device, among those that divide the devices and the heads; where none suffices it is the
    largest, and `fsdp` splits them further. The rest is `data`. (Edits are spread over `data` and `fsdp`.)
    """
    if spec:
        axes_of(spec, topology)
        _check_heads(spec, config, topology)
        return Choice(spec, "as given")
    limit = topology.kind.hbm_gib * GIB / SHARE
    sizes = [n for n in _divisors(topology.devices) if config.num_heads % n == 0]
    model = next((n for n in sizes if weight_bytes / n <= limit), sizes[-1])
    rest = [n for n in _divisors(topology.devices // model) if config.hidden_size % n == 0]
    fsdp = next((n for n in rest if weight_bytes / (model * n) <= limit), rest[-1])
    chosen = {"data": topology.devices // (model * fsdp), "fsdp": fsdp, "model": model}
    text = ",".join(f"{axis}={size}" for axis, size in chosen.items() if size > 1) or "data=1"
    return Choice(text, _reason(weight_bytes / (model * fsdp), limit, topology, fsdp > 1, sizes[-1], config))


def axes_of(spec: str, topology: Topology) -> dict[str, int]:
    """The size of every axis of a mesh on a slice, -1 worked out. ValueError if they do not multiply to its devices."""
    sizes = axis_sizes(spec)
    fixed = math.prod(size for size in sizes.values() if size != -1)
    sizes = {axis: topology.devices // fixed if size == -1 else size for axis, size in sizes.items()}
    if math.prod(sizes.values()) != topology.devices:
        raise ValueError(f"mesh {spec!r} does not multiply to the {topology.devices} devices of {topology.name}")
    return sizes


def _check_heads(spec: str, config: Config, topology: Topology) -> None:
    model = axes_of(spec, topology)["model"]
    if config.num_heads % model:
        raise ValueError(
            f"mesh {spec!r}: model={model} does not divide the {config.num_heads} attention heads of the model, which "
            "would leave attention whole on every device"
        )


def _reason(each: float, limit: float, topology: Topology, by_fsdp: bool, most: int, config: Config) -> str:
    share = f"the weights take {each / GIB:.1f} of {topology.kind.hbm_gib:.0f} GiB of a device"
    if each > limit:
        return f"{share}, more than the third meant for them; they split no further here"
    if by_fsdp:
        return f"{share}; {config.num_heads} heads allow model={most} at most, so fsdp splits them further"
    return f"{share}: the smallest split under which that is at most a third"


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]
