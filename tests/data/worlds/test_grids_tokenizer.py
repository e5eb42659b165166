"""The tokenizer of the grids world: any text survives, a cell is one token wherever it stands, a self-edit is short."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from seal_jax.data.arc import messages
from seal_jax.data.worlds import grids, grids_corpus, grids_tokenizer
from seal_jax.seal.arc import EditConfig, edit_prompt, parse_edit

TOK = grids_tokenizer.build()
# Every character but "▁", with more of those that are treated in some way.
text = st.text(
    st.one_of(st.characters(exclude_categories=("Cs",), exclude_characters="▁"), st.sampled_from(" \n[]#->19é"))
)


def names(written):
    return TOK.convert_ids_to_tokens(TOK.encode(written))


@given(text)
@settings(max_examples=400)
@example("")
@example("[ [[ ][ 1 [\n [")
@example("naïve café ☃ 日本語 \x00\x85\u2028")
@example("1 < 2 <|end <pad <0x0A")
def test_any_text_survives(text):
    assert TOK.decode(TOK.encode(text)) == text


def test_a_grid_takes_one_token_per_cell_and_row():
    written = names("[[1 2 3]\n [0 1 1]\n [7 8 9]]#")
    assert len(written) == 9 + 4
    assert [written[i] for i in (1, 6, 7)] == ["▁1"] * 3  # after a bracket, a row's end, a space
    assert not any(name.startswith("<0x") for name in written)


@pytest.mark.parametrize("side", [3, 4, 7, 30])
def test_tasks_are_free_of_bytes(side):
    [task] = grids.tasks("dev", 1, side=side)
    for turn in messages(task):
        assert TOK.unk_token_id not in TOK.encode(turn)
        assert not any(name.startswith("<0x") for name in names(turn))


def test_self_edits_are_fifteen_tokens():
    rng = np.random.default_rng(0)
    for _ in range(50):
        written = grids_corpus.write_edit(rng)
        assert len(TOK.encode(written)) == 15
        config = parse_edit(written)
        assert isinstance(config, EditConfig)
        assert config.to_json() == written


def test_turns():
    """Single tokens open the turns of system and user; an answer stands to its question as a demonstration's does."""
    [task] = grids.tasks("dev", 1)
    turns = [{"role": role, "content": turn} for role, turn in zip(("system", "user", "assistant"), messages(task))]
    asked = TOK.apply_chat_template(turns[:2], add_generation_prompt=True)["input_ids"]
    whole = TOK.apply_chat_template(turns)["input_ids"]
    answer = TOK.encode(turns[2]["content"])
    assert whole == [*asked, *answer, TOK.eos_token_id]
    assert TOK.apply_chat_template(turns[:2])["input_ids"] == asked
    assert whole.count(TOK.bos_token_id) == 1
    assert (
        TOK.decode(whole)
        == TOK.bos_token
        + "<|system|>"
        + turns[0]["content"]
        + "<|user|>"
        + turns[1]["content"]
        + turns[2]["content"]
        + TOK.eos_token
    )


def test_the_corpus_writes_what_the_chat_template_renders():
    [task] = grids.tasks("dev", 1)
    turns = [{"role": role, "content": turn} for role, turn in zip(("system", "user", "assistant"), messages(task))]
    assert grids_corpus.solving(task).text + TOK.eos_token == TOK.apply_chat_template(turns, tokenize=False)


def test_prompts_and_edits_tokenise_apart():
    [task] = grids.tasks("dev", 1)
    prompt = edit_prompt(task, template="arc-edit-plain", tokenizer=TOK)
    written = grids_corpus.write_edit(np.random.default_rng(1))
    assert TOK.encode(prompt + written) == TOK.encode(prompt) + TOK.encode(written)


def test_the_vocabulary_is_fixed():
    """Ids are baked into the shipped checkpoint."""
    assert TOK.convert_ids_to_tokens([0, 1, 2, 3, 6, 261]) == ["<pad>", "<s>", "<|end|>", "<unk>", "<0x00>", "<0xFF>"]
    assert (TOK.pad_token_id, TOK.bos_token_id, TOK.eos_token_id, TOK.unk_token_id) == (0, 1, 2, 3)
    assert len(TOK) == len(grids_tokenizer.pieces()) == len(set(grids_tokenizer.pieces()))
