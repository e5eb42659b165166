"""Checkpoints: bit for bit, checked when read, and safe from a kill."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from seal_jax.runtime import checkpoint
from seal_jax.runtime.checkpoint import Checkpointer, DamagedCheckpointError, TreeCheckpointError, restore, save


class Pair(NamedTuple):
    left: object
    right: object


@pytest.fixture(scope="module")
def state():
    """What a training run keeps: adapter, optimizer, keys, position; with NaN, infinities and odd leaves."""
    a = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    a[0, :3] = np.nan, np.inf, -0.0
    adapter = {"layers/q_proj/kernel": {"a": jnp.asarray(a), "b": jnp.asarray([1.37, -2e-40], jnp.bfloat16)}}
    return {
        "adapter": adapter,
        "optimizer": optax.adamw(1e-3).init(adapter),
        "keys": jax.random.split(jax.random.key(3), 5),
        "other key": jax.random.key(4, impl="rbg"),
        "ints": Pair(jnp.int8(-7), (jnp.uint32(2**32 - 1), None)),
        "numpy": [np.arange(3), np.float64(0.1)],
        "empty": jnp.zeros((0, 3)),
        "position": 12345678901,
        "loss": float("nan"),
        "flags": (True, "text é"),
    }


@pytest.fixture
def saved(state, tmp_path):
    save(tmp_path / "one", state)
    return tmp_path / "one"


def bits(leaf):
    """A leaf as comparable plain data: its type and its bytes."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(leaf)), bits(jax.random.key_data(leaf))
    if isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
        return isinstance(leaf, jax.Array), str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()
    return type(leaf), repr(leaf)


def all_bits(tree):
    return [(jax.tree_util.keystr(path), bits(leaf)) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def test_round_trip_is_bitwise(state, saved):
    found = restore(saved, state)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    assert all_bits(found) == all_bits(state)


def test_without_like_it_is_dicts_and_lists(state, saved):
    found = restore(saved)
    assert list(found) == sorted(state)
    assert found["position"] == state["position"]
    assert found["flags"] == [True, "text é"]
    assert found["ints"]["left"] == -7
    entry = found["adapter"]["layers/q_proj/kernel"]
    assert bits(entry["b"]) == bits(state["adapter"]["layers/q_proj/kernel"]["b"])
    count = found["optimizer"][0]["count"]
    assert bits(count) == bits(state["optimizer"][0].count)


def test_a_tree_without_arrays_and_a_single_leaf(tmp_path):
    for name, tree in (("none", {}), ("scalars", {"a": 1}), ("leaf", jnp.arange(3))):
        save(tmp_path / name, tree)
        assert all_bits(restore(tmp_path / name)) == all_bits(tree)
        assert all_bits(restore(tmp_path / name, tree)) == all_bits(tree)


def test_shardings_are_those_of_like(tmp_path):
    mesh = jax.make_mesh((8,), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    tree = {"w": jax.device_put(jnp.arange(16.0).reshape(8, 2), split)}
    save(tmp_path / "sharded", tree)
    assert restore(tmp_path / "sharded", tree)["w"].sharding == split
    whole = restore(tmp_path / "sharded", {"w": jax.ShapeDtypeStruct((8, 2), jnp.float32)})["w"]
    assert whole.sharding.num_devices == 1
    np.testing.assert_array_equal(whole, tree["w"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"more": 1}, "lacks more"),
        (lambda s: {k: v for k, v in s.items() if k != "numpy"}, "has in addition numpy/0, numpy/1"),
        (
            lambda s: s | {"empty": jnp.zeros((1, 3))},
            r"empty is float32 \[0, 3\] in the checkpoint and float32 \[1, 3\]",
        ),
        (lambda s: s | {"empty": jnp.zeros((0, 3), jnp.bfloat16)}, r"empty is float32 .* bfloat16 \[0, 3\]"),
        (lambda s: s | {"keys": jax.random.split(jax.random.key(0), 4)}, r"keys is PRNG keys \[5\] .* \[4\]"),
        (lambda s: s | {"position": 1.0}, "position is int in the checkpoint and float"),
    ],
)
def test_another_structure_is_an_error_naming_the_path(state, saved, change, message):
    with pytest.raises(TreeCheckpointError, match=message) as caught:
        restore(saved, change(state))
    assert str(saved) in str(caught.value)
    assert not isinstance(caught.value, DamagedCheckpointError)


def test_what_cannot_be_kept_is_named(tmp_path):
    with pytest.raises(TypeError, match="a/0 is a object"):
        save(tmp_path / "bad", {"a": [object()]})
    assert list(tmp_path.iterdir()) == []


