"""What a judge is: a function from texts, as tokens, to values in [-1, 1], with what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import struct

Apply: TypeAlias = Callable[[Any, jax.Array, jax.Array, Any], jax.Array]


@struct.dataclass
class Judge:
    """A judge of texts; a pytree, so that a compiled program takes its arrays as arguments.

    arrays: its leaves; apply: `(arrays, tokens, mask, key) -> values [R]`, hashable, by which programs are told apart;
    passes: sequential forward passes of a call, whatever the number of texts; extra_tokens: tokens processed for a text
    beside its own; room: the most tokens a text may have, None for any number.
    """

    arrays: Any
    apply: Apply = struct.field(pytree_node=False)
    passes: int = struct.field(pytree_node=False, default=0)
    extra_tokens: int = struct.field(pytree_node=False, default=0)
    room: int | None = struct.field(pytree_node=False, default=None)

    def __call__(self, tokens: jax.Array, mask: jax.Array, key: Any = None) -> jax.Array:
        """The values of texts, float32 `[R]` in [-1, 1].

        tokens: int32 `[R, T]`, mask: bool `[R, T]`, True on the tokens of the text, which may be padded on either side;
        key: for a judge that draws. A text longer than `room` gives a value without meaning: see `check`.
        """
        return self.apply(self.arrays, tokens, mask, key)

    def cost(self, mask: jax.Array) -> jax.Array:
        """Tokens processed for each text of a call: int32 `[R]`, pads not counted; 0 for a judge without a model."""
        tokens = mask.sum(axis=-1, dtype=jnp.int32) + self.extra_tokens
        return tokens if self.passes else jnp.zeros_like(tokens)

    def check(self, length: int) -> None:
        """Raise ValueError if texts of `length` tokens do not fit into the judge's context."""
        check_room(self.room, length)


def check_room(room: int | None, length: int) -> None:
    """Raise ValueError if texts of `length` tokens are longer than `room`; None is any length."""
    if room is not None and length > room:
        raise ValueError(
            f"a judged text may have {length} tokens, and the judge's prompt leaves room for {room}: use "
            "fewer examples (shots), a shorter template, shorter texts, or a judge with a longer context"
        )


def from_reward(
    fn: Callable[..., jax.Array],
    arrays: Any = None,
    *,
    passes: int = 0,
    extra_tokens: int = 0,
    room: int | None = None,
) -> Judge:
    """A judge from any traceable reward, `fn(tokens, mask, key) -> [R]`, or `fn(arrays, tokens, mask, key)`.

    Rewards are clipped to [-1, 1], and NaN counts as -1. arrays: a pytree of what `fn` reads, None for nothing; large
    arrays that `fn` closes over instead become constants of the program. passes, extra_tokens, room: see `Judge`.
    Programs are told apart by the identity of `fn`, so make it once.
    """
    return Judge(arrays, Reward(fn, arrays is not None), passes, extra_tokens, room)


@dataclasses.dataclass(frozen=True)
class Reward:
    """`fn` as a judge applies it; with_arrays: whether it takes the judge's arrays first."""

    fn: Callable[..., jax.Array]
    with_arrays: bool

    def __call__(self, arrays: Any, tokens: jax.Array, mask: jax.Array, key: Any) -> jax.Array:
        """Rewards float32 `[R]` in [-1, 1]. Raises ValueError for a function that does not return `[R]`."""
        given = (arrays, tokens, mask, key) if self.with_arrays else (tokens, mask, key)
        values = jnp.asarray(self.fn(*given))
        if values.shape != tokens.shape[:1]:
            raise ValueError(f"a reward of {len(tokens)} texts has shape {tokens.shape[:1]}, not {values.shape}")
        return jnp.clip(jnp.nan_to_num(values.astype(jnp.float32), nan=-1.0), -1.0, 1.0)
