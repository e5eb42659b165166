"""A model as judge against transformers, the votes against recorded ones, rewards as judges, and how good one is."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import judge_models
import numpy as np
import pytest
import rain_golden
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_jax import adapters, models
from seal_jax.rain import judges
from seal_jax.rain.judges import pieces
from seal_jax.runtime import mesh

SHORT = """[instructions]
Say which statement is true of a text.
[judge]
Text: {text}
{options}
Answer: ({answer})
[options]
+1 It is good.
-1 It is not good.
0 It is neither.
[example -1]
The soup was cold.
[example +1]
The soup was hot and plenty.
"""
TEXTS = ["So it is.", "I will not help with that, but I can help you to sleep.", "no", "Good morning to you all!", "a"]


class Case:
    """A family's model here and in torch, and a judge made of it."""

    def __init__(self, family, tokenizer, folder, template):
        self.theirs = judge_models.save(family, folder, tokenizer)
        self.model = models.from_pretrained(folder)
        self.tokenizer = tokenizer
        self.given = (self.model.params, self.model.config, tokenizer)
        self.template = judges.load(str(template))
        self.pieces = pieces.tokenise(self.template, self.model.config, tokenizer)
        self.judge = judges.options(*self.given, self.template)
        self.texts = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]

    def expected(self, text):
        """Logits `[O, K]` of the answers after the whole prompt of each order, by transformers."""
        rows = []
        for branch, ids in zip(self.pieces.branches, self.pieces.answers):
            whole = np.concatenate([self.pieces.prefix, text, self.pieces.common, branch])
            with torch.no_grad():
                logits = self.theirs(torch.tensor(whole[None])).logits[0, -1].numpy()
            rows.append(logits[ids[:, 0]])
        return np.stack(rows)


