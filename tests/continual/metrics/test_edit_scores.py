"""Reliability, generality and locality by hand."""

import math

import pytest

from seal_jax.continual.metrics import Edit, edit_scores

EDITS = [
    Edit("capital of A?", "x", ("A's capital?", "main city of A?"), ("capital of B?",)),
    Edit("capital of C?", "y", ("C's capital?",), ("colour of D?", "colour of E?")),
    Edit("capital of F?", "z"),
]
BEFORE = {"capital of B?": "b", "colour of D?": "d", "colour of E?": "e"}
AFTER = {
    "capital of A?": " x ",
    "A's capital?": "x",
    "main city of A?": "b",
    "capital of B?": "x",
    "capital of C?": "y",
    "C's capital?": "y",
    "colour of D?": "d",
    "colour of E?": "y",
    "capital of F?": "no idea",
}


def test_by_hand():
    calls = []

    def after(prompts):
        calls.append(prompts)
        return [AFTER[p] for p in prompts]

    found = edit_scores(EDITS, lambda prompts: [BEFORE[p] for p in prompts], after)
    assert found == pytest.approx((2 / 3, (0.5 + 1) / 2, (0 + 0.5) / 2))
    assert len(calls) == 1
    strict = edit_scores(EDITS, lambda ps: [BEFORE[p] for p in ps], after, same=lambda a, b: a == b)
    assert strict.reliability == pytest.approx(1 / 3)


def test_without_other_prompts():
    found = edit_scores([EDITS[2]], lambda _: pytest.fail("nothing to ask"), lambda ps: ["z"] * len(ps))
    assert found.reliability == 1
    assert math.isnan(found.generality)
    assert math.isnan(found.locality)
    with pytest.raises(ValueError, match="no edits"):
        edit_scores([], lambda ps: ps, lambda ps: ps)
    with pytest.raises(ValueError, match="0 answers to 1 prompts"):
        edit_scores([EDITS[2]], lambda ps: ps, lambda ps: [])
