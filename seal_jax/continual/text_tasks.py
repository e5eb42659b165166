"""Tasks of texts for a language model: rows to train on, and test examples scored by ranking labels or by answering."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from seal_jax import generation
from seal_jax.continual import language
from seal_jax.continual.ranking import ranked_answers
from seal_jax.continual.task_stream import Task
from seal_jax.continual.text_scores import SCORES
from seal_jax.data.packing import bucket
from seal_jax.data.streams import Example, TextTask
from seal_jax.models import Config, Params

logger = logging.getLogger(__name__)
How = Literal["rank", "generate"]


class Asked(NamedTuple):
    """Test examples of a task.

    prompts: token ids; examples: their texts; labels: token ids of the answers there are, with the end of text, none
    where any text may be answered; names: of the labels; score: of `SCORES`.
    """

    prompts: list[list[int]]
    examples: tuple[Example, ...]
    labels: list[list[int]]
    names: tuple[str, ...]
    score: str


def tokenized(
    tasks: Sequence[TextTask], tokenizer: Any, *, max_prompt: int = 512, max_answer: int = 64, split: str = "test"
) -> list[Task]:
    """The tasks as `run` takes them, all of one shape: training rows whose targets are answer and end of text.

    max_prompt, max_answer: most tokens of either; a longer prompt loses its middle, so that what is asked and the end
    stay, a longer answer its end. How many did is logged. split: "test" or "validation", what `Task.test` asks.
    Raises ValueError for a tokenizer without an end-of-text token, and a task without examples.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer has no EOS token, with which answers end; set tokenizer.eos_token")
    encode = _Encoder(tokenizer, end, max_prompt, max_answer)
    for task in tasks:
        if not task.train or not getattr(task, split):
            counts = f"{len(task.train)} training and {len(getattr(task, split))} {split} examples"
            raise ValueError(f"task {task.name!r} has {counts}: it needs both")
    pairs = [[(encode.prompt(x.prompt), encode.answer(x.answer)) for x in task.train] for task in tasks]
    length = bucket(max(len(p) + len(a) for of in pairs for p, a in of))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    made = [
        Task(task.name, language.rows(of, length=length, pad_id=pad), encode.asked(task, split), task.epochs)
        for task, of in zip(tasks, pairs, strict=True)
    ]
    if encode.cut:
        logger.warning("%d texts are over %d (prompts) or %d (answers) tokens, cut", encode.cut, max_prompt, max_answer)
    return made


def joined(tasks: Sequence[Task], name: str = "joint") -> Task:
    """All tasks as one, its training rows those of all; `test` is a list of theirs."""
    train = {key: np.concatenate([task.train[key] for task in tasks]) for key in tasks[0].train}
    return Task(name, train, [task.test for task in tasks])


def example_scores(
    params: Params,
    config: Config,
    tokenizer: Any,
    asked: Asked,
    *,
    how: How = "rank",
    rows: int = 64,
    max_new_tokens: int = 64,
) -> np.ndarray:
    """What each test example scores in [0, 1]: float64 `[n]`. params: with the adapter attached.

    how: "rank", whether the likeliest of the labels is the right one, each with the end of text, where the task has
    labels; "generate" (and without labels), the task's score of a greedy answer. rows: sequences at once.
    """
    if how == "rank" and asked.labels:
        candidates = [asked.labels] * len(asked.prompts)
        chosen = ranked_answers(params, config, tokenizer, asked.prompts, candidates, rows=rows)
        return np.array([asked.names[k] == x.answer for k, x in zip(chosen, asked.examples, strict=True)], np.float64)
    texts: list[str] = []
    for start in range(0, len(asked.prompts), rows):
        prompts = asked.prompts[start : start + rows]
        out = generation.generate(params, config, prompts, None, max_new_tokens, tokenizer=tokenizer)
        texts += out.texts or []
    score = SCORES[asked.score]
    return np.array([score(text, x.answer, x.prompt) for text, x in zip(texts, asked.examples, strict=True)])


class _Encoder:
    """Texts to tokens, counting those that are cut."""

    def __init__(self, tokenizer: Any, end: int, max_prompt: int, max_answer: int) -> None:
        self._tokenizer, self._end, self._most = tokenizer, end, (max_prompt, max_answer)
        self.cut = 0

    def prompt(self, text: str) -> list[int]:
        ids = list(self._tokenizer.encode(text))
        ids = ids[:-1] if len(ids) > 1 and ids[-1] == self._end else ids
        most = self._most[0]
        if len(ids) <= most:
            return ids
        self.cut += 1
        return [*ids[: most // 2], *ids[most // 2 - most :]]

    def answer(self, text: str) -> list[int]:
        ids = list(self._tokenizer.encode(text, add_special_tokens=False))
        self.cut += len(ids) >= self._most[1]
        return [*ids[: self._most[1] - 1], self._end]

    def asked(self, task: TextTask, split: str) -> Asked:
        examples = getattr(task, split)
        prompts = [self.prompt(example.prompt) for example in examples]
        return Asked(prompts, examples, [self.answer(label) for label in task.labels], task.labels, task.score)
