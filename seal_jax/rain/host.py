"""The host's side of a search: prompts to slots, slots to texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation.checks import check_integer, check_row_ids
from seal_jax.generation.prompts import Prompt, bucket, encode, pad_left
from seal_jax.generation.stops import Ending
from seal_jax.models import Config
from seal_jax.rain.programs import Waiting
from seal_jax.rain.refill import Arrivals, refill
from seal_jax.rain.settings import Settings
from seal_jax.rain.state import COMMIT, DONE, Fixed, Program, State, empty
from seal_jax.rain.step import run
from seal_jax.rain.tree import Tree

LENGTHS = 4  # of judged texts, for each of which the judge is compiled


class Result(NamedTuple):
    """What a search gives for N prompts, one entry each.

    texts: None without a tokenizer; tokens: what was generated, up to its end; values: of the set committed last, its
    mean over its visits; visits: these, the true ones; searches: all, of all sets; passes: sequential forward passes in
    which the prompt took part, its own and the judge's; tokens_processed: in them; judged: texts, those remembered not
    counted; commits: sets; truncated: the tree was full at some time, so that a set was committed before its searches
    were used, or a leaf was too deep for children; finished: the text ended by itself.
    trees: for each prompt the tree before every commit, numpy arrays, or None. In these lists are the prompts that were
    searched, in their order. utilisation: the share of slots that had a prompt, over rounds. rounds, total_passes: of
    all slots together; where several programs searched, their sums.
    """

    texts: list[str | None]
    tokens: list[list[int]]
    values: list[float]
    visits: list[int]
    searches: list[int]
    passes: list[int]
    tokens_processed: list[int]
    judged: list[int]
    commits: list[int]
    truncated: list[bool]
    finished: list[bool]
    trees: list[list[Tree]] | None
    utilisation: float
    rounds: int
    total_passes: int


class Found(NamedTuple):
    """What a search gives for one prompt: an entry of each list of `Result`; trees: None if they are not kept."""

    text: str | None
    tokens: list[int]
    value: float
    visits: int
    searches: int
    passes: int
    tokens_processed: int
    judged: int
    commits: int
    truncated: bool
    finished: bool
    trees: list[Tree] | None


OnFinished: TypeAlias = Callable[[int, Found], None]
"""Called with a prompt's row and what was found for it, as soon as its text has ended."""


class Job(NamedTuple):
    """Prompts as token arrays, what each folds into the key, and what of each is not judged.

    columns: P, that prompts are padded to; longest: tokens that a judged text can have; rows: of the prompts that are
    searched.
    """

    prompts: list[np.ndarray]
    ids: Sequence[int]
    judged_from: Sequence[int]
    columns: int
    longest: int
    rows: Sequence[int]


def check_slots(slots: int) -> int:
    """`slots`. Raises ValueError unless it is a positive whole number."""
    check_integer("slots", slots, "a positive number of prompts that are searched in step", 1)
    return slots


def after_bos(prompt: Sequence[int] | np.ndarray, tokenizer: Any) -> int:
    """How many tokens of the prompt are its BOS, 0 or 1: a judge has its own before everything that it is shown."""
    bos = getattr(tokenizer, "bos_token_id", None)
    return int(bos is not None and len(prompt) > 1 and int(prompt[0]) == bos)


def prepare(
    config: Config,
    prompts: Sequence[Prompt],
    tokenizer: Any,
    settings: Settings,
    ids: Sequence[int] | None,
    judged_from: Sequence[int] | None,
    rows: Sequence[int] | None = None,
) -> Job:
    """Check all prompts. rows: which are searched, all by default.

    Raises ValueError, naming the prompt, for one that cannot be searched.
    """
    tokens = encode(prompts, config, tokenizer)
    more = settings.longest_text  # a leaf that is longer than the first has no simulation
    for row, prompt in enumerate(tokens):
        if len(prompt) + more > config.max_position:
            raise ValueError(
                f"prompt {row} has {len(prompt)} tokens and its search reads up to {more} after it (max_new_tokens "
                f"and one set), together more than the model's {config.max_position} positions"
            )
    starts = [after_bos(prompt, tokenizer) for prompt in tokens] if judged_from is None else list(judged_from)
    if len(starts) != len(tokens):
        raise ValueError(f"{len(starts)} numbers in judged_from for {len(tokens)} prompts: expected one each")
    for row, (start, prompt) in enumerate(zip(starts, tokens)):
        check_integer(f"prompt {row}: judged_from", start, f"a number from 0 to {len(prompt)}", 0, len(prompt))
    longest = max((len(prompt) - start for prompt, start in zip(tokens, starts)), default=0)
    columns = bucket(max((len(prompt) for prompt in tokens), default=1), least=8)
    chosen = list(range(len(tokens)) if rows is None else rows)
    for row in chosen:
        check_integer("rows", row, f"numbers of the {len(tokens)} prompts", 0, len(tokens) - 1)
    if len(set(chosen)) < len(chosen):
        raise ValueError("a prompt is in rows twice: expected each once")
    return Job(tokens, check_row_ids(ids, len(tokens)), starts, columns, longest + more, chosen)


