"""`seal-jax svf train`: one expert of one task."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import TYPE_CHECKING, Any, Literal

from seal_jax.cli.options import at_least
from seal_jax.cli.report import Report, finished
from seal_jax.cli.startup import open_model
from seal_jax.cli.svf_options import OneTask, check_prompts, own_task, sorting_task, with_data
from seal_jax.cli.svf_startup import Load, announce_svf
from seal_jax.transformer2 import reinforce, supervised

if TYPE_CHECKING:
    from seal_jax.models import Model
    from seal_jax.runtime import Run
    from seal_jax.transformer2 import Task, Trained

REINFORCE, SUPERVISED = reinforce.Settings(), supervised.Settings()


@dataclasses.dataclass(frozen=True)
class Svf:
    """A fresh expert of singular values, and what it scales."""

    targets: tuple[str, ...] = ("mlp",)
    """Modules, or the groups attention, mlp and all."""
    rank: int | None = None
    """How many of the largest singular values of a matrix are scaled; all by default."""
    mean: float = 0.1
    """Mean of the raw parameters at the start."""
    std: float = 0.01
    """Their standard deviation."""

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"rank {self.rank}: use 1 or more")


@dataclasses.dataclass(frozen=True)
class Lora:
    """A fresh LoRA adapter, to compare with; the paper's."""

    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Modules, or the groups attention, mlp and all."""
    rank: int = 16
    """Rank of the adapter."""
    alpha: float = 32.0
    """Its scale is alpha / rank."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank {self.rank}: use 1 or more")


SVF, LORA = Svf(), Lora()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(OneTask):
    """Train an expert on a task and write it to a file, beside the base model on the same test problems."""

    task: str = ""
    """What is solved: gsm8k, math, ..., or skills:FAMILY of the embedded world; a wrong name lists all."""
    sort: tuple[str, ...] = ()
    """In place of --task: train the expert that sorts problems for `svf dispatch`, to the labels LABEL=TASK."""
    sort_template: str = "classify"
    """With --sort, the prompt that asks for a label: a name, or a file."""
    sort_chat: bool = False
    """With --sort, it is asked through the tokenizer's chat template."""
    method: Literal["reinforce", "supervised"] = "reinforce"
    """By reward for right answers, or by next-token training on worked solutions: whose settings count."""
    adapter: Literal["svf", "lora"] = "svf"
    """What is trained: a scale for each singular value, or LoRA. Its settings count, and the other's do not."""
    expert: pathlib.Path | None = None
    """Where to write the expert, NAME.safetensors; by default OUT/TASK.safetensors."""
    train: int = 0
    """Problems of the train split, its first ones; 0 is all."""
    reinforce: reinforce.Settings = REINFORCE
    supervised: supervised.Settings = SUPERVISED
    svf: Svf = SVF
    lora: Lora = LORA

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(0, train=self.train)
        if bool(self.task) == bool(self.sort):
            raise ValueError("give --task NAME, or --sort LABEL=TASK for each label")
        if self.sort and (self.data or self.template):
            raise ValueError("--data and --template are of one task, and --sort names several: leave them out")
        if self.expert is not None and self.expert.suffix != ".safetensors":
            raise ValueError(f"--expert {self.expert}: an expert is a .safetensors file")

    def __call__(self) -> Report:
        """Train, test beside the base, write the expert."""
        from seal_jax.runtime import Run

        with Run(self.out, self.config(), self.restart) as run:
            return finished(run, _train(self, run), over="problems")

    @property
    def settings(self) -> reinforce.Settings | supervised.Settings:
        """Those of the method."""
        return self.reinforce if self.method == "reinforce" else self.supervised

    @property
    def file(self) -> pathlib.Path:
        """Where the expert goes."""
        return self.expert or self.out / f"{re.sub(r'[^A-Za-z0-9.+-]+', '_', self.task) or 'sort'}.safetensors"

    def config(self) -> dict[str, Any]:
        """The settings of the run: those that have an effect."""
        unused = {"reinforce", "supervised"} - {self.method} | {"svf", "lora"} - {self.adapter}
        return {name: value for name, value in with_data(self).items() if name not in unused}


