"""Methods by name for a LoRA adapter on a language model, with settings to begin with."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seal_jax import adapters
from seal_jax.adapters import Adapter
from seal_jax.continual import language, language_dark, losses, methods, projections, replay
from seal_jax.continual.merge import flattened
from seal_jax.continual.method import Method, Problem
from seal_jax.continual.projections.agem import agem
from seal_jax.continual.projections.gem import gem
from seal_jax.continual.projections.olora import olora
from seal_jax.continual.regularizers.ewc import ewc
from seal_jax.continual.regularizers.l2_sp import l2_sp
from seal_jax.continual.regularizers.mas import mas
from seal_jax.continual.regularizers.online_ewc import online_ewc
from seal_jax.continual.regularizers.si import si
from seal_jax.continual.task_stream import Settings, Task, task_steps
from seal_jax.models import Config, Model, sizes
from seal_jax.training import Hyper, adamw, constant_schedule, lm_loss
from seal_jax.training.optim import clip_factor

Name = Literal[
    "naive", "replay", "ewc", "online_ewc", "mas", "si", "l2_sp", "rec_adam", "agem", "gem", "olora", "stack", "lwf",
    "der", "joint",
]  # fmt: skip
STRENGTHS: dict[str, float] = {
    "ewc": 6.0,
    "online_ewc": 6.0,
    "mas": 2.0,
    "si": 4.0,
    "l2_sp": 10.0,
    "rec_adam": 5000.0,
    "gem": 0.5,
    "olora": 1.0,
    "lwf": 1.0,
    "der": 1.0,
}
"""Strengths to begin with; the best one depends on the stream and is to be searched for on its validation examples."""
REMEMBERING = ("replay", "agem", "gem", "der")
FADING = ("ewc", "online_ewc", "mas", "si")
"""Those whose importances of earlier tasks `gamma` is about."""
ANNEAL = 0.25
MEMORY = 0.03
"""Share of the stream's examples that those keep unless told otherwise."""
LOGITS = 32
"""The largest logits of a token that der stores."""


@dataclasses.dataclass(frozen=True)
class Strategy:
    """How a stream is learned by a LoRA adapter."""

    strategy: Name = "replay"
    """naive: one task after the other; replay: with rows of earlier tasks; ewc to rec_adam: pulled to what was learned;
    agem, gem: gradients projected; olora, stack: a new adapter for each task, orthogonal to the earlier ones or not;
    lwf: close to the earlier predictions; der: replay that keeps to earlier logits as well (DER++); joint: all tasks at
    once, the bound."""
    strength: float | None = None
    """Lambda of the pulls, for importances of mean 1; the margin of gem, the penalty of olora, the weight of lwf. By
    default one to begin with, which is not tuned for any stream."""
    memory: float | None = None
    """Share of the stream's examples kept in a reservoir, by default 0.03 for replay, agem, gem and der, else 0. Above
    0 the other strategies replay as well."""
    memory_rows: int | None = None
    """Rows of a step from the memory, beside the new ones; by default as many as those."""
    anneal: float = ANNEAL
    """Of rec_adam: the share of a task's steps after which half of the gradient counts; 0.5 at most. Before it what was
    learned is recalled, after it the task is learned."""
    gamma: float = 1.0
    """What earlier importances are multiplied with at each task's end, above 0, 1 at most."""
    learning_rate: float = 1e-3
    """Of AdamW, constant."""
    weight_decay: float = 0.0
    """Of AdamW."""
    clip: float = 1.0
    """Largest norm of a gradient of the data, before olora adds its penalty; 0 is no limit."""
    reset: bool = False
    """Begin each task with fresh moments of AdamW; olora and stack do so anyway."""
    rank: int = 8
    """Rank of the adapter, of each with olora and stack."""
    alpha: float = 32.0
    """Its scale is alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Modules that are adapted, or the groups attention, mlp and all."""
    remat: bool = False
    """Compute activations again in the backward pass rather than keep them."""

    def __post_init__(self) -> None:
        for name, value in (("rank", self.rank), ("memory_rows", self.memory_rows)):
            if value is not None and value < 1:
                raise ValueError(f"{name} {value}: use 1 or more")
        if self.memory is not None and not 0 <= self.memory <= 1:
            raise ValueError(f"memory {self.memory}: a share of the stream's examples, 0 to 1")
        if self.strategy in REMEMBERING and self.memory == 0:
            raise ValueError(f"memory {self.memory}: {self.strategy} needs one")
        for name in ("strength", "weight_decay", "clip"):
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} {value}: use 0 or more")
        if self.strength is not None and self.strategy not in STRENGTHS:
            raise ValueError(f"strength {self.strength}: {self.strategy} has none; {', '.join(STRENGTHS)} have")
        if not 0 < self.anneal <= 0.5:
            raise ValueError(f"anneal {self.anneal}: use more than 0, and 0.5 at most")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma {self.gamma}: use more than 0, and 1 at most")
        for name in ("learning_rate", "alpha"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} {value}: use more than 0")
        self._refuse_unread()

    def _refuse_unread(self) -> None:
        """Raise ValueError for a setting that this strategy would not read."""
        if self.strategy == "joint" and self.kept:
            raise ValueError(f"memory {self.memory}: joint learns all tasks at once and remembers none")
        if self.memory_rows is not None and not self.kept:
            raise ValueError(f"memory_rows {self.memory_rows}: {self.strategy} has no memory; give it one with memory")
        if self.gamma != 1.0 and self.strategy not in FADING:
            raise ValueError(f"gamma {self.gamma}: {self.strategy} keeps no importance; {', '.join(FADING)} do")
        if self.anneal != ANNEAL and self.strategy != "rec_adam":
            raise ValueError(f"anneal {self.anneal}: {self.strategy} anneals nothing; rec_adam does")

    @property
    def force(self) -> float:
        """The strength, or the one to begin with; 0 for strategies without."""
        return STRENGTHS.get(self.strategy, 0.0) if self.strength is None else self.strength

    @property
    def kept(self) -> float:
        """The share of the stream that is kept in memory."""
        return (MEMORY if self.strategy in REMEMBERING else 0.0) if self.memory is None else self.memory


