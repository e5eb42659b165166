"""The SVF benchmark at a tiny size: what is compared gives equal results, and every number is there."""

import pathlib
import re

import pytest

from benchmarks import _svf_gpu, svf
from benchmarks._reinforce_work import Work
from benchmarks._work import SHAPES


@pytest.mark.slow
def test_svf_benchmark():
    found = svf.run(["tiny"], rounds=2, work=Work(sequences=4, prompt=(3, 6), completion=(2, 5)), problems=8)
    composed, batch = found["tiny"]["compose"], found["tiny"]["batch"]
    assert composed["matrices"] == 6
    assert composed["gflop"] == pytest.approx(6 * 2 * 32 * 32 * 48 / 1e9)
    assert 0 < composed["share_of_peak"] < 1
    assert batch["rows"] == 16
    assert batch["equal_tokens"] == 1.0
    for ratio in ("separate_over_one_batch", "separate_composed_over_one_batch"):
        assert batch[ratio]["least"] <= batch[ratio]["median"] <= batch[ratio]["most"]
    seconds = found["passes"]["seconds"]
    assert seconds["first_share"] == pytest.approx(seconds["first"] / (seconds["first"] + seconds["second"]))
    assert found["reinforce"]["tiny"]["gradient_difference"] < 1e-3
    assert found["llama-3-8b"] is None


@pytest.mark.slow
def test_the_part_for_a_gpu_runs_on_a_small_model():
    found = _svf_gpu.measure(SHAPES["tiny"], platform="cpu", peak_size=256)
    assert found["compose"]["dtype"] == "bfloat16"
    assert found["batch"]["experts"] == 8
    with pytest.raises(RuntimeError, match="--gpu needs a GPU"):
        _svf_gpu.measure(platform="gpu")


def test_imports_of_what_is_compared_go_one_way():
    files = {path.stem: path.read_text(encoding="utf-8") for path in pathlib.Path(svf.__file__).parent.glob("*.py")}
    waiting = {name: _imported(text) & files.keys() for name, text in files.items()}
    assert "_reinforce_ours" in waiting["_reinforce_peak"]
    while free := [name for name, others in waiting.items() if not others & waiting.keys()]:
        waiting = {name: others for name, others in waiting.items() if name not in free}
    assert not waiting, "these import one another"


def _imported(text):
    """Names in the lines that import from `benchmarks`, inside of functions as well."""
    lines = [line for line in text.split("\n") if re.match(r"\s*(from|import) benchmarks\b", line)]
    return set(re.findall(r"\w+", " ".join(lines)))
