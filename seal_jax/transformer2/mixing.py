"""Mixtures of experts: weights alpha, one for each expert and column, to the scale vectors they stand for.

A column is what shares its weights: the whole model, a layer, or a matrix. Mixing acts on z, so that a mixture of one
expert alone is that expert; the released code mixes raw parameters (`mix="raw"`), where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from seal_jax.adapters import Adapter
from seal_jax.adapters.scales import z_of

Mix = Literal["z", "raw"]
Per = Literal["global", "layer", "matrix"]


def stack_experts(experts: Sequence[Adapter], mix: Mix = "z") -> dict[str, jax.Array]:
    """What is mixed, float32 `{path: [K, L, k]}`: each expert's z, or with `mix="raw"` its raw parameters.

    experts: K adapters with entries `{"raw" [L, k]}` or `{"z" [L, k]}`, of the same matrices. Raises ValueError, naming
    expert and matrix, for none, for other entries, and where they differ in matrices or shapes.
    """
    if mix not in ("z", "raw"):
        raise ValueError(f"mix={mix!r} is not one of 'z', 'raw'")
    if not experts or not experts[0]:
        raise ValueError("there is no expert to mix")
    first = experts[0]
    for number, expert in enumerate(experts):
        _check(expert, first, number, mix)
    vector = z_of if mix == "z" else lambda entry: entry["raw"].astype(jnp.float32)
    return {path: jnp.stack([vector(expert[path]) for expert in experts]) for path in sorted(first)}


def columns(stacked: dict[str, jax.Array], per: Per = "global") -> int:
    """P, how many weights an expert has: 1; one a layer; or one for each matrix of each layer (96 for Llama-3-8B).

    Matrices are in order of their paths, and layers within. Raises ValueError for "layer" where matrices have different
    numbers of layers.
    """
    layers = [x.shape[1] for x in stacked.values()]
    if per == "layer" and len(set(layers)) > 1:
        raise ValueError(f"experts adapt matrices of {sorted(set(layers))} layers: use per='matrix' or per='global'")
    counts = {"global": 1, "layer": layers[0], "matrix": sum(layers)}
    if per not in counts:
        raise ValueError(f"per={per!r} is not one of {', '.join(map(repr, counts))}")
    return counts[per]


def mixed(stacked: dict[str, jax.Array], alpha: jax.Array, per: Per = "global", norm_coeffs: bool = False) -> Adapter:
    """The mixture `{path: {"z" [L, k]}}` of `stack_experts`' result: z = sum over experts of alpha * vector.

    alpha: float `[K, P]`, P as `columns` has it; traceable, and `vmap` over it gives a population. norm_coeffs: each
    column is divided by its sum (which under `compose="scaled"` changes nothing). A column of zeros asks for no expert
    and is the base, z = 1; the released code divides zero by zero there. Raises ValueError for another shape.
    """
    count = len(next(iter(stacked.values())))
    if alpha.shape != (count, columns(stacked, per)):
        raise ValueError(
            f"alpha has shape {alpha.shape}; {count} experts and per={per!r} take {(count, columns(stacked, per))}"
        )
    alpha = alpha.astype(jnp.float32)
    if norm_coeffs:
        total = alpha.sum(0, keepdims=True)
        alpha = alpha / jnp.where(total == 0, 1.0, total)
    mixture, start = {}, 0
    for path, vectors in stacked.items():
        layers = vectors.shape[1]
        weights = alpha[:, start : start + layers] if per == "matrix" else jnp.broadcast_to(alpha, (count, layers))
        start += layers
        z = jnp.einsum("el,elk->lk", weights, vectors, precision="highest")
        mixture[path] = {"z": jnp.where((weights == 0).all(0)[:, None], 1.0, z)}
    return mixture


def mix_experts(
    experts: Sequence[Adapter], alpha: jax.Array, per: Per = "global", mix: Mix = "z", norm_coeffs: bool = False
) -> Adapter:
    """`mixed` of `stack_experts`: K adapters and alpha `[K, P]` to one adapter `{path: {"z" [L, k]}}`."""
    return mixed(stack_experts(experts, mix), jnp.asarray(alpha), per, norm_coeffs)


def _check(expert: Adapter, first: Adapter, number: int, mix: Mix) -> None:
    known = ("raw",) if mix == "raw" else ("raw", "z")
    if expert.keys() != first.keys():
        odd = sorted(expert.keys() ^ first.keys())[0]
        raise ValueError(f"experts 0 and {number} adapt different matrices: only one of them has {odd}")
    for path, entry in expert.items():
        if len(entry) != 1 or next(iter(entry)) not in known:
            names = " or ".join(map(repr, known))
            raise ValueError(f"expert {number}, {path}: mix={mix!r} takes entries {names}; found {sorted(entry)}")
        shapes = [next(iter(e[path].values())).shape for e in (first, expert)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"experts 0 and {number} differ in the shape of {path}: {shapes[0]} and {shapes[1]}")
