"""Judges: a model that is asked about texts, and any reward function."""

from seal_jax.rain.judge import from_reward
from seal_jax.rain.judges.accuracy import Accuracy, accuracy, values
from seal_jax.rain.judges.build import check, options, sentiment, yes_no
from seal_jax.rain.judges.template import Template, load
from seal_jax.rain.judges.verdict import Verdict, verdicts

__all__ = [
    "Accuracy",
    "Template",
    "Verdict",
    "accuracy",
    "check",
    "from_reward",
    "load",
    "options",
    "sentiment",
    "values",
    "verdicts",
    "yes_no",
]
