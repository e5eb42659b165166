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


_FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")  # of v5e and v6e, as Cloud has them from one host on
_HOST = (2, 2, 1)  # chips of a host along each axis

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
    """The slice of a name KIND:AxB or KIND:AxBxC. ValueError with what would be right, also for one that nobody has.

    Slices are whole hosts, so that one of a single chip is none.
    """
    match = re.fullmatch(r"(\w+):([1-9]\d*(?:x[1-9]\d*)+)", name)
    kind = KINDS.get(match[1]) if match else None
    sizes = [int(n) for n in match[2].split("x")] if match else []
    if kind is None or len(sizes) != kind.axes:
        known = ", ".join(f"{k}:{'x'.join('AB' if v.axes == 2 else 'ABC')}" for k, v in KINDS.items())
        raise ValueError(
            f"topology {name!r} is not a TPU slice; the forms are {known}, chips along each axis of the interconnect, "
            "as in v5e:2x4 (Cloud type v5litepod-8) or v5p:2x2x2"
        )
    _check_shape(name, sizes)
    chips = math.prod(sizes)
    return Topology(name, kind, chips, chips * kind.devices)


def _check_shape(name: str, sizes: list[int]) -> None:
    kind, shape = name.split(":")
    if len(sizes) == 2 and shape not in _FLAT:
        raise ValueError(f"there is no slice {name!r}; of {kind} there are {', '.join(_FLAT)}")
    if any(size % least for size, least in zip(sizes, _HOST)):
        whole = "x".join(str(math.ceil(size / least) * least) for size, least in zip(sizes, _HOST))
        raise ValueError(
            f"there is no slice {name!r}: its hosts have 2x2x1 chips; use whole ones, as in {kind}:{whole}"
        )
