"""How parameters, adapters and optimizer state are split over a mesh: rules by path, the same for every family.

Kernels `[..., in, out]` are split by columns, those of `ROW_KERNELS` by rows, so that a layer needs one sum over
devices after attention and one after the MLP. Attention is split by whole heads or not at all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seal_jax.runtime.mesh import ROWS, put

QUERY_KERNELS = ("q_proj", "query_key_value", "o_proj")
KEY_KERNELS = ("k_proj", "v_proj")
ROW_KERNELS = ("o_proj", "down_proj")  # their input side is the output side of the kernels before them
EMBEDDINGS = ("embed_tokens",)
# What there is below the path of a kernel: fields of adapted weights, and entries of adapters.
_FIELDS = ("a", "b", "held_a", "held_b", "u", "s", "vt", "z", "delta", "zs", "raw", "alpha", "scale")

Tail = tuple[str | None, ...]


class Heads(NamedTuple):
    """Whether the axis `model` splits queries, and keys and values. Both by whole heads, or not at all.

    Where `model` is a multiple of the key/value heads, queries are split and keys and values are whole on each device.
    """

    queries: bool
    keys: bool


def heads_of(config: Any, mesh: Any) -> Heads:
    """What `model` can split of a model with `config.num_heads` and `config.num_kv_heads`; mesh: has a `shape`."""
    size = mesh.shape["model"]
    keys = config.num_kv_heads % size == 0
    # Otherwise a device would have queries of a part of one key/value head and of a part of the next.
    queries = size > 1 and config.num_heads % size == 0 and (keys or size % config.num_kv_heads == 0)
    return Heads(queries, queries and keys)


def param_spec(path: tuple[Any, ...], leaf: Any, mesh: Any, config: Any) -> PartitionSpec:
    """How one leaf is split: of parameters (adapted or not), of one adapter, or of the optimizer state of either.

    path: its key path in the tree; leaf: anything with a `shape`; config: of the model (`num_heads`, `num_kv_heads`).
    The layer axis is never split, nor an axis that its mesh axis does not divide.
    """
    tail = _tail(names_of(path), heads_of(config, mesh))[-len(leaf.shape) :] if leaf.shape else ()
    axes = (None,) * (len(leaf.shape) - len(tail)) + tail
    fits = (a if a and mesh.shape[a] > 1 and n % mesh.shape[a] == 0 else None for a, n in zip(axes, leaf.shape))
    return PartitionSpec(*fits)


def used_spec(path: tuple[Any, ...], leaf: Any, mesh: Any, config: Any) -> PartitionSpec:
    """How a leaf is split where it is used: as `param_spec` has it, gathered over `fsdp`."""
    return PartitionSpec(*(None if axis == "fsdp" else axis for axis in param_spec(path, leaf, mesh, config)))


def names_of(path: tuple[Any, ...]) -> list[str]:
    """The names along a key path, those within the path of an adapter entry ("layers/mlp/up_proj/kernel") apart."""
    names = (str(getattr(key, "key", getattr(key, "name", ""))) for key in path)
    return [part for name in names for part in name.split("/") if part]


def _tail(names: list[str], heads: Heads) -> Tail:
    """The mesh axes of a leaf's last dimensions, before it is asked whether they divide them."""
    names = [name for name in names if name not in ("base", "composed", "value")]
    field = names.pop() if len(names) > 2 and names[-1] in _FIELDS and names[-2] == "kernel" else ""
    parent, name = ["", "", *names][-2:]
    if name == "embedding":
        return ("model" if parent in EMBEDDINGS else None, "fsdp")
    split = "model"
    if (parent in QUERY_KERNELS and not heads.queries) or (parent in KEY_KERNELS and not heads.keys):
        split = None
    rows = parent in ROW_KERNELS
    if name == "bias" and not rows and parent.endswith(("_proj", "query_key_value")):
        return (split,)
    if name != "kernel":
        return ()
    fan_in, fan_out = (split, "fsdp") if rows else ("fsdp", split)
    return {
        "": (fan_in, fan_out),
        "a": (fan_in, None),
        "b": (None, fan_out),
        "held_a": (fan_in, None),
        "held_b": (None, fan_out),
        "u": (fan_in, "fsdp" if rows else None),
        "vt": (None if rows else "fsdp", fan_out),
    }.get(field, ())


