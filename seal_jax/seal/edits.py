"""Self-edits as text: the prompts that ask for one, and the training sequences a completion becomes."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from seal_jax.data.squad import Passage
from seal_jax.evaluation.templates import Turns, chat, fill, fill_turns, load_template, load_turns

PROMPTS = pathlib.Path(__file__).parent / "prompts"
KINDS = ("implications", "implications-long", "implications-very-long", "rewrite", "self-qa", "no-prompt", "plain")
_FIELDS = ("title", "context")

_LABEL = r"Question\s+\d+:"
_HAS_LABEL = re.compile(_LABEL)
_HAS_ANSWER = re.compile(r"Answer\s*:")
_BEFORE_LABEL = re.compile(rf"\n(?={_LABEL})")


def edit_prompt(passage: Passage, kind: str = "implications", *, tokenizer: Any = None) -> str:
    """The text after which a model writes a self-edit of the passage.

    kind: one of KINDS ("no-prompt" shows the passage and asks for nothing, "plain" is the form of the embedded
    checkpoints) or the path of a template file with {title} and {context}. tokenizer: give one for a chat model, to
    have the kind's chat form (`edit_turns`) in the tokenizer's own format.
    """
    if tokenizer is not None:
        return chat(tokenizer, *edit_turns(passage, kind))
    return fill(load_template(kind, _FIELDS, PROMPTS), title=passage.title, context=passage.context)


def edit_turns(passage: Passage, kind: str = "implications") -> Turns:
    """The turns that ask a chat model for a self-edit, from the kind's `.chat.txt` or a file (`evaluation.templates`).

    Raises ValueError for "plain", which has no chat form.
    """
    return fill_turns(load_turns(kind, _FIELDS, PROMPTS), title=passage.title, context=passage.context)


def training_sequences(completion: str, title: str, context: str, split_newlines: bool = True) -> list[str]:
    """The texts to train on: each segment of the completion, then the passage, every one under a line of the title.

    The completion is cut at every `---`; with `split_newlines` further into lines, or into question-answer pairs
    where it is made of them. Bullets, numbers and repeated lines stay. An empty completion gives the passage alone
    with `split_newlines`, and the bare title as well without (as the reference does).
    """
    segments = [s.strip() for s in completion.split("---") if s.strip()] or [completion.strip()]
    if split_newlines:
        pairs = _HAS_LABEL.search(completion) and _HAS_ANSWER.search(completion)
        segments = _question_pairs(completion) if pairs else _lines(segments)
    return [f"{title}\n{segment}" for segment in (*segments, context.strip())]


def _question_pairs(completion: str) -> list[str]:
    first, *rest = _BEFORE_LABEL.split(completion.strip())
    # The prompt ends with the label of the first question, so the model does not repeat it. Only a part that gets the
    # label is stripped: the line end that the others keep is the reference's, and its recorded sequences hold it.
    return [first if first.startswith("Question") else f"Question 1: {first.strip()}", *rest]


def _lines(segments: list[str]) -> list[str]:
    lines = [line.strip() for segment in segments for line in segment.splitlines() if line.strip()]
    preamble = len(lines) > 1 and lines[1].startswith("1.")  # "Sure, here is a list:"
    return lines[1:] if preamble else lines
