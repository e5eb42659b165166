"""The layouts of O-LoRA and TRACE: real files, holes that are known, bad input."""

import json

import pytest

from seal_jax.data import streams


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def rows(*labels):
    return [{"sentence": f"text {i} {{brace}}", "label": label} for i, label in enumerate(labels)]


@pytest.fixture
def folder(tmp_path):
    """One data set as published (dev.json is test.json once more), one without a training file."""
    write(tmp_path / "SC/amazon/labels.json", ["bad", "good"])
    write(tmp_path / "SC/amazon/train.json", rows(*["bad", "good"] * 10))
    for name in ("dev", "test"):
        write(tmp_path / f"SC/amazon/{name}.json", rows("good", "-", "bad", "-"))
    write(tmp_path / "TC/dbpedia/labels.json", ["Film", "Plant"])
    write(tmp_path / "TC/dbpedia/test.json", rows(*["Film", "Plant"] * 15))
    return tmp_path


def test_the_real_stream(shared_data):
    tasks = streams.load_cl_benchmark(shared_data / "cl")
    assert [task.name for task in tasks] == list(streams.ORDERS["topic-sentiment"])
    assert [len(task.labels) for task in tasks] == [14, 5, 4, 2]
    for task in tasks:
        assert [len(split) for split in (task.train, task.validation, task.test)] == [1000, 100, 500]
        assert {example.answer for example in task.test} <= set(task.labels)
        assert not {e.prompt for e in task.train} & {e.prompt for e in task.test}
    family = {"dbpedia": "TC", "amazon": "SC", "agnews": "TC", "SST-2": "SC"}
    for task in tasks:
        prompt = task.train[0].prompt
        assert prompt.startswith(f"Task:{family[task.name]}\nDataset:{task.name}\n")
        assert f"\nOption:{','.join(task.labels)}\n" in prompt
        assert prompt.endswith("\nAnswer:")
    assert len(streams.manifest(shared_data / "cl")) == 16


def test_files_as_published(folder, caplog):
    task = streams.load_cl_benchmark(folder, ["amazon"], validation=6)[0]
    assert [len(x) for x in (task.train, task.validation, task.test)] == [14, 6, 2]
    assert not set(task.train) & set(task.validation)
    assert "2 of 4 rows are labelled" in caplog.text
    assert task.test[0].answer == " good"
    assert task.test[0].prompt == (
        "Task:SC\nDataset:amazon\nWhich of the options is the sentiment of the text? Answer with one of them.\n"
        "Option: bad, good\ntext 0 {brace}\nAnswer:"
    )
    assert streams.load_cl_benchmark(folder, ["SC/amazon"], validation=6)[0] == task
    own = streams.load_cl_benchmark(folder, ["amazon"], instructions={"SC": "Good?"})[0]
    assert "\nGood?\nOption" in own.test[0].prompt


def test_a_data_set_without_training_file(folder):
    with pytest.raises(ValueError, match=r"dbpedia/train.json is missing, as published: name the data set in `carved`"):
        streams.load_cl_benchmark(folder, ["dbpedia"])
    task = streams.load_cl_benchmark(folder, ["dbpedia"], carved=["dbpedia"], validation=4)[0]
    assert [len(x) for x in (task.train, task.validation, task.test)] == [16, 4, 10]
    assert len({*task.train, *task.validation, *task.test}) == 30
    cut = task.cut(train=3, test=2)
    assert [len(x) for x in (cut.train, cut.validation, cut.test)] == [3, 4, 2]


def test_carving_depends_on_texts_alone():
    texts = [f"text {i}" for i in range(40)]
    taken, rest = streams.carve(texts, texts, 10)
    assert (len(taken), len(rest)) == (10, 30)
    backwards = streams.carve(texts[::-1], texts[::-1], 10)[0]
    assert set(backwards) == set(taken)
    assert taken != texts[:10]
    with pytest.raises(ValueError, match="5 of 3 examples"):
        streams.carve(texts[:3], texts[:3], 5)


@pytest.mark.parametrize(
    ("change", "order", "message"),
    [
        (None, ["imdb"], r"the data set 'imdb' is not there; found (amazon, dbpedia|dbpedia, amazon)"),
        (None, [], "the order of the stream is empty"),
        (("SC/amazon/train.json", rows("bad", "fine")), ["amazon"], r"train.json: item 1: the label 'fine' is none of"),
        (("SC/amazon/train.json", [{"label": "bad"}]), ["amazon"], r"train.json: item 0: missing key 'sentence'"),
        (("SC/amazon/labels.json", ["bad"]), ["amazon"], r"labels.json: expected a list of two labels or more"),
        (("TC/amazon/labels.json", ["bad", "good"]), ["amazon"], r"'amazon' is there 2 times, so add its family"),
    ],
)
def test_bad_files(folder, change, order, message):
    if change:
        write(folder / change[0], change[1])
    with pytest.raises(ValueError, match=message):
        streams.load_cl_benchmark(folder, order)


def test_a_family_of_ones_own(folder):
    write(folder / "XY/mine/labels.json", ["a", "b"])
    for split in ("train", "test"):
        write(folder / f"XY/mine/{split}.json", rows("a", "b", "a"))
    with pytest.raises(ValueError, match="no instruction for the family 'XY'"):
        streams.load_cl_benchmark(folder, ["mine"])
    assert streams.load_cl_benchmark(folder, ["mine"], instructions={"XY": ""})[0].labels == (" a", " b")
    with pytest.raises(ValueError, match="is no directory"):
        streams.load_cl_benchmark(folder / "nowhere", ["mine"])


def test_published_orders():
    assert {len(order) for name, order in streams.ORDERS.items() if name.startswith("long")} == {15}
    assert len({frozenset(order) for name, order in streams.ORDERS.items() if name.startswith("long")}) == 1
    assert all(len(set(order)) == len(order) for order in streams.ORDERS.values())


def test_trace(tmp_path):
    for name, answers in {"FOMC": ["A", "B"], "Py150": ["x = 1", "return a long line"], "own": ["1", "2"]}.items():
        examples = [{"prompt": f"{name} {i}: ", "answer": answer} for i, answer in enumerate(answers)]
        for split in ("train", "eval", "test"):
            write(tmp_path / name / f"{split}.json", examples)
    fomc, code, own = streams.load_trace(tmp_path, ["FOMC", "Py150", "own"])
    assert fomc.labels == ("A", "B")
    assert (fomc.score, fomc.epochs) == ("accuracy", 3)
    assert (code.labels, code.score, code.epochs) == ((), "similarity", 5)
    assert (own.score, own.epochs) == ("accuracy", None)
    assert fomc.test[1] == streams.Example("FOMC 1: ", "B")
    (tmp_path / "own/eval.json").unlink()
    assert streams.load_trace(tmp_path, ["own"])[0].validation == ()
    with pytest.raises(ValueError, match="the task 'C-STANCE' is not there; found FOMC, Py150, own"):
        streams.load_trace(tmp_path)
    write(tmp_path / "own/test.json", [])
    with pytest.raises(ValueError, match=r"own/test.json: the list of examples is empty"):
        streams.load_trace(tmp_path, ["own"])
    assert list(streams.TRACE_TASKS) == [
        *("C-STANCE", "FOMC", "MeetingBank", "Py150", "ScienceQA", "NumGLUE-cm", "NumGLUE-ds", "20Minuten")
    ]
