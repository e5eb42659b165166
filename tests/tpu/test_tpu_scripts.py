"""The scripts of tpu/, against a gcloud of our own: what they run, in which order, and what they make of its answers.

The stand-in keeps the state of one queued resource in a file, and runs what is sent to "workers" here, in a home
directory made for it.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

import pytest
import yaml

TPU = pathlib.Path(__file__).parents[2] / "tpu"
SCRIPTS = ("create", "setup", "launch", "status", "sync", "delete")
COMMAND = ["--", "seal", "train", "--model", "a b", "--note", "it's $HOME"]

GCLOUD = r"""#!{python}
import json, os, pathlib, shutil, subprocess, sys
folder = pathlib.Path(os.environ["FAKE_GCLOUD"])
words = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\n")
states = json.loads((folder / "states").read_text())  # those still to come; the last one stays
options = dict(w[2:].split("=", 1) for w in words if w.startswith("--") and "=" in w)
def local(place):
    name, _, path = place.partition(":")
    return str(folder / "home" / path) if path else place
if (folder / "broken").exists():
    (folder / "broken").unlink()
    sys.exit("ERROR: (gcloud) could not reach the service")
if words[2:4] == ["queued-resources", "describe"]:
    if states[0] == "NONE":
        sys.exit("ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: Resource was not found")
    print(states[0])
    (folder / "states").write_text(json.dumps(states[1:] or states))
elif words[2:4] == ["queued-resources", "create"]:
    if (folder / "refuse").exists():
        sys.exit("ERROR: quota exceeded")
    (folder / "states").write_text((folder / "next").read_text())
elif words[2:4] == ["queued-resources", "delete"]:
    (folder / "states").write_text('["NONE"]')
elif words[2:4] == ["tpu-vm", "describe"]:
    print("v5litepod-8 READY HEALTHY")
elif words[2:4] == ["tpu-vm", "ssh"]:
    home = folder / "home"
    environment = {**os.environ, "HOME": str(home)}
    sys.exit(subprocess.run(["bash", "-c", options["command"]], cwd=home, env=environment).returncode)
elif words[2:4] == ["tpu-vm", "scp"]:
    source, target = (local(place) for place in words[4:6])
    if "--recurse" in words:
        target = pathlib.Path(target)
        shutil.copytree(source, target / pathlib.Path(source).name if target.is_dir() else target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
elif words[:2] == ["storage", "ls"]:
    place = folder / "bucket" / words[2][5:]
    if (folder / "unreadable").exists():
        sys.exit((folder / "unreadable").read_text())
    if not place.is_dir() or not any(place.iterdir()):
        sys.exit("ERROR: (gcloud.storage.ls) One or more URLs matched no objects.")
elif words[:2] == ["storage", "rsync"]:
    source, target = (folder / "bucket" / w[5:] if w.startswith("gs://") else pathlib.Path(w) for w in words[3:5])
    if not source.exists():
        sys.exit("ERROR: no such folder")
    shutil.copytree(source, target, dirs_exist_ok=True)
else:
    sys.exit(f"ERROR: unknown command {words}")
"""


class Cloud:
    """One project with one queued resource at most."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("bin", "home", "bucket"):
            (folder / name).mkdir()
        gcloud = folder / "bin" / "gcloud"
        gcloud.write_text(GCLOUD.replace("{python}", sys.executable))
        gcloud.chmod(0o755)
        self.states("NONE")
        self.after_create("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")

    def states(self, *states):
        (self.folder / "states").write_text(json.dumps(states))

    def after_create(self, *states):
        (self.folder / "next").write_text(json.dumps(states))

    def run(self, script, *arguments, **environment):
        variables = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "FAKE_GCLOUD": str(self.folder),
            "SEAL_TPU_POLL": "0",
            **environment,
        }
        command = [str(TPU / f"{script}.sh"), *arguments]
        return subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=60)

    @property
    def calls(self):
        """What gcloud was asked: the verb, "queued-resources create", of each call."""
        calls = self.folder / "calls"
        words = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        return [" ".join(w[2:4]) if w[0] == "compute" else " ".join(w[:2]) for w in words]

    def install(self, program="sleep 30"):
        """A checkout on the workers whose seal-jax notes its arguments."""
        folder = self.folder / "home" / "seal_jax" / ".venv" / "bin"
        folder.mkdir(parents=True)
        script = folder / "seal-jax"
        script.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$@" >>"$HOME/arguments"\n{program}\n')
        script.chmod(0o755)

    def end(self):
        """End what a test has launched."""
        for file in (self.folder / "home" / "seal_jax" / "runs").glob("*.pid"):
            subprocess.run(["kill", "--", f"-{file.read_text().strip()}"], stderr=subprocess.DEVNULL)


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path)
    yield made
    made.end()


