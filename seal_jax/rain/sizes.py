"""What a search keeps in memory, as a formula, and whether it fits."""

from __future__ import annotations

import dataclasses
import warnings
from typing import NamedTuple

import jax.numpy as jnp

from seal_jax.generation.prompts import bucket
from seal_jax.models import Config
from seal_jax.rain.rollouts import rows_of
from seal_jax.rain.settings import Settings
from seal_jax.rain.state import Program, room_of
from seal_jax.rain.tree import tree_bytes
from seal_jax.runtime import resources

ADVICE = "use fewer slots (slots=), fewer nodes or new tokens (settings), or weights of 16 bits"


class Memory(NamedTuple):
    """Bytes of a search beside the model and the judge, all slots together.

    text: keys and values of prompts and what was committed; pages: of visited nodes; trees: statistics and children;
    rest: rollouts for widening, simulations, values of judged texts, counts; work: what a round needs besides, about.
    """

    text: int
    pages: int
    trees: int
    rest: int
    work: int

    @property
    def kept(self) -> int:
        """Of what lasts from round to round."""
        return self.text + self.pages + self.trees + self.rest


def memory(
    config: Config,
    settings: Settings,
    slots: int,
    prompt_tokens: int,
    dtype: jnp.dtype | str = "float32",
    *,
    group: int | None = None,
    width: int | None = None,
    trees: bool = False,
) -> Memory:
    """What a search takes: B slots, prompts of up to so many tokens, parameters of `dtype`, b bytes a number.

    group: of slots that share a pass, all by default; width: of embeddings, E, by default that of hidden states; trees:
    whether they are kept, with what judges were shown.

    With L layers, K heads of keys of width d, hidden size H: a token takes `t = 2 L K d b`. The text of a slot takes
    `M (t + 9) + b H + 12` for its M columns, pages `N (S (t + b H) + 4)`, the rest `N (4 R (S + 2) + 4)` for R
    rollouts, `X (t + b H + 9) + b H + 21` for simulations of X tokens, `12 N + 4` for judged texts and 37 for counts.
    A round holds the keys and values of one way for each slot and of a group's rows besides.
    """
    settings = with_depth(settings)
    size = jnp.dtype(dtype).itemsize
    token = 2 * config.num_layers * config.num_kv_heads * config.head_dim * size
    state = config.hidden_size * size
    nodes, longest, rows = settings.capacity, settings.longest, rows_of(settings)
    simulated = max(settings.max_simulation, 1)
    spares = nodes * (4 * rows * (longest + 2) + 4)
    simulation = simulated * (token + state + 9) + state + 21
    memo = nodes * 12 + 4
    room = room_of(settings, bucket(prompt_tokens, least=8))
    way = settings.depth * longest * token
    group_rows = (slots if group is None else group) * (way + room * token + rows * longest * token)
    return Memory(
        text=slots * (room * (token + 9) + state + 12),
        pages=slots * nodes * (longest * (token + state) + 4),
        trees=slots * tree_bytes(settings, config.hidden_size if width is None else width, keep_shown=trees),
        rest=slots * (spares + simulation + memo + 37) + 16,
        work=slots * way + group_rows,
    )


def check_memory(program: Program, slots: int, dtype: jnp.dtype, programs: int = 1) -> None:
    """Warn where so many searches of `slots` each may not fit the device.

    Raises DoesNotFitError where what they keep does not.
    """
    config, settings = program.config, program.settings
    found = memory(
        config, settings, slots, program.columns, dtype, group=program.group, width=program.width, trees=program.pause
    )
    need = resources.Need("the search", programs * found.kept, programs * (found.kept + found.work), ADVICE)
    for text in resources.check_memory([need], resources.device_memory()):
        warnings.warn(text, stacklevel=3)


def with_depth(settings: Settings) -> Settings:
    """The settings with their depth decided."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to warn of was said when they were made
        return dataclasses.replace(settings, max_depth=depth_of(settings))


def depth_of(settings: Settings, usual: int = 16) -> int:
    """Most sets between the root and a leaf: as set, or what few searches ever reach."""
    return settings.depth if settings.max_depth else min(settings.depth, usual)
