"""The `CL_Benchmark` layout of O-LoRA: FAMILY/DATASET/{train,dev,test,labels}.json."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from seal_jax.data import json_fields
from seal_jax.data.streams.tasks import Example, TextTask, carve

logger = logging.getLogger(__name__)

_GLUE = ("MNLI", "CB", "WiC", "COPA", "QQP", "BoolQA", "RTE", "IMDB")
ORDERS: dict[str, tuple[str, ...]] = {
    "topic-sentiment": ("dbpedia", "amazon", "agnews", "SST-2"),
    "dbpedia-amazon-yahoo-agnews": ("dbpedia", "amazon", "yahoo", "agnews"),
    "dbpedia-amazon-agnews-yahoo": ("dbpedia", "amazon", "agnews", "yahoo"),
    "yahoo-amazon-agnews-dbpedia": ("yahoo", "amazon", "agnews", "dbpedia"),
    "long-mnli-first": (*_GLUE, "yelp", "amazon", "SST-2", "dbpedia", "agnews", "MultiRC", "yahoo"),
    "long-multirc-first": (
        *("MultiRC", "BoolQA", "WiC", "MNLI", "CB", "COPA", "QQP", "RTE", "IMDB"),
        *("SST-2", "dbpedia", "agnews", "yelp", "amazon", "yahoo"),
    ),
    "long-yelp-first": (
        *("yelp", "amazon", "MNLI", "CB", "COPA", "QQP", "RTE", "IMDB", "SST-2"),
        *("dbpedia", "agnews", "yahoo", "MultiRC", "BoolQA", "WiC"),
    ),
}
"""Orders that are published, by what is in them: papers number them differently. The first is the smaller one here."""

INSTRUCTIONS: dict[str, str] = {
    "TC": "Which of the options is the topic of the text? Answer with one of them.",
    "SC": "Which of the options is the sentiment of the text? Answer with one of them.",
    "NLI": "How does the second sentence relate to the first? Answer with one of the options.",
    "QQP": "Do the two questions ask the same? Answer with one of the options.",
    "WiC": "Does the word mean the same in both sentences? Answer with one of the options.",
    "BoolQA": "Is the answer to the question about the passage yes? Answer with one of the options.",
    "MultiRC": "Is the answer to the question about the passage right? Answer with one of the options.",
    "COPA": "",
}
"""What is asked of each family of tasks; COPA's texts ask it themselves."""

UNLABELLED = "-"


class _Row(NamedTuple):
    sentence: str
    label: str


def load_cl_benchmark(
    folder: pathlib.Path,
    order: Sequence[str] = ORDERS["topic-sentiment"],
    *,
    validation: int = 100,
    carved: Sequence[str] = (),
    instructions: Mapping[str, str] | None = None,
) -> list[TextTask]:
    """The tasks of `order`, each the name of a data set ("agnews") or with its family ("TC/agnews"), from `folder`.

    A file is a list of {"sentence", "label"}, and labels.json the list of labels. Rows labelled "-" are left out, and
    how many is logged. In the published files dev.json is test.json once more: then, or where there is no dev.json,
    `validation` examples are taken out of the training set by a hash of their text. carved: data sets whose train.json
    is missing, as that of dbpedia is, and whose training and validation examples are taken out of the test set, a third
    of which is left. instructions: by family, in place of `INSTRUCTIONS`.
    An example's prompt is "Task:SC\\nDataset:amazon\\n", the instruction, "\\nOption: ", the labels with commas, the
    sentence and "\\nAnswer:", and its answer is a space and the label.
    Raises ValueError, naming the place, for what cannot be read, a label that labels.json has not, and a data set that
    is not there or twice.
    """
    if not order:
        raise ValueError("the order of the stream is empty: name a data set or more")
    asked = {**INSTRUCTIONS, **(instructions or {})}
    return [_load(_find(folder, name), validation, name in carved, asked) for name in order]


def _find(folder: pathlib.Path, name: str) -> pathlib.Path:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no directory; give the one that holds FAMILY/DATASET/test.json")
    found = [folder / name] if "/" in name else sorted(folder.glob(f"*/{name}"))
    found = [path for path in found if path.is_dir()]
    if len(found) != 1:
        there = sorted(path.parent.name for path in folder.glob("*/*/labels.json"))
        said = f"is there {len(found)} times, so add its family" if found else f"is not there; found {', '.join(there)}"
        raise ValueError(f"{folder}: the data set {name!r} {said}")
    return found[0]


def _load(path: pathlib.Path, validation: int, carved: bool, instructions: Mapping[str, str]) -> TextTask:
    labels = _labels(path / "labels.json")
    test = _rows(path / "test.json", labels)
    same = not (path / "dev.json").exists() or _equal(path / "dev.json", path / "test.json")
    if carved:
        train, test = carve(test, [row.sentence for row in test], len(test) * 2 // 3)
        same = True
    elif not (path / "train.json").exists():
        raise ValueError(f"{path}/train.json is missing, as published: name the data set in `carved`, or leave it out")
    else:
        train = _rows(path / "train.json", labels)
    if same:
        held, train = carve(train, [row.sentence for row in train], min(validation, len(train) // 2))
    else:
        held = _rows(path / "dev.json", labels)
    family, name = path.parent.name, path.name
    if family not in instructions:
        raise ValueError(f"{path}: no instruction for the family {family!r}; there are {', '.join(instructions)}")
    splits = [
        tuple(_example(row, family, name, labels, instructions[family]) for row in x) for x in (train, held, test)
    ]
    return TextTask(name, *splits, labels=tuple(f" {label}" for label in labels))


def _example(row: _Row, family: str, name: str, labels: Sequence[str], instruction: str) -> Example:
    asked = f"{instruction}\n" if instruction else ""
    options = f"Option: {', '.join(labels)}\n"
    return Example(f"Task:{family}\nDataset:{name}\n{asked}{options}{row.sentence}\nAnswer:", f" {row.label}")


def _labels(path: pathlib.Path) -> list[str]:
    found = [value for _, value in json_fields.rows(path, "labels")]
    if len(found) < 2 or not all(isinstance(label, str) for label in found):
        raise ValueError(f"{path}: expected a list of two labels or more, each a string")
    return [label for label in found if label != UNLABELLED]


def _rows(path: pathlib.Path, labels: Sequence[str]) -> list[_Row]:
    rows = []
    found = json_fields.rows(path, "examples")
    for where, item in found:
        row = _Row(json_fields.text(item, "sentence", where), json_fields.text(item, "label", where))
        if row.label == UNLABELLED:
            continue
        if row.label not in labels:
            raise ValueError(f"{where}: the label {row.label!r:.60} is none of {', '.join(labels)} in labels.json")
        rows.append(row)
    if len(rows) < len(found):
        logger.warning('%s: %d of %d rows are labelled "-" and left out', path, len(found) - len(rows), len(found))
    return rows


def _equal(one: pathlib.Path, other: pathlib.Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
