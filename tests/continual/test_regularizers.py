"""Worked numbers, RecAdam step by step, what each setting does, and what bad input is told."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import continual
from seal_jax.continual import lambdas

ONE = {"w": jnp.array([1.0])}


def vector(*numbers):
    return {"w": jnp.array(numbers, jnp.float32)}


def numbers(tree):
    return np.asarray(tree["w"])


def raw(state, params, importance=None, gamma=1.0):
    return continual.consolidate(state, params, importance, gamma, normalize=False)


@pytest.mark.parametrize(("placement", "expected"), [("proximal", -0.45), ("coupled", 7.9), ("decoupled", -0.9)])
def test_one_number_in_each_placement(placement, expected):
    """p 1, u -0.1, anchor 0.2, rate 0.1, lambda 5, omega 2: 0.2 + 0.7 / 2 - 1; -0.1 + 5 * 2 * 0.8; -0.1 - 0.1 * 8."""
    tx = continual.ewc(5.0, 0.1, placement)
    state = raw(tx.init(ONE), vector(0.2), vector(2.0))
    np.testing.assert_allclose(numbers(tx.update(vector(-0.1), state, ONE)[0]), expected, rtol=1e-6)


def test_two_anchors_of_ewc_are_a_sum_and_online_ewc_has_the_latest():
    """F 2 at 1 and F 1 at 4: omega 3, b = 6, gradient at 3: 3 * 3 - 6. The latest anchor alone: 3 * (3 - 4)."""
    for regularizer, expected, value in ((continual.ewc, 3.0, 4.5), (continual.online_ewc, -3.0, 1.5)):
        tx = regularizer(1.0, placement="coupled")
        state = raw(raw(tx.init(ONE), vector(1.0), vector(2.0)), vector(4.0), vector(1.0))
        np.testing.assert_allclose(numbers(tx.update(vector(0.0), state, vector(3.0))[0]), expected, rtol=1e-6)
        np.testing.assert_allclose(continual.penalty(state, vector(3.0)), value, rtol=1e-6)
        np.testing.assert_allclose(numbers(state.cl_omega), 3.0)
    assert sum(x.size for x in jax.tree.leaves(continual.ewc(1.0, 0.1).init(ONE))) == 5  # two trees, three numbers


def test_many_anchors_are_exact_to_the_resolution_of_a_parameter():
    """Twenty tasks of 300 parameters: their weighted mean in float64, to three units in the last place of float32."""
    rng = np.random.default_rng(0)
    anchors = (1.0 + 1e-2 * rng.normal(size=(20, 300))).astype(np.float32)
    importances = rng.uniform(0.5, 2.0, (20, 300)).astype(np.float32)
    state = continual.ewc(1.0, 0.1).init(vector(*anchors[0]))
    for anchor, importance in zip(anchors, importances, strict=True):
        state = raw(state, vector(*anchor), vector(*importance))
    weights = importances.astype(np.float64)
    np.testing.assert_allclose(numbers(state.cl_anchor), (weights * anchors).sum(0) / weights.sum(0), rtol=3 * 2**-23)
    np.testing.assert_allclose(numbers(state.cl_omega), weights.sum(0), rtol=1e-6)


@pytest.fixture
def standard():
    """optax's Adam and schedules multiply a float by a count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("inner", [optax.sgd(0.1), optax.adam(0.1), optax.sgd(0.1, momentum=0.9)])
def test_si_sums_the_fall_of_the_loss_along_the_actual_steps(inner, standard):
    tx = continual.si(inner, 0.0)
    params, state = vector(1.0, -2.0), tx.init(vector(1.0, -2.0))
    expected = np.zeros(2)
    for gradient in ([1.0, -2.0], [0.5, 1.0], [-0.2, 0.1]):
        updates, state = tx.update(vector(*gradient), state, params)
        params = optax.apply_updates(params, updates)
        expected -= np.array(gradient) * numbers(updates)
    np.testing.assert_allclose(numbers(state.cl_path), expected, rtol=1e-6)


