"""What `stream_study` says of a training that went wrong; streams end to end are in the tests of `continual run`."""

from typing import Any

import jax.numpy as jnp
import pytest

from seal_jax.continual.stream_study import _Evaluate
from seal_jax.continual.task_stream import Task


def test_a_training_that_has_diverged_is_not_scored():
    unread: Any = {}
    score = _Evaluate(unread, lambda adapter: adapter, {}, unread)
    with pytest.raises(ValueError, match="NaN or infinity where 'colours' is scored: the training has diverged"):
        score({"q_proj": {"a": jnp.ones(2), "b": jnp.array([0.0, jnp.nan])}}, Task("colours", {}))
