"""Tasks as the token sequences that test-time training and prediction see, in the tokenizer's own chat form."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from seal_jax.data.arc import Messages, Task, messages
from seal_jax.data.arc.grids import Augmenter
from seal_jax.data.arc.leave_out import queries, training_tasks
from seal_jax.evaluation.templates import chat
from seal_jax.seal.arc.edits import edit_prompt, instruction
from seal_jax.seal.arc.settings import Settings

MOST_BRIEF = 32
"""Tokens that an edit takes at the least, about."""


class Sequences(NamedTuple):
    """What a task is trained on: token ids, int32 `[length]` each, and where in each the answer begins."""

    tokens: list[Any]
    starts: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence; 0 without any."""
        return max(map(len, self.tokens), default=0)


class Posed(NamedTuple):
    """The queries of all tests of a task: token ids, most new tokens, number of the test, and the way back."""

    prompts: list[list[int]]
    limits: list[int]
    tests: list[int]
    inverses: list[Augmenter | None]


class Texts:
    """The texts of tasks; what several edits or checkpoints have in common is rendered once.

    tokenizer: of the model; one without a chat template gets the turns one after the other. context: tokens that the
    model takes. Equal (task, settings, seed) give equal texts.
    """

    def __init__(self, tokenizer: Any, context: int, settings: Settings, seed: int = 0) -> None:
        self.tokenizer, self.context, self.settings, self.seed = tokenizer, context, settings, seed
        self._query_length = settings.prediction.length(context)
        self._instruction = instruction(settings.instruction) if settings.instruction else ""
        self._end, self._header = _after_answer(tokenizer)
        self._sequences: dict[tuple[Task, tuple[str, ...]], Sequences] = {}
        self._queries: dict[tuple[Task, bool], Posed] = {}

    def sequences(self, task: Task, groups: Sequence[str]) -> Sequences:
        """The training sequences of a task under augmentation groups."""
        key = task, tuple(groups)
        if key not in self._sequences:
            ttt = self.settings.ttt
            most = min(ttt.max_length, self.context)
            found = training_tasks(
                task,
                groups,
                leave_n=ttt.leave_n,
                permute_n=ttt.permute_n,
                most=ttt.max_sequences,
                fits=lambda one: self._fits(self._turns(one), most),
                seed=self.seed,
                rules=ttt.rules,
            )
            self._sequences[key] = self._encoded([self._turns(one) for one in found])
        return self._sequences[key]

    def queries(self, task: Task, augmented: bool = True) -> Posed:
        """The queries of every test of a task that fit the context with an answer of the size of the demonstrations'.

        augmented: leave-out, reordered and transformed queries; otherwise the task as it stands, or none if it is too
        long. A test may be left without any query.
        """
        key = task, augmented
        if key not in self._queries:
            self._queries[key] = self._posed(task, augmented)
        return self._queries[key]

    def prompt(self, task: Task) -> str:
        """What the policy is asked for an edit of a task, in the chat form if the settings say so."""
        edits = self.settings.edits
        return edit_prompt(task, edits.template, self.tokenizer if edits.chat else None)

    def obstacle(self, task: Task) -> str | None:
        """Why a task cannot be worked on within the context, or None: its edit prompt, its training, or its tests."""
        asked = len(self._ids(self.prompt(task)))
        if asked + MOST_BRIEF > self.context:
            return f"its edit prompt takes {asked} tokens of a context of {self.context}"
        if not self.sequences(task, ()).tokens:
            return f"no training sequence fits {min(self.context, self.settings.ttt.max_length)} tokens"
        missing = set(range(len(task.tests))) - set(self.queries(task).tests)
        if missing:
            return f"no query of test {min(missing)} fits {self._query_length} tokens with its answer"
        return None

    def _posed(self, task: Task, augmented: bool) -> Posed:
        how = self.settings.prediction
        posed = Posed([], [], [], [])
        for test in range(len(task.tests)):
            fits = lambda one: self._room(one) > 0  # noqa: E731
            if augmented:
                found = queries(
                    task,
                    test,
                    include_n=how.include_n,
                    permute_n=how.permute_n,
                    fits=fits,
                    seed=self.seed,
                    rules=how.rules,
                )
                asked = [(q.task, q.inverse) for q in found]
            else:
                alone = task._replace(tests=(task.tests[test]._replace(output=None),))
                asked = [(alone, None)] if fits(alone) else []
            for one, inverse in asked:
                prompt = self._prompt(one)
                posed.prompts.append(prompt)
                posed.limits.append(min(how.max_new_tokens, self._query_length - len(prompt)))
                posed.tests.append(test)
                posed.inverses.append(inverse)
        return posed

    def _room(self, task: Task) -> int:
        """Tokens left after the query and an answer as long as the longest of the demonstrations.

        Under the reference's rules the query comes with the gold answer, which then is the one that counts.
        """
        known = task.tests if task.tests[0].output is not None else task.demos
        shown = [messages(task._replace(tests=(example,))).assistant for example in known]
        answer = max((len(self._ids(text)) for text in set(shown)), default=0)
        turns = self._turns(task)
        if self._at_most(turns) + answer < self._query_length:
            return 1
        return self._query_length - len(self._prompt(task)) - answer

    def _turns(self, task: Task) -> Messages:
        return messages(task, 0, self._instruction)

    def _prompt(self, task: Task) -> list[int]:
        return self._ids(self._asked(self._turns(task)))

    def _asked(self, turns: Messages) -> str:
        if getattr(self.tokenizer, "chat_template", None):
            return chat(self.tokenizer, turns.system, turns.user)
        return turns.system + turns.user

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text))

    def _at_most(self, turns: Messages) -> int:
        """A bound on the tokens of the turns that takes no tokenizer: a token is at least one character."""
        return sum(map(len, turns)) + 256

    def _fits(self, turns: Messages, most: int) -> bool:
        return self._at_most(turns) <= most or len(self._encoded([turns]).tokens[0]) <= most

    def _encoded(self, turns: Sequence[Messages]) -> Sequences:
        """Each conversation with its answer. The released form ends in an empty header and begins with two BOS."""
        reference = self.settings.ttt.loss == "reference"
        heads = [self._asked(t) for t in turns]
        tails = [t.assistant + self._end + (self._header if reference else "") for t in turns]
        bos = self.tokenizer.bos_token_id
        more = [bos] if reference and bos is not None and self._ids("")[:1] == [bos] else []
        found = Sequences([], [])
        for head, tail in zip(heads, tails):
            asked, whole = self._ids(head), self._ids(head + tail)
            if whole[: len(asked)] != asked:  # the two tokenise apart from each other, as they do in generation
                whole = asked + self._continued(tail)
            found.tokens.append(np.array(more + whole, np.int32))
            found.starts.append(len(more) + len(asked))
        return found

    def _continued(self, tail: str) -> list[int]:
        return list(self.tokenizer.encode(tail, add_special_tokens=False))


def check_ids(tasks: Iterable[Task]) -> None:
    """ValueError if two different tasks have one id: what comes of a task is kept, and found again, by its id."""
    known: dict[str, Task] = {}
    for task in tasks:
        if known.setdefault(task.id, task) != task:
            raise ValueError(f"two different tasks have the id {task.id!r}; results are kept by id, give each its own")


def task_number(task: Task) -> int:
    """A number that stands for a task in seeds, 0 to 2^31 - 1, of its id and demonstrations alone."""
    return zlib.crc32(repr((task.id, task.demos)).encode()) & 0x7FFFFFFF


def _after_answer(tokenizer: Any) -> tuple[str, str]:
    """What the chat form puts after an answer: the end of the turn, and the header of another answer."""
    if not getattr(tokenizer, "chat_template", None):
        return tokenizer.eos_token or "", ""
    mark = "7"  # an answer no template has reason to change
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": mark}]
    render = tokenizer.apply_chat_template
    closed, opened = (render(turns, tokenize=False, add_generation_prompt=more) for more in (False, True))
    end = closed.rpartition(mark)[2]
    return end.strip(), opened.removeprefix(closed) if opened.startswith(closed) else ""
