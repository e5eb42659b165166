"""Names of TPU slices, and the mesh that is planned for."""

import jax
import pytest

from seal_jax import models
from seal_jax.plan import worker
from seal_jax.plan.mesh_choice import axes_of, choose_mesh
from seal_jax.plan.topology import parse_topology

GIB = 2**30
SEVEN_B = models.Config("qwen2", 152064, 3584, 18944, 28, 28, 4, 128, 32768)


@pytest.mark.parametrize(
    ("name", "chips", "devices"),
    [("v5e:2x4", 8, 8), ("v6e:16x16", 256, 256), ("v5p:2x2x2", 8, 8), ("v4:2x2x1", 4, 8), ("tpu7x:2x2x1", 4, 8)],
)
def test_slices(name, chips, devices):
    assert parse_topology(name)[2:] == (chips, devices)


@pytest.mark.parametrize(
    "name", ["v5p-8", "v5litepod-8", "v7x:2x2x1", "v5e", "v5e:8", "v5e:2x2x2", "v5p:2x4", "v5e:0x4"]
)
def test_what_is_no_slice(name):
    with pytest.raises(ValueError, match=f"topology '{name}' is not a TPU slice; the forms are v4:AxBxC, v5e:AxB"):
        parse_topology(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e:3x7", "there is no slice 'v5e:3x7'; of v5e there are 2x2, 2x4, 4x4, 4x8, 8x8, 8x16, 16x16"),
        ("v6e:4x2", "there is no slice 'v6e:4x2'; of v6e there are 2x2, 2x4,"),
        ("v5e:1x1", "there is no slice 'v5e:1x1'"),
        ("v5e:16x32", "there is no slice"),
        ("v5p:3x3x3", "its hosts have 2x2x1 chips; use whole ones, as in v5p:4x4x3"),
        ("tpu7x:1x1x1", "as in tpu7x:2x2x1"),
    ],
)
def test_shapes_that_no_slice_has(name, message):
    with pytest.raises(ValueError, match=message):
        parse_topology(name)


def test_a_slice_that_the_compiler_does_not_have_is_one_line(monkeypatch):
    def refuse(**asked):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: no such layout\nat line 3")

    monkeypatch.setattr(worker.topologies, "get_topology_desc", refuse)
    with pytest.raises(ValueError, match=r"^the compiler has no topology 'v5p:2x2x6': INVALID.* layout at line 3$"):
        worker.slice_devices("v5p:2x2x6")


@pytest.mark.parametrize(
    ("gib", "topology", "spec", "reason"),
    [
        (14.2, "v5e:2x4", "data=2,model=4", "3.5 of 16 GiB"),
        (14.2, "v6e:2x4", "data=4,model=2", "7.1 of 32 GiB"),
        (14.2, "v5p:2x2x2", "data=8", "the smallest split under which that is at most a third"),
        (1.0, "v5e:2x2", "data=4", "1.0 of 16 GiB"),
        (40.0, "v5e:2x4", "fsdp=2,model=4", "28 heads allow model=4 at most, so fsdp"),
        (140.0, "v5e:2x4", "fsdp=2,model=4", "more than the third meant for them"),
    ],
)
def test_the_chosen_mesh_splits_weights_no_further_than_needed(gib, topology, spec, reason):
    choice = choose_mesh("", SEVEN_B, int(gib * GIB), parse_topology(topology))
    assert choice.spec == spec
    assert reason in choice.reason


def test_a_given_mesh_is_kept_or_refused():
    topology = parse_topology("v5e:2x4")
    assert choose_mesh("data=-1,model=4", SEVEN_B, GIB, topology) == ("data=-1,model=4", "as given")
    assert axes_of("data=-1,model=4", topology) == {"data": 2, "fsdp": 1, "model": 4}
    with pytest.raises(ValueError, match="does not multiply to the 8 devices of v5e:2x4"):
        choose_mesh("data=3", SEVEN_B, GIB, topology)
    with pytest.raises(ValueError, match=r"model=8 does not divide the 28 attention heads"):
        choose_mesh("model=-1", SEVEN_B, GIB, topology)
