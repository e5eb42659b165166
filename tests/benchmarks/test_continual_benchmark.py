"""The benchmark of continual learning at a tiny size: every number is there, and memory is what the states hold."""

import pytest

from benchmarks import continual


@pytest.mark.slow
def test_continual_benchmark():
    found = continual.run(["tiny"], rounds=1, steps=1)
    assert found["goals"] == {"l2_sp": 1.1, "ewc": 1.1, "mas": 1.1, "si": 1.1}
    for tree in continual.TREES:
        part = found["tiny"][tree]
        count, state = part["parameters"], part["state_bytes"]
        moments = 2 * 4 * count + 4
        assert state["adamw"] == moments
        assert state["ewc"] == moments + 2 * 4 * count + 12
        assert state["si"] == moments + 3 * 4 * count + 12
        assert moments + 4 * count < state["l2_sp"] < moments + 4 * count + 32
        assert part["time_over_adamw"]["adamw"] == 1.0
        assert part["peak_bytes"]["ewc"] >= part["peak_bytes"]["adamw"] + 8 * count
        assert all(seconds > 0 for seconds in part["step_seconds"].values())
    assert "olora" in found["tiny"]["lora"]["time_over_adamw"]
    assert "olora" not in found["tiny"]["full"]["time_over_adamw"]
