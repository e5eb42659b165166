"""What the tests of ARC's stages share: one tiny random model and the texts of its tasks."""

import micro_arc
import pytest

from seal_jax.seal.arc.texts import Texts


@pytest.fixture(scope="session")
def arc_model():
    """The model of `micro_arc`."""
    return micro_arc.model()


@pytest.fixture(scope="session")
def arc_texts(arc_model):
    """The texts of `micro_arc`'s settings."""
    return Texts(arc_model.tokenizer, 512, micro_arc.SETTINGS, micro_arc.SEED)
