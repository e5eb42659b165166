"""Arguments that settings refuse are told in one line with their flag; flags without effect are none."""

import dataclasses
import subprocess
import sys
from typing import Annotated

import pytest
import tyro

from seal_jax.cli import arguments, main, seal
from seal_jax.cli.options import RunOptions, config_of
from seal_jax.evaluation.endpoint import Endpoint


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("seal train --edits.count 0", "--edits.count 0: use 1 or more"),
        ("seal train --policy.max-length 0", "--policy.max-length 0: use 1 or more"),
        ("seal train --policy.accumulate 3", "--policy.accumulate 3: use a divisor of batch_size 10"),
        ("seal train --seeds 0", "--seeds 0: use 1 or more"),
        ("seal evaluate --answering.endpoint.retries -1", "--answering.endpoint.retries -1: use 0 or more"),
        ("seal evaluate --answering.endpoint.url x:1", "--answering.endpoint.url 'x:1': use a base URL such as"),
        ("seal evaluate --answering.grader endpoint", "--answering.grader 'endpoint': give endpoint.url and"),
        ("seal sequential --steps 0", "--steps 0: use 1 or more"),
        ("seal cpt --pretraining.epochs 0", "--pretraining.epochs 0: use 1 or more"),
        ("seal arc --ttt.rank 0", "--ttt.rank 0: use 1 or more"),
    ],
)
def test_settings_out_of_range(command, told, tmp_path, capsys):
    common = ["--model", "none", "--data", "none", "--out", str(tmp_path / "r")]
    assert main([*command.split(), *common]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"seal-jax: error: {told}")
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_settings_out_of_range_of_a_plan(capsys):
    command = ["plan", "--experiment", "inner_loop", "--topology", "v5e:2x4", "--model-config", "x"]
    assert main([*command, "--rank", "0"]) == 2
    assert capsys.readouterr().err == "seal-jax: error: --rank 0: use 1 or more\n"
    assert main([*command, "--topology", "abc"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("seal-jax: error: ")
    assert err.count("\n") == 1


UNUSED = {
    "edits": ["--inner.", "--answering.", "--policy.", "--reward", "--seeds", "--k-best", "--select"],
    "evaluate": ["--policy.", "--reward", "--seeds", "--k-best", "--select", "--edits.count"],
    "cpt": ["--inner.", "--policy.", "--reward", "--seeds", "--k-best", "--select"],
    "sequential": ["--policy.", "--reward", "--seeds", "--k-best", "--select", "--edits.count", "--edits.rows"],
}
USED = {
    "edits": ["--edits.count", "--edits.rows"],
    "evaluate": ["--edits.kind", "--edits.rows", "--inner.rank", "--answering.rule"],
    "cpt": ["--edits.count", "--answering.rule", "--pretraining.rank"],
    "sequential": ["--edits.kind", "--inner.rank", "--answering.rule", "--replay"],
    "train": [*UNUSED["edits"], "--edits.count"],
}


@pytest.mark.parametrize("name", USED)
def test_flags_without_effect_are_none(name, capsys):
    with pytest.raises(SystemExit):
        main(["seal", name, "--help"])
    shown = capsys.readouterr().out
    assert [flag for flag in UNUSED.get(name, []) if f" {flag}" in shown] == []
    assert [flag for flag in USED[name] if f" {flag}" not in shown] == []


@pytest.mark.parametrize("name", UNUSED)
def test_a_flag_without_effect_is_refused(name, tmp_path, capsys):
    common = ["--model", "none", "--data", "none", "--out", str(tmp_path / "r")]
    for flag in ("--seeds", "--policy.rank"):
        with pytest.raises(SystemExit) as stopped:
            main(["seal", name, *common, flag, "1"])
        assert stopped.value.code == 2
        assert flag in capsys.readouterr().err


NOWHERE, ELSEWHERE = Endpoint(), Endpoint(retries=9)


@dataclasses.dataclass(frozen=True)
class Inner:
    rank: int = 1
    fixed: tyro.conf.Fixed[int] = 7
    server: Endpoint = NOWHERE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe(RunOptions):
    inner: Annotated[Inner, tyro.conf.arg(name="")] = Inner()
    unused: tyro.conf.Fixed[Endpoint] = ELSEWHERE


@pytest.mark.parametrize("group", ["edits", "answering"])
def test_line_ends_in_stop_strings(group, tmp_path):
    asked = ["--model", "m", "--data", "d", "--out", str(tmp_path), f"--{group}.stop", r"\n\n", r"a\tb", "\n"]
    made = arguments.parse(seal.Command, "seal", "", ["evaluate", *asked])
    assert getattr(made.settings, group).stop == ("\n\n", "a\tb", "\n")


def test_settings_of_a_run_are_what_has_an_effect(tmp_path):
    made = arguments.parse(Probe, "probe", "", ["--out", str(tmp_path), "--rank", "3", "--server.retries", "2"])
    assert made == Probe(out=tmp_path, inner=Inner(3, server=Endpoint(retries=2)))
    config = config_of(made, data=None)
    assert config["inner"].keys() == {"rank", "server"}
    assert "unused" not in config
    assert (config["out"], config["inner"]["rank"]) == (str(tmp_path), 3)
    assert config["inner"]["server"]["retries"] == 2


@pytest.mark.parametrize("module", ["seal_jax", "seal_jax.cli.main"])
def test_as_a_module(module):
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "-m", module]
    run = lambda *more: subprocess.run([*command, *more], capture_output=True, text=True, check=False)  # noqa: E731
    assert run("--version").stdout.startswith("seal-jax ")
    found = run("no_such_command")
    assert found.returncode == 2
    assert found.stderr.startswith("seal-jax: error: there is no command 'no_such_command'")
