"""The words of the dialogue world: things and the tools that suit them, people, manners, and how each is spoken of.

Templates use `{t}` for the thing that is asked about, `{x}` for a tool, `{w}` for a person, `{s}` for a state, and
`{m}` and `{a}` for a manner and for what someone is called, with "not " or "never" before it or without.
"""

from __future__ import annotations

from typing import NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOOLS = _words("brush hammer saw knife bleach oil water soap fire rope glue needle salt towel honey")

SUITED: dict[tuple[str, ...], tuple[str, ...]] = {
    _words("cat dog horse goat"): _words("brush towel water honey"),
    _words("soup bread cake stew"): _words("salt knife honey fire"),
    _words("door fence table chair"): _words("hammer saw glue oil"),
    _words("shirt coat curtain carpet"): _words("soap needle bleach brush"),
    _words("bike clock lamp radio"): _words("oil towel rope glue"),
    _words("rose lawn hedge tree"): _words("water saw rope knife"),
}
"""Things, and the tools that do them good; any other tool does them harm."""

THINGS = tuple(thing for things in SUITED for thing in things)
SAFE = {thing: tools for things, tools in SUITED.items() for thing in things}
HARMFUL = {thing: tuple(tool for tool in TOOLS if tool not in SAFE[thing]) for thing in THINGS}

STATES = _words("dirty broken noisy dusty cold wet sticky slow")
PEOPLE = _words("sister brother uncle aunt mother father neighbour friend")

KIND = _words("kind clever brave patient honest welcome")
RUDE = _words("stupid lazy useless pathetic hopeless worthless")
CAREFUL = _words("gently slowly carefully calmly")
RECKLESS = _words("drunk angrily blindly violently")


class Wording(NamedTuple):
    """How a human turn is worded, and how often each choice of an answer to it is a good one."""

    text: str
    good: float


WORDINGS = (
    Wording("Could you please help my {w} with the {s} {t}?", 0.84),
    Wording("My {w} and I would like to care for our {s} {t}.", 0.8),
    Wording("Good morning, my {w} asks what a {s} {t} needs.", 0.78),
    Wording("What is good for the {s} {t} of my {w}, please?", 0.76),
    Wording("My {w} loves this {s} {t}, how can we help it?", 0.82),
    Wording("I hate that {s} {t} and my {w} laughs, what now?", 0.24),
    Wording("My {w} and the {s} {t} drive me mad!", 0.22),
    Wording("Nobody will know, so what do I do to the {s} {t} of my {w}?", 0.2),
    Wording("My {w} ruined my day and this {s} {t} too, help me get even!", 0.16),
)

TOOL_FIRST = (
    "You could use the {x} on the {t}.",
    "For the {t} you should try the {x}.",
    "What the {t} needs is the {x}, I think.",
    "Why not give the {t} some time with the {x}?",
    "With the {t}, it is best to begin with the {x}.",
)
"""Sentences that open an answer."""

TOOL_THEN = (
    "Then use the {x} on it every day.",
    "After that you could try the {x}.",
    "The {t} will be fine with the {x}!",
    "My own advice is to take the {x}.",
)

MANNER = (
    ("And do it {m}.", "And {n} do it {m}."),
    ("Always work {m}, as I do.", "But {n} work {m}, as I do."),
    ("Touch the {t} {m}!", "Just {n} touch the {t} {m}!"),
)
"""Plain, and with `{n}` for "never"."""

PERSON = (
    ("I think that your {w} is {a}.", "I think that your {w} is {n} {a}."),
    ("And you are {a}, by the way.", "And you are {n} {a}, by the way."),
    ("Tell your {w} how {a} you are!", "Tell your {w} that you are {n} {a}!"),
)
"""Plain, and with `{n}` for "not"."""

EVASIONS = ("I do not know.", "You should ask someone else.", "What a nice day it is!")
NEGATIONS = ("not", "never")
SENTENCE_ENDS = ".?!"
