"""Tasks by name: splits, prompts in both forms, grades under both rules, and shots that are not scored on."""

import dataclasses
import json
import pathlib

import pytest
import transformers

import seal_jax
from seal_jax.evaluation.code_execution import Limits
from seal_jax.transformer2 import task_sets
from seal_jax.transformer2.classify import request
from seal_jax.transformer2.task_sets import TASKS, draw_shots, load_task
from seal_jax.transformer2.tasks import Task, grade_all


def row(name, n):
    program = {"code": f"def f{n}(x):\n    return x + {n}", "test_list": [f"assert f{n}(1) == {n + 1}"]}
    choices = {"text": ["a", "b"], "label": ["1", "2"]}
    rows = {
        "gsm8k": {"question": f"{n}?", "answer": f"so\n#### 1,{n:03}"},
        "math": {"problem": f"{n}?", "solution": f"\\boxed{{\\frac{{{n}}}{{7}}}}"},
        "arc": {"id": f"q{n}", "question": f"{n}?", "choices": choices, "answerKey": "2"},
        "mbpp": {"task_id": n, "prompt": f"Add {n}.", "test_imports": [], **program},
        "humaneval": {
            "task_id": f"HumanEval/{n}",
            "prompt": f'import math\n\ndef f{n}(x):\n    """Add {n}."""\n',
            "canonical_solution": f"    return x + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
            "entry_point": f"f{n}",
        },
    }  # fmt: skip
    return rows[name.split("_")[0]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder of each benchmark, of 7 training and 6 test problems; of MBPP one list of 399."""
    root, counts = tmp_path_factory.mktemp("sets"), {"train": 7, "test": 6}
    for name in TASKS:
        (root / name).mkdir()
        splits = {"test": 399} if name == "mbpp" else {"test": 6} if name == "humaneval" else counts
        for split, count in splits.items():
            lines = (json.dumps(row(name, n)) for n in range(count))
            (root / name / f"{split}.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(pathlib.Path(seal_jax.__file__).parent / "assets" / "skills")


def numbers(problems):
    return [p.id.rsplit("/", 1)[1].removeprefix("q") for p in problems]


def test_even_problems_train_and_odd_ones_validate(sources):
    for name in ("gsm8k", "math", "arc_easy", "arc_challenge"):
        task = load_task(name, sources / name)
        assert numbers(task.train) == ["0", "2", "4", "6"]
        assert numbers(task.validation) == ["1", "3", "5"]
        assert len(task.test) == 6
    shuffled = load_task("gsm8k", sources / "gsm8k", split_seed=3)
    assert numbers(shuffled.train) != ["0", "2", "4", "6"]
    assert sorted(numbers([*shuffled.train, *shuffled.validation])) == list("0123456")


def test_mbpp_is_divided_as_released(sources):
    """300 of 399 shuffled with 16: 200 and 100. Python's shuffle of 300 numbers by 16 begins like this."""
    task = load_task("mbpp", sources / "mbpp")
    assert (len(task.train), len(task.validation), len(task.test)) == (200, 100, 99)
    assert set(numbers(task.test)) == {str(n) for n in range(300, 399)}
    assert numbers(task.train)[:5] == ["107", "76", "291", "238", "93"]
    assert not set(numbers(task.train)) & set(numbers(task.validation))
    other = load_task("mbpp", sources / "mbpp", split_seed=1)
    assert numbers(other.train) != numbers(task.train)


def test_a_mbpp_with_splits_of_its_own_keeps_them(tmp_path):
    for split, ids in {"train": (1, 2), "validation": (3,), "test": (4,)}.items():
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row("mbpp", n)) for n in ids))
    task = load_task("mbpp", tmp_path)
    assert [numbers(part) for part in (task.train, task.validation, task.test)] == [["1", "2"], ["3"], ["4"]]


def test_prompts_of_both_forms(sources, tokenizer):
    for name in TASKS:
        base, chat = (load_task(name, sources / name, tokenizer=tokenizer, form=form) for form in ("base", "auto"))
        for task in (base, chat):
            problem = task.test[1]
            assert problem.meta["question"].strip() in problem.prompt
            assert "{" not in problem.prompt.replace("\\boxed{}", "")
            assert task.max_new_tokens == (1024 if name == "math" else 512)
        assert chat.test[1].prompt != base.test[1].prompt
        fenced = name in ("mbpp", "humaneval")
        assert chat.test[1].prompt.endswith("```python\n") == fenced
        assert chat.stop == (("\n```",) if fenced else ())
        assert base.stop
    assert load_task("humaneval", sources / "humaneval").test[1].prompt == row("humaneval", 1)["prompt"]
    mbpp = load_task("mbpp", sources / "mbpp").test[0]
    assert mbpp.prompt.endswith("```python\n")
    assert "assert f300(1) == 301" in mbpp.prompt


def test_prompts_of_ones_own(sources, tokenizer, tmp_path):
    (tmp_path / "mine.txt").write_text("Q {question} A\n")
    task = load_task("gsm8k", sources / "gsm8k", template=str(tmp_path / "mine.txt"))
    assert task.test[3].prompt == "Q 3? A"
    (tmp_path / "bad.txt").write_text("Q {topic}\n")
    with pytest.raises(ValueError, match=r"unknown placeholder \{topic\}"):
        load_task("gsm8k", sources / "gsm8k", template=str(tmp_path / "bad.txt"))


