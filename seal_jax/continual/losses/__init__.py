"""Losses and token weightings of continual learning; those of language models go into `finetune(loss_fn=)`."""

from seal_jax.continual.losses.der import CURRENT, LABELS, LOGITS, DerLoss, der_loss, top_logits, topk_kl, topk_mse
from seal_jax.continual.losses.dpo import DpoLoss, dpo_loss, preference_loss
from seal_jax.continual.losses.ir_dro import (
    DroLoss,
    MidRankLoss,
    dro_weights,
    example_losses,
    ir_dro_loss,
    mid_rank_loss,
    mid_rank_weights,
)
from seal_jax.continual.losses.lwf import (
    LwfLoss,
    Taught,
    attach_taught,
    attach_taught_in_full,
    distillation,
    divergence,
    lwf_loss,
    teach,
    untaught,
)
from seal_jax.continual.losses.reference import with_reference
from seal_jax.continual.losses.rho1 import RhoLoss, rho1_loss, select_tokens
from seal_jax.continual.losses.salient import WeightedLoss, salient_sequences, with_weights
from seal_jax.continual.losses.salient_spans import KINDS, Span, salient_spans

__all__ = [
    "CURRENT",
    "KINDS",
    "LABELS",
    "LOGITS",
    "DerLoss",
    "DpoLoss",
    "DroLoss",
    "LwfLoss",
    "MidRankLoss",
    "RhoLoss",
    "Span",
    "Taught",
    "WeightedLoss",
    "attach_taught",
    "attach_taught_in_full",
    "der_loss",
    "distillation",
    "divergence",
    "dpo_loss",
    "dro_weights",
    "example_losses",
    "ir_dro_loss",
    "lwf_loss",
    "mid_rank_loss",
    "mid_rank_weights",
    "preference_loss",
    "rho1_loss",
    "salient_sequences",
    "salient_spans",
    "select_tokens",
    "teach",
    "top_logits",
    "topk_kl",
    "topk_mse",
    "untaught",
    "with_reference",
    "with_weights",
]
