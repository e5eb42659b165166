"""Scores in JSON, CSV and run directories."""

import json

import numpy as np
import pytest

from seal_jax.continual import metrics

R1, BASELINE = [[0.90, 0.20, 0.10], [0.70, 0.80, 0.30], [0.75, 0.60, 0.85]], [0.10, 0.12, 0.08]


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_json_and_csv_of_the_same_scores(tmp_path):
    whole = write(tmp_path / "a.json", {"matrix": R1, "tasks": ["a", "b", "c"], "baseline": BASELINE})
    table = write(
        tmp_path / "a.csv",
        ",a,b,c\nbaseline,0.1,0.12,0.08\nafter a,.9,.2,.1\nafter b,.7,.8,.3\n\nafter c,.75,.6,.85\n",
    )
    for path in (whole, table):
        found = metrics.read_scores(path)
        assert found.tasks == ["a", "b", "c"]
        assert found.figures() == pytest.approx(metrics.from_matrix(R1, BASELINE))
    (tmp_path / "run").mkdir()
    write(tmp_path / "run" / "result.json", whole.read_text())
    assert metrics.from_run(tmp_path / "run") == metrics.read_scores(whole).figures()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", [[0.9], [0.7, 0.8]]),
        ("a.json", {"matrix": [[0.9, None], [0.7, 0.8]], "single": None}),
        ("a.csv", ".9\n.7,.8\n"),
        ("a.csv", "\ufeff.9,\n.7,.8\n"),
        ("a.csv", "one,two\n.9,\n.7,.8\n"),
        ("a.csv", "first,.9,\nsecond,.7,.8\n"),
    ],
)
def test_what_is_above_the_diagonal_may_be_missing(tmp_path, name, content):
    found = metrics.read_scores(write(tmp_path / name, content))
    np.testing.assert_equal(found.matrix, [[0.9, np.nan], [0.7, 0.8]])
    assert found.single is None
    assert len(found.tasks) == 2


@pytest.mark.parametrize("content", ["2021,2022\n.9,.1\n.7,.8\n", ",2021,2022\nfirst,.9,.1\nsecond,.7,.8\n"])
def test_tasks_may_be_named_by_years(tmp_path, content):
    found = metrics.read_scores(write(tmp_path / "a.csv", content))
    assert found.tasks == ["2021", "2022"]
    np.testing.assert_equal(found.matrix, [[0.9, 0.1], [0.7, 0.8]])


@pytest.mark.parametrize("content", ["90%,10 %\n70%,80%\n", "a,b\nfirst,90%,10%\nsecond,70%,80%\n"])
def test_percent_signs(tmp_path, content):
    content = content.replace("a,b", ",a,b")
    np.testing.assert_equal(metrics.read_scores(write(tmp_path / "a.csv", content)).matrix, [[90, 10], [70, 80]])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", {"scores": R1}, r"a.json: missing key 'matrix' \(found: scores\)"),
        ("a.json", {"matrix": [1, 2]}, r'a.json: "matrix"\[0\] should be a list of scores, not an integer'),
        ("a.json", {"matrix": [["x"]]}, r'a.json: "matrix"\[0\]\[0\] should be a number or null, not \'x\''),
        ("a.json", {"matrix": [[1], [1]]}, r"a.json: row 1 of the scores has 1 entries"),
        ("a.json", {"matrix": [[1]], "tasks": ["a", "b"]}, r"a.json: tasks has 2 entries and the matrix 1 tasks"),
        ("a.json", {"matrix": [[1]], "baseline": [1, 2]}, r"a.json: baseline has 2 entries"),
        ("a.json", {"matrix": [[1]], "baseline": 3}, r'a.json: "baseline" should be a list of scores'),
        ("a.json", "3", r"a.json: expected an object with the key 'matrix', not an integer"),
        ("a.json", "{", r"a.json: invalid JSON at line 1"),
        ("a.json", "", r"a.json: the file is empty; expected a matrix of scores"),
        ("a.csv", ".9,\n.7,x\n", r"a.csv: line 2, column 2: 'x' is no score"),
        ("a.csv", "1,2\n.9,.1\n.7,.8\n", r"a.csv: 3 rows of scores for 2 tasks; if line 1 \(1,2\) names the tasks, "),
        ("a.csv", "90%,.1\n70%,.8\n", r"a.csv: line 1, column 2: '.1' has no % and other scores have: use one unit"),
        ("a.csv", "a,b\nfirst,.9\nsecond,.7,.8\nthird,.7,.8,.9", r"a.csv: tasks has 1 entries and the matrix 3 tasks"),
        ("a.csv", ".9,.1\n.7,.8\n.1,.1\n", r"a.csv: row 2 of the scores has 2 entries"),
    ],
)
def test_files_that_hold_no_scores(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        metrics.read_scores(write(tmp_path / name, content))


def test_arrays_and_tables_with_tabs(tmp_path):
    np.save(tmp_path / "a.npy", np.array(R1))
    np.savez(tmp_path / "a.npz", matrix=np.array(R1, np.float32), baseline=np.array(BASELINE), tasks=list("abc"))
    write(tmp_path / "a.tsv", "\ta\tb\nfirst\t.9\t\nsecond\t.7\t.8\n")
    np.testing.assert_array_equal(metrics.read_scores(tmp_path / "a.npy").matrix, R1)
    found = metrics.read_scores(tmp_path / "a.npz")
    assert found.tasks == ["a", "b", "c"]
    assert found.figures() == pytest.approx(metrics.from_matrix(R1, BASELINE), rel=1e-5)
    np.testing.assert_equal(metrics.read_scores(tmp_path / "a.tsv").matrix, [[0.9, np.nan], [0.7, 0.8]])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"0.9,0.1"])
def test_files_that_are_no_arrays(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.npz: not a NumPy file of numbers"):
        metrics.read_scores(tmp_path / "a.npz")


def test_percents_beside_shares_are_warned_of(tmp_path, caplog):
    path = tmp_path / "a.json"
    metrics.read_scores(write(path, {"matrix": R1, "baseline": BASELINE, "single": [0.0, 0.0, 0.0]}))
    assert not caplog.text
    metrics.read_scores(write(path, {"matrix": R1, "baseline": [10, 12, 8]}))
    assert "a.json: the matrix goes up to 0.9 and baseline to 12: are both in one unit?" in caplog.text
    caplog.clear()
    metrics.read_scores(write(path, {"matrix": [[90, 1], [80, 85]], "single": [0.9, 0.8]}))
    assert "and single to 0.9: are both in one unit?" in caplog.text
