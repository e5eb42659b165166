"""Candidates ranked by likelihood, and cloze probes, against one forward pass each."""

import jax
import numpy as np
import pytest

from seal_jax import models
from seal_jax.continual import metrics, ranking
from seal_jax.seal.demo import CHECKPOINT


@pytest.fixture(scope="module")
def model():
    found = models.from_pretrained(CHECKPOINT)
    return found._replace(params=models.unroll(found.params))


def one_by_one(model, prompt, candidate):
    """The log-likelihood of each token of a candidate."""
    before = model.tokenizer.encode(prompt)
    after = model.tokenizer.encode(candidate, add_special_tokens=False)
    tokens = np.array([[*before, *after]], np.int32)
    logits = jax.jit(models.forward, static_argnums=1)(model.params, model.config, tokens)
    log_probs = np.asarray(jax.nn.log_softmax(logits[0]))
    return [log_probs[len(before) + i - 1, token] for i, token in enumerate(after)]


PROMPTS = ["Mara was born in", "The capital"]
CANDIDATES = [[" Paris", " a small town", " 1984"], [" is", " of the"]]


def test_likelihoods_are_those_of_a_forward_pass(model):
    found = ranking.log_likelihoods(model.params, model.config, model.tokenizer, PROMPTS, CANDIDATES, rows=2)
    wanted = [[sum(one_by_one(model, p, c)) for c in of] for p, of in zip(PROMPTS, CANDIDATES)]
    for row, right in zip(found, wanted):
        np.testing.assert_allclose(row, right, atol=1e-4)
    means = ranking.log_likelihoods(
        model.params, model.config, model.tokenizer, PROMPTS, CANDIDATES, normalize="mean", rows=2
    )
    np.testing.assert_allclose(means[0][1], np.mean(one_by_one(model, PROMPTS[0], CANDIDATES[0][1])), atol=1e-4)
    best = ranking.ranked_answers(model.params, model.config, model.tokenizer, PROMPTS, CANDIDATES, rows=2)
    assert best == [int(np.argmax(row)) for row in wanted]
    ids = [model.tokenizer.encode(p) for p in PROMPTS]
    again = ranking.log_likelihoods(model.params, model.config, model.tokenizer, ids, CANDIDATES, rows=2)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(found))

    probes = [metrics.Probe(p, of, 0) for p, of in zip(PROMPTS, CANDIDATES)]
    scores = metrics.cloze_scores(model.params, model.config, model.tokenizer, probes, k=2, rows=2)
    ranks = [1 + sum(row[0] < other for other in row[1:]) for row in wanted]
    assert scores.ranks == ranks
    assert scores.precision_at_1 == np.mean([r == 1 for r in ranks])
    assert scores.precision_at_k == np.mean([r <= 2 for r in ranks])
    assert scores.mean_reciprocal_rank == pytest.approx(np.mean([1 / r for r in ranks]))
    assert scores.mean_log_likelihood == pytest.approx(np.mean([row[0] for row in wanted]), abs=1e-4)


def test_probes_of_sentences():
    found = metrics.probe_of("The capital of A is [MASK].", ["B", "C"], "C")
    assert found == metrics.Probe("The capital of A is", [" B", " C"], 1)
    with pytest.raises(ValueError, match="does not end in its blank"):
        metrics.probe_of("[MASK] is the capital of A.", ["B"], "B")
    with pytest.raises(ValueError, match="the answer 'D' is none of the 2 candidates"):
        metrics.probe_of("A is [MASK]", ["B", "C"], "D")


@pytest.mark.parametrize(
    ("prompts", "candidates", "message"),
    [
        (["a"], [[" b"], [" c"]], "2 sets of candidates for 1 prompts"),
        (["a"], [[]], "prompt 0 has no candidates"),
        (["a"], [[""]], "prompt 0: the candidate '' has no tokens"),
    ],
)
def test_bad_candidates(model, prompts, candidates, message):
    with pytest.raises(ValueError, match=message):
        ranking.log_likelihoods(model.params, model.config, model.tokenizer, prompts, candidates)
    with pytest.raises(ValueError, match="no probes"):
        metrics.cloze_scores(model.params, model.config, model.tokenizer, [])
    with pytest.raises(ValueError, match="probe 0: answer 2 of 1 candidates"):
        metrics.cloze_scores(model.params, model.config, model.tokenizer, [metrics.Probe("a", [" b"], 2)])
