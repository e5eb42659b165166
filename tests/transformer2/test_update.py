"""The update against hand-computed numbers, NumPy, the closed-form gradient, and `training.finetune`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, models, training
from seal_jax.data import packing
from seal_jax.transformer2.rows import Row, parts
from seal_jax.transformer2.update import Attach, Program, _zeros, add_gradients, begin, layered, objective, update

CONFIG = models.Config("llama", 61, 32, 48, 2, 4, 2, 8, 64)
HYPER = training.Hyper(0.1, 10, clip=0.0)


@pytest.fixture(scope="module")
def stacked():
    return jax.tree.map(lambda x: x if np.all(x == 1) else 6 * x, models.init(jax.random.key(0), CONFIG))


@pytest.fixture(scope="module")
def params(stacked):
    return models.unroll(stacked)


@pytest.fixture(scope="module")
def factors(stacked):
    return adapters.svf.factor(stacked, ("mlp",))


@pytest.fixture(scope="module")
def expert(factors):
    return adapters.svf.init(jax.random.key(1), factors, mean=0.0, std=1.0)


@pytest.fixture(scope="module")
def rows():
    """Of several lengths, one completion empty; weights and divergences of their own."""
    rng = np.random.default_rng(3)
    sizes = [(3, 4), (7, 1), (5, 0), (2, 7), (6, 6)]
    ids = [(rng.integers(1, 61, p).tolist(), rng.integers(1, 61, c).tolist()) for p, c in sizes]
    return [Row(*pair, float(w), float(d)) for pair, w, d in zip(ids, rng.normal(size=5), rng.uniform(0.1, 1, 5))]


def log_softmax(x):
    x = np.float64(x)
    return x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)


@pytest.fixture(scope="module")
def by_row(params, stacked, factors, expert, rows):
    """For each row the log-distributions `[C, V]` of policy and reference, from one unpadded row at a time."""
    dense = adapters.materialize(adapters.attach(stacked, expert, factors))
    found = []
    for row in rows:
        whole = np.zeros((1, 16), np.int32)  # one shape; what comes after a token does not change its prediction
        whole[0, : len(row.prompt) + len(row.completion)] = [*row.prompt, *row.completion]
        before = slice(len(row.prompt) - 1, len(row.prompt) + len(row.completion) - 1)
        found.append([log_softmax(models.forward(p, CONFIG, whole)[0, before]) for p in (dense, stacked)])
    return found


def divergence(new, old, tokens, direction, estimate):
    """Per token, in NumPy."""
    p, q = np.exp(new), np.exp(old)
    if estimate == "exact":
        return (q * (old - new)).sum(-1) if direction == "forward" else (p * (new - old)).sum(-1)
    ratio = np.array([q[t, token] / p[t, token] for t, token in enumerate(tokens)])
    return ratio - 1 - np.log(ratio) if direction == "reverse" else ratio * np.log(ratio) - ratio + 1


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize(("estimate", "chunk"), [("exact", None), ("sampled", 3)])
def test_loss_against_numpy(params, factors, expert, rows, by_row, direction, estimate, chunk):
    program = Program(CONFIG, direction=direction, estimate=estimate, chunk=chunk)
    _, metrics = update(params, begin(expert, program), rows, HYPER, program, factors=factors)
    loss, total, kl = 0.0, 0.0, 0.0
    for row, (new, old) in zip(rows, by_row):
        chosen = sum(new[t, token] for t, token in enumerate(row.completion))
        far = divergence(new, old, row.completion, direction, estimate).sum()
        loss += row.divergence * far - row.weight * chosen
        total, kl = total + chosen, kl + far
    targets = sum(len(row.completion) for row in rows)
    assert metrics["targets"] == targets
    assert metrics["loss"] == pytest.approx(loss, rel=1e-4)
    assert metrics["log_likelihood"] == pytest.approx(total / targets, rel=1e-4)
    assert metrics["divergence"] == pytest.approx(kl / targets, rel=1e-4)


def test_two_tokens_by_hand():
    """Vocabulary 2, one token repeated, `lm_head` = diag(2, 1), z = (0.8, 0.4); reward -1, KL coefficient 1/2.

    c = 3 / (2 * 0.8 + 0.4) = 1.5, so logits are (2.4, 0.6) and the base's (2, 1) after either token:
    p = sigmoid(1.8) = 0.858149, q = sigmoid(1) = 0.731059. Completion 0 1: log p + log(1 - p) = -2.105955.
    KL(q || p) = 0.054869 a token. Loss = -(-1)(-2.105955) + 0.5 * 2 * 0.054869 = -2.051086.
    With m = logit 0 - logit 1: dm/dz = (1.2, -2.4), dz/draw = (0.16, 0.24), dloss/dm = (1 - 2 p) + (p - q) = -0.589208,
    so the gradient is (-0.113128, 0.339384) of norm 0.357742.
    """
    config = models.Config("llama", 2, 2, 2, 1, 1, 1, 2, 16, norm_eps=0.0)
    params = models.init(jax.random.key(0), config)
    layers = jax.tree.map(jnp.zeros_like, params["layers"])
    params = {**params, "layers": layers, "embed_tokens": {"embedding": jnp.ones((2, 2))}}
    params["lm_head"] = {"kernel": jnp.diag(jnp.array([2.0, 1.0]))}
    factors = {"lm_head/kernel": {"u": jnp.eye(2), "s": jnp.array([2.0, 1.0]), "vt": jnp.eye(2)}}
    z = np.array([0.8, 0.4], np.float32)
    expert = {"lm_head/kernel": {"raw": jnp.log(z / (1 - z))}}
    program = Program(config, direction="forward")
    rows = [Row([0], [0, 1], -1.0, 0.5)]
    _, metrics = update(models.unroll(params), begin(expert, program), rows, HYPER, program, factors=factors)
    assert metrics["log_likelihood"] == pytest.approx(-2.105955 / 2, abs=1e-6)
    assert metrics["divergence"] == pytest.approx(0.054869, abs=1e-6)
    assert metrics["loss"] == pytest.approx(-2.051086, abs=1e-6)
    assert metrics["grad_norm"] == pytest.approx(0.357742, abs=1e-6)
    [part] = parts(rows, 1)
    zeros = _zeros(expert, program=program)
    gradient = add_gradients(models.unroll(params), factors, expert, part, zeros, program=program).gradients
    np.testing.assert_allclose(gradient["lm_head/kernel"]["raw"], [-0.113128, 0.339384], atol=1e-6)


@pytest.fixture(scope="module")
def whole(params, factors, expert, rows):
    """Gradients of all rows in one micro-batch, forward KL."""
    return gradients(params, factors, expert, rows, Program(CONFIG, direction="forward"), 8)


def gradients(params, factors, adapter, rows, program, at_once):
    sums = _zeros(adapter, program=program)
    for part in parts(rows, at_once):
        sums = add_gradients(params, factors, adapter, part, sums, program=program)
    return sums.gradients


def test_gradient_is_the_closed_form_of_the_dense_one(params, stacked, factors, expert, rows, whole):
    """The reference's way: dense gradients of the composed weights, then the chain rule to p (spec, section 1)."""
    dense = adapters.materialize(adapters.attach(stacked, expert, factors))
    kernels = {path: dense["layers"]["mlp"][path.split("/")[2]]["kernel"] for path in expert}
    program = Program(CONFIG, direction="forward")
    [part] = parts(rows, 8)

    @jax.jit
    @jax.grad
    def dense_gradient(kernels):
        replaced = {path: {"value": value} for path, value in kernels.items()}
        return objective(adapters.attach(stacked, replaced), stacked, part, program)[0]

    for path, g in dense_gradient(kernels).items():
        u, s, vt = (np.float64(factors[path][name]) for name in ("u", "s", "vt"))
        z = 1 / (1 + np.exp(-np.float64(expert[path]["raw"])))
        a = np.einsum("lik,lio,lko->lk", u, np.float64(g), vt)
        c = s.sum(-1, keepdims=True) / (s * z).sum(-1, keepdims=True)
        grad_z = c * s * (a - (s * z * a).sum(-1, keepdims=True) / (s * z).sum(-1, keepdims=True))
        expected = grad_z * z * (1 - z)
        np.testing.assert_allclose(whole[path]["raw"], expected, atol=1e-4 * np.abs(expected).max())


