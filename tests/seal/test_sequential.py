"""Sequences of edits at once against one model edited again and again; what goes from step to step; resuming."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from oracles import sequences as oracle
from oracles.chat_server import fails_at_first, says, status

from seal_jax import training
from seal_jax.data.squad import Passage, load_squad
from seal_jax.evaluation import Endpoint
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.files import read_json
from seal_jax.runtime.run import Run
from seal_jax.seal import sequential
from seal_jax.seal.sequential_method import Lesson, Method, uniform_replay
from seal_jax.seal.sequential_weights import MERGED, PERSISTENT, STACK

SEED, STEPS = 7, 3


@pytest.fixture(scope="module")
def settings(settings):
    """Edits with a line to train on, answers that a random model gets right by luck."""
    edits = dataclasses.replace(settings.edits, max_new_tokens=8)
    return dataclasses.replace(settings, edits=edits)


@pytest.fixture(scope="module")
def drawn(passages):
    people = passages(9)
    return [people[i : i + STEPS] for i in (0, 3, 6)]


def run(folder, tiny, drawn, settings, method=Method(), at_once=4):  # noqa: B008
    settings = dataclasses.replace(settings, inner=dataclasses.replace(settings.inner, at_once=at_once))
    with Run(folder, {"at_once": at_once}) as made:
        found = sequential.run_sequences(made, "seq", tiny, drawn, settings, SEED, method)
    return found, read_json(folder / "stages/seq/steps.json")["value"]


def likelihoods(records, n):
    """Gold log-likelihoods of sequence n by step and item."""
    return [[o["loglik"] for o in step["outcomes"]] for step in records[n]]


@pytest.fixture(scope="module")
def merged(tmp_path_factory, tiny, drawn, settings):
    return run(tmp_path_factory.mktemp("merged"), tiny, drawn, settings)


def assert_like_oracle(tiny, drawn, settings, results, merge):
    found, records = results
    for n, passages in enumerate(drawn):
        edits, accuracies, logliks = oracle.run(tiny, passages, settings, SEED, n, merge)
        assert found.edits[n] == edits
        assert len({*edits}) == STEPS
        for step, row in enumerate(accuracies):
            np.testing.assert_allclose(found.matrices[n, step + 1, : step + 1], row)
            for mine, theirs in zip(likelihoods(records, n)[step], logliks[step]):
                np.testing.assert_allclose(mine, theirs, atol=2e-3)  # fp32, through up to three fine-tunes


def test_merging_each_edit(tiny, drawn, settings, merged):
    assert_like_oracle(tiny, drawn, settings, merged, merge=True)


def test_one_adapter_trained_on(tiny, drawn, settings, tmp_path, merged):
    results = run(tmp_path, tiny, drawn, settings, Method(PERSISTENT))
    assert_like_oracle(tiny, drawn, settings, results, merge=False)
    assert results[0].edits != merged[0].edits


def test_a_stack_is_the_merged_model(tiny, drawn, settings, tmp_path, merged):
    """In float32 the sum of factors is the merged kernel."""
    found, records = run(tmp_path, tiny, drawn, settings, Method(STACK))
    assert found.edits == merged[0].edits
    for n in range(3):
        for mine, theirs in zip(likelihoods(records, n), likelihoods(merged[1], n)):
            for a, b in zip(mine, theirs):
                np.testing.assert_allclose(a, b, atol=2e-3)


def test_the_matrix(merged, drawn):
    found, _ = merged
    assert found.matrices.shape == (3, STEPS + 1, STEPS)
    asked = ~np.isnan(found.matrices)
    assert asked[:, 0].all()
    assert (asked[:, 1:] == np.tril(np.ones((STEPS, STEPS), bool))).all()


def test_sequences_are_independent(tiny, drawn, settings, tmp_path, merged):
    """In chunks of two, a sequence is what it was among all; its place decides its draws, its neighbours do not."""
    found, records = run(tmp_path, tiny, drawn, settings, at_once=2)
    assert found.edits == merged[0].edits
    np.testing.assert_allclose(likelihoods(records, 2)[2], likelihoods(merged[1], 2)[2], atol=2e-3)


@pytest.mark.parametrize("method", ["merged", "carried"])
def test_killed_at_every_step(tiny, drawn, settings, tmp_path, monkeypatch, method):
    """Killed before and after a step's checkpoint and inside a step: the numbers of a run that was not."""
    method = Method(MERGED) if method == "merged" else Method(PERSISTENT, carry=lambda done, begun: done.optimizer)
    wanted = run(tmp_path / "whole", tiny, drawn, settings, method)
    add, save, count = type(Run.items(Run(tmp_path / "x", {}), "x")).add, Checkpointer.save, 0

    def dies(real, at):
        def wrapped(*args):
            nonlocal count
            count += 1
            if count == at:
                raise KeyboardInterrupt
            return real(*args)

        return wrapped

    for at in (2, 2, 2):  # the first checkpoint, the second item, the third item
        count = 0
        monkeypatch.setattr("seal_jax.runtime.items.Items.add", dies(add, at))
        monkeypatch.setattr(Checkpointer, "save", dies(save, at))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", tiny, drawn, settings, method)
    monkeypatch.undo()
    found = run(tmp_path / "killed", tiny, drawn, settings, method)
    np.testing.assert_array_equal(found[0].matrices, wanted[0].matrices)
    assert found[0].edits == wanted[0].edits
    assert found[1] == wanted[1]
    assert not list((tmp_path / "killed/checkpoints/seq").iterdir())


