"""Training sequences of files of completions, and choices of passages: every form, and what is odd about some."""

import hashlib
import json
import re

import pytest
from oracles.recorded_files import generated, ranking

from seal_jax.seal import recorded
from seal_jax.seal.edits import training_sequences


def test_first_completions_in_file_order(save):
    path = save(generated())
    found = recorded.sequences(path, n=2)
    assert found.texts == ["T0\nSure:\n1. a\n2. b", "T0\nC0", "T1\nSure:\n1. a\n2. b", "T1\nC1"]
    assert (found.items, found.notes) == (2, [])
    assert found.digest() == hashlib.sha256("\x1e".join(found.texts).encode()).hexdigest()
    assert recorded.sequences(path, n=1, split_newlines=True).texts == ["T0\n1. a", "T0\n2. b", "T0\nC0"]
    assert recorded.sequences(path, n=1, completion=1).texts == ["T0\nc", "T0\nd", "T0\nC0"]


def test_all_completions_have_the_passage_each(save):
    texts = recorded.sequences(save(generated()), n=1, completion=None).texts
    assert texts == ["T0\nSure:\n1. a\n2. b", "T0\nC0", "T0\nc", "T0\nd", "T0\nC0"]


@pytest.mark.parametrize("n", [0, -1, 3, 9])
def test_all_items(save, n):
    found = recorded.sequences(save(generated()), n=n)
    assert found.items == 3
    assert [note.split(" has ")[1] for note in found.notes] == (
        ["3 passages, fewer than the 9 asked for"] if n > 3 else []
    )


@pytest.mark.parametrize("completions", [[""], ["  \n"], []])
def test_naive_files_train_on_the_passage(save, completions):
    path = save([{**item, "completions": completions} for item in generated()])
    for which in (0, None):
        assert recorded.sequences(path, 1, which).texts == ["T0\n", "T0\nC0"]  # what the recorded naive corpus holds
        assert recorded.sequences(path, 1, which, split_newlines=True).texts == ["T0\nC0"]
    odd = (
        "3 completions are blank"
        if completions
        else "3 of 3 passages have no completion; each counts as one that is empty"
    )
    assert recorded.sequences(path).notes == [odd]


def test_lines_wrapped_lists_and_results_are_taken(save):
    want = recorded.sequences(save(generated()), completion=None).texts
    lines = "\n".join(json.dumps(item, ensure_ascii=False) for item in generated())
    assert recorded.sequences(save(f"\ufeff{lines}\n".encode(), "a.jsonl"), completion=None).texts == want
    assert recorded.sequences(save({"data": generated()}), completion=None).texts == want
    found = recorded.sequences(save(ranking()), completion=None).texts
    assert found == [
        t for i, c in ((0, "one"), (0, "two"), (1, "three"), (1, "four")) for t in (f"T{i}\n{c}", f"T{i}\nC{i}")
    ]


def test_half_an_emoji_has_a_digest(save):
    path = save([{**generated()[0], "completions": ["\ud83d"]}])
    assert recorded.sequences(path).texts == training_sequences("\ud83d", "T0", "C0", False)
    assert len(recorded.sequences(path).digest()) == 64


@pytest.mark.parametrize("name", ["file.json.meta", "file.meta"])
def test_a_meta_with_a_trailing_comma_is_read(save, name):
    save(b'{"model": "m, }", "dataset_out": "d/file.json", "n": 3, "k": 5,\n}\n', name)
    assert recorded.sequences(save(generated())).notes == ["the .meta says: model 'm, }', n 3, k 5"]


@pytest.mark.parametrize(
    ("meta", "note"),
    [
        (
            {"model": "m", "dataset_out": "d/other.json"},
            "was written for another file: its dataset_out is 'd/other.json'",
        ),
        (b'{"model": ', "the .meta is of no use: .*invalid JSON at line 1"),
        (["m"], "the .meta is of no use: .*expected an object, not a list"),
        (b"\xff", "the .meta is of no use: .*not UTF-8"),
    ],
)
def test_a_wrong_meta_is_told_and_harms_nothing(save, meta, note):
    save(meta, "file.json.meta")
    found = recorded.sequences(save(generated()))
    assert len(found.texts) == 6
    assert re.search(note, found.notes[-1])


def test_subset(save):
    items = [{**generated()[0], "title": str(i), "id": i} for i in range(10)]
    path = save(items)
    whole = recorded.subset(path).items
    assert sorted(item["id"] for item in whole) == list(range(10))
    assert whole != items
    found = recorded.subset(path, 3, start=2)
    assert (found.items, found.questions, found.notes) == (whole[2:5], 3, [])
    assert recorded.subset(path, 0, seed=1).items != whole
    assert recorded.subset(path, 9, start=8).notes == [f"{path} has 2 items from 8, fewer than the 9 asked for"]
    with pytest.raises(ValueError, match="start=10 is outside the 10 items"):
        recorded.subset(path, start=10)


def test_subset_of_an_official_file_is_of_its_passages(save):
    qas = [{"question": "Q", "answers": [{"text": "A"}]}]
    articles = [
        {"title": f"T_{i}", "paragraphs": [{"context": f"{i}{j}", "qas": qas} for j in range(3)]} for i in range(2)
    ]
    found = recorded.subset(save({"data": articles}), 4)
    assert len(found.items) == 4
    assert found.items[0]["questions"] == [{"question": "Q", "answer": "A"}]
    assert {item["title"] for item in found.items} <= {"T 0", "T 1"}
