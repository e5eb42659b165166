"""`seal-jax rain`: prompts are continued by a search that judges what could be said before it is said."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from seal_jax.cli import rain_prompts
from seal_jax.cli.options import RunOptions, at_least, config_of
from seal_jax.cli.rain_prompts import Asking
from seal_jax.cli.rain_settings import Preset, Searching
from seal_jax.cli.rain_startup import Plan, announce_rain
from seal_jax.cli.report import Report
from seal_jax.cli.startup import Opened, open_model
from seal_jax.runtime.files import JsonLines, dumps, write_atomic

if TYPE_CHECKING:
    from seal_jax.models import Model
    from seal_jax.rain import Judge
    from seal_jax.rain.host import Found
    from seal_jax.runtime import Run

JUDGES: dict[Preset, str] = {
    "harmlessness": "harmless",
    "attack_defence": "harmless",
    "truthfulness": "truthful",
    "sentiment": "sentiment",
}
TEXTS, TREES = "texts.jsonl", "trees"
SHOWN = 20  # prompts in the table
COUNTS = ("searches", "commits", "passes", "tokens_processed", "judged", "truncated", "finished")


@dataclasses.dataclass(frozen=True)
class Judging:
    """How the model judges texts."""

    judge: str | None = None
    """The judge's template: harmless, truthful, sentiment, dialogue, dialogue_yes_no, or a file; by default that of
    --preset. It says whether statements are put in two orders, or words such as yes and no are expected."""
    votes: Literal["hard", "soft"] = "hard"
    """Each order is a vote, as released, or counts as the model's probabilities say."""
    negate: bool = False
    """Look for what the judge finds bad: with the judge of sentiment, for negative texts."""
    judge_shots: int | None = None
    """How many of the template's examples are shown; all by default."""
    judge_chat: bool = False
    """The judge is asked through the tokenizer's chat template."""


SEARCHING, JUDGING = Searching(), Judging()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(RunOptions):
    """Continue prompts by RAIN: search what could be said, let the model judge it, say what was found best.

    Writes a line for each prompt to OUT/texts.jsonl as soon as it is finished: its text, the value of what was said
    last, searches, forward passes and tokens. A run that was stopped goes on with the prompts that are missing.
    """

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    asking: Annotated[Asking, tyro.conf.arg(name="")]
    judging: Annotated[Judging, tyro.conf.arg(name="")] = JUDGING
    embed: str = "hidden_mean"
    """What tells which texts are similar: the mean hidden state of the model, or a directory with a sentence encoder
    (all-MiniLM-L6-v2, for instance)."""
    searching: Annotated[Searching, tyro.conf.arg(name="")] = SEARCHING
    mesh: str = ""
    """Devices to spread the model over, such as "model=4": `fsdp` splits the stored weights, `model` every matrix
    product, and prompts are not split; empty: one device."""
    slots: int = 16
    """Prompts that are searched at once."""
    group: int | None = None
    """How many of them share a forward pass; by default all, and few on a CPU."""
    tree: bool = False
    """Write what was explored for each prompt as a page to unfold in a browser, OUT/trees/NUMBER.html."""

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(1, slots=self.slots, group=self.group)
        at_least(0, judge_shots=self.judging.judge_shots)

    def __call__(self) -> Report:
        """Search for the prompts that have no text yet; write texts.jsonl, result.json and the pages."""
        from seal_jax.rain import judges
        from seal_jax.runtime import Run

        asked = rain_prompts.read(self.asking)
        judges.load(self.template)
        with Run(self.out, self.config(), self.restart) as run:
            lines = JsonLines(run.dir / TEXTS)
            try:
                _search(self, run, lines, asked)
                rows = sorted(lines.rows, key=lambda row: row["id"])
            finally:
                lines.close()
            write_atomic(run.dir / TEXTS, "".join(dumps(row) + "\n" for row in rows))  # in the order of the prompts
            return _report(self, run, rows)

    @property
    def template(self) -> str:
        """The judge's template, a name or a file."""
        return self.judging.judge or JUDGES[self.searching.preset]

    def config(self) -> dict[str, Any]:
        """The settings of the run, each once and by the name of its flag, with what is in its files."""
        files = {**self.asking.files, "judge": pathlib.Path(self.template), "embed": pathlib.Path(self.embed)}
        given = {name: path for name, path in files.items() if path is not None and path.exists()}
        found = config_of(self, **given)
        del found["searching"]  # what its flags come to is in the settings of the search
        asking, judging = found.pop("asking"), found.pop("judging")
        settings = dataclasses.asdict(self.searching.settings())
        return {**found, **asking, **judging, "judge": self.template, "settings": settings}


