"""Two processes on this machine, joined as two hosts would be, against one process."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import layouts
import numpy as np
import pytest
from safetensors.numpy import load_file

from seal_jax import generation, models, training
from seal_jax.runtime import distributed

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def environment(process, port):
    flags = "--xla_force_host_platform_device_count=4"
    return {
        **os.environ,
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "PJRT_NPROC": "32",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        distributed.ADDRESS: f"localhost:{port}",
        distributed.COUNT: "2",
        distributed.INDEX: str(process),
    }


@pytest.fixture(scope="module")
def given():
    return layouts.inputs()


@pytest.fixture(scope="module")
def two(given, tmp_path_factory):
    """What each process found, and the folder they wrote to."""
    folder = tmp_path_factory.mktemp("two")
    models.save_pretrained(folder / "model", layouts.CONFIG, given.params)
    port = free_port()
    command = [sys.executable, str(HERE / "one_of_two.py"), str(folder / "model"), str(folder)]
    running = [
        subprocess.Popen(command, env=environment(i, port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for i in range(2)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(2)], folder


@pytest.mark.parametrize("layout", ["data", "all"])
def test_a_batch_of_fine_tunes_is_that_of_one_process(given, two, layout):
    trained, metrics = training.finetune_batch(
        models.unroll(given.params), layouts.CONFIG, given.many, given.batches, layouts.HYPER
    )
    wanted = float(np.abs(trained["layers/mlp/up_proj/kernel"]["b"]).sum())
    for found in two[0]:
        np.testing.assert_allclose(found[layout]["losses"], metrics["loss"], atol=1e-5)
        np.testing.assert_allclose(found[layout]["adapter"], wanted, rtol=1e-4)


def test_generation_is_that_of_one_process(given, two):
    prompts = [list(range(1 + i, 6 + i)) for i in range(8)]
    wanted = generation.generate(given.params, layouts.CONFIG, prompts, None, max_new_tokens=6, eos=())
    assert [found[layout]["tokens"] for found in two[0] for layout in ("data", "all")] == [wanted.tokens] * 4


def test_what_two_processes_save_is_what_they_loaded(two):
    folder = two[1]
    before, after = (load_file(folder / name / "model.safetensors") for name in ("model", "saved"))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        np.testing.assert_array_equal(tensor, after[name])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "localhost:1"}, "give all of SEAL_JAX_COORDINATOR=host:port, SEAL_JAX_PROCESSES=N"),
        ({"coordinator": "localhost:1", "processes": 2, "process": 2}, "process 2 of 2: use 0 to"),
    ],
)
def test_a_part_of_the_settings_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        distributed.initialize(**given)


def test_a_variable_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv(distributed.COUNT, "two")
    with pytest.raises(ValueError, match="SEAL_JAX_PROCESSES='two': use a whole number"):
        distributed.initialize()


def test_one_process_is_the_main_one():
    assert distributed.is_main()
    np.testing.assert_array_equal(distributed.host({"a": jax.numpy.arange(3)})["a"], [0, 1, 2])
