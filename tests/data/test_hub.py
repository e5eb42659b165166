"""A hub that does not answer is told soon; one that does, with whatever, is used. No network but this machine's own."""

import contextlib
import http.server
import socket
import threading
import time

import datasets
import huggingface_hub
import pytest

from seal_jax.data.benchmarks import gsm8k, hub


class Refuses(http.server.BaseHTTPRequestHandler):
    """Answers everything with 404, and counts."""

    asked = 0

    def do_HEAD(self):
        type(self).asked += 1
        self.send_error(404)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def server():
    Refuses.asked = 0
    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def online(monkeypatch):
    """Offline mode, which is on for all tests, off; returns what sets the hub's address."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "PAUSE_SECONDS", 0.0)
    return lambda address: monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)


def offline():
    return huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE


def test_a_hub_out_of_reach_is_told_at_once(online):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    online(address)  # nothing listens there any more
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"'nobody/nothing' is no .*, {address} does not answer .*refused.*; give"):
        gsm8k.load("nobody/nothing")
    assert time.monotonic() - start < 10  # the client's own retries take 23 s for a file
    assert offline() == (False, False)


def test_a_hub_that_never_answers_is_waited_for_as_long_as_its_setting_says(online, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        online(f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with hub.reached() as reason:
            assert "does not answer" in reason
            assert offline() == (True, True)
        assert 0.2 * hub.ATTEMPTS <= time.monotonic() - start < 5


def test_a_hub_that_answers_is_used(online):
    with server() as address:
        online(address)
        with hub.reached() as reason:
            assert (reason, offline()) == ("", (False, False))
        assert Refuses.asked == 1


def test_who_is_offline_already_does_not_ask(online, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with server() as address:
        online(address)
        with hub.reached() as reason:
            assert reason == "offline mode is on (HF_HUB_OFFLINE)"
        assert Refuses.asked == 0
    assert offline() == (False, True)
