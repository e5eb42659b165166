"""One HTTP request with a JSON answer, and what its failure means: try again, or not."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import io
import json
import math
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

MOST_BYTES = 16 * 2**20
"""Of an answer; a longer one is not read to its end."""
_AGAIN = (408, 409, 425, 429)
Clean = Callable[[str], str]
_UNREACHABLE = (socket.gaierror, ConnectionRefusedError, ssl.SSLError)


class FailedError(Exception):
    """A request that may succeed when it is sent again.

    reached: whether a server was there at all; wait: seconds that it asked to be left alone, 0 if it did not say.
    """

    def __init__(self, reason: str, reached: bool = True, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reached, self.wait = reached, wait


class RefusedError(Exception):
    """A request that the server will not have, however often it is sent; status: of HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, and carry its key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Until(io.RawIOBase):
    """What a socket says until a deadline: a timeout of the socket alone begins anew with each byte."""

    def __init__(self, raw: Any, sock: socket.socket) -> None:
        self._raw, self._sock = raw, sock
        self._deadline = time.monotonic() + (sock.gettimeout() or math.inf)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(None if left == math.inf else left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Until(self.fp.detach(), sock))


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


_opener = urllib.request.build_opener(_NoRedirect, _Http, _Https)


def post_json(url: str, body: bytes, headers: Mapping[str, str], timeout: float, clean: Clean = str) -> Any:
    """The JSON answer to a POST; timeout in seconds, of each step to send it and of the whole answer.

    clean: what strikes secrets out of a text; what an error says of an answer goes through it before it is cut short.
    Raises FailedError for timeouts, connections that cannot be made or break, the statuses 408, 409, 425, 429 and 5xx,
    and answers that are no JSON; RefusedError for any other status but success, redirects included.
    """
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    try:
        with _opener.open(request, timeout=timeout) as response:
            text = _read(response)
    except urllib.error.HTTPError as error:
        raise _of_status(error, clean) from None
    except (OSError, http.client.HTTPException) as error:  # a URLError is an OSError that holds another
        cause = getattr(error, "reason", error)
        words = str(cause) or type(cause).__name__
        raise FailedError(f"no answer: {words}", reached=not isinstance(cause, _UNREACHABLE)) from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise FailedError(f"the answer is not JSON: {clean(text)[:200]!r}") from None


def _read(response: Any, most: int = MOST_BYTES) -> str:
    data = bytearray()
    while chunk := response.read1(1 << 16):
        data += chunk
        if len(data) > most:
            raise FailedError(f"the answer is longer than {most} bytes")
    return data.decode("utf-8", "replace")


def _of_status(error: urllib.error.HTTPError, clean: Clean) -> FailedError | RefusedError:
    with error:
        try:
            said = _read(error.fp)
        except (OSError, http.client.HTTPException, FailedError):
            said = ""
    place = error.headers.get("Location") if 300 <= error.code < 400 else None
    reason = f"status {error.code} {error.reason}" + (f", moved to {place}" if place else "")
    reason += f": {_message(said, clean)}" if said.strip() else ""
    if error.code in _AGAIN or error.code >= 500:
        return FailedError(reason, wait=seconds_to_wait(error.headers.get("Retry-After")))
    return RefusedError(error.code, reason)


def _message(text: str, clean: Clean) -> str:
    """The words of an error in the format of OpenAI, or the beginning of whatever was sent."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        text = json.loads(text)["error"]["message"]
    return " ".join(clean(str(text)).split())[:300]


def seconds_to_wait(header: str | None) -> float:
    """Seconds from now that a Retry-After header asks for: a number, or a date; 0 for none and for nonsense."""
    try:
        seconds = float(header or 0)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(str(header)).timestamp() - time.time()
        except ValueError:
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
