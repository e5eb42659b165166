"""`seal-jax seal arc`: the tasks it chooses, those it leaves out, and its errors."""

import json
import shutil

import pytest

from seal_jax import models
from seal_jax.cli import seal_arc, startup
from seal_jax.cli.main import main
from seal_jax.data.arc import load_arc
from seal_jax.data.worlds import grids, grids_tokenizer
from seal_jax.seal.arc import demo, study
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


def called(challenges, out, *arguments):
    """The exit code of the command on the challenges."""
    argv = ["seal", "arc", "--model", str(demo.CHECKPOINT), "--data", str(challenges), "--out", str(out)]
    try:
        return main([*argv, *arguments])
    except SystemExit as error:  # tyro's own
        return error.code


@pytest.fixture
def studies(monkeypatch):
    """In place of a study, the stage of one is kept; returns what each was given: rounds, test tasks, settings."""
    found = []

    def instead(run, model, rounds, test, texts, **_):
        found.append((rounds, test, texts.settings))
        run.stage("evaluation/icl", list)
        return {"icl": {"accuracy": 0.0, "stderr": 0.0}}

    monkeypatch.setattr(study, "study", instead)
    return found


ONE_EACH = ("--train-tasks", "1", "--test-tasks", "1")


def test_a_directory_of_tasks(challenges, tmp_path, studies, capsys):
    """As in the public repository: one file each, with the answers. A changed file is another run."""
    folder = tmp_path / "public"
    folder.mkdir()
    for task in load_arc(challenges)[:2]:
        pairs = {"train": task.demos, "test": task.tests}
        written = {key: [{"input": e.input, "output": e.output} for e in examples] for key, examples in pairs.items()}
        (folder / f"{task.id.replace('/', '-')}.json").write_text(json.dumps(written))
    assert called(folder, tmp_path / "out", *ONE_EACH) == 0
    [([[one]], [other], _)] = studies
    assert {one.id, other.id} == {file.stem for file in folder.iterdir()}
    assert called(folder, tmp_path / "out", *ONE_EACH) == 0  # goes on
    file = next(folder.iterdir())
    file.write_text(file.read_text() + " ")
    assert called(folder, tmp_path / "out", *ONE_EACH) == 2
    assert "other settings: data file changed" in capsys.readouterr().err
    assert len(studies) == 2


def test_missing_solutions_are_told_before_the_model_is_loaded(challenges, tmp_path, studies, monkeypatch, capsys):
    solutions = challenges.with_name("some_solutions.json").rename(tmp_path / "elsewhere.json")
    with monkeypatch.context() as patch:
        patch.setattr(startup.Opened, "load", lambda *_: pytest.fail("the model was loaded"))
        assert called(challenges, tmp_path / "out", *ONE_EACH) == 2
    told = capsys.readouterr().err
    assert "no task has known answers, and rounds learn from tasks that are solved" in told
    assert f"there is no {tmp_path / 'some_solutions.json'}; name the file with --solutions" in told
    assert told.count("\n") == 1
    assert called(challenges, tmp_path / "out", *ONE_EACH, "--rounds", "0") == 0
    told = capsys.readouterr().err
    assert "1 of 1 tasks of the evaluation have no known answers: there will be no accuracy, attempts only" in told
    assert called(challenges, tmp_path / "other", *ONE_EACH, "--solutions", str(solutions)) == 0
    assert "no known answers" not in capsys.readouterr().err
    lost = ["--solutions", str(solutions), "--test", str(challenges), "--test-solutions", str(tmp_path / "none.json")]
    assert called(challenges, tmp_path / "third", *ONE_EACH, *lost) == 2
    assert "none.json: No such file or directory" in capsys.readouterr().err


def test_tasks_without_answers_are_in_no_round(challenges, tmp_path, studies, capsys):
    tasks = json.loads(challenges.read_text())
    challenges.with_name("some_solutions.json").unlink()
    known = list(tasks)[1]
    tasks[known]["test"][0]["output"] = [[1]]
    challenges.write_text(json.dumps(tasks))
    assert called(challenges, tmp_path / "out", *ONE_EACH) == 0
    assert [task.id for task in studies[0][0][0]] == [known]
    assert "3 of 4 tasks have no known answers and are in no round" in capsys.readouterr().err
    assert called(challenges, tmp_path / "out2", "--train-tasks", "2", "--test-tasks", "1") == 2
    assert "1 of 1 tasks fit the model's context of 2048 tokens; 2 are asked for" in capsys.readouterr().err


