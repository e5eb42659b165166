"""Few-shot adaptation: search for the mixture of experts that answers a handful of problems best.

Nothing but those problems decides: what is found is then tried on others, and the base on the very same ones.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from seal_jax import models
from seal_jax.adapters import Adapter
from seal_jax.data.problems import Problem
from seal_jax.generation.bank import Layered, bank_of
from seal_jax.runtime.mesh import mesh_of, put
from seal_jax.transformer2 import cem, random_search
from seal_jax.transformer2.attempts import Attempt, attempt
from seal_jax.transformer2.cem import Settings as CEM
from seal_jax.transformer2.mixing import Mix, Per, columns, mixed, stack_experts
from seal_jax.transformer2.optimizing import check_choices
from seal_jax.transformer2.random_search import Settings as Random
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.update import layered

_CEM, _RANDOM = CEM(), Random()


@dataclasses.dataclass(frozen=True)
class FewShot:
    """How mixing weights are searched for. The released script had 50 generations, a weight for each matrix, raw
    mixing, and kept the last generation's best."""

    search: Literal["cem", "random"] = "cem"
    """The cross-entropy method, or uniform random search."""
    generations: int = 50
    """Populations that are tried."""
    per: Per = "global"
    """What has weights of its own: the whole model, a layer, or each matrix of each layer."""
    mix: Mix = "z"
    """What is mixed: scale vectors, or raw parameters as in the released code."""
    norm_coeffs: bool = False
    """Divide weights by their sum over experts."""
    keep: Literal["all", "last"] = "all"
    """The result: the best of all generations, or of the last one as in the released code."""
    at_once: int = 32
    """Candidates that are tried at once, each on every shot."""
    cem: CEM = _CEM
    random: Random = _RANDOM

    def __post_init__(self) -> None:
        for name in ("generations", "at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: use 1 or more")
        check_choices(self, search=("cem", "random"), keep=("all", "last"), mix=get_args(Mix), per=get_args(Per))


class Found(NamedTuple):
    """What a search found.

    alpha: float32 `[K, P]`; adapter: the mixture, `{path: {"z" [L, k]}}`; fitness: its accuracy on the shots; tie: its
    mean log-probability of a token in right answers, in nats, -inf without one. history, one entry a generation:
    `generation`; `best`, `mean`: the largest and the mean accuracy of it; `found`, `tie`, `weights` `[K]`: accuracy,
    tie (None for -inf) and weights, as means over columns, of what the search would return after it; `center` `[K]`,
    of the method's mean (random search: of its best); `spread`: the mean of the method's standard deviations;
    `unusable`: how many candidates mixed to z that nothing can scale, which counts as no right answer.
    """

    alpha: jax.Array
    adapter: Adapter
    fitness: float
    tie: float
    history: list[dict[str, Any]]


def few_shot(
    model: models.Model,
    experts: Sequence[Adapter],
    factors: Adapter | Layered,
    task: Task,
    shots: Sequence[Problem],
    settings: FewShot = FewShot(),
    key: jax.Array | None = None,
    *,
    compose: str = "scaled",
    rows: int | None = None,
    items: Any = None,
    on_progress: Callable[[int], None] | None = None,
) -> Found:
    """Search for the mixture of `experts` with which `model` answers most of `shots`.

    A candidate's fitness is its accuracy on the shots, answered greedily; ties go by the mean log-probability of a
    token in its right answers. The search begins at equal weights. experts: K adapters of singular values, of the same
    matrices; factors: theirs, stacked or `update.layered`. key: of the search, by default `jax.random.key(0)`. rows:
    answers decoded at once, by default those of all candidates that are tried at once. items: the `Run.items` of a
    stage, or a dict, in which finished generations are kept and found again. on_progress: called with 1 after each
    generation.

    Raises ValueError for an empty few-shot set, experts that do not mix, and a candidate of which nothing was graded.
    """
    if not shots:
        raise ValueError("the few-shot set is empty: fitness is accuracy on its problems, so give at least one")
    stacked = stack_experts(experts, settings.mix)
    model, factors = model._replace(params=models.unroll(model.params)), layered(factors, model.config)
    trial = _Trial(model, factors, task, shots, settings.at_once, compose, rows)
    method, how = (cem, settings.cem) if settings.search == "cem" else (random_search, settings.random)
    start = jnp.full((len(experts), columns(stacked, settings.per)), 1 / len(experts), jnp.float32)
    state: Any = method.init(start, how)
    key = jax.random.key(0) if key is None else key
    history, best = [], cem.unscored(start)
    for number in range(settings.generations):
        candidates = method.ask(state, key, how)
        population = _population(stacked, candidates, settings.per, settings.norm_coeffs)
        values = _kept(items, f"generation-{number}", functools.partial(_values, trial, population))
        fitness = jnp.asarray(values["fitness"], jnp.float32)
        ties = jnp.asarray([-jnp.inf if t is None else t for t in values["ties"]], jnp.float32)
        state = method.tell(state, candidates, fitness, ties, how)
        winner = cem.rank(fitness, jnp.zeros_like(ties) if how.ties == "none" else ties)[0]
        last = cem.Scored(state.best, fitness[winner], ties[winner])
        best = last if settings.keep == "last" else state.found
        history.append(_row(number, state, best, values))
        if on_progress:
            on_progress(1)
    adapter = mixed(stacked, best.candidate, settings.per, settings.norm_coeffs)
    return Found(best.candidate, adapter, float(best.fitness), float(best.tie), history)


