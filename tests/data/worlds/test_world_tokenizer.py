"""The tokenizer of the worlds: any text survives, world words are one token, prompts and answers tokenise apart."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import example, given, settings

from seal_jax.data.worlds import biographies, tokenizer
from seal_jax.data.worlds.vocabulary import ATTRIBUTES, FIRST_NAMES, LAST_NAMES
from seal_jax.evaluation.qa import answer_prompt
from seal_jax.seal.edits import edit_prompt

TOK = tokenizer.build()
# Every character but "▁", with more of those that are treated in some way.
text = st.text(
    st.one_of(st.characters(exclude_categories=("Cs",), exclude_characters="▁"), st.sampled_from(" \n.T<>é"))
)


@given(text)
@settings(max_examples=400)
@example("")
@example(" ")
@example("\n")
@example("a\n b\n\n  c \n")
@example(" Topic:\n Topic: Ada\r\nAnswer:\t")
@example("naïve café ☃ 日本語 👩‍🚀 \x00\x85\u2028")
@example("1 < 2 </ s> <pad <0x0A")
def test_any_text_survives(text):
    assert TOK.decode(TOK.encode(text)) == text


def test_what_does_not_survive():
    """As Llama's tokenizer: the mark of a space is one, and the name of a byte or special token is that token."""
    assert TOK.decode(TOK.encode("a▁b")) == "a b"
    assert TOK.decode(TOK.encode("<0x41>")) == "A"
    assert TOK.eos_token_id in TOK.encode("a </s> b")


def test_values_and_names_are_one_token():
    for word in [*FIRST_NAMES, *LAST_NAMES, *(v for a in ATTRIBUTES for v in (*a.values, a.label))]:
        assert len(TOK.encode(word)) == 1, word
        ids = TOK.encode(f"Answer: {word}")
        assert TOK.convert_ids_to_tokens(ids)[1:] == [f"▁{word}"], word
        assert TOK.encode(f"Answer:\n{word}")[-1] == ids[-1]  # a line starts like a word does


def test_the_vocabulary_is_fixed():
    """Ids are baked into the shipped checkpoint."""
    assert TOK.convert_ids_to_tokens([0, 1, 2, 3, 4, 259]) == ["<pad>", "<s>", "</s>", "<unk>", "<0x00>", "<0xFF>"]
    assert (TOK.pad_token_id, TOK.bos_token_id, TOK.eos_token_id, TOK.unk_token_id) == (0, 1, 2, 3)
    assert len(TOK) == len(tokenizer.pieces()) == len(set(tokenizer.pieces()))


def test_no_special_token_is_added():
    assert TOK.encode("") == []
    assert not set(TOK.encode("Topic: Ada Adler")) & set(TOK.all_special_ids)


def test_worlds_are_short_and_without_bytes():
    rng = np.random.default_rng(0)
    who = biographies.person(biographies.names("dev")[0])
    ids = TOK.encode(biographies.tell(who, rng))
    assert len(ids) < 70
    assert not any(piece.startswith("<0x") for piece in TOK.convert_ids_to_tokens(ids))


def test_prompts_and_what_follows_tokenise_apart():
    """Encoding prompt and continuation together gives the prompt's tokens and then the continuation's own."""
    for person in biographies.passages("dev", 5):
        for asked in person.questions:
            for context in (None, person.context):
                prompt = answer_prompt(person.title, asked.question, "plain", context=context)
                assert TOK.encode(f"{prompt} {asked.answer}") == TOK.encode(prompt) + TOK.encode(asked.answer)
        prompt = edit_prompt(person, "plain")
        assert prompt.endswith("Notes:\n")
        assert TOK.encode(f"{prompt}pet: dog\nfield: law") == TOK.encode(prompt) + TOK.encode("pet: dog\nfield: law")
