"""A different adapter for each row: what row-by-row generation with that adapter gives, however rows are arranged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, generation, models
from seal_jax.generation import decode
from seal_jax.generation.bank import Bank, arrange, pick

CONFIG = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 64)
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(3, 64, n).tolist() for n in (4, 7, 1, 5, 3, 6)]
KEY = jax.random.key(5)
SAMPLED = {"max_new_tokens": 10, "temperature": 1.0, "eos": ()}


@pytest.fixture(scope="module")
def params():
    """Stacked parameters with peaked, varied predictions."""
    return jax.tree.map(lambda p: 12 * p if p.ndim > 1 else p, models.init(jax.random.key(0), CONFIG))


def lora(key, params, rank, targets):
    fresh = adapters.lora.init(key, params, rank=rank, alpha=2 * rank, targets=targets)
    return {path: {**e, "b": jax.random.normal(key, e["b"].shape)} for path, e in fresh.items()}


@pytest.fixture(scope="module")
def loras(params):
    """Three adapters of different rank and targets."""
    kinds = [(3, "all"), (1, ("q_proj", "v_proj")), (2, "mlp")]
    return [lora(jax.random.key(n), params, *kind) for n, kind in enumerate(kinds)]


@pytest.fixture(scope="module")
def one_by_one(params, loras):
    """Output of each prompt under each adapter, -1: the base model; row i draws as row i."""

    def alone(row, n):
        adapted = params if n < 0 else adapters.attach(params, loras[n])
        return generation.generate(adapted, CONFIG, [PROMPTS[row]], KEY, row_ids=[row], **SAMPLED)

    return {(row, n): alone(row, n) for row in range(len(PROMPTS)) for n in (-1, 0, 1, 2)}


@pytest.mark.parametrize(
    ("ids", "groups"),
    [
        ([0, 1, 2, 0, 1, 2], 3),  # even: three groups of two
        ([2, -1, 0, -1, 2, 0], 3),
        ([1, 1, 1, 1, 1, -1], 6),  # uneven: every row by itself
        ([0, 0, 0, 0, 0, 0], 1),
    ],
)
def test_any_assignment_equals_row_by_row(params, loras, one_by_one, ids, groups, monkeypatch):
    sizes, start = [], decode.start
    monkeypatch.setattr(decode, "start", lambda *a, **k: sizes.append(a[1].count) or start(*a, **k))
    how = {"adapters": generation.stack_adapters(loras), "adapter_ids": ids, **SAMPLED}
    out = generation.generate(models.unroll(params), CONFIG, PROMPTS, KEY, **how)
    assert sizes == [groups]
    for row, n in enumerate(ids):
        assert out.tokens[row] == one_by_one[row, n].tokens[0]
        np.testing.assert_allclose(out.logprobs[row], one_by_one[row, n].logprobs[0], atol=1e-4)
    assert len({tuple(one_by_one[0, n].tokens[0]) for n in (-1, 0, 1, 2)}) == 4


def test_svf_experts_and_the_base_model(params):
    factors = adapters.svf.factor(params, targets=("mlp",))
    experts = [adapters.svf.init(jax.random.key(n), factors, mean=0.0, std=2.0) for n in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *experts)
    for compose in ("scaled", "plain"):
        how = {"factors": factors, "compose": compose, "adapters": stacked, "adapter_ids": [-1, 1, 0]}
        out = generation.generate(params, CONFIG, PROMPTS[:3], KEY, **how, **SAMPLED)
        trees = [params, *(adapters.attach(params, experts[n], factors, compose) for n in (1, 0))]
        for row, tree in enumerate(trees):
            alone = generation.generate(tree, CONFIG, [PROMPTS[row]], KEY, row_ids=[row], **SAMPLED)
            assert out.tokens[row] == alone.tokens[0]


def test_the_base_model_is_picked_exactly(loras):
    bank = Bank(generation.stack_adapters(loras))
    assert bank.count == 3
    for path, entry in pick(bank, jnp.array([1, -1])).adapters.items():
        np.testing.assert_array_equal(entry["b"][0], bank.adapters[path]["b"][1])
        assert not entry["b"][1].any()


def test_arrangement_follows_the_cost():
    assert arrange([1, 0, 1, 0]) == [(0, [1, 3]), (1, [0, 2])]
    assert arrange([1, 1, 1, 0]) == [(1, [0]), (1, [1]), (1, [2]), (0, [3])]  # 6 rows for 4
    assert arrange([0, 1, 0, 1, 0, 1, 0]) == [(0, [0, 2, 4, 6]), (1, [1, 3, 5])]  # 8 rows for 7
    assert arrange([]) == []


def test_no_prompts_no_output(params, loras):
    bank = generation.stack_adapters(loras)
    assert generation.generate(params, CONFIG, [], None, adapters=bank, adapter_ids=[]).tokens == []


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (None, "no adapter_ids for 6 prompts and 3 adapters: expected one each, -1 for no adapter"),
        (1, "adapter_ids=1 for 6 prompts"),
        ([0, 1], "2 adapter_ids for 6 prompts"),
        ([0, 1, 2, 3, 0, 0], r"adapter_ids has 3 for prompt 3: expected 0\.\.2, or -1"),
        ([0, 1, 2, -2, 0, 0], "adapter_ids has -2 for prompt 3"),
        ([0, 0.7, 1, 0, 0, 0], r"adapter_ids has 0\.7 for prompt 1: expected 0\.\.2"),
    ],
)
def test_bad_ids(loras, ids, message):
    with pytest.raises(ValueError, match=message):
        generation.generate(
            {}, CONFIG, PROMPTS, None, adapters=generation.stack_adapters(loras), adapter_ids=ids, max_new_tokens=4
        )


def test_a_list_of_adapters_is_refused(loras):
    message = "adapters is a list, expected one tree: make it of LoRA adapters with stack_adapters"
    with pytest.raises(ValueError, match=message):
        generation.generate({}, CONFIG, PROMPTS, None, adapters=loras, adapter_ids=[0] * 6, max_new_tokens=4)
    with pytest.raises(ValueError, match=message):
        generation.generate_batch({}, CONFIG, loras, [PROMPTS] * 3, None, max_new_tokens=4)
    with pytest.raises(ValueError, match=message):
        generation.prefill({}, CONFIG, [5], adapters=loras)


def test_what_cannot_be_stacked(loras, params):
    with pytest.raises(ValueError, match="no adapters to stack"):
        generation.stack_adapters([])
    with pytest.raises(ValueError, match="only LoRA adapters"):
        generation.stack_adapters([{"layers/mlp/up_proj/kernel": {"raw": jnp.zeros((2, 4))}}])
    path = "layers/mlp/up_proj/kernel"
    wider = {path: {**loras[2][path], "b": jnp.zeros((2, 2, 50))}}
    with pytest.raises(ValueError, match=r"kernels of different shapes"):
        generation.stack_adapters([loras[2], wider])
    uneven = {path: {**generation.stack_adapters(loras)[path], "scale": jnp.zeros((2, 2))}}
    with pytest.raises(ValueError, match=r"lead with axes \[\(2,\), \(3,\)\]"):
        generation.generate({}, CONFIG, PROMPTS, None, adapters=uneven, adapter_ids=[0] * 6, max_new_tokens=4)
