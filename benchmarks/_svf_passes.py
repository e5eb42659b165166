"""Two-pass inference on the skills world: which share of the time goes into finding the expert."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax import adapters, models
from seal_jax.transformer2 import skills
from seal_jax.transformer2.dispatch import dispatch, report
from seal_jax.transformer2.expert_bank import ExpertBank


def measure(problems: int = 256) -> dict[str, Any]:
    """Seconds of both passes on questions of all families, the second time that they are asked.

    The experts are drawn and not trained, near enough to the base for answers of its usual length.
    """
    model = models.from_pretrained(skills.CHECKPOINT)
    factors = adapters.svf.factor(model.params)
    names = tuple(skills.tasks(1, 1, 1))
    drawn = [adapters.svf.init(jax.random.key(n), factors) for n in range(len(names))]
    bank = ExpertBank(names, jax.tree.map(lambda *x: jnp.stack(x), *drawn), factors)
    task = skills.mixed(1, 1, problems)
    dispatch(model, bank, [task], skills.classifier())  # compiles
    found = report(dispatch(model, bank, [task], skills.classifier()))
    return {"problems": problems, "labels": found["labels"], "seconds": found["seconds"]}
