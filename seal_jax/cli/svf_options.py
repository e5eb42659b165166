"""What the commands of `seal-jax svf` share: which task, which experts, and what is loaded for them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from seal_jax.cli.options import RunOptions, at_least, config_of, file_sha256

if TYPE_CHECKING:
    from seal_jax.cli.startup import Opened
    from seal_jax.data.problems import Problem
    from seal_jax.models import Model
    from seal_jax.transformer2 import Task
    from seal_jax.transformer2.expert_bank import ExpertBank
    from seal_jax.transformer2.experts import Expert

ExpertPaths = tuple[pathlib.Path, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SvfRun(RunOptions):
    """The arguments of every run command on singular-value experts."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    factors: pathlib.Path | None = None
    """A directory in which the singular value decomposition of the model's matrices is kept, and found again by any
    later command on the same model. Without it, it is computed at the start."""
    form: Literal["auto", "base", "chat"] = "auto"
    """How problems are put: in the tokenizer's chat format if it has one, as plain text, or in the chat format."""
    rules: str = "fixed"
    """How answers are read: "fixed", or "reference" with the released code's defects."""
    max_new_tokens: int | None = None
    """Most tokens of an answer; by default the task's own number."""
    unguarded: tuple[str, ...] = ()
    """Guards around programs that a model wrote which may be missing on this machine, at your risk."""
    test: int = 0
    """Problems of the test split, its first ones; 0 is all."""
    rows: int = 64
    """Answers that are decoded at once."""

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(1, rows=self.rows, max_new_tokens=self.max_new_tokens)
        at_least(0, test=self.test)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneTask(SvfRun):
    """A run on one task."""

    task: str
    """What is solved: gsm8k, math, ..., or skills:FAMILY of the embedded world; a wrong name lists all."""
    data: str | None = None
    """In place of the task's usual data set: a file, a directory of them, or the name of a data set."""
    template: str | None = None
    """In place of the task's own prompt: a file with one (docs/grading.md), of the form that --form says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithExperts(SvfRun):
    """A run with experts."""

    experts: ExpertPaths
    """Expert files, and directories of them; an expert's name is its file's without the ending."""
    allow_transfer: bool = False
    """Use experts of another base model where layers and singular values are as many."""


def named_task(
    command: SvfRun, opened: Opened, name: str, data: str | None = None, template: str | None = None
) -> Task:
    """The task of a name as the command puts it, its test split cut as asked. Raises ValueError as `load_task`."""
    from seal_jax.transformer2 import task_sets

    how: dict[str, Any] = {"form": command.form, "rules": command.rules, "max_new_tokens": command.max_new_tokens}
    how |= {"tokenizer": opened.tokenizer, "unguarded": command.unguarded, "template": template}
    return _cut(task_sets.load_task(name, data, **how), command.test)


def own_task(command: OneTask, opened: Opened) -> Task:
    """The task of a command that has one."""
    return named_task(command, opened, command.task, command.data, command.template)


def sorting_task(command: SvfRun, opened: Opened, labels: Sequence[str], template: str, chat: bool) -> Task:
    """The task of sorting problems to labels, "LABEL=TASK" each. Raises ValueError for a label without a task."""
    from seal_jax.transformer2 import Classifier, classification_task

    pairs = {}
    for given in labels:
        label, _, name = given.partition("=")
        if not label or not name:
            raise ValueError(f"--sort {given}: expected LABEL=TASK, as in math=gsm8k")
        pairs[label] = named_task(command, opened, name)
    classifier = Classifier(dict.fromkeys(pairs, ""), template, chat=chat)
    return _cut(classification_task(classifier, pairs, opened.tokenizer, seed=command.seed), command.test)


def _cut(task: Task, test: int) -> Task:
    return task._replace(test=task.test[:test] if test else task.test)


def check_prompts(opened: Opened, task: Task, problems: Sequence[Problem]) -> int:
    """Tokens of the longest prompt, 0 of none. Raises ValueError naming a problem that leaves no room for an answer."""
    from seal_jax.models import Model
    from seal_jax.transformer2.attempts import encode_problems

    bare = Model(opened.checkpoint.config, {}, opened.tokenizer)  # weights are not read for it
    return max(map(len, encode_problems(bare, task, problems)), default=0)


def expert_files(paths: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """The files that paths stand for, by name. Raises ValueError for none, for an empty directory and equal names."""
    from seal_jax.transformer2.expert_files import library_files

    found: dict[str, pathlib.Path] = {}
    for path in paths:
        files = library_files(path) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"{path} holds no expert: expected .safetensors files, as `svf train` writes them")
        for file in files:
            if file.stem in found:
                raise ValueError(f"{found[file.stem]} and {file} are both named {file.stem!r}; rename one")
            found[file.stem] = file
    if not found:
        raise ValueError("--experts: give one expert file or more")
    return found


class Ready(NamedTuple):
    """A model whose layers are unrolled, as decoding has them; its experts, and the banks that hold them."""

    model: Model
    experts: Mapping[str, Expert]
    banks: Sequence[ExpertBank]

    def bank(self, names: Sequence[str]) -> ExpertBank:
        """The bank that holds all of the named experts. Raises ValueError where none does."""
        from seal_jax.transformer2.expert_bank import expert_bank

        for bank in self.banks:
            if set(names) <= set(bank.names):
                return bank
        return expert_bank({name: self.experts[name] for name in names}, {})  # tells what keeps them apart


def prepared(command: WithExperts, opened: Opened, tasks: Sequence[Task], files: Mapping[str, pathlib.Path]) -> Ready:
    """Everything a run with experts needs: their files and the tasks' prompts are looked at, sizes said, then loaded.

    Raises ValueError, naming the file, for an expert that is damaged or not of this model.
    """
    from seal_jax.cli.svf_startup import Load, announce_svf
    from seal_jax.models import sizes
    from seal_jax.transformer2.expert_files import load_expert

    alone = {name: load_expert(path) for name, path in files.items()}  # a damaged one is told before weights are read
    longest = max((check_prompts(opened, task, task.test) for task in tasks), default=0)
    answer = max((task.max_new_tokens for task in tasks), default=0)
    adapters = sum(sizes.count(expert.adapter) for expert in alone.values())
    svf = [path for expert in alone.values() for path, entry in expert.adapter.items() if "a" not in entry]
    load = Load(tuple(dict.fromkeys(svf)), None, adapters, longest, answer, command.rows, factored=bool(svf))
    announce_svf(opened, load, command.dtype, command.out, command.factors)
    return loaded(opened.load(command.dtype), files, command.factors, command.allow_transfer)


def loaded(model: Model, files: Mapping[str, pathlib.Path], cache: pathlib.Path | None, allow_transfer: bool) -> Ready:
    """Experts of files, checked against the model (stacked, as it was loaded), in as few banks as they need."""
    from seal_jax import models
    from seal_jax.transformer2.base_fingerprint import base_fingerprint
    from seal_jax.transformer2.expert_bank import expert_bank
    from seal_jax.transformer2.expert_files import load_expert
    from seal_jax.transformer2.update import layered

    base = None if allow_transfer else base_fingerprint(model.params)
    how: dict[str, Any] = {"base": base, "allow_transfer": allow_transfer}
    experts = {name: load_expert(path, model.params, **how) for name, path in files.items()}
    groups = [{name: experts[name] for name in names} for names in alike(experts)]
    banks = [expert_bank(group, model.params, cache=cache) for group in groups]
    banks = [bank._replace(factors=layered(bank.factors, model.config)) for bank in banks]
    return Ready(model._replace(params=models.unroll(model.params)), experts, banks)


def alike(experts: Mapping[str, Expert]) -> list[list[str]]:
    """Names of the experts that one bank can hold, group by group, in order of their first."""
    from seal_jax.transformer2.experts import kind_of

    groups: dict[tuple[bool, str], list[str]] = {}
    for name, expert in experts.items():
        groups.setdefault((kind_of(expert) == "lora", expert.meta.compose), []).append(name)
    return list(groups.values())


def run_config(command: WithExperts, files: Mapping[str, pathlib.Path]) -> dict[str, Any]:
    """The settings of a run, with what is in the files of its experts."""
    hashes = {name: file_sha256(path) for name, path in files.items()}
    return {**with_data(command), "experts_sha256": hashes}


def with_data(command: SvfRun) -> dict[str, Any]:
    """The arguments of a run, with what is in the file of its --data, if that is one."""
    data = getattr(command, "data", None)
    file = pathlib.Path(data) if isinstance(data, str) else None
    return config_of(command, data=file) if file and file.is_file() else config_of(command)
