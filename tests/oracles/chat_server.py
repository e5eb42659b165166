"""A server of OpenAI's chat completions that does what a test tells it: slow, failing, or talking nonsense."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-very-secret-0123456789"


def says(text):
    """A reply of the model."""
    return lambda server, handler: handler.send(200, {"choices": [{"message": {"role": "assistant", "content": text}}]})


def status(code, body=None, **headers):
    """An HTTP status with an error body."""
    body = {"error": {"message": f"because of {code}"}} if body is None else body
    return lambda server, handler: handler.send(code, body, headers)


def fails_at_first(then):
    """`act` for a server that fails on whatever it is asked for the first time."""
    seen = set()

    def act(body):
        asked = json.dumps(body["messages"])
        if asked in seen:
            return then
        seen.add(asked)
        return status(500)

    return act


def raw(data):
    """Status 200 with these bytes."""
    return lambda server, handler: handler.send(200, data)


def drop(server, handler):
    """Close the connection without a word."""
    handler.connection.close()


def slow(seconds, then):
    """Do something else after some seconds."""

    def act(server, handler):
        time.sleep(seconds)
        then(server, handler)

    return act


def dribble(seconds, headers=False):
    """A byte every now and then, of the body or of a header, which no timeout of a single step notices."""

    def act(server, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        if headers:
            handler.flush_headers()
            handler.wfile.write(b"X-Long:")
        else:
            handler.end_headers()
        for _ in range(int(seconds / 0.05)):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    return act


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the default of 5, the system resets connections that come at once


class ChatServer:
    """`act(body)` chooses what to do with a request; a list of actions is gone through, the last one again and again.

    requests: bodies in order of arrival; headers: theirs; most: the most that were under way at once, each until its
    reply leaves (the client may ask again before this thread has ended).
    """

    def __init__(self, act):
        self.requests, self.headers, self.most, self._now = [], [], 0, 0
        self._lock, self._act = threading.Lock(), act
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _choose(self, body):
        if callable(self._act):
            return self._act(body)
        return self._act[min(len(self.requests), len(self._act)) - 1]

    def _handler(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.requests.append({"path": self.path, **body})
                    outer.headers.append(dict(self.headers))
                    act = outer._choose(body)
                    self.under_way = True
                    outer._now += 1
                    outer.most = max(outer.most, outer._now)
                try:
                    act(outer, self)
                except OSError:
                    pass  # the client has gone
                finally:
                    self.leave()

            def leave(self):
                with outer._lock:
                    outer._now -= self.under_way
                    self.under_way = False

            def do_GET(self):
                with outer._lock:
                    outer.requests.append({"path": self.path, "method": "GET"})
                    outer.headers.append(dict(self.headers))

            def send(self, code, body, headers=()):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(code)
                for name, value in dict(headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.leave()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler
