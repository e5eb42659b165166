"""What is printed where, and the figure."""

import json
import math

import matplotlib.image
import pytest

from seal_jax.runtime import logging, plots

RESULT = {
    "seconds": {"x": 1.0},
    "round_10": {"accuracy": 0.7, "stderr": 0.02},
    "oracle": {"accuracy": 0.9, "stderr": None},
    "round_2": {"accuracy": 0.6, "stderr": 0.02},
    "other": {"accuracy": 0.3},
    "random_edits": {"accuracy": 0.4, "stderr": 0.01},
    "base": {"accuracy": 0.05, "stderr": 0.01},
    "failed": {"accuracy": None},
}


def test_progress_in_a_pipe_is_one_line_on_stderr(capsys):
    with logging.progress("edits", 5, done=2) as advance:
        advance(2, note="loss 1")
        advance()
    with logging.progress("nothing to do", 5, done=5):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("edits: 3 (2 were done before) in ")


def test_progress_on_a_terminal_shows_count_and_eta(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with logging.progress("round [0]/edits", 4, done=1) as advance:
        advance(3, note="loss [1]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "round [0]/edits" in err
    assert "4/4" in err
    assert "ETA" in err
    assert "loss [1]" in err


def test_table_is_plain_and_whole_in_a_pipe(capsys):
    long = "x" * 100
    logging.table([{"name": long, "value": 0.123456}, {"name": "[b]", "extra": 3, "value": math.nan}], title="T")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    for text in (long, "0.1235", "[b]", "nan", "extra", "-", "T"):
        assert text in out


def test_json_is_one_strict_line(capsys):
    logging.print_json({"a": math.nan, "b": "line\nbreak"})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"a": None, "b": "line\nbreak"}


def test_conditions_are_in_the_order_they_are_drawn():
    assert plots.conditions(RESULT) == ["base", "random_edits", "round_2", "round_10", "other", "oracle"]


def test_the_figure_is_a_png_with_something_in_it(tmp_path):
    plots.accuracy_per_round(tmp_path / "deep" / "a.png", RESULT)
    image = matplotlib.image.imread(tmp_path / "deep" / "a.png")
    assert image.shape[0] > 400
    assert image.shape[1] > 600
    assert image[..., :3].std() > 0.05
    with pytest.raises(ValueError, match="no entry with an accuracy, only seconds"):
        plots.accuracy_per_round(tmp_path / "b.png", {"seconds": {}})
