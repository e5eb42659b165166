"""Continued pretraining: the corpus, one fine-tune against a plain one, gained and lost questions, resuming."""

import dataclasses
import json

import chex
import jax
import numpy as np
import pytest
from oracles.chat_server import fails_at_first, says

from seal_jax import models, training
from seal_jax.adapters import lora
from seal_jax.data import packing
from seal_jax.data.squad import Passage, Question, load_squad
from seal_jax.evaluation import Endpoint
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.files import read_json
from seal_jax.runtime.run import Run
from seal_jax.seal import answers, cpt, cpt_metrics, policy
from seal_jax.seal.settings_sequential import Pretraining

EDITS = [["pet: dog\nfield: law", "goat"], ["profession: baker", ""], ["field: art", "pet: cat"]]
SETTINGS = Pretraining(rank=2, alpha=8.0, learning_rate=1e-2, epochs=2, batch_size=4, checkpoint_every=3)


@pytest.fixture(scope="module")
def people(passages):
    return passages(3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny, people, settings):
    folder = tmp_path_factory.mktemp("cpt")
    with Run(folder, {}) as run:
        return folder, run.finish(cpt.study(run, tiny, people, EDITS, SETTINGS, settings.answering, seed=1))


def test_the_corpus_has_the_passage_once_per_completion(people):
    one, two, _ = people
    texts = cpt.corpus([one, two], EDITS[:2], SETTINGS)
    own, other = (f"{p.title}\n{p.context}" for p in (one, two))
    wanted = [f"{one.title}\npet: dog\nfield: law", own, f"{one.title}\ngoat", own]
    assert texts == [*wanted, f"{two.title}\nprofession: baker", other, other]
    bare = dataclasses.replace(SETTINGS, bare_titles=True)
    assert cpt.corpus([two], [[""]], bare) == [f"{two.title}\n", other]
    assert cpt.corpus([two], [[]], SETTINGS) == [other]
    split = dataclasses.replace(SETTINGS, split_newlines=True)
    assert cpt.corpus([one], EDITS[:1], split)[:2] == [f"{one.title}\npet: dog", f"{one.title}\nfield: law"]
    with pytest.raises(ValueError, match="2 lists of edits for 3 passages"):
        cpt.corpus(people, EDITS[:2], SETTINGS)


def test_as_many_sequences_as_recorded(shared_data):
    recorded = read_json(shared_data / "seal_recorded/cpt/cpt_base.json")
    items = read_json(shared_data / "seal_recorded/generated/base_val.json")
    passages = load_squad(shared_data / "seal_recorded/generated/base_val.json")
    texts = cpt.corpus(passages, [item["completions"] for item in items], Pretraining())
    assert len(texts) == recorded["train_sequences"] == 2000
    assert sum(len(p.questions) for p in passages) == recorded["eval_questions"]
    # With bare titles a corpus of nothing but passages has the 400 texts of the recorded one.
    assert len(cpt.corpus(passages, [[""]] * 200, Pretraining(bare_titles=True))) == 400


def test_one_fine_tune_on_all_texts(tiny, people, settings, whole):
    """The condition "edits" is a plain fine-tune of the same batches at full length, merged and asked."""
    _, found = whole
    tokens = packing.encode_sequences(cpt.corpus(people, EDITS, SETTINGS), tiny.tokenizer, 512)
    batch = packing.epoch_batches(tokens, epochs=2, batch_size=4, seed=1)
    batch["tokens"][~batch["mask"]] = 0
    fresh = lora.init(jax.random.key(1), models.stack(tiny.params), 2, 8.0, ("q_proj", "v_proj"))
    steps = len(batch["tokens"])
    trained, metrics = training.finetune(tiny.params, tiny.config, fresh, batch, training.Hyper(1e-2, steps, seed=1))
    outcomes = answers.ask(policy.merge(tiny, trained), people, settings.answering)
    wanted = cpt_metrics.summary(outcomes)
    assert (found["edits"]["texts"], found["edits"]["steps"]) == (len(tokens), steps) == (11, 6)
    assert found["edits"]["loss"] == pytest.approx(float(np.mean(metrics["loss"][-3:])), abs=1e-4)
    assert found["edits"]["loglik"] == pytest.approx(wanted["loglik"], abs=1e-3)
    assert found["passage_only"]["texts"] == 6
    assert found["base"]["loglik"] != pytest.approx(wanted["loglik"], abs=0.05)
    assert found["differences"]["edits - base"]["loglik"]["difference"] == pytest.approx(
        found["edits"]["loglik"] - found["base"]["loglik"]
    )


