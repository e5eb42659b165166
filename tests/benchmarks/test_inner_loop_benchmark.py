"""The benchmark measures what it says, at a size where it takes seconds."""

import dataclasses
import json

import jax
import pytest

from benchmarks import _gpu, _work, inner_loop
from seal_jax import models

WORK = _work.Work(sequences=3, shortest=5, longest=9, epochs=2, rank=4, alpha=8, padded_to=24, question_tokens=6)


def test_tiny_size():
    """Both sides train the same thing: their losses agree, and a rate follows from each time."""
    result = inner_loop.run(["tiny"], rounds=1, at_once=2, work=WORK)
    json.dumps(result)
    tiny = result["tiny"]
    assert tiny["largest_loss_difference"] < 1e-5
    assert tiny["steps_per_edit"] == 6
    assert 5 <= tiny["tokens_per_step"] <= 9 < tiny["padded_tokens_per_step"]
    rates = tiny["edits_per_second"]
    assert set(rates) == {"peft_padded", "peft", "ours"}
    assert tiny["ours_over_peft"] == pytest.approx(rates["ours"] / rates["peft"])
    assert tiny["ours_over_peft_padded"] == pytest.approx(rates["ours"] / rates["peft_padded"])
    assert 0 < tiny["share_of_peak"]["ours"] < 1
    assert result["qwen2.5-7b"] is None


def test_real_shapes_need_a_gpu():
    with pytest.raises(RuntimeError, match="--gpu needs a GPU that both torch"):
        inner_loop.main(["--gpu"])


def test_the_gpu_row_at_a_tiny_size():
    """The same code path as on a GPU, in bf16, answers included."""
    config = models.Config("qwen2", 64, 32, 48, 2, 4, 2, 8, 128, qkv_bias=True)
    work = dataclasses.replace(WORK, answer_tokens=4)
    row = _gpu.measure(config, work, edits=2, device="cpu", peak_size=64)
    assert row["ours"]["seconds_per_edit"] > row["ours"]["answer_seconds_per_edit"] > 0
    assert row["ours_over_peft"] == pytest.approx(row["peft"]["seconds_per_edit"] / row["ours"]["seconds_per_edit"])


def test_flops_are_those_of_the_kernels():
    """4 per frozen weight that multiplies (embedding once, as the head), 6 per LoRA weight."""
    config = _work.SHAPES["6M"]
    params = jax.eval_shape(lambda: models.init(jax.random.key(0), config))
    frozen = sum(x.size for x in jax.tree.leaves(params) if x.ndim == 3) + params["embed_tokens"]["embedding"].size
    lora = config.num_layers * 2 * 32 * (256 + 256)
    assert _work.flops_per_token(config, _work.Work()) == 4 * frozen + 6 * lora
    shapes = {"6M": 5.9e6, "12x768": 91e6, "qwen2.5-7b": 7.6e9}
    for name, expected in shapes.items():
        tree = jax.eval_shape(lambda c=_work.SHAPES[name]: models.init(jax.random.key(0), c))
        assert sum(x.size for x in jax.tree.leaves(tree)) == pytest.approx(expected, rel=0.02)
