"""Rows in the layouts of the public releases, written here by hand, and what is wrong with wrong ones."""

import gzip
import json
import re

import datasets
import pytest

from seal_jax.data.benchmarks import arc_questions, gsm8k, humaneval, math, mbpp
from seal_jax.data.benchmarks.sources import read_splits, split_of

GSM8K = {
    "question": "Ann has 3 apples and buys 1,077 more. How many are there?",
    "answer": "She has 3 + 1,077 = <<3+1077=1080>>1,080 apples.\n#### 1,080",
}
MATH = {
    "problem": "What is $1/2$?",
    "level": "Level 1",
    "type": "Algebra",
    "solution": r"It is $\boxed{\frac{1}{2}}$.",
}
ARC = {
    "id": "Q_1",
    "question": "What do plants need?",
    "choices": {"text": ["light", "noise", "glass", "salt"], "label": ["A", "B", "C", "D"]},
    "answerKey": "A",
}
ARC_DIGITS = {**ARC, "id": "Q_2", "choices": {**ARC["choices"], "label": ["1", "2", "3", "4"]}, "answerKey": "3"}
ARC_RELEASED = {
    "id": "Q_3",
    "question": {"stem": "What is wet?", "choices": [{"text": "sand", "label": "A"}, {"text": "rain", "label": "B"}]},
    "answerKey": "B",
}
MBPP_FULL = {
    "task_id": 2,
    "text": "Write a function that adds one.",
    "code": "def add(x):\n    return x + 1",
    "test_list": ["assert add(1) == 2", "assert add(2) == 3"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
MBPP_SANITIZED = {
    "source_file": "a.ipynb",
    "task_id": 3,
    "prompt": "Write a function that adds one.",
    "code": "def add(x):\n    return x + 1",
    "test_imports": ["import math"],
    "test_list": ["assert add(1) == 2"],
}
MBPP_EVALPLUS = {
    "task_id": "Mbpp/4",
    "prompt": '"""\nWrite a function that adds one.\nassert add(1) == 2\n"""\n',
    "entry_point": "add",
    "canonical_solution": "\ndef add(x):\n    return x + 1\n",
    "base_input": [[1]],
    "assertion": "\nassert add(1) == 2\nassert add(2) == 3\n",
}
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def add(x: int) -> int:\n    """ Add one. """\n',
    "canonical_solution": "    return x + 1\n",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert candidate(1) == 2\n",
    "entry_point": "add",
}


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(row) for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".parquet":
        datasets.Dataset.from_list(list(rows)).to_parquet(path)
    else:
        path.write_text(json.dumps(list(rows)) if path.suffix == ".json" else text)
    return path


def test_gsm8k(tmp_path):
    write(tmp_path / "train.jsonl", GSM8K, {**GSM8K, "question": "And now?"})
    write(tmp_path / "test.jsonl", GSM8K)
    splits = gsm8k.load(tmp_path)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 2, "test": 1}
    first = splits["train"][0]
    assert (first.id, first.answer) == ("gsm8k/train/0", "1,080")
    assert first.solution == "She has 3 + 1,077 = 1,080 apples.\nThe answer is 1,080."
    assert first.prompt == first.meta["question"] == GSM8K["question"]


def test_math(tmp_path):
    """The release has a folder for each subject and a file for each problem."""
    for subject, number in (("algebra", 2), ("algebra", 10), ("geometry", 1)):
        path = tmp_path / "MATH" / "test" / subject / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**MATH, "problem": f"{subject} {number}"}))
    (problems,) = math.load(tmp_path / "MATH").values()
    assert [p.prompt for p in problems] == ["algebra 2", "algebra 10", "geometry 1"]
    assert problems[0].answer == r"\frac{1}{2}"
    assert problems[0].meta["level"] == "Level 1"
    assert problems[0].meta["subject"] == "Algebra"
    row = {"problem": "x", "answer": "3", "subject": "Geometry", "level": 2, "unique_id": "a"}
    (small,) = math.load(write(tmp_path / "math500.jsonl", row))["test"]
    assert (small.answer, small.solution, small.meta["level"]) == ("3", None, 2)