class _Trial(NamedTuple):
    """What candidates are tried on, and with."""

    model: models.Model
    factors: Adapter | Layered
    task: Task
    shots: Sequence[Problem]
    at_once: int
    compose: str
    rows: int | None


@functools.partial(jax.jit, static_argnames=("per", "norm_coeffs"))
def _population(stacked: dict[str, jax.Array], alphas: jax.Array, per: Per, norm_coeffs: bool) -> Adapter:
    """The mixtures `{path: {"z" [N, L, k]}}` of weights `[N, K, P]`."""
    return jax.vmap(lambda alpha: mixed(stacked, alpha, per, norm_coeffs))(alphas)


def _values(trial: _Trial, population: Adapter) -> dict[str, Any]:
    """`fitness` and `ties` of every candidate as plain numbers (ties None for -inf), and how many were `unusable`."""
    usable = _usable(trial, population)
    population = {
        path: {"z": jnp.where(jnp.asarray(usable)[:, None, None], entry["z"], 1.0)}
        for path, entry in population.items()
    }
    fitness, ties = [], []
    mesh = mesh_of(trial.model.params)
    population = population if mesh is None else put(population, NamedSharding(mesh, PartitionSpec()))
    for start in range(0, len(usable), trial.at_once):
        part = jax.tree.map(lambda x, start=start: x[start : start + trial.at_once], population)
        for attempts in _answered(trial, part, len(usable[start : start + trial.at_once])):
            value, tie = score(attempts)
            fitness.append(value)
            ties.append(tie)
    for n in np.flatnonzero(~usable).tolist():
        fitness[n], ties[n] = 0.0, None
    return {"fitness": fitness, "ties": ties, "unusable": int((~usable).sum())}


def _answered(trial: _Trial, part: Adapter, count: int) -> list[list[Attempt]]:
    """Each candidate's attempts at the shots, all in one call."""
    shots = len(trial.shots)
    found = attempt(
        trial.model,
        trial.task,
        [*trial.shots] * count,
        adapters=part,
        adapter_ids=np.repeat(np.arange(count), shots).tolist(),
        factors=trial.factors,
        compose=trial.compose,
        rows=trial.rows or count * shots,
    )
    return [[each[0] for each in found[n * shots : (n + 1) * shots]] for n in range(count)]


def score(attempts: Sequence[Attempt]) -> tuple[float, float | None]:
    """Accuracy of a candidate's attempts, and the mean log-probability of a token in its right answers (None: no one).

    The latter is the mean over right answers of each one's mean. Raises ValueError if nothing was graded.
    """
    graded = [a.correct for a in attempts if a.correct is not None]
    if not graded:
        raise ValueError("none of a candidate's answers could be graded, so it has no fitness")
    each = [a.logprob / max(len(a.tokens), 1) for a in attempts if a.correct]
    return float(np.mean(graded)), float(np.mean(each)) if each else None


def _usable(trial: _Trial, population: Adapter) -> np.ndarray:
    """bool `[N]`: False for a candidate that the composition would divide by nothing (z of both signs)."""

    def scaled(adapter: Adapter) -> bool:
        try:
            bank_of(adapter, trial.factors, trial.compose)
        except ValueError:
            return False
        return True

    count = len(jax.tree.leaves(population)[0])
    if scaled(population):
        return np.ones(count, bool)
    return np.array([scaled(jax.tree.map(lambda x, n=n: x[n], population)) for n in range(count)])


def _kept(items: Any, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if items is None:
        return compute()
    if name not in items:
        value = compute()
        items.add(name, value) if hasattr(items, "add") else items.update({name: value})
    return items[name]


def _row(number: int, state: Any, best: cem.Scored, values: Mapping[str, Any]) -> dict[str, Any]:
    spread = getattr(state, "std", None)
    center = state.mean if spread is not None else state.best
    tie = float(best.tie)
    return {
        "generation": number,
        "best": max(values["fitness"]),
        "mean": float(np.mean(values["fitness"])),
        "found": float(best.fitness),
        "tie": tie if np.isfinite(tie) else None,
        "weights": np.asarray(best.candidate).mean(1).tolist(),
        "center": np.asarray(center).mean(1).tolist(),
        **({} if spread is None else {"spread": float(np.asarray(spread).mean())}),
        "unusable": values["unusable"],
    }
