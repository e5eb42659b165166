"""The model of a plan: its `config.json` alone, from wherever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seal_jax.models.errors import CheckpointError
from seal_jax.models.families import config_from_hf
from seal_jax.models.hub import local_folder
from seal_jax.models.tensors import read_json


def read_model_config(source: str) -> dict[str, Any]:
    """The object of a `config.json`: `source` is that file, a directory that holds one, or a hub name.

    Raises CheckpointError if it cannot be read or is not a model of the library.
    """
    path = Path(source)
    if path.suffix == ".json" and not path.is_file():
        raise CheckpointError(f"{source}: no such file; expected a config.json, a directory with one, or a hub name")
    if not path.is_file():
        path = local_folder(source, ["config.json"]) / "config.json"
    values = read_json(path)
    config_from_hf(values, str(path))
    return values