def verdicts(folder):
    """Those of the base stage, the finished steps, and the items of the steps."""
    rows = read_json(folder / "stages/seq/steps.json")["value"]
    items = [json.loads(line)["value"] for line in (folder / "stages/seq/steps.jsonl").read_text().splitlines()]
    last = {len(item["outcomes"][0]): item for item in items}  # of a step that is there twice, the later one
    return (
        [v for o in read_json(folder / "stages/seq/base.json")["value"] for v in o["correct"]],
        [v for steps in rows for step in steps for o in step["outcomes"] for v in o["correct"]],
        [v for item in last.values() for outcomes in item["outcomes"] for o in outcomes for v in o["correct"]],
    )


def test_answers_are_graded_again_at_the_end(tiny, drawn, settings, tmp_path, merged, monkeypatch, serve):
    """A server that fails for a while costs nothing, and neither does one that fails until the process is killed."""
    server = serve(fails_at_first(says("yes")))
    endpoint = Endpoint(url=server.url, model="m", retries=0, wait=0.0, concurrency=16)
    answering = dataclasses.replace(settings.answering, grader="endpoint", endpoint=endpoint)
    graded = dataclasses.replace(settings, answering=answering)
    found, _ = run(tmp_path, tiny, drawn, graded)
    assert found.edits == merged[0].edits
    assert all(None not in kept for kept in verdicts(tmp_path))
    assert np.nanmean(found.matrices) > 0
    (tmp_path / "stages/grades.jsonl").unlink()
    (tmp_path / "stages/seq/steps.json").unlink()
    (tmp_path / "stages/seq/steps.jsonl").unlink()
    server._act = lambda body: status(500)
    run(tmp_path, tiny, drawn, graded)
    assert None in verdicts(tmp_path)[1]
    (tmp_path / "stages/seq/steps.json").unlink()  # as if it had been killed before the end
    server._act = lambda body: says("yes")
    monkeypatch.setattr(sequential.Chunk, "step", lambda *_, **__: pytest.fail("a finished step is done again"))
    again, _ = run(tmp_path, tiny, drawn, graded)
    assert all(None not in kept for kept in verdicts(tmp_path))
    np.testing.assert_array_equal(again.matrices, found.matrices)


def test_what_is_put_in_is_used(tiny, drawn, settings, tmp_path, merged):
    """Replayed texts come before the passage; the optimizer's state goes on where a method carries it."""
    seen = []

    def replay(earlier, counter):
        seen.append((counter, [lesson.passage.title for lesson in earlier]))
        return uniform_replay(2)(earlier, counter)

    def carry(done, begun):
        assert jax.tree.structure(begun) == jax.tree.structure(done.optimizer)
        counts.append(np.asarray(done.optimizer.count).tolist())
        return done.optimizer

    counts = []
    found, records = run(tmp_path, tiny, drawn, settings, Method(PERSISTENT, replay=replay, carry=carry))
    assert seen[3] == ((SEED, 0, 1), [drawn[0][0].title])
    assert seen[8] == ((SEED, 2, 2), [p.title for p in drawn[2][:2]])
    texts, taken = (np.array([[step[key] for step in steps] for steps in records]).T for key in ("texts", "steps"))
    np.testing.assert_array_equal(taken, 2 * texts)
    assert (texts[1:] >= 3).all()
    np.testing.assert_array_equal(counts, np.cumsum(taken, 0)[:2])
    assert found.edits != merged[0].edits


