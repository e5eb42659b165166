"""One SVF expert in all its forms: the same model, the same gradient, and what each of them keeps exactly."""

from functools import partial

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from seal_jax import generation, models
from seal_jax.adapters import SVF, SVFComposed, SVFResidual, attach, check_scales, dot, materialize, svf
from seal_jax.adapters.scales import scales, shifts
from seal_jax.generation.bank import Bank, form_of, pick
from seal_jax.generation.bank import cut as cut_up

CONFIG = models.Config("llama", 48, 16, 24, 2, 2, 1, 8, 64)
UP, DOWN = "layers/mlp/up_proj/kernel", "layers/mlp/down_proj/kernel"
TOKENS = jax.random.randint(jax.random.key(5), (2, 7), 0, 48)
FORMS = ("factored", "residual", "materialized")


@pytest.fixture(scope="module")
def params():
    params = models.init(jax.random.key(0), CONFIG)
    return jax.tree.map(lambda x: x * 10 if x.std() else x, params)


@pytest.fixture(scope="module")
def factors(params):
    return svf.factor(params, ("mlp", "q_proj", "lm_head"))


@pytest.fixture(scope="module")
def cut(params):
    """Truncated factors."""
    return svf.factor(params, ("mlp", "q_proj", "lm_head"), rank=5)


def expert(factors, seed=1, name="raw"):
    raw = svf.init(jax.random.key(seed), factors, mean=0.0, std=1.5)
    return raw if name == "raw" else {path: {"z": jax.nn.sigmoid(entry["raw"])} for path, entry in raw.items()}


def loss_of(form, base, factors, adapter):
    logits = models.forward(attach(base, adapter, factors, form=form), CONFIG, TOKENS)
    return jax.nn.logsumexp(logits, axis=-1).mean(), logits


run = jax.jit(jax.value_and_grad(loss_of, argnums=3, has_aux=True), static_argnums=0)
forward = jax.jit(models.forward, static_argnums=1)


@pytest.fixture(scope="module")
def wanted(params, factors):
    """Logits and gradient of the factored form, scanned; test_attach.py compares those with dense weights."""
    (_, logits), grads = run("factored", params, factors, expert(factors))
    return logits, grads


@pytest.mark.parametrize("layout", [models.stack, models.unroll], ids=["scanned", "unrolled"])
@pytest.mark.parametrize("form", ["residual", "materialized"])
def test_every_form_is_the_same_model_and_gradient(params, factors, wanted, form, layout):
    (_, logits), grads = run(form, layout(params), factors, expert(factors))
    np.testing.assert_allclose(logits, wanted[0], atol=2e-5)
    jax.tree.map(lambda g, h: np.testing.assert_allclose(g, h, atol=2e-6), grads, wanted[1])
    assert min(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) > 1e-5


@pytest.mark.parametrize("form", ["residual", "materialized"])
def test_truncated_factors_change_the_base_where_they_reach(params, cut, form):
    """As the dense weight: what was cut off stays, and the gradient is that through the dense weight."""
    adapter = expert(cut)
    (_, logits), grads = run(form, params, cut, adapter)

    def dense(adapter):
        merged = materialize(attach(params, adapter, cut, form="residual"))
        return jax.nn.logsumexp(models.forward(merged, CONFIG, TOKENS), axis=-1).mean()

    np.testing.assert_allclose(logits, forward(materialize(attach(params, adapter, cut)), CONFIG, TOKENS), atol=2e-5)
    jax.tree.map(lambda g, h: np.testing.assert_allclose(g, h, atol=2e-6), grads, jax.grad(dense)(adapter))


@pytest.mark.parametrize("name", ["raw", "z"])
def test_given_scales_are_those_of_raw(params, factors, wanted, name):
    adapter = expert(factors, name=name)
    np.testing.assert_allclose(forward(attach(params, adapter, factors), CONFIG, TOKENS), wanted[0], atol=1e-5)


@pytest.mark.parametrize("value", [0.3, 1.0, -2.0, 0.0])
@pytest.mark.parametrize("form", ["residual", "materialized"])
@pytest.mark.parametrize("rank", [None, 5])
def test_equal_scales_are_the_base_bit_for_bit(params, factors, cut, form, rank, value):
    found = factors if rank is None else cut
    level = {path: {"z": jnp.full_like(f["s"], value)} for path, f in found.items()}
    same = forward(attach(params, level, found, form=form), CONFIG, TOKENS)
    np.testing.assert_array_equal(same, forward(params, CONFIG, TOKENS))
    kernels = materialize(attach(params, level, found, form=form))
    jax.tree.map(np.testing.assert_array_equal, kernels, params)


