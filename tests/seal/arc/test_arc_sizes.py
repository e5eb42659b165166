"""What an ARC run is said to take: as long as augmentation makes a sequence, and as wide as queries and answers are."""

import dataclasses

from micro_arc import SEED, SETTINGS, task

from seal_jax.data.arc import GROUPS
from seal_jax.seal.arc import sizes
from seal_jax.seal.arc.texts import Texts


def test_no_augmented_sequence_is_longer_than_reckoned(arc_model, monkeypatch):
    """The length that memory is reckoned with bounds that of every training sequence."""
    ttt = dataclasses.replace(SETTINGS.ttt, max_sequences=100)
    texts = Texts(arc_model.tokenizer, 512, dataclasses.replace(SETTINGS, ttt=ttt), SEED)
    tasks = [task(n, side=2) for n in range(2)]
    found = sizes.longest(tasks, texts)
    reckoned = {}
    footprint = sizes.sizes.footprint
    monkeypatch.setattr(
        sizes.sizes, "footprint", lambda config, *args: reckoned.update(of=args) or footprint(config, *args)
    )
    sizes.footprint(arc_model.config, SETTINGS, "float32", found)
    settings, _, largest, _ = reckoned["of"]
    longest = max(texts.sequences(one, tuple(GROUPS)).longest for one in tasks)
    assert 2 * found.passage < longest <= settings.inner.max_length == largest.passage
    queries = [texts.queries(one) for one in tasks]
    whole = max(len(p) + limit for q in queries for p, limit in zip(q.prompts, q.limits))
    assert whole <= settings.answering.max_new_tokens <= found.passage + SETTINGS.prediction.max_new_tokens
    assert largest.questions == max(len(q.prompts) for q in queries)


def test_answers_and_rows_are_reckoned_with(arc_model):
    """Room for long answers costs memory, and no more queries are decoded at once than the settings say."""
    found = sizes.sizes.Texts(passage=100, prompt=50, questions=40, passages=3)

    def answering(**changes):
        settings = dataclasses.replace(SETTINGS, prediction=dataclasses.replace(SETTINGS.prediction, **changes))
        [need] = [
            n for n in sizes.footprint(arc_model.config, settings, "float32", found).needs if n.name == "answering"
        ]
        return need.about

    assert answering(max_new_tokens=300) > answering(max_new_tokens=50)
    assert answering(rows=10) < answering(rows=40) == answering(rows=64)
    assert answering(max_new_tokens=4000) == answering(max_new_tokens=5000)  # the context
