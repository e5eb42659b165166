"""The footprint of a SEAL run, against the trees it speaks of."""

import dataclasses

import jax
import pytest

from seal_jax import adapters, models
from seal_jax.seal import sizes
from seal_jax.seal.settings import Edits, Inner, PolicyUpdate, Settings
from seal_jax.seal.settings_sequential import Pretraining, Sequential

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


def test_training_all_weights_is_sixteen_bytes_a_parameter(found):
    full = dataclasses.replace(SETTINGS, inner=dataclasses.replace(SETTINGS.inner, method="full"))
    each = sizes.footprint(CONFIG, full, "float32", TEXTS)
    assert each.inner_adapter == each.parameters == found.parameters
    inner = next(n for n in each.needs if n.name == "the inner loop")
    assert inner.sure == each.weights + 16 * 16 * each.parameters
    assert "--inner.method lora" in inner.advice


def test_pretraining(found):
    lora, trained = sizes.pretraining(CONFIG, Pretraining(rank=8, targets=("all",)), "float32", TEXTS)
    assert trained == found.policy_adapter
    assert lora.sure == max(found.weights + 16 * trained, 2 * found.weights)
    full, trained = sizes.pretraining(CONFIG, Pretraining(method="full"), "float32", TEXTS)
    assert trained == found.parameters
    assert full.sure == found.weights + 16 * trained
    assert full.about > full.sure
    assert "--pretraining.method lora" in full.advice
    axes = {"data": 1, "fsdp": 2, "model": 2}
    assert sizes.pretraining(CONFIG, Pretraining(method="full"), "float32", TEXTS, axes)[0].sure == full.sure // 4


def test_what_sequences_keep(found):
    """Their own kernels where edits are merged, the factors of earlier steps in a stack, nothing in one adapter."""
    need = lambda **how: sizes.sequences(CONFIG, SETTINGS.inner, Sequential(sequences=8, **how), "bfloat16")  # noqa: E731
    one = need(weights="persistent").sure
    assert one == found.weights // 2 + 8 * 16 * found.inner_adapter
    kernels = adapters.select(models.init(jax.random.key(0), CONFIG, dtype="bfloat16"), ("all",))
    assert need(weights="merged").sure == one + 8 * sum(k.nbytes for k in kernels.values())
    assert need(weights="stack", steps=4).sure == one + 8 * 3 * 4 * found.inner_adapter
