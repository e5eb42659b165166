"""Checkpoints in the Hugging Face layout: a directory with config.json, safetensors and a tokenizer.

Tensors go one leaf at a time from the file into a stacked `[L, ...]` array and on to the device, so that the whole
model is never held twice. torch is not needed, and nothing is executed from the directory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.adapters.weights import is_weight
from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.families import config_from_hf, config_to_hf, family_of, written_as
from seal_jax.models.hub import local_folder
from seal_jax.models.layout import Leaf, leaves
from seal_jax.models.loading import load_params
from seal_jax.models.paths import check_tokenizer, member
from seal_jax.models.tensors import DTYPES, TensorFiles, model_files, read_json, write_json, write_tensors
from seal_jax.models.transformer import Params
from seal_jax.runtime.distributed import host, is_main, sync

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
_HUB_PATTERNS = ("*.json", "*.safetensors", "tokenizer*", "vocab*", "merges.txt", "*.jinja")


class Model(NamedTuple):
    """A loaded checkpoint. `tokenizer` is a transformers tokenizer, or None where the directory has none."""

    config: Config
    params: Params
    tokenizer: Any = None


def from_pretrained(
    path: str | Path,
    dtype: str | jnp.dtype = "float32",
    mesh: jax.sharding.Mesh | None = None,
    fill: Callable[[str, tuple[int, ...]], np.ndarray] | None = None,
    *,
    unrolled: bool = False,
) -> Model:
    """Load a checkpoint from a local directory or, where no such directory exists, from the hub by name.

    dtype: of every parameter ("float32", "bfloat16", "float16"). mesh: split the parameters over it by the rules of
    `runtime.placement`; each process reads what its own devices keep. fill: makes a tensor that the checkpoint lacks,
    from its HF name and its shape in the file, so that a config.json alone gives random weights of that size; without
    it a missing tensor is an error.
    Layers come stacked `[L, ...]`, or with `unrolled` as a tuple of layers: as `models.unroll` gives them, which would
    copy them all.

    Raises CheckpointError naming the file, tensor or field that is wrong and what is accepted.
    """
    _float_dtype(dtype)  # before anything is downloaded
    opened = open_checkpoint(path, complete=fill is None)
    return Model(opened.config, opened.params(dtype, mesh, fill, unrolled), opened.tokenizer())


class Checkpoint(NamedTuple):
    """A checkpoint directory whose config.json and headers have been checked; no tensor has been read."""

    folder: Path
    config: Config
    files: TensorFiles

    def tokenizer(self) -> Any:
        """The transformers tokenizer, None where the directory has none. CheckpointError if it cannot be read."""
        return _load_tokenizer(self.folder)

    def params(
        self,
        dtype: str | jnp.dtype = "float32",
        mesh: jax.sharding.Mesh | None = None,
        fill: Callable[[str, tuple[int, ...]], np.ndarray] | None = None,
        unrolled: bool = False,
    ) -> Params:
        """Read the weights; arguments and errors as in `from_pretrained`."""
        return load_params(self.files, self.config, _float_dtype(dtype), mesh, fill, unrolled)


def open_checkpoint(path: str | Path, complete: bool = True) -> Checkpoint:
    """Check names, shapes and dtypes of a checkpoint: a local directory or a hub name, as for `from_pretrained`.

    complete: a tensor that is missing is an error. Raises CheckpointError naming the file, tensor or field.
    """
    folder = local_folder(path, _HUB_PATTERNS)
    config = config_from_hf(_read_config(folder), str(folder / "config.json"))
    paths = model_files(folder) if complete or any(folder.glob("*.safetensors*")) else ()
    files = TensorFiles(paths, family_of(config.model_type).tensor_name)
    _check_names(files, leaves(config), config, folder, allow_missing=not complete)
    return Checkpoint(folder, config, files)


def _float_dtype(dtype: Any) -> np.dtype:
    accepted = tuple(DTYPES.values())
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.name not in accepted:
        raise CheckpointError(f"dtype={dtype!r} is not supported; accepted: {', '.join(accepted)}")
    return found


def _read_config(folder: Path) -> dict[str, Any]:
    values = read_json(member(folder, "config.json"))
    if (folder / "generation_config.json").exists():
        # Chat models end a turn with more tokens than config.json tells; this is where transformers looks as well.
        eos = read_json(member(folder, "generation_config.json")).get("eos_token_id")
        values["eos_token_id"] = values.get("eos_token_id") if eos is None else eos
    return values


def _check_names(
    files: TensorFiles, expected: list[Leaf], config: Config, folder: Path, *, allow_missing: bool
) -> None:
    wanted = {name: leaf for leaf in expected for name in leaf.names}
    missing = [name for name in wanted if name not in files]
    if missing and not allow_missing:
        raise CheckpointError(
            f"{folder}: missing {_listed(missing)}, which this {config.model_type} config.json asks for"
        )
    extra = [name for name in files if name not in wanted and not _ignored(name, files, config)]
    if extra:
        raise CheckpointError(
            f"{files.path(extra[0])}: {_listed(extra)} not part of a {config.model_type} model of this config.json"
        )
    for name, leaf in wanted.items():
        if name in files:
            files.check(name, leaf.tensor_shape)


def _ignored(name: str, files: TensorFiles, config: Config) -> bool:
    """A second copy of tied embeddings."""
    modules = family_of(config.model_type).modules
    tied, source = f"{modules['lm_head']}.weight", f"{modules['embed_tokens']}.weight"
    if not config.tie_embeddings or name != tied or source not in files:
        return False
    for copy in (tied, source):
        files.check(copy, (config.vocab_size, config.hidden_size))
    if not np.array_equal(files.read(tied), files.read(source)):
        raise CheckpointError(
            f"{files.path(tied)}: tensor {tied!r} differs from {source!r}, but config.json has tie_word_embeddings=true"
        )
    return True


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"tensor{'s' if len(names) > 1 else ''} {', '.join(map(repr, names[:3]))}{more}"


def _load_tokenizer(folder: Path) -> Any:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    check_tokenizer(folder)
    from transformers import AutoTokenizer  # slow to import, and not every caller has text

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the Rust code under it is no Exception
        raise CheckpointError(f"{folder}: the tokenizer files cannot be read ({error})") from error


def save_pretrained(
    path: str | Path,
    config: Config,
    params: Params,
    tokenizer: Any = None,
    max_shard_bytes: int = 4 * 2**30,
) -> None:
    """Write a directory that `from_pretrained` and transformers load with the same logits.

    params: plain arrays, stacked or unrolled, written in their own dtype; in shards of at most `max_shard_bytes` bytes
    with an index where one file is not enough. tokenizer: any with `save_pretrained`. Parameters on a mesh are gathered
    tensor by tensor; of several processes, all of which have to call this, the first one writes.

    Raises CheckpointError for adapted weights, for leaves that do not fit `config`, and for a `config` that the
    family's config.json cannot express.
    """
    config = written_as(config)
    config_to_hf(config)  # what a config.json cannot express is an error before anything is written
    expected = leaves(config)
    found = _leaf_arrays(params)
    _check_leaves(found, expected)
    folder, tensors = Path(path), _tensors(found, expected)
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder, tensors, max_shard_bytes)
        write_settings(folder, config, str(_first(found["norm/scale"]).dtype), tokenizer)
    else:
        for _, read, _ in tensors:
            read()  # what is spread over processes is gathered by all of them
    sync("save_pretrained")


def write_settings(folder: Path, config: Config, dtype: str, tokenizer: Any) -> None:
    """Write what stands beside the weights: config.json, generation_config.json and the tokenizer's files, if any."""
    values = {**config_to_hf(config), "torch_dtype": dtype}
    write_json(folder / "config.json", values)
    write_json(
        folder / "generation_config.json", {k: values[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    )
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def _first(value: Any) -> jax.Array:
    return value[0] if isinstance(value, list) else value


def _leaf_arrays(params: Params) -> dict[str, Any]:
    """`{path: stacked leaf}`, or a list of per-layer leaves where the layers are unrolled."""
    found: dict[str, Any] = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(params, is_leaf=is_weight)[0]:
        parts = [str(getattr(key, "key", "*")) for key in keys]
        if is_weight(leaf):
            raise CheckpointError(
                f"{'/'.join(parts)} is a {type(leaf).__name__}, not an array: an adapter is attached; "
                "materialize first (adapters.materialize), or save the adapter with save_peft"
            )
        if "*" in parts:
            parts.remove("*")
            found.setdefault("/".join(parts), []).append(leaf)
        else:
            found["/".join(parts)] = leaf
    return found


def _check_leaves(found: dict[str, Any], expected: list[Leaf]) -> None:
    wanted = {leaf.path: leaf.shape for leaf in expected}
    if wanted.keys() != found.keys():
        odd = sorted(wanted.keys() ^ found.keys())
        raise CheckpointError(f"params and config disagree about {', '.join(odd)}")
    for path, value in found.items():
        shape = (len(value), *value[0].shape) if isinstance(value, list) else value.shape
        if shape != wanted[path]:
            raise CheckpointError(f"{path} has shape {shape}; config asks for {wanted[path]}")
        _float_dtype(_first(value).dtype)


def _tensors(found: dict[str, Any], expected: list[Leaf]) -> Iterator[tuple[str, Callable[[], np.ndarray], int]]:
    for leaf in expected:
        value = found[leaf.path]
        size = math.prod(leaf.tensor_shape) * _first(value).dtype.itemsize
        for i, name in enumerate(leaf.names):
            yield name, partial(_tensor, value, i if leaf.stacked else None, leaf.transposed), size


def _tensor(value: Any, layer: int | None, transposed: bool) -> np.ndarray:
    array = host(value if layer is None else value[layer])
    return np.ascontiguousarray(array.T if transposed else array)
