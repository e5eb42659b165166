"""ARC tasks (arXiv 1911.01547) in numpy and the standard library: loaders, text, augmentations, training tasks."""

from seal_jax.data.arc.augment import (
    CONCAT,
    GROUPS,
    OTHERS,
    QUERY_AUGMENTERS,
    REFERENCE_GROUPS,
    TaskAugmenter,
    apply,
    by_name,
)
from seal_jax.data.arc.grids import Augmenter, recolor
from seal_jax.data.arc.leave_out import Query, leave_out, queries, training_tasks
from seal_jax.data.arc.randomized import color_map
from seal_jax.data.arc.subsets import Subset, reference_subset
from seal_jax.data.arc.tasks import Example, Grid, Task, fits_in, grid_of, load_arc, task_of
from seal_jax.data.arc.text import ANSWER_END, Messages, demo_text, grid_text, messages, parse_grid

__all__ = [
    "ANSWER_END",
    "CONCAT",
    "GROUPS",
    "OTHERS",
    "QUERY_AUGMENTERS",
    "REFERENCE_GROUPS",
    "Augmenter",
    "Example",
    "Grid",
    "Messages",
    "Query",
    "Subset",
    "Task",
    "TaskAugmenter",
    "apply",
    "by_name",
    "color_map",
    "demo_text",
    "fits_in",
    "grid_of",
    "grid_text",
    "leave_out",
    "load_arc",
    "messages",
    "parse_grid",
    "queries",
    "recolor",
    "reference_subset",
    "task_of",
    "training_tasks",
]