def test_no_checkpoint_there(tmp_path):
    with pytest.raises(TreeCheckpointError, match=r"nothing is not a checkpoint"):
        restore(tmp_path / "nothing")


def test_every_changed_or_missing_file_is_noticed(saved):
    files = sorted(p for p in saved.rglob("*") if p.is_file() and p.stat().st_size)
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        for damaged in (content[:-1], bytes([content[0] ^ 1]) + content[1:], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(DamagedCheckpointError, match=path.name):
                restore(saved)
        path.write_bytes(content)
    restore(saved)


def test_an_unknown_format_is_not_damage(saved, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint.manifest, "FORMAT", 2)
    save(tmp_path / "newer", {"a": 1})
    monkeypatch.undo()
    with pytest.raises(TreeCheckpointError, match="has format 2; this version reads 1"):
        restore(tmp_path / "newer")


def test_saving_over_a_checkpoint(tmp_path):
    save(tmp_path / "c", {"a": 1})
    save(tmp_path / "c", {"a": 2})
    assert restore(tmp_path / "c") == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    # Killed between its two renames, `save` leaves the old folder and a complete new one.
    (tmp_path / "c").rename(tmp_path / "c.old")
    assert restore(tmp_path / "c") == {"a": 2}


def test_steps_are_kept_and_damage_falls_back(tmp_path):
    keeper = Checkpointer(tmp_path / "steps", keep=3)
    assert (keeper.latest(), keeper.restore_latest(), keeper.steps()) == (None, None, [])
    for step in (1, 2, 30, 4, 100):
        keeper.save(step, {"step": step, "w": jnp.full(4, float(step))})
    assert keeper.steps() == [4, 30, 100]
    (tmp_path / "steps" / "step_00000100" / "arrays" / "manifest.ocdbt").write_bytes(b"")
    (tmp_path / "steps" / "step_00000200.new").mkdir()  # a save that was cut short
    with pytest.warns(UserWarning, match="skipping a damaged checkpoint: .*step_00000100/arrays/manifest.ocdbt"):
        assert keeper.latest() == 30
    with pytest.warns(UserWarning, match="skipping"):
        step, tree = keeper.restore_latest({"step": 0, "w": jnp.zeros(4)})
    assert (step, tree["step"], tree["w"].tolist()) == (30, 30, [30.0] * 4)
    with pytest.raises(DamagedCheckpointError):
        keeper.restore(100)
    # A structure that does not fit is a mistake of the caller, not damage: nothing older is tried.
    with pytest.raises(TreeCheckpointError, match=r"w is float32 \[4\]"), pytest.warns(UserWarning, match="skipping"):
        keeper.restore_latest({"step": 0, "w": jnp.zeros(5)})
    with pytest.raises(ValueError, match="keep=0"):
        Checkpointer(tmp_path, keep=0)
    with pytest.raises(ValueError, match="step=-1"):
        keeper.save(-1, {})


TRAIN = textwrap.dedent(
    """
    import json, os, signal, sys
    import jax, jax.numpy as jnp, optax
    from seal_jax.runtime.checkpoint import Checkpointer

    folder, kill_at = sys.argv[1], int(sys.argv[2])
    tx = optax.adam(0.1)
    state = {"w": jnp.zeros(3), "opt": tx.init(jnp.zeros(3)), "key": jax.random.key(0), "position": 0}
    keeper = Checkpointer(folder)
    found = keeper.restore_latest(state)
    step, state = found if found else (0, state)

    @jax.jit
    def update(state):
        key, now = jax.random.split(state["key"])
        grad = state["w"] - jax.random.normal(now, (3,)) * jnp.float32(3)
        change, opt = tx.update(grad, state["opt"])
        return {"w": state["w"] + change, "opt": opt, "key": key}

    while step < 12:
        state = {**update({k: v for k, v in state.items() if k != "position"}), "position": state["position"] + 7}
        step += 1
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step % 3 == 0:
            keeper.save(step, state)
    print(json.dumps([state["w"].tolist(), jax.random.key_data(state["key"]).tolist(), state["position"]]))
    """
)


def train(folder, kill_at=0):
    command = [sys.executable, "-c", TRAIN, str(folder), str(kill_at)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "XLA_FLAGS": ""}, check=False)


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    whole = train(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    assert train(tmp_path / "cut", kill_at=8).returncode == -signal.SIGKILL
    assert Checkpointer(tmp_path / "cut").steps() == [3, 6]
    resumed = train(tmp_path / "cut")
    assert json.loads(resumed.stdout) == json.loads(whole.stdout)
    assert json.loads(whole.stdout)[2] == 84