# A completion of problem 5: (fixed, reference).
GRADED = {
    "gsm8k": {
        "The answer is 1,005.": (True, True),
        "-1005": (False, False),
        "5": (False, True),
        "none": (False, False),
    },
    "math": {
        "\\boxed{\\frac{5}{7}}": (True, True),
        "so \\boxed{5/7}": (True, True),
        "the answer is 5/7.": (True, True),
        "\\boxed{500/7}": (False, True),
        "none": (False, False),
    },
    "arc_easy": {"The answer is B.": (True, False), "The answer is A.": (False, False), "none": (False, False)},
}


@pytest.mark.parametrize("name", GRADED)
def test_grades(sources, name):
    fixed, reference = (load_task(name, sources / name, rules=rules) for rules in ("fixed", "reference"))
    for completion, (by_fixed, by_reference) in GRADED[name].items():
        assert fixed.grade(fixed.test[5], completion) is by_fixed, completion
        assert reference.grade(reference.test[5], completion) is by_reference, completion


def test_programs_are_graded(sources, tokenizer):
    """Right ones in the form that each prompt asks for, wrong ones, and gold solutions as training shows them."""
    mbpp = load_task("mbpp", sources / "mbpp", limits=Limits(cpu_seconds=2))
    first, second = mbpp.test[:2]
    right, n = "def f300(x):\n    return x + 300\n", "\n```\nSome words."
    pairs = [(first, right), (first, right + n), (second, right), (first, ""), (first, "import os\nos._exit(0)")]
    pairs += [(p, p.solution) for p in (first, second)]
    assert grade_all(mbpp.grade, pairs) == [True, True, False, False, False, True, True]

    for form in ("base", "chat"):
        task = load_task("humaneval", sources / "humaneval", tokenizer=tokenizer, form=form)
        problem = task.test[3]
        pairs = [
            (problem, problem.solution),
            (problem, "    return x + 3"),
            (problem, "    return x + 3\n\nprint(f3(\n"),
            (problem, "def f3(x):\n    return math.floor(x + 3)\n"),
            (problem, "    return x + 3\n```\nWords.\n```python\nf3(1)\n```"),
            (problem, "    return x + 4"),
            (problem, "    pass"),
        ]
        assert grade_all(task.grade, pairs) == [True, True, True, True, True, False, False], form
    assert task.grade(problem, problem.solution) is True
    assert grade_all(lambda p, c: None, [(first, "x")]) == [None]


def test_shots_are_not_scored_on(sources):
    task = load_task("gsm8k", sources / "gsm8k")
    shots, rest = draw_shots(task, "test", shots=2, seed=27)
    assert len(shots) == 2
    assert len(rest) == 4
    assert rest == [p for p in task.test if p not in shots]
    assert draw_shots(task, "test", 2, 27) == (shots, rest)
    assert draw_shots(task, "test", 3, 28).shots[:2] != shots
    released = draw_shots(task, "test", 2, 27, scored="reference")
    assert released.shots == shots
    assert released.rest == list(task.test)
    assert draw_shots(task, "train", 1, 0).rest
    for wrong in ({"shots": 0}, {"shots": 6}):
        with pytest.raises(ValueError, match="of the 6 problems in test"):
            draw_shots(task, **wrong)
    with pytest.raises(ValueError, match="train, validation or test"):
        draw_shots(task, "all")


def test_a_world_is_a_task():
    task = load_task("skills:" + next(iter(skills_names())))
    assert task.train
    assert task.test
    with pytest.raises(ValueError, match="leave out source and template"):
        load_task("skills:x", "file")


def skills_names():
    from seal_jax.data.worlds import skills

    return skills.TRAINED


def test_a_benchmark_is_one_row(monkeypatch, sources):
    def load(source):
        return {"test": [task_sets.Problem("p", "x", 1, meta={"question": "x"})]}

    mine = dataclasses.replace(TASKS["humaneval"], load=load, template="gsm8k", grade=lambda *_: lambda p, c: c == "1")
    monkeypatch.setitem(TASKS, "mine", mine)
    monkeypatch.setitem(task_sets.WORLDS, "toys", lambda family: Task(family, (), (), (), lambda p, c: True))
    assert load_task("mine", "anything").grade(None, "1")
    assert load_task("toys:cars").name == "cars"


def test_what_does_not_work(sources, tmp_path):
    with pytest.raises(ValueError, match=r"there is no task 'gsm'; there are gsm8k, .*humaneval and skills:FAMILY"):
        load_task("gsm")
    with pytest.raises(ValueError, match="rules='strict'"):
        load_task("gsm8k", sources / "gsm8k", rules="strict")
    with pytest.raises(ValueError, match="no test split, only train"):
        load_task("gsm8k", {"train": sources / "gsm8k" / "train.jsonl"})
    with pytest.raises(ValueError, match="the chat form needs tokenizer="):
        load_task("gsm8k", sources / "gsm8k", form="chat")


def test_what_is_sorted_is_the_question_alone(sources, tokenizer):
    """What a prompt asks for beside the question, as a box or a block of code, would give the task away."""
    for name in TASKS:
        problem = load_task(name, sources / name, tokenizer=tokenizer).test[0]
        assert request(problem) == problem.meta["question"] != problem.prompt
