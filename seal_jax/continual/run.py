"""Learn a stream of tasks, score every task after each of them, and go on where a killed run stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from seal_jax.continual import learning, same_stream, task_stream
from seal_jax.continual.method import MakeMethod, Method, Problem, State
from seal_jax.continual.task_stream import Part, Settings, Task
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of, replicate, use

if TYPE_CHECKING:
    from seal_jax.runtime.checkpoint import Checkpointer

Evaluate = Callable[[Any, Task], ArrayLike]


class Result(NamedTuple):
    """What a stream of T tasks left. With lanes every array leads with N.

    matrix: float64 `[T, T]`, row i: the score on each task after task i, NaN where it was not asked; for
    `continual.metrics`. baseline: `[T]`, scores before any task. losses: float32 `[T, S]`, before each step, NaN beyond
    a task's own. seconds: by what they were spent on. state: of the learner; `state.params` is the result.
    """

    matrix: np.ndarray
    baseline: np.ndarray
    losses: np.ndarray
    seconds: dict[str, float]
    state: State


class _Progress(NamedTuple):
    """What a checkpoint holds: `task` tasks are finished and `step` steps of the next."""

    state: State
    matrix: np.ndarray
    baseline: np.ndarray
    losses: np.ndarray
    task: np.ndarray
    step: np.ndarray


def run(
    problem: Problem,
    method: Method | MakeMethod,
    params: Any,
    tasks: Sequence[Task],
    evaluate: Evaluate,
    settings: Settings = Settings(),  # noqa: B008
    *,
    hyper: Any = None,
    seeds: Sequence[int] | None = None,
    checkpoints: Checkpointer | None = None,
    label: Any = None,
    on_progress: Callable[[int], None] | None = None,
) -> Result:
    """Train `params` on the tasks one after the other with `method`; see `Result`.

    params: what is trained and where it starts, for example a LoRA adapter; they are copied. evaluate: `(params, task)
    -> score`, called for the tasks that `settings.evaluate` names, before the first task and after each.
    hyper: arrays that `method` is made from, where it is a function. seeds: run N lanes side by side, one for each seed
    (in place of `settings.seed`): every leaf of params and hyper and every training array leads with N, `evaluate`
    gives `[N]`; the frozen arrays are shared. For several settings, repeat seeds.
    checkpoints: where to keep the state after each task, and every `settings.every` steps, to go on from; a folder of
    another stream, start, method or settings is refused (see `same_stream.identity`). label: plain data to be compared
    as well, for what cannot be seen in the arguments: the model, the data's version.
    on_progress: called with the steps done since the last call.

    One training program is compiled for the stream, whose tasks share one shape (see `task_stream.parts`). Raises
    ValueError for tasks that do not, for arrays without the lanes' axis, and for checkpoints of another stream.
    """
    used = [settings.seed] if seeds is None else list(seeds)
    lanes = None if seeds is None else len(used)
    _check_lanes(lanes, params, hyper)
    parts = task_stream.parts(tasks, settings, lanes, used)
    batches = task_stream.importance_batches(parts, settings)
    static = problem._replace(frozen=())
    program = learning.Program(static, method, batches, settings.accumulate, lanes is not None)
    seed = jnp.asarray(used if lanes else used[0], jnp.int32)
    how = _How(
        problem.frozen, program, mesh_of((problem.frozen, params)), hyper, seed, settings, checkpoints, on_progress
    )
    clock, now = _Clock(), _start(how, params, parts)
    if checkpoints:
        wanted = same_stream.identity(tasks, parts, settings, used, hyper, label)
        wanted |= same_stream.learner(method, now.state)
        same = same_stream.can_go_on(checkpoints, wanted)
        now = _restored(checkpoints, now) if same else now
    if now.task == 0 and now.step == 0:
        now = now._replace(baseline=_scores(now, evaluate, tasks, settings, -1))
        clock.lap("evaluation")
    begins = [sum(part.steps for part in parts[:index]) for index in range(len(tasks) + 1)]
    before = begins[int(now.task)] + int(now.step)
    if on_progress and before:
        on_progress(before)
    for index in range(int(now.task), len(tasks)):
        now = _train(how, now, parts[index], begins[index], clock)
        now.matrix[..., index, :] = _scores(now, evaluate, tasks, settings, index)
        now = now._replace(task=_number(index + 1), step=_number(0))
        clock.lap("evaluation")
        if checkpoints:
            checkpoints.save(begins[index + 1], now)
            clock.lap("checkpoints")
    return Result(now.matrix, now.baseline, now.losses, clock.seconds, now.state)


class _How(NamedTuple):
    """What all tasks of a run share."""

    frozen: Any
    program: learning.Program
    mesh: Any
    hyper: Any
    seed: jax.Array
    settings: Settings
    checkpoints: Checkpointer | None
    on_progress: Callable[[int], None] | None

    def given(self, part: Part) -> learning.Given:
        """A task's arrays where the programs want them."""
        arrays = {"rows": part.rows, "order": part.order}
        placed = jax.tree.map(jnp.asarray, arrays) if self.mesh is None else replicate(arrays, self.mesh)
        return learning.Given(placed["rows"], placed["order"], self.hyper, self.seed)


