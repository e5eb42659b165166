"""Pretraining documents: weights where they belong, the documented mixture, and nobody who is kept for later."""

import collections
import re

import numpy as np
import pytest

from seal_jax.data.worlds import biographies, biographies_corpus, self_edits
from seal_jax.data.worlds.biographies_corpus import ANSWER_WEIGHT, CONTEXT_WEIGHT, MIXTURE, draw

DRAWS = 2000


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(7)
    return [draw(rng) for _ in range(DRAWS)]


def people_in(text, known_first):
    """Every "First Last" of the world in a text."""
    found = re.findall(r"[A-Z][a-z]+(?= [A-Z][a-z]+)", text)
    return {m for m in re.findall(r"(?=\b([A-Z][a-z]+ [A-Z][a-z]+)\b)", text) if m.split()[0] in known_first and found}


def test_nobody_kept_for_later_is_met(documents):
    first = {n.split()[0] for n in biographies.names("pretraining")}
    kept = {n for split in ("train", "dev", "test") for n in biographies.names(split)}
    allowed = {n for split in ("known", "pretraining") for n in biographies.names(split)}
    met = set().union(*(people_in(d.text, first) for d in documents))
    assert not met & kept
    assert len(met & allowed) > 1000
    assert set(biographies.names("known")) <= met


def test_spans_are_in_order_and_inside(documents):
    for text, spans in documents:
        assert text
        ends = [0]
        for start, end, weight in spans:
            assert ends[-1] <= start < end <= len(text)
            assert weight > 0
            ends.append(end)


def test_answers_weigh_most_and_what_is_asked_little():
    rng = np.random.default_rng(0)
    for make in (biographies_corpus.reading, biographies_corpus.remembering):
        for _ in range(20):
            text, spans = make(rng)
            answers = re.findall(r"Answer:( \w+)", text)
            assert [text[a:b] for a, b, weight in spans if weight == ANSWER_WEIGHT] == answers
            assert all(w in (ANSWER_WEIGHT, CONTEXT_WEIGHT) for _, _, w in spans)
            covered = sum(b - a for a, b, _ in spans)
            assert covered == len(text) - (len(answers) - 1 if text.startswith("Topic") else len(answers))  # line ends


def test_a_stranger_is_read_about_and_asked_about():
    """Every answer stands in the passage above, so that reading pays; the passage itself hardly counts."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        text, spans = biographies_corpus.reading(rng)
        context = text.split("\nTopic:")[0]
        assert spans[0] == (0, len(context), CONTEXT_WEIGHT)
        assert text.count("Answer:") == 4
        for answer in re.findall(r"Answer: (\w+)", text):
            assert answer in re.findall(r"\w+", context)


def test_known_people_have_their_own_facts():
    rng = np.random.default_rng(0)
    for _ in range(50):
        text, _ = biographies_corpus.remembering(rng)
        for name, answer in re.findall(r"Topic: (.*)\n.*\nAnswer: (\w+)", text):
            assert name in biographies.names("known")
            assert answer in biographies.person(name).values


def test_notes_follow_the_edit_prompt():
    rng = np.random.default_rng(0)
    for _ in range(20):
        text, spans = biographies_corpus.note_taking(rng)
        head = text[: spans[0][1]]
        assert head.endswith("\nNotes:")
        assert text[len(head)] == "\n"
        assert spans == [(0, len(head), CONTEXT_WEIGHT), (len(head), len(text), 2.0)]


def test_repetition_is_a_line_thrice():
    rng = np.random.default_rng(0)
    for _ in range(50):
        text, spans = biographies_corpus.repetition(rng)
        first, second, third = text.split("\n")
        assert first == second == third != ""
        assert spans == [(0, len(first) + 1, CONTEXT_WEIGHT)]


def test_the_mixture_is_drawn_in_its_shares(documents):
    assert sum(share for _, share in MIXTURE) == pytest.approx(1)
    found = collections.Counter(kind(d.text) for d in documents)
    for make, share in MIXTURE:
        assert found[make.__name__] / DRAWS == pytest.approx(share, abs=0.03), make.__name__


def kind(text):
    lines = text.split("\n")
    if len(lines) == 3 and lines[0] == lines[1] == lines[2]:
        return "repetition"
    if "\nNotes:\n" in text:
        return "note_taking"
    if text.startswith("Topic:"):
        return "remembering"
    if "\nTopic:" in text:
        return "reading"
    return "biography" if len(lines) == 4 else "single_fact"


def test_a_document_is_a_function_of_its_generator():
    assert [draw(np.random.default_rng(i)) for i in range(20)] == [draw(np.random.default_rng(i)) for i in range(20)]
    assert self_edits.STYLES
