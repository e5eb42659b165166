"""Questions about a passage as prompts, with the passage shown or withheld."""

from __future__ import annotations

from typing import Any

from seal_jax.evaluation.templates import chat, fill, fill_turns, load_template, load_turns

SHIPPED = ("answer", "plain")


def topic_question(title: str, question: str) -> str:
    """The question under its topic line, as models and graders are asked it."""
    return f"Topic: {title}\n{question}"


def answer_prompt(
    title: str, question: str, template: str = "answer", *, context: str | None = None, tokenizer: Any = None
) -> str:
    """The text after which a model writes its answer.

    template: "answer" (real models), "plain" (the short form the embedded checkpoints were trained on, base form only),
    or the path of a file with {title} and {question}. context: shows the passage; a shipped template then means its
    "-passage" form, and a file must hold {context}. tokenizer: give one to have the template's chat form, in the
    tokenizer's own chat format.
    """
    name = f"{template}-passage" if context is not None and template in SHIPPED else template
    values = {"title": title, "question": question} | ({} if context is None else {"context": context})
    if tokenizer is None:
        return fill(load_template(name, values), **values)
    return chat(tokenizer, *fill_turns(load_turns(name, values), **values))
