"""What a SEAL run will take, said before it starts: parameters, adapters, memory of each stage on a device, disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from seal_jax import adapters, models
from seal_jax.data.squad import Passage
from seal_jax.models import sizes
from seal_jax.runtime.resources import Need
from seal_jax.seal.edits import edit_prompt
from seal_jax.seal.settings import Inner, PolicyUpdate, Settings
from seal_jax.seal.settings_sequential import Pretraining, Sequential
from seal_jax.training.loss import LOGITS_BYTES

QUESTION = 64
"""Tokens that a question's prompt is taken to have."""
ONE_DEVICE = {"data": 1, "fsdp": 1, "model": 1}


class Texts(NamedTuple):
    """How long things get, in tokens, and how many there are.

    passage, prompt: tokens of the longest passage and edit prompt; questions: most of a passage; passages: how many.
    """

    passage: int
    prompt: int
    questions: int
    passages: int


def longest(tokenizer: Any, passages: Sequence[Passage], settings: Settings) -> Texts:
    """The lengths of the longest passage, by characters, and of its prompt; nothing is truncated."""
    most = max(passages, key=lambda p: len(p.context))
    prompt = edit_prompt(most, settings.edits.kind, tokenizer=tokenizer if settings.edits.chat else None)
    passage, asked = (len(tokenizer.encode(text)) for text in (most.context, prompt))
    return Texts(passage, asked, max(len(p.questions) for p in passages), len(passages))


class Footprint(NamedTuple):
    """parameters, inner_adapter, policy_adapter: numbers; needs: of each stage.

    weights: bytes on each device; checkpoint: bytes of all weights in a file; texts: of what is written and noted.
    """

    parameters: int
    inner_adapter: int
    policy_adapter: int
    weights: int
    checkpoint: int
    texts: int
    needs: list[Need]


def footprint(
    config: models.Config, settings: Settings, dtype: str, texts: Texts, mesh: Mapping[str, int] = ONE_DEVICE
) -> Footprint:
    """The sizes of a run with these settings; mesh: devices on each axis, as in `runtime.mesh.axis_sizes`."""
    params = sizes.abstract_params(config, dtype)
    inner, policy = _trained_count(params, settings.inner), _adapter_count(params, settings.policy)
    itemsize = np.dtype(params["embed_tokens"]["embedding"].dtype).itemsize
    weights = sizes.weight_bytes(config, dtype, mesh)
    found = _Estimates(config, settings, itemsize, texts, mesh["data"] * mesh["fsdp"])
    needs = [
        found.writing(weights),
        found.inner_loop(weights, inner),
        found.answering(weights, inner),
        found.policy_update(weights, policy),
    ]
    count = sizes.count(params)
    return Footprint(count, inner, policy, weights, count * itemsize, found.text_bytes(), needs)


def disk_bytes(found: Footprint, rounds: int, export: bool) -> int:
    """An estimate of what a run takes on disk: edits and answers; for each round the adapters of the policy and of the
    random control; while one trains two checkpoints of adapter and optimizer state; the exported weights."""
    adapter = 4 * found.policy_adapter if rounds else 0
    adapters_ = 2 * rounds * adapter + 2 * 3 * adapter
    return (1 + 2 * rounds) * found.texts + adapters_ + (found.checkpoint if export else 0)


