"""Join an adapter tree to the parameters it adapts.

An adapter is a flat dict `{path: entry}`. The path names a kernel leaf ("layers/self_attn/q_proj/kernel"), the keys of
the entry tell what kind it is. `attach` is pure and is called inside the loss, so that gradients, optimizer state,
`vmap` and checkpoints cover the adapter alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.adapters.weights import SVF, LoRA, Weight

Entry = dict[str, jax.Array]
Adapter = dict[str, Entry]


def attach(params: Any, adapter: Adapter, factors: Adapter | None = None, compose: str = "scaled") -> Any:
    """Parameters in which every kernel named by `adapter` is an adapted weight; all other leaves are shared.

    params: stacked (`[L, in, out]` kernels) or unrolled (`layers` a tuple). An entry is
    `{"a" [L, in, r], "b" [L, r, out], "scale" [L]}` (LoRA) or `{"raw" [L, k]}` (SVF, with `factors[path]`).
    compose: "scaled" keeps the sum of singular values (the released Transformer-squared code), "plain" is the paper's
    `u diag(s * z) vt`. Kernels that are already adapted are wrapped again, so adapters stack.

    Raises KeyError if a path is not in `params` (or has no factors), ValueError if shapes do not fit.
    """
    for path, entry in adapter.items():
        factor = None
        if "raw" in entry:
            if factors is None or path not in factors:
                raise KeyError(f"{path}: an SVF adapter needs factors[{path!r}], made by adapters.svf.factor")
            factor = factors[path]
        params = _replace(params, path.split("/"), path, entry, factor, compose)
    return params


def _replace(tree: Any, parts: list[str], path: str, entry: Entry, factor: Entry | None, compose: str) -> Any:
    if not parts:
        return _adapted(tree, path, entry, factor, compose)
    if isinstance(tree, tuple):  # unrolled layers: hand each its own slice of the entry
        pick = lambda e, i: None if e is None else jax.tree.map(lambda x: x[i], e)  # noqa: E731
        return tuple(_replace(t, parts, path, pick(entry, i), pick(factor, i), compose) for i, t in enumerate(tree))
    if not isinstance(tree, dict) or parts[0] not in tree:
        known = ", ".join(sorted(tree)) if isinstance(tree, dict) else "nothing below it"
        raise KeyError(f"adapter path {path!r} is not in params: {parts[0]!r} is missing there (found: {known})")
    return {**tree, parts[0]: _replace(tree[parts[0]], parts[1:], path, entry, factor, compose)}


def _adapted(base: Weight, path: str, entry: Entry, factor: Entry | None, compose: str) -> Weight:
    if {"a", "b", "scale"} <= entry.keys():
        a, b, scale = entry["a"], entry["b"], entry["scale"]
        _check_lora(base, path, a, b)
        # The scale is a setting, not a parameter: it never receives a gradient.
        return LoRA(base, a, b * jax.lax.stop_gradient(scale)[..., None, None])
    if factor is not None:
        return SVF(factor["u"], factor["s"], factor["vt"], scales(entry["raw"], factor["s"], compose))
    raise ValueError(f"{path}: unknown adapter entry with keys {sorted(entry)}; known are a, b, scale and raw")


def _check_lora(base: Weight, path: str, a: jax.Array, b: jax.Array) -> None:
    shape = getattr(base, "shape", None)
    if shape is not None and (a.shape[:-1] != shape[:-1] or b.shape[-1] != shape[-1] or a.shape[-1] != b.shape[-2]):
        raise ValueError(
            f"{path}: LoRA factors a {a.shape} and b {b.shape} do not fit a kernel {shape}; "
            f"expected {(*shape[:-1], 'rank')} and {(*shape[:-2], 'rank', shape[-1])}"
        )


def scales(raw: jax.Array, s: jax.Array, compose: str = "scaled") -> jax.Array:
    """What multiplies the singular values: float32 `[..., k]` of raw parameters and singular values `[..., k]`.

    `z = sigmoid(raw)`; "scaled" multiplies by `sum(s) / sum(s * z)`, so that equal `raw` is the base weight.
    """
    z = jax.nn.sigmoid(raw.astype(jnp.float32))
    if compose == "plain":
        return z
    if compose != "scaled":
        raise ValueError(f"compose={compose!r} is not one of 'scaled', 'plain'")
    s = s.astype(jnp.float32)
    return z * (s.sum(-1, keepdims=True) / (s * z).sum(-1, keepdims=True))
