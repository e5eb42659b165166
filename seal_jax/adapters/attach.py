"""Join an adapter tree to the parameters it adapts.

An adapter is a flat dict `{path: entry}`. The path names a kernel leaf ("layers/self_attn/q_proj/kernel"), the keys of
the entry tell what kind it is. `attach` is pure and is called inside the loss, so that gradients, optimizer state,
`vmap` and checkpoints cover the adapter alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.adapters.weights import SVF, LoRA, Weight, dense, is_weight, shape_of

Entry = dict[str, jax.Array]
Adapter = dict[str, Entry]


def attach(params: Any, adapter: Adapter, factors: Adapter | None = None, compose: str = "scaled") -> Any:
    """Parameters in which every kernel named by `adapter` is an adapted weight; all other leaves are shared.

    params: stacked (`[L, in, out]` kernels) or unrolled (`layers` a tuple). An entry is
    `{"a" [L, in, r], "b" [L, r, out], "scale" [L]}` (LoRA), `{"raw" [L, k]}` (SVF, with `factors[path]`), or
    `{"value"}`, which takes the place of any leaf, cast to its dtype. A LoRA entry may also hold what it is trained on
    top of: `value`, or factors `held_a [L, in, R]`, `held_b [L, R, out]` that are added to the kernel as they are.
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
        for x in jax.tree.leaves((entry, factor)):
            if x.shape[:1] != (len(tree),):
                raise ValueError(f"{path}: an entry of shape {x.shape} is not stacked for {len(tree)} layers")
        slices = [jax.tree.map(lambda x, i=i: x[i], (entry, factor)) for i in range(len(tree))]
        return tuple(_replace(t, parts, path, e, f, compose) for t, (e, f) in zip(tree, slices))
    if not isinstance(tree, dict) or parts[0] not in tree:
        known = ", ".join(sorted(tree)) if isinstance(tree, dict) else "nothing below it"
        raise KeyError(f"adapter path {path!r} is not in params: {parts[0]!r} is missing there (found: {known})")
    return {**tree, parts[0]: _replace(tree[parts[0]], parts[1:], path, entry, factor, compose)}


def _adapted(base: Weight, path: str, entry: Entry, factor: Entry | None, compose: str) -> Weight:
    if isinstance(base, dict) or not (path.endswith("/kernel") or "value" in entry):
        raise KeyError(f"adapter path {path!r} does not end at a kernel, as in 'layers/self_attn/q_proj/kernel'")
    replaced = "value" in entry
    base, entry = _held(base, path, entry)
    if entry.keys() == {"a", "b", "scale"}:
        _check(path, entry, _lora_shapes(shape_of(base), entry["a"].shape[-1]))
        # The scale is a setting, not a parameter: it never receives a gradient.
        scale = jax.lax.stop_gradient(entry["scale"])[..., None, None]
        return LoRA(base, entry["a"], entry["b"] * scale)
    if entry.keys() == {"raw"} and factor is not None:
        if is_weight(base):
            raise ValueError(f"{path} is a {type(base).__name__}, which SVF would replace; attach SVF first, then LoRA")
        _check(path, {**factor, **entry}, _svf_shapes(shape_of(base)))
        return SVF(factor["u"], factor["s"], factor["vt"], scales(entry["raw"], factor["s"], compose))
    if entry or not replaced:
        known = "a, b, scale (LoRA), raw (SVF), value, or LoRA with value or with held_a, held_b"
        raise ValueError(f"{path}: unknown adapter entry with keys {sorted(entry)}; known: {known}")
    return base


def _held(base: Weight, path: str, entry: Entry) -> tuple[Weight, Entry]:
    """The weight that the rest of an entry is attached to, and that rest."""
    if "value" in entry:
        _check(path, entry, {"value": shape_of(base)})
        base = entry["value"].astype(jax.eval_shape(dense, base).dtype)
        return base, {name: x for name, x in entry.items() if name != "value"}
    if {"a", "b", "scale", "held_a", "held_b"} == entry.keys():
        shapes = _lora_shapes(shape_of(base), entry["held_a"].shape[-1])
        _check(path, entry, {"held_a": shapes["a"], "held_b": shapes["b"]})
        base = LoRA(base, entry["held_a"], entry["held_b"])
        return base, {name: x for name, x in entry.items() if not name.startswith("held_")}
    return base, entry


def _lora_shapes(kernel: tuple[int, ...], rank: int) -> dict[str, tuple[int, ...]]:
    *stack, fan_in, fan_out = kernel
    return {"a": (*stack, fan_in, rank), "b": (*stack, rank, fan_out), "scale": tuple(stack)}


def _svf_shapes(kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    *stack, fan_in, fan_out = kernel
    k = min(fan_in, fan_out)
    return {"u": (*stack, fan_in, k), "s": (*stack, k), "vt": (*stack, k, fan_out), "raw": (*stack, k)}


def _check(path: str, found: Entry, expected: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise ValueError(f"{path}: {name} has shape {found[name].shape}; this kernel needs {shape}")


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