def test_si_turns_a_path_into_importance():
    """g [1, -2], u [-0.1, 0.1]: path [0.1, 0.2]; xi 0.01: importance [5, 10]. A path that climbed counts nothing."""
    step = optax.stateless(lambda updates, params: vector(-0.1, 0.1, 0.3))
    tx = continual.si(step, 0.5, xi=0.01)
    start = vector(0.0, 1.0, 2.0)
    updates, state = tx.update(vector(1.0, -2.0, 3.0), tx.init(start), start)
    np.testing.assert_allclose(numbers(state.cl_path), [0.1, 0.2, -0.9], rtol=1e-6)
    end = optax.apply_updates(start, updates)
    state = raw(state, end)
    np.testing.assert_allclose(numbers(state.cl_omega), [5.0, 10.0, 0.0], rtol=1e-5)
    np.testing.assert_array_equal(numbers(state.cl_path), 0.0)
    np.testing.assert_array_equal(numbers(state.cl_anchor), numbers(end))
    away = vector(1.0, 1.0, 1.0)
    expected = 0.5 * (5.0 * 1.1**2 + 10.0 * 0.1**2)
    np.testing.assert_allclose(continual.penalty(state, away), expected, rtol=1e-5)
    scaled = continual.consolidate(tx.update(vector(1.0, -2.0, 3.0), tx.init(start), start)[1], end)
    np.testing.assert_allclose(numbers(scaled.cl_omega), [1.0, 2.0, 0.0], rtol=1e-5)


@pytest.mark.parametrize("placement", ["proximal", "coupled", "decoupled"])
def test_si_pulls_as_ewc_of_its_importance_does(placement):
    """c is half of lambda. In its default placements too, and with another regularizer inside of it."""
    rate = None if placement == "coupled" else 0.1
    tx = continual.si(optax.sgd(0.1), 1.5, rate, placement=placement)
    default = continual.si(optax.sgd(0.1), 1.5, rate)
    other = continual.ewc(3.0, rate, placement)
    start, end, gradient = vector(1.0, 2.0), vector(0.5, 2.5), vector(0.3, -0.4)
    state = raw(tx.update(gradient, tx.init(start), start)[1], end)
    beside = raw(other.init(start), end, state.cl_omega)
    found = tx.update(gradient, state, start)[0]
    if placement == "coupled":
        expected = jax.tree.map(lambda u: -0.1 * u, other.update(gradient, beside, start)[0])
    else:
        expected = other.update(jax.tree.map(lambda g: -0.1 * g, gradient), beside, start)[0]
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-5)
    if placement != "decoupled":
        np.testing.assert_array_equal(numbers(default.update(gradient, state, start)[0]), numbers(found))


def test_task_ends_reach_an_anchor_inside_of_si():
    tx = continual.si(optax.chain(optax.sgd(0.1), continual.ewc(1.0, 0.1)), 1.0, 0.1)
    state = tx.update(ONE, tx.init(ONE), ONE)[1]
    state = raw(state, vector(0.5), vector(2.0))
    assert numbers(state.inner[1].cl_omega) == 2.0
    assert numbers(state.cl_omega) > 0.0
    away = continual.penalty(state, vector(1.5))
    np.testing.assert_allclose(away, 0.5 * 2.0 + numbers(state.cl_omega)[0], rtol=1e-6)


def test_rec_adam_step_by_step(standard):
    """The published update in NumPy, over 12 steps and again after the anchor has moved."""
    rate, gamma, k, t0, w, b1, b2, eps = 0.01, 5.0, 0.5, 4.0, 0.9, 0.9, 0.999, 1e-8
    tx = optax.chain(optax.adam(rate, b1, b2, eps), continual.rec_adam(gamma, rate, "decoupled", k=k, t0=t0, w=w))
    step = jax.jit(tx.update)
    gradients = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    params = vector(1.0, -1.0, 0.5)
    state, theta = tx.init(params), np.array([1.0, -1.0, 0.5])
    m = v = np.zeros(3)
    for t in range(1, 25):
        since = t if t <= 12 else t - 12
        if since == 1:
            anchor = theta.copy()
            state = continual.consolidate(state, params)
        share = w / (1 + np.exp(-k * (since - t0)))
        m, v = b1 * m + (1 - b1) * gradients[t - 1], b2 * v + (1 - b2) * gradients[t - 1] ** 2
        adam = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        theta = theta - rate * share * adam - rate * (w - share) * gamma * (theta - anchor)
        updates, state = step(vector(*gradients[t - 1]), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(numbers(params), theta, rtol=1e-5)


def test_l2_sp_keeps_old_parameters_at_their_start_and_new_ones_at_zero():
    params = {"old": jnp.array([1.0]), "head": {"w": jnp.array([2.0])}}
    now = {"old": jnp.array([1.5]), "head": {"w": jnp.array([3.0])}}
    zero = jax.tree.map(jnp.zeros_like, params)
    for new in ({"old": False, "head": {"w": True}}, lambda p: {"old": False, "head": {"w": True}}):
        tx = continual.l2_sp(2.0, placement="coupled", beta=0.1, new=new)
        state = tx.init(params)
        updates, state = tx.update(zero, state, now)
        np.testing.assert_allclose([updates["old"][0], updates["head"]["w"][0]], [2.0 * 0.5, 0.1 * 3.0], rtol=1e-6)
        np.testing.assert_allclose(continual.penalty(state, now), 0.5 * 2.0 * 0.25 + 0.5 * 0.1 * 9.0, rtol=1e-6)
        updates, _ = tx.update(zero, continual.consolidate(state, now), now)
        np.testing.assert_allclose([updates["old"][0], updates["head"]["w"][0]], [0.0, 0.3], rtol=1e-6)


def test_nothing_changes_by_a_bit_before_the_first_task_has_ended():
    rng = np.random.default_rng(0)
    params, steps = vector(*rng.normal(size=50)), vector(*rng.normal(size=50))
    for regularizer in (continual.ewc, continual.online_ewc, continual.mas):
        for placement in ("proximal", "coupled", "decoupled"):
            tx = regularizer(1e4, 0.1, placement)
            away = jax.tree.map(lambda p: p + 1.0, params)
            np.testing.assert_array_equal(numbers(tx.update(steps, tx.init(params), away)[0]), numbers(steps))


def test_learning_rates_as_schedule_and_array(standard):
    state = raw(continual.ewc(5.0, 0.1).init(ONE), vector(0.2), vector(2.0))._replace(cl_count=jnp.int32(3))
    expected = continual.ewc(5.0, 0.3).update(vector(-0.1), state, ONE)[0]
    for rate in (lambda count: 0.1 * count, optax.linear_schedule(0.0, 1.0, 10), jnp.float32(0.3)):
        found, after = continual.ewc(5.0, rate).update(vector(-0.1), state, ONE)
        np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-6)
        assert after.cl_count == 4