def pretraining(
    config: models.Config, settings: Pretraining, dtype: str, texts: Texts, mesh: Mapping[str, int] = ONE_DEVICE
) -> tuple[Need, int]:
    """What continued pretraining takes on a device, and how many numbers it trains."""
    params = sizes.abstract_params(config, dtype)
    trained = sizes.count(params) if settings.method == "full" else _adapter_count(params, settings)
    itemsize = np.dtype(params["embed_tokens"]["embedding"].dtype).itemsize
    weights, spread = sizes.weight_bytes(config, dtype, mesh), mesh["data"] * mesh["fsdp"]
    split = mesh["fsdp"] * mesh["model"] if settings.method == "full" else 1
    rows = -(-settings.batch_size // settings.accumulate // spread)
    length = min(settings.max_length, config.max_position)
    if settings.pad_loss == "masked":
        length = min(length, max(texts.passage, texts.prompt))
    sure = weights + _training_state(trained) // split
    step = sizes.activation_bytes(config, rows, length, itemsize, settings.remat) + logits_bytes(config, rows, length)
    advice = "a higher --pretraining.accumulate, --pretraining.remat"
    if settings.method == "full":
        advice = "--pretraining.method lora, --mesh with fsdp or model, " + advice
    return Need("continued pretraining", max(sure, 2 * weights), max(sure + step, 2 * weights), advice), trained


def sequences(
    config: models.Config, inner: Inner, of: Sequential, dtype: str, mesh: Mapping[str, int] = ONE_DEVICE
) -> Need:
    """What sequences keep on a device beside the base model, and what training their adapters takes, in one program."""
    params = sizes.abstract_params(config, dtype)
    at_once = -(-min(inner.at_once, of.sequences) // (mesh["data"] * mesh["fsdp"]))
    weights, trained = sizes.weight_bytes(config, dtype, mesh), _trained_count(params, inner)
    kept = 0
    if inner.method == "lora" and of.weights == "merged":
        kernels = adapters.select(params, inner.targets).values()
        kept = sum(math.prod(k.shape) * np.dtype(k.dtype).itemsize for k in kernels)
    elif of.weights == "stack":
        kept = 4 * trained * max(of.steps - 1, 1)
    # What a step leaves is there together with what it began from.
    sure = weights + at_once * (_training_state(trained) + kept)
    advice = "a lower --inner.at-once, or --weights stack, which keeps factors in place of kernels"
    return Need("sequences of edits", sure, sure + at_once * (kept + 4 * trained), advice)


def _trained_count(params: models.Params, inner: Inner) -> int:
    return sizes.count(params) if inner.method == "full" else _adapter_count(params, inner)


def _adapter_count(params: models.Params, of: Inner | PolicyUpdate | Pretraining) -> int:
    made = partial(adapters.lora.init, rank=of.rank, alpha=of.alpha, targets=of.targets)
    return sizes.count(jax.eval_shape(made, jax.random.key(0), params))


class _Estimates(NamedTuple):
    config: models.Config
    settings: Settings
    itemsize: int
    texts: Texts
    spread: int
    """Devices over which rows and edits are split."""

    def text_bytes(self) -> int:
        """Edits, and for each trial the answers, of one round; a token is taken to be four bytes of text."""
        edits, answering = self.settings.edits, self.settings.answering
        written = self.texts.passages * edits.count * edits.max_new_tokens
        answered = self.settings.seeds * edits.count * self.texts.passages * self.texts.questions
        return 4 * (written + answered * answering.max_new_tokens)

    def writing(self, weights: int) -> Need:
        edits = self.settings.edits
        slots = min(self.texts.prompt + edits.max_new_tokens, self.config.max_position)
        rows = -(-min(edits.rows, self.texts.passages * edits.count) // self.spread)
        cache = sizes.cache_bytes(self.config, rows, slots, self.itemsize)
        return Need("writing edits", weights, weights + cache, "lower --edits.rows or --edits.max-new-tokens")

    def inner_loop(self, weights: int, adapter: int) -> Need:
        inner = self.settings.inner
        at_once = self._at_once()
        length = inner.max_length if inner.pad_loss == "reference" else min(inner.max_length, self.texts.passage)
        state = at_once * _training_state(adapter)
        work = at_once * self._step(inner.batch_size, min(length, self.config.max_position), inner.remat)
        advice = "a lower --inner.at-once or --inner.rank; activations fall with --inner.remat"
        if inner.method == "full":
            advice = "--inner.method lora, or a lower --inner.at-once; activations fall with --inner.remat"
        return Need("the inner loop", weights + state, weights + state + work, advice)

    def _at_once(self) -> int:
        """Fine-tunes in one program, on one device."""
        trials = self.texts.passages * self.settings.edits.count * self.settings.seeds
        return -(-min(self.settings.inner.at_once, trials) // self.spread)

    def answering(self, weights: int, adapter: int) -> Need:
        at_once = self._at_once()
        slots = min(QUESTION + self.settings.answering.max_new_tokens, self.config.max_position)
        cache = sizes.cache_bytes(self.config, at_once * self.texts.questions, slots, self.itemsize)
        sure = weights + 4 * at_once * adapter
        return Need("answering", sure, sure + cache, "lower --inner.at-once")

    def policy_update(self, weights: int, adapter: int) -> Need:
        policy = self.settings.policy
        rows = -(-policy.batch_size // policy.accumulate // self.spread)
        longest = min(self.texts.prompt + self.settings.edits.max_new_tokens, policy.max_length)
        work = self._step(rows, min(longest, self.config.max_position), policy.remat)
        sure = weights + _training_state(adapter)
        # The trained model is merged beside the one that was trained and the one that all are compared with.
        advice = "a lower --policy.rank or --policy.max-length, --policy.remat, a higher --policy.accumulate"
        return Need("the policy update", max(sure, 2 * weights), max(sure + work, 3 * weights), advice)

    def _step(self, rows: int, length: int, remat: bool) -> int:
        step = sizes.activation_bytes(self.config, rows, length, self.itemsize, remat)
        return step + logits_bytes(self.config, rows, length)


def logits_bytes(config: models.Config, rows: int, length: int) -> int:
    """Bytes of the logits of a training step and of their gradients, as far as they exist at once."""
    return 2 * min(4 * rows * length * config.vocab_size, LOGITS_BYTES)


def _training_state(adapter: int) -> int:
    """Bytes of an adapter, its gradients and the two moments, all float32."""
    return 4 * 4 * adapter