def test_micro_batches_remat_chunks_and_layered_factors_change_nothing(params, factors, expert, rows, whole):
    program = Program(CONFIG, direction="forward", remat=True, chunk=3)
    found = gradients(params, layered(factors, CONFIG), expert, rows, program, 2)
    for path, entry in whole.items():
        np.testing.assert_allclose(found[path]["raw"], entry["raw"], atol=1e-4 * np.abs(entry["raw"]).max())


def test_stacked_parameters_are_scanned_to_the_same(stacked, factors, expert, rows, whole):
    found = gradients(stacked, factors, expert, rows, Program(CONFIG, direction="forward"), 8)
    for path, entry in whole.items():
        np.testing.assert_allclose(found[path]["raw"], entry["raw"], atol=1e-4 * np.abs(entry["raw"]).max())


@pytest.mark.parametrize("kind", ["svf", "lora"])
def test_next_token_training_is_that_of_finetune(stacked, params, factors, rows, kind):
    """Rows that all weigh 1 / targets, three steps: the adapter that `training.finetune` makes of the same batches."""
    adapter = adapters.svf.init(jax.random.key(2), factors)
    if kind == "lora":
        adapter, factors = adapters.lora.init(jax.random.key(2), stacked, rank=2, alpha=4), None
    pairs = [(r.prompt, r.completion[:-1]) for r in rows if r.completion]
    weight = 1 / sum(len(r.completion) for r in rows)
    same = [Row(p, [*c, 9], weight) for p, c in pairs]
    program, hyper = Program(CONFIG), training.Hyper(0.03, 3, weight_decay=0.1, clip=0.5)
    state, losses = begin(adapter, program), []
    for _ in range(3):
        state, metrics = update(params, state, same, hyper, program, factors=factors, micro_batch=3)
        losses.append(metrics["loss"])
    batch = packing.completion_batches(pairs, eos_id=9, max_length=64, epochs=3, batch_size=4)
    trained, theirs = training.finetune(stacked, CONFIG, adapter, batch, hyper, factors=factors)
    np.testing.assert_allclose(losses, theirs["loss"], atol=1e-5)
    for path, entry in training.trainable(trained).items():
        for name, x in entry.items():
            np.testing.assert_allclose(state.adapter[path][name], x, atol=1e-4)
    assert losses[2] < losses[0] - 0.01
    if kind == "lora":
        assert all(np.array_equal(state.adapter[path]["scale"], adapter[path]["scale"]) for path in adapter)


