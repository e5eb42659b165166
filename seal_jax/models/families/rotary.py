"""Rotary settings of a `config.json`: `rope_theta` and `rope_scaling` of transformers 4, `rope_parameters` of 5."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

from seal_jax.models.config import Config, RopeScaling
from seal_jax.models.families.fields import Fields
from seal_jax.models.rope import SCALINGS

# Read by others, and, of YaRN's first release, whether the checkpoint was trained further.
_HARMLESS = {"rope_theta", "partial_rotary_factor", "finetuned"}


def rope_object(fields: Fields) -> Fields:
    """The object with the rotary settings: `rope_scaling` where it is given, as transformers 5 does, or the other."""
    scaling, parameters = fields.child("rope_scaling"), fields.child("rope_parameters")
    return scaling if scaling.values else parameters


def read_rope(
    fields: Fields,
    head_dim: int,
    *,
    theta: str = "rope_theta",
    share: str = "partial_rotary_factor",
    default_share: float = 1.0,
    partial: bool = False,
) -> dict[str, Any]:
    """`rope_theta`, `rope_scaling`, `rotary_dim` and `max_position` of `Config`.

    theta, share: what the family calls these two outside of the object; partial: whether its attention can turn only
    the first channels of a head. Raises CheckpointError naming a field that is wrong or not supported.
    """
    scaling = rope_object(fields)
    nested = [name for name, value in scaling.values.items() if isinstance(value, dict)]
    if nested:
        raise scaling.refuse(nested[0], "one set of rotary settings for all layers")
    turning = scaling.number("partial_rotary_factor", fields.number(share, default_share))
    proportional = kind_of(scaling) == "proportional"
    if turning > 1 or (turning < 1 and not partial and not proportional):
        at, name = (scaling, "partial_rotary_factor") if scaling.raw("partial_rotary_factor") else (fields, share)
        raise at.refuse(name, "at most 1.0" if partial or proportional else "1.0")
    dim = head_dim if proportional else int(head_dim * turning)
    found = _stretching(fields, read_scaling(scaling, fields, dim, turning))
    return {
        "rope_theta": scaling.number("rope_theta", fields.number(theta, 10000.0)),
        "rope_scaling": found,
        "rotary_dim": None if dim == head_dim else dim,
        "max_position": context(fields.integer("max_position_embeddings"), found),
    }


def context(stated: int, *scalings: RopeScaling | None) -> int:
    """The positions a model takes: for two kinds `max_position_embeddings` is, or may be, that before scaling."""
    given = [s for s in scalings if s is not None]
    stretched = [int(s.original_max_position * s.factor) for s in given if s.kind in ("dynamic", "yarn")]
    return max([stated, *stretched, *(int(stated * s.factor) for s in given if s.stretches)])


def _stretching(fields: Fields, scaling: RopeScaling | None) -> RopeScaling | None:
    """The scaling, marked if it stretches what `max_position_embeddings` says.

    Linear scaling alone does not tell: some files state the context before it (Vicuna) and some that after it (Gemma
    3). The former also have `max_sequence_length`.
    """
    if scaling is None or scaling.kind != "linear":
        return scaling
    stated, after = fields.integer("max_position_embeddings"), fields.values.get("max_sequence_length")
    if after != stated * scaling.factor or scaling.factor == 1:
        return scaling
    fields.read.add("max_sequence_length")
    return dataclasses.replace(scaling, stretches=True)


def kind_of(scaling: Fields) -> str:
    """The kind of scaling an object asks for; "default" for none. CheckpointError for one that is not known."""
    kind = scaling.choice("type", ("default", *SCALINGS), "default")
    return scaling.choice("rope_type", ("default", *SCALINGS), kind)


def read_scaling(scaling: Fields, fields: Fields, dim: int, share: float = 1.0) -> RopeScaling | None:
    """The scaling of one set of rotary settings; fields: the whole config.json, dim: the channels that turn.

    Fields of the object that its kind does not use are named in a warning, for transformers ignores them as well.
    """
    kind = kind_of(scaling)
    original = scaling.integer("original_max_position_embeddings", fields.integer("max_position_embeddings"))
    original = fields.integer("original_max_position_embeddings", original)
    settings: dict[str, Any] = {} if kind == "default" else _READERS[kind](scaling, fields, original, dim)
    unused = [name for name in scaling.unread() if name not in _HARMLESS]
    if unused:
        warnings.warn(f"{scaling.where}: {kind} rotary positions do not use {', '.join(unused)}: ignored", stacklevel=2)
    if kind == "proportional":
        settings["proportion"] = share
    return None if kind == "default" else RopeScaling(kind, **settings)


def _factor(scaling: Fields, fields: Fields, original: int, dim: int) -> dict[str, Any]:
    return {"factor": scaling.number("factor")}


def _read_dynamic(scaling: Fields, fields: Fields, original: int, dim: int) -> dict[str, Any]:
    if dim <= 2:
        raise scaling.refuse("rope_type", f"another kind: dynamic scaling needs more than the {dim} channels that turn")
    # What it stretches is the context of the config.json, whatever else is said there.
    return {"factor": scaling.number("factor"), "original_max_position": fields.integer("max_position_embeddings")}


def _read_llama3(scaling: Fields, fields: Fields, original: int, dim: int) -> dict[str, Any]:
    names = ("factor", "low_freq_factor", "high_freq_factor")
    return {**{name: scaling.number(name) for name in names}, "original_max_position": original}


def _read_yarn(scaling: Fields, fields: Fields, original: int, dim: int) -> dict[str, Any]:
    if dim % 2:
        raise scaling.refuse("rope_type", f"another kind: yarn needs an even number of channels that turn, not {dim}")
    return {
        "factor": scaling.number("factor", fields.integer("max_position_embeddings") / original),
        "original_max_position": original,
        "attention_factor": scaling.number("attention_factor", None),
        "beta_fast": scaling.number("beta_fast", 32.0),
        "beta_slow": scaling.number("beta_slow", 1.0),
        "mscale": scaling.number("mscale", None),
        "mscale_all_dim": scaling.number("mscale_all_dim", None),
        "truncate": scaling.flag("truncate", True),
    }


def _read_longrope(scaling: Fields, fields: Fields, original: int, dim: int) -> dict[str, Any]:
    return {
        "factor": scaling.number("factor", fields.integer("max_position_embeddings") / original),
        "original_max_position": original,
        "attention_factor": scaling.number("attention_factor", None),
        "short_factor": scaling.numbers("short_factor", math.ceil(dim / 2)),
        "long_factor": scaling.numbers("long_factor", math.ceil(dim / 2)),
    }


def _read_proportional(scaling: Fields, fields: Fields, original: int, dim: int) -> dict[str, Any]:
    return {"factor": scaling.number("factor", 1.0)}


_READERS: dict[str, Callable[[Fields, Fields, int, int], dict[str, Any]]] = {
    "linear": _factor,
    "dynamic": _read_dynamic,
    "yarn": _read_yarn,
    "longrope": _read_longrope,
    "llama3": _read_llama3,
    "proportional": _read_proportional,
}
# The fields that each kind writes, and what config.json calls them where that differs.
_WRITTEN = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position", "attention_factor", "beta_fast", "beta_slow", "mscale",
             "mscale_all_dim", "truncate"),
    "longrope": ("factor", "original_max_position", "attention_factor", "short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position"),
    "proportional": ("factor", "proportion"),
}  # fmt: skip
_NAMES = {"original_max_position": "original_max_position_embeddings", "proportion": "partial_rotary_factor"}


def write_scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """The inverse of `read_scaling`, in the spelling that transformers 4 and 5 both read."""
    if scaling is None:
        return None
    written: dict[str, Any] = {"rope_type": scaling.kind}
    for name in _WRITTEN[scaling.kind]:
        value = getattr(scaling, name)
        if value is not None:
            written[_NAMES.get(name) or name] = list(value) if isinstance(value, tuple) else value
    return written


def write_rope(config: Config) -> dict[str, Any]:
    """The inverse of `read_rope` for families that turn whole heads."""
    return {"rope_theta": config.rope_theta, **write_context(config)}


def write_context(config: Config) -> dict[str, Any]:
    """`rope_scaling` and the `max_position_embeddings` that goes with it."""
    values = {"rope_scaling": write_scaling(config.rope_scaling), "max_position_embeddings": stated_context(config)}
    stretches = config.rope_scaling is not None and config.rope_scaling.stretches
    return {**values, "max_sequence_length": config.max_position} if stretches else values


def stated_context(config: Config) -> int:
    """The inverse of `context`: what `max_position_embeddings` has to be."""
    scalings = (config.rope_scaling, config.window_rope_scaling)
    given = [s for s in scalings if s is not None]
    before = [s.original_max_position for s in given if s.kind == "dynamic"]
    before += [round(config.max_position / s.factor) for s in given if s.stretches]
    return before[0] if before else config.max_position


def write_share(config: Config) -> float:
    """The share of a head's channels that turn, of which `int(head_dim * share)` is `rotary_dim` again."""
    dim = config.head_dim if config.rotary_dim is None else config.rotary_dim
    share = dim / config.head_dim
    return share if int(config.head_dim * share) == dim else math.nextafter(share, 2.0)