def settings_of(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if not line.startswith("#"))


def eventually(path):
    for _ in range(100):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


@pytest.mark.parametrize("script", SCRIPTS)
def test_dry_run_prints_commands_and_runs_none(script, cloud):
    extra = COMMAND if script == "launch" else []
    done = cloud.run(script, "--dry-run", "--name", "mine", "--project", "p", *extra)
    assert done.returncode == 0, done.stderr
    assert cloud.calls == []
    # What is printed can be pasted into a shell: it has the words of a command.
    lines = [words for words in shlex.split(done.stdout, comments=True) if words == "gcloud"]
    assert lines
    assert "--zone=us-west4-a --project=p" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_mistakes(script, cloud):
    done = cloud.run(script, "--help")
    assert done.returncode == 0
    assert f"usage: tpu/{script}.sh" in done.stdout
    for arguments, message in (
        (["--zones", "x"], "unknown argument --zones"),
        (["--config", "v9-8"], "--config v9-8: there is no such slice; the configs are v5e-16 v5e-8"),
        (["--name", "My TPU"], "--name My TPU: use lower-case letters"),
        (["--bucket", "here"], "--bucket here: use gs://BUCKET"),
        (["--zone"], "--zone needs a value"),
    ):
        done = cloud.run(script, *arguments)
        assert done.returncode == 2
        assert message in done.stderr
    assert cloud.calls == []


@pytest.mark.parametrize(
    ("config", "accelerator", "runtime"),
    [
        ("v5e-8", "v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v6e-8", "v6e-8", "v2-alpha-tpuv6e"),
        ("v5p-16", "v5p-16", "v2-alpha-tpuv5"),
    ],
)
def test_the_request_of_each_slice(config, accelerator, runtime, cloud):
    out = cloud.run("create", "--dry-run", "--config", config, "--zone", "z", "--spot").stdout
    wanted = (
        f"create seal --node-id=seal --zone=z --accelerator-type={accelerator} --runtime-version={runtime} --spot\n"
    )
    assert f"gcloud compute tpus queued-resources {wanted}" in out


def test_create_asks_and_waits(cloud):
    done = cloud.run("create")
    assert done.returncode == 0
    assert done.stderr == "seal: WAITING_FOR_RESOURCES\nseal: PROVISIONING\nseal: ACTIVE\n"
    assert cloud.calls == ["queued-resources describe", "queued-resources create"] + ["queued-resources describe"] * 3
    done = cloud.run("create")  # it is there
    assert done.returncode == 0
    assert cloud.calls.count("queued-resources create") == 1


@pytest.mark.parametrize("state", ["SUSPENDED", "FAILED"])
def test_create_replaces_what_is_gone(state, cloud):
    cloud.states(state)
    assert cloud.run("create").returncode == 0
    assert cloud.calls[:3] == [f"queued-resources {verb}" for verb in ("describe", "delete", "create")]


def test_create_waits_for_a_preemption_to_end(cloud):
    cloud.states("SUSPENDING", "SUSPENDING", "SUSPENDED")
    assert cloud.run("create").returncode == 0
    assert cloud.calls.count("queued-resources delete") == 1


def test_create_goes_on_waiting_for_an_earlier_request(cloud):
    cloud.states("WAITING_FOR_RESOURCES", "ACTIVE")
    assert cloud.run("create").returncode == 0
    assert "queued-resources create" not in cloud.calls


@pytest.mark.parametrize(
    ("states", "arguments", "code", "message"),
    [
        (["WAITING_FOR_RESOURCES", "FAILED"], [], 4, "the request ended as FAILED"),
        (["PROVISIONING", "SUSPENDED"], [], 4, "the request ended as SUSPENDED"),
        (["WAITING_FOR_RESOURCES"], ["--timeout", "1"], 5, "is WAITING_FOR_RESOURCES after 1 s; run this again"),
    ],
)
def test_requests_that_come_to_nothing(states, arguments, code, message, cloud):
    cloud.after_create(*states)
    done = cloud.run("create", *arguments)
    assert done.returncode == code
    assert message in done.stderr


def test_create_without_waiting(cloud):
    assert cloud.run("create", "--no-wait").returncode == 0
    assert cloud.calls == ["queued-resources describe", "queued-resources create"]


def test_gcloud_that_fails(cloud):
    (cloud.folder / "refuse").touch()
    done = cloud.run("create")
    assert done.returncode == 3
    assert "quota exceeded" in done.stderr
    (cloud.folder / "broken").touch()
    done = cloud.run("status")
    assert done.returncode == 3
    assert "cannot tell the state of seal: ERROR: (gcloud) could not reach the service" in done.stderr