@pytest.mark.parametrize(
    "layout", ["ARC-Easy-Test.jsonl", "ARC-Easy/test-00000-of-00001.parquet", "arc-easy_test.json"]
)
def test_arc(tmp_path, layout):
    write(tmp_path / layout, ARC, ARC_DIGITS)
    write(tmp_path / layout.replace("Easy", "Challenge").replace("easy", "challenge"), {**ARC, "question": "Other"})
    splits = arc_questions.load(tmp_path)
    assert [p.answer for p in splits["test"]] == ["A", "C"]
    assert [p.meta["key"] for p in splits["test"]] == ["A", "3"]
    assert splits["test"][1].prompt == "What do plants need?\nA. light\nB. noise\nC. glass\nD. salt"
    assert splits["test"][1].meta["options"] == "ABCD"
    assert arc_questions.load(tmp_path, "ARC-Challenge")["test"][0].prompt.startswith("Other")


def test_arc_as_released(tmp_path):
    (problem,) = arc_questions.load(write(tmp_path / "ARC-Easy-Dev.jsonl", ARC_RELEASED))["validation"]
    assert (problem.id, problem.prompt, problem.answer) == ("arc/Q_3", "What is wet?\nA. sand\nB. rain", "B")


def test_mbpp(tmp_path):
    both = mbpp.load(write(tmp_path / "mbpp.jsonl", MBPP_FULL, MBPP_SANITIZED, MBPP_EVALPLUS))["test"]
    assert [p.id for p in both] == ["mbpp/2", "mbpp/3", "mbpp/4"]
    assert {p.prompt for p in both} == {"Write a function that adds one."}
    assert {p.solution.strip() for p in both} == {MBPP_FULL["code"]}
    assert [p.answer for p in both[:2]] == [("assert add(1) == 2", "assert add(2) == 3"), ("assert add(1) == 2",)]
    assert both[2].answer == ("assert add(1) == 2\nassert add(2) == 3",)
    assert [p.meta["setup"] for p in both] == ["", "import math", ""]


def test_humaneval(tmp_path):
    (problem,) = humaneval.load(write(tmp_path / "HumanEval.jsonl.gz", HUMANEVAL))["test"]
    assert problem.id == "HumanEval/0"
    assert problem.prompt == HUMANEVAL["prompt"]
    assert problem.answer == HUMANEVAL["test"]
    assert problem.meta["entry_point"] == "add"


def test_a_source_by_split(tmp_path):
    first, second = write(tmp_path / "a.json", GSM8K), write(tmp_path / "b.jsonl", GSM8K, GSM8K)
    splits = gsm8k.load({"train": first, "test": str(second)})
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 1, "test": 2}


def test_a_dataset_by_name(monkeypatch):
    asked = []

    def load_dataset(name, config):
        asked.append((name, config))
        if config == "gone":
            raise ConnectionError("cannot reach it\nmore lines")
        return datasets.DatasetDict({s: datasets.Dataset.from_list([MATH]) for s in ("train", "test")})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert {name: len(rows) for name, rows in math.load().items()} == {"train": 7, "test": 7}
    assert [config for _, config in asked] == list(math.CONFIGS)
    assert len(math.load("someone/copy:algebra")["test"]) == 1
    assert asked[-1] == ("someone/copy", "algebra")
    with pytest.raises(ValueError, match=r"'me/it' is no file or .* cannot reach it, offline mode is on .*; give"):
        math.load("me/it:gone")


def test_a_dataset_saved_to_disk(tmp_path):
    rows = datasets.Dataset.from_list([GSM8K])
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "saved")
    assert set(gsm8k.load(tmp_path / "saved")) == {"train", "test"}


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", "train"), ("ARC-Easy-Dev.jsonl", "validation"), ("main/test-00000-of-00001.parquet", "test"),
        ("MATH/train/algebra/1.json", "train"), ("val/x.json", "validation"), ("MbppPlus.jsonl", "test"),
        ("latest.jsonl", "test"), ("full/prompt-00000.parquet", "prompt"), ("gsm8k_valid.json", "validation"),
    ],
)  # fmt: skip
def test_the_split_in_a_path(path, split):
    assert split_of(path) == split


