"""The grids world: tasks are a function of their number, splits are apart, and every task follows its rule."""

import itertools
import zlib

import numpy as np
import pytest

from seal_jax.data.worlds import grids
from seal_jax.data.worlds.grids_rules import RULES, rule
from seal_jax.data.worlds.grids_splits import PRETRAINING, SPLITS

PARTS = ("train", "dev", "test")


def cells(task):
    return [np.array(side) for side in zip(*((e.input, e.output) for e in (*task.demos, *task.tests)))]


def colours_of(by):
    pairs = itertools.product(range(1, 10), range(10)) if by.colours == 2 else ((c, c) for c in range(1, 10))
    return [(0, 0)] if not by.colours else [(a, b) for a, b in pairs if by.colours == 1 or a != b]


def explanations(task, names):
    """The answers of all rules of these names that make every demonstration, and the names of those rules."""
    inputs, outputs = cells(task)
    answers, found = set(), set()
    for name in names:
        by = rule(name)
        for colours in colours_of(by):
            made = by.apply(inputs, colours)
            if (made[:-1] == outputs[:-1]).all():
                answers.add(made[-1].tobytes())
                found.add(name)
    return answers, found


def test_tasks_are_a_function_of_their_number():
    whole = grids.tasks("test", 6)
    assert whole[4:] == grids.tasks("test", 2, start=4)
    assert whole != grids.tasks("test", 6, seed=1)
    assert {t.id for t in whole}.isdisjoint(t.id for t in grids.tasks("test", 6, seed=1))
    assert len({t.id for t in whole}) == 6
    others = [t for demos in (2, 5) for side in (3, 4) for t in grids.tasks("test", 6, side=side, demos=demos)]
    assert len({t.id for t in (*whole, *others)}) == 30  # results are kept by id
    assert hash(whole[0]) == hash(grids.tasks("test", 1)[0])


def test_no_rule_is_in_two_splits():
    for one, other in itertools.combinations(SPLITS, 2):
        assert not set(SPLITS[one]) & set(SPLITS[other])
    assert set(SPLITS["pretraining"]) == set(PRETRAINING)
    for name in itertools.chain(*SPLITS.values()):
        assert name == rule(name).name


def test_no_rule_of_one_split_does_what_one_of_another_does():
    """On grids that hold both colours; a rule and a composition of other names can be one and the same map."""
    inputs = np.random.default_rng(0).integers(0, 10, (40, 3, 3))
    seen = {}
    for name in itertools.chain(*SPLITS.values()):
        made = b"".join(rule(name).apply(inputs, colours).tobytes() for colours in ((3, 5), (5, 3)))
        assert seen.setdefault(made, name) == name


def test_rules_take_turns():
    for split in PARTS:
        count = len(SPLITS[split])
        assert [t.id.split("/")[1] for t in grids.tasks(split, count, start=3)] == [
            SPLITS[split][n % count] for n in range(3, count + 3)
        ]


@pytest.mark.parametrize("split", SPLITS)
def test_every_task_follows_its_rule(split):
    for task in grids.tasks(split, len(SPLITS[split]), seed=3):
        inputs, outputs = cells(task)
        assert inputs.shape == outputs.shape == (5, 3, 3)
        assert len({grid.tobytes() for grid in inputs}) == 5
        assert (inputs != outputs).any((1, 2)).all()
        assert set(np.unique(inputs)) | set(np.unique(outputs)) <= set(range(10))
        _, found = explanations(task, [task.id.split("/")[1]])
        assert found


def test_demonstrations_leave_one_answer():
    """Over every rule and composition that the world has, the test output follows from the demonstrations."""
    names = {*RULES, *itertools.chain(*SPLITS.values())}
    tasks = [task for split in PARTS for task in grids.tasks(split, len(SPLITS[split]), seed=4)]
    one = [len(explanations(task, names)[0]) == 1 for task in tasks]
    assert np.mean(one) >= 0.9


def test_sides_and_demonstrations():
    [task] = grids.tasks("dev", 1, side=5, demos=2)
    assert len(task.demos) == 2
    assert all(len(g) == len(g[0]) == 5 for g in task.grids())


def test_errors():
    with pytest.raises(ValueError, match="'tests': no split"):
        grids.tasks("tests", 1)
    for wrong, message in (
        ({"count": -1}, "count=-1: use 0 or more"),
        ({"seed": -1}, "seed=-1: use 0 or more"),
        ({"start": -1}, "start=-1: use 0 or more"),
        ({"side": 2}, "side=2: rules are for grids of 3 x 3 to 30 x 30"),
        ({"side": 31}, "side=31: rules are for grids of 3 x 3 to 30 x 30"),
        ({"demos": 0}, "demos=0: use 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            grids.tasks("test", **{"count": 1, **wrong})
    assert grids.tasks("test", 0) == []
    for wrong in ({"side": 2}, {"demos": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            grids.task(rule("erase"), np.random.default_rng(0), **wrong)


def test_the_tasks_of_a_seed_stay_what_they_are():
    """Recorded figures are of these."""
    made = [grids.tasks(split, 60, seed, start=start) for split in PARTS for seed, start in ((0, 0), (0, 60), (7, 0))]
    assert zlib.crc32(repr(made).encode()) == 576046406
