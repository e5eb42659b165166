"""The .meta beside a file of completions: how they were written, as far as it was recorded."""

from __future__ import annotations

import pathlib

from seal_jax.data import json_fields
from seal_jax.seal.recorded.files import read

SAMPLING = ("temperature", "top_p", "max_tokens")


def notes(path: pathlib.Path) -> list[str]:
    """What the .meta of a file says, and what is wrong with it; empty if there is none.

    Looked for are `NAME.json.meta` and `NAME.meta`. A .meta that cannot be read is a note and not an error: nothing
    depends on it.
    """
    beside = [path.with_name(f"{path.name}.meta"), path.with_suffix(".meta")]
    found = next((candidate for candidate in beside if candidate.is_file()), None)
    if found is None:
        return []
    try:
        value = read(found).value
    except (ValueError, OSError) as error:
        return [f"the .meta is of no use: {error}"]
    if not isinstance(value, dict):
        return [f"the .meta is of no use: {found}: expected an object, not {json_fields.named(value)}"]
    return [_written(value), *_faults(value, path, found)]


def _written(value: dict[str, object]) -> str:
    known = {key: value[key] for key in ("model", *SAMPLING, "n", "k") if key in value}
    return "the .meta says: " + (", ".join(f"{k} {json_fields.shown(v)}" for k, v in known.items()) or "nothing")


def _faults(value: dict[str, object], path: pathlib.Path, found: pathlib.Path) -> list[str]:
    out = value.get("dataset_out")
    if isinstance(out, str) and pathlib.PurePath(out).name != path.name:
        return [f"{found} was written for another file: its dataset_out is {out!r}"]
    return []