@pytest.fixture(scope="module")
def template_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "short.txt"
    path.write_text(SHORT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def make(tmp_path_factory, template_file):
    """The case of a family with a kind of tokenizer, made once."""
    kinds = {"llama": "metaspace", "qwen2": "byte_level", "gemma2": "unigram"}

    @functools.cache
    def case(family):
        tokenizer = judge_models.TOKENIZERS[kinds[family]]()
        return Case(family, tokenizer, tmp_path_factory.mktemp(family), template_file)

    return case


@pytest.fixture(scope="module")
def llama(make):
    return make("llama")


def padded(texts, side="left", width=40, rows=None):
    tokens = np.zeros((rows or len(texts), width), np.int32)
    mask = np.zeros(tokens.shape, bool)
    for row, text in enumerate(texts):
        at = slice(width - len(text), width) if side == "left" else slice(0, len(text))
        tokens[row, at], mask[row, at] = text, True
    return jnp.asarray(tokens), jnp.asarray(mask)


@jax.jit
def scores(judge, tokens, mask):
    return judge.apply.scores(judge.arrays, tokens, mask)


@jax.jit
def apply(judge, tokens, mask):
    return judge(tokens, mask)


@pytest.mark.parametrize("family", judge_models.FAMILIES)
def test_both_orders_in_one_pass_are_two_whole_prompts(make, family):
    case = make(family)
    tokens, mask = padded(case.texts)
    got = scores(case.judge, tokens, mask)
    expected = np.stack([case.expected(text) for text in case.texts])
    assert expected.std(axis=0).min() > 0.05, "texts and orders must matter"
    assert np.abs(expected[:, 0] - expected[:, 1]).max() > 0.05
    np.testing.assert_allclose(got, expected, atol=2e-4)
    values = np.array([1.0, -1.0, 0.0])
    votes = values[expected.argmax(axis=-1)].mean(axis=-1)
    np.testing.assert_array_equal(apply(case.judge, tokens, mask), votes.astype(np.float32))


def test_soft_values_weigh_the_answers(llama):
    tokens, mask = padded(llama.texts)
    soft = dataclasses.replace(llama.judge, apply=dataclasses.replace(llama.judge.apply, hard=False))
    logits = np.stack([llama.expected(text) for text in llama.texts]).astype(np.float64)
    weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = (weights * [1.0, -1.0, 0.0]).sum(axis=-1).mean(axis=-1)
    np.testing.assert_allclose(apply(soft, tokens, mask), expected, atol=1e-4)


def test_the_batch_and_the_pads_change_nothing(llama):
    together = scores(llama.judge, *padded(llama.texts))
    other_side = scores(llama.judge, *padded(llama.texts, "right"))
    more = scores(llama.judge, *padded(llama.texts[::-1], rows=9))
    np.testing.assert_allclose(other_side, together, atol=2e-5)
    np.testing.assert_allclose(more[: len(TEXTS)][::-1], together, atol=2e-5)
    assert np.isfinite(more).all()


def test_a_prefix_is_stored_once_and_without_pads(llama):
    [part] = llama.judge.arrays.prefix
    assert {x.shape[:3] for x in part.keys} == {(1, 2, len(llama.pieces.prefix))}
    assert part.valid.all()


def test_a_call_is_one_pass_and_its_tokens_are_counted(llama):
    judge, (tokens, mask) = llama.judge, padded(llama.texts)
    branches = sum(map(len, llama.pieces.branches))
    assert judge.passes == 1
    assert judge.extra_tokens == len(llama.pieces.common) + branches
    np.testing.assert_array_equal(judge.cost(mask), [len(text) + judge.extra_tokens for text in llama.texts])
    lowered = apply.lower(judge, tokens, mask).as_text()
    products = [line.split("->")[-1] for line in lowered.splitlines() if "dot_general" in line]
    columns = tokens.shape[1] + judge.extra_tokens
    wide = [line for line in products if "x48xf32>" in line]
    assert len(wide) == 2 * 2, "gate and up in two layers, and no other pass"
    assert all(f"tensor<{len(TEXTS)}x{columns}x48xf32>" in line for line in wide)


def test_arrays_are_arguments_and_judges_made_alike_share_a_program(llama, template_file):
    again = judges.options(*llama.given, str(template_file))
    before = apply._cache_size()
    given = padded(llama.texts)
    np.testing.assert_array_equal(apply(again, *given), apply(llama.judge, *given))
    assert apply._cache_size() <= before + 1
    size = apply._cache_size()
    apply(again, *given)
    apply(judges.options(*llama.given, str(template_file)), *given)
    assert apply._cache_size() == size


def test_stacked_and_adapted_parameters_judge_too(llama):
    config, params, _ = llama.model
    adapter = adapters.lora.init(jax.random.key(0), params, rank=2, targets="all")
    adapter = {p: {**e, "b": jax.random.normal(jax.random.key(1), e["b"].shape)} for p, e in adapter.items()}
    attached = adapters.attach(params, adapter)
    adapted = judges.options(attached, config, llama.tokenizer, llama.template)
    merged = judges.options(adapters.materialize(attached), config, llama.tokenizer, llama.template)
    given = padded(llama.texts)
    np.testing.assert_allclose(scores(adapted, *given), scores(merged, *given), atol=1e-3)
    assert np.abs(scores(adapted, *given) - scores(llama.judge, *given)).max() > 0.1


def test_a_long_prefix_in_chunks_judges_alike(llama):
    chunked = judges.options(*llama.given, llama.template, prefill_chunk=16)
    given = padded(llama.texts)
    np.testing.assert_allclose(scores(chunked, *given), scores(llama.judge, *given), atol=2e-5)


def test_a_model_on_a_mesh_judges_alike(llama, tmp_path):
    judge_models.save("llama", tmp_path, llama.tokenizer)
    on = models.from_pretrained(tmp_path, mesh=mesh.make_mesh("data=2,fsdp=2,model=2"))
    judge = judges.options(on.params, on.config, llama.tokenizer, llama.template)
    got = judges.accuracy(judge, llama.texts, [1] * len(TEXTS))
    np.testing.assert_array_equal(got.values, apply(llama.judge, *padded(llama.texts)))
    assert len(judge.arrays.prefix[0].keys[0].sharding.device_set) == 8


def test_yes_no_asks_once_and_takes_the_likelier_spelling(llama):
    judge = judges.yes_no(*llama.given)
    assert judge.extra_tokens == judge.arrays.common.shape[0] + 1
    got = scores(judge, *padded(llama.texts))
    parts = pieces.tokenise(judges.load("truthful"), llama.model.config, llama.tokenizer)
    for row, text in zip(got, llama.texts):
        whole = np.concatenate([parts.prefix, text, parts.common, parts.branches[0]])
        with torch.no_grad():
            logits = llama.theirs(torch.tensor(whole[None])).logits[0, -1].numpy()
        best = [max(logits[i] for i in ids if i >= 0) for ids in parts.answers[0]]
        np.testing.assert_allclose(row[0], best, atol=2e-4)
    assert set(np.asarray(apply(judge, *padded(llama.texts)))) <= {-1.0, 1.0}
    with pytest.raises(ValueError, match=r"harmless has \[options\]"):
        judges.yes_no(*llama.given, "harmless")


def test_a_wish_for_negative_texts_negates(llama):
    given = padded(llama.texts)
    sad = judges.sentiment(*llama.given, positive=False, hard=False)
    glad = judges.sentiment(*llama.given, hard=False)
    np.testing.assert_allclose(apply(sad, *given), -apply(glad, *given), atol=1e-6)
    assert glad.arrays.values.tolist() == [1, -1, 0]


def test_a_prompt_that_does_not_fit_is_refused_before_any_work(llama):
    config, params, _ = llama.model
    size = llama.pieces.room
    tight = dataclasses.replace(config, max_position=size + 10)
    judge = judges.options(params, tight, llama.tokenizer, llama.template)
    assert judge.room == 10
    judge.check(10)
    with pytest.raises(ValueError, match=r"may have 11 tokens, and the judge's prompt leaves room for 10"):
        judge.check(11)
    full = dataclasses.replace(config, max_position=size)
    with pytest.raises(ValueError, match=f"has {size} tokens and leaves no room"):
        judges.options(params, full, llama.tokenizer, llama.template)


def test_recorded_votes(shared_data):
    vectors = rain_golden.load(shared_data).data["judge_vectors"]
    assert vectors
    # By choice and not by letter: the second order shows harmful under A.
    first = [[v["order1_pA"], v["order1_pB"]] for v in vectors]
    second = [[v["order2_pB"], v["order2_pA"]] for v in vectors]
    given = jnp.stack([jnp.array(first, jnp.float32), jnp.array(second, jnp.float32)], axis=1)
    got = judges.verdicts(given, jnp.array([1.0, -1.0]))
    np.testing.assert_array_equal(got, np.array([v["v"] for v in vectors], np.float32))


def test_a_liking_for_a_letter_is_worth_nothing():
    always_a = jnp.array([[5.0, 0.0], [0.0, 5.0]])  # the good option first, then the bad one first
    for hard in (True, False):
        assert judges.verdicts(always_a, jnp.array([1.0, -1.0]), hard=hard) == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, float("nan")]), min_size=6, max_size=6))
