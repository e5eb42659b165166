"""Programs of every family of the library can be planned: they are traced on shapes, placed on a mesh of three axes."""

import pytest

from seal_jax.models.families import config_from_hf
from seal_jax.plan.flops import matmul_flops
from seal_jax.plan.programs import programs
from seal_jax.plan.settings import Settings
from seal_jax.runtime.mesh import make_mesh, use
from tests.models.family_rows import ROWS


@pytest.mark.parametrize("experiment", ["inner_loop", "generation"])
@pytest.mark.parametrize("name", ROWS)
def test_traced(name, experiment):
    config = config_from_hf(ROWS[name]().to_dict())
    settings = Settings(
        experiment=experiment, topology="v5e:2x4", rank=2, targets=("attention",), length=16, line_length=8, lines=1,
        epochs=1, prompts=2, prompt_tokens=8, new_tokens=8,
    )  # fmt: skip
    mesh = make_mesh("data=2,fsdp=2,model=2")
    with use(mesh):
        traced = programs(settings, config, 4, mesh)[0](None)
    flops = matmul_flops(traced.stage.jaxpr, traced.branch_shares, traced.trips)
    # Four edits of 8 and of 16 tokens, each weight at least twice; four adapters' two prompts of 8 tokens, each once.
    kernels = config.num_layers * config.hidden_size * config.intermediate_size * 2
    assert flops > 2 * kernels * (2 * 4 * 24 if experiment == "inner_loop" else 4 * 2 * 8)
