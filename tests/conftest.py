"""Settings every test runs under: strict promotion, 8 fake CPU devices, a persistent compilation cache."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
# Threads of XLA:CPU. A fake device blocks one in each collective it waits in, several at a time; with as few as there
# are devices they can all be waiting for a device that has none.
os.environ.setdefault("PJRT_NPROC", "32")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis
import jax
import pytest
from oracles import chat_server

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

# The same examples every time; `--hypothesis-profile=default` looks for more.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of real data beside the checkout. Where SEAL_JAX_REQUIRE_SHARED=1, its absence is a failure."""
    if not SHARED.is_dir():
        message = f"real data is not at {SHARED}"
        if os.environ.get("SEAL_JAX_REQUIRE_SHARED") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return SHARED


@pytest.fixture(autouse=True, scope="module")
def few_compiled_programs():
    """Forget compiled programs before the process runs out of memory maps.

    Every program of XLA:CPU takes several, Linux gives a process 65,530, and the process is aborted at the end of them.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture
def serve(monkeypatch):
    """`serve(act)` starts a chat server that acts so; all are stopped at the end. Its key is in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", chat_server.KEY)
    servers = []

    def start(act):
        servers.append(chat_server.ChatServer(act))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