def test_setup_unpacks_the_checkout_and_installs_it(cloud):
    """uv and python of the workers are stand-ins as well: what counts is that the script gets to its end, twice."""
    cloud.states("ACTIVE")
    uv = cloud.folder / "bin" / "uv"
    uv.write_text(
        '#!/usr/bin/env bash\necho "uv $*" >>"$HOME/uv"\n[ "$1" != venv ] || { mkdir -p .venv/bin; '
        'printf "#!/bin/sh\\necho python" >.venv/bin/python; chmod +x .venv/bin/python; }\n'
    )
    uv.chmod(0o755)
    for _ in range(2):
        done = cloud.run("setup")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "python\n"
    assert cloud.calls == ["tpu-vm scp", "tpu-vm ssh"] * 2
    checkout = cloud.folder / "home" / "seal_jax"
    assert (checkout / "pyproject.toml").is_file()
    install = "uv pip install --quiet --python .venv/bin/python -e .[tpu]"
    assert (cloud.folder / "home" / "uv").read_text().splitlines() == [
        "uv venv --quiet --python 3.11 .venv",
        install,
        install,
    ]


def test_launch_runs_the_command_as_it_was_typed_and_only_once(cloud):
    cloud.states("ACTIVE")
    cloud.install()
    done = cloud.run("launch", *COMMAND)
    assert done.returncode == 0, done.stderr
    typed = eventually(cloud.folder / "home" / "arguments").splitlines()
    assert typed == [*COMMAND[1:], "--out", "runs/seal"]
    done = cloud.run("launch", *COMMAND)
    assert done.stdout == "running already\n"
    status = cloud.run("status")
    assert status.returncode == 0
    assert status.stdout.startswith("queue: ACTIVE\nv5litepod-8 READY HEALTHY\nrun:   process ")


def test_launch_after_a_preemption_starts_over_with_the_results(cloud):
    """The slice is gone with its disks; what was fetched from it is put back on the new one."""
    cloud.states("SUSPENDED")
    cloud.install("ls runs/seal >>$HOME/found")
    (cloud.folder / "bin" / "uv").symlink_to("/bin/true")
    (cloud.folder / "home" / "seal_jax" / ".venv" / "bin" / "python").symlink_to("/bin/true")
    fetched = cloud.folder / "results" / "seal"
    fetched.mkdir(parents=True)
    (fetched / "metrics.jsonl").write_text("{}\n")
    done = cloud.run("launch", "--spot", *COMMAND)
    assert done.returncode == 0, done.stderr
    assert [c for c in cloud.calls if c.startswith("queued")][:4] == [
        f"queued-resources {verb}" for verb in ("describe", "describe", "delete", "create")
    ]
    assert eventually(cloud.folder / "home" / "found") == "metrics.jsonl\n"


def test_launch_with_a_bucket_keeps_results_there(cloud):
    cloud.states("ACTIVE")
    cloud.install("ls runs/seal >>$HOME/found; echo done >runs/seal/result.json")
    kept = cloud.folder / "bucket" / "b" / "runs" / "seal"
    kept.mkdir(parents=True)
    (kept / "metrics.jsonl").write_text("{}\n")
    done = cloud.run("launch", "--bucket", "gs://b/runs", *COMMAND)
    assert done.returncode == 0, done.stderr
    assert eventually(cloud.folder / "home" / "found") == "metrics.jsonl\n"
    assert eventually(kept / "result.json") == "done\n"
    assert cloud.run("sync", "--bucket", "gs://b/runs").returncode == 0
    assert (cloud.folder / "results" / "seal" / "result.json").read_text() == "done\n"


def test_an_empty_bucket_is_a_start_and_one_that_cannot_be_read_is_an_error(cloud):
    """A run that started from nothing would be copied over the results that are there."""
    cloud.states("ACTIVE")
    cloud.install("echo done >runs/seal/result.json")
    denied = cloud.folder / "unreadable"
    for said in ("ERROR: HTTPError 403: does not have storage.objects.list access", "ERROR: network is unreachable"):
        denied.write_text(said)
        done = cloud.run("launch", "--bucket", "gs://b/runs", *COMMAND)
        assert done.returncode == 3
        assert f"the bucket cannot be read: {said}" in done.stderr
    denied.unlink()
    (cloud.folder / "bucket" / "b").mkdir()
    assert not (cloud.folder / "home" / "arguments").exists()
    assert not (cloud.folder / "home" / "seal_jax" / "runs" / "seal.pid").exists()
    done = cloud.run("launch", "--bucket", "gs://b/runs", *COMMAND)
    assert done.returncode == 0, done.stderr
    assert "nothing in the bucket yet" in done.stdout
    eventually(cloud.folder / "home" / "arguments")


