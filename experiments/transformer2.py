"""Transformer-squared on the embedded skills world: experts, dispatch, mixtures, and experts on another base.

Claim     an expert of singular values, learnt from right and wrong alone, raises every family by more than 3 paired
          standard errors with a twentieth of the parameters of LoRA, which gains more; a mixture found on ten examples
          answers a family that no expert was trained for better than the base and than each expert
Command   python -m experiments.transformer2 --out runs/transformer2
          python -m experiments.transformer2 --seeds 0 --test 128 --out runs/transformer2_short
Hardware  two CPU cores; resumes from --out when run again
Expected  from base 50.8, 53.5, 49.0 % to 100.0, 93.3, 85.9 (LoRA 100.0, 99.7, 96.4), paired errors 2.2; unseen 26.4 to
          59.3 (best expert 49.4), and to 59.7 with weights for each layer, paired errors 2.2 and 2.1
Last run  2026-11-21, 21 minutes in stages and 4 of pretraining, other work on both cores; docs/transformer2.md
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from experiments import pretrain_worlds
from seal_jax import models, training
from seal_jax.data.worlds import skills_corpus
from seal_jax.runtime import Run, expert_plots
from seal_jax.runtime.logging import table
from seal_jax.transformer2 import demo, skills


@dataclasses.dataclass(frozen=True)
class Arguments:
    """other_steps: pretraining steps of the base of another seed; tuned_steps: of the fine-tuned copy of the base."""

    out: pathlib.Path = pathlib.Path("runs/transformer2")
    seeds: tuple[int, ...] = (0, 1, 2)
    test: int = skills.TEST
    other_steps: int = 800
    tuned_steps: int = 100
    restart: bool = False


def main(args: Arguments) -> None:
    """Run the study, write result.json and the figures, print the tables."""
    settings = settings_of(args)
    with opened(args, settings) as run:
        model = models.from_pretrained(skills.CHECKPOINT)
        bases = {"tuned_copy": lambda: tuned_copy(run, model, args.tuned_steps)}
        bases["other_seed"] = lambda: other_seed(run.checkpoints / "other_seed", args.other_steps)
        result = run.finish(demo.skills_study(run, model, settings, bases))
    draw(args.out, result)
    for title, rows in demo.tables(result).items():
        table(rows, title)


def settings_of(args: Arguments) -> demo.Settings:
    """The study's settings."""
    return demo.Settings(seeds=args.seeds, test=args.test)


def opened(args: Arguments, settings: demo.Settings) -> Run:
    """The study's run: begun, or as it was left, for what is asked of its experts later too."""
    return Run(args.out, {**dataclasses.asdict(args), "settings": settings}, args.restart)


def tuned_copy(run: Run, model: models.Model, steps: int) -> models.Model:
    """The base after further full training on documents of its own world: the same singular directions, moved."""
    rng = np.random.default_rng(7)
    documents = [skills_corpus.draw(rng) for _ in range(steps * 64)]
    tokens, weights = pretrain_worlds.encode(documents, model.tokenizer, 24)
    batch = {"tokens": tokens, "mask": tokens > 0, "loss_mask": weights > skills_corpus.QUESTION_WEIGHT}
    batches = {name: x.reshape(steps, 64, -1) for name, x in batch.items()}
    hyper = training.Hyper(1e-3, steps)

    def tuned() -> Any:
        params = models.unroll(model.params)
        return training.finetune(
            params, model.config, model.params, batches, hyper, attach_fn=training.full_parameters
        )[0]

    return model._replace(params=run.stage("tuned_copy", tuned, kind="tree", like=model.params))


def other_seed(out: pathlib.Path, steps: int) -> models.Model:
    """A base of the same architecture and world, pretrained from another seed."""
    if not (out / "export").exists():
        defaults = pretrain_worlds.DEFAULTS["skills"]
        pretrain_worlds.main(dataclasses.replace(defaults, out=str(out), seed=1, steps=steps, evaluate_every=steps))
    return models.from_pretrained(out / "export")


def draw(out: pathlib.Path, result: dict[str, Any]) -> None:
    """learning_curves.png, scale_vectors.png, mixing_weights.png."""
    figures = result["figures"]
    expert_plots.learning_curves(out / "learning_curves.png", figures["curves"])
    z = {name: {path.split("/")[-2]: x for path, x in each.items()} for name, each in figures["z"].items()}
    expert_plots.scale_vectors(out / "scale_vectors.png", z)
    weights = {name: each["weights"] for name, each in result["unseen"].items() if "weights" in each}
    expert_plots.mixing_weights(out / "mixing_weights.png", weights, list(figures["curves"]))


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
