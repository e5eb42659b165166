"""`adapter_config.json`: which modules PEFT adapts under it, with which rank and scale, and what is not plain LoRA."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seal_jax.models.errors import CheckpointError
from seal_jax.models.families.fields import Fields
from seal_jax.models.peft.patterns import Pattern

# Initialisations that leave the base weights as they are. The others are named below.
_INITS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
_CONVERT = (
    "its factors are relative to base weights that this initialisation changed; expected an adapter converted to plain "
    "LoRA, which peft writes with save_pretrained(path_initial_model_for_weight_conversion=...)"
)
_MERGE = "expected plain LoRA; let peft merge it (merge_and_unload) and load the merged model"
# Fields that change what is computed, and what would be right.
_REFUSED = {
    "use_dora": f"DoRA rescales each merged column; {_MERGE}",
    "lora_bias": f"the factors have biases; {_MERGE}",
    "modules_to_save": f"these modules were trained whole; {_MERGE}",
    "trainable_token_indices": f"rows of the embedding were trained; {_MERGE}",
    "target_parameters": f"parameters that are not the weight of a linear module are adapted; {_MERGE}",
    "layer_replication": f"layers are repeated; {_MERGE}",
    "megatron_config": "the layers are Megatron's; expected an adapter of the model in the Hugging Face layout",
    "use_qalora": "QALoRA pools the inputs; expected plain LoRA",
    "alora_invocation_tokens": "the adapter acts only after these tokens (aLoRA); expected plain LoRA",
    "use_bdlora": "the factors are block-diagonal (BD-LoRA); expected plain LoRA",
    "arrow_config": "several adapters are routed per token (Arrow); expected one plain LoRA",
    "kasa_config": f"KaSA truncates the base weights; {_MERGE}",
    "velora_config": "VeLoRA keeps further tensors; expected plain LoRA",
    "monteclora_config": "MonteCLoRA draws its factors; expected plain LoRA",
    "loftq_config": "LoftQ replaces the base weights by quantized ones; expected an adapter converted to plain LoRA",
}
_READ = (
    *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules"),
    *("layers_to_transform", "layers_pattern", "use_rslora", "bias", "init_lora_weights", "task_type"),
)
# These do not change what a loaded adapter computes. `fan_in_fan_out` says how torch stores the base weight, which
# merging needs to know there; the factors are stored the same way in either case.
_HARMLESS = (
    *("auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "lora_dropout"),
    *("fan_in_fan_out", "megatron_core", "qalora_group_size", "eva_config", "corda_config", "lora_ga_config"),
    *("runtime_config", "ensure_weight_tying"),
)
ALL_LINEAR = "all-linear"

Matcher = Callable[[str], bool]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an `adapter_config.json` says of each module, by the module's name in the model that PEFT wrapped.

    selects: whether a module is adapted, for any module but the output layer under "all-linear".
    bare: whether that model may be one without an output layer (a task other than CAUSAL_LM).
    """

    where: str
    selects: Matcher
    all_linear: bool
    bare: bool
    rslora: bool
    rank: int
    alpha: float
    ranks: tuple[tuple[Matcher, int], ...]
    alphas: tuple[tuple[Matcher, float], ...]

    def rank_of(self, module: str) -> int:
        """The rank of a module's factors."""
        return next((rank for matches, rank in self.ranks if matches(module)), self.rank)

    def scale_of(self, module: str) -> np.float32:
        """What multiplies `a @ b`: alpha / rank, or alpha / sqrt(rank) with `use_rslora`."""
        rank = self.rank_of(module)
        alpha = next((alpha for matches, alpha in self.alphas if matches(module)), self.alpha)
        return np.float32(alpha / (math.sqrt(rank) if self.rslora else rank))


def read_settings(values: dict[str, Any], where: str) -> Settings:
    """Translate the object of an `adapter_config.json`; `where` is what errors call it.

    Raises CheckpointError naming the field that is malformed, or that is not LoRA on linear modules.
    """
    fields = Fields(values, where)
    _check_plain(fields)
    return Settings(
        where=where,
        selects=_selector(fields),
        all_linear=_is_all_linear(values.get("target_modules")),
        bare=fields.choice("task_type", _TASKS, None) != "CAUSAL_LM",
        rslora=fields.flag("use_rslora", False),
        rank=fields.integer("r"),
        alpha=_number(fields, "lora_alpha"),
        ranks=_pattern(fields, "rank_pattern", Fields.integer),
        alphas=_pattern(fields, "alpha_pattern", _number),
    )


