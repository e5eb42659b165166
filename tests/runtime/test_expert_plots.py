"""Figures of experts: a picture is written, with what it is of, and nothing to draw is an error."""

import numpy as np
import pytest

from seal_jax.runtime import expert_plots


def size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def test_learning_curves_have_a_panel_for_each_task(tmp_path):
    runs = [[(0, 0.5), (10, 0.7)], [(0, 0.5), (10, 0.9), (20, 0.8)]]
    expert_plots.learning_curves(tmp_path / "one.png", {"sums": {"svf": runs}})
    expert_plots.learning_curves(tmp_path / "two.png", {"sums": {"svf": runs}, "letters": {"svf": runs, "lora": runs}})
    assert size(tmp_path / "two.png")[0] == pytest.approx(2 * size(tmp_path / "one.png")[0], rel=0.01)
    with pytest.raises(ValueError, match="no evaluations"):
        expert_plots.learning_curves(tmp_path / "none.png", {"sums": {"svf": []}})


def test_scale_vectors_have_a_row_for_each_expert(tmp_path):
    rng = np.random.default_rng(0)
    expert = {name: rng.random((3, 8)).tolist() for name in ("gate_proj", "up_proj")}
    expert_plots.scale_vectors(tmp_path / "one.png", {"sums": expert})
    expert_plots.scale_vectors(tmp_path / "two.png", {"sums": expert, "letters": expert})
    assert size(tmp_path / "two.png")[0] == size(tmp_path / "one.png")[0]
    assert size(tmp_path / "two.png")[1] > 1.5 * size(tmp_path / "one.png")[1]
    with pytest.raises(ValueError, match="no experts"):
        expert_plots.scale_vectors(tmp_path / "none.png", {})


def test_mixing_weights_take_searches_whose_weights_are_all_zero(tmp_path):
    weights = {"cem": [[0.2, 0.6], [0.5, 0.5]], "random": [[0.0, 0.0], [1.0, 0.0]]}
    expert_plots.mixing_weights(tmp_path / "weights.png", weights, ["sums", "letters"])
    assert min(size(tmp_path / "weights.png")) > 300
    with pytest.raises(ValueError, match="no weights"):
        expert_plots.mixing_weights(tmp_path / "none.png", {}, ["sums"])
