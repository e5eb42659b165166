"""The transforms of the released code, recorded: `arc.json`, and any file of its format named in ARC_GOLDEN."""

import hashlib
import json
import os
import pathlib

import pytest

from seal_jax.data import arc
from seal_jax.data.arc import randomized

CHALLENGES = ("training_challenges", "evaluation_challenges_filtered_1B_eval_set")


@pytest.fixture(scope="module")
def golden(shared_data):
    return json.loads(pathlib.Path(os.environ.get("ARC_GOLDEN", shared_data / "golden/arc.json")).read_text())


@pytest.fixture(scope="module")
def recorded(golden, shared_data):
    """Each task with what is recorded of it."""
    tasks = {t.id: t for name in CHALLENGES for t in arc.load_arc(shared_data / f"arc/arc-agi_{name}.json")}
    return [(tasks[name], item) for name, item in golden["tasks"].items()]


def grid(rows):
    return tuple(map(tuple, rows))


def numbered(rows, columns):
    """A grid whose cells are all different."""
    return tuple(tuple(range(r * columns, (r + 1) * columns)) for r in range(rows))


def test_names_and_inverses(golden):
    assert {name: [m.name for m in members] for name, members in arc.GROUPS.items()} == golden["augmenter_groups"]
    inverses = {name: arc.by_name(name).inverse for name in golden["inverse_names"]}
    assert {name: i and i.name for name, i in inverses.items()} == golden["inverse_names"]
    asked = {augmenter.name: augmenter.inverse.name for augmenter in arc.QUERY_AUGMENTERS}
    assert asked == golden["query_augmenters_and_inverses"]


def test_augmented_demonstrations(recorded):
    for task, item in recorded:
        assert task.demos[0] == (grid(item["demo0"]["input"]), grid(item["demo0"]["output"]))
        first = arc.leave_out(task, 1)[0]
        for name, expected in item["augmented_demo0"].items():
            augmenter = arc.by_name(name)
            assert [augmenter(g) for g in task.demos[0]] == [grid(expected["input"]), grid(expected["output"])]
            assert (arc.apply(augmenter, first) is not None) == expected["first_leave_one_out_task_fits_30x30"]


def test_released_shifts(golden, recorded):
    for bounds, (down, right, out_down, out_right) in golden["translate_shift_table"].items():
        rows, columns, out_rows, out_columns = map(int, bounds.split(","))
        one, other = numbered(rows, columns), numbered(out_rows, out_columns)
        task = arc.Task("x", (), (arc.Example(one, other),))
        moved = arc.Example(randomized.rolled(one, down, right), randomized.rolled(other, out_down, out_right))
        assert randomized.translate_reference(task).tests == (moved,)
    for task, item in recorded:
        moved = randomized.translate_reference(arc.leave_out(task, 1)[0])
        expected = item["random_translate_xy_seed0"]["demo0_translated"]
        assert moved.tests == ((grid(expected["input"]), grid(expected["output"])),)


def test_text(recorded):
    for task, item in recorded:
        assert [tuple(map(arc.grid_text, demo)) for demo in task.demos] == [
            tuple(t.values()) for t in item["grid_text"]
        ]
        system, user, assistant = arc.messages(arc.leave_out(task, 1)[0])
        expected = item["message_triple_first_leave_one_out"]
        assert (system, user, assistant) == tuple(expected[k] for k in ("system_grid_part", "user", "assistant"))
        assert hashlib.sha256(system.encode()).hexdigest() == expected["system_grid_part_sha256"]


def test_numbers_of_tasks(recorded):
    for task, item in recorded:
        for n, counts in item["leave_n"].items():
            left = arc.leave_out(task, int(n))
            assert (len(left), len(set(left))) == (counts["tasks"], counts["distinct_tasks"])
        for combination, counts in item["distinct_after_augmentation_before_colour_and_order_copies"].items():
            groups = () if combination == "none" else combination.split("+")
            for n, count in counts.items():
                made = arc.training_tasks(task, groups, leave_n=(int(n),), permute_n=0, most=None, rules="reference")
                assert len(made) == count, (task.id, combination, n)


def test_every_augmentation_of_real_tasks(shared_data):
    """Every tenth real task: what is made of it is made of grids, inverses undo it, and queries lead back."""
    for task in arc.load_arc(shared_data / "arc/arc-agi_training_challenges.json")[::10]:
        for augmenter in (*(m for members in arc.GROUPS.values() for m in members), *arc.OTHERS):
            made = arc.apply(augmenter, task)
            if made is not None:
                assert [arc.grid_of(g) for g in made.grids()] == made.grids()
                assert augmenter.inverse is None or arc.apply(augmenter.inverse, made) == task
        for query in arc.queries(task, 0):
            asked = query.task.tests[0].input
            assert (query.inverse(asked) if query.inverse else asked) == task.tests[0].input
        made = arc.training_tasks(task, ("basic", "repeat"))
        assert 0 < len(made) == len(set(made)) <= 250
        for one in made[:20]:
            assert arc.parse_grid(arc.messages(one).assistant) == one.tests[0].output
