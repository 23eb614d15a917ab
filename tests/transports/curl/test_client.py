"""HTTP by libcurl over real sockets: what is sent, what comes back, what is never done behind our back."""

from collections.abc import Callable

import pytest

from tests.receivers.scripts import http_date
from tests.transports.curl.flights import post, posting
from tests.transports.endpoint import OK, Endpoint, Visit, answers
from worker.model.errors import ConnectionLost
from worker.transports.guard import Guard
from worker.transports.http_response import MOST_BODY

SECRET = "hunter2-hunter2"
HEADERS = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}


def reply(status: int, *headers: str, body: bytes = b"") -> bytes:
    """Write an answer with these headers."""
    lines = [f"HTTP/1.1 {status} Whatever", *headers]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_post_arrives_as_it_was_given(guard: Guard) -> None:
    """Path, headers and body go out as they are, and exactly as `written` shows them."""
    body = b'{"event": "\xc3\xa4"}' * 20_000
    with Endpoint(answers()) as endpoint:
        url = endpoint.url(path="/hook/x?a=b%20c")
        with posting(guard, url, headers=HEADERS) as many:
            answer = post(many, body)
            shown = many.written({}, body)

    assert endpoint.requests == [shown]
    head, _, received = shown.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hook/x?a=b%20c HTTP/1.1"
    assert sorted(lines[1:]) == [
        "Accept-Encoding: identity",
        f"Authorization: Bearer {SECRET}",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
        f"Host: 127.0.0.1:{endpoint.port}",
        "User-Agent: mitrity-siem-worker",
    ]
    assert received == body
    assert (answer.status, answer.body) == (200, b'{"code": 0}')


def test_a_header_of_ours_may_be_replaced(guard: Guard) -> None:
    """By one of the same name, in whatever case; none is sent twice."""
    own = {"Content-Type": "a/b", "accept-encoding": "br", "Accept": "c/d", "user-agent": "e"}
    with Endpoint(answers()) as endpoint, posting(guard, endpoint.url(), headers=own) as many:
        post(many)

        assert endpoint.requests == [many.written({}, b"x")]
    lines = endpoint.requests[0].decode().lower().split("\r\n")
    assert [lines.count(f"{name.lower()}: {value}") for name, value in own.items()] == [1, 1, 1, 1]
    assert sum(line.startswith(("accept-encoding:", "user-agent:")) for line in lines) == 2


def test_a_large_body_does_not_wait_for_leave(guard: Guard) -> None:
    """No `Expect: 100-continue`: a server that ignores it would cost a second each time."""
    with Endpoint(answers()) as endpoint, posting(guard, endpoint.url()) as many:
        post(many, bytes(3_000_000))

    assert b"Expect" not in endpoint.requests[0].partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("0", None), ("soon", None), ("-5", None), ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
)
def test_retry_after_in_seconds(guard: Guard, text: str, seconds: float | None) -> None:
    """RFC 9110, section 10.2.3; what is over, or cannot be read, is no wish."""
    with (
        Endpoint(answers(reply(503, f"retry-after: {text}"))) as endpoint,
        posting(guard, endpoint.url()) as many,
    ):
        assert post(many).retry_after == seconds


def test_retry_after_as_a_date(guard: Guard) -> None:
    """A date becomes the seconds until then, by our own clock."""
    with (
        Endpoint(answers(reply(429, f"Retry-After: {http_date(3_000)}"))) as endpoint,
        posting(guard, endpoint.url()) as many,
    ):
        wish = post(many).retry_after

    assert wish is not None
    # Both the date and our clock are in whole seconds.
    assert 2_900 < wish <= 3_001


def test_the_wish_of_one_answer_is_not_that_of_the_next(guard: Guard) -> None:
    """A handle is used again, and nothing of its last request stays with it."""
    turns = iter([reply(503, "Retry-After: 9", body=b"busy"), reply(503)])

    def behave(visit: Visit) -> None:
        while visit.request():
            visit.connection.sendall(next(turns))

    with Endpoint(behave) as endpoint, posting(guard, endpoint.url()) as many:
        assert [(one.retry_after, one.body) for one in (post(many), post(many))] == [
            (9.0, b"busy"),
            (None, b""),
        ]


def test_nothing_is_remembered(guard: Guard) -> None:
    """Neither cookies nor another place to go (RFC 7838) nor a rule for it (RFC 6797)."""
    with Endpoint(answers()) as elsewhere:
        wishes = (
            "Set-Cookie: a=b",
            f'Alt-Svc: h2="127.0.0.1:{elsewhere.port}"',
            "Strict-Transport-Security: max-age=9",
        )
        with Endpoint(answers(reply(200, *wishes))) as endpoint, posting(guard, endpoint.url()) as many:
            post(many)
            post(many)

        assert b"Cookie" not in endpoint.requests[1]
        assert len(endpoint.requests) == 2
        assert elsewhere.accepted == 0


def test_a_compressed_body_is_left_alone(guard: Guard) -> None:
    """Nothing is unfolded, even if the other side says that it could be."""
    body = b"\x1f\x8b\x08\x00"
    with (
        Endpoint(answers(reply(200, "Content-Encoding: gzip", body=body))) as endpoint,
        posting(guard, endpoint.url()) as many,
    ):
        assert post(many).body == body


def _chunked(size: int) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size))


def _measured(size: int) -> bytes:
    return reply(200, body=bytes(size))


@pytest.mark.parametrize("framed", [_chunked, _measured])
@pytest.mark.parametrize(("size", "connections"), [(MOST_BODY, 1), (MOST_BODY + 1, 1), (3_000_000, 2)])
def test_of_a_body_no_more_is_kept_than_is_needed(
    guard: Guard, framed: Callable[[int], bytes], size: int, connections: int
) -> None:
    """A body that is a little too long is read to its end and keeps its connection; a huge one costs it."""
    with Endpoint(answers(framed(size))) as endpoint, posting(guard, endpoint.url()) as many:
        lengths = [len(post(many).body) for _ in range(2)]

        assert lengths == [MOST_BODY, MOST_BODY]
        assert endpoint.accepted == connections


def test_libcurl_sends_nothing_a_second_time(guard: Guard) -> None:
    """A kept connection that breaks after the request costs an attempt (RFC 9110, section 9.2.2).

    By itself, libcurl would send the request again over a new connection: once more than is counted.
    """

    def answers_the_first(visit: Visit) -> None:
        visit.request()
        visit.connection.sendall(OK)
        visit.request()

    with Endpoint(answers_the_first) as endpoint, posting(guard, endpoint.url()) as many:
        assert post(many, b"first").status == 200
        with pytest.raises(ConnectionLost, match="closed the connection without an answer"):
            post(many, b"second")

        assert len(endpoint.requests) == 2
        assert endpoint.accepted == 1
