"""A served model as grader, against a local server that is slow, fails, and talks nonsense."""

import dataclasses
import email.utils
import json
import logging
import socket
import threading
import time

import pytest
from oracles.chat_server import KEY, dribble, drop, raw, says, slow, status

from seal_jax.evaluation import Case, Client, Endpoint, EndpointError, ReplyCache, Turns, endpoint_grader
from seal_jax.evaluation import endpoint as module
from seal_jax.evaluation.post import seconds_to_wait

QUICK = {"model": "grader-1", "wait": 0.01, "timeout": 5.0, "retries": 2}


def case(number, answer=None):
    return Case(f"Topic: T{number}\nWho?", f"gold {number}", f"answer {number}" if answer is None else answer)


CASES = [case(number) for number in range(6)]


def grader(server, cache=None, **settings):
    return endpoint_grader(Endpoint(url=server.url, **{**QUICK, **settings}), cache)


def by_number(**replies):
    """Replies by the number of the case in the prompt; others say yes."""

    def act(body):
        asked = body["messages"][-1]["content"]
        return next((reply for name, reply in replies.items() if f"gold {name[1:]}" in asked), says("yes"))

    return act


def test_verdicts_in_order_and_what_is_sent(serve):
    server = serve(by_number(c1=says("No."), c2=says("yes, no"), c3=slow(0.2, says("The answer is Yes"))))
    assert grader(server)(CASES) == [True, False, False, True, True, True]
    assert {r["path"] for r in server.requests} == {"/v1/chat/completions"}
    first = server.requests[0]
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("grader-1", 0.0, 16)
    assert [m["role"] for m in first["messages"]] == ["system", "user"]
    for text in CASES[0]:
        assert text in first["messages"][1]["content"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_empty_answers_are_wrong_and_equal_cases_asked_once(serve):
    server = serve(by_number())
    grade = grader(server)
    assert grade([case(0, " \n"), case(1), case(1, " answer 1\n"), case(1)]) == [False, True, True, True]
    assert grade([case(1), case(0, "")]) == [True, False]
    assert len(server.requests) == 1
    assert grade([]) == []


@pytest.mark.parametrize(
    "nonsense",
    [
        raw(b"<html>busy</html>"),
        raw(b""),
        raw(b"[]"),
        raw(b"[" * 200_000),
        raw(b'{"choices": []}'),
        raw(b'{"choices": [{"message": {"content": null}}]}'),
        raw(b'{"error": {"message": "overloaded"}}'),
        status(500),
        status(503, b"\xff\xfe"),
        status(429),
        status(500, b'{"error": {"message": ' + b"[" * 200_000),
        drop,
        slow(0.6, says("yes")),
        dribble(5),
        dribble(5, headers=True),
    ],
)
def test_a_request_that_always_fails_is_ungraded(serve, nonsense, tmp_path, caplog):
    server = serve(by_number(c1=nonsense))
    started = time.monotonic()
    assert grader(server, tmp_path / "c.jsonl", timeout=0.3)(CASES[:3]) == [True, None, True]
    assert time.monotonic() - started < 4
    asked = [r for r in server.requests if "gold 1" in r["messages"][1]["content"]]
    assert len(asked) == 3  # once, and two retries
    assert "1 of 3 requests have no reply. The last failure: " in caplog.text
    # The failure is not remembered, on disk or in the grader.
    server._act = by_number(c1=says("no"))
    assert grader(server, tmp_path / "c.jsonl")(CASES[:3]) == [True, False, True]
    assert len(server.requests) == 6


@pytest.mark.parametrize("reply", ["I would rather not say.", "", "yesterday", "ja"])
def test_a_reply_without_a_verdict_is_ungraded(serve, reply, tmp_path):
    server = serve(by_number(c0=says(reply)))
    grade = grader(server, tmp_path / "c.jsonl")
    assert grade(CASES[:2]) == [None, True]
    assert len(server.requests) == 2  # it came, so it is not asked for again
    server._act = by_number(c0=says("No"))
    assert grade(CASES[:2]) == [False, True]
    assert len(server.requests) == 3


def test_failures_that_pass(serve):
    server = serve([status(500), drop, says("yes")])
    assert grader(server)(CASES[:1]) == [True]
    assert len(server.requests) == 3


def test_the_server_says_when_to_come_back(serve):
    server = serve([status(429, Retry_After="0.5"), says("yes")])
    started = time.monotonic()
    assert grader(server)(CASES[:1]) == [True]
    assert 0.5 <= time.monotonic() - started < 2


def test_retry_after(monkeypatch):
    soon = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert seconds_to_wait(soon) == pytest.approx(30, abs=2)
    said = {"7": 7.0, " 1.5 ": 1.5, "-3": 0.0, "nan": 0.0, "inf": 0.0, "soon": 0.0, "": 0.0}
    assert {text: seconds_to_wait(text) for text in said} == said
    assert seconds_to_wait(None) == 0.0
    assert seconds_to_wait(email.utils.formatdate(0)) == 0.0


def test_a_long_pause_is_cut_short(serve, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
    server = serve([status(503, Retry_After="3600"), says("yes")])
    started = time.monotonic()
    assert grader(server)(CASES[:1]) == [True]
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("code", [301, 400, 401, 402, 403, 404, 405, 422])
def test_a_refusal_is_one_error_before_anything_is_graded(serve, code):
    server = serve(lambda body: status(code, Location="http://127.0.0.1:9/elsewhere"))
    with pytest.raises(EndpointError, match=rf"{server.url} refuses requests for model 'grader-1': status {code}"):
        grader(server)([case(n) for n in range(100)])
    # Not sent again, not followed; what may be about the one case is tried with a few others, far from each other.
    asked = [r["messages"][1]["content"].split("gold ")[1].split()[0] for r in server.requests]
    assert asked == (["0", "25", "50", "75"] if code in (400, 405, 422) else ["0"])


def test_a_request_refused_for_its_content_is_ungraded(serve):
    """A content filter says 400 to one question, be it the first; a key that is revoked ends the work."""
    for filtered in ("c3", "c0"):
        server = serve(by_number(**{filtered: status(400)}))
        assert grader(server)(CASES) == [None if f"c{n}" == filtered else True for n in range(6)]
        assert len(server.requests) == 6
    server = serve(by_number(c3=status(401)))
    with pytest.raises(EndpointError, match="status 401 Unauthorized: because of 401"):
        grader(server)(CASES)
    server = serve(by_number(c0=status(400), c1=status(500)))
    assert grader(server)(CASES[:3]) == [None, None, True]
    server = serve(lambda body: status(400))
    with pytest.raises(EndpointError, match="status 400"):
        grader(server)(CASES[:2])
    assert len(server.requests) == 2


def test_a_server_that_has_answered_before_ends_no_run_by_a_400(serve, tmp_path):
    """A later stage, or process, makes a new grader; what it asks may be nothing but the one refused case."""
    server = serve(by_number(c1=status(400)))
    assert grader(server, tmp_path / "c")(CASES[:1]) == [True]
    for _ in range(2):
        assert grader(server, tmp_path / "c")(CASES[1:2]) == [None]
    # Replies to other settings prove nothing: the server may not know these.
    for other in ({"model": "grader-2"}, {"reasoning": True}):
        with pytest.raises(EndpointError, match="status 400"):
            grader(server, tmp_path / "c", **other)(CASES[1:2])


def test_no_server_is_one_error():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(EndpointError, match=rf"127\.0\.0\.1:{port}/v1 cannot be reached: no answer: .*refused"):
        endpoint_grader(Endpoint(url=f"http://127.0.0.1:{port}/v1", **QUICK))(CASES)
    with pytest.raises(EndpointError, match="cannot be reached"):
        endpoint_grader(Endpoint(url="http://no-such-host.invalid/v1", **QUICK))(CASES)


def test_at_most_so_many_at_once(serve):
    server = serve(lambda body: slow(0.15, says("yes")))
    started = time.monotonic()
    assert grader(server, concurrency=4)([case(n) for n in range(41)]) == [True] * 41
    spent = time.monotonic() - started
    assert server.most == 4
    assert 0.15 * (1 + 10) <= spent < 0.15 * 41  # the first alone, forty by fours


def test_a_server_that_is_down_is_not_asked_for_ever(serve, caplog):
    server = serve(lambda body: status(500))
    grade = grader(server, retries=1, concurrency=2)
    assert grade([case(n) for n in range(200)]) == [None] * 200
    assert len(server.requests) <= 2 * (8 + 2)  # eight that failed to the end, and what was under way
    assert "200 of 200 requests have no reply. The last failure: status 500" in caplog.text
    server._act = by_number()
    assert grade(CASES) == [True] * 6  # the next batch tries again


def test_the_cache_outlives_the_process_and_a_torn_line(serve, tmp_path):
    path = tmp_path / "folder" / "c.jsonl"
    server = serve(by_number(c1=says("no")))
    assert grader(server, path)(CASES[:3]) == [True, False, True]
    with path.open("ab") as handle:
        handle.write(b'{"request": "abc", "rep')  # killed while it wrote
    assert grader(server, path)(CASES[:4]) == [True, False, True, True]
    assert len(server.requests) == 4
    assert grader(server, path)(CASES[:4]) == [True, False, True, True]
    assert len(server.requests) == 4
    # Another model, another prompt or another address is another request.
    grader(server, path, model="grader-2")(CASES[:1])
    grader(server, path)([case(0, "else")])
    assert len(server.requests) == 6
    lines = path.read_text().splitlines()
    whole = [line for line in lines if line.endswith('"}')]
    assert len({json.loads(line)["request"] for line in whole}) == len(whole) == 6
    assert len(lines) == 7  # and the torn one; none is empty


def test_what_is_done_is_kept_when_the_work_ends_in_an_error(serve, tmp_path):
    server = serve(by_number(c5=slow(0.3, status(401))))
    with pytest.raises(EndpointError):
        grader(server, tmp_path / "c")(CASES)
    server._act = by_number()
    assert grader(server, tmp_path / "c")(CASES) == [True] * 6
    assert len(server.requests) == 7


def test_damaged_cache_lines_are_passed_over(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        b'{"request": "a", "reply": "yes"}\nnull\n[1]\n\xff\n{"request": "b", "reply": 3}\n{"request": "c"}\n'
        + b"[" * 200_000
        + b"\n"
    )
    cache = ReplyCache(path)
    assert [cache.get(key) for key in "abc"] == ["yes", None, None]
    cache.add("d", "\ud83d n\u00e9")
    again = ReplyCache(path)
    assert (again.get("a"), again.get("d")) == ("yes", "\ud83d n\u00e9")


def test_the_key_shows_nowhere(serve, tmp_path, caplog, capfd, monkeypatch):
    """Not even where a server sends it back."""
    caplog.set_level(logging.DEBUG)
    leaks = {"error": {"message": f"bad header Bearer {KEY}"}}
    endpoint = Endpoint(url="http://x/v1", **QUICK)
    server = serve(by_number(c0=says(f"yes {KEY}"), c1=status(500, leaks), c2=raw(f"no json {KEY}".encode())))
    assert grader(server, tmp_path / "c.jsonl")(CASES[:3]) == [True, None, None]
    server = serve(lambda body: status(401, leaks))
    with pytest.raises(EndpointError, match=r"401 Unauthorized: bad header Bearer \*\*\*") as caught:
        grader(server)(CASES)
    seen = [
        str(caught.value),
        repr(caught.value),
        repr(endpoint),
        json.dumps(dataclasses.asdict(endpoint), default=str),
    ]
    seen += [caplog.text, (tmp_path / "c.jsonl").read_text(), *capfd.readouterr()]
    assert not [text for text in seen if KEY in text]
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(EndpointError, match="OPENAI_API_KEY does not hold a key") as caught:
        grader(server)
    assert KEY not in str(caught.value)
    monkeypatch.setenv("MY_KEY", f" {KEY}x\n")
    server = serve(by_number())
    grader(server, key_variable="MY_KEY")(CASES[:1])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}x"


@pytest.mark.parametrize("key", [KEY, f'sk-+/="\\{KEY}'])
def test_no_part_of_the_key_shows_where_a_text_is_cut(serve, caplog, monkeypatch, key):
    """What a server says is cut after 200 or 300 characters; here the key lies across the cut."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for start in range(150, 310, 5):
        text = "x" * start + key
        whole = json.dumps({"said": text})
        errors = ({"error": {"message": text}}, {"error": text}, text.encode())
        answers = [*(status(500, error) for error in errors), *map(raw, (text.encode(), whole.encode()))]
        answers.append(raw(whole.replace("/", r"\/").encode()[:-1]))
        server = serve(answers)
        client = Client(Endpoint(url=server.url, **{**QUICK, "retries": 0}))
        for _ in answers:
            assert client.complete([client.endpoint.request(Turns("", "u"), 5, 0.0)]) == [None]
        assert caplog.text.count("The last failure: ") == len(answers)
        assert "sk-" not in caplog.text
        caplog.clear()


def test_without_a_key(serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server = serve([says("yes"), status(401)])
    grade = grader(server)
    assert grade(CASES[:1]) == [True]
    assert "Authorization" not in server.headers[0]
    with pytest.raises(EndpointError, match="the environment variable OPENAI_API_KEY is not set"):
        grade(CASES)


def test_replies_come_as_they_are_ready_in_the_callers_thread(serve):
    server = serve(by_number(c1=slow(0.3, says("one")), c2=says("two")))
    endpoint, heard = Endpoint(url=server.url, **QUICK), []
    requests = [endpoint.request(Turns("", f"gold {n}"), 5, 1.0, 0.9) for n in range(3)]
    found = Client(endpoint).complete(requests, lambda *reply: heard.append((*reply, threading.current_thread())))
    assert found == ["yes", "one", "two"]
    assert [h[:2] for h in heard] == [(0, "yes"), (2, "two"), (1, "one")]
    assert {h[2] for h in heard} == {threading.current_thread()}
    sent = {"messages": [{"role": "user", "content": "gold 0"}], "max_tokens": 5, "temperature": 1.0, "top_p": 0.9}
    assert server.requests[0] == {"path": "/v1/chat/completions", "model": "grader-1", **sent}


def test_an_error_of_the_caller_ends_the_requests(serve):
    server = serve(lambda body: slow(0.1, says("yes")))
    endpoint = Endpoint(url=server.url, **{**QUICK, "concurrency": 2})

    def stop(index, reply):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Client(endpoint).complete([endpoint.request(Turns("", str(n)), 5, 0.0) for n in range(50)], stop)
    assert len(server.requests) <= 4


def test_requests_of_models_that_think():
    endpoint = Endpoint(url="http://x/v1", model="m", reasoning=True)
    assert endpoint.request(Turns("s", "u"), 500, 0.0).keys() == {"model", "messages", "max_completion_tokens"}


def test_addresses():
    for url in ("http://x:1/v1", "http://x:1/v1/", "http://x:1/v1/chat/completions"):
        assert Endpoint(url=url).address == "http://x:1/v1/chat/completions"
    assert Endpoint(url="https://x/a?version=2").address == "https://x/a/chat/completions?version=2"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "localhost:8000"}, "endpoint url 'localhost:8000': use a base URL such as https"),
        ({"url": "ftp://x"}, "use a base URL"),
        ({"url": "http://user:word@x/v1"}, "password in it: put the key into OPENAI_API_KEY"),
        ({"concurrency": 0}, "endpoint concurrency 0: use 1 or more"),
        ({"retries": -1}, "endpoint retries -1: use 0 or more"),
        ({"wait": -1.0}, r"endpoint wait -1\.0: use 0 or more"),
        ({"timeout": 0.0}, r"endpoint timeout 0\.0: use a number above 0"),
        ({"timeout": float("nan")}, "endpoint timeout nan"),
    ],
)
def test_settings(wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        Endpoint(**wrong)
    assert "word@" not in str(caught.value)


def test_an_endpoint_has_an_address_and_a_model():
    with pytest.raises(ValueError, match="needs a url and a model"):
        endpoint_grader(Endpoint(url="http://x/v1"))
