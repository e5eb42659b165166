"""Which form of an SVF weight costs least, by counting multiplications."""

from __future__ import annotations

FORMS = ("auto", "factored", "residual", "materialized")


def cheapest_form(kernel: tuple[int, int], rank: int, tokens: int | None = None, *, trained: bool = False) -> str:
    """ "factored", "residual" or "materialized", for `tokens` tokens that share one z (None: unknown, few).

    kernel: its `(in, out)`; rank: of its factors, k <= min(in, out). "residual" stands for "factored" where k is less:
    the factors alone would leave out what was cut off. trained: a gradient for z is taken as well.
    """
    split = "factored" if rank == min(kernel) else "residual"
    if tokens is None:
        return split
    least = break_even(kernel, rank, trained=trained)
    return "materialized" if least is not None and tokens >= least else split


def break_even(kernel: tuple[int, int], rank: int, *, trained: bool = False) -> float | None:
    """Tokens of one z from which the array is no dearer than its factors; None: it always is.

    Multiplications for T tokens, m = in, n = out, k = rank. Forward: composing costs k m n and applying T m n, against
    T k (m + n) factored (and T m n more of truncated factors): T = max(m, n) for all k = min(m, n) values. Trained: the
    array costs 3 T m n + 2 k m n (its gradient is a matrix, projected on the factors), the factors 2 T k (m + n), so
    T = 2 n where m = n, and no T where one side is twice the other or more.
    """
    fan_in, fan_out = kernel
    both, dense = rank * (fan_in + fan_out), fan_in * fan_out
    split = both if rank == min(kernel) else both + dense
    saved = 2 * split - 3 * dense if trained else split - dense
    return (2 if trained else 1) * rank * dense / saved if saved > 0 else None
