"""Losses and token weightings of continual learning; those of language models go into `finetune(loss_fn=)`."""

from seal_jax.continual.losses.der import CURRENT, LABELS, LOGITS, DerLoss, der_loss, top_logits, topk_kl, topk_mse
from seal_jax.continual.losses.lwf import (
    LwfLoss,
    Taught,
    attach_taught,
    attach_taught_in_full,
    distillation,
    divergence,
    teach,
    untaught,
)

__all__ = [
    "CURRENT",
    "LABELS",
    "LOGITS",
    "DerLoss",
    "LwfLoss",
    "Taught",
    "attach_taught",
    "attach_taught_in_full",
    "der_loss",
    "distillation",
    "divergence",
    "teach",
    "top_logits",
    "topk_kl",
    "topk_mse",
    "untaught",
]
