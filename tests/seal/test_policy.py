"""Writing edits: draws that depend on nothing else; training the policy: the adapter alone, and merged exactly."""

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, generation, models, training
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.seal import policy
from seal_jax.seal.edits import edit_prompt
from seal_jax.seal.inner_loop import Memory

SEED = 3


@pytest.fixture(scope="module")
def people(passages):
    return passages(3)


@pytest.fixture(scope="module")
def written(tiny, people, settings):
    return policy.write_edits(tiny, people, settings.edits, SEED)


def test_edits_are_samples_of_the_prompt(tiny, people, settings, written):
    assert [len(texts) for texts in written] == [2, 2, 2]
    assert len({text for texts in written for text in texts}) == 6
    assert all(text == text.strip() for texts in written for text in texts)
    out = generation.generate(
        tiny.params,
        tiny.config,
        [tiny.tokenizer.encode(edit_prompt(people[1], "plain"))] * 2,
        jax.random.key(SEED),
        max_new_tokens=settings.edits.max_new_tokens,
        temperature=1.0,
        tokenizer=tiny.tokenizer,
        row_ids=[policy._row_id(people[1], k) for k in range(2)],
    )
    assert [text.strip() for text in out.texts] == written[1]


def test_a_draw_depends_on_seed_passage_and_number_alone(tiny, people, settings, written):
    edits = settings.edits
    assert policy.write_edits(tiny, people, edits, SEED) == written
    assert policy.write_edits(tiny, people[::-1], edits, SEED) == written[::-1]
    assert policy.write_edits(tiny, people[1:2], edits, SEED) == written[1:2]
    assert policy.write_edits(tiny, people, dataclasses.replace(edits, rows=2), SEED) == written
    fewer = policy.write_edits(tiny, people, dataclasses.replace(edits, count=1), SEED)
    assert fewer == [texts[:1] for texts in written]
    other = policy.write_edits(tiny, people, edits, SEED + 1)
    assert not {t for texts in other for t in texts} & {t for texts in written for t in texts}
    renamed = dataclasses.replace(people[0], title=people[1].title)
    assert policy.write_edits(tiny, [renamed], edits, SEED)[0] != written[0]


def test_it_goes_on_where_it_was(tiny, people, settings, written, monkeypatch):
    asked, real = [], generation.generate
    monkeypatch.setattr(generation, "generate", lambda *a, **how: asked.append(len(a[2])) or real(*a, **how))
    store, progress = Memory(), []
    store.add("0/0", "kept")
    store.add("2/1", "")
    found = policy.write_edits(tiny, people, settings.edits, SEED, store, progress.append)
    assert found == [["kept", written[0][1]], written[1], [written[2][0], ""]]
    assert asked == [4, 2]
    assert progress == [4, 2]
    assert policy.write_edits(tiny, people, settings.edits, SEED, store) == found
    assert asked == [4, 2]  # all there: nothing is generated


def test_writing_compiles_once(tiny, passages, settings, written, compilations):
    with compilations() as compiled:
        for start in (3, 6):
            policy.write_edits(tiny, passages(3, start), settings.edits, SEED)
    assert compiled.names == []


def test_an_edit_stops_at_the_context(tiny, people, settings):
    """A prompt near the end of the context leaves its edit the room there is."""
    length = len(tiny.tokenizer.encode(edit_prompt(people[0], "plain")))
    model = tiny._replace(config=dataclasses.replace(tiny.config, max_position=length + 3))
    [texts] = policy.write_edits(model, people[:1], settings.edits, SEED)
    assert len(texts) == 2
    assert all(len(tiny.tokenizer.encode(text)) <= 2 * 3 for text in texts)


def test_a_passage_that_fills_the_context_is_named(tiny, people, settings):
    long = dataclasses.replace(people[1], context=people[1].context * 40)
    with pytest.raises(ValueError, match=rf"passage '{long.title}': its edit prompt has \d+ tokens .* context is 512"):
        policy.write_edits(tiny, [people[0], long], settings.edits, SEED)


def test_chat_prompts_need_a_chat_template(tiny, people, settings):
    chat = dataclasses.replace(settings.edits, chat=True, kind="implications")
    with pytest.raises(ValueError, match="no chat template"):
        policy.prompts(tiny, people, chat)
    unknown = dataclasses.replace(settings.edits, kind="haiku")
    with pytest.raises(FileNotFoundError, match="'haiku' is neither a file nor one of"):
        policy.prompts(tiny, people, unknown)