def test_settings_injected_as_state():
    tx = optax.inject_hyperparams(continual.ewc, static_args="placement")(lam=5.0, learning_rate=0.1)
    state = raw(tx.init(ONE), vector(0.2), vector(2.0))
    np.testing.assert_allclose(numbers(tx.update(vector(-0.1), state, ONE)[0]), -0.45, rtol=1e-6)
    state.hyperparams["lam"] = jnp.float32(0.0)
    np.testing.assert_array_equal(numbers(tx.update(vector(-0.1), state, ONE)[0]), numbers(vector(-0.1)))


def test_importance_is_normalised_over_the_whole_tree():
    params = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(2)}
    importance = {"a": jnp.full((2, 3), 4e-6), "b": jnp.array([0.0, 8e-6])}
    state = continual.online_ewc(1.0, 0.1).init(params)
    for times in (1.0, 1.5):  # the second with gamma 0.5
        state = continual.consolidate(state, params, importance, 0.5)
        np.testing.assert_allclose(state.cl_omega["a"], times, rtol=1e-6)
        np.testing.assert_allclose(state.cl_omega["b"], [0.0, 2.0 * times], rtol=1e-6)
    strength = lambdas.normalized(2e5, importance)
    np.testing.assert_allclose(strength, 2e5 * 4e-6, rtol=1e-6)
    one = raw(continual.ewc(2e5, placement="coupled").init(params), params, importance)
    other = continual.consolidate(continual.ewc(strength, placement="coupled").init(params), params, importance)
    np.testing.assert_allclose(2e5 * one.cl_omega["b"], strength * other.cl_omega["b"], rtol=1e-6)


PARTS = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(2), "c": jnp.zeros(3)}
UNEVEN = {"a": jnp.full((2, 3), 2.0), "b": jnp.full(2, 1e6), "c": jnp.array([1.0, 2.0, 3.0])}


@pytest.mark.parametrize("regularizer", [continual.ewc, continual.online_ewc, continual.mas])
def test_importance_is_normalised_over_what_a_transform_covers(regularizer):
    """Entries of 2 beside others of 1e6 that belong to another transform, or to none, pull with a weight of 1."""
    alone = optax.masked(regularizer(3.0, 0.1), {"a": True, "b": False, "c": False})
    state = continual.consolidate(alone.init(PARTS), PARTS, UNEVEN)
    np.testing.assert_allclose(state.inner_state.cl_omega["a"], 1.0, rtol=1e-6)
    groups = {"x": regularizer(3.0, 0.1), "y": regularizer(1.0, 0.1), "none": regularizer(1.0, 0.1)}
    both = optax.partition(groups, {"a": "x", "b": "y", "c": "x"}).init(PARTS)
    found = jax.jit(continual.consolidate)(both, PARTS, UNEVEN)
    for part in (continual.consolidate(both, PARTS, UNEVEN), found):
        x, y = (part.inner_states[name].inner_state.cl_omega for name in ("x", "y"))
        np.testing.assert_allclose([*x["a"].ravel(), *x["c"], *y["b"]], [*[1] * 6, 0.5, 1, 1.5, 1, 1], rtol=1e-6)


