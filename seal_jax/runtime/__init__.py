"""What a run stands on: directories that remember, checkpoints, progress, meshes. No method code.

`checkpoint` (orbax) and `plots` (matplotlib) are submodules to import where they are used.
"""

from seal_jax.runtime.items import Items
from seal_jax.runtime.run import Run

__all__ = ["Items", "Run"]
