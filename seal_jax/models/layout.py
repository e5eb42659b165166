"""Where each leaf of the parameter tree is found in a checkpoint: its HF names, shapes and orientation."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax

from seal_jax.models.config import Config
from seal_jax.models.families import family_of
from seal_jax.models.transformer import init

# What a leaf is called in torch, and whether torch stores it transposed.
_LEAVES = {
    "kernel": ("weight", True),
    "scale": ("weight", False),
    "embedding": ("weight", False),
    "bias": ("bias", False),
}


class Leaf(NamedTuple):
    """One leaf of the parameter tree and the tensors it is made of.

    path: "layers/self_attn/q_proj/kernel"; shape: of the leaf, with the layer axis; names: HF names, one per layer or
    just one; transposed: torch stores `[out, in]` where we have `[in, out]`; modules: what a transformers model calls
    the module of each name, as adapters do ("gpt_neox.layers.0.attention.dense").
    """

    path: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    transposed: bool
    modules: tuple[str, ...]

    @property
    def stacked(self) -> bool:
        """Whether the leaf has a leading layer axis."""
        return self.path.startswith("layers/")

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of each tensor in the file."""
        shape = self.shape[1:] if self.stacked else self.shape
        return shape[::-1] if self.transposed else shape


def leaves(config: Config) -> list[Leaf]:
    """Every leaf that `models.init(key, config)` has, with its HF names. Nothing is allocated."""
    family = family_of(config.model_type, "Config")
    shapes = jax.eval_shape(partial(init, config=config), jax.random.key(0))
    found = []
    for keys, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        parts = [key.key for key in keys]
        suffix, transposed = _LEAVES[parts[-1]]
        module = family.modules["/".join(parts[:-1])]
        modules = tuple(module.format(i) for i in range(config.num_layers)) if parts[0] == "layers" else (module,)
        names = tuple(f"{module}.{suffix}" for module in modules)
        live = tuple(family.live.get(module, module) for module in modules)
        found.append(Leaf("/".join(parts), leaf.shape, names, transposed, live))
    return found
