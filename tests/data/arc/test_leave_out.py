"""Training tasks and queries: what they hold, that they can be had again anywhere, and the token filter."""

import subprocess
import sys

import pytest

from seal_jax.data import arc

# What a task becomes must not depend on the process: no salted hash, no order of a set.
PROGRAM = """
import zlib
from seal_jax.data import arc
demos = tuple(arc.Example(((i, 2, 0), (0, i, 1)), ((i, i), (1, 0))) for i in range(4))
task = arc.Task("abc", demos, (arc.Example(((7, 2, 0), (0, 7, 1)), None),))
made = arc.training_tasks(task, {"basic", "size", "repeat"}, seed=3)
print(len(made), zlib.crc32(repr((made, arc.queries(task, 0, seed=3))).encode()))
"""


def task_of(demos=3, tests=1, name="abc"):
    examples = tuple(arc.Example(((i, 2, 0), (0, i, 1)), ((i, i), (1, 0))) for i in range(demos))
    asked = tuple(arc.Example(((7, i, 0), (0, 7, 1)), ((7, 7), (1, i))) for i in range(tests))
    return arc.Task(name, examples, asked)


def test_same_in_every_process():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": salt, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().startswith("250 ")


@pytest.mark.parametrize("demos", [1, 2, 3, 5])
def test_leave_out_counts(demos):
    task = task_of(demos)
    assert len(arc.leave_out(task, 1)) == demos
    assert len(arc.leave_out(task, 2)) == demos * (demos - 1)
    assert {one.tests[0] for one in arc.leave_out(task, 1)} == set(task.demos)
    for one in (*arc.leave_out(task, 1), *arc.leave_out(task, 2)):
        assert one.tests[0] not in one.demos
        assert list(one.demos) == [demo for demo in task.demos if demo in one.demos]  # order kept
    with pytest.raises(ValueError, match="leave_n=0"):
        arc.leave_out(task, 0)


def test_training_tasks_are_different_and_answered():
    task = task_of(4)
    made = arc.training_tasks(task, ("basic", "size", "chain", "repeat"))
    assert len(made) == len(set(made)) == 250
    assert all(one.id == "abc" and len(one.tests) == 1 and one.tests[0].output is not None for one in made)
    assert task.tests[0].input not in {grid for one in made for grid in one.grids()}
    every = arc.training_tasks(task, ("basic",), most=None)
    assert every == arc.training_tasks(task, ["basic"], most=len(every))  # nothing is drawn where all are taken
    assert set(arc.training_tasks(task, ("basic",), most=20)) < set(every)
    assert every != arc.training_tasks(task, ("basic",), most=None, seed=1)
    assert {len(one.demos) for one in made} == {2, 3}


def test_without_groups_colours_stay():
    made = arc.training_tasks(task_of(4), ())
    assert {frozenset(one.demos) for one in made} <= {
        frozenset(one.demos) for n in (1, 2) for one in arc.leave_out(task_of(4), n)
    }
    assert arc.training_tasks(task_of(1), (), leave_n=(2,)) == []
    with pytest.raises(ValueError, match=r"'huge'; there are basic, size"):
        arc.training_tasks(task_of(), ("huge",))


def test_what_does_not_fit_is_left_out():
    looked_at = []

    def short(task):
        looked_at.append(task)
        return len(task.demos) < 3

    made = arc.training_tasks(task_of(4), ("basic",), fits=short)
    assert made
    assert all(len(one.demos) == 2 for one in made)
    looked_at.clear()
    assert len(arc.training_tasks(task_of(4), ("basic",), most=5, fits=short)) == 5
    assert len(looked_at) < 40  # tokenising thousands to keep five would be most of the time
    assert arc.training_tasks(task_of(4), ("basic",), fits=lambda _: False) == []


def test_queries():
    task = task_of(4, tests=2)
    made = arc.queries(task, 1)
    forms = [query.task for query in made]
    assert len(set(forms)) == len(forms)
    assert [query.inverse and query.inverse.name for query in made if query.inverse] == [
        "Transpose()",
        "Flip(0)",
        "Flip(1)",
        "Rotate(270)",
        "Rotate(180)",
    ]
    for query in made:
        assert query.task.tests[0].output is None
        assert len(query.task.demos) == 3
        asked = query.task.tests[0].input
        assert (query.inverse(asked) if query.inverse else asked) == task.tests[1].input
    assert {frozenset(q.task.demos) for q in made if not q.inverse} == {
        frozenset(t.demos) for t in arc.leave_out(task, 1)
    }
    assert arc.queries(task, 1) == made != arc.queries(task, 1, seed=1)
    assert len(arc.queries(task, 0, permute_n=0)) == 4 + 5


def test_queries_that_hardly_fit():
    task = task_of(5)
    assert {len(q.task.demos) for q in arc.queries(task, 0, fits=lambda t: len(t.demos) < 3)} == {2}  # leaves out 3
    assert arc.queries(task, 0, fits=lambda t: len(t.demos) < 3, rules="reference") == []
    assert arc.queries(task, 0, fits=lambda _: False) == []
    assert {len(q.task.demos) for q in arc.queries(task_of(1), 0)} == {1}
    assert {len(q.task.demos) for q in arc.queries(task_of(1), 0, rules="reference")} == {0}


def test_the_answer_is_not_counted():
    def seen(rules):
        outputs = []
        made = arc.queries(task_of(), 0, fits=lambda t: outputs.append(t.tests[0].output) or True, rules=rules)
        assert all(query.task.tests[0].output is None for query in made)
        return {output is None for output in outputs}

    assert seen("ours") == {True}
    assert seen("reference") == {False}
