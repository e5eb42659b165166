"""The program in a completion, and the program that tests it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seal_jax.evaluation.code_answers import (
    code_of,
    function_under_test,
    humaneval_program,
    mbpp_program,
    names_in,
    sanitized,
)
from seal_jax.evaluation.code_execution import run_programs

F = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    ("completion", "prefilled", "fixed", "reference"),
    [
        (f"{F}```\nThis adds one.", True, F, F),
        (F, True, F, F),
        (f"```python\n{F}```", True, F, ""),  # a model that opens the fence again
        (f"{F}```\nFor example:\n```python\nf(1)\n```", True, F, F),
        (f"Here it is:\n```python\n{F}```\ndone", False, F, "Here it is:\n"),
        (f"```\n{F}```\n```\nother\n```", False, F, ""),
        (f"```py\n{F}", False, F, ""),
        (F, False, F, F),
        ("", True, "", ""),
    ],
)
def test_the_code_of_a_completion(completion, prefilled, fixed, reference):
    assert code_of(completion, prefilled) == fixed
    assert code_of(completion, prefilled, "reference") == reference


LONG = '''import math
from os import path
K = 3
unused = print("never")

def helper(x):
    return x * K

@decorate
def f(x):
    """Doc."""
    return helper(math.floor(x))

class Other:
    pass

print(f(2))
if __name__ == "__main__":
    f(input())
'''


def test_what_is_needed_stays():
    assert sanitized(LONG, "f") == (
        "import math\nfrom os import path\nK = 3\ndef helper(x):\n    return x * K\n@decorate\ndef f(x):\n"
        '    """Doc."""\n    return helper(math.floor(x))'
    )
    assert sanitized("if True:\n    def f(): pass\nelse:\n    f = 1\nf()", "f").endswith("f = 1")
    assert sanitized("f = lambda x: x\nf(3)", "f") == "f = lambda x: x"


@pytest.mark.parametrize(
    "code",
    [
        "primes = []\nfor i in range(2, 20):\n    primes.append(i)\ndef f(n): return primes[n]",
        "fact = [1]\nwhile len(fact) < 9: fact.append(fact[-1] * len(fact))\ndef f(n): return fact[n]",
        "table = {}\ntable.update({1: 5})\ndef helper(n): return table[n]\ndef f(n): return helper(n)",
        "import sys\nsys.setrecursionlimit(10**5)\ndef f(n): return f(n - 1) if n else 0",
    ],
)
def test_steps_that_fill_what_is_needed_stay(code):
    """A right program whose table is filled on the top level is right; the release drops what fills it."""
    noise = "print(f(2))\nfor i in range(3):\n    f(i)\nassert f(1) == 7"
    assert sanitized(f"{code}\n{noise}", "f") == code
    assert len(sanitized(code, "f", rules="reference")) < len(code)


def test_what_does_not_parse_is_cut():
    assert sanitized(F + "def g(", "f") == F.strip()
    assert sanitized(F + "This adds one to x.", "f") == F.strip()
    assert sanitized("no program", "f") == "no program"
    assert sanitized("", "f") == ""
    assert sanitized("def g(): pass", "f") == "def g(): pass"


@pytest.mark.parametrize(
    "code", ["(" * 50_000, "-" * 50_000 + "1", "x = " + "[" * 5000, "f(" * 20_000, "\0", "a." * 20_000]
)
def test_code_made_to_break_a_parser(code):
    assert sanitized(code + "\n", "f") is not None


@pytest.mark.parametrize(
    ("tests", "code", "name"),
    [
        (["assert f(1) == 2"], "", "f"),
        (["assert set(similar((1,), (2,))) == set()"], "", "similar"),
        (["assert math.isclose(area(2), 4)"], "", "area"),
        (["assert not is_odd(2)"], "", "is_odd"),
        (["assert sorted(g(helper(1))) == 2"], "def g(): pass", "g"),
        (["assert chain([Pair(1, 2)], 1) == 3"], "class Pair: pass\ndef chain(): pass", "chain"),
        (["assert sum([1]) == 1"], "def sum(x): return 1", "sum"),
        (["print(1)"], "", None),
        (["assert ("], "", None),
    ],
)
def test_the_function_that_is_tested(tests, code, name):
    assert function_under_test(tests, code) == name


def test_classes_that_the_tests_make_objects_of_stay():
    code = "class Pair: pass\nclass Other: pass\ndef chain(pairs): return 3"
    assert sanitized(code, "chain") == "def chain(pairs): return 3"
    assert sanitized(code, "chain", names_in(["assert chain([Pair(1, 2)]) == 3"])).startswith("class Pair: pass\ndef")
    assert names_in(["assert ("]) == set()


PROMPT = """from typing import List