def test_importance_matters_only_where_a_transform_covers_it():
    tx = optax.masked(continual.ewc(3.0, 0.1), {"a": True, "b": False, "c": True})
    zero = UNEVEN | {"a": jnp.zeros((2, 3)), "c": jnp.zeros(3)}
    with pytest.raises(ValueError, match=r"of the 2 leaves that a transform covers \(\['a'\], \['c'\]\) is zero"):
        continual.consolidate(tx.init(PARTS), PARTS, zero)
    elsewhere = UNEVEN | {"b": jnp.full(2, jnp.nan)}
    state = continual.consolidate(tx.init(PARTS), PARTS | {"b": jnp.full(2, jnp.nan)}, elsewhere)
    assert np.isfinite(continual.penalty(state, PARTS))
    nothing = optax.masked(continual.ewc(3.0, 0.1), jax.tree.map(lambda _: False, PARTS))
    with pytest.raises(ValueError, match="covers a parameter"):
        continual.consolidate(nothing.init(PARTS), PARTS, UNEVEN)


def test_gradients_gathered_inside_of_si_are_refused(standard):
    """Its step and its gradient are then of different batches; outside of it they are of the same."""
    inner = optax.MultiSteps(optax.sgd(0.1), 2)
    with pytest.raises(ValueError, match=r"optax\.MultiSteps\(si\(\.\.\.\), n\)"):
        continual.si(optax.chain(inner.gradient_transformation()), 1.0).init(ONE)
    tx = optax.MultiSteps(continual.si(optax.sgd(0.1), 1.0), 2)
    state = tx.init(ONE)
    for gradient in (1.0, 3.0):
        _, state = tx.update(vector(gradient), state, ONE)
    np.testing.assert_allclose(numbers(state.inner_opt_state.cl_path), 2.0 * 0.1 * 2.0, rtol=1e-6)


def test_a_task_ends_once():
    """A second consolidation of the same end doubles the penalty of EWC; SI has no path left to make one from."""
    state = continual.consolidate(continual.ewc(1.0, 0.1).init(PAIR), PAIR, PAIR)
    away = jax.tree.map(lambda x: x + 1.0, PAIR)
    np.testing.assert_allclose(
        continual.penalty(continual.consolidate(state, PAIR, PAIR), away), 2.0 * continual.penalty(state, away)
    )
    tx = continual.si(optax.sgd(0.1), 1.0)
    state = continual.consolidate(tx.update(ONE, tx.init(ONE), ONE)[1], vector(0.9))
    with pytest.raises(ValueError, match="no update since the last task"):
        continual.consolidate(state, vector(0.9))


def test_lambdas_of_others_give_their_gradients():
    """avalanche's penalty is lambda F d^2 and mammoth's gradient 2 e_lambda F d; the paper and TRACE have the half."""
    for lam, gradient in (
        (lambdas.from_avalanche(4.0), jax.grad(lambda d: 4.0 * 3.0 * d**2)(0.5)),
        (lambdas.from_mammoth(4.0), 2 * 4.0 * 3.0 * 0.5),
        (lambdas.from_trace(400.0), jax.grad(lambda d: 0.5 * 400.0 * 3.0 * d**2)(0.5)),
    ):
        tx = continual.ewc(lam, placement="coupled")
        state = raw(tx.init(ONE), vector(0.5), vector(3.0))
        np.testing.assert_allclose(numbers(tx.update(vector(0.0), state, ONE)[0]), gradient, rtol=1e-6)


