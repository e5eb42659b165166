"""The table of selection noise, against loops, and at its two ends."""

import numpy as np
import pytest

from seal_jax.seal.noise import chosen_again, ratio_of_means


def slow_gains(values, kind, count, seeds):
    """Per person: in-sample gain, and the gain of the same choices on fresh seeds in either reward."""
    gains = []
    for person in range(len(values[kind])):
        of_person = []
        for start in range(0, seeds - count + 1, count):
            scores = [float(np.mean(edit[start : start + count])) for edit in values[kind][person]]
            best = max(range(len(scores)), key=lambda e: (scores[e], -e))
            fresh = {k: [float(np.mean(edit[seeds:])) for edit in v[person]] for k, v in values.items()}
            lead = {k: of[best] - sum(of) / len(of) for k, of in fresh.items()}
            of_person.append((scores[best] - sum(scores) / len(scores), lead["accuracy"], lead["loglik"]))
        gains.append(np.mean(of_person, axis=0))
    return np.array(gains)


@pytest.mark.parametrize("kind", ["accuracy", "loglik"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_row_is_what_loops_give(kind, count):
    rng = np.random.default_rng(0)
    values = {"accuracy": rng.integers(0, 4, (7, 3, 8)) / 3, "loglik": rng.normal(size=(7, 3, 8))}
    found, gains = chosen_again(values, kind, count, held_out=4), slow_gains(values, kind, count, seeds=4)
    own = {"accuracy": 1, "loglik": 2}[kind]
    assert found["in_sample_gain"] == pytest.approx(gains[:, 0].mean())
    assert found["fresh_gain"] == pytest.approx(gains[:, own].mean())
    assert found["fresh_accuracy_gain"] == pytest.approx(gains[:, 1].mean())
    assert found["stderr"] == pytest.approx(gains[:, 1].std(ddof=1) / 7**0.5)
    assert found["kept"] == pytest.approx(gains[:, own].mean() / gains[:, 0].mean())


def test_without_noise_everything_is_kept_and_with_nothing_else_nothing():
    rng = np.random.default_rng(1)
    quality = np.repeat(rng.normal(size=(200, 5, 1)), 12, axis=2)
    luck = rng.normal(size=(200, 5, 12))
    sure = chosen_again({"accuracy": quality, "loglik": quality}, "accuracy", 3, held_out=6)
    assert sure["kept"] == pytest.approx(1)
    lucky = chosen_again({"accuracy": luck, "loglik": luck}, "loglik", 3, held_out=6)
    assert abs(lucky["kept"]) < 3 * lucky["kept_stderr"]
    assert lucky["in_sample_gain"] > 0.3


def test_the_error_of_a_ratio_is_that_of_resampling():
    rng = np.random.default_rng(2)
    below = rng.normal(2.0, 0.5, 400)
    above = 0.5 * below + rng.normal(0, 0.3, 400)
    value, error = ratio_of_means(above, below)
    drawn = [rng.integers(0, 400, 400) for _ in range(2000)]
    resampled = np.std([above[i].mean() / below[i].mean() for i in drawn])
    assert value == pytest.approx(0.5, abs=0.03)
    assert error == pytest.approx(resampled, rel=0.1)


def test_more_fine_tunes_than_there_are_cannot_choose():
    with pytest.raises(ValueError, match="3 fine-tunes to choose by: there are 2 besides"):
        chosen_again({"accuracy": np.zeros((2, 2, 4))}, "accuracy", 3, held_out=2)