def twice(x: int) -> int:
    return 2 * x

def f(xs: List[int]) -> int:
    \'\'\'Twice the sum.\'\'\'
"""
CHECK = "def check(candidate):\n    assert candidate([1, 2]) == 6\n"


def test_programs_pass_and_fail_as_they_should():
    programs = {
        "mbpp": (mbpp_program(F, ["assert f(1) == 2", "assert f(2) == 3"]), True),
        "mbpp, one wrong": (mbpp_program(F, ["assert f(1) == 2", "assert f(2) == 4"]), False),
        "mbpp with a setup": (
            mbpp_program("def f(x): return math.floor(x)", ["assert f(1.5) == 1"], "import math"),
            True,
        ),
        "mbpp with a setup that needs the program": (
            mbpp_program(
                "class Node:\n    def __init__(self, x): self.x, self.left = x, None\n"
                "def depth(n): return 1 + depth(n.left) if n else 0",
                ["assert (depth(root)) == DEPTH", "assert depth(Node(2)) == 1"],
                "import math\nDEPTH = 2\nroot = Node(1)\nroot.left = Node(2)",
            ),
            True,
        ),
        "mbpp with a class in the setup": (
            mbpp_program(
                "def f(p): return P(p.x + 1).x",
                ["assert f(P(1)) == 2"],
                "class P:\n    def __init__(self, x): self.x = x",
            ),
            True,
        ),
        "mbpp with the name of a builtin": (
            mbpp_program("def sum(a, b): return a * b", ["assert sum(2, 5) == 10"], "", "sum"),
            True,
        ),
        "mbpp with its own idea of the setup": (
            mbpp_program("import math\nmath.ceil = len\ndef f(x): return ''\nD = ''", ["assert f(1) == D"], "D = 1"),
            False,
        ),
        "a helper of its own": (
            humaneval_program(PROMPT, "    return 0\ndef twice(x): return 0", CHECK.replace("6", "twice(3)"), "f"),
            False,
        ),
        "a body": (humaneval_program(PROMPT, "    return twice(sum(xs))\n", CHECK, "f"), True),
        "a body less its first space": (
            humaneval_program(PROMPT, "   y = sum(xs)\n    return twice(y)", CHECK, "f"),
            True,
        ),
        "a wrong body": (humaneval_program(PROMPT, "    return sum(xs)\n", CHECK, "f"), False),
        "a whole function": (
            humaneval_program(PROMPT, "def f(xs: List[int]):\n    return twice(sum(xs))", CHECK, "f"),
            True,
        ),
        "no body": (humaneval_program(PROMPT, "", CHECK, "f"), False),
    }
    outcomes = run_programs([program for program, _ in programs.values()])
    for (name, (_, right)), outcome in zip(programs.items(), outcomes):
        assert outcome.status == ("passed" if right else "failed"), (name, outcome)


@given(
    st.one_of(st.text(), st.text("def f(x):\n return`\"\\'=[]{}#\0")),
    st.booleans(),
    st.sampled_from(["fixed", "reference"]),
)
def test_no_text_makes_it_fail(text, prefilled, rules):
    code = sanitized(code_of(text, prefilled, rules), "f", names_in([text]))
    assert isinstance(mbpp_program(code, [text], text, function_under_test([text], text)).checks, str)
    assert isinstance(humaneval_program(PROMPT, code, CHECK, "f").code, str)
