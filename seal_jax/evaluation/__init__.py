"""Asking and grading: prompt templates, answer prompts, grading rules."""

from seal_jax.evaluation.grading import (
    RULES,
    contained,
    correct,
    exact_match,
    normalize,
    parse_verdict,
    token_recall,
)
from seal_jax.evaluation.qa import ANSWER_TOKENS, answer_prompt
from seal_jax.evaluation.templates import chat, fill, load_template

__all__ = [
    "ANSWER_TOKENS",
    "RULES",
    "answer_prompt",
    "chat",
    "contained",
    "correct",
    "exact_match",
    "fill",
    "load_template",
    "normalize",
    "parse_verdict",
    "token_recall",
]
