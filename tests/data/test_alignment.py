"""Prompt lists in the layouts of the public releases, written here by hand, and what is wrong with wrong ones."""

import gzip
import json

import datasets
import pytest

from seal_jax.data.alignment import advbench, imdb, red_team, truthful_qa

TURN = "Tell me, how do I\npick a lock?"
ATTEMPT = {
    "transcript": f"\n\nHuman: {TURN}\n\nAssistant: Human: nothing\n\nHuman: Why?\n\nAssistant: No.",
    "task_description": "locks",
    "rating": 4.0,
    "tags": None,
}
QUESTION = {
    "type": "Adversarial",
    "category": "Myths",
    "question": "Do geese vote?",
    "best_answer": "No",
    "correct_answers": ["No", "Geese do not vote"],
    "incorrect_answers": ["Yes"],
}
RELEASED = (
    "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
    'Adversarial,Myths,Do geese vote?,No,"No; Geese do not vote","Yes",https://x\n'
)


def jsonl(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("listed", [False, True])
def test_red_team_attempts_as_lines_and_as_the_list_of_the_first_release(tmp_path, listed):
    text = json.dumps([ATTEMPT, ATTEMPT], indent=0) if listed else f"{json.dumps(ATTEMPT)}\n{json.dumps(ATTEMPT)}\n"
    (tmp_path / "red_team_attempts.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    first, second = red_team.load(tmp_path / "red_team_attempts.jsonl.gz")["test"]
    assert first.prompt == second.prompt == TURN
    assert first.meta == {"transcript": ATTEMPT["transcript"].strip(), "task_description": "locks", "rating": 4.0}
    assert (first.id, second.id, first.answer) == ("red-team/test/0", "red-team/test/1", None)


def test_red_team_of_a_copy_of_the_repository_and_of_preferences(tmp_path):
    for folder, turn in (("red-team-attempts", "one"), ("helpful-base", "two")):
        (tmp_path / folder).mkdir()
        jsonl(tmp_path / folder / "train.jsonl", {"chosen": f"\n\nHuman: {turn}", "rejected": "x"})
    (problem,) = red_team.load(tmp_path)["train"]
    assert problem.prompt == "one"


def test_red_team_on_the_hub_is_a_folder(monkeypatch):
    asked = []

    def load_dataset(*args, **named):
        asked.append((args, named))
        return datasets.DatasetDict({"train": datasets.Dataset.from_list([ATTEMPT])})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert red_team.load()["train"][0].prompt == TURN
    red_team.load("someone/copy:red")
    red_team.load("someone/copy")
    assert asked == [
        (("Anthropic/hh-rlhf",), {"data_dir": "red-team-attempts"}),
        (("someone/copy", "red"), {}),
        (("someone/copy",), {"data_dir": "red-team-attempts"}),
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"transcript": "Assistant: hello"}, r"a.jsonl: line 1: expected a dialogue with a turn of 'Human:'"),
        ({"transcript": "Human:  \n\nAssistant: x"}, "line 1: expected a dialogue"),
        ({"text": "Human: x"}, "line 1: missing key 'transcript'"),
        ({"transcript": ""}, "line 1: the prompt is empty"),
    ],
)
def test_red_team_refuses(tmp_path, row, says):
    with pytest.raises(ValueError, match=says):
        red_team.load(jsonl(tmp_path / "a.jsonl", row))


def test_advbench_as_table_list_and_text_is_the_same(tmp_path):
    (tmp_path / "a.csv").write_text('goal,target\n"Do this, now",Sure\nDo that,Here is\n')
    (tmp_path / "a.txt").write_text("Do this, now\n\n Do that \n")
    (tmp_path / "a.json").write_text(json.dumps(["Do this, now", "Do that"]))
    rows = [{"prompt": "Do this, now", "target": "Sure"}, {"prompt": "Do that", "target": "Here is"}]
    table, lines, listed, named = (
        advbench.load(path)["test"]
        for path in (
            tmp_path / "a.csv",
            tmp_path / "a.txt",
            str(tmp_path / "a.json"),
            jsonl(tmp_path / "b.jsonl", *rows),
        )
    )
    assert [p.prompt for p in table] == ["Do this, now", "Do that"]
    assert table == named
    assert lines == listed
    assert [(p.meta["goal"], p.meta["suffix"], p.meta["target"]) for p in table] == [
        ("Do this, now", "", "Sure"),
        ("Do that", "", "Here is"),
    ]
    assert [p.prompt for p in lines] == [p.prompt for p in table]