@pytest.fixture(scope="module")
def rows(people):
    edits = ["pet: dog\nfield: law", "pet: goat", "profession: baker"]
    return [{"prompt": edit_prompt(p, "plain"), "completion": e} for p, e in zip(people, edits)]


@pytest.fixture(scope="module")
def improved(tiny, rows, settings):
    update = dataclasses.replace(settings.policy, epochs=6, checkpoint_every=50)
    return update, *policy.improve(tiny, rows, update, seed=1)


def test_improving_lowers_the_loss_of_the_edits(tiny, rows, improved):
    _, adapter, losses = improved
    assert len(losses) == 6 * 2
    assert np.mean(losses[-2:]) < np.mean(losses[:2]) - 0.05
    learner = policy.merge(tiny, adapter)
    before, after = (completion_loss(m, rows) for m in (tiny, learner))
    assert after < before - 0.05


def completion_loss(model, rows):
    """Mean over rows of the mean loss of a completion's tokens and its end, one row at a time."""
    losses = []
    for row in rows:
        head = model.tokenizer.encode(row["prompt"])
        whole = [*model.tokenizer.encode(row["prompt"] + row["completion"]), model.tokenizer.eos_token_id]
        tokens = jnp.asarray([whole + [0] * (64 - len(whole))])
        logits = models.forward(model.params, model.config, tokens, jnp.arange(64)[None] < len(whole))
        log_probs = np.asarray(jax.nn.log_softmax(logits, -1))[0]
        losses.append(-np.mean([log_probs[t - 1, whole[t]] for t in range(len(head), len(whole))]))
    return float(np.mean(losses))


def test_the_first_step_is_scored_on_the_completion_only(tiny, rows, settings):
    one = dataclasses.replace(settings.policy, epochs=1, batch_size=1)
    _, losses = policy.improve(tiny, rows[:1], one, seed=0)
    assert losses == [pytest.approx(completion_loss(tiny, rows[:1]), abs=1e-4)]


def test_a_step_in_parts_is_the_step(tiny, rows, improved):
    """Two rows at once in parts of one, and four in parts of two although three rows are all there are."""
    update, adapter, losses = improved
    again, same = policy.improve(tiny, rows, dataclasses.replace(update, accumulate=2), seed=1)
    np.testing.assert_allclose(same, losses, atol=1e-5)
    chex.assert_trees_all_close(again, adapter, atol=1e-4)
    whole, parts = (dataclasses.replace(update, epochs=1, batch_size=8, accumulate=n) for n in (1, 4))
    expected, found = (policy.improve(tiny, rows, u, seed=1)[1] for u in (whole, parts))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_adapter_alone_is_trained(tiny, improved, settings):
    update, adapter, _ = improved
    start = adapters.lora.init(jax.random.key(1), tiny.params, update.rank, update.alpha, update.targets)
    assert jax.tree.structure(adapter) == jax.tree.structure(start)
    assert {path.split("/")[-2] for path in adapter} == {"q_proj", "v_proj"}
    for path, entry in adapter.items():
        np.testing.assert_array_equal(entry["scale"], start[path]["scale"])
        assert np.abs(entry["b"]).max() > 1e-3


def test_merged_is_attached(tiny, improved):
    _, adapter, _ = improved
    copy = jax.tree.map(np.array, tiny.params)
    merged = policy.merge(tiny, adapter)
    tokens = jnp.arange(24).reshape(2, 12) + 300
    wanted = models.forward(adapters.attach(tiny.params, adapter), tiny.config, tokens)
    np.testing.assert_allclose(models.forward(merged.params, tiny.config, tokens), wanted, atol=1e-5)
    chex.assert_trees_all_equal_shapes_and_dtypes(merged.params, tiny.params)
    assert np.abs(wanted - models.forward(tiny.params, tiny.config, tokens)).max() > 1e-3
    chex.assert_trees_all_equal(tiny.params, copy)
    assert merged.tokenizer is tiny.tokenizer
    assert merged.config is tiny.config


def test_improving_is_a_function_of_rows_and_seed(tiny, rows, improved):
    update, adapter, losses = improved
    again, same = policy.improve(tiny, rows, update, seed=1)
    assert same == losses
    chex.assert_trees_all_equal(again, adapter)
    assert policy.improve(tiny, rows, update, seed=2)[1] != losses


