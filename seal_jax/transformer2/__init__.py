"""Transformer-squared (arXiv 2501.06252): singular-value experts, trained by reward, chosen at run time."""

from seal_jax.transformer2 import reinforce, supervised
from seal_jax.transformer2.attempts import Attempt, accuracy, attempt
from seal_jax.transformer2.classification import classification_task
from seal_jax.transformer2.classify import Classifier, classify
from seal_jax.transformer2.dispatch import Dispatched, dispatch
from seal_jax.transformer2.expert_bank import ExpertBank, expert_bank
from seal_jax.transformer2.expert_files import list_library, load_expert, load_library, save_expert, save_library
from seal_jax.transformer2.experts import Expert, ExpertError, make_expert
from seal_jax.transformer2.serve import serve_batch
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.train import Trained, train_expert

__all__ = [
    "Attempt",
    "Classifier",
    "Dispatched",
    "Expert",
    "ExpertBank",
    "ExpertError",
    "Task",
    "Trained",
    "accuracy",
    "attempt",
    "classification_task",
    "classify",
    "dispatch",
    "expert_bank",
    "list_library",
    "load_expert",
    "load_library",
    "make_expert",
    "reinforce",
    "save_expert",
    "save_library",
    "serve_batch",
    "supervised",
    "train_expert",
]