SETTINGS = (
    (lambda: continual.ewc(-1.0, 0.1), "lam=-1.0 must be one finite number at least 0"),
    (lambda: continual.online_ewc(float("nan"), 0.1), "lam=nan must be"),
    (lambda: continual.mas(jnp.float32(-2.0), 0.1), "lam=-2.0 must be"),
    (lambda: continual.l2_sp(jnp.ones(3), 0.1), "use jax.vmap"),
    (lambda: continual.l2_sp(1.0, 0.1, beta=-1.0), "beta=-1.0"),
    (lambda: continual.rec_adam(float("inf"), 0.1), "gamma=inf"),
    (lambda: continual.si(optax.sgd(0.1), -1.0), "c=-1.0"),
    (lambda: continual.si(optax.sgd(0.1), 1.0, xi=0.0), "xi=0.0 must be one finite number above 0"),
    (lambda: continual.ewc(1.0, -0.1), "learning_rate=-0.1"),
    (lambda: continual.ewc(None, 0.1), "lam=None must be one finite number"),
    (lambda: continual.ewc("1", 0.1), "lam='1' must be one finite number"),
    (lambda: continual.ewc(1.0, "1"), "learning_rate='1' must be one finite number"),
    (lambda: continual.mas(2j, 0.1), "lam=2j must be one finite number"),
    (lambda: lambdas.from_avalanche(-1.0), "ewc_lambda=-1.0 must be one finite number"),
    (lambda: lambdas.from_mammoth(float("nan")), "e_lambda=nan must be one finite number"),
    (lambda: lambdas.from_trace(None), "reg=None must be one finite number"),
    (lambda: lambdas.normalized(-2.0, PAIR), "lam=-2.0 must be one finite number"),
    (lambda: continual.ewc(1.0), "placement='proximal' needs learning_rate"),
    (lambda: continual.mas(1.0, placement="decoupled"), "placement='decoupled' needs learning_rate"),
    (lambda: continual.ewc(1.0, 0.1, "after"), "placement='after' is not one of 'proximal', 'coupled', 'decoupled'"),
)


@pytest.mark.parametrize(("make", "message"), SETTINGS, ids=[message[:20] for _, message in SETTINGS])
def test_settings_that_cannot_be_meant(make, message):
    with pytest.raises(ValueError, match=message):
        make()


PAIR = {"a": jnp.ones(2), "b": jnp.ones(3)}
TASK_ENDS = (
    ({"params": {"a": jnp.ones(2)}}, "the parameters are not a tree like the anchored parameters"),
    ({"params": {"a": jnp.ones(2), "b": jnp.ones(4)}}, r"the parameters at \['b'\] are \(4,\), the anchored .* \(3,\)"),
    ({"importance": {"a": jnp.ones(2), "c": jnp.ones(3)}}, "the importances are not a tree like"),
    ({"importance": None}, "needs the importance"),
    ({"importance": jax.tree.map(jnp.zeros_like, PAIR)}, "zero everywhere"),
    ({"importance": PAIR | {"b": jnp.array([1.0, -2.0, 1.0])}}, "negative entry -2"),
    ({"importance": PAIR | {"b": jnp.array([1.0, jnp.nan, 1.0])}}, "NaN or infinity"),
    ({"importance": PAIR | {"b": jnp.array([1.0, jnp.inf, 1.0])}}, "NaN or infinity"),
    ({"importance": {}}, "empty tree"),
    ({"gamma": 0.0}, r"gamma=0.0 must be in \(0, 1\]"),
    ({"gamma": 1.5}, "gamma=1.5"),
    ({"gamma": float("nan")}, "gamma=nan"),
    ({"gamma": None}, "gamma=None"),
    ({"gamma": jnp.ones(2)}, "gamma="),
    ({"params": PAIR | {"b": jnp.array([1.0, jnp.nan, 1.0])}}, "the parameters hold NaN or infinity"),
    ({"params": PAIR | {"a": jnp.array([1.0, -jnp.inf])}}, "the parameters hold NaN or infinity"),
    ({"opt_state": optax.adam(0.1).init(PAIR)}, "holds no anchor"),
    ({"opt_state": continual.l2_sp(1.0, 0.1).init(PAIR)}, "nothing in the optimizer state takes an importance"),
    ({"opt_state": continual.si(optax.sgd(0.1), 1.0).init(PAIR), "importance": None}, "no update since the last task"),
)


@pytest.mark.parametrize(("change", "message"), TASK_ENDS, ids=[message[:25] for _, message in TASK_ENDS])
def test_task_ends_that_cannot_be_meant(change, message):
    given = {"opt_state": continual.ewc(1.0, 0.1).init(PAIR), "params": PAIR, "importance": PAIR} | change
    with pytest.raises(ValueError, match=message):
        continual.consolidate(**given)


def test_other_misuse_says_what_is_wrong():
    tx = continual.ewc(1.0, 0.1)
    with pytest.raises(ValueError, match=r"tx.update\(gradients, opt_state, params\)"):
        tx.update(ONE, tx.init(ONE))
    with pytest.raises(ValueError, match="holds no anchor"):
        continual.penalty(optax.sgd(0.1).init(ONE), ONE)
    with pytest.raises(ValueError, match=r"is not one that tx\.init"):
        continual.reset_moments(tx, optax.adam(0.1).init(ONE), ONE)