WRONG = [
    (gsm8k.load, [{"question": "q"}], r"x\.jsonl: line 1: missing key 'answer'"),
    (gsm8k.load, [GSM8K, {**GSM8K, "answer": "It is 5."}], r"line 2: 'answer' should end in '#### NUMBER'"),
    (gsm8k.load, [{**GSM8K, "answer": ""}], "should end in '#### NUMBER'"),
    (gsm8k.load, [{**GSM8K, "question": " "}], "line 1: the question is empty"),
    (gsm8k.load, [[1]], "line 1: expected an object with the key 'question', not a list"),
    (gsm8k.load, [{**GSM8K, "answer": 5}], "'answer' should be a string, not 5"),
    (math.load, [{**MATH, "solution": "It is 5."}], r"line 1: no answer: neither 'answer' nor \\boxed"),
    (math.load, [{"problem": "x"}], "line 1: missing key 'solution'"),
    (math.load, [{"problem": "x", "answer": ""}], "line 1: no answer"),
    (math.load, [3], "line 1: expected an object"),
    (arc_questions.load, [{k: v for k, v in ARC.items() if k != "answerKey"}], "line 1: missing key 'answerKey'"),
    (arc_questions.load, [{**ARC, "answerKey": ""}], "line 1: the answer '' is none of the options A, B, C, D"),
    (arc_questions.load, [{**ARC, "choices": {"text": ["a"], "label": []}}], "as many options as labels"),
    (arc_questions.load, [{**ARC, "choices": ["a"]}], "'choices' should be an object"),
    (arc_questions.load, [ARC, ARC], "the id 'arc/Q_1' is there twice in test"),
    (mbpp.load, [{**MBPP_FULL, "test_list": []}], "line 1: the tests are empty"),
    (mbpp.load, [{"task_id": 1, "text": "x"}], "line 1: missing key 'test_list'"),
    (mbpp.load, [{**MBPP_FULL, "text": ""}], "the task is empty"),
    (mbpp.load, [{**MBPP_FULL, "test_list": [1]}], "a list of assertions as strings"),
    (humaneval.load, [{**HUMANEVAL, "entry_point": "sub"}], "'entry_point' should be a function that 'prompt' begins"),
    (humaneval.load, [{**HUMANEVAL, "test": ""}], r"'test' should define check\(candidate\)"),
    (humaneval.load, [{k: v for k, v in HUMANEVAL.items() if k != "test"}], "missing key 'test'"),
]


@pytest.mark.parametrize(("load", "rows", "message"), WRONG)
def test_a_wrong_row_is_named(tmp_path, load, rows, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "x.jsonl", *rows))


def test_sources_that_cannot_be_read(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=re.escape(f"{tmp_path / 'no'}: no such file or folder; give a dataset")
    ):
        gsm8k.load(tmp_path / "no")
    with pytest.raises(FileNotFoundError, match=r"test\.jsonl: no such file"):
        gsm8k.load("test.jsonl")
    with pytest.raises(ValueError, match=r"no \.parquet, \.jsonl, \.jsonl\.gz, \.json in this folder"):
        gsm8k.load(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"a\.txt: expected a file that ends in"):
        gsm8k.load(tmp_path / "a.txt")
    for name in ("a.parquet", "a.jsonl.gz", "a.json", "a.jsonl"):
        (tmp_path / name).write_text("{not")
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
            gsm8k.load(tmp_path / name)
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(ValueError, match="no rows"):
        gsm8k.load(tmp_path / "b.json")


def test_of_several_kinds_in_a_folder_one_is_read(tmp_path):
    for name in ("test.parquet", "test.jsonl", "test.json"):
        write(tmp_path / name, GSM8K)
    write(tmp_path / "train-1.parquet", GSM8K)
    assert {s: len(rows) for s, rows in read_splits(tmp_path).items()} == {"test": 1, "train": 1}