def factor_specs(kernel: PartitionSpec, ndim: int, rank: int, mesh: Any) -> tuple[PartitionSpec, ...]:
    """How the factors u `[..., in, k]`, s `[..., k]` and vt `[..., k, out]` of a kernel are split, given how it is.

    kernel: of `ndim` axes. What splits the kernel splits the factors, also where `param_spec` has no rule for its name:
    the axis k takes `fsdp` in the factor that is not split by it otherwise.
    """
    *_, fan_in, fan_out = (*kernel, *(None,) * (ndim - len(kernel)))
    stack = (None,) * (ndim - 2)
    inner = "fsdp" if mesh.shape.get("fsdp", 1) > 1 and rank % mesh.shape["fsdp"] == 0 else None
    of_u = inner if fan_out == "fsdp" else None
    of_vt = inner if fan_in == "fsdp" else None
    return PartitionSpec(*stack, fan_in, of_u), PartitionSpec(*stack, None), PartitionSpec(*stack, of_vt, fan_out)


def shard_params(params: Any, mesh: Mesh, config: Any) -> Any:
    """Put parameters, one adapter, or an optimizer state on the mesh, split by the rules of `param_spec`."""
    place = lambda path, leaf: put(leaf, NamedSharding(mesh, param_spec(path, leaf, mesh, config)))  # noqa: E731
    return jax.tree_util.tree_map_with_path(place, params)


def shard_adapters(adapters: Any, mesh: Mesh, config: Any) -> Any:
    """Put N adapters on the mesh: the leading axis N of every leaf over `data` and `fsdp`, the rest over `model`.

    N must be a multiple of data * fsdp: ValueError of JAX otherwise.
    """
    place = lambda path, leaf: put(leaf, NamedSharding(mesh, adapters_spec(path, leaf, mesh, config)))  # noqa: E731
    return jax.tree_util.tree_map_with_path(place, adapters)


def adapters_spec(path: tuple[Any, ...], leaf: Any, mesh: Any, config: Any) -> PartitionSpec:
    """How a leaf `[N, ...]` of N adapters, or of their optimizer states, is split."""
    return PartitionSpec(ROWS, *used_spec(path, leaf, mesh, config)[1:])


def check_mesh(config: Any, mesh: Any) -> list[str]:
    """What a model with these sizes does not let the mesh split, a sentence each. ValueError where an axis splits none.

    config: `num_heads`, `num_kv_heads`, `intermediate_size`, `vocab_size`, `hidden_size`.
    """
    model, fsdp = mesh.shape["model"], mesh.shape["fsdp"]
    if config.hidden_size % fsdp:
        raise ValueError(f"fsdp={fsdp} does not divide this model's width {config.hidden_size}: use a divisor of it")
    if model == 1:
        return []
    heads, keys = config.num_heads, config.num_kv_heads
    split, notes = heads_of(config, mesh), []
    if not split.queries:
        notes.append(f"attention is whole on each device: model={model} does not split {heads} heads over {keys}")
    elif not split.keys:
        notes.append(f"keys and values are whole on each device: there are {keys} heads of them for model={model}")
    for name, size in (("the MLP", config.intermediate_size), ("the vocabulary", config.vocab_size)):
        if size % model:
            notes.append(f"{name} is whole on each device: model={model} does not divide its size {size}")
    if not split.queries and config.intermediate_size % model:
        raise ValueError(
            f"model={model} splits neither attention nor the MLP of this model: use a number that divides its "
            f"{heads} heads ({keys} of keys and values) or its MLP's width {config.intermediate_size}"
        )
    return notes
