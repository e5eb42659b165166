"""What tells one stream and its settings from another, beside the checkpoints of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.continual.described import LISTED, described
from seal_jax.continual.task_stream import Part, Settings, Task
from seal_jax.runtime.distributed import host
from seal_jax.runtime.files import read_json, to_plain, write_json

if TYPE_CHECKING:
    from seal_jax.runtime.checkpoint import Checkpointer

COMPARED = ("batch_size", "epochs", "importance_rows", "evaluate")
"""The settings under which a run may not go on with others; the rest change no number by more than rounding."""


def identity(
    tasks: Sequence[Task], parts: Sequence[Part], settings: Settings, seeds: Sequence[int], hyper: Any, label: Any
) -> dict[str, Any]:
    """What must be the same for a run to go on, as plain data: each task by name, size and hash, settings, label."""
    found: dict[str, Any] = {
        f"task {i + 1}": {"name": task.name, "rows": part.count, "steps": part.steps, "sha256": _digest(part)}
        for i, (task, part) in enumerate(zip(tasks, parts))
    }
    found |= {name: getattr(settings, name) for name in COMPARED}
    return to_plain({**found, "seeds": list(seeds), "hyper": jax.tree.leaves(hyper), "label": label})


def learner(method: Any, state: Any) -> dict[str, Any]:
    """What else must be the same, of the method (or what makes it) and the state before the first step, as plain data.

    "start", "optimizer", "memory": a hash of the arrays and of their structure, and by its path every number that the
    optimizer's state holds, strengths among them. "method ...": numbers, words and policies that the method's functions
    have been made with, by name. What changes no number (`remat`, `chunk`) is left out.
    """
    bits = iter(host(_fingerprint(state)).tolist())
    parts = {"start": state.params, "optimizer": state.optimizer, "memory": state.memory}
    found = {name: _hashed(tree, bits) for name, tree in parts.items()}
    for path, leaf in jax.tree.leaves_with_path(state.optimizer):
        if leaf.ndim < 2 and leaf.size <= LISTED and any(isinstance(k, jax.tree_util.GetAttrKey) for k in path[-1:]):
            found[f"optimizer{jax.tree_util.keystr(path)}"] = host(leaf)
    return to_plain({**found, **described(method)})


def can_go_on(checkpoints: Checkpointer, wanted: dict[str, Any]) -> bool:
    """Whether there are checkpoints, of this very run. Without any, the run is written down as what is to be there.

    Raises ValueError, naming the first differences, if they are of another.
    """
    path = checkpoints.folder / "stream.json"
    if not checkpoints.steps():
        write_json(path, wanted)
        return False
    held = read_json(path) if path.exists() else {}
    changed = [name for name in {**held, **wanted} if held.get(name) != wanted.get(name)]
    if changed:
        words = "; ".join(f"{n}: {_short(held.get(n))} there, {_short(wanted.get(n))} now" for n in changed[:3])
        raise ValueError(
            f"{checkpoints.folder} holds checkpoints of another stream ({words}): give another folder, or delete it"
        )
    return True


@jax.jit
def _fingerprint(tree: Any) -> jax.Array:
    """64 bits of each leaf, uint32 `[leaves, 2]`: computed where the arrays are, so that nothing is gathered.

    Sums modulo 2^32 of bits times odd numbers that depend on the place: the same however an array is split.
    """

    def one(x: jax.Array) -> jax.Array:
        x = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        x = x.astype(jnp.uint8) if x.dtype == bool else x
        bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * min(x.dtype.itemsize, 4)}")).astype(jnp.uint32)
        place = jnp.zeros(bits.shape, jnp.uint32)
        for axis in range(bits.ndim):
            place = place * jnp.uint32(bits.shape[axis]) + jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        mixed = (place + jnp.uint32(1)) * jnp.uint32(2654435761)
        mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(2246822519)
        weights = (mixed | jnp.uint32(1), (mixed ^ (mixed >> 13)) * jnp.uint32(3266489917) | jnp.uint32(1))
        return jnp.stack([((bits ^ (bits >> 16)) * w).sum(dtype=jnp.uint32) for w in weights])

    return jnp.stack([one(x) for x in jax.tree.leaves(tree)])


def _hashed(tree: Any, bits: Iterator[list[int]]) -> str:
    """Of a tree's structure, its leaves' places, shapes and dtypes, and the next bits, one entry for each leaf."""
    leaves = [
        f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape} {next(bits)}" for path, x in jax.tree.leaves_with_path(tree)
    ]
    return hashlib.sha256(f"{jax.tree.structure(tree)} {leaves}".encode()).hexdigest()[:16]


def _digest(part: Part) -> str:
    found = hashlib.sha256()
    for name, array in sorted({**part.rows, "order": part.order}.items()):
        array = np.ascontiguousarray(array)
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _short(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return f"{value['name']!r} of {value['rows']} rows, hash {value['sha256'][:8]}"
    return "nothing" if value is None else repr(value)
