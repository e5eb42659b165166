"""Any damage to any format either does not matter or is one ValueError that names the file; nothing else is raised."""

import copy
import json
import random

import pytest
from oracles.recorded_files import cpt, few_shot, generated, ranking, runs

from seal_jax.seal import recorded

VALUES = {
    "ranking": ranking(),
    "cpt": cpt(),
    "run": runs()[0],
    "few_shot": few_shot(),
    "generated": generated(),
    "request": {"train_sequences": ["a"], "eval_questions": []},
    "sft": [{"prompt": "a", "completion": "b"}],
}
BAD = [None, True, -1, 1.5, 1e308, 10**400, float("nan"), "x", "\ud800", [], {}, [None]]
USES = {
    "aggregate": lambda path: recorded.aggregate([path]),
    "select": recorded.selection,
    "sequences": lambda path: recorded.sequences(path, completion=None),
    "subset": recorded.subset,
}
# Of the two articles, one is enough to damage: every third place of the longest format.
STRIDE = {"ranking": 3}


def places(value, at=()):
    if at:
        yield at
    children = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in children:
        yield from places(value[key], (*at, key))


def damaged(value, at, new):
    """A copy with another value at a place; without the place where `new` is Ellipsis."""
    value = copy.deepcopy(value)
    parent = value
    for key in at[:-1]:
        parent = parent[key]
    if new is ...:
        del parent[at[-1]]
    else:
        parent[at[-1]] = new
    return value


def outcomes(path):
    """Which uses worked. A ValueError names the file; anything else is raised here."""
    worked = set()
    for name, use in USES.items():
        try:
            use(path)
            worked.add(name)
        except ValueError as error:
            assert str(error).startswith(str(path)), f"{name}: {error}"  # noqa: PT017 - any other error fails the test
    return worked


@pytest.mark.parametrize("kind", VALUES)
def test_wrong_values_and_missing_keys(save, kind):
    for at in list(places(VALUES[kind]))[:: STRIDE.get(kind, 1)]:
        for new in (..., *random.Random(str(at)).sample(BAD, 4)):
            outcomes(save(damaged(VALUES[kind], at, new)))


@pytest.mark.parametrize("kind", VALUES)
def test_cut_off_and_flipped_bytes(save, kind):
    content = json.dumps(VALUES[kind]).encode()
    rng = random.Random(0)
    for _ in range(20):
        cut, flipped = rng.randrange(1, len(content)), bytearray(content)
        flipped[rng.randrange(len(content))] = rng.randrange(256)
        assert not outcomes(save(content[:cut]))
        outcomes(save(bytes(flipped)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"\xff\xfe{",
        b"[" * 100_000,
        b'{"articles": ' + b"9" * 5000 + b"}",
        b"null",
        b'"x"',
        b"[1, 2]",
        b"{}",
    ],
    ids=range(9),
)
def test_no_such_file(save, content):
    assert not outcomes(save(content))
    assert not outcomes(save(content, "file.jsonl"))


def test_what_takes_what(save):
    takes = {kind: outcomes(save(value)) for kind, value in VALUES.items()}
    assert takes == {
        "ranking": {"aggregate", "select", "sequences"},
        "cpt": {"aggregate"},
        "run": {"aggregate"},
        "few_shot": {"aggregate"},
        "generated": {"sequences", "subset"},
        "request": set(),
        "sft": set(),
    }


@pytest.mark.parametrize(
    ("kind", "use", "problem"),
    [
        (
            "generated",
            "aggregate",
            "this is passages with their completions; seal aggregate takes the results of a ranking",
        ),
        ("cpt", "select", "this is the results of continued pretraining; seal select takes the results of a ranking"),
        (
            "sft",
            "sequences",
            "this is rows of prompt and completion; seal sequences takes passages with their completions",
        ),
        ("run", "subset", "this is a summary of sequential edits; seal subset takes passages without completions"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(save, kind, use, problem):
    with pytest.raises(ValueError, match=problem):
        USES[use](save(VALUES[kind]))


@pytest.mark.parametrize(
    ("at", "new", "problem"),
    [
        (("articles",), {}, "'articles' should be a list, not an object of 0"),
        (("articles", 1), 3, "article 1: expected an object with the key 'completions', not an integer"),
        (
            ("articles", 1, "completions", 0, "questions"),
            "x",
            "article 1, completion 0: 'questions' should be a list, not 'x'",
        ),
        (("articles", 0, "completions", 1, "questions", 4, "rep"), ..., "completion 1, question 4: missing key 'rep'"),
        (
            ("articles", 0, "completions", 1, "questions", 4, "adapter_correct"),
            "yes",
            "question 4: 'adapter_correct' should be true, false or null, not 'yes'",
        ),
        (
            ("articles", 0, "completions", 0, "stats", "adapter_mean"),
            "high",
            "'adapter_mean' should be a number or null",
        ),
    ],
)
def test_the_place_is_named(save, at, new, problem):
    with pytest.raises(ValueError, match=problem):
        recorded.aggregate([save(damaged(ranking(), at, new))])
