"""N adapters over one base model, cut into layers before the decode loop rather than in each of its steps."""

from __future__ import annotations

from typing import NamedTuple

import jax

from seal_jax.adapters import Adapter, attach
from seal_jax.models import Params


class Bank(NamedTuple):
    """Adapters whose leaves have a leading axis N, and the SVF factors they share (no such axis), or None."""

    adapters: Adapter
    factors: Adapter | None = None

    @property
    def count(self) -> int:
        """N."""
        return len(jax.tree.leaves(self.adapters)[0])


class Layered(NamedTuple):
    """An adapter tree cut up: `layers[i]` holds layer i's entries (no layer axis), `rest` those outside the layers."""

    rest: Adapter
    layers: tuple[Adapter, ...]


def cut(adapter: Adapter, layers: int, axis: int) -> Layered:
    """Slice every entry below "layers/" along its layer axis. Raises ValueError if it is not `layers` long there."""
    stacked = {path: entry for path, entry in adapter.items() if path.startswith("layers/")}
    for path, entry in stacked.items():
        for name, x in entry.items():
            if x.shape[axis : axis + 1] != (layers,):
                raise ValueError(f"{path}: {name} of shape {x.shape} is not stacked for {layers} layers on axis {axis}")
    pick = lambda i: jax.tree.map(lambda x: jax.lax.index_in_dim(x, i, axis, keepdims=False), stacked)  # noqa: E731
    rest = {path: entry for path, entry in adapter.items() if path not in stacked}
    return Layered(rest, tuple(pick(i) for i in range(layers)))


def attach_cut(params: Params, adapter: Layered, factors: Layered, compose: str) -> Params:
    """`adapters.attach` of one adapter that `cut` has cut up to unrolled parameters."""
    params = attach(params, adapter.rest, factors.rest, compose)
    each = zip(params["layers"], adapter.layers, factors.layers)
    return {**params, "layers": tuple(attach({"layers": p}, a, f, compose)["layers"] for p, a, f in each)}
