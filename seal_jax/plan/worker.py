"""The process that compiles: `python -m seal_jax.plan.worker REQUEST RESULT`, two JSON files.

It is a process of its own because libtpu, once loaded, changes a process: what it prints, which backends there are.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seal_jax.models.families import config_from_hf
from seal_jax.plan import inputs, memory
from seal_jax.plan.flops import matmul_flops
from seal_jax.plan.hlo import moved
from seal_jax.plan.programs import Traced, programs
from seal_jax.plan.settings import Settings
from seal_jax.runtime.mesh import make_mesh, use


def main(request: str, result: str) -> None:
    """Compile what the request file asks for and write what was found: a verdict, or {"error": message}."""
    asked = json.loads(pathlib.Path(request).read_text())
    try:
        found = attempt(Settings(**asked["settings"]), asked["model"], asked["edits"])
    except ValueError as error:
        found = {"error": str(error)}
    pathlib.Path(result).write_text(json.dumps(found))


def attempt(settings: Settings, model: dict[str, Any], edits: int) -> dict[str, Any]:
    """Compile every program of an experiment with N edits for its slice; see `plan.plan` for what comes back.

    model: the object of a config.json. ValueError for what cannot be compiled, for other reasons than its size.
    """
    config = config_from_hf(model)
    devices = slice_devices(settings.topology)
    mesh = make_mesh(settings.mesh, devices)
    found, compiled = [], None
    with use(mesh):
        for build in programs(settings, config, edits, mesh):
            compiled, report = _compiled(build(compiled), mesh.size)
            found.append(report)
            if compiled is None:
                break
    return {
        "edits": edits,
        "fits": compiled is not None,
        "needed_gib": max(report["needed_gib"] for report in found),
        "available_gib": available_gib(devices),
        "programs": found,
        "mesh": dict(mesh.shape),
        "device": devices[0].device_kind,
        "devices": len(devices),
        **inputs.sizes_of(settings, config, edits)._asdict(),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "libtpu", "flax")},
    }


def slice_devices(topology: str) -> Any:
    """The devices of a slice, which are not there. ValueError where the compiler knows no such slice."""
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except jax.errors.JaxRuntimeError as error:
        said = " ".join(str(error).split())[:500]
        raise ValueError(f"the compiler has no topology {topology!r}: {said}") from error


def _compiled(traced: Traced, devices: int) -> tuple[Any, dict[str, Any]]:
    """The compiled program, None where it does not fit, and its report."""
    flops = matmul_flops(traced.stage.jaxpr, traced.branch_shares, traced.trips)
    report = {"name": traced.name, "flops": flops, "flops_per_device": flops / devices}
    lowered = traced.stage.lower()
    started = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        refused = memory.refusal(str(error))
        if refused is None:
            raise ValueError(f"the compiler refused {traced.name!r}: {str(error)[:2000]}") from error
        seconds = round(time.perf_counter() - started, 1)
        return None, {**report, "fits": False, "needed_gib": memory.gib(refused.needed), "compile_seconds": seconds}
    seconds = round(time.perf_counter() - started, 1)
    stats = memory.account(compiled)
    by_kind = moved(compiled.as_text(), traced.branch_shares, traced.trips)
    return compiled, {
        **report,
        "fits": True,
        "needed_gib": stats["peak_gib"],
        **stats,
        "compile_seconds": seconds,
        "flops_by_compiler": (compiled.cost_analysis() or {}).get("flops"),
        "collectives": {kind: found._asdict() for kind, found in by_kind.items()},
    }


def available_gib(devices: Any) -> float | None:
    """Memory that programs may use of a device, in GiB: what the compiler answers to one that is far too large."""
    mesh = Mesh(np.array(devices[:1]), ("one",))
    huge = jax.ShapeDtypeStruct((2**24, 2**20), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec()))
    try:
        jax.jit(lambda x: x.sum()).lower(huge).compile()
    except jax.errors.JaxRuntimeError as error:
        refused = memory.refusal(str(error))
        return memory.gib(refused.available) if refused else None
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