def test_votes_by_the_rule(numbers):
    given, values = np.array(numbers, np.float32).reshape(2, 3), [1.0, -1.0, 0.0]
    votes = []
    for row in given:
        best = [v for v, s in zip(values, row) if s == row.max()] if np.isfinite(row).all() else values
        votes.append(min(best))
    assert float(judges.verdicts(jnp.array(given), jnp.array(values))) == np.mean(votes)


def lengths(tokens, mask, key):
    return mask.sum(axis=-1) / 4 - 1.0


def weighted(table, tokens, mask, key):
    return jnp.where(mask, table[tokens], 0).sum(axis=-1)


def draws(tokens, mask, key):
    return jax.random.uniform(key, (len(tokens),))


def test_any_reward_is_a_judge():
    tokens, mask = padded([[1, 2], [3] * 4, [1] * 20])
    judge = judges.from_reward(lengths)
    np.testing.assert_array_equal(apply(judge, tokens, mask), [-0.5, 0.0, 1.0])
    assert judge.passes == 0
    np.testing.assert_array_equal(judge.cost(mask), [0, 0, 0])
    judge.check(10**6)
    table = jnp.array([0.0, 0.25, -0.5, jnp.nan])
    kept = judges.from_reward(weighted, table, passes=2, extra_tokens=3, room=5)
    np.testing.assert_array_equal(apply(kept, tokens, mask), [-0.25, -1.0, 1.0])
    np.testing.assert_array_equal(kept.cost(mask), [5, 7, 23])
    assert [x.shape for x in jax.tree.leaves(kept)] == [(4,)]
    with pytest.raises(ValueError, match="leaves room for 5"):
        kept.check(6)
    with pytest.raises(ValueError, match=r"reward of 3 texts has shape \(3,\), not \(3, 40\)"):
        judges.from_reward(lambda tokens, mask, key: tokens)(tokens, mask)


def test_values_of_texts_in_batches(llama):
    judge = llama.judge
    expected = apply(judge, *padded(llama.texts))
    np.testing.assert_array_equal(judges.values(judge, llama.texts, rows=2), expected)
    np.testing.assert_array_equal(judges.values(judge, TEXTS, tokenizer=llama.tokenizer), expected)
    assert judges.values(judge, []).shape == (0,)
    with pytest.raises(ValueError, match="text 0 is a string: pass tokenizer="):
        judges.values(judge, TEXTS)
    drawn = judges.values(judges.from_reward(draws), llama.texts, jax.random.key(0), rows=2)
    assert len(set(drawn.tolist())) == len(TEXTS)
    with pytest.raises(ValueError, match="may have 3000 tokens, and"):
        judges.values(dataclasses.replace(judge, room=100), [[1] * 3000])


def test_accuracy_counts_orders_and_indecision(llama):
    logits = np.stack([llama.expected(text) for text in llama.texts])
    votes = np.array([1.0, -1.0, 0.0])[logits.argmax(axis=-1)]
    labels = [1, -1, 1, -1, 0]
    got = judges.accuracy(llama.judge, llama.texts, labels, rows=2)
    right = np.sign(votes.mean(axis=-1)) == labels
    assert got.correct == right.mean()
    assert got.stderr == pytest.approx(right.std(ddof=1) / 5**0.5)
    assert got.by_order == tuple((np.sign(votes) == np.array(labels)[:, None]).mean(axis=0))
    assert got.undecided == (votes.mean(axis=-1) == 0).mean()
    assert got.positive == (votes.mean(axis=-1) > 0).mean()
    np.testing.assert_array_equal(got.values, votes.mean(axis=-1).astype(np.float32))
    always = judges.accuracy(judges.from_reward(weighted, jnp.ones(4096)), llama.texts, labels)
    assert (always.positive, always.by_order, always.correct) == (1.0, (), 0.4)
    for wrong in ([1, 1], [1, 2, 1, 1, 1]):
        with pytest.raises(ValueError, match="expected texts, and -1, 0 or 1 for each"):
            judges.accuracy(llama.judge, llama.texts, wrong)
