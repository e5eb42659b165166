"""The startup benchmark at a small size: what it reports, and that both sides computed the same."""

import pytest

from benchmarks import startup
from seal_jax import models


@pytest.mark.slow
def test_startup_benchmark():
    tiny = models.Config("llama", 2000, 64, 96, 2, 4, 2, 16, 128, tie_embeddings=True)
    found = startup.run(rounds=1, config=tiny)
    assert found["weight_bytes"] == 4 * (2000 * 64 + 2 * (64 * 128 + 64 * 64 + 3 * 64 * 96 + 2 * 64) + 64)
    assert found["largest_logit_difference"] < 1e-4
    for side in ("ours", "transformers"):
        stages = found[side]["stages"]
        assert 0 < stages["imported"] < stages["loaded"] < stages["logits"] == found[side]["seconds"]
        assert found[side]["peak_bytes"] > 50e6
    assert found["goals"] == {"memory_over_weights": 1.15, "seconds_over_transformers": 1.0}


def test_the_checkpoint_has_the_size_asked_for():
    config = startup.config_of(1000)
    layer = config.head_dim * (2 * config.num_heads + 2 * config.num_kv_heads) + 3 * config.intermediate_size
    assert abs(4 * config.hidden_size * (config.num_layers * layer + config.vocab_size) / 1e9 - 1) < 0.1
