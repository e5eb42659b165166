"""A model as grader: what it is shown, what its replies mean, what it is asked about."""

import pytest

from seal_jax.evaluation import Case, judge, judge_prompts, judge_turns, read_verdict

CASES = [Case("Topic: T\nWho {x}?", "Ann", "It was Ann."), Case("Topic: T\nWho {x}?", "Ann", "Bob")]


# The truth table of the released grader, but for replies with neither word, which it counts as wrong.
@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("yes", True),
        ("Yes.", True),
        ("The answer is yes", True),
        ("not yes", True),
        ("NO", False),
        ("yes, no", False),
        ("yes and no", False),
        ("yesterday", None),
        ("know", None),
        ("", None),
        ("The answer matches.", None),
        (None, None),
    ],
)
def test_verdicts(reply, verdict):
    assert read_verdict(reply) is verdict


def test_each_open_case_is_asked_about_again():
    asked = []

    def ask(cases):
        asked.append(list(cases))
        return ["yes" if case.answer == "It was Ann." else None for case in cases]

    grade = judge(ask)
    assert grade([*CASES, CASES[0]._replace(answer=" It was Ann. "), CASES[0]._replace(answer="\n")]) == [
        True,
        None,
        True,
        False,
    ]
    assert grade(CASES) == [True, None]
    assert asked == [CASES, CASES[1:]]
    assert grade([]) == []


def test_what_a_judge_is_shown(tmp_path):
    (prompt, _), (turns, _) = judge_prompts(CASES), judge_turns(CASES)
    for text in (prompt, turns.user):
        assert "Question: Topic: T\nWho {x}?\nReference answer: Ann\nAnswer to judge: It was Ann.\n" in text
    assert prompt.endswith("yes or no?\n")
    assert "yes or no" in turns.system
    path = tmp_path / "mine.txt"
    path.write_text("{question} {gold} {answer} ok?\n")
    assert judge_prompts(CASES[1:], str(path)) == ["Topic: T\nWho {x}? Ann Bob ok?"]
    assert judge_turns(CASES[1:], str(path)) == [("", "Topic: T\nWho {x}? Ann Bob ok?")]
    path.write_text("{question} {answer}")
    with pytest.raises(ValueError, match=r"missing placeholder \{gold\}"):
        judge_prompts(CASES, str(path))


def test_a_judge_that_would_say_the_same_is_asked_once():
    asked = []
    grade = judge(lambda cases: asked.extend(cases) or ["perhaps"] * len(cases), again=False)
    assert grade(CASES) == grade(CASES) == [None, None]
    assert asked == CASES
