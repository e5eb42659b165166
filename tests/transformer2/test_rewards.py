"""What multiplies a log-likelihood: baselines, normalisation and clipping against written-out numbers."""

import numpy as np
import pytest

from seal_jax.transformer2.rewards import advantages, verdict_reward

REWARDS = [[1.0, -1.0, -1.0], [1.0, None], [None, None]]


def test_verdicts():
    assert [verdict_reward(v) for v in (True, False, None)] == [1.0, -1.0, None]
    assert verdict_reward(False, wrong=-0.1) == -0.1


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("none", [[1, -1, -1], [1, None], [None, None]]),
        ("mean", [[1, -1, -1], [1, None], [None, None]]),  # of 1 -1 -1 1: it is 0
        ("group", [[4 / 3, -2 / 3, -2 / 3], [0, None], [None, None]]),
        ("leave_one_out", [[2, -1, -1], [0, None], [None, None]]),  # 1 - -1, -1 - 0, -1 - 0; no other, nothing known
    ],
)
def test_baselines(baseline, expected):
    for found, wanted in zip(advantages(REWARDS, baseline), expected, strict=True):
        assert [x is None for x in found] == [x is None for x in wanted]
        np.testing.assert_allclose(
            [x for x in found if x is not None], [x for x in wanted if x is not None], atol=1e-12
        )


def test_mean_of_a_batch_that_is_not_balanced():
    found = advantages([[1.0], [1.0], [1.0], [-1.0]], "mean")
    np.testing.assert_allclose(np.ravel(found), [0.5, 0.5, 0.5, -1.5])


def test_normalised_then_clipped():
    rewards = np.array([1.0, 1.0, 1.0, -1.0])
    scaled = (rewards - 0.5) / np.sqrt(0.75)
    np.testing.assert_allclose(np.ravel(advantages(rewards[:, None].tolist(), normalize=True)), scaled)
    clipped = np.ravel(advantages(rewards[:, None].tolist(), normalize=True, clip=1.0))
    np.testing.assert_allclose(clipped, [scaled[0]] * 3 + [-1.0])


@pytest.mark.parametrize("value", [-1.0, -0.1, 0.3])
def test_equal_rewards_are_exactly_nothing_under_a_baseline(value):
    """Also where the mean of equal numbers is not that number: -0.1 summed 7 times over 7."""
    rewards = [[value] * 7, [value] * 4]
    for baseline in ("mean", "group", "leave_one_out"):
        assert {a for each in advantages(rewards, baseline) for a in each} == {0.0}
    assert {a for each in advantages(rewards, normalize=True) for a in each} == {0.0}
    assert {a for each in advantages(rewards) for a in each} == {value}


def test_nothing_graded_and_unknown_names():
    assert advantages([[None], [None, None]], "mean", normalize=True, clip=1.0) == [[None], [None, None]]
    assert advantages([], "mean", normalize=True) == []
    with pytest.raises(ValueError, match="baseline='median' is not one of 'none', 'mean', 'group', 'leave_one_out'"):
        advantages(REWARDS, "median")
