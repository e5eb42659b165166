"""The matcher of patterns against Python's `re`, and patterns on which `re` would not come to an end."""

import random
import re
import time

import pytest

from seal_jax.models import CheckpointError
from seal_jax.models.peft.patterns import Pattern

MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.11.mlp.up_proj", "lm_head", "", "_head"]
SEEN = [
    r".*\.(gate|up)_proj",
    r"(.*\.)?(^model.layers.0.self_attn.q_proj)$",
    r"(?:.*?(?:language|text).*?(?:q_proj|up_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj)))",
    r"^(?!.*mlp).*_proj",
    r"(\w+\.)*q_proj",
    r"[^.]+\.[a-z]+\.\d+\..*",
    r".{5,}",
    r"(lm_)?head",
    r"(?:lm|_|head){3}",
    r".*\blm.*",
    r".*\Bm_head",
    r"\Amodel\.layers\.(?:[0-9]|1[01])\.\S+\Z",
    "",
]
ATOMS = ["a", "b", ".", "[ab]", "[^a]", "(?:a|b)", "(?:ab|)", "(a)", "\\b", "$", "^", "(?=a)", "(?!b)", "\\d", "[\\w.]"]
REPEATS = ["", "*", "+", "?", "{2}", "{1,2}", "*?", "{0,3}"]


@pytest.mark.parametrize("text", SEEN)
def test_patterns_as_they_are_written(text):
    for name in MODULES:
        assert Pattern(text, "").fullmatch(name) == bool(re.fullmatch(text, name))


def drawn(rng):
    """A random pattern without repeats inside of repeats, which `re` could not always answer."""
    parts = []
    for _ in range(rng.randint(1, 5)):
        atom = rng.choice(ATOMS)
        fixed = atom in ("\\b", "$", "^", "(?=a)", "(?!b)")
        parts.append(atom if fixed else atom + rng.choice(REPEATS))
    return "".join(parts) if rng.random() < 0.7 else f"{''.join(parts)}|{drawn(rng)}"


def test_random_patterns():
    rng = random.Random(0)
    matched = 0
    for _ in range(3000):
        text = drawn(rng)
        for name in ("", "a", "ab", "ba", "aab", "b.a"):
            wanted = bool(re.fullmatch(text, name))
            assert Pattern(text, "").fullmatch(name) == wanted, (text, name)
            matched += wanted
    assert matched > 2000


ENDLESS = ["(.*)*x", "(a+)+$", "(" * 20 + ".*" + ")*" * 20 + "x", ".*" * 3000 + "x", "(?:){4000000000}"]


@pytest.mark.parametrize("text", ENDLESS, ids=range(len(ENDLESS)))
def test_patterns_that_take_for_ever_elsewhere(text):
    began = time.process_time()
    assert not Pattern(text, "").fullmatch("model.layers.0.self_attn.q_proj")
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[", "not a regular expression"),
        ("(" * 5000 + ")" * 5000, "not a regular expression"),
        ("a" * 30_000, "20000 at most"),
        ("(?i)a", "flags"),
        ("(?<=.)a", "assert"),
        (r"(.)\1", "groupref"),
        (".++", "possessive"),
        ("(?:" + "a?" * 9000 + "){3}", "repeats inside"),
    ],
)
def test_patterns_that_are_refused(text, named):
    with pytest.raises(CheckpointError, match=f"file: .*{named}"):
        Pattern(text, "file").fullmatch("a" * 60)
