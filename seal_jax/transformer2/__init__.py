"""Transformer-squared (arXiv 2501.06252): singular-value experts, trained by reward, chosen at run time."""

from seal_jax.transformer2 import cem, random_search, reinforce, supervised
from seal_jax.transformer2.attempts import Attempt, accuracy, attempt
from seal_jax.transformer2.classification import classification_task
from seal_jax.transformer2.classify import Classifier, classify
from seal_jax.transformer2.dispatch import Dispatched, dispatch
from seal_jax.transformer2.expert_bank import ExpertBank, expert_bank
from seal_jax.transformer2.expert_files import list_library, load_expert, load_library, save_expert, save_library
from seal_jax.transformer2.experts import Expert, ExpertError, make_expert
from seal_jax.transformer2.few_shot import FewShot, Found, few_shot
from seal_jax.transformer2.mixing import mix_experts
from seal_jax.transformer2.scores import compared, verdicts
from seal_jax.transformer2.serve import serve_batch
from seal_jax.transformer2.task_sets import TASKS, draw_shots, load_task
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.train import Trained, train_expert

__all__ = [
    "TASKS",
    "Attempt",
    "Classifier",
    "Dispatched",
    "Expert",
    "ExpertBank",
    "ExpertError",
    "FewShot",
    "Found",
    "Task",
    "Trained",
    "accuracy",
    "attempt",
    "cem",
    "classification_task",
    "classify",
    "compared",
    "dispatch",
    "draw_shots",
    "expert_bank",
    "few_shot",
    "list_library",
    "load_expert",
    "load_library",
    "load_task",
    "make_expert",
    "mix_experts",
    "random_search",
    "reinforce",
    "save_expert",
    "save_library",
    "serve_batch",
    "supervised",
    "train_expert",
    "verdicts",
]