class Prepared(NamedTuple):
    """What `run` takes, and finished: from what it trains to the adapter that it stands for, for use and export."""

    problem: Problem
    method: Method
    start: Any
    finished: Callable[[Any], Adapter]


def prepare(plan: Strategy, model: Model, tasks: Sequence[Task], settings: Settings) -> Prepared:
    """A strategy for this model and stream, and the settings that `run` is to have.

    tasks: from `text_tasks.tokenized`; of "joint" the one of `joined`.
    """
    seed = settings.seed
    fresh = functools.partial(_fresh, plan, sizes.abstract_params(model.config))
    start, loss = fresh(jax.random.key(seed)), lm_loss(remat=plan.remat)
    problem = language.problem(model.params, model.config, loss)
    method = _optimized(plan, model.config, task_steps(tasks, settings))
    finished: Callable[[Any], Adapter] = lambda adapter: adapter  # noqa: E731
    if plan.strategy in ("olora", "stack"):
        start = projections.room(start, plan.rank * max(len(tasks) - 1, 1))
        method = methods.stacking(method, fresh, orthogonal=plan.strategy == "olora", last=len(tasks) - 1)
        finished = flattened
    if plan.strategy == "lwf":
        taught = losses.LwfLoss(plan.force, remat=plan.remat)
        problem = language.problem(model.params, model.config, taught, attach_fn=losses.attach_taught)
        start, method, finished = losses.teach(start), language.teaching(method), losses.untaught
    if plan.strategy == "der":
        problem = language.problem(model.params, model.config, losses.der_loss(plan.force, remat=plan.remat))
    return Prepared(problem, _remembering(plan, method, model.config, tasks, settings), start, finished)


def _fresh(plan: Strategy, shapes: Any, key: jax.Array) -> Adapter:
    return adapters.lora.init(key, shapes, plan.rank, plan.alpha, plan.targets)


def _optimized(plan: Strategy, config: Config, steps: Sequence[int]) -> Method:
    """The optimizer with the regularizer or projection of the strategy, and what feeds it. steps: of each task."""
    rate, force, tasks = plan.learning_rate, plan.force, len(steps)
    clip = 0.0 if plan.strategy == "olora" else plan.clip  # its penalty is not to be clipped with the data's gradient
    base = adamw(Hyper(rate, 0, weight_decay=plan.weight_decay, clip=clip), constant_schedule)
    pulls = {"ewc": ewc, "online_ewc": online_ewc, "mas": mas, "l2_sp": l2_sp}
    before = {"agem": agem, "gem": lambda: gem(tasks, force), "olora": lambda: _clipped_olora(plan, tasks)}
    if plan.strategy in pulls:
        method = Method(optax.chain(base, pulls[plan.strategy](force, rate)), reset=plan.reset)
    elif plan.strategy == "rec_adam":
        pull = methods.annealed(force, rate, plan.anneal)
        method = methods.annealing(Method(optax.chain(base, pull), reset=plan.reset), steps)
    elif plan.strategy in before:
        return Method(optax.chain(before[plan.strategy](), base), reset=plan.reset)
    elif plan.strategy == "si":
        method = Method(si(base, force, rate), reset=plan.reset)
    else:
        return Method(base, reset=plan.reset)
    importances = {
        "ewc": language.fisher_importance,
        "online_ewc": language.fisher_importance,
        "mas": language.output_importance,
    }
    measure = importances.get(plan.strategy)
    return methods.consolidating(method, measure(config) if measure else None, plan.gamma)


def _clipped_olora(plan: Strategy, tasks: int) -> optax.GradientTransformationExtraArgs:
    """The data's gradient clipped, as `adamw` does it, and then the gradient of the penalty."""

    def clip(updates: Any, params: Any) -> Any:
        del params
        factor = clip_factor(optax.tree.norm(updates), plan.clip)
        return jax.tree.map(lambda g: g.astype(jnp.float32) * factor, updates)

    return optax.chain(optax.stateless(clip), olora(plan.force, plan.rank * max(tasks - 1, 1)))


def _remembering(plan: Strategy, method: Method, config: Config, tasks: Sequence[Task], settings: Settings) -> Method:
    """The method with a memory of the stream, where it has one."""
    batch_size, seed = settings.batch_size, settings.seed
    stream = sum(len(task.train["tokens"]) for task in tasks)
    size, rows = round(plan.kept * stream), plan.memory_rows or batch_size
    if plan.strategy == "agem":
        return methods.remembering(method, replay.Reservoir(max(size, 1)), rows, seed=seed)
    if plan.strategy == "gem":
        return methods.remembering(method, replay.Ring(max(size, len(tasks)), len(tasks)), rows, len(tasks), seed)
    if plan.strategy == "der":
        logits = min(LOGITS, config.vocab_size)
        return language_dark.dark_language(method, config, replay.Reservoir(max(size, 1)), rows, logits, seed=seed)
    if plan.strategy == "joint" or not plan.kept:
        return method
    return methods.rehearsing(method, replay.Reservoir(max(size, 1)), rows, seed=seed)
