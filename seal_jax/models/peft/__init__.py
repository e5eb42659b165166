"""LoRA adapters in the PEFT layout: adapter_config.json and adapter_model.safetensors, one adapter or a stack of them.

PEFT ignores tensors whose names it does not expect, so a wrong prefix loads there without effect. Here every tensor
must be accounted for, in both directions: what the settings name must be in the file, and the other way round.
"""

from seal_jax.models.peft.loading import load_peft, read_adapter
from seal_jax.models.peft.saving import save_peft
from seal_jax.models.peft.stacks import adapter_folders, load_peft_stack, save_peft_stack

__all__ = ["adapter_folders", "load_peft", "load_peft_stack", "read_adapter", "save_peft", "save_peft_stack"]