def test_the_released_objective_trains_on_pads(tiny, people, tmp_path):
    """Texts without an end, padded to `max_length` with end-of-text, all of it targets: a fine-tune of such batches."""
    released = dataclasses.replace(SETTINGS, pad_loss="reference", max_length=96)
    texts = cpt.corpus(people, EDITS, released)
    with Run(tmp_path, {}) as run:
        learner, _ = cpt.pretrain(run, "x", tiny, texts, released, 1)
    tokens = [list(tiny.tokenizer.encode(text)) for text in texts]
    end = tiny.tokenizer.eos_token_id
    assert all(t[-1] != end for t in tokens)
    batch = packing.epoch_batches(tokens, epochs=2, batch_size=4, length=96, seed=1, pad_id=end)
    fresh = lora.init(jax.random.key(1), models.stack(tiny.params), 2, 8.0, ("q_proj", "v_proj"))
    hyper, loss = training.Hyper(1e-2, len(batch["tokens"]), seed=1), training.lm_loss("reference")
    trained, metrics = training.finetune(tiny.params, tiny.config, fresh, batch, hyper, loss_fn=loss)
    losses = [row["loss"] for row in read_json_lines(tmp_path / "metrics.jsonl")]
    np.testing.assert_allclose(losses, metrics["loss"], atol=1e-4)
    chex.assert_trees_all_close(leaves(learner.params), leaves(policy.merge(tiny, trained).params), atol=1e-4)


def test_killed_inside_the_training(tiny, people, settings, whole, tmp_path, monkeypatch):
    """Killed after a checkpoint of each condition, and the numbers are those of a run that was not."""
    real = Checkpointer.save

    def dies(self, step, tree):
        real(self, step, tree)
        saved.append((self.folder.name, step))
        raise KeyboardInterrupt

    saved = []
    monkeypatch.setattr(Checkpointer, "save", dies)
    study = lambda run: cpt.study(run, tiny, people, EDITS, SETTINGS, settings.answering, seed=1)  # noqa: E731
    for _ in range(2):
        with Run(tmp_path, {}) as run, pytest.raises(KeyboardInterrupt):
            study(run)
    with Run(tmp_path, {}) as run:
        found = run.finish(study(run))
    assert saved == [("passage_only", 3), ("edits", 3)]
    assert {**found, "seconds": 0} == {**whole[1], "seconds": 0}
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_answers_are_graded_again(tiny, people, settings, tmp_path, serve):
    server = serve(fails_at_first(says("yes")))
    endpoint = Endpoint(url=server.url, model="m", retries=0)
    answering = dataclasses.replace(settings.answering, grader="endpoint", endpoint=endpoint)
    with Run(tmp_path, {}) as run:
        found = cpt.study(run, tiny, people, EDITS, SETTINGS, answering, seed=1)
    assert [found[name]["ungraded"] for name in ("base", "passage_only", "edits")] == [0, 0, 0]


