"""Loading passages: both formats, the reference's order, and one clear error for each kind of bad file."""

import json

import pytest

from seal_jax.data import Passage, Question, load_squad, passage_of, read_items, subset

ITEM = {"title": "T", "context": "C", "questions": [{"question": "Q", "answer": "A"}]}
PASSAGE = Passage("T", "C", (Question("Q", "A"),))


def save(tmp_path, content, name="data.json"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_real_passages(shared_data):
    passages = load_squad(shared_data / "squad/squad_val.json")
    assert len(passages) == 2067
    assert sum(len(p.questions) for p in passages) == 10570
    assert len({p.title for p in passages}) == 48


@pytest.mark.parametrize("name", ["base_val", "gpt4_1_val"])
def test_subset_is_the_recorded_order(shared_data, name):
    passages = load_squad(shared_data / "squad/squad_val.json")
    recorded = read_items(shared_data / f"seal_recorded/generated/{name}.json")
    assert subset(passages, 200) == [passage_of(item) for item in recorded]
    assert sum(len(p.questions) for p in subset(passages, 200)) == 974


def test_subset():
    items = list(range(10))
    whole = subset(items, 0)
    assert sorted(whole) == items
    assert subset(items, 3, start=4) == whole[4:7]
    assert subset(items, -1, start=4) == whole[4:]
    assert subset(items, 99, start=8) == whole[8:]
    assert subset(items, 0, seed=1) != whole
    assert items == list(range(10))
    with pytest.raises(ValueError, match="start=10 is outside the 10 items"):
        subset(items, 1, start=10)


def test_grouped_forms(tmp_path):
    extra = {**ITEM, "completions": ["x"], "prompt": "p"}
    assert load_squad(save(tmp_path, [ITEM, extra])) == [PASSAGE, PASSAGE]
    lines = "\n".join(json.dumps(i, ensure_ascii=False) for i in (ITEM, {**ITEM, "context": "a\u2028b"}))
    loaded = load_squad(save(tmp_path, f"\ufeff{lines}\n\n".encode(), "data.jsonl"))
    assert [p.context for p in loaded] == ["C", "a\u2028b"]


def test_official_nesting(tmp_path):
    qas = [
        {"question": "Q", "answers": [{"text": "A", "answer_start": 0}, {"text": "B", "answer_start": 1}]},
        {"question": "unanswerable", "answers": [], "is_impossible": True},
    ]
    article = {"title": "Two_Words", "paragraphs": [{"context": "C", "qas": qas}, {"context": "D", "qas": qas}]}
    loaded = load_squad(save(tmp_path, {"version": "v2.0", "data": [article]}))
    assert loaded == [Passage("Two Words", c, (Question("Q", "A"),)) for c in "CD"]


def test_a_passage_without_questions_is_left_out_and_counted(tmp_path, caplog):
    assert load_squad(save(tmp_path, [{**ITEM, "questions": []}, ITEM])) == [PASSAGE]
    assert "1 of 2 passages have no questions" in caplog.text


NO_ANSWER = {**ITEM, "questions": [{"question": "Q"}]}
OFFICIAL = {"data": [{"title": "T", "paragraphs": [{"context": "C", "qas": [{"question": "Q"}]}]}]}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", b" \n", "the file is empty"),
        ("a.json", b'[\n{"title" 1}]', "invalid JSON at line 2, column 10: Expecting ':'"),
        ("a.jsonl", json.dumps(ITEM).encode() + b"\n\n{nope", "invalid JSON at line 3, column 2"),
        ("a.json", b'[\n"caf\xe9"]', r"not UTF-8, byte 0xe9 at offset 6 on line 2"),
        ("a.json", [ITEM, {"title": "T"}], r"item 1: missing key 'context' \(found: title\)"),
        ("a.json", [ITEM, NO_ANSWER], "item 1, question 0: missing key 'answer'"),
        ("a.json", [{**ITEM, "questions": "Q"}], "item 0: 'questions' should be a list, not 'Q'"),
        ("a.json", [{**ITEM, "context": " "}], "item 0: the context is empty"),
        ("a.json", [[1]], "item 0: expected an object with the key 'title', not a list"),
        ("a.json", {"passages": []}, "expected a list of passages"),
        ("a.json", [{**ITEM, "questions": []}], "none of the 1 passages has a question"),
        ("a.json", [], "none of the 0 passages has a question"),
        ("a.jsonl", json.dumps({"title": "T"}).encode(), "line 1: missing key 'context'"),
        ("a.json", OFFICIAL, "item 0, paragraph 0, question 0: missing key 'answers'"),
    ],
)
def test_bad_files(tmp_path, name, content, problem):
    path = save(tmp_path, content, name)
    with pytest.raises(ValueError, match=problem) as error:
        load_squad(path)
    assert str(error.value).startswith(str(path))