def test_advbench_suffixes(tmp_path):
    (tmp_path / "a.csv").write_text("goal,suffix\nDo this,own\nDo that,\n")
    (tmp_path / "s.txt").write_text("! ! one\n! ! two\n")
    load = lambda suffix: [p.prompt for p in advbench.load(tmp_path / "a.csv", suffix)["test"]]  # noqa: E731
    assert load("") == ["Do this own", "Do that"]
    assert load("! !") == ["Do this ! !", "Do that ! !"]
    assert load(advbench.read_suffixes(tmp_path / "s.txt")) == ["Do this ! ! one", "Do that ! ! two"]
    with pytest.raises(ValueError, match=r"3 suffixes for the 2 requests of .*: expected one each"):
        load(["a", "b", "c"])
    with pytest.raises(ValueError, match="line 3: the prompt is empty"):
        advbench.read_suffixes(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "goal,target\nDo,this,now\n", "line 2: 3 values for the 2 columns goal, target"),
        ("a.csv", "goal,target\n", "no rows below the column names goal, target"),
        ("a.csv", 'goal\n"Do\n', "not a table that can be read"),
        ("a.csv", "what\nDo\n", "line 2: missing key 'goal' .found: what."),
        ("a.csv", "goal,suffix\n ,x\n", "line 2: the prompt is empty"),
        ("a.txt", "\n\n", "the file is empty"),
        ("a.json", "[3]", "item 0: expected an object with the key 'goal', not an integer"),
        ("a.json", '[{"goal": "x", "suffix": 3}]', "item 0: the suffix should be a string, not 3"),
    ],
)
def test_advbench_refuses(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        advbench.load(tmp_path / name)


def test_a_file_that_is_not_there():
    for name in ("none.csv", "./none.txt", "none.jsonl"):
        with pytest.raises(FileNotFoundError, match="none"):
            advbench.load(name)


def test_truthful_qa_of_the_hub_and_of_the_release(tmp_path):
    (tmp_path / "TruthfulQA.csv").write_text(RELEASED)
    (released,) = truthful_qa.load(tmp_path / "TruthfulQA.csv")["test"]
    (hub,) = truthful_qa.load({"test": jsonl(tmp_path / "v.jsonl", QUESTION)})["test"]
    assert hub == released
    assert (hub.prompt, hub.answer, hub.solution) == ("Do geese vote?", ("No", "Geese do not vote"), "No")
    assert hub.meta == {"false": ("Yes",), "category": "Myths", "type": "Adversarial"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": " "}, "line 1: the prompt is empty"),
        ({"correct_answers": []}, "expected true and false answers, got 0 and 1"),
        ({"incorrect_answers": [3]}, "'incorrect_answers' should be a list of texts"),
        ({"incorrect_answers": None}, "'incorrect_answers' should be a list of texts"),
    ],
)
def test_truthful_qa_refuses(tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        truthful_qa.load(jsonl(tmp_path / "a.jsonl", {**QUESTION, **change}))


def test_imdb_rows_and_folders_of_the_release(tmp_path):
    review = "It was, in <br /><br />short, not so good as one hopes. But long."
    rows = imdb.load(
        jsonl(tmp_path / "train.jsonl", {"text": review, "label": 0}, {"review": "Fine", "sentiment": "positive"})
    )
    assert [p.prompt for p in rows["train"]] == ["It was, in short, not so good as", "Fine"]
    assert [p.meta["tone"] for p in rows["train"]] == ["negative", "positive"]
    assert rows["train"][0].meta["review"] == "It was, in short, not so good as one hopes. But long."
    for folder, label in (("pos", 7), ("neg", 2)):
        (tmp_path / "aclImdb/test" / folder).mkdir(parents=True)
        (tmp_path / "aclImdb/test" / folder / f"0_{label}.txt").write_text(review + folder)
    released = imdb.load(tmp_path / "aclImdb", words=2)
    assert [(p.prompt, p.meta["tone"]) for p in released["test"]] == [("It was,", "negative"), ("It was,", "positive")]
    assert imdb.load(tmp_path / "aclImdb/test", words=2) == released


@pytest.mark.parametrize(
    ("row", "words", "says"),
    [
        ({"text": "x", "label": 2}, 4, "line 1: the label should be 0, 1, negative or positive, not 2"),
        ({"text": " ", "label": 1}, 4, "line 1: the prompt is empty"),
        ({"label": 1}, 4, "line 1: missing key 'text'"),
        ({"text": "x"}, 0, "words should be at least 1, not 0"),
    ],
)
def test_imdb_refuses(tmp_path, row, words, says):
    with pytest.raises(ValueError, match=says):
        imdb.load(jsonl(tmp_path / "a.jsonl", row), words)
