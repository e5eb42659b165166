"""What fits is let through, what may not is said, and what cannot is refused with the numbers."""

import pytest

from seal_jax.runtime import resources
from seal_jax.runtime.resources import DoesNotFitError, Need, check_disk, check_memory, gib

GIB = 2**30
NEEDS = [
    Need("writing edits", 4 * GIB, 5 * GIB, "lower --edits.rows"),
    Need("the policy update", 6 * GIB, 30 * GIB, "use --policy.remat"),
]


def test_enough_memory_is_silent():
    assert check_memory(NEEDS, 31 * GIB) == []
    assert check_memory(NEEDS, None) == []


def test_an_estimate_that_does_not_fit_is_a_warning():
    [said] = check_memory(NEEDS, 16 * GIB)
    assert said == "the policy update may need 30.0 GiB on each device, which has 16.0 GiB: use --policy.remat"


def test_what_cannot_fit_is_refused_with_the_numbers():
    message = (
        r"the policy update needs 6\.0 GiB on each device before any activation, and a device has 5\.5 GiB: "
        "use --policy.remat"
    )
    with pytest.raises(DoesNotFitError, match=message):
        check_memory(NEEDS, 11 * GIB // 2)


def test_the_disk_of_a_folder_that_is_yet_to_be(tmp_path):
    folder = tmp_path / "a" / "b"
    free = resources.free_disk(folder)
    assert free > 0
    check_disk(folder, 1000, "the run")
    with pytest.raises(DoesNotFitError, match=r"the run takes \d+\.\d GiB in .*b, and its disk has .* free"):
        check_disk(folder, free + 2**40, "the run")
    assert not folder.exists()


def test_this_machine_has_memory(monkeypatch, tmp_path):
    whole = resources.device_memory()
    assert whole is not None
    assert 2**20 < whole < 2**50
    (tmp_path / "memory.max").write_text("9000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)
    assert resources.device_memory() == 8_000_000 // 8  # eight devices of one host


def test_sizes_for_people():
    assert gib(3_400_000) == "3.4 MB"
    assert gib(12 * GIB) == "12.0 GiB"
