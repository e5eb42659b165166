"""A served model: any endpoint that speaks OpenAI's chat completions, asked many things at once.

A request that fails is sent again a bounded number of times, and one that fails to the end has no reply, which callers
report. An endpoint that refuses (a wrong key, an unknown model) or that is not there ends the work with one error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import random
import threading
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from seal_jax.evaluation.grading import Case, Grader
from seal_jax.evaluation.judge import judge, judge_turns, read_verdict
from seal_jax.evaluation.post import FailedError, RefusedError, post_json
from seal_jax.evaluation.reply_cache import ReplyCache, request_hash
from seal_jax.evaluation.templates import Turns

logger = logging.getLogger(__name__)

LONGEST_WAIT = 60.0
"""Seconds; a server that asks for a longer pause is asked again after this one."""
_PROBES = 4
"""Requests that a server may refuse before it is one error, where it has never answered any."""
_NEVER = (401, 402, 403, 404)  # what one request is refused for, all are; and so with redirects


class EndpointError(ValueError):
    """The endpoint cannot be used as it is set up: it is not there, or refuses the key, the model or the request."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where a model is served and how it is asked. A request takes at most (retries + 1) x 2 x timeout seconds, and
    the waits between."""

    url: str = ""
    """Base URL of an OpenAI-compatible server, such as "https://api.openai.com/v1" or "http://localhost:8000/v1"."""
    model: str = ""
    """The name of the model there."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; a server without keys needs none. The key itself is never stored."""
    concurrency: int = 8
    """Requests under way at once."""
    timeout: float = 60.0
    """Seconds after which a request has failed."""
    retries: int = 5
    """How often a failed request is sent again."""
    wait: float = 1.0
    """Seconds before the first repetition; twice as long before each further one, up to 60, or as the server asks."""
    reasoning: bool = False
    """The model thinks before it answers and takes max_completion_tokens, and no temperature (OpenAI's o-series)."""
    cache: pathlib.Path | None = None
    """A file that keeps the grades of several runs; by default each run keeps its own."""

    def __post_init__(self) -> None:
        for field, least in (("concurrency", 1), ("retries", 0), ("wait", 0)):
            if not getattr(self, field) >= least:
                raise ValueError(f"endpoint {field} {getattr(self, field)}: use {least} or more")
        if not 0 < self.timeout < float("inf"):
            raise ValueError(f"endpoint timeout {self.timeout}: use a number above 0")
        parts = urllib.parse.urlsplit(self.url)
        if self.url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(f"endpoint url {self.url!r}: use a base URL such as https://api.openai.com/v1")
        if parts.username or parts.password:
            raise ValueError(f"endpoint url with a password in it: put the key into {self.key_variable} instead")

    @property
    def address(self) -> str:
        """The URL that requests go to."""
        parts = urllib.parse.urlsplit(self.url)
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        return parts._replace(path=f"{path}/chat/completions", fragment="").geturl()

    def request(self, turns: Turns, max_tokens: int, temperature: float, top_p: float = 1.0) -> dict[str, Any]:
        """The body of a request for one reply."""
        asked: dict[str, Any] = {"model": self.model, "messages": turns.messages()}
        if self.reasoning:
            return {**asked, "max_completion_tokens": max_tokens}
        sampling = {"temperature": temperature} | ({"top_p": top_p} if top_p < 1 else {})
        return {**asked, "max_tokens": max_tokens, **sampling}


