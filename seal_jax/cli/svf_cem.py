"""`seal-jax svf cem`: a mixture of experts, found on a few problems of a task and scored on its others."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seal_jax.cli.options import at_least
from seal_jax.cli.report import Report, finished
from seal_jax.cli.startup import open_model
from seal_jax.cli.svf_options import OneTask, WithExperts, expert_files, own_task, prepared, run_config
from seal_jax.transformer2.few_shot import FewShot

if TYPE_CHECKING:
    from seal_jax.cli.svf_options import Ready
    from seal_jax.runtime import Run
    from seal_jax.transformer2.experts import Expert
    from seal_jax.transformer2.few_shot import Found

Unprefixed = Annotated[FewShot, tyro.conf.arg(name="")]
DEFAULTS = FewShot()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cem(OneTask, WithExperts):
    """Search for the mixture of experts that answers a few problems best; score it and the base on all others."""

    shots: int = 10
    """Problems of the task's test split that the search sees, drawn by --seed; the rest is scored."""
    settings: Unprefixed = DEFAULTS

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(1, shots=self.shots)

    def __call__(self) -> Report:
        """Search, write the mixture as an expert, score it."""
        from seal_jax.runtime import Run

        files = expert_files(self.experts)
        with Run(self.out, run_config(self, files), self.restart) as run:
            return finished(run, _searched(self, run, files), over="problems")


def _searched(command: Cem, run: Run, files: Mapping[str, pathlib.Path]) -> dict[str, Any]:
    from seal_jax.transformer2.expert_files import save_expert
    from seal_jax.transformer2.scores import compared, verdicts
    from seal_jax.transformer2.task_sets import draw_shots

    opened, settings = open_model(command.model, command.mesh), command.settings
    task = own_task(command, opened)
    shots, rest = draw_shots(task, "test", command.shots, command.seed)
    ready = prepared(command, opened, [task], files)
    bank = ready.bank(list(files))
    found = _found(command, run, ready, bank, task, shots)
    answers = lambda adapter: verdicts(  # noqa: E731
        ready.model, task, rest, adapter, bank.factors, bank.compose, rows=command.rows
    )
    scored = {
        "base": run.stage("answers/base", lambda: answers(None)),
        "mixture": run.stage("answers/mixture", lambda: answers(found.adapter)),
    }
    told = {"experts": list(files), "weights": found.alpha.tolist(), "per": settings.per, "mix": settings.mix}
    written = save_expert(command.out / "mixture.safetensors", _mixture(command, ready, found, told))
    return {
        **compared(scored),
        "task": task.name,
        "shots": {"ids": [p.id for p in shots], "accuracy": found.fitness},
        **told,
        "mean_weights": dict(zip(files, found.alpha.mean(1).tolist())),
        "history": found.history,
        "file": written,
        "seconds": run.seconds,
    }


def _mixture(command: Cem, ready: Ready, found: Found, told: dict[str, Any]) -> Expert:
    """What was found as an expert of the model it was found on, which with --allow-transfer is not the experts' own."""
    from seal_jax.transformer2.experts import make_expert

    first = next(iter(ready.experts.values())).meta
    return make_expert(
        found.adapter,
        ready.model.params,
        task=command.task,
        targets=first.targets,
        base=None if command.allow_transfer else first.base,
        base_name=command.model,
        compose=first.compose,
        score=found.fitness,
        seed=command.seed,
        settings=told,
    )


def _found(command: Cem, run: Run, ready: Any, bank: Any, task: Any, shots: Any) -> Found:
    """The search, generation by generation; what an earlier attempt has finished is not tried again."""
    import jax

    from seal_jax.runtime.logging import progress
    from seal_jax.transformer2.few_shot import few_shot

    experts = [ready.experts[name].adapter for name in expert_files(command.experts)]
    with progress("search", command.settings.generations) as advance:
        return few_shot(
            ready.model,
            experts,
            bank.factors,
            task,
            shots,
            command.settings,
            jax.random.key(command.seed),
            compose=bank.compose,
            rows=command.rows,
            items=run.items("search"),
            on_progress=advance,
        )