def _train(command: Train, run: Run) -> dict[str, Any]:
    from seal_jax import models
    from seal_jax.models import sizes
    from seal_jax.runtime.logging import progress
    from seal_jax.training.trainable import trainable
    from seal_jax.transformer2 import train_expert
    from seal_jax.transformer2.scores import compared, verdicts
    from seal_jax.transformer2.update import layered

    settings = command.settings
    task, model = _opened(command)
    adapter, factors = _fresh(command, model)
    model, factors = model._replace(params=models.unroll(model.params)), layered(factors, model.config)
    how: dict[str, Any] = {"name": "expert", "seed": command.seed}
    with progress("train", settings.iterations) as advance:
        found = train_expert(run, model, adapter, factors, task, settings, on_progress=advance, **how)
    base = run.stage("base", lambda: verdicts(model, task, task.test, rows=command.rows))
    _save(command, model, found)
    return {
        **compared({"base": base, "expert": found.verdicts}),
        "task": task.name,
        "file": command.file,
        "parameters": sizes.count(trainable(found.adapter)),
        "training": {"best": found.best, "stopped": found.stopped, "validations": found.validations},
        "seconds": run.seconds,
    }


def _save(command: Train, model: Model, found: Trained) -> None:
    """Write the expert, with how it was trained."""
    from seal_jax.transformer2 import make_expert, save_expert

    settings = command.config()
    expert = make_expert(
        found.adapter,
        model.params,
        task=command.task or "sort",
        targets=(command.svf if command.adapter == "svf" else command.lora).targets,
        compose=command.settings.compose,
        score=found.best["accuracy"],
        seed=command.seed,
        base_name=command.model,
        settings={name: settings[name] for name in ("method", command.method, command.adapter)},
    )
    save_expert(command.file, expert)


def _opened(command: Train) -> tuple[Task, Model]:
    """The task, cut as asked, and the model, of which nothing is read before the task has been looked at."""
    opened = open_model(command.model, command.mesh)
    if command.sort:
        task = sorting_task(command, opened, command.sort, command.sort_template, command.sort_chat)
    else:
        task = own_task(command, opened)
    task = task._replace(train=task.train[: command.train] if command.train else task.train)
    settings = command.settings
    problems = [*task.train, *task.validation[: settings.validate_on], *task.test]
    longest = check_prompts(opened, task, problems)
    trained, singular = _numbers(command, opened.checkpoint.config), command.adapter == "svf"
    load = Load(
        targets=(command.svf if singular else command.lora).targets,
        rank=command.svf.rank if singular else None,
        adapters=trained,
        prompt=longest,
        answer=task.max_new_tokens,
        rows=max(command.rows, settings.rows),
        trained=trained,
        micro_batch=settings.micro_batch,
        remat=settings.remat,
        factored=singular,
    )
    announce_svf(opened, load, command.dtype, command.out, command.factors)
    return task, opened.load(command.dtype)


def _numbers(command: Train, config: Any) -> int:
    """How many numbers the expert has, from shapes alone."""
    import functools

    import jax

    from seal_jax import adapters
    from seal_jax.models import sizes
    from seal_jax.training.trainable import trainable

    params = sizes.abstract_params(config)
    if command.adapter == "lora":
        made = functools.partial(adapters.lora.init, **dataclasses.asdict(command.lora))
        return sizes.count(trainable(jax.eval_shape(made, jax.random.key(0), params)))
    shapes = adapters.svf.shapes(params, command.svf.targets, command.svf.rank)
    return sum(entry["s"].size for entry in shapes.values())


def _fresh(command: Train, model: Model) -> tuple[Any, Any]:
    """The adapter at its start, and the factors it needs, None of LoRA."""
    import jax

    from seal_jax import adapters

    key = jax.random.key(command.seed)
    if command.adapter == "lora":
        return adapters.lora.init(key, model.params, **dataclasses.asdict(command.lora)), None
    of = command.svf
    if command.factors is None:
        factors = adapters.svf.factor(model.params, of.targets, of.rank)
    else:
        factors = adapters.svf.cached_factors(model.params, of.targets, of.rank, cache=command.factors)
    return adapters.svf.init(key, factors, of.mean, of.std), factors
