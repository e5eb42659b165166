"""How far a policy is from its reference, per predicted token.

"forward" is KL(reference || policy), as the released code has it; "reverse" is KL(policy || reference), as the paper
writes it. Both are of the next-token distributions after prefixes that are given: that a changed policy also meets
other prefixes is not in their gradients.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

DIRECTIONS = ("forward", "reverse")
ESTIMATES = ("exact", "sampled")


def exact(log_policy: jax.Array, log_reference: jax.Array, direction: str = "forward") -> jax.Array:
    """The divergence in nats, summed over the vocabulary: float32 `[...]` from two log-distributions `[..., V]`."""
    first, second = (log_reference, log_policy) if direction == "forward" else (log_policy, log_reference)
    # A token of probability 0 counts 0, also where the other side makes its logarithm infinite.
    return jnp.where(first > -jnp.inf, jnp.exp(first) * (first - second), 0.0).sum(-1)


def sampled(log_policy: jax.Array, log_reference: jax.Array, direction: str = "forward") -> jax.Array:
    """An estimate of the divergence from log-probabilities `[...]` of tokens that the policy drew: float32 `[...]`.

    For tokens drawn from the policy at temperature 1 its mean is the divergence and the mean of its gradient is the
    divergence's gradient; value and gradient are different estimates, since differentiating an unbiased estimate at
    tokens that are held fixed leaves out how the policy's change would have changed them. The value is never negative:
    with r the ratio of reference to policy, `r - 1 - log r` (reverse) and `r log r - r + 1` (forward). The gradient
    is that of `log(r)^2 / 2` (reverse) and of `r - 1 - log r` (forward).
    """
    log_ratio = log_reference - log_policy
    ratio_less_one = jnp.expm1(log_ratio)
    k3 = ratio_less_one - log_ratio
    if direction == "reverse":
        return _valued(k3, 0.5 * jnp.square(log_ratio))
    return _valued((ratio_less_one + 1.0) * log_ratio - ratio_less_one, k3)


def _valued(value: jax.Array, gradient: jax.Array) -> jax.Array:
    """The number `value` with the gradient of `gradient`."""
    return jax.lax.stop_gradient(value - gradient) + gradient
