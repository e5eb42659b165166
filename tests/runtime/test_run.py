"""Run directories: what is finished is never done twice, and nothing is lost to a kill or to bad bytes."""

import dataclasses
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax.runtime import Run
from seal_jax.runtime.files import DamagedFileError, JsonLines, dumps, read_json, to_plain, write_atomic, write_json
from seal_jax.runtime.lock import DirectoryInUseError


@dataclasses.dataclass(frozen=True)
class Inner:
    rank: int = 4
    targets: tuple[str, ...] = ("q_proj",)


@dataclasses.dataclass(frozen=True)
class Settings:
    out: pathlib.Path = pathlib.Path("a")
    restart: bool = False
    json: bool = False
    seed: int = 0
    inner: Inner = Inner()


def no_model():
    raise OSError("no model")


def never():
    raise AssertionError("computed again")


def test_a_finished_run_is_loaded(tmp_path):
    value = {"pair": (1, 2.5), "nan": math.nan, "array": np.arange(2), "jax": jnp.float32(0.1), 3: "é\n"}
    expected = {"pair": [1, 2.5], "nan": None, "array": [0, 1], "jax": float(np.float32(0.1)), "3": "é\n"}
    tree = {"q": {"a": jnp.arange(3, dtype=jnp.bfloat16)}}
    with Run(tmp_path / "r", Settings()) as run:
        assert not run.resumed
        assert not run.finished("round_0/edits")
        assert run.stage("round_0/edits", lambda: value) == expected
        assert run.stage("adapter", lambda: tree, kind="tree")["q"]["a"].dtype == jnp.bfloat16
        first = run.finish({"accuracy": np.float32(0.5), "bad": math.inf, "seconds": run.seconds})
    with Run(tmp_path / "r", Settings(out=pathlib.Path("b"), restart=True, json=True)) as run:
        assert run.resumed
        assert run.stage("round_0/edits", never) == expected
        assert run.stage("adapter", never, kind="tree", like=tree)["q"]["a"].tolist() == [0, 1, 2]
        assert run.finish({"accuracy": 0.5, "bad": None, "seconds": run.seconds}) == first
    text = (tmp_path / "r" / "result.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == first
    assert first["bad"] is None


def test_other_settings_are_refused_by_name(tmp_path):
    with Run(tmp_path, Settings()) as run:
        run.stage("a", lambda: 1)
    with pytest.raises(
        ValueError, match=r"seed was 0, now 1; inner\.rank was 4, now 8\. Pass --restart .* another --out"
    ):
        Run(tmp_path, Settings(seed=1, inner=Inner(rank=8)))
    with pytest.raises(ValueError, match=r"more was '\(not set\)', now 1"):
        Run(tmp_path, {**to_plain(Settings()), "more": 1})
    Run(tmp_path, Settings()).close()  # the refused attempts left no lock


def test_settings_without_any_work_are_replaced(tmp_path):
    with Run(tmp_path, Settings()) as run:
        run.items("a")
        with pytest.raises(OSError, match="no model"):
            run.stage("a", no_model)
    with Run(tmp_path, Settings(seed=1)) as run:
        assert not run.resumed
    assert read_json(tmp_path / "config.json")["seed"] == 1
    (tmp_path / "config.json").write_bytes(b'{"cut')
    with Run(tmp_path, Settings(seed=2)) as run:
        run.items("a").add(0, 0)
    with pytest.raises(ValueError, match="seed was 2, now 3"):
        Run(tmp_path, Settings(seed=3))


def test_what_changes_no_number_may_change(tmp_path):
    def config(rows, mesh, rank=4, export=None):
        inner = {"remat": bool(mesh), "rank": rank}
        return {"export": export, "mesh": mesh, "rows": 1, "settings": {"edits": {"rows": rows}, "inner": inner}}

    with Run(tmp_path, config(32, "")) as run:
        run.stage("a", lambda: 1)
    with Run(tmp_path, config(8, "data=8", export="there")) as run:
        assert run.resumed
    with pytest.raises(ValueError, match=r"settings: settings\.inner\.rank was 4, now 8\. Pass"):
        Run(tmp_path, config(8, "data=8", rank=8))
    with pytest.raises(ValueError, match=r"settings: rows was 1, now 2\. Pass"):  # only the dotted one may
        Run(tmp_path, {**config(8, ""), "rows": 2})


def test_a_changed_input_file_is_told(tmp_path):
    with Run(tmp_path, {"data_sha256": "ab"}) as run:
        run.stage("a", lambda: 1)
    with pytest.raises(ValueError, match=r"with other settings: data file changed\. Pass"):
        Run(tmp_path, {"data_sha256": "cd"})


def test_restart_deletes_what_a_run_made_and_nothing_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with Run(tmp_path, Settings()) as run:
        run.stage("a", lambda: 1)
        run.log({"loss": 1.0})
        run.items("b").add("x", 1)
        run.finish({})
    with Run(tmp_path, Settings(seed=5), restart=True) as run:
        assert not run.resumed
        assert run.stage("a", lambda: 2) == 2
        assert len(run.items("b")) == 0
        assert (tmp_path / "metrics.jsonl").read_bytes() == b""
        assert not (tmp_path / "result.json").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_checkpoints_of_a_finished_part_are_dropped(tmp_path):
    with Run(tmp_path, Settings()) as run:
        for name in ("round_1/a", "round_1/b", "round_2"):
            (run.checkpoints / name / "step_00000001").mkdir(parents=True)
        run.drop_checkpoints("round_1/a")
        assert [p.name for p in (run.checkpoints / "round_1").iterdir()] == ["b"]
        run.drop_checkpoints("round_1/b")
        assert [p.name for p in run.checkpoints.iterdir()] == ["round_2"]
        run.drop_checkpoints("never_there")
        run.drop_checkpoints("round_2")
        assert not run.checkpoints.exists()


def test_stages_without_settings_are_not_trusted(tmp_path):
    with Run(tmp_path, {}) as run:
        run.stage("a", lambda: 1)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config\.json; pass --restart"):
        Run(tmp_path, {})
    write_atomic(tmp_path / "config.json", b'{"cut')
    with pytest.raises(ValueError, match=r"config\.json is not a JSON file .* --restart"):
        Run(tmp_path, {})
    Run(tmp_path, {}, restart=True).close()


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    with Run(tmp_path, {}) as run:
        with pytest.raises(ZeroDivisionError):
            run.stage("a", lambda: 1 / 0)
        assert not run.finished("a")
        assert run.stage("a", lambda: 3) == 3


def test_a_damaged_stage_is_computed_again(tmp_path):
    with Run(tmp_path, {}) as run:
        run.stage("a", lambda: 1)
        run.stage("t", lambda: {"w": np.arange(3)}, kind="tree")
        (tmp_path / "stages" / "a.json").write_bytes(b"{\xff")
        (tmp_path / "stages" / "t.tree" / "manifest.json").write_bytes(b"{}")
        with pytest.warns(UserWarning, match="stage 'a' is computed again, its result is damaged"):
            assert run.stage("a", lambda: 2) == 2
        with pytest.warns(UserWarning, match="stage 't' is computed again"):
            assert run.stage("t", lambda: {"w": np.arange(2)}, kind="tree")["w"].tolist() == [0, 1]


def test_items_resume_where_they_were(tmp_path):
    with Run(tmp_path, {}) as run:
        items = run.items("round_0/trials")
        assert items.add("p/0", {"nan": math.nan, "t": (1,)}) == {"nan": None, "t": [1]}
        items.add(7, [0.1])
    path = tmp_path / "stages" / "round_0" / "trials.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "p/1", "val')  # killed while writing
    with Run(tmp_path, {}) as run:
        items = run.items("round_0/trials")
        assert run.items("round_0/trials") is items
        assert list(items) == ["p/0", "7"]
        assert items.missing(["p/0", "p/1", 7, 8]) == ["p/1", 8]
        items.add("p/1", 1)
        assert items.values(["p/1", 7, "p/0"]) == [1, [0.1], {"nan": None, "t": [1]}]
    assert len(path.read_text().splitlines()) == 3


def test_time_of_killed_attempts_counts(tmp_path):
    with Run(tmp_path, {}) as run:
        run.items("a").add(0, 0)
    path = tmp_path / "stages" / "a.jsonl"
    path.write_text(path.read_text() + '{"id": "1", "value": 1, "seconds": 1000.0}\n')
    with Run(tmp_path, {}) as run:
        run.stage("a", lambda: run.items("a").add(2, 2))
        assert 1000 <= run.seconds["a"] < 1100


def test_metrics_are_logged_once(tmp_path):
    for _ in range(2):
        with Run(tmp_path, {}) as run:
            run.log({"loss": math.nan}, id="step 1")
            run.log({"note": 1})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"id": "step 1", "loss": None}, {"note": 1}, {"note": 1}]


