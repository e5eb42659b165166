"""The benchmark measures what it says, at a size where it takes seconds."""

import json

import pytest

from benchmarks import _generate_gpu, generation
from seal_jax import models


def test_tiny_size():
    """Both sides say the same, and every ratio follows from rates."""
    result = generation.run(["tiny"], batches=(1, 3), rounds=2)
    json.dumps(result)
    tiny = result["tiny"]
    assert set(tiny["batch"]) == {1, 3}
    for row in tiny["batch"].values():
        assert row["equal_tokens"] == 1.0
        assert set(row["tokens_per_second"]) == {"transformers", "ours"}
        ratio = row["ours_over_transformers"]
        assert 0 < ratio["least"] <= ratio["median"] <= ratio["most"]
        assert row["transformers"]["attention"] in ("sdpa", "eager")
    assert tiny["adapters"]["count"] == 3
    assert result["7b"] is None


def test_real_shapes_need_a_gpu():
    with pytest.raises(RuntimeError, match="--gpu needs a GPU that jax sees"):
        generation.main(["--gpu"])


def test_the_gpu_row_at_a_tiny_size():
    """The same code path as on a GPU, in bf16."""
    config = models.Config("qwen2", 64, 32, 48, 2, 4, 2, 8, 512, qkv_bias=True)
    found = _generate_gpu.measure(config, batches=(2,), platform="cpu", copied=2**16)
    assert found["bandwidth_gb_per_second"] > 0
    assert set(found["batch"][2]) == {"milliseconds_per_step", "tokens_per_second", "share_of_bandwidth"}
    kernels = sum(2 * i * o for i, o in ((32, 32), (32, 16), (32, 16), (32, 32), (32, 48), (32, 48), (48, 32)))
    rest = 2 * (2 * 32 + 32 + 16 + 16) + 32  # norms, biases
    assert found["weights_gib"] * 2**30 == 2 * (kernels + rest + 32 * 64)
