"""Loading ARC tasks from both public layouts, and their text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seal_jax.data import arc

ROWS = st.integers(1, 30).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=30)
)
TASK = {
    "train": [{"input": [[1, 2]], "output": [[2, 1]]}, {"input": [[3, 4]], "output": [[4, 3]]}],
    "test": [{"input": [[5, 6]]}],
}


def write(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_every_real_task_and_its_text(shared_data):
    tasks = arc.load_arc(shared_data / "arc/arc-agi_training_challenges.json")
    assert len(tasks) == 400
    grids = [grid for task in tasks for grid in task.grids()]
    assert len(grids) == sum(2 * (len(task.demos) + len(task.tests)) for task in tasks)  # the solutions were found
    for grid in grids:
        assert arc.parse_grid(arc.grid_text(grid)) == grid


def test_layouts_agree(tmp_path):
    kaggle = write(tmp_path / "a_challenges.json", {"x1": TASK})
    assert arc.load_arc(kaggle)[0].tests == (arc.Example(((5, 6),), None),)
    write(tmp_path / "a_solutions.json", {"x1": [[[6, 5]]]})
    (known,) = arc.load_arc(kaggle)
    assert known.tests == (arc.Example(((5, 6),), ((6, 5),)),)
    folder = tmp_path / "public"
    folder.mkdir()
    answered = {**TASK, "test": [{"input": [[5, 6]], "output": [[6, 5]]}]}
    single = write(folder / "x1.json", answered)
    write(folder / "x0.json", TASK)
    assert arc.load_arc(single) == [known]
    assert [task.id for task in arc.load_arc(folder)] == ["x0", "x1"]
    assert arc.load_arc(folder, ids=["x1"]) == [known]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"x": {"train": [], "test": [1]}}, "task x: .*'train'"),
        ({"x": {**TASK, "test": [{"output": [[1]]}]}}, 'task x, test 0: .*"input"'),
        ({"x": {**TASK, "train": [{"input": [[1]]}]}}, 'task x, train 0: .*"output"'),
        ({"x": {**TASK, "test": [{"input": [[1, 2], [3]]}]}}, "test 0, input, row 1: 1 cells, where row 0 has 2"),
        ({"x": {**TASK, "test": [{"input": [[1, 10]]}]}}, "row 0, column 1: .*0-9, not 10"),
        ({"x": {**TASK, "test": [{"input": [[True]]}]}}, "column 0: .*not True"),
        ({"x": {**TASK, "test": [{"input": [[1] * 31]}]}}, "row 0: .*1 to 30 cells, not 31"),
        ({"x": {**TASK, "test": [{"input": []}]}}, "1 to 30 rows, not 0"),
        ({"x": 3}, "task x: expected an object"),
        ([1], "not a list"),
        ({}, "no tasks"),
    ],
)
def test_what_is_wrong_and_where(tmp_path, broken, message):
    with pytest.raises(ValueError, match=message):
        arc.load_arc(write(tmp_path / "tasks.json", broken))


def test_wrong_solutions_and_ids(tmp_path):
    path = write(tmp_path / "tasks.json", {"x": TASK})
    for solutions, message in (
        ({}, "task x: no solution"),
        ({"x": []}, "task x: 0 solutions for 1 tests"),
        ({"x": [[[11]]]}, "solution 0, row 0, column 0"),
        ([], "expected an object"),
    ):
        with pytest.raises(ValueError, match=message):
            arc.load_arc(path, write(tmp_path / "other.json", solutions))
    with pytest.raises(ValueError, match="no task 'y'"):
        arc.load_arc(path, ids=["x", "y"])
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "cut.json").write_text('{"a":')
    (tmp_path / "bytes.json").write_bytes(b'"\xff"')
    (tmp_path / "digits.json").write_text(json.dumps({"x": TASK}).replace("1", "1" * 5000, 1))
    messages = {
        "deep": "too deeply",
        "cut": "line 1, column 6",
        "bytes": "not UTF-8",
        "digits": "a number of more digits than any grid",
    }
    for name, message in messages.items():
        with pytest.raises(ValueError, match=rf"{name}\.json: .*{message}"):
            arc.load_arc(tmp_path / f"{name}.json")


def test_a_key_that_a_file_has_twice_is_named(tmp_path):
    """JSON allows it, and the last would silently be the one that counts."""
    once = json.dumps(TASK)
    tasks = tmp_path / "a_challenges.json"
    tasks.write_text(f'{{"x": {once}, "y": {once}, "x": {once}}}')
    with pytest.raises(ValueError, match=r"a_challenges\.json: .*'x' is there more than once"):
        arc.load_arc(tasks)
    tasks.write_text(f'{{"x": {once}}}')
    (tmp_path / "a_solutions.json").write_text('{"x": [[[6, 5]]], "x": [[[5, 6]]]}')
    with pytest.raises(ValueError, match=r"a_solutions\.json: .*'x' is there more than once"):
        arc.load_arc(tasks)
    tasks.write_text(once.replace('{"input": [[5, 6]]}', '{"input": [[5, 6]], "input": [[5, 7]]}'))
    with pytest.raises(ValueError, match="'input' is there more than once"):
        arc.load_arc(tasks, write(tmp_path / "none.json", {}))
    with pytest.raises(ValueError, match="ids has 'x' more than once"):
        arc.load_arc(write(tmp_path / "b.json", {"x": TASK}), ids=["x", "x"])


def test_cells_that_are_no_colour():
    for cell in (10**5000, -(10**5000), 10**100, 1e999, float("nan"), None, "1"):
        with pytest.raises(ValueError, match="task, row 0, column 1: a cell is an integer 0-9, not ") as told:
            arc.grid_of([[1, cell]], "task")
        assert len(str(told.value)) < 120


def test_rules_have_two_names():
    task = arc.task_of(TASK, "x")
    for call in (
        lambda: arc.training_tasks(task, (), rules="theirs"),
        lambda: arc.queries(task, 0, rules="theirs"),
        lambda: arc.parse_grid("[[1]]", "theirs"),
    ):
        with pytest.raises(ValueError, match=r"rules? 'theirs' is not one of ours, reference"):
            call()


@given(ROWS)
def test_text_is_read_back(rows):
    grid = arc.grid_of(rows)
    text = arc.grid_text(grid)
    assert arc.parse_grid(text) == arc.parse_grid(text + "# and more") == arc.parse_grid(f"```\n{text}#\n```") == grid
    assert arc.parse_grid(text + "#", "reference") == grid


@given(st.text() | st.text("[] #0123456789\n-٣", max_size=80))
def test_any_text_is_a_grid_or_none(text):
    grid = arc.parse_grid(text)
    assert grid is None or arc.grid_of(grid) == grid
    arc.parse_grid(text, "reference")


def test_what_is_no_grid():
    for text in ("", "[[]]", "[[1 2]\n [3]]", "[[10]]", "[[-1]]", "[[٣]]", "[[1.0]]", "a", "\n".join(["1"] * 31)):
        assert arc.parse_grid(text) is None
    # The reference reshapes by the number of lines, and takes any integer.
    assert arc.parse_grid("[[1 2 3]\n [4]]", "reference") == ((1, 2), (3, 4))
    assert arc.parse_grid("[[1 2]\n [3]]", "reference") is None
    assert arc.parse_grid("[[12]]", "reference") == ((12,),)


def test_messages():
    task = arc.task_of({**TASK, "test": [{"input": [[5]], "output": [[6, 5]]}, {"input": [[7], [8]]}]}, "x")
    assert arc.messages(task, instruction="Do.\n") == (
        "Do.\n[[1 2]] -> [[2 1]]#\n[[3 4]] -> [[4 3]]#\n",
        "[[5]] -> ",
        "[[6 5]]#",
    )
    assert arc.messages(task, 1)[1:] == ("[[7]\n [8]] -> ", "")


def test_released_commands_leave_tasks_out(shared_data):
    files = ("training_challenges_filtered_1B_training_set", "evaluation_challenges_filtered_1B_eval_set")
    training, evaluation = (arc.load_arc(shared_data / f"arc/arc-agi_{name}.json") for name in files)
    all_training, all_evaluation = ({task.id for task in tasks} for tasks in (training, evaluation))
    trained, scored = arc.reference_subset(training, 12, 11)
    assert all_training - set(trained) == {"8e1813be"}
    assert all_training - set(scored) == {"5bd6f4ac", "8e1813be"}
    trained, scored = arc.reference_subset(evaluation, 10, 9)
    assert all_evaluation - set(trained) == {"ce8d95cc"}
    assert all_evaluation - set(scored) == {"358ba94e", "af24b4cc"}
