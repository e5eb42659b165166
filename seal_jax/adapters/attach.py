"""Join an adapter tree to the parameters it adapts.

An adapter is a flat dict `{path: entry}`. The path names a kernel leaf ("layers/self_attn/q_proj/kernel"), the keys of
the entry tell what kind it is. `attach` is pure and is called inside the loss, so that gradients, optimizer state,
`vmap` and checkpoints cover the adapter alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.adapters.forms import FORMS, cheapest_form
from seal_jax.adapters.scales import check, scales, shifts, z_of
from seal_jax.adapters.weights import SVF, LoRA, SVFResidual, Weight, composed, dense, is_weight, shape_of

Entry = dict[str, jax.Array]
Adapter = dict[str, Entry]


class How(NamedTuple):
    """How SVF entries become weights; the arguments of `attach`."""

    compose: str = "scaled"
    form: str = "auto"
    tokens: int | None = None
    trained: bool = False


def attach(
    params: Any,
    adapter: Adapter,
    factors: Adapter | None = None,
    compose: str = "scaled",
    form: str = "auto",
    *,
    tokens: int | None = None,
    trained: bool = False,
) -> Any:
    """Parameters in which every kernel named by `adapter` is an adapted weight; all other leaves are shared.

    params: stacked (`[L, in, out]` kernels) or unrolled (`layers` a tuple), or any nested dict of arrays `[in, out]`.
    An entry is `{"a" [L, in, r], "b" [L, r, out], "scale" [L]}` (LoRA), `{"raw" [L, k]}` or `{"z" [L, k]}` (SVF, with
    `factors[path]`; z is `sigmoid(raw)`, or given as it is), or `{"value"}`, which takes the place of any leaf, cast to
    its dtype. A LoRA entry may also hold what it is trained on top of: `value`, or factors `held_a [L, in, R]`,
    `held_b [L, R, out]` that are added to the kernel as they are.
    compose: "scaled" keeps the sum of singular values (the released Transformer-squared code), "plain" is the paper's
    `u diag(s * z) vt`. Kernels that are already adapted are wrapped again, so adapters stack.
    form, of SVF, the same weight up to rounding: "factored" `((x u) * s z) vt`, which needs no kernel; "residual"
    `x W + ((x u) * s (z - 1)) vt`, exactly the base for equal z; "materialized", the array, computed here; "auto", the
    cheapest for `tokens` tokens that share one z (`svf.cheapest_form`; trained: a gradient is taken), without `tokens`
    the factored one. Factors that are truncated are "residual" or "materialized" unless "factored" is asked for, which
    leaves out what they leave out.

    Raises KeyError if a path is not in `params` (or has no factors), ValueError if shapes do not fit, or (of values
    that are not traced) if the sum that "scaled" divides by vanishes.
    """
    if form not in FORMS:
        raise ValueError(f"form={form!r} is not one of {', '.join(map(repr, FORMS))}")
    how = How(compose, form, tokens, trained)
    for path, entry in adapter.items():
        factor = None
        if entry.keys() & {"raw", "z"}:
            if factors is None or path not in factors:
                raise KeyError(f"{path}: an SVF adapter needs factors[{path!r}], made by adapters.svf.factor")
            factor = factors[path]
        params = _replace(params, path.split("/"), path, entry, factor, how)
    check(adapter, factors, compose)
    return params


def _replace(tree: Any, parts: list[str], path: str, entry: Entry, factor: Entry | None, how: How) -> Any:
    if not parts:
        return _adapted(tree, path, entry, factor, how)
    if isinstance(tree, tuple):  # unrolled layers: hand each its own slice of the entry
        for x in jax.tree.leaves((entry, factor)):
            if x.shape[:1] != (len(tree),):
                raise ValueError(f"{path}: an entry of shape {x.shape} is not stacked for {len(tree)} layers")
        slices = [jax.tree.map(lambda x, i=i: x[i], (entry, factor)) for i in range(len(tree))]
        return tuple(_replace(t, parts, path, e, f, how) for t, (e, f) in zip(tree, slices))
    if not isinstance(tree, Mapping) or parts[0] not in tree:
        known = ", ".join(sorted(tree)) if isinstance(tree, Mapping) else "nothing below it"
        raise KeyError(f"adapter path {path!r} is not in params: {parts[0]!r} is missing there (found: {known})")
    return {**tree, parts[0]: _replace(tree[parts[0]], parts[1:], path, entry, factor, how)}


def _adapted(base: Weight, path: str, entry: Entry, factor: Entry | None, how: How) -> Weight:
    if isinstance(base, Mapping) or not (path.endswith("/kernel") or "value" in entry or factor):
        raise KeyError(f"adapter path {path!r} does not end at a kernel, as in 'layers/self_attn/q_proj/kernel'")
    replaced = "value" in entry
    base, entry = _held(base, path, entry)
    if entry.keys() == {"a", "b", "scale"}:
        _check(path, entry, _lora_shapes(shape_of(base), entry["a"].shape[-1]))
        # The scale is a setting, not a parameter: it never receives a gradient.
        scale = jax.lax.stop_gradient(entry["scale"])[..., None, None]
        return LoRA(base, entry["a"], entry["b"] * scale)
    if factor is not None and len(entry) == 1:
        return _svf(base, path, entry, factor, how)
    if entry or not replaced:
        known = "a, b, scale (LoRA), raw or z (SVF), value, or LoRA with value or with held_a, held_b"
        raise ValueError(f"{path}: unknown adapter entry with keys {sorted(entry)}; known: {known}")
    return base


def _svf(base: Weight, path: str, entry: Entry, factor: Entry, how: How) -> Weight:
    if is_weight(base):
        raise ValueError(f"{path} is a {type(base).__name__}, which SVF would replace; attach SVF first, then LoRA")
    _check(path, {**factor, **entry}, _svf_shapes(base.shape, factor["s"].shape[-1], *entry))
    u, s, vt = factor["u"], factor["s"].astype(jnp.float32), factor["vt"]
    form = how.form
    if form == "auto":
        form = cheapest_form(base.shape[-2:], s.shape[-1], how.tokens, trained=how.trained)
    if form == "factored":
        return SVF(u, s, vt, scales(z_of(entry), s, how.compose))
    weight = SVFResidual(base, u, s * shifts(z_of(entry), s, how.compose), vt)
    return weight if form == "residual" else composed(weight)


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


def _svf_shapes(kernel: tuple[int, ...], rank: int, name: str) -> dict[str, tuple[int, ...]]:
    *stack, fan_in, fan_out = kernel
    k = min(fan_in, fan_out, rank)
    return {"u": (*stack, fan_in, k), "s": (*stack, k), "vt": (*stack, k, fan_out), name: (*stack, k)}


def _check(path: str, found: Entry, expected: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise ValueError(f"{path}: {name} has shape {found[name].shape}; this kernel needs {shape}")
