"""Asking and grading: prompt templates, answer prompts, grading rules, models that grade."""

from seal_jax.evaluation.agreement import agreement
from seal_jax.evaluation.endpoint import Client, Endpoint, EndpointError, endpoint_grader
from seal_jax.evaluation.grading import (
    RULES,
    Case,
    Grader,
    contained,
    correct,
    exact_match,
    normalize,
    parse_verdict,
    rule_grader,
    token_recall,
)
from seal_jax.evaluation.judge import judge, judge_prompts, judge_turns, read_verdict
from seal_jax.evaluation.qa import answer_prompt, topic_question
from seal_jax.evaluation.reply_cache import ReplyCache
from seal_jax.evaluation.templates import Turns, chat, fill, fill_turns, load_template, load_turns

__all__ = [
    "RULES",
    "Case",
    "Client",
    "Endpoint",
    "EndpointError",
    "Grader",
    "ReplyCache",
    "Turns",
    "agreement",
    "answer_prompt",
    "chat",
    "contained",
    "correct",
    "endpoint_grader",
    "exact_match",
    "fill",
    "fill_turns",
    "judge",
    "judge_prompts",
    "judge_turns",
    "load_template",
    "load_turns",
    "normalize",
    "parse_verdict",
    "read_verdict",
    "rule_grader",
    "token_recall",
    "topic_question",
]
