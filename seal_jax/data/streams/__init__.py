"""Streams of tasks over text: loaders of the layouts others publish, and policies that make streams of plain text."""

from seal_jax.data.streams.benchmark import ORDERS, load_cl_benchmark
from seal_jax.data.streams.cyclic import cyclic_order, recovery
from seal_jax.data.streams.tasks import Example, TextTask, carve, manifest
from seal_jax.data.streams.text import Difference, add_time, by_time, difference, sentences
from seal_jax.data.streams.trace import TRACE_TASKS, load_trace

__all__ = [
    "ORDERS",
    "TRACE_TASKS",
    "Difference",
    "Example",
    "TextTask",
    "add_time",
    "by_time",
    "carve",
    "cyclic_order",
    "difference",
    "load_cl_benchmark",
    "load_trace",
    "manifest",
    "recovery",
    "sentences",
]