def test_rows_without_an_expert_are_the_base_bit_for_bit(params, factors):
    """Whatever the other rows have, of either kind of entry, as one program for all of them."""
    base, ids = models.unroll(params), jnp.array([1, -1, 0])
    tokens = jnp.broadcast_to(TOKENS, (3, *TOKENS.shape))

    @partial(jax.jit, static_argnums=2)
    def rows(bank, base, compose):
        each = lambda adapter, x: forward(attach(base, adapter, factors, compose, form_of([-1])), CONFIG, x)  # noqa: E731
        return jax.vmap(each)(bank.adapters, tokens)

    alone = jax.jit(jax.vmap(partial(forward, base, CONFIG)))(tokens)[1]
    for name in ("raw", "z"):
        experts = [expert(factors, seed, name) for seed in (1, 2)]
        bank = pick(Bank(jax.tree.map(lambda *x: jnp.stack(x), *experts), factors), ids)
        for compose in ("scaled", "plain"):
            logits = rows(bank, base, compose)
            np.testing.assert_array_equal(logits[1], alone)
            wanted = forward(attach(base, experts[1], factors, compose), CONFIG, TOKENS)
            np.testing.assert_allclose(logits[0], wanted, atol=3e-5)


def test_rows_with_other_scales_in_one_batch(params, factors):
    """`generate` and `generate_batch` with z entries, -1 among the ids or not, give what each expert gives alone."""
    experts = [expert(factors, seed, "z") for seed in (1, 2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *experts)
    prompts, how = [[3, 4, 5], [6, 7], [8, 9, 10]], {"max_new_tokens": 6, "eos": ()}
    trees = [attach(params, e, factors) for e in experts] + [params]
    alone = [generation.generate(tree, CONFIG, prompts, None, **how) for tree in trees]
    for ids in ([1, -1, 0], [1, 0, 0]):
        out = generation.generate(
            params, CONFIG, prompts, None, adapters=stacked, adapter_ids=ids, factors=factors, **how
        )
        for row, n in enumerate(ids):
            assert out.tokens[row] == alone[n].tokens[row]
            np.testing.assert_allclose(out.logprobs[row], alone[n].logprobs[row], atol=1e-4)
    apart = {"adapters": stacked, "factors": cut_up(factors, CONFIG.num_layers, 0)}
    assert generation.generate(params, CONFIG, prompts, None, adapter_ids=ids, **apart, **how).tokens == out.tokens
    both = generation.generate_batch(params, CONFIG, stacked, [prompts, prompts], None, factors=factors, **how)
    assert [out.tokens for out in both] == [out.tokens for out in alone[:2]]
    assert len({str(out.tokens) for out in alone}) == 3


def kinds(tree):
    leaves = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, (SVF, SVFComposed, SVFResidual)))
    return {type(x) for x in leaves} - {type(jnp.zeros(1))}


def test_the_form_is_chosen_by_tokens_and_can_be_forced(params, factors, cut):
    adapter, short = expert(factors), expert(cut)
    assert kinds(attach(params, adapter, factors)) == {SVF}
    assert kinds(attach(params, short, cut)) == {SVFResidual}
    assert kinds(attach(params, short, cut, form="factored")) == {SVF}
    assert kinds(attach(params, adapter, factors, tokens=15)) == {SVF}
    assert kinds(attach(params, adapter, factors, tokens=20)) == {SVF, SVFComposed}  # [16, 16] but not [16, 24]
    assert kinds(attach(params, adapter, factors, tokens=48)) == {SVFComposed}
    # A gradient of [16, 48] is a matrix that costs more than what the array saves, however many tokens there are.
    assert kinds(attach(params, adapter, factors, tokens=10**6, trained=True)) == {SVF, SVFComposed}
    for form, kind in zip(FORMS, (SVF, SVFResidual, SVFComposed)):
        assert kinds(attach(params, adapter, factors, form=form, tokens=10**6)) == {kind}
    with pytest.raises(ValueError, match="form='dense' is not one of 'auto', 'factored'"):
        attach(params, adapter, factors, form="dense")


def test_break_even_is_that_of_the_published_arithmetic():
    assert svf.break_even((4096, 4096), 4096) == 4096
    assert svf.break_even((4096, 14336), 4096) == svf.break_even((14336, 4096), 4096) == 14336
    assert svf.break_even((4096, 4096), 4096, trained=True) == 2 * 4096
    assert svf.break_even((4096, 14336), 4096, trained=True) is None
    assert svf.cheapest_form((4096, 14336), 4096, 14335) == "factored"
    assert svf.cheapest_form((4096, 14336), 4096, 14336) == "materialized"
    assert svf.cheapest_form((4096, 14336), 4096, 10**9, trained=True) == "factored"
    assert svf.cheapest_form((4096, 14336), 512) == "residual"


def counted(function, *args):
    cost = jax.jit(function).lower(*args).compile().cost_analysis()
    return cost["flops"]


