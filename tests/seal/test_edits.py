"""Self-edits as text: recorded goldens, an oracle, and what must hold for any completion."""

import hashlib
import json

import hypothesis.strategies as st
import pytest
from hypothesis import given
from oracles.training_sequences import oracle

from seal_jax.data import Passage
from seal_jax.seal.edits import KINDS, edit_prompt, training_sequences

# (file, items, first hex digits of SHA-256 and count of all sequences: unsplit, split), from the reference's code.
GOLDEN = [
    ("base_val", 200, (400, "a58ad9ff1bcf"), (1714, "62f8d33a8e0c")),
    ("gpt4_1_val", 200, (427, "55cb85621861"), (3034, "88dffd565d39")),
    ("iter0_train", 50, (100, "abc72e8f6b39"), (422, "f2836390df1c")),
    ("iter0_train_prompt-self-qa", 50, (100, "afb53b444fd7"), (663, "32b78f103fb5")),
]

pieces = st.sampled_from(
    [
        "Question 1:",
        "Question 2:",
        "Question",
        " ",
        "\n",
        "\n\n",
        "Answer:",
        "Answer :",
        "---",
        "1.",
        "2.",
        "- ",
        "x",
        "é",
    ]
)
completions = st.lists(pieces, max_size=14).map("".join) | st.text(max_size=30)


def sequences(items, completions_of, split):
    return [
        text
        for item in items
        for completion in completions_of(item)
        for text in training_sequences(completion, item["title"], item["context"], split)
    ]


@pytest.mark.parametrize(("name", "count", "unsplit", "split"), GOLDEN)
def test_recorded_completions(shared_data, name, count, unsplit, split):
    items = json.loads((shared_data / f"seal_recorded/generated/{name}.json").read_text())[:count]
    for split_newlines, (number, digest) in ((False, unsplit), (True, split)):
        found = sequences(items, lambda item: item["completions"][:1], split_newlines)
        assert len(found) == number
        assert hashlib.sha256("\x1e".join(found).encode()).hexdigest().startswith(digest)


@pytest.mark.parametrize(("name", "number"), [("base_val", 2000), ("gpt4_1_val", 2082)])
def test_recorded_corpus_sizes(shared_data, name, number):
    items = json.loads((shared_data / f"seal_recorded/generated/{name}.json").read_text())
    assert len(sequences(items, lambda item: item["completions"], False)) == number


def test_corpus_size_in_the_recorded_run(shared_data):
    run = json.loads((shared_data / "seal_recorded/cpt/cpt_base.json").read_text())
    items = json.loads((shared_data / "seal_recorded/generated/base_val.json").read_text())[: run["n_articles"]]
    found = sequences(items, lambda item: item["completions"][: run["k_completions"]], run["split_newlines"])
    assert len(found) == run["train_sequences"]


@given(completions, st.text(max_size=5), st.text(max_size=10), st.booleans())
def test_equals_the_oracle(completion, title, context, split):
    assert training_sequences(completion, title, context, split) == oracle(completion, title, context, split)


@given(completions, st.booleans())
def test_the_passage_is_always_last_and_every_text_has_the_title(completion, split):
    found = training_sequences(completion, "T", " The passage. ", split)
    assert found[-1] == "T\nThe passage."
    assert all(text.startswith("T\n") for text in found)


@given(st.text(alphabet=" \n\t", max_size=6))
def test_a_blank_completion_leaves_the_passage(blank):
    assert training_sequences(blank, "T", "C") == ["T\nC"]
    assert training_sequences(blank, "T", "C", split_newlines=False) == ["T\n", "T\nC"]


@given(st.lists(st.text(alphabet="abc ", min_size=1, max_size=6).map(str.strip).filter(bool), max_size=6))
def test_no_line_is_lost_or_repeated(lines):
    assert training_sequences("\n\n".join(lines), "T", "C") == [f"T\n{line}" for line in [*lines, "C"]]


def test_a_preamble_before_a_numbered_list_is_dropped():
    assert training_sequences("Sure:\n1. a\n2. b", "T", "C") == ["T\n1. a", "T\n2. b", "T\nC"]
    assert training_sequences("1. a\n2. b", "T", "C") == ["T\n1. a", "T\n2. b", "T\nC"]


def test_question_answer_pairs_stay_together():
    found = training_sequences("Who? \nAnswer: Ann\n\nQuestion 2: Where?\nAnswer: Oslo", "T", "C")
    assert found == ["T\nQuestion 1: Who? \nAnswer: Ann", "T\nQuestion 2: Where?\nAnswer: Oslo", "T\nC"]


@pytest.mark.parametrize("kind", KINDS)
def test_edit_prompt_holds_the_passage_as_it_is(kind):
    prompt = edit_prompt(Passage("Braces {title}", "One {context} and {x}.", ()), kind)
    assert "Braces {title}\nOne {context} and {x}.\n" in prompt


def test_cues_a_base_model_continues():
    passage = Passage("T", "C", ())
    ends = {kind: edit_prompt(passage, kind).rsplit("C\n", 1)[1] for kind in KINDS}
    assert ends == {
        "implications": "\nImplications:\n",
        "implications-long": "\nImplications:\n",
        "implications-very-long": "\nImplications:\n",
        "rewrite": "\nRewritten passages:\n",
        "self-qa": "\nQuestion 1: ",
        "no-prompt": "",
        "plain": "Notes:\n",
    }
    assert edit_prompt(passage, "no-prompt") == "T\nC\n"
    assert edit_prompt(passage, "plain") == "T\nC\nNotes:\n"
    assert len({edit_prompt(passage, kind) for kind in KINDS}) == len(KINDS)


def test_a_template_file_and_its_errors(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("{title}: {context}\nList:\n\n")
    assert edit_prompt(Passage("T", "C", ()), str(path)) == "T: C\nList:\n"
    path.write_text("{context} {topic}")
    with pytest.raises(ValueError, match=r"mine\.txt: unknown placeholder \{topic\}"):
        edit_prompt(Passage("T", "C", ()), str(path))
    path.write_text("{context}")
    with pytest.raises(ValueError, match=r"missing placeholder \{title\}"):
        edit_prompt(Passage("T", "C", ()), str(path))
    with pytest.raises(FileNotFoundError, match=r"'essay' is neither a file nor one of implications, "):
        edit_prompt(Passage("T", "C", ()), "essay")