def test_results_in_the_bucket_that_cannot_be_fetched_are_an_error(cloud):
    cloud.states("ACTIVE")
    cloud.install()
    kept = cloud.folder / "bucket" / "b" / "runs" / "seal"
    kept.mkdir(parents=True)
    (kept / "checkpoints").mkdir()
    runs = cloud.folder / "home" / "seal_jax" / "runs"
    (runs / "seal").mkdir(parents=True)
    (runs / "seal" / "checkpoints").touch()  # in the way of the copy
    done = cloud.run("launch", "--bucket", "gs://b/runs", *COMMAND)
    assert done.returncode == 3
    assert "the results in the bucket cannot be read" in done.stderr
    assert not (runs / "seal.pid").exists()


def test_setup_warns_of_what_is_not_committed(cloud):
    """git is a stand-in that says what the test wants."""
    cloud.states("ACTIVE")
    git = cloud.folder / "bin" / "git"
    for changes, warning in ((" M a\\n?? b\\n", "warning: 2 files with changes that are not committed"), ("", "")):
        git.write_text(f"#!/usr/bin/env bash\n[[ $3 != status ]] || printf '{changes}'\n")
        git.chmod(0o755)
        said = cloud.run("setup", "--dry-run").stderr
        assert (warning in said) if warning else (said == "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no command; give it after --"),
        (["--", "seal", "train", "--out", "x"], "--out is runs/seal on the workers"),
    ],
)
def test_launch_without_a_command(arguments, message, cloud):
    done = cloud.run("launch", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_launch_before_setup(cloud):
    cloud.states("ACTIVE")
    done = cloud.run("launch", *COMMAND)
    assert done.returncode == 3
    assert "not set up: run tpu/setup.sh" in done.stderr


def test_status_without_anything(cloud):
    done = cloud.run("status")
    assert (done.returncode, done.stdout) == (1, "queue: NONE\n")
    cloud.states("PROVISIONING")
    assert cloud.run("status").stdout == "queue: PROVISIONING\n"
    assert "tpu-vm ssh" not in cloud.calls


def test_sync_and_delete(cloud):
    cloud.states("ACTIVE")
    run = cloud.folder / "home" / "seal_jax" / "runs" / "seal"
    run.mkdir(parents=True)
    (run / "result.json").write_text("{}\n")
    done = cloud.run("delete", "--sync")
    assert done.returncode == 0, done.stderr
    assert (cloud.folder / "results" / "seal" / "result.json").read_text() == "{}\n"
    assert cloud.calls == ["queued-resources describe", "tpu-vm scp", "queued-resources delete"]
    done = cloud.run("delete")
    assert (done.returncode, done.stderr) == (0, "seal: there is none\n")


def test_what_could_not_be_fetched_is_not_deleted(cloud):
    cloud.states("ACTIVE")
    done = cloud.run("delete", "--sync")
    assert done.returncode == 3
    assert "nothing was deleted" in done.stderr
    assert "queued-resources delete" not in cloud.calls


def test_settings_by_environment(cloud):
    out = cloud.run("delete", "--dry-run", SEAL_TPU_NAME="other", SEAL_TPU_CONFIG="v6e-8", SEAL_TPU_ZONE="z").stdout
    assert out == "gcloud compute tpus queued-resources delete other --zone=z --force --quiet\n"


@pytest.mark.parametrize("path", sorted((TPU / "topologies").glob("*.env")), ids=lambda path: path.stem)
def test_configs_name_slices_that_can_be_planned_for(path):
    from seal_jax.plan.topology import parse_topology

    values = settings_of(path)
    topology = parse_topology(values["TOPOLOGY"])
    cores = topology.chips * (2 if values["ACCELERATOR_TYPE"].startswith("v5p") else 1)
    assert values["ACCELERATOR_TYPE"] == f"{topology.kind.accelerator}-{cores}"


def test_the_skypilot_file_asks_for_the_same_slice():
    task = yaml.safe_load((TPU / "seal.sky.yaml").read_text())
    values = dict(
        line.split("=", 1) for line in (TPU / "topologies" / "v5e-8.env").read_text().splitlines() if "=" in line
    )
    assert task["resources"]["accelerators"] == f"tpu-{values['ACCELERATOR_TYPE']}"
    assert task["resources"]["accelerator_args"] == {"runtime_version": values["RUNTIME_VERSION"]}
    assert subprocess.run(["bash", "-n", "-c", task["setup"] + task["run"]]).returncode == 0
