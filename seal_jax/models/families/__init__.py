"""Model families: `config.json` to `Config` and back, and the HF name of every leaf of the parameter tree.

A new family is one short file that makes a `Family`, its entry in `FAMILIES`, and one row in
`tests/models/family_rows.py`. A family whose arithmetic differs also adds a field to `Config`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.families.family import Family, read_common, write_common
from seal_jax.models.families.fields import Fields
from seal_jax.models.families.gemma import GEMMA, GEMMA2, GEMMA3, GEMMA3_WITH_VISION
from seal_jax.models.families.gpt_neo import GPT_NEO
from seal_jax.models.families.gpt_neox import GPT_NEOX
from seal_jax.models.families.known import check_unread
from seal_jax.models.families.llama import LLAMA
from seal_jax.models.families.mistral import MISTRAL
from seal_jax.models.families.qwen import QWEN2, QWEN3

_ALL = (LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA, GEMMA2, GEMMA3, GEMMA3_WITH_VISION, GPT_NEOX, GPT_NEO)
FAMILIES: dict[str, Family] = {family.model_type: family for family in _ALL}

__all__ = ["FAMILIES", "Family", "config_from_hf", "config_to_hf", "family_of", "written_as"]


def family_of(model_type: Any, where: str = "config.json") -> Family:
    """The family of a `model_type`. Raises CheckpointError naming the known ones."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(map(repr, FAMILIES))
        raise CheckpointError(f"{where}: model_type={model_type!r} is not supported; accepted: {known}")
    return FAMILIES[model_type]


def config_from_hf(values: Mapping[str, Any], where: str = "config.json") -> Config:
    """Translate the object of a `config.json`, as written by transformers 4 or 5.

    where: what an error calls the file. Raises CheckpointError naming a missing, malformed or unsupported field, and
    warns of fields that nothing uses.
    """
    family = family_of(values.get("model_type"), where)
    outer = Fields(values, where)
    architectures = outer.raw("architectures") or [family.architecture]
    if architectures != [family.architecture]:
        raise _other_architecture(outer, family)
    fields = Fields({**family.defaults, **_text_values(family, outer)}, where)
    common = read_common(fields, family.keys)
    own = family.read(fields, common)
    check_unread(fields, family.harmless | family.defaults.keys())
    try:
        return Config(model_type=family.model_type, **{**common, **own})
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _other_architecture(fields: Fields, family: Family) -> CheckpointError:
    """The error for a checkpoint of another class of transformers: its tensors are others."""
    bare = f"{re.sub('For[A-Z].*', '', family.architecture)}Model"
    wanted = family.architecture
    reason = f"this is not the checkpoint of a causal language model: take the {wanted} that it was made from"
    if fields.values["architectures"] == [bare]:
        root = family.modules["embed_tokens"].split(".")[0]
        reason += f" ({bare} has no output layer, and its tensors lack the prefix '{root}.')"
    return fields.refuse("architectures", f"[{wanted!r}]; {reason}")


def _text_values(family: Family, fields: Fields) -> Mapping[str, Any]:
    """The settings of the decoder; of a model that is more than text, one object of the file and what is beside it."""
    if family.text is None:
        return fields.values
    inner = fields.child(family.text)
    written = FAMILIES[family.written_as or family.model_type]
    inner.choice("model_type", (written.model_type,), written.model_type)
    outer = {name: value for name, value in fields.values.items() if name != family.text and value is not None}
    return {**inner.values, **outer}


def written_as(config: Config) -> Config:
    """The config as which a model is saved: a model that was loaded without its vision tower is a text model."""
    family = family_of(config.model_type, "Config")
    return dataclasses.replace(config, model_type=family.written_as or family.model_type)


def config_to_hf(config: Config) -> dict[str, Any]:
    """The object of a `config.json` that transformers 4 and 5 read as this model.

    Raises CheckpointError if the family's `config.json` cannot express a field of `config`.
    """
    config = written_as(config)
    family = family_of(config.model_type, "Config")
    values = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **write_common(config, family.keys),
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
