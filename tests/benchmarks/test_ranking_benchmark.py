"""The ranking benchmark at a small size: every second is somebody's."""

import pytest

from benchmarks import ranking


@pytest.mark.slow
def test_ranking_benchmark():
    found = ranking.run(passages=2, edits=2, seeds=2)
    assert found["edits"] == 4
    assert found["fine_tunes"] == 8
    for one in (found["first_pass"], found["second_pass"]):
        assert set(one["share"]) == {"writing", "training", "answering", "host"}
        assert all(share > 0 for share in one["share"].values())
        assert sum(one["share"].values()) == pytest.approx(1)
        assert one["edits_per_second"] == pytest.approx(4 / one["seconds"])
    assert found["second_pass"]["seconds"] < found["first_pass"]["seconds"]
