"""Penalties, n-grams and least lengths against the processors of transformers, and against its `generate`."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from seal_jax import generation, models
from seal_jax.generation.control import Controls, Penalties, control, control_rule, open_history, remember

VOCAB, ROWS, PROMPT, NEW = 12, 5, 7, 6
RNG = np.random.default_rng(3)
LOGITS = 3 * RNG.standard_normal((ROWS, VOCAB)).astype(np.float32)
SAID = RNG.integers(0, VOCAB, (ROWS, PROMPT + NEW))
PADS = [0, 3, 6, 1, 0]  # left of each prompt
EOS = np.arange(VOCAB) == 2


def controlled(controls, step):
    """Ours: LOGITS after the prompts and `step` new tokens, with room for one more than there are."""
    rule, room = control_rule(controls), NEW + 1
    context = np.where(np.arange(PROMPT) < np.array(PADS)[:, None], -1, SAID[:, :PROMPT])
    history = open_history(rule, jnp.asarray(context), ROWS, VOCAB, room)
    for t in range(step):
        history = remember(history, jnp.asarray(SAID[:, PROMPT + t]), jnp.int32(t), room)
    c = controls
    numbers = map(jnp.float32, (c.repetition_penalty, c.presence_penalty, c.frequency_penalty))
    penalties = Penalties(*numbers, jnp.int32(c.min_new_tokens), jnp.asarray(EOS))
    return np.asarray(control(rule, jnp.asarray(LOGITS), history, penalties, jnp.int32(step), room))


def processed(make, step):
    """Theirs: each row by itself, without its pads. make: prompt length -> processor."""
    rows = []
    for logits, said, pads in zip(LOGITS, SAID, PADS):
        ids = torch.tensor(said[None, pads : PROMPT + step])
        rows.append(make(PROMPT - pads)(ids, torch.tensor(logits[None])).numpy()[0])
    return np.stack(rows)


@pytest.mark.parametrize("step", [0, 1, NEW])
@pytest.mark.parametrize("penalty", [1.7, 0.5])
def test_repetition_penalty(penalty, step):
    theirs = processed(lambda _: transformers.RepetitionPenaltyLogitsProcessor(penalty), step)
    assert (theirs != LOGITS).any()
    np.testing.assert_allclose(controlled(Controls(repetition_penalty=penalty), step), theirs, rtol=1e-6)


@pytest.mark.parametrize("step", [0, 1, NEW])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_repeat_ngram(size, step):
    theirs = processed(lambda _: transformers.NoRepeatNGramLogitsProcessor(size), step)
    np.testing.assert_array_equal(controlled(Controls(no_repeat_ngram_size=size), step), theirs)


def test_some_ngrams_are_forbidden():
    assert np.isinf(controlled(Controls(no_repeat_ngram_size=2), NEW)).any()


@pytest.mark.parametrize("step", [0, 3, 4, NEW])
def test_min_new_tokens(step):
    make = lambda length: transformers.MinNewTokensLengthLogitsProcessor(length, 4, 2)  # noqa: E731
    np.testing.assert_array_equal(controlled(Controls(min_new_tokens=4), step), processed(make, step))


@pytest.mark.parametrize("step", [0, NEW])
def test_presence_and_frequency_count_the_continuation_only(step):
    expected = LOGITS.copy()
    for row in range(ROWS):
        for token, count in zip(*np.unique(SAID[row, PROMPT : PROMPT + step], return_counts=True)):
            expected[row, token] -= 0.3 * count + 0.7
    ours = controlled(Controls(presence_penalty=0.7, frequency_penalty=0.3), step)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_all_of_them_in_the_order_of_transformers():
    controls = Controls(repetition_penalty=1.7, no_repeat_ngram_size=2, min_new_tokens=9)
    steps = [
        lambda _: transformers.RepetitionPenaltyLogitsProcessor(1.7),
        lambda _: transformers.NoRepeatNGramLogitsProcessor(2),
        lambda length: transformers.MinNewTokensLengthLogitsProcessor(length, 9, 2),
    ]
    together = lambda n: lambda ids, x: transformers.LogitsProcessorList(s(n) for s in steps)(ids, x)  # noqa: E731
    np.testing.assert_allclose(controlled(controls, NEW), processed(together, NEW), rtol=1e-6)


def test_what_is_off_is_not_there():
    rule = control_rule(Controls())
    assert not any(rule)
    assert open_history(rule, None, 3, VOCAB, 4) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("nan")),
        ("repetition_penalty", 1e-40),
        ("repetition_penalty", None),
        ("presence_penalty", float("inf")),
        ("frequency_penalty", float("nan")),
        ("no_repeat_ngram_size", -1),
        ("no_repeat_ngram_size", 2.5),
        ("min_new_tokens", -1),
        ("min_new_tokens", 1.0),
    ],
)
def test_bad_settings(field, value):
    assert field in {f.name for f in dataclasses.fields(Controls)}
    with pytest.raises(ValueError, match=f"{field}={value}: expected"):
        Controls(**{field: value})


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A transformers model that likes to repeat itself, and the same checkpoint loaded by us."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=48,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.2,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    folder = tmp_path_factory.mktemp("llama")
    theirs.save_pretrained(folder)
    ours = models.from_pretrained(folder)
    return theirs, ours.config, models.unroll(ours.params)


PROMPTS = [RNG.integers(3, 48, n).tolist() for n in (6, 2, 9)]
NEVER = {"eos": ()}


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2},
        {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 16},
    ],
    ids=lambda o: "+".join(o),
)
def test_greedy_equals_transformers(pair, options):
    """Ours in one ragged batch, theirs row by row, so without pads. The EOS is what the first row says fifth."""
    theirs, config, params = pair
    plain = generation.generate(params, config, PROMPTS, None, 24, eos=())
    eos = plain.tokens[0][5]
    ours = generation.generate(params, config, PROMPTS, None, 24, eos=(eos,), **options)
    expected = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        how = {"do_sample": False, "eos_token_id": eos, "pad_token_id": 0, "max_new_tokens": 24, **options}
        row = theirs.generate(ids, attention_mask=torch.ones_like(ids), **how)[0, len(prompt) :].tolist()
        expected.append(row[: row.index(eos)] if eos in row else row)
    assert ours.tokens == expected
    assert ours.tokens != generation.generate(params, config, PROMPTS, None, 24, eos=(eos,)).tokens
    assert min(map(len, ours.tokens)) >= options.get("min_new_tokens", 0)


def test_the_prefix_of_the_history_grows_with_the_cache(pair, monkeypatch):
    """Segments move the end of the room; what was said stays where the rules look for it."""
    _, config, params = pair
    options = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "frequency_penalty": 0.5, "eos": ()}
    at_once = generation.generate(params, config, PROMPTS, None, 40, **options)
    monkeypatch.setattr("seal_jax.generation.engine.SEGMENT", 8)
    assert generation.generate(params, config, PROMPTS, None, 40, **options).tokens == at_once.tokens


def test_penalties_are_data(pair):
    _, config, params = pair
    generation.decode.start.clear_cache()
    for penalty in (1.1, 1.2, 1.3):
        generation.generate(params, config, PROMPTS, None, 8, eos=(), repetition_penalty=penalty)
    assert generation.decode.start._cache_size() == 1
