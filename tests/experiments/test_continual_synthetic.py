"""`experiments.continual_synthetic` on a short stream: every method runs, is chosen on other seeds, and is drawn."""

import json

import jax
import numpy as np
import pytest

from experiments import continual_synthetic, permuted_methods


@pytest.mark.slow
def test_two_methods(tmp_path, capsys):
    args = continual_synthetic.Arguments(tmp_path, seeds=2, tuning_seeds=1, epochs=1, only=("naive", "SI", "joint"))
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        found = continual_synthetic.main(args)
    again = continual_synthetic.main(args)  # loaded
    assert {k: v for k, v in again.items() if "seconds" not in k} == {
        k: v for k, v in found.items() if "seconds" not in k
    }
    si = found["methods"]["SI"]
    assert list(si["grid"]) == [f"{s:g}" for s in permuted_methods.TABLE["SI"].grid]
    assert si["grid"][f"{si['strength']:g}"]["op"] == max(g["op"] for g in si["grid"].values())
    assert found["methods"]["naive"]["grid"] == {}
    matrices = np.array(si["matrices"])
    assert matrices.shape == (2, 5, 5)
    assert si["op"]["mean"] == pytest.approx(100 * matrices[:, -1].mean())
    assert found["methods"]["joint"]["op"] == found["methods"]["joint"]["la"]
    assert json.loads((tmp_path / "result.json").read_text())["methods"].keys() == {"naive", "SI", "joint"}
    assert (tmp_path / "methods.png").stat().st_size > 10_000
    assert "SI" in capsys.readouterr().out


def test_the_table_has_what_was_asked_for():
    asked = (
        "naive",
        "L2-SP",
        "EWC, all anchors",
        "EWC, latest anchor",
        "SI",
        "MAS",
        "A-GEM",
        "GEM",
        "GPM",
        "O-LoRA",
        "LwF",
        "joint",
    )
    assert set(asked) < permuted_methods.TABLE.keys()
    assert [name for name in permuted_methods.TABLE if name.startswith("replay")][:3] == [
        "replay, 1 %",
        "replay, 3 %",
        "replay, 10 %",
    ]
