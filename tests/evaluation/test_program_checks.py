"""What checks see of a program: plain data, and references to what stays in its process; no object that decides."""

import pytest

from seal_jax.evaluation.code_execution import Limits, Program, run_programs

# Each would pass `f(1) == 5` and much more if its objects or changes took part in the checks.
CHEATS = {
    "mock.ANY": "from unittest.mock import ANY\ndef f(x): return ANY",
    "an __eq__": "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "an __eq__ of an int": "class A(int):\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "an __eq__ by eval": "A = type('A', (), {'__eq__': eval('lambda a, b: True')})\ndef f(x): return A()",
    "an __eq__ that is an object": (
        "class E:\n    def __call__(self, *a): return True\nclass A:\n    __eq__ = E()\ndef f(x): return A()"
    ),
    "an __eq__ and no isinstance": (
        "import builtins\nbuiltins.isinstance = lambda a, b: False\n"
        "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()"
    ),
    "a list of such": (
        "class A:\n    def __eq__(self, other): return True\nclass L(list):\n    pass\ndef f(x): return L([A(), A()])"
    ),
    "a dict of such": (
        "from collections import OrderedDict\nclass A:\n    def __eq__(self, other): return True\n"
        "    def __hash__(self): return 0\ndef f(x): return OrderedDict({A(): A()})"
    ),
    "all operators": (
        "class A(float):\n    def __sub__(self, other): return self\n    __rsub__ = __add__ = __sub__\n"
        "    def __abs__(self): return self\n    def __lt__(self, other): return True\n"
        "    __gt__ = __le__ = __ge__ = __eq__ = __ne__ = __contains__ = __lt__\n    __hash__ = float.__hash__\n"
        "def f(x): return A()"
    ),
    "a class in disguise": (
        "class A:\n    __class__ = int\n    def __eq__(self, other): return True\ndef f(x): return A()"
    ),
    "other built-ins": (
        "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.sorted = builtins.set = lambda x: 0\n"
        "builtins.AssertionError = int\nabs = sorted = set = len = lambda x: 0\ndef f(x): return 4"
    ),
    "another math": "import math\nmath.isclose = lambda *a, **k: True\ndef f(x): return 4",
    "a made-up math": (
        "class M:\n    def isclose(*a, **k): return True\nmath = M()\n"
        "import sys\nsys.modules['math'] = math\ndef f(x): return 4"
    ),
    "frames": (
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        if 'check' in frame.f_globals: frame.f_globals['check'] = lambda *a: None\n"
        "        frame = frame.f_back"
    ),
    "no next member": "def f(x): raise StopIteration",
    "an end of all": "def f(x):\n    import os\n    os._exit(0)",
    "an end that says so": "def f(x):\n    import os\n    os.write(1, b'passed')\n    raise SystemExit(0)",
    "a value without end": "def f(x):\n    x = []\n    x.append(x)\n    return x",
    "a huge value": "def f(x): return 'x' * (1 << 24)",
    "a deep value": "def f(x):\n    x = []\n    for _ in range(100000): x = [x]\n    return x",
}
CHECKS = {
    "equal": "assert f(1) == 5",
    "turned": "assert 5 == f(1)",
    "a list": "assert f(1) == [5, 6]",
    "a dict": "assert f(1) == {5: 6}",
    "in": "assert f(1) in (5, 6)",
    "near": "assert abs(f(1) - 5) < 1e-6",
    "math": "import math\nassert math.isclose(f(1), 5)",
    "sorted": "assert sorted(f(1)) == [5, 6]",
    "mapped": "for found, right in zip(map(f, [1, 2]), [5, 6]): assert found == right\nassert f(1) == 5",
    "catching": (
        "def check(f):\n    try: found = f(1)\n    except Exception: found = None\n    assert found == 5\ncheck(f)"
    ),
    "catching all": "try: found = f(1)\nexcept: found = 5\nassert found == 5\nassert f(1) != 5 or found is f",
}


@pytest.fixture(scope="module")
def cheated():
    cases = {(cheat, check): Program(CHEATS[cheat], CHECKS[check]) for cheat in CHEATS for check in CHECKS}
    return dict(zip(cases, run_programs(list(cases.values()), Limits(memory_bytes=512 << 20))))


@pytest.mark.parametrize("cheat", CHEATS)
def test_nothing_but_the_right_value_passes(cheated, cheat):
    got = {check: cheated[cheat, check] for check in CHECKS}
    assert {check: got[check].status for check in got if got[check].status not in ("failed", "crashed")} == {}, got


def test_a_loop_over_results_cannot_be_cut_short():
    checks = "for found, right in zip(map(f, [1, 2]), [5, 6]): assert found == right"
    programs = [Program(f"def f(x): raise {e}", checks) for e in ("StopIteration", "GeneratorExit", "SystemExit(0)")]
    assert {outcome.status for outcome in run_programs(programs)} == {"failed"}