def test_bad_lines_are_moved_aside_and_told(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "\xe9"}\n\n[1]\n{"c": 3}')
    with pytest.warns(UserWarning, match="moved aside") as told:
        lines = JsonLines(path)
    assert [str(w.message).split(" is not")[0] for w in told] == [f"{path} line 2", f"{path} line 4"]
    lines.append({"d": "\ud83d"})  # half of a surrogate pair, as a cut completion may hold
    lines.close()
    assert lines.rows == [{"a": 1}, {"c": 3}, {"d": "\ud83d"}]
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n{"d": "\\ud83d"}\n'
    assert (tmp_path / "x.jsonl.damaged").read_bytes() == b'{"b": "\xe9"}\n[1]\n'
    assert JsonLines(path).rows == lines.rows


@pytest.mark.parametrize("name", ["", "../a", "a//b", "/a", "a/..", "a b", "a/"])
def test_stage_names_stay_in_the_directory(tmp_path, name):
    with Run(tmp_path, {}) as run, pytest.raises(ValueError, match="stage name"):
        run.stage(name, never)


def test_unknown_kind(tmp_path):
    with Run(tmp_path, {}) as run, pytest.raises(ValueError, match="kind='pickle' is not one of"):
        run.stage("a", never, kind="pickle")


def test_plain_data():
    assert dumps({"x": [np.float32(1), np.bool_(True), jnp.arange(2)]}) == '{"x": [1.0, true, [0, 1]]}'
    assert dumps({"x": [np.nan, np.array([np.inf])]}) == '{"x": [null, [null]]}'
    with pytest.raises(TypeError, match=r"value\.a\[1\] is a set"):
        to_plain({"a": [1, {2}]})
    with pytest.raises(TypeError, match=r"value\.a is the class int"):
        to_plain({"a": int})


