"""A batch with an expert for each row: what each gives alone, in one program, and the base model bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_tasks
from toy_tasks import model as toy_model
from toy_tasks import problems

from seal_jax import adapters, generation, models
from seal_jax.generation import decode
from seal_jax.runtime import mesh, placement
from seal_jax.transformer2 import Classifier, ExpertError, expert_bank, make_expert, serve_batch
from seal_jax.transformer2 import serve as serving
from seal_jax.transformer2.classify import Sorted
from seal_jax.transformer2.dispatch import answer
from seal_jax.transformer2.update import layered

PROMPTS = [p.prompt for p in problems(6)]
MIXED = ["a", None, "b", "c", None, "a"]
HOW = {"max_new_tokens": 8, "top_logprobs": 5}
UP = "layers/mlp/up_proj/kernel"


@pytest.fixture(scope="module")
def model():
    return toy_model()


@pytest.fixture(scope="module")
def factors(model):
    return adapters.svf.factor(model.params)


@pytest.fixture(scope="module")
def experts(model, factors):
    """Three experts that say something else than the base: of all kernels, of z, of one kernel alone."""
    raw = [adapters.svf.init(jax.random.key(n), factors, mean=0.0, std=3.0) for n in range(3)]
    made = {
        "a": raw[0],
        "b": {path: {"z": jax.nn.sigmoid(entry["raw"])} for path, entry in raw[1].items()},
        "c": {UP: raw[2][UP]},
    }
    return {name: make_expert(adapter, model.params, task=name, base="toy") for name, adapter in made.items()}


@pytest.fixture(scope="module")
def bank(model, experts, factors):
    return expert_bank(experts, model.params, factors=factors)


@pytest.fixture(scope="module")
def base(model):
    how = {"tokenizer": model.tokenizer, **HOW}
    return generation.generate(model.params, model.config, PROMPTS, None, **how)


@pytest.fixture(scope="module")
def mixed(model, bank):
    return serve_batch(model, bank, PROMPTS, MIXED, **HOW)


def same(one, i, other, j):
    """Whether two rows are equal to the last bit: tokens, text, log-probabilities, and the likeliest of each step."""
    return all((getattr(one, f)[i] == getattr(other, f)[j]) for f in ("tokens", "texts", "logprobs", "top_logprobs"))


def test_every_row_is_what_its_expert_gives_alone(model, experts, factors, mixed, base):
    for row, name in enumerate(MIXED):
        if name is None:
            continue
        adapted = adapters.attach(model.params, experts[name].adapter, factors)
        how = {"tokenizer": model.tokenizer, **HOW}
        alone = generation.generate(adapted, model.config, [PROMPTS[row]], None, **how)
        assert mixed.tokens[row] == alone.tokens[0]
        np.testing.assert_allclose(mixed.logprobs[row], alone.logprobs[0], atol=1e-4)
        assert mixed.logprobs[row] != base.logprobs[row]


def test_factors_that_are_cut_up_beforehand_are_the_same(model, bank, mixed):
    """In one batch, and one expert at a time; nothing is then copied in a call."""
    apart = bank._replace(factors=layered(bank.factors, model.config))
    found = serve_batch(model, apart, PROMPTS, MIXED, **HOW)
    assert [found.tokens, found.texts] == [mixed.tokens, mixed.texts]
    task = toy_tasks.task(lambda problem, text: text, count=3)
    answers = [[a.text for a in answer(model, b, task, task.test, ["b"] * 3)] for b in (bank, apart)]
    assert answers[0] == answers[1]
    assert layered(apart.factors, model.config) is apart.factors


def test_rows_without_an_expert_are_the_base_model_bit_for_bit(model, bank, mixed, base):
    assert all(same(mixed, row, base, row) for row, name in enumerate(MIXED) if name is None)
    nobody = serve_batch(model, bank, PROMPTS, [None] * 6, **HOW)
    assert all(same(nobody, row, base, row) for row in range(6))


def test_the_same_in_bfloat16(model, experts, factors):
    half = model._replace(params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), model.params))
    bank = expert_bank(experts, half.params, factors=jax.tree.map(lambda x: x.astype(jnp.bfloat16), factors))
    mixed = serve_batch(half, bank, PROMPTS, MIXED, **HOW)
    how = {"tokenizer": model.tokenizer, **HOW}
    base = generation.generate(half.params, model.config, PROMPTS, None, **how)
    assert [same(mixed, row, base, row) for row in range(6)] == [name is None for name in MIXED]


def test_one_program_whoever_uses_what(model, bank, mixed):
    """No trace for another assignment: neither where rows group otherwise, nor where all or none have an expert."""
    programs = (decode.start, decode.resume, decode.keep)
    traced = [program._cache_size() for program in programs]
    for which in ("aaaaaa", "abcabc", "bbbbba", "ccaabb"):
        serve_batch(model, bank, PROMPTS, list(which), **HOW)
    serve_batch(model, bank, PROMPTS, [None] * 6, **HOW)
    serve_batch(model, bank, PROMPTS[::-1], [None, *"aaaab"], **HOW)
    assert [program._cache_size() for program in programs] == traced


def test_rows_do_not_depend_on_one_another_nor_on_their_order(model, bank, mixed):
    order = [3, 0, 5, 1, 4, 2]
    moved = serve_batch(model, bank, [PROMPTS[i] for i in order], [MIXED[i] for i in order], **HOW)
    assert all(same(moved, place, mixed, i) for place, i in enumerate(order))
    lonely = serve_batch(model, bank, PROMPTS, [None, None, None, "c", None, None], **HOW)
    assert same(lonely, 3, mixed, 3)


def test_draws_go_with_the_row_and_not_with_its_place(model, bank):
    how = {"max_new_tokens": 8, "temperature": 1.0, "key": jax.random.key(3)}
    drawn = serve_batch(model, bank, PROMPTS, MIXED, row_ids=range(6), **how)
    order = [3, 0, 5, 1, 4, 2]
    moved = serve_batch(model, bank, [PROMPTS[i] for i in order], [MIXED[i] for i in order], row_ids=order, **how)
    assert [moved.tokens[place] for place in range(6)] == [drawn.tokens[i] for i in order]


def test_on_a_mesh(model, experts, mixed):
    """Eight devices: the rows of one device, and rows without an expert are the base model of that mesh."""
    on = mesh.make_mesh("data=2,fsdp=2,model=2")
    split = model._replace(params=placement.shard_params(model.params, on, model.config))
    bank = expert_bank(experts, split.params)
    found = serve_batch(split, bank, PROMPTS, MIXED, **HOW)
    assert found.tokens == mixed.tokens
    for row in range(6):
        np.testing.assert_allclose(found.logprobs[row], mixed.logprobs[row], atol=1e-4)
    nobody = serve_batch(split, bank, PROMPTS, [None] * 6, **HOW)
    assert [same(found, row, nobody, row) for row in range(6)] == [name is None for name in MIXED]


def test_lora_experts_are_served_alike(model, base):
    def lora(n):
        fresh = adapters.lora.init(
            jax.random.key(n), model.params, rank=n + 1, alpha=8.0, targets=("q_proj", "mlp")[n:]
        )
        return {p: {**e, "b": jax.random.normal(jax.random.key(n), e["b"].shape)} for p, e in fresh.items()}

    made = {name: make_expert(lora(n), model.params, task=name, base="toy") for n, name in enumerate("ab")}
    bank = expert_bank(made, model.params)
    assert bank.factors is None
    which = ["a", None, "b", "b", None, "b"]
    found = serve_batch(model, bank, PROMPTS, which, **HOW)
    assert [same(found, row, base, row) for row in range(6)] == [name is None for name in which]
    how = {"tokenizer": model.tokenizer, **HOW}
    adapted = adapters.attach(model.params, made["b"].adapter)
    assert found.tokens[2] == generation.generate(adapted, model.config, [PROMPTS[2]], None, **how).tokens[0]


def test_truncated_experts_leave_what_was_cut_off_to_the_base(model):
    factors = adapters.svf.factor(model.params, rank=5)
    expert = make_expert(adapters.svf.init(jax.random.key(0), factors, std=2.0), model.params, task="t", base="toy")
    found = serve_batch(model, {"t": expert}, PROMPTS[:2], ["t", None], max_new_tokens=6)
    adapted = adapters.materialize(adapters.attach(model.params, expert.adapter, factors))
    for row, params in enumerate((adapted, model.params)):
        alone = generation.generate(params, model.config, PROMPTS[:2], None, 6, tokenizer=model.tokenizer)
        assert found.tokens[row] == alone.tokens[row]


def test_without_names_pass_1_chooses(model, bank, mixed, tmp_path, monkeypatch):
    (tmp_path / "short.txt").write_text("{prompt} \\boxed{")
    short = Classifier({"a": "", "c": ""}, str(tmp_path / "short.txt"), max_new_tokens=4)
    found = serve_batch(model, bank, PROMPTS, classifier=short, **HOW)
    nobody = serve_batch(model, bank, PROMPTS, [None] * 6, **HOW)
    assert all(same(found, row, nobody, row) for row in range(6))  # it never answers in the format

    says = {p: "others" if name is None else name for p, name in zip(PROMPTS, MIXED)}
    monkeypatch.setattr(serving, "classify", lambda m, c, asked: Sorted([says[p.prompt] for p in asked], []))
    chosen = serve_batch(model, bank, PROMPTS, **HOW)
    assert all(same(chosen, row, mixed, row) for row in range(6))


def test_bad_requests(model, bank, experts):
    for which, message in (
        (["a", "x", None, None, None, None], "row 1 asks for the expert 'x'; there are a, b, c, or None"),
        (["a"], r"which=\['a'\] for 6 prompts"),
        ("aaaaaa", "give a list of one name, or None, for each"),
    ):
        with pytest.raises(ValueError, match=message):
            serve_batch(model, bank, PROMPTS, which)
    with pytest.raises(ValueError, match="label 'x' is no expert; experts are a, b, c"):
        serve_batch(model, bank, PROMPTS, classifier=Classifier({"x": ""}))
    with pytest.raises(ValueError, match="prompt 0 is token ids: pass 1 sorts text or messages"):
        serve_batch(model, bank, [[3, 4]])


def test_experts_that_do_not_go_together(model, experts, factors):
    params = model.params
    lora = make_expert(adapters.lora.init(jax.random.key(0), params, rank=2), params, task="t", base="toy")
    plain = experts["a"]._replace(meta=experts["a"].meta._replace(compose="plain"))
    cut = {k: make_expert({UP: {"raw": jnp.ones((2, k))}}, params, task="t", base="toy") for k in (3, 4)}
    other = make_expert({"layers/mlp/down_proj/kernel": {"raw": jnp.ones((2, 4))}}, params, task="t", base="toy")
    for made, message in (
        ({}, "there are no experts"),
        ({"a": experts["a"], "l": lora}, "are of one kind, and these are a SVF, l LoRA"),
        ({"a": experts["a"], "p": plain}, "are of one compose, and these are a scaled, p plain"),
        ({"x": cut[3], "y": cut[4]}, "values of different shapes"),
        ({"x": cut[3], "y": other}, r"experts are of factors cut to \[3, 4\] singular values"),
    ):
        with pytest.raises(ExpertError, match=message):
            expert_bank(made, params)
    with pytest.raises(ExpertError, match="experts scale 3 singular values, and the factors have 32"):
        expert_bank({"x": cut[3]}, params, factors=factors)
    with pytest.raises(ExpertError, match="the base model has no such kernel"):
        expert_bank({"a": experts["a"]}, {"layers": {}})


def test_unrolled_parameters_are_served_too(model, bank, mixed):
    found = serve_batch(model._replace(params=models.unroll(model.params)), bank, PROMPTS, MIXED, **HOW)
    assert all(same(found, row, mixed, row) for row in range(6))
