"""TPU slices by name: what a name such as "v5e:2x4" means, and what the compiler needs to know about it."""

from __future__ import annotations

import math
import re
from typing import NamedTuple


class Kind(NamedTuple):
    """One generation of TPU.

    axes: dimensions of its interconnect; devices: JAX devices of a chip; hbm_gib: nominal memory of a device in GiB,
    for choosing a mesh (what a program may use is asked of the compiler); accelerator: prefix of its Cloud type.
    """

    axes: int
    devices: int
    hbm_gib: float
    accelerator: str


KINDS: dict[str, Kind] = {
    "v4": Kind(3, 2, 16.0, "v4"),
    "v5e": Kind(2, 1, 16.0, "v5litepod"),
    "v5p": Kind(3, 1, 95.0, "v5p"),
    "v6e": Kind(2, 1, 32.0, "v6e"),
    "tpu7x": Kind(3, 2, 96.0, "tpu7x"),
}


class Topology(NamedTuple):
    """A slice. name: as jax takes it; kind: of `KINDS`; chips: their number; devices: the number of JAX devices."""

    name: str
    kind: Kind
    chips: int
    devices: int


def parse_topology(name: str) -> Topology:
    """The slice of a name KIND:AxB or KIND:AxBxC. ValueError with what would be right."""
    match = re.fullmatch(r"(\w+):([1-9]\d*(?:x[1-9]\d*)+)", name)
    kind = KINDS.get(match[1]) if match else None
    sizes = [int(n) for n in match[2].split("x")] if match else []
    if kind is None or len(sizes) != kind.axes:
        known = ", ".join(f"{k}:{'x'.join('AB' if v.axes == 2 else 'ABC')}" for k, v in KINDS.items())
        raise ValueError(
            f"topology {name!r} is not a TPU slice; the forms are {known}, chips along each axis of the interconnect, "
            "as in v5e:2x4 (Cloud type v5litepod-8) or v5p:2x2x2"
        )
    chips = math.prod(sizes)
    return Topology(name, kind, chips, chips * kind.devices)
