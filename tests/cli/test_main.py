"""The frame of the command line: help, errors in one line, what goes to which stream, and how fast it starts."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import time
import types

import pytest

import seal_jax
from seal_jax.cli import COMMANDS, main
from seal_jax.cli import main as entry
from seal_jax.cli.options import RunOptions
from seal_jax.cli.report import Report, finished
from seal_jax.runtime import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe(RunOptions):
    """A command that does what it is told."""

    fail: str = ""

    def __call__(self):
        print("a library talks")
        if self.fail == "interrupt":
            raise KeyboardInterrupt
        if self.fail == "bug":
            raise TypeError("a bug")
        if self.fail == "missing":
            pathlib.Path("no such file").read_bytes()
        if self.fail:
            raise ValueError(f"{self.fail}\nin two lines")
        with Run(self.out, self, self.restart) as run:
            values = run.stage("values", lambda: {"accuracy": 0.25, "stderr": float("nan")})
            return finished(run, {"base": values, "round_0": {"accuracy": 0.5, "stderr": 0.1, "loglik": -1.0}})


@pytest.fixture
def probe(monkeypatch):
    monkeypatch.setitem(sys.modules, "seal_jax.cli.probe", types.SimpleNamespace(Command=Probe))
    monkeypatch.setitem(COMMANDS, "probe", "a probe")


def test_every_command_has_its_module_and_help(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert f"seal-jax {name}" in capsys.readouterr().out
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and summary in out for name, summary in COMMANDS.items())


@pytest.mark.parametrize("name", ["edits", "train", "evaluate"])
def test_seal_commands_take_the_run_arguments(name, capsys):
    with pytest.raises(SystemExit):
        main(["seal", name, "--help"])
    out = capsys.readouterr().out
    assert all(flag in out for flag in ("--out", "--restart", "--seed", "--dtype", "--json", "--model", "--edits.kind"))


def test_version_and_no_command(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"seal-jax {seal_jax.__version__}\n"
    assert main([]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generat"], "there is no command 'generat'; did you mean 'generate'?"),
        (["xyz"], "there is no command 'xyz'; the commands are demo, generate"),
        (["probe", "--out", "x", "--fail", "bad"], "bad in two lines"),
        (["probe", "--out", "x", "--fail", "missing"], "no such file: No such file or directory"),
        (["bench", "no_such_benchmark"], "there is no benchmark 'no_such_benchmark'"),
    ],
)
def test_our_errors_are_one_line(probe, capsys, arguments, message):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"seal-jax: error: {message}")
    assert err.count("\n") == 1


def test_the_stack_trace_on_request(probe, monkeypatch):
    monkeypatch.setenv("SEAL_JAX_DEBUG", "1")
    with pytest.raises(ValueError, match="bad"):
        main(["probe", "--out", "x", "--fail", "bad"])


def test_bugs_are_not_hidden(probe):
    with pytest.raises(TypeError, match="a bug"):
        main(["probe", "--out", "x", "--fail", "bug"])


def test_stopped_by_hand(probe, capsys):
    assert main(["probe", "--out", "x", "--fail", "interrupt"]) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_what_does_not_go_on_does_not_say_so(monkeypatch, capsys):
    def stopped(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("seal_jax.cli.generate.Command.__call__", stopped)
    assert main(["generate", "--model", "m"]) == 130
    assert capsys.readouterr().err == "seal-jax: error: stopped\n"


def test_the_installed_command_ends_at_once_when_stopped():
    code = (
        "import atexit, sys; import seal_jax.cli.main; module = sys.modules['seal_jax.cli.main']\n"
        "atexit.register(print, 'the interpreter was taken down')\n"
        "module.main = lambda: print('half a line', end='') or 130\n"
        "module.console()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (130, "half a line")


def test_a_negative_seed_is_refused(probe, capsys, tmp_path):
    assert main(["probe", "--out", str(tmp_path / "r"), "--seed", "-1"]) == 2
    assert capsys.readouterr().err == "seal-jax: error: --seed -1: use 0 or more\n"
    assert not (tmp_path / "r").exists()


def test_unknown_flags_end_with_2(probe):
    with pytest.raises(SystemExit) as stopped:
        main(["probe", "--out", "x", "--no-such-flag"])
    assert stopped.value.code == 2


def test_json_is_the_result_and_nothing_else(probe, capsys, tmp_path):
    assert main(["probe", "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out) == json.loads((tmp_path / "result.json").read_text())
    assert json.loads(out)["base"] == {"accuracy": 0.25, "stderr": None}
    assert "a library talks" in err
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000


def test_table_and_resume(probe, capsys, tmp_path):
    for _ in range(2):
        assert main(["probe", "--out", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert all(text in out for text in ("condition", "round_0", "0.5000", "gold loglik", "result.json"))
    assert main(["probe", "--out", str(tmp_path), "--seed", "3"]) == 2
    assert "seed was 0, now 3" in capsys.readouterr().err
    assert main(["probe", "--out", str(tmp_path), "--seed", "3", "--restart"]) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["seed"], config["dtype"]) == (3, "float32")


def test_benchmarks_need_a_checkout(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(seal_jax, "__file__", str(tmp_path / "site-packages" / "seal_jax" / "__init__.py"))
    assert main(["bench", "inner_loop"]) == 2
    assert "part of the repository and not of the installed package" in capsys.readouterr().err


def test_bench_runs_a_file_of_the_checkout(monkeypatch, capsys, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "one.py").write_text("def run():\n    print('warm up')\n    return {'speed': 2.0}\n")
    missing = "raise ModuleNotFoundError('No module named peft', name='peft')\n"
    (tmp_path / "benchmarks" / "two.py").write_text(missing)
    monkeypatch.setattr(seal_jax, "__file__", str(tmp_path / "seal_jax" / "__init__.py"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["bench", "one", "--json"]) == 0
    assert capsys.readouterr().out == '{"speed": 2.0}\n'
    assert main(["bench", "two"]) == 2
    assert "benchmark 'two' compares with peft, which is not installed: install the dev" in capsys.readouterr().err
    for name in ("benchmarks", "benchmarks.one"):
        sys.modules.pop(name, None)


def test_help_starts_without_jax():
    code = (
        "import sys; from seal_jax.cli import main; main(['--help'])\n"
        "heavy = {'jax', 'numpy', 'flax', 'transformers', 'orbax', 'datasets', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    started = time.perf_counter()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert time.perf_counter() - started < 10  # about 0.1 s; the limit only catches an import of jax on a busy machine


def test_the_entry_point_of_the_package():
    assert callable(entry)
    script = pathlib.Path(sys.executable).with_name("seal-jax")
    found = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, f"seal-jax {seal_jax.__version__}\n")


def test_report_without_rows_prints_notes_only(capsys):
    from seal_jax.cli.report import show

    show(Report({"a": 1}, notes=["done"]), as_json=False)
    assert capsys.readouterr().out == "done\n"
