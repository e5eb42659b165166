"""One sequence of edits the slow way: one model, one edit, one merge after the other."""

import jax

from seal_jax import generation, models, training
from seal_jax.adapters import lora
from seal_jax.data import packing
from seal_jax.seal import answers, policy
from seal_jax.seal.edits import edit_prompt, training_sequences
from seal_jax.seal.sequential import accuracy


def run(model, passages, settings, seed, place, merge=True):
    """Edits, rows of accuracies and of log-likelihoods, after each step; the last model.

    merge: a fresh adapter each step, merged; else one adapter trained on.
    """
    inner, adapter = settings.inner, None
    edits, accuracies, likelihoods = [], [], []
    for step, passage in enumerate(passages):
        now = model if merge or adapter is None else policy.merge(model, adapter)
        edits.append(write(now, passage, settings.edits, seed, place, step))
        item = 1 + place * 10_000 + step
        if merge or adapter is None:
            key = jax.random.fold_in(jax.random.key(seed), item)
            adapter = lora.init(key, models.stack(model.params), inner.rank, inner.alpha, inner.targets)
        texts = training_sequences(edits[-1], passage.title, passage.context)
        tokens = packing.encode_sequences(texts, model.tokenizer, inner.max_length)
        batch = packing.edit_batches(
            tokens[:-1],
            tokens[-1],
            epochs=inner.epochs,
            batch_size=inner.batch_size,
            line_steps=max(len(tokens) - 1, 1),
            length=max(len(t) for t in tokens),
            seed=seed,
            item=item,
        )
        taken = int(batch["mask"].any((1, 2)).sum())
        hyper = training.Hyper(inner.learning_rate, taken, weight_decay=inner.weight_decay, clip=inner.clip, seed=seed)
        adapter, _ = training.finetune(model.params, model.config, adapter, batch, hyper)
        after = policy.merge(model, adapter)
        asked = answers.ask(after, passages[: step + 1], settings.answering)
        accuracies.append([accuracy(o) for o in asked])
        likelihoods.append([o["loglik"] for o in asked])
        model = after if merge else model
    return edits, accuracies, likelihoods


def write(model, passage, edits, seed, place, step):
    """One edit, from the key that the sequence and the step have."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0), place), step)
    prompt = edit_prompt(passage, edits.kind)
    out = generation.generate(
        model.params,
        model.config,
        [prompt],
        key,
        max_new_tokens=edits.max_new_tokens,
        temperature=edits.temperature,
        top_p=edits.top_p,
        tokenizer=model.tokenizer,
    )
    return out.texts[0].strip()
