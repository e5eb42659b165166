"""Continued pretraining (arXiv 2506.10943, section 4.1): one fine-tune on all passages' edits, then all questions.

The corpus holds every completion of every passage, by default as one text each, and the passage once per completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from seal_jax import adapters, models, training
from seal_jax.data import packing
from seal_jax.data.squad import Passage
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.files import write_json
from seal_jax.runtime.logging import progress
from seal_jax.runtime.run import Run
from seal_jax.seal import cpt_metrics, fine_tunes, policy
from seal_jax.seal.answers import Outcome, ask
from seal_jax.seal.edits import training_sequences
from seal_jax.seal.graders import kept_in
from seal_jax.seal.settings import Answering
from seal_jax.seal.settings_sequential import Pretraining


def corpus(passages: Sequence[Passage], edits: Sequence[Sequence[str]], settings: Pretraining) -> list[str]:
    """The texts to train on, passage by passage: of each of its completions what that becomes, then the passage.

    An empty completion gives the passage alone, with `settings.bare_titles` the title before it, as released. A passage
    without a completion is there once. ValueError unless there is one list of completions for each passage.
    """
    if len(edits) != len(passages):
        raise ValueError(f"{len(edits)} lists of edits for {len(passages)} passages: give one for each")
    return [
        text
        for passage, completions in zip(passages, edits)
        for completion in completions or ("",)
        for text in _texts(passage, completion, settings)
    ]


def study(
    run: Run,
    model: models.Model,
    passages: Sequence[Passage],
    edits: Sequence[Sequence[str]],
    settings: Pretraining,
    answering: Answering,
    seed: int = 0,
) -> dict[str, Any]:
    """Continued pretraining beside what it is to be compared with, on the questions of the same passages.

    edits: the completions of each passage. "base" is the model as it is; "passage_only" was trained on the passages, as
    often as the corpus of the edits has them; "edits" on the edits and the passages. Each has the figures of
    `cpt_metrics.summary`, the trained ones also the questions gained and lost against "base", "texts", "steps" and the
    last "loss"; "differences" has paired ones. `runs/passage_only.json` and `runs/edits.json` in the run's directory
    have the answers and verdicts in the reference's format. Raises ValueError before any work for questions that do not
    fit the model's context, and if a fine-tune diverges.
    """
    answering = kept_in(run, answering)
    alone = [[""] * max(len(of_passage), 1) for of_passage in edits]
    conditions = {"passage_only": corpus(passages, alone, settings), "edits": corpus(passages, edits, settings)}
    outcomes = {"base": _asked(run, "base", model, passages, answering)}
    trained: dict[str, dict[str, Any]] = {}
    for name, texts in conditions.items():
        learner, trained[name] = pretrain(run, name, model, texts, settings, seed)
        outcomes[name] = _asked(run, name, learner, passages, answering)
        told = cpt_metrics.recorded(outcomes["base"], outcomes[name], len(texts))
        write_json(run.dir / "runs" / f"{name}.json", told)
    found = {name: cpt_metrics.summary(o) for name, o in outcomes.items()}
    changed = {n: cpt_metrics.changes(passages, outcomes["base"], outcomes[n]) for n in conditions}
    pairs = [("edits", "base"), ("edits", "passage_only"), ("passage_only", "base")]
    return {
        "base": found["base"],
        **{name: {**found[name], **trained[name], **changed[name]} for name in conditions},
        "differences": {f"{a} - {b}": cpt_metrics.compare(outcomes[a], outcomes[b]) for a, b in pairs},
        "seconds": run.seconds,
    }


def pretrain(
    run: Run, name: str, model: models.Model, texts: Sequence[str], settings: Pretraining, seed: int
) -> tuple[models.Model, dict[str, Any]]:
    """The model after the fine-tune on all texts, and `{"texts", "steps", "loss"}`: the mean loss of the last epoch.

    Kept as `stages/NAME/weights.tree`; while it trains, checkpoints every `settings.checkpoint_every` steps, from which
    a killed run goes on to the same numbers.
    """
    batch, lengths = _batches(model, texts, settings, seed)
    steps = len(lengths)

    def trained() -> Any:
        with progress(f"{name}/weights", steps) as advance:
            return _train(run, name, model, batch, lengths, settings, seed, advance)

    kept = run.stage(f"{name}/weights", trained, kind="tree")
    run.drop_checkpoints(name)
    losses = np.asarray(kept["losses"])
    for step, loss in enumerate(losses.tolist()):
        run.log({"stage": name, "step": step, "loss": loss}, id=f"{name}/{step}")
    report = {"texts": len(texts), "steps": steps, "loss": float(losses[-max(steps // settings.epochs, 1) :].mean())}
    return policy.merge(model, kept["weights"]), report


def _train(
    run: Run,
    name: str,
    model: models.Model,
    batch: packing.Batch,
    lengths: Sequence[int],
    settings: Pretraining,
    seed: int,
    advance: Any,
) -> dict[str, Any]:
    weights, losses = training.finetune_in_segments(
        model.params,
        model.config,
        policy.placed(model, _start(model, settings, seed)),
        batch,
        training.Hyper(
            settings.learning_rate, len(lengths), weight_decay=settings.weight_decay, clip=settings.clip, seed=seed
        ),
        loss_fn=training.lm_loss(settings.pad_loss, settings.remat),
        every=settings.checkpoint_every,
        checkpoints=Checkpointer(run.checkpoints / name),
        accumulate=settings.accumulate,
        lengths=lengths,
        on_progress=advance,
    )
    if training.diverged(weights, losses):
        raise ValueError(
            f"continued pretraining on {name} diverged (losses {losses[:3].tolist()} ...): lower the learning rate of "
            f"{settings.learning_rate}"
        )
    return {"weights": weights, "losses": losses}


def _start(model: models.Model, settings: Pretraining, seed: int) -> adapters.Adapter:
    if settings.method == "full":
        return fine_tunes.full(model.params)
    shapes = jax.eval_shape(models.stack, model.params)
    return adapters.lora.init(jax.random.key(seed), shapes, settings.rank, settings.alpha, settings.targets)


def _batches(
    model: models.Model, texts: Sequence[str], settings: Pretraining, seed: int
) -> tuple[packing.Batch, list[int]]:
    """All steps' batches `[S, B, T]`, every text once an epoch in a fresh order, and the columns each step uses."""
    most = min(settings.max_length, model.config.max_position)
    reference = settings.pad_loss == "reference"
    tokens = packing.encode_sequences(texts, model.tokenizer, most, eos=not reference)
    batch = packing.epoch_batches(
        tokens,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        length=most if reference else None,
        seed=seed,
        pad_id=fine_tunes.pad_id(model),
    )
    # The released objective is of all columns, pads included.
    return batch, [most] * len(batch["tokens"]) if reference else fine_tunes.widths(batch).tolist()


def _texts(passage: Passage, completion: str, settings: Pretraining) -> list[str]:
    found = training_sequences(completion, passage.title, passage.context, settings.split_newlines)
    return found if completion.strip() or settings.bare_titles else found[-1:]


def _asked(
    run: Run, name: str, model: models.Model, passages: Sequence[Passage], answering: Answering
) -> list[Outcome]:
    def compute() -> list[Outcome]:
        with progress(f"{name}/answers", sum(len(p.questions) for p in passages)) as advance:
            return ask(model, passages, answering, on_progress=advance)

    return run.stage(f"{name}/answers", compute)
