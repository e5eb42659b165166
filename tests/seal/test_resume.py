"""A study that is killed again and again ends with the result of one that never was."""

import os
import pathlib
import signal
import subprocess
import sys

import jax
import micro_study

from seal_jax.runtime.files import read_json

# At which of its writes each attempt dies: an edit, a trial, a checkpoint of the policy's training, the trained
# policy (its arrays are written, the stage is not), a checkpoint of the control's, and the result.
KILLS = (9, 22, 11, 2, 24, 11)


def attempt(folder, event):
    cache = jax.config.jax_compilation_cache_dir
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, micro_study.__file__, str(folder), str(event)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode


def stages(folder):
    """What every stage returned and every item holds, without the seconds."""
    root = pathlib.Path(folder) / "stages"
    found = {}
    for path in sorted(root.rglob("*.json")):
        if ".tree" not in str(path):
            found[str(path.relative_to(root))] = {k: v for k, v in read_json(path).items() if k != "seconds"}
    return found


def test_killed_again_and_again(micro, tmp_path):
    folder, wanted = micro
    progress = []
    for event in KILLS:
        assert attempt(tmp_path, event) == -signal.SIGKILL
        progress.append(len(stages(tmp_path)))
        assert not (tmp_path / "result.json").exists()
    assert attempt(tmp_path, 10_000) == 0
    found = read_json(tmp_path / "result.json")
    assert {**found, "seconds": None} == {**wanted, "seconds": None}
    assert found["seconds"].keys() == wanted["seconds"].keys()
    assert stages(tmp_path) == stages(folder)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    assert progress == [3, 8, 13, 13, 19, 22]  # of 22 stages