def _train(how: _How, now: _Progress, part: Part, before: int, clock: _Clock) -> _Progress:
    """The rest of a task, in segments, and its end. before: the steps of earlier tasks; they number checkpoints."""
    task, state, data = int(now.task), now.state, how.given(part)
    fixed, numbers = {"program": how.program}, (jnp.int32(part.count), jnp.int32(task))
    if not now.step:
        with use(how.mesh):
            state = learning.opened(how.frozen, state, data, *numbers, **fixed)
    losses = jnp.asarray(now.losses[..., task, :])
    size = how.settings.every or part.steps
    for start in range(int(now.step), part.steps, size):
        stop = min(start + size, part.steps)
        bounds = jnp.int32(start), jnp.int32(stop)
        with use(how.mesh):
            state, losses = learning.trained(how.frozen, state, losses, data, bounds, numbers[1], **fixed)
        now.losses[..., task, :] = host(losses)
        now = now._replace(state=state, step=_number(stop))
        if how.checkpoints and stop < part.steps:
            how.checkpoints.save(before + stop, now)
        if how.on_progress:
            how.on_progress(stop - start)
    clock.lap("training")
    with use(how.mesh):
        state = learning.closed(how.frozen, state, data, *numbers, **fixed)
    now = now._replace(state=jax.block_until_ready(state))
    clock.lap("tasks' ends")
    return now


def _start(how: _How, params: Any, parts: Sequence[Part]) -> _Progress:
    with use(how.mesh):
        state = learning.begun(params, how.given(parts[0]), program=how.program, tasks=len(parts))
    lead, count, steps = np.shape(how.seed), len(parts), max(part.steps for part in parts)
    empty = lambda *shape: np.full((*lead, *shape), np.nan)  # noqa: E731
    losses = empty(count, steps).astype(np.float32)
    return _Progress(state, empty(count, count), empty(count), losses, _number(0), _number(0))


def _number(value: int) -> np.ndarray:
    return np.asarray(value, np.int32)


def _scores(now: _Progress, evaluate: Evaluate, tasks: Sequence[Task], settings: Settings, after: int) -> np.ndarray:
    """The scores `[..., T]` after task number `after` (-1: before the first)."""
    last = {"all": len(tasks), "seen": after + 1, "next": after + 2}[settings.evaluate]
    if after < 0 and settings.evaluate == "next":
        last = len(tasks)  # what the score just before a task is compared with
    scores = np.full_like(now.baseline, np.nan)
    for index, task in enumerate(tasks[:last]):
        found = np.asarray(evaluate(now.state.params, task), np.float64)
        if found.shape != scores.shape[:-1]:
            wanted = scores.shape[:-1] or "one number"
            raise ValueError(f"evaluate gave {found.shape} for task {task.name!r}; a score is {wanted}")
        scores[..., index] = found
    return scores


def _restored(checkpoints: Checkpointer, start: _Progress) -> _Progress:
    found = checkpoints.restore_latest(start)
    if found is None:
        return start
    written = ("matrix", "baseline", "losses")  # copied, since scores and losses are written into them
    return found[1]._replace(**{name: np.array(getattr(found[1], name)) for name in written})


def _check_lanes(lanes: int | None, params: Any, hyper: Any) -> None:
    if lanes is None:
        return
    for name, tree in (("params", params), ("hyper", hyper)):
        wrong = {np.shape(x) for x in jax.tree.leaves(tree) if np.shape(x)[:1] != (lanes,)}
        if wrong:
            raise ValueError(
                f"every leaf of {name} needs the leading axis N={lanes} of the seeds, found {sorted(wrong)}"
            )


class _Clock:
    """Seconds since the last lap, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
