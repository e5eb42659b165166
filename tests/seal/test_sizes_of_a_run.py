"""The footprint of a SEAL run, against the trees it speaks of."""

import dataclasses

import jax
import pytest

from seal_jax import adapters, models
from seal_jax.seal import sizes
from seal_jax.seal.settings import Edits, Inner, PolicyUpdate, Settings

CONFIG = models.Config("llama", 500, 64, 96, 2, 4, 2, 16, 512)
SETTINGS = Settings(
    edits=Edits(max_new_tokens=64, rows=8),
    inner=Inner(rank=4, at_once=16, targets=("all",)),
    policy=PolicyUpdate(rank=8, batch_size=4),
)
TEXTS = sizes.Texts(passage=40, prompt=100, questions=5, passages=9)


@pytest.fixture(scope="module")
def found():
    return sizes.footprint(CONFIG, SETTINGS, "float32", TEXTS)


def test_numbers_are_those_of_the_trees(found):
    params = models.init(jax.random.key(0), CONFIG)
    assert found.weights == sum(x.nbytes for x in jax.tree.leaves(params))
    for of, number in ((SETTINGS.inner, found.inner_adapter), (SETTINGS.policy, found.policy_adapter)):
        adapter = adapters.lora.init(jax.random.key(0), params, of.rank, of.alpha, of.targets)
        assert number == sum(x.size for x in jax.tree.leaves(adapter))


def test_devices_share_what_is_split(found):
    spread = sizes.footprint(CONFIG, SETTINGS, "float32", TEXTS, {"data": 2, "fsdp": 2, "model": 2})
    assert spread.weights == found.weights // 4
    inner, alone = (next(n for n in f.needs if n.name == "the inner loop") for f in (spread, found))
    assert inner.sure - spread.weights == (alone.sure - found.weights) // 4


def test_no_more_fine_tunes_than_there_are(found):
    """Two passages of five edits and three seeds are 30 fine-tunes, however many may run at once."""
    few = TEXTS._replace(passages=2)
    at_once = lambda n: dataclasses.replace(SETTINGS, inner=dataclasses.replace(SETTINGS.inner, at_once=n))  # noqa: E731
    many, all_ = at_once(999), at_once(30)
    assert sizes.footprint(CONFIG, many, "float32", few) == sizes.footprint(CONFIG, all_, "float32", few)


def test_the_disk_holds_texts_adapters_and_the_export(found):
    """The export is whole, however many devices share the weights."""
    spread = sizes.footprint(CONFIG, SETTINGS, "float32", TEXTS, {"data": 2, "fsdp": 2, "model": 2})
    for each in (found, spread):
        assert each.checkpoint == found.weights
        assert sizes.disk_bytes(each, 0, export=False) == each.texts > 0
        assert sizes.disk_bytes(each, 2, export=True) == 10 * 4 * each.policy_adapter + each.checkpoint + 5 * each.texts


def test_less_is_less(found):
    smaller = dataclasses.replace(
        SETTINGS,
        edits=dataclasses.replace(SETTINGS.edits, rows=2),
        inner=dataclasses.replace(SETTINGS.inner, at_once=4),
        policy=dataclasses.replace(SETTINGS.policy, accumulate=4),
    )
    fewer = sizes.footprint(CONFIG, smaller, "float32", TEXTS).needs
    names = ["writing edits", "the inner loop", "answering", "the policy update"]
    assert [n.name for n in fewer] == names
    assert all(small.about < large.about for small, large in zip(fewer, found.needs))
    assert all(need.sure <= need.about for need in (*fewer, *found.needs))
