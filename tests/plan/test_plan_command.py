"""`seal-jax plan` but for the compiler: arguments, errors before and from the child process, and what is printed."""

import json
import pathlib
import subprocess

import pytest

from seal_jax.cli import main
from seal_jax.plan import Settings, plan, process, read_model_config

ROOT = pathlib.Path(__file__).parents[2]
MODEL = str(ROOT / "tpu" / "models" / "qwen2.5-7b.json")
INNER = ["plan", "--experiment", "inner_loop", "--model-config", MODEL, "--topology", "v5e:2x4"]
FITTING = {
    "name": "finetune_batch",
    "fits": True,
    "needed_gib": 6.15,
    "arguments_gib": 4.15,
    "temporaries_gib": 2.86,
    "output_gib": 0.44,
    "flops": 8e15,
    "flops_per_device": 1e15,
    "flops_by_compiler": 9e11,
    "compile_seconds": 33.2,
    "collectives": {"all-reduce": {"count": 10, "executed": 7650.0, "bytes": 2**33}},
}


def answer(edits, **program):
    return {
        "edits": edits,
        "fits": program.get("fits", True),
        "needed_gib": program.get("needed_gib", 6.15),
        "available_gib": 15.75,
        "programs": [{**FITTING, **program}],
        "mesh": {"data": 2, "fsdp": 1, "model": 4},
        "device": "TPU v5 lite",
        "devices": 8,
        "parameters": 7615616512,
        "parameter_bytes": 15231233024,
        "adapter_parameters": 10092608 * edits,
        "adapter_bytes": 4 * 10092608 * edits,
        "optimizer_bytes": 8 * 10092608 * edits,
        "versions": {"jax": "0.10.2", "libtpu": "0.0.42.1"},
    }


@pytest.fixture
def compiler(monkeypatch):
    """A child process that answers at once: memory is 4 + 0.0625 N GiB. Yields the requests it got."""
    requests = []

    def attempt(settings, model, edits, timeout):
        requests.append((settings, edits, timeout))
        needed = 4 + 0.0625 * edits
        refused = {"fits": False, "collectives": {}, "arguments_gib": None} if needed > 15.75 else {}
        return answer(edits, needed_gib=needed, **refused)

    monkeypatch.setattr(process, "attempt", attempt)
    return requests


def test_one_size(compiler, capsys):
    assert main([*INNER, "--edits", "32", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["fits"] is True
    assert (result["needed_gib"], result["available_gib"]) == (6.0, 15.75)
    assert result["settings"]["mesh"] == "data=2,model=4"
    assert "the weights take 3.5 of 16 GiB" in result["mesh_reason"]
    assert "32 edits: fits         6.00 of 15.75 GiB a device" in err
    [(settings, _, timeout)] = compiler
    assert (settings.length, settings.rank, settings.targets, timeout) == (2048, 32, ("q_proj", "v_proj"), 3600)


def test_the_table_says_what_there_is_to_know(compiler, capsys):
    assert main([*INNER, "--mesh", "data=2,model=4", "--targets", "all", "--no-remat"]) == 0
    out = capsys.readouterr().out
    for part in (
        "finetune_batch",
        "32 edits: fits         6.00 of 15.75 GiB",
        "data=2, fsdp=1, model=4 of 8 x TPU v5 lite; as given",
        "7,615,616,512 parameters, 14.19 GiB in bf16",
        "32 x 10,092,608 numbers, 1.20 GiB in fp32; optimizer 2.41 GiB",
        "all-reduce x 10 in the program, 7,650 executed, 8.00 GiB of results a device",
        "libtpu 0.0.42.1",
    ):
        assert part in out
    assert compiler[0][0].targets == ("all",)
    assert compiler[0][0].remat is False


def test_not_fitting_is_a_verdict(compiler, capsys):
    assert main([*INNER, "--edits", "256", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["fits"], result["needed_gib"], result["available_gib"]) == (False, 20.0, 15.75)
    assert main([*INNER, "--edits", "256"]) == 0
    assert "256 edits: does not fit 20.00 of 15.75 GiB a device" in capsys.readouterr().out


def test_the_largest(compiler, capsys):
    assert main([*INNER, "--edits", "max", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["edits"] == 188
    assert result["fits"]
    tried = [n for _, n, _ in compiler]
    assert [t["edits"] for t in result["tries"]] == tried
    assert 190 in tried
    assert all(n % 2 == 0 for n in tried)
    assert all(f"{n} edits: " in err for n in tried)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology", "v5p-8"], "topology 'v5p-8' is not a TPU slice; the forms are"),
        (["--topology", "v5e:3x7"], "there is no slice 'v5e:3x7'; of v5e there are"),
        (["--mesh", "data=3"], "mesh 'data=3' does not multiply to the 8 devices of v5e:2x4"),
        (["--mesh", "model=8"], "mesh 'model=8': model=8 does not divide the 28 attention heads"),
        (["--mesh", "rows=8"], "'rows=8' is not AXIS=SIZE"),
        (["--edits", "33"], "33 edits do not spread evenly over mesh 'data=2,model=4'; use a multiple of 2"),
        (["--edits", "0"], "edits 0: use 1 or more, or 'max'"),
        (["--edits", "many"], "--edits many: use a number, or max"),
        (["--rank", "0"], "rank 0: use 1 or more"),
        (["--length", "0"], "length 0: use 1 or more"),
        (["--length", "200000"], "a sequence of 200000 tokens exceeds the model's context of 131072"),
        (["--model-config", "no/such.json"], "no/such.json: no such file; expected a config.json"),
        (["--model-config", __file__], f"{__file__}: not a JSON object"),
        (["--targets", "conv"], "target 'conv' matches no kernel; this model has"),
    ],
)
def test_bad_input_is_one_line_before_any_compilation(arguments, message, compiler, capsys):
    assert main([*INNER, *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("seal-jax: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert not compiler


def test_a_config_that_is_no_model(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    assert main([*INNER, "--model-config", str(tmp_path)]) == 2
    assert "model_type='resnet' is not supported" in capsys.readouterr().err


def test_without_libtpu(monkeypatch, capsys):
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: None)
    assert main(INNER) == 2
    assert "libtpu, which is not installed: pip install 'seal-jax[tpu]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ((-9, ""), "was killed, most likely because this machine's memory is too small"),
        ((-6, "check failed: x\nabort\n"), "was ended by signal 6: check failed: x / abort"),
        ((1, "Traceback\n  File\nKeyError: 'x'\n"), "ended with code 1: Traceback / File / KeyError: 'x'"),
    ],
)
def test_a_child_that_dies(ending, message, monkeypatch):
    code, said = ending
    monkeypatch.setattr(process, "check_libtpu", lambda: None)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, code, "", said))
    with pytest.raises(ValueError, match=message):
        plan(Settings(experiment="inner_loop", topology="v5e:2x4"), read_model_config(MODEL), 32)


def test_a_child_that_takes_too_long(monkeypatch):
    def late(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired(arguments, timeout)

    monkeypatch.setattr(process, "check_libtpu", lambda: None)
    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(ValueError, match="32 edits: not compiled within 5 s; give it more with --timeout"):
        plan(Settings(experiment="inner_loop", topology="v5e:2x4"), read_model_config(MODEL), 32, timeout=5)


@pytest.mark.parametrize("path", sorted((ROOT / "tpu" / "models").glob("*.json")), ids=lambda path: path.stem)
def test_the_configs_of_the_repository_are_models(path):
    assert read_model_config(str(path))["model_type"] in {"llama", "qwen2"}