# Right programs in the ways in which the released problems have them: (program, checks).
RIGHT = {
    "numbers": ("def f(x): return x / 2", "assert f(3) == 1.5\nassert abs(f(1) - 0.5) < 1e-9\nassert f(2.0) in (1, 2)"),
    "huge": ("def f(x): return 10 ** x", "assert f(5000) == 10 ** 5000"),
    "special": ("def f(x): return [x, float('inf')]", "assert f(2 ** 70)[1] > 0\nassert f(1j) == [1j, float('inf')]"),
    "text": ("def f(x): return x + 'é\\ud800'", "assert f('a\\n\"\\\\') == 'a\\n\"\\\\é\\ud800'"),
    "tuples": ("def f(x): return (x, [x], {x: (x,)})", "assert f(1) == (1, [1], {1: (1,)})"),
    "sets": (
        "def f(a, b): return set(a) & set(b)",
        "assert f((1, 2), (2, 3)) == {2}\nassert set(f('a', 'b')) == set()",
    ),
    "none": ("def f(x): pass", "assert f(1) is None\nassert not f(1)\nassert f(1) == None"),
    "truth": ("import re\ndef f(x): return re.match('a', x)", "assert f('ab')\nassert not f('b')"),
    "counter": ("from collections import Counter\ndef f(x): return Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}"),
    "defaultdict": (
        "from collections import defaultdict\ndef f(x):\n    d = defaultdict(list)\n    d[x].append(x)\n    return d",
        "assert f(1) == {1: [1]}\nassert dict(f(1)) == {1: [1]}",
    ),
    "named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x')\ndef f(x): return P(x)",
        "assert f(1) == (1,)",
    ),
    "enum": ("import enum\nclass E(enum.IntEnum):\n    A = 5\ndef f(): return E.A", "assert f() == 5"),
    "numpy": (
        "import numpy as np\ndef f(x): return np.array(x).sum()\ndef g(x): return np.array(x)",
        "assert f([1, 2]) == 3\nassert f([0.5]) == 0.5\nassert list(g([1, 2])) == [1, 2]\n"
        "assert np.allclose(g([1]), 1)",
    ),
    "standard values": (
        "import datetime, decimal, fractions\ndef f(x): return x\ndef g(): return fractions.Fraction(1, 2)",
        "import datetime, decimal, fractions, collections\nvalues = [datetime.datetime(2020, 1, 2, 3, 4, 5, 6), "
        "datetime.date(2020, 1, 2), datetime.timedelta(3, 4), decimal.Decimal('1.10'), fractions.Fraction(1, 3), "
        "collections.deque([1], 3), collections.OrderedDict(a=1), range(3), b'x', bytearray(b'y'), frozenset({1}), int,"
        " slice(1, None), datetime.timezone.utc, datetime.time(1)]\n"
        "assert f(values) == values\nassert [type(v) for v in f(values)] == [type(v) for v in values]\n"
        "assert g() == 0.5",
    ),
    "generators": (
        "def f(x):\n    for i in range(x): yield i\ndef g():\n    while True: yield 1",
        "assert list(f(3)) == [0, 1, 2]\nassert sum(f(3)) == 3\nassert next(iter(f(1))) == 0\n"
        "import itertools\nassert list(itertools.islice(g(), 2)) == [1, 1]\nassert next(g()) == 1",
    ),
    "views": (
        "def f(x): return x.items(), map(str, x)",
        "a, b = f({1: 2})\nassert list(a) == [(1, 2)]\nassert list(b) == ['1']",
    ),
    "in place": (
        "def f(x, d, s):\n    x.sort()\n    d[1] = 2\n    s.add(3)",
        "x, d, s = [2, 1], {}, set()\nf(x, d, s)\nassert (x, d, s) == ([1, 2], {1: 2}, {3})",
    ),
    "own class": (
        "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n"
        "def f(pairs): return max(p.b - p.a for p in pairs)",
        "assert f([Pair(5, 24), Pair(1, 2)]) == 19\np = Pair(1, 2)\np.b = 3\nassert p.b == 3 and f([p]) == 2",
    ),
    "functions passed in": (
        "def f(g, x): return [g(y) for y in x]",
        "assert f(lambda y: y + 1, iter([1, 2])) == [2, 3]",
    ),
    "functions given back": ("def f(x):\n    return lambda y: x + y", "assert f(1)(2) == 3"),
    "keywords": ("def f(a, *, b=1): return a + b", "assert f(1, b=3) == 4"),
    "errors": (
        "class Own(ValueError): pass\ndef f(x): raise Own('no')",
        "try: f(1)\nexcept ValueError as e: assert str(e) == 'no'\nelse: assert False",
    ),
    "modules": ("import math\ndef f(x): return math.sqrt(x)", "assert math.isclose(f(4), 2)"),
    "helpers": (
        "def f(x): return x",
        "def twice(x): return 2 * x\ndef check(g):\n    assert g(twice(1)) == 2\ncheck(f)",
    ),
    "many calls": ("def f(x): return x", "for i in range(2000): assert f(i) == i"),
    "recursion": ("import sys\nsys.setrecursionlimit(5000)\ndef f(x): return x and f(x - 1)", "assert f(3000) == 0"),
    "printing": ("def f(x):\n    print(x)\n    return x", "assert f(1) == 1"),
}


def test_right_programs_pass():
    done = dict(zip(RIGHT, run_programs([Program(*pair) for pair in RIGHT.values()])))
    assert {name: (o.status, o.reason) for name, o in done.items()} == dict.fromkeys(RIGHT, ("passed", ""))
    assert done["printing"].output == "1\n"


def test_a_name_of_a_builtin_is_the_programs_where_it_is_said():
    code, checks = "def sum(a, b): return a * b", "assert sum(2, 5) == 10"
    assert [o.status for o in run_programs([Program(code, checks, ("sum",)), Program(code, checks)])] == [
        "passed",
        "failed",
    ]


def test_an_object_of_the_program_equals_nothing():
    code = "class P:\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\ndef f(): return P()"
    checks = ["assert f() == P()", "assert P() in [f()]", "assert {f(): 1} == {P(): 1}"]
    assert [o.status for o in run_programs([Program(code, check) for check in checks])] == ["failed"] * 3
