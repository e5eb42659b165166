"""Test-time training: many edits at once against one after the other, and whose tokens are targets."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import micro_arc
import numpy as np
import pytest
from micro_arc import ALL, SEED, SETTINGS, edit, task

from seal_jax import adapters, models, training
from seal_jax.data import packing
from seal_jax.seal.arc import ttt
from seal_jax.seal.arc.texts import Sequences, task_number
from seal_jax.seal.fine_tunes import pad_id

TTT = dataclasses.replace(SETTINGS.ttt, at_once=4)


@pytest.fixture(scope="module")
def jobs(arc_texts):
    """Three edits of two tasks: other rates, epochs and targets; five sequences each, so that a step is half empty."""
    edits = [
        (task(0), edit(epochs=3)),
        (task(1), edit(strategy=ALL, rate=3e-2, epochs=1)),
        (task(0), edit(rate=0.1, epochs=2)),
    ]
    return [ttt.Job(t, e, arc_texts.sequences(t, e.groups)) for t, e in edits]


@pytest.fixture(scope="module")
def trained(arc_model, jobs):
    [group] = ttt.groups(jobs, TTT)
    return ttt.train(arc_model, [jobs[i] for i in group.items], group, TTT, SEED), group


def alone(model, job, length):
    """One job with the plain fine-tune, its batches put together row by row."""
    sequences, rows = job.data.tokens, []
    for epoch in range(job.edit.epochs):
        order = packing.permutation(len(sequences), SEED, task_number(job.task), epoch)
        rows += [order[at : at + TTT.batch_size] for at in range(0, len(order), TTT.batch_size)]
    shape = (len(rows), TTT.batch_size, length)
    tokens, mask, target = np.full(shape, pad_id(model), np.int32), np.zeros(shape, bool), np.zeros(shape, bool)
    for s, step in enumerate(rows):
        for b, i in enumerate(step):
            n = len(sequences[i])
            tokens[s, b, :n], mask[s, b, :n] = sequences[i], True
            target[s, b, 1 if job.edit.strategy == ALL else job.data.starts[i] : n] = True
    fresh = adapters.lora.init(jax.random.key(SEED), model.params, TTT.rank, TTT.alpha, TTT.targets)
    hyper = training.Hyper(job.edit.learning_rate, len(rows), warmup=TTT.warmup, clip=TTT.clip)
    batches = {"tokens": tokens, "mask": mask, "loss_mask": target}
    return training.finetune(model.params, model.config, fresh, batches, hyper, training.adamw_cosine)


def test_many_at_once_are_one_after_the_other(arc_model, jobs, trained):
    found, group = trained
    assert group.size == 3
    for place, index in enumerate(group.items):
        adapter, metrics = alone(arc_model, jobs[index], group.length)
        np.testing.assert_allclose(found.losses[place], metrics["loss"], atol=1e-5)
        for path, entry in adapter.items():
            np.testing.assert_allclose(found.adapters[path]["b"][place], entry["b"], atol=2e-5)
            np.testing.assert_array_equal(found.adapters[path]["scale"][place], TTT.alpha / TTT.rank)
    assert [len(losses) for losses in found.losses] == [9, 6, 3]  # those with many steps first
    assert found.finite == [True] * 3
    assert found.losses[1][-1] < found.losses[1][0] - 0.05  # it learns


def test_a_diverging_rate_and_no_epochs_leave_the_others_alone(arc_model, jobs, trained):
    """In one program with a fine-tune whose weights become NaN and one of no steps, the third is as before."""
    bad = jobs[1]._replace(edit=edit(strategy=ALL, rate=3e38, epochs=1))
    idle = jobs[1]._replace(edit=edit(rate=1.0, epochs=0))
    group = trained[1]._replace(items=(0, 1, 2))
    found = ttt.train(arc_model, [jobs[0], bad, idle], group, TTT, SEED)
    np.testing.assert_allclose(found.losses[0], trained[0].losses[0], atol=1e-6)
    assert found.finite == [True, False, True]
    assert np.isnan(found.losses[1][-1])
    assert len(found.losses[2]) == 0
    assert all(not np.any(entry["b"][2]) for entry in found.adapters.values())


def test_groups_hold_every_job_once():
    rng = np.random.default_rng(0)
    jobs = [
        ttt.Job(task(0), edit(epochs=int(e)), Sequences([np.zeros(n, np.int32)] * 4, [1] * 4))
        for e, n in zip(rng.integers(0, 9, 70), rng.choice([60, 90, 300], 70))
    ]
    found = ttt.groups(jobs, TTT, devices=3)
    assert sorted(i for group in found for i in group.items) == list(range(70))
    assert {group.size for group in found} == {6}  # 4, rounded up to share it among three devices
    for group in found:
        assert 0 < len(group.items) <= group.size
        assert max(jobs[i].data.longest for i in group.items) <= group.length
    for one, other in itertools.pairwise(found):
        if one.length == other.length:
            steps = [[ttt.steps_of(jobs[i], 2) for i in group.items] for group in (one, other)]
            assert min(steps[0]) >= max(steps[1])
    assert ttt.groups([], TTT) == []


def test_targets_are_the_answer_and_the_end_of_its_turn(arc_model, jobs):
    job = jobs[0]
    batch = ttt.batches(job, TTT, 12, 128, 0, SEED)
    assert batch["tokens"].shape == (12, 2, 128)
    answers = {arc_model.tokenizer.decode(s[n:]) for s, n in zip(job.data.tokens, job.data.starts)}
    found = {
        arc_model.tokenizer.decode(tokens[targets])
        for step in range(9)
        for tokens, targets in zip(batch["tokens"][step], batch["loss_mask"][step])
        if targets.any()
    }
    assert found == answers
    assert all(text.startswith("[[") and text.endswith("]]#</s>") for text in found)
    assert not batch["mask"][9:].any()
    every = ttt.batches(job._replace(edit=edit(strategy=ALL, epochs=3)), TTT, 9, 128, 0, SEED)
    np.testing.assert_array_equal(every["loss_mask"][:, :, 1:], every["mask"][:, :, 1:])


def test_the_reference_loss_is_that_of_transformers(arc_model, tmp_path):
    """Answer, end of turn, an empty header, and the pads up to the longest sequence; two BOS; against torch."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    texts = micro_arc.llama_like(arc_model.tokenizer)
    data = texts.sequences(task(0), ())
    decoded = [texts.tokenizer.decode(s) for s in data.tokens]
    assert all(text.startswith("<s><s> system\n[[") for text in decoded)
    assert all(text.endswith("]]#</s> assistant\n") for text in decoded)
    job = ttt.Job(task(0), edit(epochs=1), data)
    settings = dataclasses.replace(TTT, loss="reference")
    batch = {k: v[:3] for k, v in ttt.batches(job, settings, 3, 160, pad_id(arc_model), SEED).items()}
    for tokens, targets, real in zip(*(batch[k].reshape(-1, 160) for k in ("tokens", "loss_mask", "mask"))):
        if real.any():
            assert texts.tokenizer.decode(tokens[targets & real]).endswith("]]#</s> assistant\n")
            assert targets.sum() == data.longest - int(np.argmax(targets))  # to the end, pads included

    models.save_pretrained(tmp_path, arc_model.config, arc_model.params)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    loss = jax.jit(lambda params, batch: ttt.ReferenceLoss()(params, arc_model.config, batch))
    for step in range(2):
        one = {name: x[step] for name, x in batch.items()}
        ours = loss(arc_model.params, {k: jnp.asarray(v) for k, v in one.items()})
        cut = {name: torch.tensor(x[:, : data.longest].astype(np.int64)) for name, x in one.items()}
        labels = torch.where(cut["loss_mask"].bool(), cut["tokens"], -100)
        with torch.no_grad():
            wanted = theirs(input_ids=cut["tokens"], attention_mask=cut["mask"], labels=labels).loss
        np.testing.assert_allclose(ours, wanted.numpy(), atol=2e-5)
    plain = training.causal_lm(arc_model.params, arc_model.config, {k: jnp.asarray(v) for k, v in one.items()})
    assert abs(float(plain) - float(ours)) > 1e-3  # positions over pads make a difference


