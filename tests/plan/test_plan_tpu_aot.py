"""Real plans, through the command line: libtpu compiles the library's programs for slices that are not there.

Each takes half a minute on two cores or more. They run wherever libtpu exists, Linux on x86-64.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys

import pytest

from seal_jax.cli import main

ROOT = pathlib.Path(__file__).parents[2]
MODELS = ROOT / "tpu" / "models"
pytestmark = [
    pytest.mark.tpu_aot,
    pytest.mark.slow,
    pytest.mark.skipif(
        (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="there is no libtpu for this system"
    ),
]


def planned(capsys, *arguments):
    assert main(["plan", *arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_the_inner_loop_of_a_7b_model(capsys):
    """32 edits of 64 tokens on eight v5e chips: about 6 GiB, and sums over devices after each half of a layer."""
    arguments = ("--experiment", "inner_loop", "--topology", "v5e:2x4", "--length", "64")
    found = planned(capsys, *arguments, "--model-config", str(MODELS / "qwen2.5-7b.json"), "--edits", "32")
    assert found["fits"]
    assert found["available_gib"] == 15.75
    assert 4.5 < found["needed_gib"] < 6.5
    assert found["mesh"] == {"data": 2, "fsdp": 1, "model": 4}
    assert (found["parameters"], found["devices"]) == (7_615_616_512, 8)
    [program] = found["programs"]
    assert set(program["collectives"]) == {"all-reduce"}
    assert program["collectives"]["all-reduce"]["count"] <= 12
    # By hand: three products with each kernel (forward, towards the input, forward again but for the last one of a
    # layer) and two with the unembedding, for each token; adapters and attention are within the tolerance.
    down, unembedding = 28 * 18944 * 3584, 3584 * 152064
    kernels = 28 * 3584 * (2 * 3584 + 2 * 512) + 3 * down
    by_hand = 2 * 32 * 90 * 64 * (3 * kernels - down + 2 * unembedding)
    assert by_hand < program["flops"] < 1.02 * by_hand
    refused = planned(capsys, *arguments, "--model-config", str(MODELS / "qwen2.5-7b.json"), "--edits", "512")
    assert not refused["fits"]
    assert refused["needed_gib"] > refused["available_gib"] == 15.75


def test_generation_with_adapters_at_the_widths_of_an_8b_model(tmp_path, capsys):
    """Two of its 32 layers; 100 new tokens take a program that begins and one that goes on in a larger cache."""
    config = json.loads((MODELS / "llama-3-8b.json").read_text()) | {"num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = planned(
        capsys, "--experiment", "generation", "--topology", "v6e:2x4", "--mesh", "data=2,model=4", "--edits", "4",
        "--new-tokens", "100", "--model-config", str(tmp_path),
    )  # fmt: skip
    assert found["fits"]
    assert (found["available_gib"], found["device"]) == (31.25, "TPU v6 lite")
    assert [program["name"] for program in found["programs"]] == ["prefill and 64 tokens", "tokens 65 to 128"]
    assert found["needed_gib"] == max(program["peak_gib"] for program in found["programs"])
    # Weights of a quarter of the model, and the cache of half the rows; and nothing gathers either.
    assert found["parameter_bytes"] / 4 / 2**30 < found["needed_gib"] < 1.5 * found["parameter_bytes"] / 4 / 2**30
    for program in found["programs"]:
        assert program["collectives"]["all-reduce"]["executed"] > 2 * 2 * 36
        assert program["collectives"].get("all-gather", {"bytes": 0})["bytes"] < 2**20


def test_the_compiler_beside_ordinary_work():
    """With libtpu installed and no TPU, JAX starts on the CPU, and through our command without a word."""
    code = "from seal_jax.cli.main import quiet_libtpu; quiet_libtpu(); import jax; print(jax.devices()[0].platform)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TPU_", "JAX_PLATFORMS"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "cpu\n", "")
