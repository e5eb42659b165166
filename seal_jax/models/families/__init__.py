"""Model families: `config.json` to `Config` and back, and the HF name of every leaf of the parameter tree.

A new family is one short file that makes a `Family`, its entry in `FAMILIES`, and one row in
`tests/models/test_hf_parity.py`. A family whose arithmetic differs also adds a field to `Config`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.families.family import Family, read_common, write_common
from seal_jax.models.families.fields import Fields
from seal_jax.models.families.llama import LLAMA
from seal_jax.models.families.mistral import MISTRAL
from seal_jax.models.families.qwen import QWEN2, QWEN3

FAMILIES: dict[str, Family] = {family.model_type: family for family in (LLAMA, MISTRAL, QWEN2, QWEN3)}

__all__ = ["FAMILIES", "Family", "config_from_hf", "config_to_hf", "family_of"]


def family_of(model_type: Any, where: str = "config.json") -> Family:
    """The family of a `model_type`. Raises CheckpointError naming the known ones."""
    if model_type not in FAMILIES:
        known = ", ".join(map(repr, FAMILIES))
        raise CheckpointError(f"{where}: model_type={model_type!r} is not supported; accepted: {known}")
    return FAMILIES[model_type]


def config_from_hf(values: Mapping[str, Any], where: str = "config.json") -> Config:
    """Translate the object of a `config.json`, as written by transformers 4 or 5.

    where: what an error calls the file. Raises CheckpointError naming a missing, malformed or unsupported field.
    """
    fields = Fields(values, where)
    family = family_of(values.get("model_type"), where)
    architectures = values.get("architectures") or [family.architecture]
    if architectures != [family.architecture]:
        raise fields.refuse("architectures", f"[{family.architecture!r}]")
    common = read_common(fields)
    try:
        return Config(model_type=family.model_type, **{**common, **family.read(fields, common)})
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error


def config_to_hf(config: Config) -> dict[str, Any]:
    """The object of a `config.json` that transformers 4 and 5 read as this model.

    Raises CheckpointError if the family's `config.json` cannot express a field of `config`.
    """
    family = family_of(config.model_type, "Config")
    values = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **write_common(config),
        **family.write(config),
    }
    got = dataclasses.asdict(config_from_hf(values))
    wanted = dataclasses.asdict(dataclasses.replace(config, sliding_windows=_canonical(config)))
    lost = [
        f"{name}={value!r} (would be read as {got[name]!r})" for name, value in wanted.items() if value != got[name]
    ]
    if lost:
        raise CheckpointError(f"a {family.model_type} config.json cannot express {'; '.join(lost)}")
    return values


def _canonical(config: Config) -> tuple[int | None, ...] | None:
    return config.sliding_windows if any(config.windows) else None
