"""Embeddings of paths: mean hidden states, and a sentence encoder fed through a table of word pieces."""

import itertools
import unicodedata

import jax
import jax.numpy as jnp
import judge_models
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_jax import models
from seal_jax.rain import embeddings, wordpieces

WORDS = ["the", "cat", "play", "good", "morning", "help", "no", "##ing", "##ed", "##s", "!", ".", ",", "(", ")", "42"]
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
TEXT = "Good morning, the cats played (no HELP)! 42"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random BERT with a WordPiece tokenizer."""
    path = tmp_path_factory.mktemp("encoder")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *("##" + c for c in LETTERS)]
    (path / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)})
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=len(pieces), max_position_embeddings=64, initializer_range=0.3, **sizes)
    transformers.BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def theirs(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def base():
    return judge_models.byte_level()


@pytest.fixture(scope="module")
def table(base, theirs):
    return wordpieces.make_table(base, theirs, len(base) + 3)


def config_of(tokenizer):
    return models.Config("llama", len(tokenizer) + 3, 16, 16, 1, 2, 2, 8, 64)


pieces_of = jax.jit(wordpieces.word_pieces, static_argnums=3)


def test_the_mean_over_each_span():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(2, 6, 5)).astype(np.float32)
    hidden[1, 2] = np.nan  # masked: it may hold anything
    mask = np.array([[1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 1, 1]], bool)
    starts = np.array([[0, 2, 4], [0, 4, 5]], np.int32)
    embed = embeddings.hidden_mean()
    got = np.asarray(jax.jit(lambda e, *given: e(*given))(embed, np.zeros((2, 6), np.int32), hidden, mask, starts))
    for b in range(2):
        for j in range(3):
            states = [hidden[b, t] for t in range(starts[b, j], 6) if mask[b, t]]
            mean = np.mean(states, axis=0) if states else np.zeros(5)
            expected = mean / np.linalg.norm(mean) if states else mean
            np.testing.assert_allclose(got[b, j], expected, atol=1e-6)
    assert embed.width(config_of(range(5))) == 16


def test_bfloat16_states_are_averaged_in_float32():
    hidden = jnp.ones((1, 300, 4), jnp.bfloat16) * jnp.array([3.0, 4.0, 0.0, 0.0], jnp.bfloat16)[None, None]
    got = embeddings.hidden_mean()(
        jnp.zeros((1, 300), jnp.int32), hidden, jnp.ones((1, 300), bool), jnp.zeros((1, 1), jnp.int32)
    )
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got[0, 0], [0.6, 0.8, 0, 0], atol=1e-6)


@pytest.mark.parametrize("kind", judge_models.TOKENIZERS)
def test_word_pieces_are_those_of_the_text(kind, theirs):
    """Where words are whole tokens or fall apart into letters either way, the table gives what the tokenizer gives."""
    tokenizer = judge_models.TOKENIZERS[kind]()
    table = wordpieces.make_table(tokenizer, theirs, len(tokenizer))
    text = "x, zq (ky)! w 7?"
    tokens = np.array(tokenizer.encode(text, add_special_tokens=False), np.int32)
    ids, mask = pieces_of(table, tokens, np.ones(len(tokens), bool), 48)
    expected = theirs.encode(text)
    assert theirs.unk_token_id in expected
    np.testing.assert_array_equal(np.asarray(ids)[np.asarray(mask)], expected)


def test_a_token_goes_on_with_the_word_before_it(table, base, theirs):
    def said(*texts, gap=False):
        tokens = [t for text in texts for t in base.encode(text, add_special_tokens=False)]
        row, mask = tokens, [True] * len(tokens)
        if gap:  # a pad between any two tokens
            row, mask = [x for t in tokens for x in (t, 0)], [x for _ in tokens for x in (True, False)]
        ids, real = pieces_of(table, np.array(row, np.int32), np.array(mask), 40)
        return theirs.convert_ids_to_tokens(np.asarray(ids)[np.asarray(real)].tolist())[1:-1]

    apart = said(*"z q")
    assert apart == ["z", "q"] or apart == ["z", "##q"]
    assert said("z", "q") == said("z", "q", gap=True) == ["z", "##q"]
    assert said(" z", " q") == ["z", "q"]
    assert said("(", "z", ")") == ["(", "z", ")"]
    assert said("q", "(", "z") == ["q", "(", "z"]


def test_what_bert_isolates_never_goes_on_with_a_word(theirs):
    """Against the encoder's tokenizer on the joined text: CJK, punctuation, symbols, letters, digits, accents."""
    known = ["中", "文", "ア", "한", "€", "z", "q", "7", ".", "-", "_", "é", "¿", "々", " q", "\u0301"]

    class Whole:
        """A tokenizer whose tokens are these."""

        all_special_ids = ()

        def __len__(self):
            return len(known) + 1

        def encode(self, text, **_):
            return [len(known)]

        def decode(self, tokens):
            return "".join([*known, "a"][token] for token in tokens)

        def batch_decode(self, rows, **_):
            return [self.decode(row) for row in rows]

    pieces = theirs.get_vocab()
    # All are known: of a word with one that is not, BERT's tokenizer makes a single [UNK].
    for char in unicodedata.normalize("NFD", "中文ア€々¿7한"):
        pieces |= {char: len(pieces), f"##{char}": len(pieces) + 1}
    encoder = transformers.BertTokenizerFast(vocab=pieces)
    table = wordpieces.make_table(Whole(), encoder, len(known) + 1)
    for first, second in [*itertools.product(range(len(known) - 1), repeat=2), (5, len(known) - 1)]:
        row = np.array([first, second, first], np.int32)
        ids, real = pieces_of(table, row, np.ones(3, bool), 12)
        expected = encoder.encode("".join(known[token] for token in row))
        assert np.asarray(ids)[np.asarray(real)].tolist() == expected, [known[token] for token in row]