def test_a_killed_update_goes_on_to_the_same_adapter(tiny, rows, improved, tmp_path, monkeypatch):
    """Twelve steps in segments of five, stopped after the second: the numbers of one piece."""
    update, adapter, losses = improved
    cut = dataclasses.replace(update, checkpoint_every=5)
    checkpoints, save = Checkpointer(tmp_path), Checkpointer.save

    def saved_and_killed(self, step, tree):
        save(self, step, tree)
        if step == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpointer, "save", saved_and_killed)
    with pytest.raises(KeyboardInterrupt):
        policy.improve(tiny, rows, cut, 1, checkpoints)
    monkeypatch.undo()
    segments, advance = [], training.advance
    spy = lambda *a, **how: segments.append(a[3]) or advance(*a, **how)  # noqa: E731
    monkeypatch.setattr("seal_jax.training.segments.advance", spy)
    again, same = policy.improve(tiny, rows, cut, 1, checkpoints)
    assert len(segments) == 1
    assert segments[0]["mask"].any((1, 2)).tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(same, losses, atol=1e-6)
    chex.assert_trees_all_close(again, adapter, atol=1e-5)


def test_long_edits_are_cut_and_long_prompts_refused(tiny, rows, settings, caplog):
    prompt = len(tiny.tokenizer.encode(rows[0]["prompt"]))
    tight = dataclasses.replace(settings.policy, max_length=prompt + 2, epochs=1)
    with caplog.at_level("WARNING"):
        policy.improve(tiny, rows[:1], tight, seed=0)
    assert f"1 of 1 completions run over {prompt + 2} tokens and were cut" in caplog.text
    with pytest.raises(ValueError, match=f"pair 0: a prompt of {prompt} tokens; it takes 1 to {prompt - 1}"):
        policy.improve(tiny, rows[:1], dataclasses.replace(tight, max_length=prompt), seed=0)


def test_nothing_to_learn_from(tiny, settings):
    with pytest.raises(ValueError, match="no edit was selected"):
        policy.improve(tiny, [], settings.policy, seed=0)


def test_a_policy_that_diverges_is_not_kept(tiny, rows, settings):
    with pytest.raises(ValueError, match=r"training the policy diverged .* lower the learning rate of 3e\+38"):
        policy.improve(tiny, rows, dataclasses.replace(settings.policy, learning_rate=3e38), seed=0)


class Merging:
    """A tokenizer of characters that joins a pair "ab" into one token, and begins texts with a BOS."""

    def encode(self, text, add_special_tokens=True):
        ids = []
        for c in text:
            ids = [*ids[:-1], 500] if c == "b" and ids[-1:] == [ord("a")] else [*ids, ord(c)]
        return [1, *ids] if add_special_tokens else ids


@pytest.mark.parametrize(
    ("prompt", "completion", "wanted"),
    [("x\n", "cd", "cd"), ("x a", "cd", "cd"), ("xa", "bc", "bc"), ("x", "", "")],
)
def test_the_continuation_is_what_follows_the_prompt(tiny, prompt, completion, wanted):
    model = tiny._replace(tokenizer=Merging())
    assert policy._continuation(model, prompt, completion) == [ord(c) for c in wanted]


class Spaced:
    """A tokenizer of characters that joins a space to the letter after it, and puts a space before every text."""

    def encode(self, text, add_special_tokens=True):
        return ["<s>"] * add_special_tokens + re.findall(r" ?\S|\s", f" {text}")


def test_no_second_space_is_learnt_after_a_prompt_that_ends_in_one(tiny):
    prompt, tokenizer = "Question 1: ", Spaced()
    continuation = policy._continuation(tiny._replace(tokenizer=tokenizer), prompt, "Who is it?")
    assert "".join(map(str, [*tokenizer.encode(prompt), *continuation])) == "<s> Question 1: Who is it?"


def test_continuations_of_the_worlds_tokenizer(tiny, rows):
    encode = tiny.tokenizer.encode
    for row in rows:
        continuation = policy._continuation(tiny, row["prompt"], row["completion"])
        assert encode(row["prompt"]) + continuation == encode(row["prompt"] + row["completion"])
        assert tiny.tokenizer.decode(continuation) == row["completion"]
