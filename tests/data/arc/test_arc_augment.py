"""Augmentations: inverses, what each draw keeps, and that one shift and one map serve a whole task."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seal_jax.data import arc
from seal_jax.data.arc import grids, objects, randomized

GRIDS = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda size: st.tuples(*[st.tuples(*[st.integers(0, 9)] * size[1])] * size[0])
)
TASKS = st.builds(
    arc.Task,
    st.just("x"),
    st.lists(st.builds(arc.Example, GRIDS, GRIDS), min_size=1, max_size=3).map(tuple),
    st.builds(arc.Example, GRIDS, GRIDS | st.none()).map(lambda example: (example,)),
)
SEEDS = st.integers(0, 100)
ONE = arc.Task("x", (arc.Example(((1, 2),), ((2, 1),)),), (arc.Example(((3, 4),), None),))
OF_GRIDS = [m for m in (*(m for ms in arc.GROUPS.values() for m in ms), *arc.OTHERS) if isinstance(m, arc.Augmenter)]
OF_TASKS = [m for m in (*arc.GROUPS["basic"], *arc.OTHERS) if isinstance(m, arc.TaskAugmenter)]


@given(GRIDS)
def test_inverses_undo(grid):
    invertible = [m for m in (*OF_GRIDS, grids.chain([grids.rotate(90), grids.flip(0)])) if m.inverse]
    assert len(invertible) == 8  # turns, flips, transpose, identity and the chain
    for augmenter in invertible:
        assert augmenter.inverse(augmenter(grid)) == grid
        assert augmenter.inverse.inverse == augmenter


@given(GRIDS)
def test_agrees_with_numpy(grid):
    a = np.array(grid)
    expected = {
        "Rotate(90)": np.rot90(a),
        "Rotate(270)": np.rot90(a, 3),
        "Flip(0)": np.flipud(a),
        "Flip(1)": np.fliplr(a),
        "Transpose()": a.T,
        "Reflect(0, reverse=True)": np.concatenate([np.flipud(a), a], 0),
        "Reflect(1, reverse=False)": np.concatenate([a, np.fliplr(a)], 1),
        "IncreaseResolution(3)": np.kron(a, np.ones((3, 3), int)),
        "IncreaseHeight(2)": np.repeat(a, 2, 0),
        "IncreaseWidth(2)": np.repeat(a, 2, 1),
        "Repeat(0, 2)": np.tile(a, (2, 1)),
        "Repeat(1, 2)": np.tile(a, (1, 2)),
        "Repeat(2, 2)": np.tile(a, (2, 2)),
        "Chain([Rotate(180), IncreaseResolution(2)])": np.kron(np.rot90(a, 2), np.ones((2, 2), int)),
        "Concat([Identity(), Rotate(180)], axis=1)": np.concatenate([a, np.rot90(a, 2)], 1),
    }
    for name, value in expected.items():
        assert arc.by_name(name)(grid) == tuple(map(tuple, value.tolist())), name
    assert randomized.rolled(grid, 2, 5) == tuple(map(tuple, np.roll(a, (2, 5), (0, 1)).tolist()))


@given(TASKS, SEEDS)
def test_every_draw_is_repeatable_and_a_task(task, seed):
    for augmenter in OF_TASKS:
        made = arc.apply(augmenter, task, seed)
        assert made == arc.apply(augmenter, task, seed)
        assert [arc.grid_of(grid) for grid in made.grids()] == made.grids()
        assert len(made.demos) == len(task.demos)
        assert made.tests[0].output is None if task.tests[0].output is None else made.tests[0].output


@given(TASKS, SEEDS, st.sampled_from(["xy", "x", "y"]))
def test_one_shift_for_a_whole_task(task, seed, axes):
    moved = randomized.translate(task, np.random.default_rng(seed), axes)
    shifts = [(r, c) for r in range(4) for c in range(4) if (r == 0 or "x" in axes) and (c == 0 or "y" in axes)]
    assert any(randomized.mapped(lambda g, s=shift: randomized.rolled(g, *s), task) == moved for shift in shifts)


def test_a_shift_moves_something():
    grid = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
    task = arc.Task("x", (arc.Example(grid, ((1,),)),), (arc.Example(grid, None),))
    moved = {randomized.translate(task, np.random.default_rng(seed)) for seed in range(60)}
    assert task not in moved
    assert len(moved) == 8


def made(task, seed):
    """The task in the colours that the augmentation of that name draws with a seed."""
    return arc.apply(arc.by_name("PermuteColors()"), task, seed)


@given(TASKS, SEEDS)
def test_colour_maps(task, seed):
    colors = randomized.color_map(task, np.random.default_rng(seed))
    assert randomized.mapped(colors.inverse, randomized.mapped(colors, task)) == task
    assert colors(((0,),)) == ((0,),)
    used = set(randomized.colors_of(task)) - {0}
    unused = set(range(1, 10)) - used
    reached = {colors(((color,),))[0][0] for color in used}
    assert len(reached & unused) == min(len(used), len(unused))  # unused ones first
    assert randomized.permute_colors(task, np.random.default_rng(seed)) == randomized.mapped(colors, task)
    assert arc.apply(arc.color_map(task, np.random.default_rng(seed)).inverse, made(task, seed)) == task
    kept = randomized.color_map(task, np.random.default_rng(seed), randomized.key_colors(task))
    for color in (0, *randomized.key_colors(task)):
        assert kept(((color,),)) == ((color,),)
    assert kept.inverse(kept(task.demos[0].input)) == task.demos[0].input


@given(TASKS, SEEDS)
def test_order_and_blanks(task, seed):
    def rng():
        return np.random.default_rng(seed)

    assert Counter(randomized.permute_examples(task, rng()).demos) == Counter(task.demos)
    blanked = randomized.dropout(task, rng(), "input")
    assert [demo.output for demo in blanked.demos] == [demo.output for demo in task.demos]
    unused = set(range(10)) - set(randomized.colors_of(task)) or {0}
    for old, new in zip((*task.demos, *task.tests), (*blanked.demos, *blanked.tests)):
        changed = {n for a, b in zip(old.input, new.input) for o, n in zip(a, b) if o != n}
        assert changed <= {min(unused)}
    dropped = randomized.dropout(task, rng(), "output")
    assert dropped.tests == task.tests
    assert [demo.input for demo in dropped.demos] == [demo.input for demo in task.demos]


@given(GRIDS, SEEDS)
def test_objects_move_whole(grid, seed):
    found = objects.objects_of(grid)
    assert sum(map(len, found)) == sum(cell != 0 for row in grid for cell in row)
    for change in (objects.moved_object, objects.rotated_object):
        changed = change(grid, np.random.default_rng(seed))
        assert Counter(cell for row in changed for cell in row) == Counter(cell for row in grid for cell in row)


def test_objects_move_and_turn_where_they_can():
    grid = ((3, 3, 3, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    assert objects.objects_of(((1, 1, 2), (0, 1, 1))) == [frozenset({(0, 0), (0, 1), (1, 1), (1, 2)}), {(0, 2)}]
    moved = {objects.moved_object(grid, np.random.default_rng(seed)) for seed in range(60)}
    assert len(moved) == 5  # a bar of 3 has 6 places, and leaves its own
    turned = {objects.rotated_object(grid, np.random.default_rng(seed)) for seed in range(10)}
    assert turned == {((3, 0, 0, 0),) * 3}


def test_too_large_is_none():
    row = arc.Example(((1,) * 16,), ((2,),))
    task = arc.Task("x", (row,), (row,))
    assert arc.apply(arc.by_name("IncreaseWidth(2)"), task) is None
    assert arc.apply(arc.by_name("IncreaseHeight(2)"), task) is not None


def test_bad_arguments_are_named():
    for make, message in (
        (lambda: grids.rotate(45), "not 45"),
        (lambda: grids.flip(2), "not 2"),
        (lambda: grids.repeat(3, 2), "not 3"),
        (lambda: grids.increase_width(0), "not 0"),
        (lambda: grids.recolor([0, 1]), "permutation"),
        (lambda: grids.concat([grids.identity(), grids.rotate(90)], 0)(((1, 2),)), "columns"),
        (lambda: arc.by_name("Rotate(91)"), r"Rotate\(90\)"),
        (lambda: randomized.translate(ONE, np.random.default_rng(0), "z"), "axes 'z' is not one of xy, x, y"),
        (lambda: randomized.dropout(ONE, np.random.default_rng(0), "test"), "where 'test' is not one of input, output"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