def _search(command: Command, run: Run, lines: JsonLines, asked: list[Any]) -> None:
    """Add a line for each prompt that has none."""
    import jax

    from seal_jax import rain
    from seal_jax.runtime.logging import progress

    done = {row["id"] for row in lines.rows}
    missing = [row for row in range(len(asked)) if row not in done]
    if not missing:
        return
    opened = open_model(command.model, command.mesh)
    embed = _embedding(command, opened)
    prompts = rain_prompts.encode(command.asking, asked, opened.checkpoint.config, opened.tokenizer)
    announce_rain(opened, prompts, embed, _plan(command))
    model = opened.load(command.dtype, unrolled=True)
    earlier = max((row["seconds"] for row in lines.rows), default=0.0)
    started = time.perf_counter()
    with progress("rain", len(asked), len(done)) as advance:

        def keep(row: int, found: Found) -> None:
            if found.trees is not None:
                _write_page(command, run, model, row, asked[row], found)
            seconds = round(earlier + time.perf_counter() - started, 3)
            line = {"id": row, "prompt": asked[row], **_plain(found), "seconds": seconds}
            run.log({name: line[name] for name in ("value", *COUNTS, "seconds")}, id=f"prompt_{row}")
            lines.append(line)
            advance(1, f"{found.searches} searches")

        found = rain.search(
            model.params,
            model.config,
            [tokens.tolist() for tokens in prompts.tokens],
            jax.random.key(command.seed),
            judge=_judge(command, model),
            settings=command.searching.settings(),
            tokenizer=model.tokenizer,
            slots=command.slots,
            group=command.group,
            stop=command.asking.ends,
            judged_from=prompts.judged_from,
            embed=embed,
            trees=command.tree,
            rows=missing,
            on_finished=keep,
        )
    run.log({"utilisation": found.utilisation, "rounds": found.rounds, "total_passes": found.total_passes})


def _plan(command: Command) -> Plan:
    return Plan(
        settings=command.searching.settings(),
        template=command.template,
        shots=command.judging.judge_shots,
        chat=command.judging.judge_chat,
        dtype=command.dtype,
        slots=command.slots,
        group=command.group,
        trees=command.tree,
    )


def _embedding(command: Command, opened: Opened) -> Any:
    from seal_jax.rain import embeddings

    if command.embed == "hidden_mean":
        return embeddings.hidden_mean()
    return embeddings.sentence(command.embed, opened.tokenizer, opened.checkpoint.config)


def _judge(command: Command, model: Model) -> Judge:
    from seal_jax.rain import judges

    of = command.judging
    how: dict[str, Any] = {"hard": of.votes == "hard", "shots": of.judge_shots, "chat": of.judge_chat}
    positive = not of.negate  # of any template: its values, or the opposite ones
    return judges.sentiment(model.params, model.config, model.tokenizer, command.template, positive=positive, **how)


def _plain(found: Found) -> dict[str, Any]:
    """What a line has of a prompt."""
    return {name: value for name, value in found._asdict().items() if name != "trees"}


def _write_page(command: Command, run: Run, model: Model, row: int, prompt: Any, found: Found) -> None:
    from seal_jax.rain.page import page

    shown = prompt if isinstance(prompt, str) else dumps(prompt)
    write_atomic(run.dir / TREES / f"{row:05}.html", page(found.trees or [], model.tokenizer, prompt=shown))


def _report(command: Command, run: Run, rows: list[dict[str, Any]]) -> Report:
    said = sum(len(row["tokens"]) for row in rows)
    total = {name: sum(row[name] for row in rows) for name in COUNTS}
    result = {
        "prompts": len(rows),
        "tokens": said,
        "value": sum(row["value"] for row in rows) / len(rows),
        **total,
        **{f"{name}_per_token": total[name] / max(said, 1) for name in ("searches", "passes", "tokens_processed")},
        "seconds": max(row["seconds"] for row in rows),
        "texts": run.dir / TEXTS,
        "trees": run.dir / TREES if command.tree else None,
    }
    shown = [{name: row[name] for name in ("prompt", "text", "value", "searches", "passes")} for row in rows[:SHOWN]]
    notes = [f"{len(rows)} texts are in {run.dir / TEXTS}"]
    notes += [f"what was explored is in {run.dir / TREES}"] if command.tree else []
    if total["truncated"]:
        notes.append(
            f"{total['truncated']} searches were cut short by the size of their tree: see --nodes, --max-depth"
        )
    title = f"The first {len(shown)} prompts" if len(shown) < len(rows) else None
    return Report(run.finish(result), shown, title, notes)
