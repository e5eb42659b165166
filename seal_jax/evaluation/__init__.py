"""Asking and grading: prompt templates, answer prompts, grading rules, models that grade."""

from seal_jax.evaluation.agreement import agreement
from seal_jax.evaluation.choice_answers import chosen
from seal_jax.evaluation.code_answers import code_of, humaneval_program, mbpp_program, sanitized
from seal_jax.evaluation.code_execution import (
    Limits,
    Outcome,
    Program,
    UnguardedError,
    missing_guards,
    run_program,
    run_programs,
)
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
from seal_jax.evaluation.math_answers import last_number, math_answer, math_correct, number_correct
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
    "Limits",
    "Outcome",
    "Program",
    "ReplyCache",
    "Turns",
    "UnguardedError",
    "agreement",
    "answer_prompt",
    "chat",
    "chosen",
    "code_of",
    "contained",
    "correct",
    "endpoint_grader",
    "exact_match",
    "fill",
    "fill_turns",
    "humaneval_program",
    "judge",
    "judge_prompts",
    "judge_turns",
    "last_number",
    "load_template",
    "load_turns",
    "math_answer",
    "math_correct",
    "mbpp_program",
    "missing_guards",
    "normalize",
    "number_correct",
    "parse_verdict",
    "read_verdict",
    "rule_grader",
    "run_program",
    "run_programs",
    "sanitized",
    "token_recall",
    "topic_question",
]
