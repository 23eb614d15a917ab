"""HTTP over real sockets: what is sent, what comes back, and what is never done behind our back.

What holds for libcurl as well runs by both ways.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.transports.endpoint import OK, Behaviour, Endpoint, Visit, answers, answers_once
from tests.transports.ways import PostTo, each_http
from worker.transports.curl.posts import CurlTransport
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport
from worker.transports.http_response import MOST_BODY

SECRET = "hunter2-hunter2"
HEADERS = {"Authorization": f"Splunk {SECRET}", "Content-Type": "application/json"}


def test_a_post_arrives_as_it_was_given(transport: HttpTransport | CurlTransport) -> None:
    """Path, headers and body go out as they are, with a length, and nothing compressed is asked for."""
    body = b'{"event": "\xc3\xa4"}' * 20_000
    with Endpoint(answers()) as endpoint:
        reply = transport.post(endpoint.url(path="/services/collector/event?a=b"), HEADERS, body, 10)

    head, _, received = endpoint.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /services/collector/event?a=b HTTP/1.1"
    assert sorted(lines[1:]) == [
        "Accept-Encoding: identity",
        f"Authorization: Splunk {SECRET}",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
        f"Host: 127.0.0.1:{endpoint.port}",
        "User-Agent: mitrity-siem-worker",
    ]
    assert received == body
    assert (reply.status, reply.body) == (200, b'{"code": 0}')


def test_a_get_has_no_body(sockets: HttpTransport) -> None:
    """A doctor asks for the health of a collector."""
    with Endpoint(answers()) as endpoint:
        assert sockets.get(endpoint.url(path="/services/collector/health"), {}, 10).status == 200
    assert b"Content-Length" not in endpoint.requests[0]


def test_header_names_of_a_reply_are_found_in_any_case(transport: HttpTransport | CurlTransport) -> None:
    """A verdict asks for `retry-after` and does not care how the other side spells it."""
    reply = b"HTTP/1.1 503 Busy\r\nRETRY-AFTER: 7\r\nContent-Length: 0\r\n\r\n"
    with Endpoint(answers(reply)) as endpoint:
        assert transport.post(endpoint.url(), {}, b"", 10).headers["retry-after"] == "7"


@each_http
def test_every_status_is_a_reply(guard: Guard, posting_to: PostTo) -> None:
    """Nothing is followed, authenticated or retried here: one request, and its status is for the verdict."""
    for status in (200, 204, 301, 302, 303, 307, 308, 400, 401, 403, 407, 413, 429, 500, 503):
        with Endpoint(answers()) as elsewhere:
            lines = [
                f"HTTP/1.1 {status} Whatever",
                f"Location: {elsewhere.url()}",
                "Retry-After: 0",
                "WWW-Authenticate: Basic",
                "Proxy-Authenticate: Basic",
                *([] if status == 204 else ["Content-Length: 0"]),
            ]
            reply = "\r\n".join([*lines, "", ""]).encode()
            with Endpoint(answers(reply)) as endpoint, posting_to(guard, endpoint.url(), HEADERS) as post:
                assert post(b"x").status == status
            assert len(endpoint.requests) == 1, status
            assert elsewhere.accepted == 0, status


@each_http
def test_proxies_of_the_environment_are_ignored(
    guard: Guard, posting_to: PostTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would dial for us, past the guard."""
    with Endpoint(answers()) as proxy, Endpoint(answers()) as endpoint:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        with posting_to(guard, endpoint.url()) as post:
            post(b"x")

        assert proxy.accepted == 0
        assert endpoint.accepted == 1


@each_http
def test_netrc_is_ignored(
    guard: Guard, posting_to: PostTo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Credentials of the account that runs the worker are sent to no destination."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with Endpoint(answers()) as endpoint, posting_to(guard, endpoint.url()) as post:
        post(b"x")

    assert b"Authorization" not in endpoint.requests[0]


def test_cookies_are_not_kept(transport: HttpTransport | CurlTransport) -> None:
    """What one reply sets, the next request does not send."""
    reply = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")
    with Endpoint(answers(reply)) as endpoint:
        transport.post(endpoint.url(), {}, b"x", 10)
        transport.post(endpoint.url(), {}, b"x", 10)

    assert b"Cookie" not in endpoint.requests[1]


def _chunked(size: int) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size))


def _measured(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size))


@pytest.mark.parametrize("framed", [_chunked, _measured])
def test_a_body_is_read_up_to_the_cap(
    transport: HttpTransport | CurlTransport, framed: Callable[[int], bytes]
) -> None:
    """At the cap the body is whole and its connection stays; what lies beyond is dropped with it."""
    with Endpoint(answers(framed(MOST_BODY))) as endpoint:
        replies = [transport.post(endpoint.url(), {}, b"x", 10) for _ in range(2)]
        assert [len(reply.body) for reply in replies] == [MOST_BODY, MOST_BODY]
        assert endpoint.accepted == 1

    with Endpoint(answers(framed(1_000_000))) as endpoint:
        replies = [transport.post(endpoint.url(), {}, b"x", 10) for _ in range(2)]
        assert [len(reply.body) for reply in replies] == [MOST_BODY, MOST_BODY]
        assert endpoint.accepted == 2


def test_connections_are_kept(transport: HttpTransport | CurlTransport) -> None:
    """Request after request goes over one connection."""
    with Endpoint(answers()) as endpoint:
        for _ in range(20):
            transport.post(endpoint.url(), HEADERS, b"x", 10)

        assert endpoint.accepted == 1


def test_threads_share_a_transport(transport: HttpTransport | CurlTransport) -> None:
    """Each thread gets its own reply, also when there are more threads than kept connections."""
    echo = _echoing()
    heard: list[tuple[int, bytes]] = []

    def work(number: int) -> None:
        for _ in range(10):
            heard.append((number, transport.post(endpoint.url(), {}, b"%06d" % number, 10).body))  # noqa: PERF401 - all threads append

    with Endpoint(echo) as endpoint:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(heard) == 80
    assert all(body == b"%06d" % number for number, body in heard)


def _echoing() -> Behaviour:
    def behave(visit: Visit) -> None:
        while request := visit.request():
            visit.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + request[-6:])

    return behave


@each_http
def test_a_connection_closed_while_idle_is_replaced(guard: Guard, posting_to: PostTo) -> None:
    """A server that tires of an idle connection costs a new one, not an error."""
    with Endpoint(answers_once()) as endpoint, posting_to(guard, endpoint.url()) as post:
        for number in range(1, 4):
            assert post(b"x").status == 200
            assert endpoint.left.wait(10)
            endpoint.left.clear()
            assert endpoint.accepted == number


def test_a_closed_transport_has_no_connections(transport: HttpTransport | CurlTransport) -> None:
    """Closing lets the other side go; a later request simply dials again."""
    with Endpoint(answers()) as endpoint:
        transport.post(endpoint.url(), {}, b"x", 10)
        transport.close()
        assert endpoint.left.wait(10)
        transport.post(endpoint.url(), {}, b"x", 10)

        assert endpoint.accepted == 2


@each_http
def test_an_early_answer_is_read(guard: Guard, posting_to: PostTo) -> None:
    """A server that refuses a large body before it has all of it is heard, and not mistaken for a fault."""

    def behave(visit: Visit) -> None:
        visit.connection.recv(100)
        visit.connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        while visit.connection.recv(1_000_000):
            pass

    with Endpoint(behave) as endpoint, posting_to(guard, endpoint.url()) as post:
        assert post(bytes(5_000_000)).status == 413
