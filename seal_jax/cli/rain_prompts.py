"""Prompts of `seal-jax rain`: from a file or a dataset, framed as dialogues, and what of them the judge is shown."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import tyro

from seal_jax.cli.arguments import unescaped
from seal_jax.cli.options import at_least
from seal_jax.cli.prompt_file import read_prompts

if TYPE_CHECKING:
    import numpy as np

    from seal_jax.models import Config

FIELD = "{prompt}"
_MARK = "\ue003"  # in place of what a user says; a private character


class Dataset(NamedTuple):
    """How prompts of a dataset become texts for a base model, and what ends their continuations."""

    frame: str
    stop: tuple[str, ...] = ()


DATASETS = {
    "red_team": Dataset("Human: {prompt}\n\nAssistant:", ("\n\nHuman:",)),
    "advbench": Dataset("USER: {prompt}\nASSISTANT:", ("\nUSER:",)),
    "truthful_qa": Dataset("Q: {prompt}\nA:", ("\nQ:",)),
    "imdb": Dataset(FIELD),
}
"""By the name of their loader in `data.alignment`."""


@dataclasses.dataclass(frozen=True)
class Asking:
    """What is continued: --prompts, or --data."""

    prompts: pathlib.Path | None = None
    """A file of prompts: one a line, or with the ending .jsonl or .json objects {"prompt": "text"} or
    {"messages": [...]}."""
    data: str | None = None
    """In place of --prompts: red_team, advbench, truthful_qa or imdb, by its name on the hub, or NAME=SOURCE for a
    file, a directory or another name (advbench=goals.csv)."""
    split: str | None = None
    """With --data, one of its splits; by default test if there is one, else the first."""
    suffixes: pathlib.Path | None = None
    """With --data advbench, a file of the attack's suffixes, one for each request in their order."""
    limit: int = 0
    """How many prompts, the first ones; 0 is all."""
    frame: str | None = None
    """What text prompts are put into, {prompt} in it, as "Q: {prompt}\\nA:" (\\n is a line end); those of --data have
    one by default, which also sets where texts end."""
    prefix: pathlib.Path | None = None
    """A file whose text comes before every text prompt, worked examples for instance. The judge is not shown it."""
    chat: bool = False
    """Text prompts are what the user says: they go through the tokenizer's chat template."""
    system: str | None = None
    """With --chat, the system message before each. The judge is not shown it."""
    stop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A string that ends a text and is not part of it (\\n in it is a line end, \\t a tab); the flag may be given
    again."""

    def __post_init__(self) -> None:
        """Raise ValueError, naming the flag, for what does not go together."""
        at_least(0, limit=self.limit)
        if (self.prompts is None) == (self.data is None):
            raise ValueError("give --prompts FILE, or --data NAME")
        if self.data is not None and _name(self) not in DATASETS:
            raise ValueError(f"--data {self.data}: use one of {', '.join(DATASETS)}, or NAME=SOURCE")
        if self.split is not None and self.data is None:
            raise ValueError("--split is of a dataset: give --data too")
        if self.suffixes is not None and _name(self) != "advbench":
            raise ValueError("--suffixes are of --data advbench")
        if self.frame is not None and FIELD not in self.frame:
            raise ValueError(f"--frame {self.frame!r}: expected {FIELD} in it")
        if self.chat and (self.frame is not None or self.prefix is not None):
            raise ValueError("--frame and --prefix are of texts that a base model continues: leave out --chat")
        if self.system is not None and not self.chat:
            raise ValueError("--system is a message of a chat: give --chat too")
        if "" in self.stop:
            raise ValueError("--stop '': an empty string is in every text; leave it out")

    @property
    def files(self) -> dict[str, pathlib.Path | None]:
        """The files that prompts come from, by flag."""
        source = pathlib.Path((self.data or "").partition("=")[2] or ".")
        data = source if source.is_file() else None
        return {"prompts": self.prompts, "data": data, "suffixes": self.suffixes, "prefix": self.prefix}

    @property
    def ends(self) -> list[str]:
        """The strings that end a text."""
        own = DATASETS[_name(self)].stop if self.data and not self.chat and self.frame is None else ()
        return [*own, *map(unescaped, self.stop)]


class Prompts(NamedTuple):
    """tokens: an int32 array each; judged_from: how many at its beginning the judge is not shown."""

    tokens: list[np.ndarray]
    judged_from: list[int]


def read(asking: Asking) -> list[Any]:
    """The prompts, each text or messages, as they were given.

    Raises ValueError, naming file and place, for a file that cannot be read, no prompts, and one that is blank.
    """
    if asking.prompts is not None:
        found = [asked.prompt for asked in read_prompts(asking.prompts, choice=None)]
    else:
        found = _from_dataset(asking)
    found = found[: asking.limit] if asking.limit else found
    for row, prompt in enumerate(found):
        if not (prompt.strip() if isinstance(prompt, str) else prompt):
            raise ValueError(f"{asking.prompts}: prompt {row} is empty, so there is nothing to judge a text by")
    return found


def encode(asking: Asking, asked: Sequence[Any], config: Config, tokenizer: Any) -> Prompts:
    """Prompts as tokens, and from where on the judge is shown each: behind the prefix and what opens every sequence.

    Of messages it is shown what the user says last, and all that follows. Raises ValueError, naming the prompt, as
    `generation.prompts.encode`, and as `read` for the prefix.
    """
    from seal_jax.data.json_fields import read_text
    from seal_jax.generation.prompts import encode_one

    prefix = read_text(asking.prefix, "text") if asking.prefix else ""
    opening: list[int] = tokenizer.encode(prefix)
    tokens, starts = [], []
    for row, prompt in enumerate(asked):
        full, name = _full(asking, prompt, prefix), f"prompt {row}"
        before = opening if isinstance(full, str) else encode_one(name, _unsaid(full), config, tokenizer).tolist()
        tokens.append(encode_one(name, full, config, tokenizer))
        starts.append(_same(tokens[-1].tolist(), before))
    return Prompts(tokens, starts)


def _from_dataset(asking: Asking) -> list[str]:
    from seal_jax.data import alignment

    name, _, source = str(asking.data).partition("=")
    how: dict[str, Any] = {"source": source} if source else {}
    if asking.suffixes:
        how["suffix"] = alignment.advbench.read_suffixes(asking.suffixes)
    splits = getattr(alignment, name).load(**how)
    chosen = asking.split or ("test" if "test" in splits else next(iter(splits)))
    if chosen not in splits:
        raise ValueError(f"--split {chosen}: --data {asking.data} has {', '.join(splits)}")
    return [problem.prompt for problem in splits[chosen]]


def _full(asking: Asking, prompt: Any, prefix: str) -> Any:
    """What the model continues."""
    if not isinstance(prompt, str):
        return prompt
    if asking.chat:
        system = [] if asking.system is None else [{"role": "system", "content": asking.system}]
        return [*system, {"role": "user", "content": prompt}]
    own = DATASETS[_name(asking)].frame if asking.data else FIELD
    return prefix + (own if asking.frame is None else unescaped(asking.frame)).replace(FIELD, prompt)


def _unsaid(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with something else in the last that the user says."""
    last = max((n for n, m in enumerate(messages) if m.get("role") == "user"), default=len(messages) - 1)
    return [{**m, "content": _MARK} if n == last else m for n, m in enumerate(messages)]


def _same(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with."""
    differing = (n for n, (a, b) in enumerate(zip(first, second)) if a != b)
    return next(differing, min(len(first), len(second)))


def _name(asking: Asking) -> str:
    return (asking.data or "").partition("=")[0]
