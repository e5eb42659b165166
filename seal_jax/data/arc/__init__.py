"""ARC tasks (arXiv 1911.01547) in numpy and the standard library: loaders, text, augmentations, training tasks."""

from seal_jax.data.arc.tasks import Example, Grid, Task, fits_in, grid_of, load_arc, task_of
from seal_jax.data.arc.text import ANSWER_END, Messages, demo_text, grid_text, messages, parse_grid

__all__ = [
    "ANSWER_END",
    "Example",
    "Grid",
    "Messages",
    "Task",
    "demo_text",
    "fits_in",
    "grid_of",
    "grid_text",
    "load_arc",
    "messages",
    "parse_grid",
    "task_of",
]
