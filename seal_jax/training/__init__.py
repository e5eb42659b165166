"""Training: losses, the pure fine-tune, and N of them at once."""

from seal_jax.training import loss, optim
from seal_jax.training.finetune import State, advance, begin, finetune, finetune_batch
from seal_jax.training.loss import LossFn, causal_lm, lm_loss, token_log_probs
from seal_jax.training.optim import Hyper, adamw, adamw_cosine, constant_schedule, cosine_schedule, linear_schedule
from seal_jax.training.segments import diverged, finetune_in_segments
from seal_jax.training.trainable import full_parameters, trainable

__all__ = [
    "Hyper",
    "LossFn",
    "State",
    "adamw",
    "adamw_cosine",
    "advance",
    "begin",
    "causal_lm",
    "constant_schedule",
    "cosine_schedule",
    "diverged",
    "finetune",
    "finetune_batch",
    "finetune_in_segments",
    "full_parameters",
    "linear_schedule",
    "lm_loss",
    "loss",
    "optim",
    "token_log_probs",
    "trainable",
]
