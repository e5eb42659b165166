"""The largest number that fits: exact, and in few tries."""

import pytest

from seal_jax.plan.search import largest

AVAILABLE = 15.75


def compiler(needed, calls):
    """Tries against a known need of memory in GiB; a refusal tells an estimate that is off, as the real one is."""

    def attempt(n):
        calls.append(n)
        fits = needed(n) <= AVAILABLE
        return {"edits": n, "fits": fits, "needed_gib": needed(n) * (1 if fits else 1.4), "available_gib": AVAILABLE}

    return attempt


@pytest.mark.parametrize("unit", [1, 2, 8])
@pytest.mark.parametrize(
    "needed",
    [
        lambda n: 4.2 + 0.061 * n,
        lambda n: 4.2 + 0.061 * n if n < 100 else 9.0 + 0.04 * n,  # the compiler changes its mind
        lambda n: 0.1 + 0.0009 * n * n,
        lambda n: 15.7 + 0.001 * n,
    ],
)
def test_exact_and_few(needed, unit):
    calls = []
    tries = largest(compiler(needed, calls), unit)
    best = max(t["edits"] for t in tries if t["fits"])
    assert [t["edits"] for t in tries] == calls
    assert best % unit == 0
    assert needed(best) <= AVAILABLE < needed(best + unit)
    assert len(calls) == len(set(calls)) <= 18


def test_a_straight_line_takes_few_tries():
    calls = []
    largest(compiler(lambda n: 4.2 + 0.061 * n, calls), 2)
    assert calls[:3] == [16, 128, 1024]
    assert calls[3:] == [188, 190]  # the answer, and the proof


def test_nothing_fits():
    assert [(t["edits"], t["fits"]) for t in largest(compiler(lambda n: 20.0, []), 4)] == [(32, False), (4, False)]


def test_the_limit_ends_the_growth():
    assert [t["edits"] for t in largest(compiler(lambda n: 1.0, []), 2, limit=200)] == [16, 128]