def test_an_atomic_write_that_fails_keeps_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": {1}})
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "a.json", 5)
    assert read_json(tmp_path / "a.json") == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "a.json").write_bytes(b"\xff")
    with pytest.raises(DamagedFileError, match=r"a\.json is not a JSON file in UTF-8"):
        read_json(tmp_path / "a.json")


WORK = textwrap.dedent(
    """
    import os, random, signal, sys, time
    from seal_jax.runtime import Run

    folder, kill_at = sys.argv[1], int(sys.argv[2])
    run = Run(folder, {"seed": 1})
    if kill_at == -1:
        print("locked", flush=True)
        time.sleep(60)

    def work():
        items = run.items("work")
        for i in items.missing(range(6)):
            if i == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            items.add(i, random.Random(i).random())
            print(i)
        return items.values(range(6))

    run.finish({"sum": sum(run.stage("work", work))})
    """
)


def start(folder, kill_at, **how):
    return subprocess.Popen([sys.executable, "-c", WORK, str(folder), str(kill_at)], stdout=subprocess.PIPE, **how)


def test_a_killed_process_goes_on_at_its_item(tmp_path):
    whole, cut = start(tmp_path / "whole", 9), start(tmp_path / "cut", 4)
    whole.communicate()
    cut.communicate()
    assert (whole.returncode, cut.returncode) == (0, -signal.SIGKILL)
    assert start(tmp_path / "cut", 9).communicate()[0].split() == [b"4", b"5"]
    assert read_json(tmp_path / "cut" / "result.json") == read_json(tmp_path / "whole" / "result.json")


def test_one_writer_at_a_time_and_a_dead_one_does_not_count(tmp_path):
    process = start(tmp_path, -1)
    assert process.stdout.readline() == b"locked\n"
    with pytest.raises(DirectoryInUseError, match=rf"being written by process {process.pid} on"):
        Run(tmp_path, {"seed": 1})
    process.kill()
    process.communicate()
    with Run(tmp_path, {"seed": 1}) as run:
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        with pytest.raises(DirectoryInUseError):
            Run(tmp_path, {"seed": 1})
        assert run.stage("a", lambda: 1) == 1
