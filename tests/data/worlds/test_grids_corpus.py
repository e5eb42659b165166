"""Pretraining documents of the grids world: what is trained on, and that only pretraining rules occur."""

import collections

import numpy as np

from experiments import pretrain_worlds
from seal_jax.data.worlds import grids, grids_corpus, grids_tokenizer
from seal_jax.data.worlds.grids_splits import PRETRAINING
from seal_jax.seal.arc import EditConfig, parse_edit

TOK = grids_tokenizer.build()


def weighted(document, length=136):
    tokens, weights = pretrain_worlds.encode([document], TOK, length)
    return [(TOK.decode([t]), float(w)) for t, w in zip(tokens[0], weights[0]) if t != TOK.pad_token_id]


def test_weights_of_a_task():
    """Cells of inputs hardly count, nor do those of the first output, which nothing foretells; the rest does."""
    [task] = grids.tasks("pretraining", 1)
    written = weighted(grids_corpus.solving(task))
    counted = "".join(text for text, weight in written if weight == 1.0)
    outputs = [example.output for example in (*task.demos[1:], *task.tests)]
    assert [c for c in counted if c.isdigit()] == [str(c) for grid in outputs for row in grid for c in row]
    assert written[-1] == (TOK.eos_token, 1.0)
    by_weight = collections.Counter(np.float32(weight) for _, weight in written)
    assert by_weight[np.float32(grids_corpus.FIRST_WEIGHT)] == 12  # nine cells, two row ends, the opening brackets
    assert set(by_weight) == {np.float32(w) for w in (grids_corpus.INPUT_WEIGHT, grids_corpus.FIRST_WEIGHT, 1.0)}


def test_documents():
    """Tasks of pretraining rules and, as often as asked for, edits that the schema admits, spread over its values."""
    rng = np.random.default_rng(0)
    shown, edits = [], []

    def prompt(task):
        shown.append(task)
        return "demos"

    for _ in range(300):
        text = grids_corpus.draw(rng, prompt, edits=0.5).text
        if text.startswith("demos"):
            edits.append(parse_edit(text.removeprefix("demos")))
    assert 110 < len(edits) < 190
    assert all(isinstance(edit, EditConfig) for edit in edits)
    assert {edit.learning_rate for edit in edits} == set(grids_corpus.RATES) <= set(grids_tokenizer.LEARNING_RATES)
    assert {edit.epochs for edit in edits} == set(grids_corpus.EPOCHS)
    assert len({edit.groups for edit in edits}) >= 12
    assert {task.id for task in shown} <= set(PRETRAINING)


def test_a_batch_is_a_function_of_its_step():
    settings = pretrain_worlds.DEFAULTS["grids"]
    first, again, other = (pretrain_worlds.make_batch(step, settings, TOK) for step in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()
    assert first[0].shape == (24, 136)
    assert (first[0][:, -1] == 0).all()  # nothing is cut off
