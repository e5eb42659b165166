"""The policy: a model that writes self-edits, and the supervised step that makes it write better ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax

from seal_jax import adapters, generation, models, training
from seal_jax.data import packing
from seal_jax.data.squad import Passage
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.mesh import mesh_of, use
from seal_jax.runtime.placement import shard_params
from seal_jax.seal.edits import edit_prompt
from seal_jax.seal.inner_loop import Memory, Store
from seal_jax.seal.settings import Edits, PolicyUpdate


def prompts(model: models.Model, passages: Sequence[Passage], edits: Edits) -> list[str]:
    """The edit prompt of every passage, in the tokenizer's chat form if the settings say so."""
    return [edit_prompt(p, edits.kind, tokenizer=model.tokenizer if edits.chat else None) for p in passages]


def write_edits(
    model: models.Model,
    passages: Sequence[Passage],
    edits: Edits,
    seed: int,
    store: Store | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[str]]:
    """`edits.count` self-edits of each passage, stripped; an edit may come out empty.

    A draw depends on (seed, title and text of the passage, number of the edit) alone. What `store` already holds, by
    "passage/edit", is not written again. Raises ValueError for a passage whose prompt fills the context.
    """
    store = Memory() if store is None else store
    asked = prompts(model, passages, edits)
    encoded = [model.tokenizer.encode(prompt) for prompt in asked]
    _check_room(passages, encoded, model.config.max_position)
    todo = [(i, k) for i in range(len(passages)) for k in range(edits.count)]
    # Prompts of similar length together: a batch is as long as its longest row.
    todo.sort(key=lambda ik: (len(encoded[ik[0]]), ik))
    params = models.unroll(model.params)
    for start in range(0, len(todo), edits.rows):
        chunk = todo[start : start + edits.rows]
        if any(f"{i}/{k}" not in store for i, k in chunk):
            out = generation.generate(
                params,
                model.config,
                [encoded[i] for i, _ in chunk],
                jax.random.key(seed),
                max_new_tokens=[
                    min(edits.max_new_tokens, model.config.max_position - len(encoded[i])) for i, _ in chunk
                ],
                temperature=edits.temperature,
                top_k=edits.top_k,
                top_p=edits.top_p,
                stop=edits.stop,
                tokenizer=model.tokenizer,
                row_ids=[_row_id(passages[i], k) for i, k in chunk],
            )
            for (i, k), text in zip(chunk, out.texts or ()):
                if f"{i}/{k}" not in store:
                    store.add(f"{i}/{k}", text.strip())
        if on_progress:
            on_progress(len(chunk))
    return [[store[f"{i}/{k}"] for k in range(edits.count)] for i in range(len(passages))]


def check_context(model: models.Model, passages: Sequence[Passage], edits: Edits) -> None:
    """Raise ValueError, naming the passage, if an edit prompt fills the model's context."""
    encoded = [model.tokenizer.encode(prompt) for prompt in prompts(model, passages, edits)]
    _check_room(passages, encoded, model.config.max_position)


def _row_id(passage: Passage, number: int) -> int:
    return zlib.crc32(f"{passage.title}\n{passage.context}\n{number}".encode()) & 0x7FFFFFFF


def _check_room(passages: Sequence[Passage], encoded: Sequence[Sequence[int]], context: int) -> None:
    for passage, tokens in zip(passages, encoded):
        if len(tokens) >= context:
            raise ValueError(
                f"passage {passage.title!r}: its edit prompt has {len(tokens)} tokens and the model's context is "
                f"{context}; shorten the passage or take a model with a longer context"
            )


def improve(
    model: models.Model,
    rows: Sequence[dict[str, str]],
    update: PolicyUpdate,
    seed: int,
    checkpoints: Checkpointer | None = None,
) -> tuple[adapters.Adapter, list[float]]:
    """Supervised fine-tuning on `{"prompt", "completion"}` rows: the trained LoRA adapter and the loss of each step.

    Loss on the completion and its end-of-text only. With `checkpoints`, adapter, optimizer state and data position are
    kept every `update.checkpoint_every` steps, and a killed update goes on from there to the same numbers.
    Raises ValueError without rows, or if training diverges.
    """
    if not rows:
        raise ValueError("no edit was selected: the policy has nothing to learn from (a lower bar, or more edits?)")
    encode = model.tokenizer.encode
    pairs = [(encode(r["prompt"]), _continuation(model, r["prompt"], r["completion"])) for r in rows]
    part = update.batch_size // update.accumulate
    batch = packing.completion_batches(
        pairs,
        eos_id=model.tokenizer.eos_token_id,
        max_length=min(update.max_length, model.config.max_position),
        epochs=update.epochs,
        batch_size=min(update.batch_size, -(-len(rows) // part) * part),
        seed=seed,
    )
    shapes = jax.eval_shape(models.stack, model.params)
    fresh = adapters.lora.init(jax.random.key(seed), shapes, update.rank, update.alpha, update.targets)
    steps = batch["tokens"].shape[0]
    hyper = training.Hyper(learning_rate=update.learning_rate, steps=steps, clip=update.clip, seed=seed)
    trained, losses = training.finetune_in_segments(
        model.params,
        model.config,
        placed(model, fresh),
        batch,
        hyper,
        training.adamw_cosine if update.schedule == "cosine" else training.adamw,
        training.lm_loss(remat=update.remat),
        every=update.checkpoint_every,
        checkpoints=checkpoints,
        accumulate=batch["tokens"].shape[1] // part,
    )
    if training.diverged(trained, losses):
        raise ValueError(
            f"training the policy diverged (losses {losses[:3].tolist()} ...): lower the learning rate of "
            f"{update.learning_rate}"
        )
    return trained, losses.tolist()


def _continuation(model: models.Model, prompt: str, completion: str) -> list[int]:
    """Tokens of the completion as they follow the prompt, where the two tokenise apart from each other.

    Where they do not (a prompt that ends in a space), those it has at the beginning of a line: in the middle of a text
    belongs no BOS, and no space that some tokenizers put before whatever they are given.
    """
    encode = model.tokenizer.encode
    head, whole = encode(prompt), encode(prompt + completion)
    if whole[: len(head)] == head:
        return whole[len(head) :]
    start, line = (encode(text, add_special_tokens=False) for text in ("\n", f"\n{completion}"))
    return line[len(start) :] if line[: len(start)] == start else encode(completion, add_special_tokens=False)


def merge(model: models.Model, adapter: Any) -> models.Model:
    """The model with the adapter merged into its weights."""
    with use(mesh_of(model.params)):
        merged = _merge(model.params, placed(model, adapter))
    return model._replace(params=placed(model, merged))


def placed(model: models.Model, tree: Any) -> Any:
    """Parameters or an adapter, split over the mesh that the model lives on."""
    mesh = mesh_of(model.params)
    return tree if mesh is None else shard_params(tree, mesh, model.config)


@jax.jit
def _merge(params: Any, adapter: Any) -> Any:
    return adapters.materialize(adapters.attach(params, adapter))