@pytest.mark.parametrize("trained", [False, True])
def test_break_even_is_that_of_the_compiled_programs(trained):
    """Floating-point operations on either side of it."""
    n = 96
    params = {"x": {"kernel": jnp.eye(n)}}
    [(path, f)] = svf.factor(params, "x").items()
    entry = {path: {"z": jnp.ones(n)}}

    def step(form, entry, x):
        def loss(entry, x):
            return jnp.square(dot(attach(params, entry, {path: f}, form=form)["x"]["kernel"], x)).sum()

        return jax.grad(loss, argnums=(0, 1))(entry, x) if trained else loss(entry, x)

    least = svf.break_even((n, n), n, trained=trained)
    for tokens, dearer in ((least // 2, "materialized"), (least * 2, "factored")):
        x = jnp.ones((int(tokens), n))
        flops = {form: counted(partial(step, form), entry, x) for form in ("factored", "materialized")}
        assert max(flops, key=flops.get) == dearer


def test_no_stack_of_dense_gradients_is_kept():
    """Of a deep stack of square layers, the memory of a step through composed weights, beside that through dense."""
    layers, n = 24, 64
    kernels = jnp.broadcast_to(jnp.eye(n), (layers, n, n))
    params = {"layers": {"x": {"kernel": kernels}}}
    factors = svf.factor(params, "x")
    z = {path: {"z": jnp.ones_like(f["s"])} for path, f in factors.items()}

    def loss(entry, x, form):
        attached = attach(params, entry, factors, form=form)["layers"]
        attached = materialize(attached) if form == "residual" else attached  # plain arrays: a dense gradient
        return jax.lax.scan(lambda x, w: (dot(w["x"]["kernel"], x), None), x, attached)[0].sum()

    def temporary(form):
        compiled = jax.jit(jax.grad(loss), static_argnums=2).lower(z, jnp.ones((4, n)), form).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    stack = kernels.nbytes
    memory = {form: temporary(form) for form in FORMS}
    assert memory["factored"] < 0.5 * stack
    assert memory["materialized"] < memory["factored"] + 1.5 * stack  # the composed weights themselves
    assert memory["residual"] > memory["materialized"] + 0.9 * stack


def test_a_sum_that_vanishes_is_an_error_with_its_place(params, factors):
    s = factors[UP]["s"]
    z = jnp.ones((2, 2, s.shape[-1])).at[1, 1].set(jnp.where(jnp.arange(16) % 2, 1.0, -1.0))
    z = z.at[1, 1, 0].add((s[1] * z[1, 1]).sum() / -s[1, 0])  # now the sum is zero
    bank = {UP: {"z": z}}
    with pytest.raises(ValueError, match=f"{UP}: in layer 1 of adapter 1 the sum of s"):
        check_scales(bank, factors)
    with pytest.raises(ValueError, match="in layer 1 the sum of s"):
        attach(params, {UP: {"z": z[1]}}, factors)
    how = {"adapters": bank, "factors": factors, "max_new_tokens": 2}
    apart = {**how, "factors": cut_up(factors, CONFIG.num_layers, 0)}
    with pytest.raises(ValueError, match="in layer 1 of adapter 1 the sum of s"):
        generation.generate(params, CONFIG, [[3], [4]], None, adapter_ids=[0, 1], **apart)
    with pytest.raises(ValueError, match="too near zero to divide by"):
        generation.generate(params, CONFIG, [[3], [4]], None, adapter_ids=[0, 1], **how)
    with pytest.raises(ValueError, match="too near zero to divide by"):
        generation.generate_batch(params, CONFIG, prompts=[[[3]], [[4]]], key=None, **how)
    check_scales(bank, factors, "plain")
    # Under jit nobody can be told: the numbers are finite, and so are their gradients.
    for compose in ("scaled", "plain"):
        value, grad = jax.jit(jax.value_and_grad(lambda z, c=compose: scales(z, s, c).sum()))(z[1])
        assert jnp.isfinite(value)
        assert jnp.isfinite(grad).all()


vectors = st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6)


@hypothesis.given(z=vectors, equal=st.booleans(), factor=st.floats(0.125, 8, width=32))
@hypothesis.example(z=[0.0, 0.0, 0.0, 0.0, 1.3331658766362177e-31, 0.0], equal=False, factor=1.0)
@hypothesis.example(z=[0.0, -(2.0**-149), 2.0**-126, 0.0, 0.0, 1e-7], equal=False, factor=0.125)
@hypothesis.settings(max_examples=60, deadline=None)
def test_scales_are_finite_and_of_no_size(z, equal, factor):
    s = jnp.linspace(5.0, 0.0, 6)
    z = jnp.full(6, z[0], jnp.float32) if equal else jnp.asarray(z, jnp.float32)
    found, gradient = scales(z, s), jax.grad(lambda z: (s * scales(z, s)).max())(z)
    assert jnp.isfinite(found).all()
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(found, 1.0 + shifts(z, s))
    if equal:
        np.testing.assert_array_equal(found, jnp.ones(6))
        return
    # Of what the sum could be; z on directions without a singular value are the other way for it to vanish.
    could, largest = float((s * jnp.abs(z)).sum()), float(jnp.abs(z).max())
    ratio = float(jnp.abs((s * z).sum())) / could if could > max(1e-20, 1e-8 * largest) else 0.0
    if ratio > 0.01:
        np.testing.assert_allclose((s * found).sum(), s.sum(), rtol=1e-4)
        np.testing.assert_allclose(found, z * (s.sum() / (s * z).sum()), rtol=1e-3, atol=1e-4 / ratio)
        np.testing.assert_allclose(scales(factor * z, s), found, rtol=1e-4, atol=1e-5 / ratio)
