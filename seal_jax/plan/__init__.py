"""Does an experiment fit a TPU? Its real programs, compiled for the slice on a machine without a TPU."""

from seal_jax.plan.model_config import read_model_config
from seal_jax.plan.plan import plan
from seal_jax.plan.settings import Experiment, Settings

__all__ = ["Experiment", "Settings", "plan", "read_model_config"]
