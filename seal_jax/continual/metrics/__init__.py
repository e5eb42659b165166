"""Metrics of continual learning: from a matrix of scores, from a run, from a model's answers."""

from seal_jax.continual.metrics.cloze import ClozeScores, Probe, cloze_scores, probe_of
from seal_jax.continual.metrics.edits import Edit, EditScores, edit_scores
from seal_jax.continual.metrics.general import Delta, Fuar, alignment_tax, fuar, trace_delta
from seal_jax.continual.metrics.intervals import Interval, bootstrap, bootstrap_difference
from seal_jax.continual.metrics.matrix import Figure, by_task, curve, from_matrix, over_runs
from seal_jax.continual.metrics.recorded import Scores, from_run, read_scores

__all__ = [
    "ClozeScores",
    "Delta",
    "Edit",
    "EditScores",
    "Figure",
    "Fuar",
    "Interval",
    "Probe",
    "Scores",
    "alignment_tax",
    "bootstrap",
    "bootstrap_difference",
    "by_task",
    "cloze_scores",
    "curve",
    "edit_scores",
    "from_matrix",
    "from_run",
    "fuar",
    "over_runs",
    "probe_of",
    "read_scores",
    "trace_delta",
]
