"""Continued pretraining on the biographies world: one fine-tune on the self-edits of many people.

Claim     trained on all people at once the model learns less of each than where each has a fine-tune of its own; with
          self-edits it learns more than from the passages alone, and all weights learn more than one adapter
Command   python -m experiments.continued_pretraining --out runs/continued_pretraining
Hardware  two CPU cores; resumes from --out when run again
Expected  100 people, passages, self-edits: one adapter 0.03, 0.07, all weights 0.04, 0.17; each 0.04, 0.22, 0.11, 0.34
Last run  2026-11-21, 39 minutes with much other work on the machine; docs/seal.md, "Continued pretraining"
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, replace
from typing import Any

from seal_jax import models
from seal_jax.cli.report import Report, show
from seal_jax.data.worlds import biographies
from seal_jax.runtime import Run
from seal_jax.seal import answers, cpt, demo, knowledge
from seal_jax.seal import cpt_metrics as metrics
from seal_jax.seal.settings_sequential import Pretraining

EDITS, INNER, ANSWERING = demo.SETTINGS.edits, demo.SETTINGS.inner, demo.SETTINGS.answering
# "one" fine-tune on all edits and as many passages or "each" on its first edit; (learning rate, epochs) tried on "dev".
TRIED = {
    "one lora": ((1e-3, 15), (3e-3, 5), (3e-3, 15)),
    "one full": ((3e-4, 15), (1e-3, 5), (1e-3, 15)),
    "each lora": ((INNER.learning_rate, INNER.epochs),),
    "each full": ((3e-4, INNER.epochs), (1e-3, INNER.epochs)),
}
WAYS = {f"{how} {corpus}": tried for how, tried in TRIED.items() for corpus in ("passages", "self-edits")}
PAIRS = [(f"{how} self-edits", f"{how} passages") for how in TRIED]
PAIRS += [("one full self-edits", "one lora self-edits"), ("each full self-edits", "one full self-edits")]
COLUMNS = ("people", "fine-tune", "accuracy", "stderr", "gained", "lost", "loglik", "loglik_stderr", "known people")


@dataclass(frozen=True)
class Arguments:
    """People of "dev" to choose on, numbers of people of "test", self-edits of each by the base model."""

    out: pathlib.Path = pathlib.Path("runs/continued_pretraining")
    tuning: int = 50
    people: tuple[int, ...] = (25, 100)
    edits: int = 3
    seed: int = 0
    restart: bool = False
    json: bool = False


def main(args: Arguments) -> dict[str, Any]:
    """Choose settings, train in every way on each number of people, write result.json, print the table."""
    model, rows, chosen = models.from_pretrained(demo.CHECKPOINT), [], {}
    known, dev = biographies.passages("known", 64, args.seed), biographies.passages("dev", args.tuning, args.seed, 400)
    with Run(args.out, args, args.restart) as run:
        for name, tried in WAYS.items():
            grid = [metrics.summary(_trained(run, "dev", model, dev, [], name, c, args))["accuracy"] for c in tried]
            chosen[name] = {"tried": tried, "accuracy": grid, "chosen": tried[grid.index(max(grid))]}
        for count in args.people:
            people, split = biographies.passages("test", count, args.seed), f"test{count}"
            found = {"base": run.stage(f"{split}/base", lambda p=people: answers.ask(model, p + known, ANSWERING))}
            found |= {n: _trained(run, split, model, people, known, n, chosen[n]["chosen"], args) for n in WAYS}
            rows += [_row(name, people, found["base"], outcomes) for name, outcomes in found.items()]
            pairs = {f"{a} - {b}": metrics.compare(found[a][:count], found[b][:count]) for a, b in PAIRS}
            rows += [{"people": count, "fine-tune": name, **pair["accuracy"]} for name, pair in pairs.items()]
        result = run.finish({"rows": rows, "chosen": chosen, "seconds": run.seconds})
        show(Report(result, rows, "Accuracy over questions, errors by person"), args.json)
    return result


def _trained(run: Run, split: str, model: Any, people: Any, known: Any, name: Any, choice: Any, args: Arguments) -> Any:
    """Outcomes of the people, and after a fine-tune on all of them also those of the known ones."""
    (regime, method, corpus), (rate, epochs) = name.split(), choice
    edits = [[""] * args.edits] * len(people)
    if corpus == "self-edits":
        edits = knowledge.write_all(run, f"{split}/edits", model, people, replace(EDITS, count=args.edits), args.seed)
    stage = f"{split}/{regime}-{method}-{corpus}/{rate:g}x{epochs}"
    if regime == "each":
        settings = replace(demo.SETTINGS, inner=replace(INNER, method=method, learning_rate=rate, epochs=epochs))
        scores = knowledge.score_edits(run, stage, model, people, [e[:1] for e in edits], settings, [args.seed])
        return [outcomes[0][0] for outcomes in scores.outcomes]
    settings = Pretraining(method, INNER.rank, INNER.alpha, INNER.targets, rate, epochs, accumulate=1)
    learner, _ = cpt.pretrain(run, stage, model, cpt.corpus(people, edits, settings), settings, args.seed)
    return run.stage(f"{stage}/answers", lambda: answers.ask(learner, [*people, *known], ANSWERING))


def _row(name: str, people: Any, base: Any, outcomes: Any) -> dict[str, Any]:
    of, known = outcomes[: len(people)], outcomes[len(people) :]
    row = {"people": len(people), "fine-tune": name, **metrics.summary(of)}
    row |= metrics.changes(people, base[: len(people)], of)
    row |= {"known people": metrics.summary(known)["accuracy"]} if known else {}
    return {key: row[key] for key in COLUMNS if key in row}


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
