"""Keys and values of a search: of the text so far, and a page of them for every visited node."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import Config, Shared
from seal_jax.rain.settings import Settings


class Pages(NamedTuple):
    """What the model remembers of the tokens of each of N nodes, S a page.

    keys, values: `[B, N, K, S, d]` for each layer, of the model's type; hidden: `[B, N, S, H]`, its final states;
    ending: int32 `[B, N]`, the state of the text after the node, see `Endings`.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    hidden: jax.Array
    ending: jax.Array


class Page(NamedTuple):
    """One page of each of B trees. keys, values: `[B, K, S, d]` for each layer; hidden: `[B, S, H]`."""

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    hidden: jax.Array


class Text(NamedTuple):
    """Prompts, left-padded to P columns, and what was committed after them: M columns in all.

    part: their keys and values; tokens: int32 `[B, M]`; prompt, count: int32 `[B]`, tokens of the prompt and of what
    was committed; judged_from: int32 `[B]`, tokens of the prompt that no judge is shown; last: `[B, H]`, the final
    state of the last token.
    """

    part: Shared
    tokens: jax.Array
    prompt: jax.Array
    count: jax.Array
    judged_from: jax.Array
    last: jax.Array


def empty_pages(config: Config, settings: Settings, batch: int, dtype: jnp.dtype) -> Pages:
    """Pages of nothing, for B trees."""
    nodes, size = settings.capacity, settings.longest
    shape = (batch, nodes, config.num_kv_heads, size, config.head_dim)
    slots = lambda: tuple(jnp.zeros(shape, dtype) for _ in range(config.num_layers))  # noqa: E731
    hidden = jnp.zeros((batch, nodes, size, config.hidden_size), dtype)
    return Pages(slots(), slots(), hidden, jnp.zeros((batch, nodes), jnp.int32))


def empty_text(config: Config, batch: int, columns: int, dtype: jnp.dtype) -> Text:
    """Texts of nothing, with room for M columns."""
    shape = (batch, config.num_kv_heads, columns, config.head_dim)
    slots = lambda: tuple(jnp.zeros(shape, dtype) for _ in range(config.num_layers))  # noqa: E731
    part = Shared(slots(), slots(), jnp.zeros((batch, columns), jnp.int32), jnp.zeros((batch, columns), bool))
    numbers = lambda: jnp.zeros(batch, jnp.int32)  # noqa: E731
    last = jnp.zeros((batch, config.hidden_size), dtype)
    return Text(part, jnp.zeros((batch, columns), jnp.int32), numbers(), numbers(), numbers(), last)


def path_part(pages: Pages, trees: jax.Array, nodes: jax.Array, lengths: jax.Array, start: jax.Array) -> Shared:
    """The pages of nodes int32 `[W, D]` of trees int32 `[W]`, root side first, as what rows continue: `[W, K, D S, d]`.

    lengths: int32 `[W, D]`, tokens of each, 0 where there is no node; start: int32 `[W]`, tokens before them.
    """
    batch, depth = nodes.shape
    size = pages.hidden.shape[2]
    valid = (jnp.arange(size)[None, None] < lengths[..., None]).reshape(batch, depth * size)
    positions = jnp.cumsum(valid, axis=-1, dtype=jnp.int32) - 1 + start[:, None]

    def gathered(slots: jax.Array) -> jax.Array:
        heads, width = slots.shape[2], slots.shape[4]
        return slots[trees[:, None], nodes].swapaxes(1, 2).reshape(batch, heads, depth * size, width)

    keys, values = (tuple(gathered(slots) for slots in each) for each in (pages.keys, pages.values))
    return Shared(keys, values, jnp.maximum(positions, 0), valid)


def empty_page(config: Config, size: int, batch: int, dtype: jnp.dtype) -> Page:
    """One page of nothing for each of B trees."""
    shape = (batch, config.num_kv_heads, size, config.head_dim)
    slots = lambda: tuple(jnp.zeros(shape, dtype) for _ in range(config.num_layers))  # noqa: E731
    return Page(slots(), slots(), jnp.zeros((batch, size, config.hidden_size), dtype))


def write_pages(pages: Pages, node: jax.Array, new: Page) -> Pages:
    """Put one new page for each tree at node int32 `[B]`; what is out of bounds is left out."""
    trees = jnp.arange(len(node))

    def put(slots: jax.Array, page: jax.Array) -> jax.Array:
        return slots.at[trees, node].set(page.astype(slots.dtype), mode="drop")

    return pages._replace(
        keys=tuple(map(put, pages.keys, new.keys)),
        values=tuple(map(put, pages.values, new.values)),
        hidden=put(pages.hidden, new.hidden),
    )


def append(text: Text, pages: Pages, node: jax.Array, tokens: jax.Array, length: jax.Array, columns: int) -> Text:
    """Texts after the tokens int32 `[B, S]` of a page, of which there are length int32 `[B]`, 0 for none.

    node: int32 `[B]`, whose page it is; columns: of the prompts, P.
    """
    size = tokens.shape[1]
    trees = jnp.arange(len(node))[:, None]
    offset = jnp.arange(size)[None]
    there = offset < length[:, None]
    total = text.tokens.shape[1]
    at = jnp.where(there, columns + text.count[:, None] + offset, total)  # out of bounds: not written

    def put(field: jax.Array, new: jax.Array) -> jax.Array:
        return field.at[trees, at].set(new.astype(field.dtype), mode="drop")

    def put_slots(slots: jax.Array, page: jax.Array) -> jax.Array:
        return slots.at[trees, :, at].set(page.swapaxes(1, 2), mode="drop")

    own = lambda slots: slots[jnp.arange(len(node)), node]  # noqa: E731
    positions = (text.prompt + text.count)[:, None] + offset
    part = Shared(
        tuple(put_slots(slots, own(page)) for slots, page in zip(text.part.keys, pages.keys)),
        tuple(put_slots(slots, own(page)) for slots, page in zip(text.part.values, pages.values)),
        put(text.part.positions, positions),
        put(text.part.valid, there),
    )
    final = pages.hidden[jnp.arange(len(node)), node, jnp.maximum(length - 1, 0)]
    last = jnp.where((length > 0)[:, None], final, text.last)
    return text._replace(part=part, tokens=put(text.tokens, tokens), count=text.count + length, last=last)
