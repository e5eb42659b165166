"""Adapters: small pytrees that change a frozen model."""

from seal_jax.adapters import lora, svf
from seal_jax.adapters.attach import Adapter, attach
from seal_jax.adapters.fingerprint import fingerprint
from seal_jax.adapters.scales import check as check_scales
from seal_jax.adapters.targets import GROUPS, select
from seal_jax.adapters.weights import SVF, LoRA, SVFComposed, SVFMix, SVFResidual, dot, is_weight, materialize

__all__ = [
    "GROUPS",
    "SVF",
    "Adapter",
    "LoRA",
    "SVFComposed",
    "SVFMix",
    "SVFResidual",
    "attach",
    "check_scales",
    "dot",
    "fingerprint",
    "is_weight",
    "lora",
    "materialize",
    "select",
    "svf",
]
