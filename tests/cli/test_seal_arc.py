"""`seal-jax seal arc`: the tasks it chooses, those it leaves out, and its errors."""

import json

import pytest

from seal_jax import models
from seal_jax.cli import seal_arc
from seal_jax.cli.main import main
from seal_jax.data.arc import load_arc
from seal_jax.data.worlds import grids, grids_tokenizer
from seal_jax.seal.arc import demo
from seal_jax.seal.arc.texts import Texts


@pytest.fixture
def challenges(tmp_path):
    """Four tasks of the grids world, two of them too large for a context of 300 tokens, and their solutions."""
    tasks = [*grids.tasks("dev", 2), *grids.tasks("dev", 2, start=2, side=10)]
    pair = lambda e, known: {"input": e.input, **({"output": e.output} if known else {})}  # noqa: E731
    shown = {
        t.id: {"train": [pair(e, True) for e in t.demos], "test": [pair(e, False) for e in t.tests]} for t in tasks
    }
    (tmp_path / "some_challenges.json").write_text(json.dumps(shown))
    (tmp_path / "some_solutions.json").write_text(json.dumps({t.id: [e.output for e in t.tests] for t in tasks}))
    return tmp_path / "some_challenges.json"


def test_tasks_that_do_not_fit_are_named_and_left_out(challenges, capsys):
    tasks = load_arc(challenges)
    texts = Texts(grids_tokenizer.build(), 300, demo.SETTINGS)
    kept = seal_arc.fitting(tasks, 0, texts, "FILE")
    assert {t.id for t in kept} == {t.id for t in tasks[:2]}
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert all("is left out: its edit prompt takes" in line and "of a context of 300" in line for line in told)
    assert seal_arc.fitting(tasks, 0, texts, "FILE") == kept  # a function of the seed
    with pytest.raises(ValueError, match="FILE: 2 of 4 tasks fit the model's context of 300 tokens; 3 are asked for"):
        seal_arc.fitting(tasks, 3, texts, "FILE")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train-tasks", "0"], "--train-tasks 0: use 1 or more"),
        (["--rounds", "-1"], "--rounds -1: use 0 or more"),
        (["--ttt.warmup", "-1"], "warmup -1: use 0 or more"),
        (["--train-tasks", "9"], "2 of 4 tasks fit the model's context of 2048 tokens; 9 are asked for"),
        (["--test", "missing.json"], "missing.json: No such file or directory"),
    ],
)
def test_bad_arguments_are_one_line(challenges, tmp_path, capsys, arguments, message):
    argv = ["seal", "arc", "--model", str(demo.CHECKPOINT), "--data", str(challenges), "--out", str(tmp_path / "out")]
    try:
        code = main([*argv, *arguments])
    except SystemExit as error:  # tyro's own
        code = error.code
    assert code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_the_embedded_checkpoint_takes_the_demo_settings():
    config = models.from_pretrained(demo.CHECKPOINT).config
    texts = Texts(grids_tokenizer.build(), config.max_position, demo.SETTINGS)
    assert all(texts.obstacle(task) is None for task in grids.tasks("test", 20))
