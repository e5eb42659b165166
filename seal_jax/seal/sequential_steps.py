"""The steps of sequences that advance together: write an edit, train, ask, and go on with the weights that result."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax import generation, models, training
from seal_jax.adapters import Adapter
from seal_jax.data.squad import Passage
from seal_jax.evaluation import Grader
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.distributed import host
from seal_jax.runtime.items import Items
from seal_jax.runtime.mesh import mesh_of, shard_leading
from seal_jax.runtime.placement import shard_adapters
from seal_jax.runtime.run import Run
from seal_jax.seal import fine_tunes, policy
from seal_jax.seal.answers import Outcome, ask_adapted, grade_missing
from seal_jax.seal.edits import training_sequences
from seal_jax.seal.sequential_method import Finished, Lesson, Method
from seal_jax.seal.settings import Settings


class Members(NamedTuple):
    """A chunk: the places of its sequences, and the N of its programs."""

    sequences: range
    size: int

    @property
    def name(self) -> str:
        """What its files are named: another division into chunks, on other devices say, has other files."""
        return f"{self.sequences.start}-{self.sequences.stop}_of_{self.size}"


class Chunk(NamedTuple):
    """Sequences that advance together."""

    run: Run
    name: str
    model: models.Model
    all: Sequence[Sequence[Passage]]
    settings: Settings
    seed: int
    method: Method
    grader: Grader
    given: Sequence[Sequence[str]] | None
    members: Members

    def advance(self, on_progress: Callable[[int], None]) -> None:
        """Do the steps that the run does not hold yet; on_progress: called with the number of sequences after each."""
        store, ids, count = *self.kept(), len(self.all[0])
        if missing := [step for step in range(count) if ids[step] not in store]:
            fast = self.model
            if jax.default_backend() == "cpu":
                fast = fast._replace(params=models.unroll(fast.params))
            chunk = self._replace(model=fast)
            checkpoints = Checkpointer(self.run.checkpoints / self.name / self.members.name)
            first, state = chunk.restored(checkpoints, count)
            # An item is written before its checkpoint: without one a step is repeated, to the same numbers.
            on_progress(len(self.members.sequences) * min(first, missing[0]))
            for step in range(first, count):
                lessons = self.lessons([store[i] for i in ids[:step]])
                state, record = chunk.step(state, step, lessons, last=step + 1 == count)
                if ids[step] not in store:
                    store.add(ids[step], record)
                if step + 1 < count:
                    checkpoints.save(step + 1, state)
                on_progress(len(self.members.sequences))
            shutil.rmtree(checkpoints.folder, ignore_errors=True)

    def records(self) -> list[list[dict[str, Any]]]:
        """The steps of each sequence: "edit", "texts" and "steps" (numbers), "loss", "outcomes" of all items so far.

        What could not be graded, now or before a kill, is sent to the grader once more.
        """
        store, ids = self.kept()
        before = [store[i] for i in ids]
        outcomes = [o for record in before for of_sequence in record["outcomes"] for o in of_sequence]
        asked = [p for k in range(len(ids)) for place in self.members.sequences for p in self.all[place][: k + 1]]
        found = iter(grade_missing(outcomes, asked, self.grader))
        after = [{**r, "outcomes": [[next(found) for _ in row] for row in r["outcomes"]]} for r in before]
        kept = [old if new == old else store.add(id, new) for id, old, new in zip(ids, before, after)]
        return [[{key: r[key][n] for key in r} for r in kept] for n in range(len(self.members.sequences))]

    def kept(self) -> tuple[Items, list[str]]:
        """Where the run keeps the steps, and the name of each there."""
        ids = [f"{self.members.name}/{step}" for step in range(len(self.all[0]))]
        return self.run.items(f"{self.name}/steps"), ids

    def restored(self, checkpoints: Checkpointer, count: int) -> tuple[int, dict[str, Any]]:
        """The step to go on with, and what it begins from: `{"tree", "optimizer"}`."""
        tree = self.method.weights.start(models.stack(self.model.params), self.fresh(0), count)
        optimizer = self.begun(tree) if self.method.carry else ()
        start = {"tree": self.placed(tree), "optimizer": optimizer}
        return checkpoints.restore_latest(start) or (0, start)

    def step(
        self, state: dict[str, Any], step: int, lessons: Sequence[Sequence[Lesson]], last: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """One step of all sequences: what the next begins from, and the record of this one."""
        places = self.members.sequences
        edits = [self.given[p][step] for p in places] if self.given else self.written(state["tree"], step)
        texts = [self.texts(place, edit, step, past) for place, edit, past in zip(places, edits, lessons)]
        tuned, losses, batches, counts = self.trained(state, texts, step)
        asked = [self.asked(tuned.adapter, item) for item in range(step + 1)]
        record = {
            "edit": edits,
            "texts": [len(of_sequence) for of_sequence in texts],
            "steps": counts.tolist(),
            "loss": losses,
            "outcomes": [list(of_sequence) for of_sequence in zip(*asked)],
        }
        if last:
            return state, record
        tree = self.method.weights.next(
            models.stack(self.model.params), tuned.adapter, partial(self.fresh, step + 1), step
        )
        optimizer: Any = ()
        if self.method.carry:
            finished = Finished(self.model, tuned.adapter, tuned.optimizer, batches, step)
            optimizer = self.method.carry(finished, self.begun(tree))
        return {"tree": self.placed(tree), "optimizer": optimizer}, record

    def written(self, tree: Adapter, step: int) -> list[str]:
        """The edit that each sequence's weights write of its passage."""
        edits, passages = self.settings.edits, self.items(step)
        encoded = [self.model.tokenizer.encode(p) for p in policy.prompts(self.model, passages, edits)]
        room = [min(edits.max_new_tokens, self.model.config.max_position - len(e)) for e in encoded]
        spare = self.members.size - len(encoded)
        places = jnp.arange(self.members.size) + self.members.sequences.start
        source = jax.random.fold_in(jax.random.key(self.seed), 0)  # the items of adapters begin with 1
        outs = generation.generate_batch(
            self.model.params,
            self.model.config,
            tree,
            [*([e] for e in encoded), *[[] for _ in range(spare)]],
            jax.vmap(lambda place: jax.random.fold_in(jax.random.fold_in(source, place), step))(places),
            max_new_tokens=[*([n] for n in room), *[[] for _ in range(spare)]],
            temperature=edits.temperature,
            top_k=edits.top_k,
            top_p=edits.top_p,
            stop=edits.stop,
            tokenizer=self.model.tokenizer,
        )
        return [(out.texts or [""])[0].strip() for out in outs[: len(encoded)]]

    def texts(self, place: int, edit: str, step: int, past: Sequence[Lesson]) -> list[str]:
        """What a sequence trains on: lines of its edit, what is replayed, and the passage last."""
        own, replay = self.lesson(self.all[place][step], edit).texts, self.method.replay
        again = replay(past, (self.seed, place, step)) if replay else ()
        return [*own[:-1], *again, own[-1]]

    def trained(
        self, state: dict[str, Any], texts: Sequence[Sequence[str]], step: int
    ) -> tuple[training.State, list[float], dict[str, Any], np.ndarray]:
        """The fine-tune after its last update, the loss before it, the batches, and the optimizer steps taken."""
        inner, mesh = self.settings.inner, mesh_of(self.model.params)
        encoded = fine_tunes.encode(texts, self.model, inner)
        whole = dataclasses.replace(inner, at_once=self.members.size)
        [group] = fine_tunes.grouped(encoded, whole, self.members.size, waste=float("inf"))
        draws = [self.drawn(place, step) for place in self.members.sequences]
        batches, counts = fine_tunes.stacked(self.model, draws, encoded, group, inner)
        placed = shard_leading(batches, mesh) if mesh else {name: jnp.asarray(x) for name, x in batches.items()}
        hyper = fine_tunes.hyper(inner, counts, [d.seed for d in draws])
        tuned = training.begin(state["tree"], hyper, self.method.tx, batched=True)
        if self.method.carry:
            tuned = tuned._replace(optimizer=state["optimizer"])
        tuned, metrics = training.advance(
            self.model.params,
            self.model.config,
            tuned,
            placed,
            hyper,
            self.method.tx,
            self.method.loss_fn or training.lm_loss(inner.pad_loss, inner.remat),
            lengths=fine_tunes.lengths_of(group, inner),
            batched=True,
        )
        count = len(draws)
        return tuned, [float(x) for x in host(metrics["loss"])[:count, -1]], placed, counts[:count]

    def asked(self, tree: Adapter, item: int) -> list[Outcome]:
        """Each sequence's outcome on its passage `item`."""
        return ask_adapted(self.model, tree, self.items(item), self.settings.answering, grader=self.grader)

    def items(self, item: int) -> list[Passage]:
        """Passage `item` of each sequence."""
        return [self.all[place][item] for place in self.members.sequences]

    def lessons(self, records: Sequence[dict[str, Any]]) -> list[list[Lesson]]:
        """What lies behind each sequence, by step."""
        return [
            [self.lesson(self.all[place][k], r["edit"][n]) for k, r in enumerate(records)]
            for n, place in enumerate(self.members.sequences)
        ]

    def lesson(self, passage: Passage, edit: str) -> Lesson:
        """A passage with its edit, and what is trained on of the two, the passage last."""
        split = self.settings.inner.split_newlines
        return Lesson(passage, edit, tuple(training_sequences(edit, passage.title, passage.context, split)))

    def drawn(self, place: int, step: int) -> fine_tunes.Draw:
        """What a step's randomness depends on."""
        return fine_tunes.Draw(self.seed, 1 + place * 10_000 + step)

    def fresh(self, step: int) -> Adapter:
        """N adapters that leave the weights as they are."""
        places = range(self.members.sequences.start, self.members.sequences.start + self.members.size)
        return fine_tunes.fresh(self.model, [self.drawn(place, step) for place in places], self.settings.inner)

    def begun(self, tree: Adapter) -> Any:
        """The optimizer's state before any update."""
        hyper = fine_tunes.hyper(self.settings.inner, np.zeros(self.members.size, np.int32), [])
        return training.begin(tree, hyper, self.method.tx, batched=True).optimizer

    def placed(self, tree: Adapter) -> Adapter:
        """The tree on the mesh that the model lives on."""
        mesh = mesh_of(self.model.params)
        return shard_adapters(tree, mesh, self.model.config) if mesh else tree
