"""What the tests of SEAL's stages share: one tiny random model, small settings and passages of one shape."""

import jax
import micro_study
import pytest

from seal_jax.runtime.files import read_json


@pytest.fixture(scope="session")
def tiny():
    """The model of `micro_study`."""
    return micro_study.model()


@pytest.fixture(scope="session")
def settings():
    """The settings of `micro_study`."""
    return micro_study.SETTINGS


@pytest.fixture(scope="session")
def passages():
    """`passages(count, start=0, asked=2)`."""
    return micro_study.passages


@pytest.fixture(scope="session")
def micro(tmp_path_factory):
    """A study that nothing interrupted: its folder and its result."""
    folder = tmp_path_factory.mktemp("study")
    return folder, read_json(micro_study.run(folder))


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