def test_full_fine_tuning(tiny, people, settings, tmp_path):
    """All weights move, and in the direction of the texts."""
    full = dataclasses.replace(SETTINGS, method="full", learning_rate=3e-3)
    texts = cpt.corpus(people, EDITS, full)
    with Run(tmp_path, {}) as run:
        learner, report = cpt.pretrain(run, "full", tiny, texts, full, 1)
    moved = [bool((a != b).any()) for a, b in zip(*map(leaves, (learner.params, tiny.params)))]
    assert all(moved)
    chex.assert_trees_all_equal_dtypes(learner.params, models.stack(tiny.params))
    first = read_json_lines(tmp_path / "metrics.jsonl")[0]["loss"]
    assert report["loss"] < first - 0.1


def leaves(params):
    return jax.tree.leaves(models.stack(params))


def read_json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_fine_tune_that_diverges(tiny, people, tmp_path):
    wild = dataclasses.replace(SETTINGS, learning_rate=3e38)
    with Run(tmp_path, {}) as run, pytest.raises(ValueError, match=r"pretraining on x diverged .* 3e\+38"):
        cpt.pretrain(run, "x", tiny, cpt.corpus(people, EDITS, wild), wild, 1)


def outcome(*verdicts):
    return {
        "answers": [f"a{i}" for i in range(len(verdicts))],
        "correct": list(verdicts),
        "loglik": [-1.0] * len(verdicts),
    }


def test_micro_and_macro():
    """Five questions of one passage and one of another: by question 2/6, by passage (1/5 + 1) / 2."""
    found = cpt_metrics.summary([outcome(True, False, False, False, False), outcome(True), outcome(None)])
    assert found["accuracy"] == pytest.approx(2 / 6)
    assert found["macro"] == pytest.approx(0.6)
    assert found["macro_stderr"] == pytest.approx(np.std([0.2, 1.0], ddof=1) / 2**0.5)
    # Residuals by passage are -2/3 and 2/3: their squares over the number of questions, with g / (g - 1) = 2.
    assert found["stderr"] == pytest.approx((2 * 2 * (2 / 3) ** 2) ** 0.5 / 6)
    assert (found["passages"], found["questions"], found["ungraded"]) == (2, 7, 1)
    with pytest.raises(ValueError, match="no question is graded"):
        cpt_metrics.summary([outcome(None)])


def test_gained_and_lost():
    passages = [Passage("A", "", tuple(Question(f"q{i}", f"g{i}") for i in range(4))), Passage("B", "", ())]
    before = [outcome(False, True, None, True), outcome()]
    after = [outcome(True, False, True, True), outcome()]
    found = cpt_metrics.changes(passages, before, after)
    assert (found["gained"], found["lost"]) == (1, 1)
    where = {"passage": 0, "title": "A"}
    assert found["gained_questions"] == [{**where, "question": "q0", "answer": "g0", "before": "a0", "after": "a0"}]
    assert found["lost_questions"][0]["question"] == "q1"
    assert cpt_metrics.compare(after, before)["accuracy"]["difference"] == pytest.approx(0.0)


def test_gains_of_the_recorded_runs(shared_data):
    reply = read_json(shared_data / "seal_recorded/cpt/cpt_base.json")["server_reply"]
    kinds = ("baseline", "adapter")
    before, after = (
        [{"answers": [t], "correct": [c], "loglik": [0.0]} for t, c in zip(reply[f"{k}_texts"], reply[f"{k}_correct"])]
        for k in kinds
    )
    asked = [Passage("", "", (Question("", ""),))] * len(before)
    found = cpt_metrics.changes(asked, before, after)
    assert (found["gained"], found["lost"]) == (163, 81)
    assert round(cpt_metrics.summary(before)["accuracy"], 4) == 0.3255
    assert round(cpt_metrics.summary(after)["accuracy"], 4) == 0.4097


def test_settings_are_checked():
    with pytest.raises(ValueError, match="accumulate 3: use a divisor of batch_size 8"):
        Pretraining(accumulate=3)
    with pytest.raises(ValueError, match="method 'ia3' is not one of lora, full"):
        Pretraining(method="ia3")
    with pytest.raises(ValueError, match="pad_loss 'all' is not one of masked, reference"):
        Pretraining(pad_loss="all")
