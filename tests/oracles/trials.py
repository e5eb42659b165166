"""One trial of the inner loop, alone and step by step: batches written out by hand, every question on its own."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax import adapters, generation, models, training
from seal_jax.data.packing import permutation
from seal_jax.evaluation.grading import correct


def run(model, trial, inner, answering, steps, length, width=48):
    """The outcome of `trial`; its batches are padded with empty steps to `[steps, 1, length]`."""
    texts = [encode(model, text, inner, length) for text in trial.texts]
    order = []
    for epoch in range(inner.epochs):
        lines = permutation(len(texts) - 1, trial.seed, trial.item, epoch)
        order += [texts[i] for i in lines] + [texts[-1]]
    batches = {
        "tokens": np.full((steps, 1, length), model.tokenizer.eos_token_id, np.int32),
        "mask": np.zeros((steps, 1, length), bool),
    }
    for step, text in enumerate(order):
        batches["tokens"][step, 0, : len(text)] = text
        batches["mask"][step, 0, : len(text)] = True
    adapter, losses = train(model, trial, inner, batches, len(order))
    params = adapters.attach(model.params, adapter)
    answers, correct_, loglik = [], [], []
    for asked in trial.passage.questions:
        prompt = f"Topic: {trial.passage.title}\n{asked.question}\nAnswer:"
        answers.append(answer(model, params, prompt, answering))
        correct_.append(correct(answers[-1], asked.answer, answering.rule))
        loglik.append(gold_log_likelihood(model, params, prompt, asked.answer, width))
    return {
        "answers": answers,
        "correct": correct_,
        "loglik": loglik,
        "steps": len(order),
        "loss": losses[len(order) - 1],
    }


def encode(model, text, inner, length):
    ids = model.tokenizer.encode(text)
    ids = ids if inner.pad_loss == "reference" else [*ids, model.tokenizer.eos_token_id]
    return ids[: min(length, inner.max_length)]


def train(model, trial, inner, batches, steps):
    key = jax.random.fold_in(jax.random.key(trial.seed), trial.item)
    adapter = adapters.lora.init(key, model.params, inner.rank, inner.alpha, inner.targets)
    hyper = training.Hyper(inner.learning_rate, steps, weight_decay=inner.weight_decay, clip=inner.clip)
    loss = training.lm_loss(inner.pad_loss, inner.remat)
    adapter, metrics = training.finetune(model.params, model.config, adapter, batches, hyper, loss_fn=loss)
    return adapter, np.asarray(metrics["loss"]).tolist()


def answer(model, params, prompt, answering):
    how = {"max_new_tokens": answering.max_new_tokens, "stop": answering.stop}
    return generation.generate(params, model.config, [prompt], None, tokenizer=model.tokenizer, **how).texts[0].strip()


def gold_log_likelihood(model, params, prompt, gold, width):
    """Mean log-probability of the gold answer's tokens after the prompt, which here tokenise apart."""
    head, tail = model.tokenizer.encode(prompt), model.tokenizer.encode(gold)
    row = np.zeros((1, width), np.int32)
    row[0, : len(head) + len(tail)] = [*head, *tail]
    mask = np.arange(width)[None] < len(head) + len(tail)
    log_probs = np.asarray(_log_softmax(params, model.config, jnp.asarray(row), jnp.asarray(mask)), np.float64)[0]
    positions = range(len(head), len(head) + len(tail))
    return float(np.mean([log_probs[t - 1, row[0, t]] for t in positions]))


@functools.partial(jax.jit, static_argnums=1)
def _log_softmax(params, config, tokens, mask):
    return jax.nn.log_softmax(models.forward(params, config, tokens, mask), -1)