def test_long_sequences_first_are_the_same_rows_in_shorter_steps(arc_texts):
    """Every epoch has its sequences once, the long ones first, the last step part empty; no epochs are no rows."""
    data = arc_texts.sequences(task(0), ("size",))
    lengths = [len(s) for s in data.tokens]
    assert len(set(lengths)) > 1
    job = ttt.Job(task(0), edit(("size",), epochs=2), data)
    ordered = dataclasses.replace(TTT, order="long_first")
    mixed, sorted_ = (ttt.batches(job, s, 8, 512, 0, SEED) for s in (TTT, ordered))
    for epoch in range(2):
        part = slice(3 * epoch, 3 * epoch + 3)
        rows = [sorted(map(tuple, b["tokens"][part].reshape(6, 512).tolist())) for b in (mixed, sorted_)]
        assert rows[0] == rows[1]
        used = sorted_["mask"][part].reshape(6, 512).sum(-1)
        assert sorted(used, reverse=True)[:5] == sorted(lengths, reverse=True)
        assert all(n <= 1.25 * m for m, n in itertools.pairwise(used))  # alike within a bucket
        assert used[5] == 0
        np.testing.assert_array_equal(
            sorted_["loss_mask"][part].reshape(6, 512).sum(-1).sum(), mixed["loss_mask"][part].sum()
        )
    assert not sorted_["mask"][6:].any()
    assert not ttt.batches(job._replace(edit=edit(("size",), epochs=0)), ordered, 8, 512, 0, SEED)["mask"].any()
