"""Questions about a passage as prompts, with the passage shown or withheld."""

from __future__ import annotations

from typing import Any

from seal_jax.evaluation.templates import chat, fill, load_template

# Reference settings for real models: greedy, at most this many new tokens, stop at EOS.
ANSWER_TOKENS = 64

_INSTRUCTION = "Answer the question shortly and directly."


def answer_prompt(
    title: str, question: str, template: str = "answer", *, context: str | None = None, tokenizer: Any = None
) -> str:
    """The text after which a model writes its answer.

    template: "answer" (real base models), "plain" (the short form the embedded checkpoints were trained on), or the
    path of a file. context: shows the passage; a shipped template then means its "-passage" form, and a file must
    hold {context}. tokenizer: give one to have a chat model's turns instead, with no use of `template`.
    """
    if tokenizer is not None:
        shown = "" if context is None else f"{title}\n{context}\n\n"
        return chat(tokenizer, _INSTRUCTION, f"{shown}Topic: {title}\n{question}")
    if context is None:
        return fill(load_template(template, ("title", "question")), title=title, question=question)
    text = load_template(f"{template}-passage", _FIELDS) if template in SHIPPED else load_template(template, _FIELDS)
    return fill(text, title=title, question=question, context=context)


SHIPPED = ("answer", "plain")
_FIELDS = ("title", "question", "context")
