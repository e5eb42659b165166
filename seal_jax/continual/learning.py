"""The compiled programs of a stream: begin it, open a task, train on it, close it. One trace of each for all tasks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seal_jax.continual.method import MakeMethod, Method, Problem, Rows, Scene, State
from seal_jax.continual.methods.parts import checked_by
from seal_jax.continual.reset import reset_moments
from seal_jax.runtime.constraints import split_by
from seal_jax.runtime.mesh import ROWS
from seal_jax.training.accumulate import accumulated
from seal_jax.training.trainable import join, trainable

OPENING, CLOSING, BEGINNING = range(2**31 - 3, 2**31)  # in place of a step's number in a key


class Program(NamedTuple):
    """The static choices. batches: K of `Scene.batches`; lanes: whether states, data and settings lead with N."""

    problem: Problem
    method: Method | MakeMethod
    batches: int
    accumulate: int = 1
    lanes: bool = False


class Given(NamedTuple):
    """What differs from lane to lane besides the state: rows and order as in `task_stream.Part`, hyper: the settings
    that the method is made from, seed: int32 `[]`.
    """

    rows: Rows
    order: jax.Array
    hyper: Any
    seed: jax.Array


@partial(jax.jit, static_argnames=("program", "tasks"))
def begun(params: Any, given: Given, *, program: Program, tasks: int) -> State:
    """The state before the first of so many tasks, in memory of its own, with what the method finds wrong raised."""

    def one(params: Any, given: Given) -> State:
        method = _method(program, given)
        row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), dict(given.rows))
        memory = {} if method.memory is None else method.memory(params, row)
        state = State(jax.tree.map(jnp.copy, params), method.tx.init(trainable(params)), memory)
        checked_by(method, state, tasks)
        return state

    return _mapped(program, one, (0, 0))(params, given)


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def opened(frozen: Any, state: State, given: Given, count: jax.Array, task: jax.Array, *, program: Program) -> State:
    """The state at the beginning of task number `task`, int32 `[]`."""

    def one(state: State, given: Given) -> State:
        method = _method(program, given)
        if method.reset:
            fresh = reset_moments(method.tx, state.optimizer, trainable(state.params))
            # Before the first task there is nothing to be kept, nor to be reset.
            state = state._replace(optimizer=jax.tree.map(partial(jnp.where, task > 0), fresh, state.optimizer))
        if method.begin_task is None:
            return state
        return method.begin_task(state, _scene(program, frozen, given, count, task, OPENING))

    return _mapped(program, one, (0, 0))(state, given)


@partial(jax.jit, static_argnames="program", donate_argnames=("state", "losses"))
def trained(
    frozen: Any,
    state: State,
    losses: jax.Array,
    given: Given,
    between: tuple[jax.Array, jax.Array],
    task: jax.Array,
    *,
    program: Program,
) -> tuple[State, jax.Array]:
    """The state after the steps from `between[0]` up to `between[1]`, and the losses before each, written to theirs.

    losses: float32 `[S]`. The bounds are data, so that tasks and segments of any length are one program.
    """

    def one(state: State, losses: jax.Array, given: Given) -> tuple[State, jax.Array]:
        method = _method(program, given)
        tx = optax.with_extra_args_support(method.tx)
        key = jax.random.fold_in(jax.random.key(given.seed), task)
        problem = program.problem._replace(frozen=frozen)

        def step(index: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
            state, losses = carry
            keys = jax.random.split(jax.random.fold_in(key, index), 3)
            batch = {name: x[given.order[index]] for name, x in given.rows.items()}
            if method.batch is not None:
                batch = method.batch(state.memory, batch, keys[0])
            value, grads = _value_and_grad(program, method, problem, state)(
                trainable(state.params), _over_devices(batch, 0), keys[1]
            )
            extras = {}
            if method.extras is not None:
                extras = method.extras(problem, state.params, state.memory, keys[2])
            updates, optimizer = tx.update(
                grads, state.optimizer, trainable(state.params), value=value, key=keys[1], **extras
            )
            params = join(optax.apply_updates(trainable(state.params), updates), state.params)
            return State(params, optimizer, state.memory), losses.at[index].set(value)

        return jax.lax.fori_loop(*between, step, (state, losses))

    return _mapped(program, one, (0, 0, 0))(state, losses, given)


def closed(frozen: Any, state: State, given: Given, count: jax.Array, task: jax.Array, *, program: Program) -> State:
    """The state after task number `task` has ended: importances, memories, bases."""
    end = _closed_compiled if program.lanes or _method(program, given).compiled else _closed
    return end(frozen, state, given, count, task, program=program)


def _closed(frozen: Any, state: State, given: Given, count: jax.Array, task: jax.Array, *, program: Program) -> State:
    def one(state: State, given: Given) -> State:
        method = _method(program, given)
        if program.lanes and not method.compiled:
            raise ValueError("a method with compiled=False is for one run: it cannot be mapped over seeds")
        if method.end_task is None:
            return state
        return method.end_task(state, _scene(program, frozen, given, count, task, CLOSING))

    return _mapped(program, one, (0, 0))(state, given)


_closed_compiled = jax.jit(_closed, static_argnames="program", donate_argnames="state")


def _method(program: Program, given: Given) -> Method:
    return program.method if isinstance(program.method, Method) else program.method(given.hyper)


def _mapped(program: Program, function: Callable[..., Any], axes: tuple[int, ...]) -> Callable[..., Any]:
    return jax.vmap(function, axes) if program.lanes else function


def _value_and_grad(program: Program, method: Method, problem: Problem, state: State) -> Callable[..., Any]:
    def loss(trained: Any, batch: Rows, key: jax.Array) -> jax.Array:
        params = join(trained, state.params)
        if method.loss is not None:
            return method.loss(problem, params, batch, state.memory, key)
        return problem(params, batch, key)

    return accumulated(jax.value_and_grad(loss), program.accumulate, program.problem.weight)


def _scene(program: Program, frozen: Any, given: Given, count: jax.Array, task: jax.Array, moment: int) -> Scene:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(given.seed), task), moment)
    batches = {name: x[given.order[: program.batches]] for name, x in given.rows.items()}
    problem = program.problem._replace(frozen=frozen)
    return Scene(problem, given.rows, count, _over_devices(batches, 1), task, key)


def _over_devices(batch: Any, axis: int) -> Any:
    """The rows of a batch, at `axis` of every array, split over the mesh."""
    return jax.tree.map(lambda x: split_by(x, *[None] * axis, ROWS, *[None] * (x.ndim - axis - 1)), batch)