def judged_sizes(longest: int) -> tuple[int, ...]:
    """Columns of judged texts of up to `longest` tokens, small to large."""
    return tuple(sorted({-(-longest * (i + 1) // LENGTHS) for i in range(LENGTHS)}))


class Run:
    """A program's search under way: which prompt is in which slot, and the trees of those that are."""

    def __init__(
        self, program: Program, fixed: Fixed, job: Job, end: Ending, key: jax.Array, slots: int, waiting: Waiting
    ) -> None:
        self.program, self.fixed, self.job, self.end, self.slots = program, fixed, job, end, slots
        self.keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.asarray(np.array(job.ids, np.int32)))
        dtype = fixed.params["embed_tokens"]["embedding"].dtype
        self.state: State = empty(program, slots, dtype)
        self.owner = np.full(slots, -1)
        self.waiting = waiting
        self.trees: dict[int, list[Tree]] = {}

    def begin(self) -> None:
        """Fill the slots and compile the search, without a round of it."""
        self._fill()
        self.state = run(self.program, self.fixed, self.state, jnp.int32(0))

    def steps(self) -> Iterator[list[tuple[int, Found]]]:
        """Search until no prompt waits, and yield the rows of those that are finished with what was found."""
        self._fill()
        while (self.owner >= 0).any():
            idle = int((self.owner < 0).sum())  # those for which no prompt is left
            enough = min(idle + max(self.slots // 4, 1), self.slots)
            self.state = run(self.program, self.fixed, self.state, jnp.int32(enough))
            yield self._collect()
            self._fill()

    def _fill(self) -> None:
        free = np.flatnonzero(self.owner < 0)
        taken = self.waiting.take(len(free))
        size = self.program.group
        for at in range(0, len(taken), size):
            rows = np.array(taken[at : at + size])
            slots = free[at : at + len(rows)]
            self.state = refill(self.program, self.fixed, self.state, self._arrivals(slots, rows))
            self.owner[slots] = rows

    def _arrivals(self, slots: np.ndarray, rows: np.ndarray) -> Arrivals:
        job, size = self.job, self.program.group
        tokens, mask = pad_left([job.prompts[row] for row in rows], size, job.columns)
        padded = np.pad(rows, (0, size - len(rows)), mode="edge")
        return Arrivals(
            jnp.asarray(np.pad(slots, (0, size - len(slots)), constant_values=self.slots).astype(np.int32)),
            jnp.asarray(tokens),
            jnp.asarray(mask),
            jnp.asarray(np.array([job.judged_from[row] for row in padded], np.int32)),
            self.keys[padded],
        )

    def _collect(self) -> list[tuple[int, Found]]:
        phase = np.asarray(self.state.phase)
        if self.program.pause:
            for slot in np.flatnonzero((phase == COMMIT) & (self.owner >= 0)):
                self.trees.setdefault(int(self.owner[slot]), []).append(_tree_of(self.state.tree, int(slot)))
        done = np.flatnonzero((phase == DONE) & (self.owner >= 0))
        if not len(done):
            return []
        counts = jax.device_get(self.state.counts)
        tokens, new, overflow = jax.device_get(
            (self.state.text.tokens, self.state.text.count, self.state.tree.overflow)
        )
        rows = []
        for slot in done:
            row, length = int(self.owner[slot]), min(int(new[slot]), self.program.settings.max_new_tokens)
            said = tokens[slot, self.job.columns :][:length].tolist()
            entry = {name: value[slot].item() for name, value in counts._asdict().items()}
            rows.append((row, self._found(entry, said, bool(overflow[slot]), self.trees.pop(row, []))))
            self.owner[slot] = -1
        return rows

    def _found(self, entry: dict[str, Any], said: list[int], overflow: bool, trees: list[Tree]) -> Found:
        count, text, ended = self.end.cut(said)
        return Found(
            text=text,
            tokens=said[:count],
            value=entry["value"],
            visits=entry["visits"],
            searches=entry["searches"],
            passes=entry["passes"],
            tokens_processed=entry["tokens"],
            judged=entry["judged"],
            commits=entry["commits"],
            truncated=overflow or entry["cut"],
            finished=ended,
            trees=trees if self.program.pause else None,
        )


def result(job: Job, found: dict[int, Found], runs: Sequence[Run]) -> Result:
    """The texts and what they took, of the job's rows in their order."""
    rows = [found[row] for row in job.rows]
    *lists, trees = [list(column) for column in zip(*rows)] or [[] for _ in Found._fields]
    rounds = [int(run.state.rounds) for run in runs]
    places = sum(run.slots * count for run, count in zip(runs, rounds))
    return Result(
        *lists,
        trees=trees if runs[0].program.pause and None not in trees else None,
        utilisation=sum(int(run.state.busy) for run in runs) / max(places, 1),
        rounds=sum(rounds),
        total_passes=sum(int(run.state.passes) for run in runs),
    )


def _tree_of(tree: Tree, slot: int) -> Tree:
    one = jax.tree.map(lambda x: x[slot], tree._replace(key=jax.random.key_data(tree.key)))
    return jax.device_get(one)