_TASKS = (*(None, "CAUSAL_LM", "FEATURE_EXTRACTION", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS"),)


def _check_plain(fields: Fields) -> None:
    fields.choice("peft_type", ("LORA",))
    fields.choice("bias", ("none",), "none")
    init = fields.values.get("init_lora_weights")
    if not any(init is known or (isinstance(init, str) and init == known) for known in _INITS):
        raise CheckpointError(f"{fields.where}: init_lora_weights={init!r} is not supported: {_CONVERT}")
    for name, value in fields.values.items():
        if name in _READ or name in _HARMLESS or value in (None, False, [], {}, ""):
            continue
        if name in _REFUSED:
            raise CheckpointError(f"{fields.where}: {name}={_short(value)} is not supported: {_REFUSED[name]}")
        raise CheckpointError(
            f"{fields.where}: {name}={_short(value)} is not known to leave LoRA as it is; expected it absent or null"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _number(fields: Fields, name: str) -> float:
    """A finite number, which may be zero or negative: subtracting an adapter is a use of it."""
    value = fields.values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        state = f"={_short(value)} is not supported" if name in fields.values else " is missing"
        raise CheckpointError(f"{fields.where}: {name}{state}; expected a finite number")
    return float(value)


def _pattern(fields: Fields, name: str, read: Callable[[Fields, str], Any]) -> tuple[tuple[Matcher, Any], ...]:
    """The entries of `rank_pattern` or `alpha_pattern`; the first that matches the end of a module's name counts."""
    entries = fields.child(name)
    return tuple((_ends_with(key, entries.where), read(entries, key)) for key in entries.values)


def _ends_with(key: str, where: str) -> Matcher:
    r"""What `re.match(rf"(.*\.)?({key})$", module)` says."""
    if not re.fullmatch(r"[\w.]*", key):
        return Pattern(rf"(.*\.)?({key})$", where).fullmatch
    size = len(key)  # every character stands for one character, a dot for any

    def matches(module: str) -> bool:
        begin = len(module) - size
        if begin < 0 or (begin and module[begin - 1] != "."):
            return False
        return all(k in (c, ".") for k, c in zip(key, module[begin:]))

    return matches


def _is_all_linear(target: Any) -> bool:
    return isinstance(target, str) and target.lower() == ALL_LINEAR


def _selector(fields: Fields) -> Matcher:
    excluded = _named(fields, "exclude_modules")[0] if fields.values.get("exclude_modules") else lambda _: False
    targeted, exactly = _named(fields, "target_modules")
    in_layers = _layers(fields)
    return lambda module: not excluded(module) and targeted(module) and (module in exactly or in_layers(module))


def _named(fields: Fields, name: str) -> tuple[Matcher, frozenset[str]]:
    """A test of module names, and the names that are given in full, to which `layers_to_transform` does not apply."""
    value = fields.values.get(name)
    if _is_all_linear(value) and name == "target_modules":
        return (lambda _: True), frozenset()
    if isinstance(value, str) and value:
        return Pattern(value, f"{fields.where}: {name}").fullmatch, frozenset()
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
        state = f"={_short(value)} is not supported" if name in fields.values else " is missing"
        raise CheckpointError(
            f"{fields.where}: {name}{state}; expected a list of module names, or a string with a regular expression"
        )
    names = frozenset(value)
    return (lambda module: any(end in names for end in _ends(module))), names


def _ends(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[i:]) for i in range(len(parts))]


def _layers(fields: Fields) -> Matcher:
    """A test whether a module is in one of `layers_to_transform`."""
    wanted = fields.values.get("layers_to_transform")
    if wanted is None or wanted == []:
        if fields.values.get("layers_pattern"):
            raise CheckpointError(f"{fields.where}: layers_pattern needs layers_to_transform beside it")
        return lambda _: True
    wanted = wanted if isinstance(wanted, list) else [wanted]
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in wanted):
        raise fields.refuse("layers_to_transform", "a layer number or a list of them, counted from 0")
    if isinstance(fields.values.get("target_modules"), str):
        raise CheckpointError(
            f"{fields.where}: layers_to_transform goes with a list of target_modules; a regular expression there "
            "has to name the layers itself"
        )
    patterns = _layer_patterns(fields)
    indices = frozenset(wanted)
    return lambda module: _layer_of(module, patterns) in indices


def _layer_patterns(fields: Fields) -> Sequence[Pattern]:
    value = fields.values.get("layers_pattern") or []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise fields.refuse("layers_pattern", "the name of the list of layers, or several")
    return [Pattern(rf"(?:^|.*?\.){name}", f"{fields.where}: layers_pattern") for name in names]


def _layer_of(module: str, patterns: Sequence[Pattern]) -> int | None:
    """The number that follows the name of the list of layers, or None. Without patterns, any `*.name.NUMBER.`."""
    parts = module.split(".")
    for pattern in patterns or [None]:
        for i in range(1 if pattern else 2, len(parts) - 1):
            if re.fullmatch(r"[0-9]{1,9}", parts[i]) and (not pattern or pattern.fullmatch(".".join(parts[:i]))):
                return int(parts[i])
    return None