@pytest.mark.parametrize("named", [False, True])
def test_the_solutions_are_part_of_the_run(named, challenges, tmp_path, studies, capsys):
    """Found beside the tasks or named, for the rounds or for the evaluation: with others it is another run."""
    solutions = challenges.with_name("some_solutions.json")
    apart = shutil.copy(solutions, tmp_path / "test_answers.json")
    # Tasks of the evaluation are others than those of the rounds; all of them are asked for, and there is one.
    test = ["--test", str(challenges), "--test-solutions", str(apart)] if named else []
    flags = [*ONE_EACH, *(["--solutions", str(solutions)] if named else []), *test]
    assert called(challenges, tmp_path / "out", *flags) == 0
    for file, field in ((solutions, "solutions"), (apart, "test_solutions"))[: 1 + named]:
        before = file.read_text()
        file.write_text(before + " ")
        capsys.readouterr()
        assert called(challenges, tmp_path / "out", *flags) == 2
        assert f"holds a run with other settings: {field} file changed" in capsys.readouterr().err
        file.write_text(before)
    assert called(challenges, tmp_path / "out", *flags) == 0
    assert len(studies) == 2


def test_edits_of_a_round_are_the_most_of_the_evaluation(challenges, tmp_path, studies, capsys):
    for number, flags in enumerate(([], ["--edits", "3"], ["--edits", "9"], ["--edits.count", "3"])):
        assert called(challenges, tmp_path / str(number), *ONE_EACH, *flags) == 0
    assert [(s.edits.count, s.edits.tested) for _, _, s in studies] == [(15, 5), (3, 3), (9, 5), (3, 5)]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["seal", "arc", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Where --edits.tested, the edits of a task of the evaluation, is larger, it becomes this number" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--edits", "0"], "--edits 0: use 1 or more"),
        (["--max-sequences", "0"], "--max-sequences 0: use 1 or more"),
        (["--test-tasks", "-1"], "--test-tasks -1: use 0 or more"),
        (["--edits.rules", "theirs"], "--edits.rules"),
        (["--prediction.max-length", "0"], "--prediction.max-length 0: use 1 or more"),
        (["--prediction.include-n", "0"], "--prediction.include-n (0,): give a tuple of numbers of 1 or more"),
        (["--ttt.max-learning-rate", "nan"], "--ttt.max-learning-rate nan: use a number above 0"),
        (["--ttt.targets", "q_prooj"], "q_prooj"),
        (["--policy.targets", "q_prooj"], "q_prooj"),
        (["--edits.template", "missing.txt"], "missing.txt"),
        (["--instruction", "missing.txt"], "missing.txt"),
        (["--solutions", "missing.json"], "missing.json: No such file or directory"),
        (["--test-solutions", "some.json"], "--test-solutions are those of --test; give that as well"),
        (["--model", "no/such/directory"], "no/such/directory"),
        (["--mesh", "data"], "mesh"),
        (["--train-tasks", "0"], "--train-tasks 0: use 1 or more"),
        (["--rounds", "-1"], "--rounds -1: use 0 or more"),
        (["--ttt.warmup", "-1"], "warmup -1: use 0 or more"),
        (["--train-tasks", "9"], "2 of 4 tasks fit the model's context of 2048 tokens; 9 are asked for"),
        (["--test", "missing.json"], "missing.json: No such file or directory"),
    ],
)
def test_bad_arguments_are_one_line(challenges, tmp_path, studies, capsys, arguments, message):
    assert called(challenges, tmp_path / "out", *ONE_EACH, *arguments) == 2
    told = capsys.readouterr().err
    assert message in " ".join(told.replace("│", " ").split())
    assert "Traceback" not in told
    assert studies == []


def test_the_embedded_checkpoint_takes_the_demo_settings():
    config = models.from_pretrained(demo.CHECKPOINT).config
    texts = Texts(grids_tokenizer.build(), config.max_position, demo.SETTINGS)
    assert all(texts.obstacle(task) is None for task in grids.tasks("test", 20))