class Client:
    """Sends requests to an endpoint. Raises ValueError without a URL or a model.

    answered: whether the endpoint has answered such requests before, in another process say; a cache knows it itself.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache | None = None, answered: bool = False) -> None:
        if not endpoint.url or not endpoint.model:
            raise ValueError("an endpoint needs a url and a model")
        self.endpoint = endpoint
        self._cache = cache
        self._key = _key(endpoint.key_variable)
        self._lock = threading.Lock()
        self._reached = False  # ever
        self._answered = answered
        self._first_alone = True
        self._failed_in_a_row = self._refused = 0
        self._many = 2 * max(4, endpoint.concurrency)
        self._enough = _PROBES
        self._reason = ""

    def complete(
        self,
        requests: Sequence[Mapping[str, Any]],
        on_reply: Callable[[int, str], None] | None = None,
        keep: Callable[[str], bool] = bool,
    ) -> list[str | None]:
        """The reply to each request, in order; None where there is none after all retries (a warning tells how many).

        on_reply: called in this thread with (index, reply) as they come in any order. keep: which replies are worth
        the cache. The first request of a client goes alone, so that an endpoint that cannot be used is asked once. If
        that is refused for what it holds, it has no reply, and so with any other; but an endpoint that has answered
        nothing yet and refuses a few, far from each other in order, cannot be used. Where many requests in a row have
        failed to the end, the rest are not sent. Raises EndpointError.
        """
        found: dict[int, str] = {}
        for index, reply in self._replies(requests, keep):
            found[index] = reply
            if on_reply:
                on_reply(index, reply)
        lost = len(requests) - len(found)
        if lost:
            said = "%s: %d of %d requests have no reply. The last failure: %s"
            logger.warning(said, self.endpoint.url, lost, len(requests), self._reason)
        return [found.get(index) for index in range(len(requests))]

    def _replies(self, requests: Sequence[Mapping[str, Any]], keep: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
        where = {"url": self.endpoint.address}
        keys = [request_hash({**where, **request}) for request in requests]
        how = [request_hash({**where, **{k: v for k, v in r.items() if k != "messages"}}) for r in requests]
        known = {i: self._cache.get(key) for i, key in enumerate(keys)} if self._cache else {}
        yield from ((i, reply) for i, reply in known.items() if reply is not None)
        missing = [i for i in range(len(requests)) if known.get(i) is None]
        self._answered |= self._cache is not None and any(map(self._cache.answered, how))
        for part in self._parts(missing):
            with contextlib.closing(self._at_once({i: requests[i] for i in part})) as replies:
                for index, reply in replies:
                    if self._cache and keep(reply):
                        self._cache.add(keys[index], reply, how[index])
                    yield index, reply

    def _parts(self, indices: Sequence[int]) -> Iterator[Sequence[int]]:
        """What to send at once: one alone, a few more as long as they are refused, then the rest."""
        self._refused, self._enough = 0, min(_PROBES, len(indices))
        spread = indices[:: max(1, len(indices) // _PROBES)][:_PROBES] if self._first_alone else ()
        for sent, index in enumerate(spread):
            if sent and (self._answered or self._refused < sent):
                spread = spread[:sent]
                break
            yield [index]
        self._enough = self._many
        yield [i for i in indices if i not in spread]

    def _at_once(self, requests: Mapping[int, Mapping[str, Any]]) -> Generator[tuple[int, str]]:
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        try:
            sent = {pool.submit(self._ask, request, stop): index for index, request in requests.items()}
            for future in as_completed(sent):
                reply = future.result()
                if reply is not None:
                    yield sent[future], reply
        finally:  # an error, or Ctrl-C, waits for what is under way and for nothing else
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _ask(self, request: Mapping[str, Any], stop: threading.Event) -> str | None:
        """One reply, or None if every attempt failed; `stop` ends the attempts."""
        reached = False
        for attempt in range(self.endpoint.retries + 1):
            if stop.is_set():
                return None
            try:
                reply = self._attempt(request)
            except FailedError as error:
                reached |= error.reached
                self._note(error)
                if attempt < self.endpoint.retries:
                    pause = self.endpoint.wait * 2**attempt * random.uniform(0.5, 1.0)
                    stop.wait(min(max(pause, error.wait), LONGEST_WAIT))
            except RefusedError as error:
                self._note(error)
                if error.status in _NEVER or error.status < 400 or self._refused >= self._enough:
                    raise EndpointError(self._refusal(error)) from None
                return None
            else:
                self._note(None)
                return reply
        self._gave_up(stop, reached)
        return None

    def _attempt(self, request: Mapping[str, Any]) -> str:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        body = json.dumps(request).encode()
        data = post_json(self.endpoint.address, body, headers, self.endpoint.timeout, self._without_key)
        try:
            reply = data["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            reply = None
        if not isinstance(reply, str):
            said = self._without_key(json.dumps(data))[:200]
            raise FailedError(f"the answer has no choices[0].message.content: {said}")
        return self._without_key(reply)

    def _note(self, failure: FailedError | RefusedError | None) -> None:
        with self._lock:
            self._reached |= failure is None or isinstance(failure, RefusedError) or failure.reached
            if failure is None:
                self._answered, self._first_alone, self._failed_in_a_row, self._refused = True, False, 0, 0
            else:
                self._refused += isinstance(failure, RefusedError) and not self._answered
                self._reason = self._without_key(str(failure))

    def _gave_up(self, stop: threading.Event, reached: bool) -> None:
        """Count a request that failed to the end; raise if there is no server, stop the others if there are many."""
        if not reached and not self._reached:
            raise EndpointError(f"{self.endpoint.url} cannot be reached: {self._reason}")
        with self._lock:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= self._many:
                self._failed_in_a_row, self._first_alone = 0, True
                stop.set()

    def _refusal(self, error: RefusedError) -> str:
        about = f"{self.endpoint.url} refuses requests for model {self.endpoint.model!r}: "
        hint = f" (the environment variable {self.endpoint.key_variable} is not set)" if not self._key else ""
        return about + self._without_key(str(error)) + (hint if error.status in (401, 403) else "")

    def _without_key(self, text: str) -> str:
        quoted = json.dumps(self._key)[1:-1]
        for form in (self._key, quoted, quoted.replace("/", r"\/")) if self._key else ():
            text = text.replace(form, "***")
        return text


def _key(variable: str) -> str:
    """The key, or "" for none. Raises EndpointError, which does not show it, for what cannot be one."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or any(c.isspace() or not c.isprintable() for c in key):
        raise EndpointError(f"the environment variable {variable} does not hold a key: it has spaces or odd characters")
    return key


def endpoint_grader(
    endpoint: Endpoint, cache: str | os.PathLike[str] | None = None, template: str = "judge", max_tokens: int = 16
) -> Grader:
    """The grader that asks a served model, greedily. cache: a file for its verdicts, used if `endpoint.cache` is None.

    template: as in `judge_turns`. max_tokens: of a reply. A case is ungraded if its request fails to the end or the
    reply says neither yes nor no; neither is cached. Raises ValueError for a template that is none, and
    EndpointError as it grades.
    """
    judge_turns((), template)  # a template that is none is told before any work
    client = Client(endpoint, ReplyCache(endpoint.cache or cache))

    def ask(cases: Sequence[Case]) -> list[str | None]:
        requests = [endpoint.request(turns, max_tokens, 0.0) for turns in judge_turns(cases, template)]
        return client.complete(requests, keep=lambda reply: read_verdict(reply) is not None)

    return judge(ask)