def test_edits_that_are_given(tiny, drawn, settings, tmp_path, merged):
    """What sequences wrote themselves, given to them but for one edit, gives the same but for that sequence."""
    edits = [list(row) for row in merged[0].edits]
    edits[1][0] = "pet: dog\nfield: law\nprofession: baker"
    with Run(tmp_path, {}) as made:
        found = sequential.run_sequences(made, "seq", tiny, drawn, settings, SEED, edits=edits)
        records = read_json(tmp_path / "stages/seq/steps.json")["value"]
        assert found.edits == edits
        assert records[1][0]["texts"] == 4
        for n in (0, 2):
            np.testing.assert_allclose(likelihoods(records, n)[2], likelihoods(merged[1], n)[2], atol=2e-3)
        assert np.abs(np.subtract(likelihoods(records, 1)[0], likelihoods(merged[1], 1)[0])).max() > 0.05
        wrong = [*edits[:2], edits[2][:2]]
        with pytest.raises(ValueError, match=r"edits of \[3, 3, 2\] steps: give one for each of the 3"):
            sequential.run_sequences(made, "seq", tiny, drawn, settings, SEED, edits=wrong)


def test_a_loss_that_is_put_in(tiny, drawn, settings, tmp_path):
    """A loss without a gradient leaves the model as it is."""
    flat = lambda params, config, batch, key: 0.0 * training.causal_lm(params, config, batch)  # noqa: E731
    found, _ = run(tmp_path, tiny, [s[:2] for s in drawn[:1]], settings, Method(loss_fn=flat))
    np.testing.assert_array_equal(found.matrices[0, 2], found.matrices[0, 0])


def test_replay_draws_without_repetition():
    lessons = [lesson(i) for i in range(3)]
    drawn = uniform_replay(4)(lessons, (0, 1, 2))
    assert len(set(drawn)) == 4
    assert drawn == uniform_replay(4)(lessons, (0, 1, 2))
    assert drawn != uniform_replay(4)(lessons, (0, 1, 3))
    assert len(uniform_replay(9)(lessons[:1], (0, 1, 2))) == 2
    assert uniform_replay(4)([], (0, 0, 0)) == []


def lesson(i):
    return Lesson(Passage(f"{i}", "", ()), "", (f"{i}a", f"{i}b"))


def test_drawing_as_released(shared_data):
    """Base rows of the recorded runs have the denominators of the passages drawn here, and not of another seed's."""
    passages = load_squad(shared_data / "squad/squad_val.json", need_questions=False)
    assert len(passages) == 2067
    drawn = sequential.draw(passages, 64, 8, "reference")
    fits, wrong = 0, 0
    for i in range(8):
        row = read_json(shared_data / f"seal_recorded/continual/run{i}.json")["mean_over_sequences"][0]
        for item, mean in enumerate(row):
            fits += _fits(mean, [s[item] for s in drawn[8 * i : 8 * i + 8]])
            wrong += _fits(mean, [s[item] for s in drawn[8 * (i - 1) :][:8]]) if i else 0
    assert fits == 64
    assert wrong < 35


def _fits(mean, passages):
    """Whether eight accuracies on passages with so many questions can have this mean."""
    common = math.lcm(*(len(p.questions) for p in passages))
    return abs(8 * mean * common - round(8 * mean * common)) < 1e-6


def test_disjoint_drawing(passages):
    people = passages(12)
    drawn = sequential.draw(people, 3, 4, seed=1)
    assert sorted(p.title for s in drawn for p in s) == sorted(p.title for p in people)
    assert drawn != sequential.draw(people, 3, 4, seed=2)
    with pytest.raises(ValueError, match=r'12 passages for 4 sequences of 4: 16 are needed; .* the draw "reference"'):
        sequential.draw(people, 4, 4)
    assert len(sequential.draw(people, 20, 4, "reference")) == 20


def test_sequences_of_different_lengths(tiny, drawn, settings, tmp_path):
    with pytest.raises(ValueError, match=r"sequences have \[1, 3\] passages: give equally many"):
        run(tmp_path, tiny, [drawn[0], drawn[1][:1]], settings)
    full = dataclasses.replace(settings, inner=dataclasses.replace(settings.inner, method="full"))
    with pytest.raises(ValueError, match="a stack is of adapters"):
        run(tmp_path, tiny, drawn, full, Method(STACK))
