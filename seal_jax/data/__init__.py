"""Passages and token batches: loaders, and packing to fixed shapes in numpy."""

from seal_jax.data.packing import (
    DEFAULT_BUCKETS,
    STEP_BUCKETS,
    Batch,
    Group,
    bucket,
    completion_batches,
    encode,
    encode_sequences,
    epoch_batches,
    group_by_shape,
    permutation,
    stack_edits,
    steps_needed,
    true_steps,
    truncate,
)
from seal_jax.data.squad import Passage, Question, load_squad, passage_of, read_items, subset

__all__ = [
    "DEFAULT_BUCKETS",
    "STEP_BUCKETS",
    "Batch",
    "Group",
    "Passage",
    "Question",
    "bucket",
    "completion_batches",
    "encode",
    "encode_sequences",
    "epoch_batches",
    "group_by_shape",
    "load_squad",
    "passage_of",
    "permutation",
    "read_items",
    "stack_edits",
    "steps_needed",
    "subset",
    "true_steps",
    "truncate",
]