def test_what_does_not_fit_is_cut(table, base):
    tokens = np.array(base.encode(" z" * 30, add_special_tokens=False), np.int32)
    ids, mask = pieces_of(table, tokens, np.ones(len(tokens), bool), 8)
    assert mask.all()
    assert int(ids[0]) == int(table.ends[0])
    assert int(ids[-1]) == int(table.ends[1])
    nothing, real = pieces_of(table, tokens, np.zeros(len(tokens), bool), 8)
    assert real.tolist() == [True, True] + [False] * 6
    np.testing.assert_array_equal(nothing[:2], table.ends)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 602), st.booleans()), min_size=12, max_size=12))
def test_pieces_by_the_rule(table, drawn):
    """Against a loop over the tokens."""
    tokens, mask = (np.array(column) for column in zip(*drawn))
    pieces, counts, opens, closes, ends = (np.asarray(leaf) for leaf in table)
    found, before = [], None
    for token, real in zip(tokens, mask):
        if real:
            kind = int(before is not None and closes[before] and opens[token])
            found += pieces[kind, token, : counts[kind, token]].tolist()
            before = token
    expected = [ends[0], *found[:18], ends[1]]
    ids, real = pieces_of(table, tokens.astype(np.int32), mask, 20)
    np.testing.assert_array_equal(np.asarray(ids)[np.asarray(real)], expected)
    np.testing.assert_array_equal(real, np.arange(20) < len(expected))


def test_sentence_vectors_are_those_of_the_encoder(folder, base, theirs):
    embed = embeddings.sentence(folder, base, config_of(base))
    bert = transformers.BertModel.from_pretrained(folder).eval()
    tokens = np.array(base.encode(TEXT, add_special_tokens=False), np.int32)
    row, mask = np.pad(tokens, (3, 2)), np.pad(np.ones(len(tokens), bool), (3, 2))
    starts = np.array([[0, 3 + len(tokens) // 2, len(row)]], np.int32)
    got = np.asarray(
        jax.jit(lambda e, *given: e(*given))(embed, row[None], np.zeros((1, len(row), 0)), mask[None], starts)
    )
    assert embed.width(config_of(base)) == 24
    for j, start in enumerate(starts[0, :2]):
        ids, real = pieces_of(embed.table, row, mask & (np.arange(len(row)) >= start), 64)
        ids = np.asarray(ids)[np.asarray(real)]
        with torch.no_grad():
            mean = bert(torch.tensor(ids[None], dtype=torch.long)).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(got[0, j], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_array_equal(got[0, 2], 0)
    assert got[0, 0] @ got[0, 1] < 0.999


def test_texts_without_a_word_piece_are_like_no_other(folder, base):
    """Characters that are split over tokens of bytes are left out: two texts of them are not the same one."""
    embed = embeddings.sentence(folder, base, config_of(base))
    rows = [base.encode(text, add_special_tokens=False) for text in ("中文", "日本", "中 z文")]
    tokens = np.array([np.resize(row, 12) for row in rows], np.int32)
    mask = np.arange(12)[None] < np.array([[len(row)] for row in rows])
    given = (jnp.asarray(x) for x in (tokens, np.zeros((3, 12, 0)), mask, np.zeros((3, 1), np.int32)))
    got = np.asarray(embed(*given))[:, 0]
    np.testing.assert_array_equal(got[:2], 0)
    assert np.linalg.norm(got[2]) == pytest.approx(1)


def test_another_tokenizer_than_wordpiece_is_refused(base):
    with pytest.raises(ValueError, match="not WordPiece"):
        wordpieces.make_table(base, base, len(base))
