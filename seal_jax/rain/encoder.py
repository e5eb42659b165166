"""A BERT sentence encoder: the mean of its last hidden states, as all-MiniLM and its like have it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from seal_jax.models import CheckpointError
from seal_jax.models.layers import ACTIVATIONS
from seal_jax.models.tensors import TensorFiles, model_files, read_json

_DROPPED = ("pooler.", "cls.", "classifier.")  # what comes after the hidden states


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Sizes of a BERT, by the names of its config.json; max_length: positions that a text may take."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    hidden_act: str
    max_length: int


@struct.dataclass
class Encoder:
    """A BERT: params by tensor name, kernels `[in, out]`; a pytree."""

    params: dict[str, jax.Array]
    config: EncoderConfig = struct.field(pytree_node=False)

    def __call__(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """Sentence embeddings of unit length, float32 `[R, hidden]`: the mean state of the real tokens.

        ids: int32 `[R, W]` with the special tokens; mask: bool `[R, W]`. A row without a token is 0.
        """
        states = hidden_states(self, ids, mask).astype(jnp.float32)
        return unit(jnp.where(mask[:, :, None], states, 0.0).sum(axis=1))


def unit(x: jax.Array) -> jax.Array:
    """Vectors `[..., E]` of length 1, and 0 where they are 0."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def hidden_states(encoder: Encoder, ids: jax.Array, mask: jax.Array) -> jax.Array:
    """The last hidden states `[R, W, hidden]` of the first segment; ids int32 and mask bool `[R, W]`."""
    p, c = encoder.params, encoder.config
    x = jnp.take(p["embeddings.word_embeddings.weight"], ids, axis=0)
    x = x + p["embeddings.position_embeddings.weight"][None, : ids.shape[1]]
    x = x + p["embeddings.token_type_embeddings.weight"][None, :1]
    x = _norm(encoder, "embeddings.LayerNorm", x)
    for layer in range(c.num_hidden_layers):
        at = f"encoder.layer.{layer}."
        y = _dense(encoder, at + "attention.output.dense", _attention(encoder, at + "attention.self.", x, mask))
        x = _norm(encoder, at + "attention.output.LayerNorm", x + y)
        y = ACTIVATIONS[c.hidden_act](_dense(encoder, at + "intermediate.dense", x))
        x = _norm(encoder, at + "output.LayerNorm", x + _dense(encoder, at + "output.dense", y))
    return x


def _attention(encoder: Encoder, at: str, x: jax.Array, mask: jax.Array) -> jax.Array:
    rows, width, size = x.shape
    heads = encoder.config.num_attention_heads
    q, k, v = (
        _dense(encoder, at + name, x).reshape(rows, width, heads, size // heads) for name in ("query", "key", "value")
    )
    logits = jnp.einsum("rqhd,rkhd->rhqk", q, k, preferred_element_type=jnp.float32) * (size // heads) ** -0.5
    logits = jnp.where(mask[:, None, None], logits, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(x.dtype)
    return jnp.einsum("rhqk,rkhd->rqhd", weights, v).reshape(x.shape)


def _dense(encoder: Encoder, name: str, x: jax.Array) -> jax.Array:
    return x @ encoder.params[f"{name}.weight"] + encoder.params[f"{name}.bias"][None, None]


def _norm(encoder: Encoder, name: str, x: jax.Array) -> jax.Array:
    y = x.astype(jnp.float32)
    y = y - y.mean(axis=-1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.square(y).mean(axis=-1, keepdims=True) + encoder.config.layer_norm_eps)
    scale, bias = (encoder.params[f"{name}.{part}"].astype(jnp.float32)[None, None] for part in ("weight", "bias"))
    return (y * scale + bias).astype(x.dtype)


def load_encoder(path: str | Path, dtype: str = "float32") -> Encoder:
    """An encoder from a local directory with config.json and safetensors, as sentence-transformers or *transformers*.

    Raises CheckpointError, naming file and field, for another architecture than BERT, positions that are not learned,
    another pooling than the mean, and tensors that are missing or of another shape.
    """
    folder = Path(path)
    config = _config(folder)
    files = TensorFiles(model_files(folder), _known_name)
    params = {}
    for name, shape in _shapes(config).items():
        if name not in files:
            raise CheckpointError(f"{folder}: no tensor {name!r}, which a BERT of this config.json has")
        tensor = files.read_as(name, shape, dtype)
        kernel = len(shape) == 2 and not name.startswith("embeddings.")
        params[name] = jnp.asarray(np.ascontiguousarray(tensor.T) if kernel else tensor)
    return Encoder(params, config)


def _known_name(stored: str) -> str | None:
    name = stored.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
    name = name.replace("LayerNorm.beta", "LayerNorm.bias")
    return None if name.startswith(_DROPPED) or name == "embeddings.position_ids" else name


def _config(folder: Path) -> EncoderConfig:
    file = folder / "config.json"
    values = read_json(file)
    _expect(file, values, "model_type", "bert", None)
    _expect(file, values, "position_embedding_type", "absolute", "absolute")
    _expect(file, values, "is_decoder", False, False)
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file():
        _expect(pooling, read_json(pooling), "pooling_mode_mean_tokens", True, None)
    fields = {field.name: values.get(field.name) for field in dataclasses.fields(EncoderConfig)}
    fields = {"type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"} | {
        name: value for name, value in fields.items() if value is not None
    }
    sentence = folder / "sentence_bert_config.json"
    length = read_json(sentence).get("max_seq_length") if sentence.is_file() else None
    positions = fields.get("max_position_embeddings")
    fields["max_length"] = min(length, positions) if isinstance(length, int) and positions else positions
    missing = [field.name for field in dataclasses.fields(EncoderConfig) if fields.get(field.name) is None]
    if missing:
        raise CheckpointError(f"{file}: the field {missing[0]!r} is missing")
    if fields["hidden_act"] not in ACTIVATIONS:
        raise CheckpointError(f"{file}: hidden_act {fields['hidden_act']!r} is none of {', '.join(ACTIVATIONS)}")
    if fields["hidden_size"] % fields["num_attention_heads"]:
        raise CheckpointError(f"{file}: num_attention_heads does not divide hidden_size")
    return EncoderConfig(**fields)


def _expect(file: Path, values: dict[str, Any], name: str, wanted: Any, default: Any) -> None:
    if (found := values.get(name, default)) != wanted:
        raise CheckpointError(f"{file}: {name} is {found!r}; a sentence encoder here is a BERT with {wanted!r}")


def _shapes(c: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """The tensors of a BERT with their shapes in the file."""
    size, inner = c.hidden_size, c.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (c.vocab_size, size),
        "embeddings.position_embeddings.weight": (c.max_position_embeddings, size),
        "embeddings.token_type_embeddings.weight": (c.type_vocab_size, size),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(c.num_hidden_layers):
        at = f"encoder.layer.{layer}."
        norms += [at + "attention.output.LayerNorm", at + "output.LayerNorm"]
        square = [f"attention.self.{name}" for name in ("query", "key", "value")] + ["attention.output.dense"]
        for name, shape in [
            *((name, (size, size)) for name in square),
            ("intermediate.dense", (inner, size)),
            ("output.dense", (size, inner)),
        ]:
            shapes |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
    return shapes | {f"{name}.{part}": (size,) for name in norms for part in ("weight", "bias")}
