"""What the tests of SEAL's stages share: one tiny random model, small settings and passages of one shape."""

import jax
import numpy as np
import pytest

from seal_jax import models
from seal_jax.data.squad import Passage
from seal_jax.data.worlds import biographies, tokenizer
from seal_jax.data.worlds.vocabulary import ATTRIBUTES
from seal_jax.seal.settings import Answering, Edits, Inner, PolicyUpdate, Settings

TINY = Settings(
    edits=Edits(kind="plain", count=2, top_p=1.0, max_new_tokens=8, rows=4),
    inner=Inner(rank=2, alpha=8.0, learning_rate=1e-2, epochs=2, at_once=4),
    answering=Answering(template="plain", max_new_tokens=4),
    policy=PolicyUpdate(rank=2, alpha=4.0, targets=("q_proj", "v_proj"), learning_rate=1e-2, epochs=2, batch_size=2),
    reward="loglik",
    seeds=1,
)


@pytest.fixture(scope="session")
def tiny():
    """A random Llama of two layers of 32 with the tokenizer of the worlds."""
    tok = tokenizer.build()
    config = models.Config("llama", len(tok), 32, 48, 2, 4, 2, 8, 512, eos_token_ids=(tok.eos_token_id,))
    # Larger weights than a fresh model's, so that answers are no near-ties.
    params = jax.tree.map(lambda x: x if np.all(x == 1) else 6 * x, models.init(jax.random.key(0), config))
    return models.Model(config, params, tok)


@pytest.fixture(scope="session")
def settings():
    return TINY


@pytest.fixture(scope="session")
def passages():
    """`passages(n, start=0, asked=2)`: people of two facts in fixed phrasings, so all have 18 tokens or so."""

    def one(name, asked):
        who = biographies.person(name)
        facts = [a.statements[0].format(n=name, v=v) for a, v in zip(ATTRIBUTES[1:3], who.values[1:3])]
        rng = np.random.default_rng(0)
        questions = tuple(biographies.question(who, 1 + i, rng) for i in range(asked))
        return Passage(name, " ".join(facts), questions)

    return lambda n, start=0, asked=2: [one(name, asked) for name in biographies.names("dev")[start : start + n]]


@pytest.fixture
def compilations():
    """A context manager that names the programs XLA compiles (or reads from its disk cache) inside it."""
    return _Compilations


class _Compilations:
    def __init__(self):
        self.names = []

    def __enter__(self):
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *_):
        jax.monitoring.unregister_event_duration_listener(self._heard)

    def _heard(self, event, duration, **about):
        if event.endswith("backend_compile_duration"):
            self.names.append(about.get("fun_name"))