def test_one_program_per_shape(params, factors, expert, rows):
    """Other rows of the same lengths and other numbers are the same programs; so are fewer rows in a full bucket."""
    program = Program(CONFIG, direction="forward", schedule=training.cosine_schedule)
    state, _ = update(params, begin(expert, program), rows[:4], HYPER, program, factors=factors, micro_batch=4)
    before = add_gradients._cache_size()
    for turn, rate in enumerate((0.1, 0.2)):
        other = [Row(r.prompt[::-1], r.completion, r.weight + turn) for r in rows[1:]]
        hyper = training.Hyper(rate, 7 + turn, clip=1e-3)
        state, _ = update(params, state, other, hyper, program, factors=factors, micro_batch=4)
    assert add_gradients._cache_size() == before


def test_no_rows_change_nothing(params, factors, expert):
    program = Program(CONFIG)
    state, metrics = update(params, begin(expert, program), [], HYPER, program, factors=factors)
    assert metrics == {"loss": 0.0, "grad_norm": 0.0, "targets": 0.0}
    assert all(np.array_equal(state.adapter[path]["raw"], expert[path]["raw"]) for path in expert)


class TestMemory:
    """What the compiled programs hold beside their arguments, at a size where weights are what counts. Shapes only."""

    config = models.Config("llama", 16, 2048, 8192, 2, 16, 16, 128, 64)

    @pytest.fixture(scope="class")
    def found(self):
        config = self.config
        stacked = jax.eval_shape(lambda: models.init(jax.random.key(0), config))
        params, factors = jax.eval_shape(models.unroll, stacked), jax.eval_shape(_factors, stacked)
        expert = jax.eval_shape(lambda f: adapters.svf.init(jax.random.key(1), f), factors)
        cut = jax.eval_shape(lambda f: layered(f, config), factors)
        [part] = parts([Row([1, 2, 3], [4, 5], 1.0, 1.0)], 1)

        def update_of(adapter, factors, attach_fn):
            program = Program(config, attach_fn, direction="forward")
            zeros = jax.eval_shape(lambda a: _zeros(a, program=program), adapter)
            lowered = add_gradients.lower(params, factors, adapter, part, zeros, program=program)
            return lowered.compile().memory_analysis()

        def forward(params, factors, adapter):
            program = Program(config, direction="forward")
            return objective(program.attach_fn(params, adapter, factors), params, part, program)[0]

        return {
            "weights": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(params)),
            "forward": jax.jit(forward).lower(params, cut, expert).compile().memory_analysis(),
            "svf": update_of(expert, cut, Attach()),
            "full": update_of(stacked, None, training.full_parameters),
        }

    def test_no_dense_gradient_is_kept(self, found):
        more = found["svf"].temp_size_in_bytes - found["forward"].temp_size_in_bytes
        assert more < 0.05 * found["weights"]
        assert found["svf"].output_size_in_bytes < 0.001 * found["weights"]

    def test_all_weights_would_show(self, found):
        """The same measure sees the gradients of full fine-tuning, in temporaries and in what is handed on."""
        full = found["full"].temp_size_in_bytes + found["full"].output_size_in_bytes
        assert full - found["forward"].temp_size_in_bytes > 0.9 * found["weights"]


def _factors(params):
    """The shapes of `svf.factor`, which works on arrays."""
    found = {}
    for path, kernel in adapters.select(params, ("mlp",)).items():
        layers, fan_in, fan_out = kernel.shape
        k = min(fan_in, fan_out)
        shapes = {"u": (layers, fan_in, k), "s": (layers, k), "vt": (layers, k, fan_out)}
        found[path] = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    return found
