"""The settings of the paper's experiments, by name."""

from __future__ import annotations

import dataclasses

from seal_jax.rain.settings import Settings

PRESETS = {
    "harmlessness": Settings(),
    "attack_defence": Settings(min_visits=5, temperature=2.0, rollout_tries=19),
    "truthfulness": Settings(min_visits=16, simulation="end", max_simulation=256, max_new_tokens=256),
    # Not released: the paper's constants, and the released ones where it has none.
    "sentiment": Settings(),
}
# What the released code does and we do not, unless asked to.
RELEASED = {"widened_priors": "released", "eos": "released"}
RELEASED_ALSO = {"truthfulness": {"remember_values": False}}


def preset(name: str, released: bool = False) -> Settings:
    """Settings by name: harmlessness, attack_defence, truthfulness or sentiment; released: with the code's defects.

    Raises ValueError for another name.
    """
    if name not in PRESETS:
        raise ValueError(f"no settings are called {name!r}: use one of {', '.join(PRESETS)}")
    changes = {**RELEASED, **RELEASED_ALSO.get(name, {})} if released else {}
    return dataclasses.replace(PRESETS[name], **changes)
