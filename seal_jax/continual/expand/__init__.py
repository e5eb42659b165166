"""Growing a model: new blocks that change nothing until they are trained."""

from seal_jax.continual.expand.blocks import Expanded, expand_blocks, frozen_old

__all__ = ["Expanded", "expand_blocks", "frozen_old"]
