"""What tells one stream and its settings from another, beside the checkpoints of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from seal_jax.continual.task_stream import Part, Settings, Task
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
