"""Answers that are unusual and still answers: what comes before them, how long they are, how they end."""

import gzip
import zlib

import pytest

from tests.transports.endpoint import OK, Endpoint, answers, answers_once
from worker.model.errors import ConnectionLost
from worker.transports.curl.posts import CurlTransport
from worker.transports.http import HttpTransport
from worker.transports.http_response import LONGEST_HEAD, MOST_BODY, MOST_INTERIM

BODY = b'{"code": 0}'
FIELD = b"X-Padding: abcdefgh\r\n"
PACKED = gzip.compress(BODY, mtime=0)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 11\r\n"


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    """Write the head of an answer."""
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(lines) + b"\r\n"


def interim(*statuses: int) -> bytes:
    """Write interim answers, each with a field."""
    return b"".join(head(b"Link: </a>\r\n", status=b"%d Interim" % status) for status in statuses)


def test_interim_answers_are_read_past(transport: HttpTransport | CurlTransport) -> None:
    """The final answer counts (RFC 9110, 15.2), and the connection stays in step for the next request."""
    for before in [
        interim(100),
        interim(102),
        interim(103),
        interim(199),
        interim(100, 102, 102, 103),
        interim(*[102] * 50),
        head(*[FIELD] * 200, status=b"103 Early Hints"),
        b"HTTP/1.1 100\r\n\r\n",
        b"HTTP/1.1 100 Continue\n\n",
    ]:
        with Endpoint(answers(before + OK)) as endpoint:
            replies = [transport.post(endpoint.url(), {}, b"x", 10) for _ in range(2)]
            assert endpoint.accepted == 1, (len(before), before[:60])

        assert [(reply.status, reply.body) for reply in replies] == [(200, BODY)] * 2, (
            len(before),
            before[:60],
        )


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (interim(102), "closed the connection without an answer"),
        (interim(100, 101) + OK, "gave no final answer, only 101"),
        (interim(*[102] * MOST_INTERIM) + OK, "gave no final answer, only 102"),
        (head(FIELD * (LONGEST_HEAD // len(FIELD) + 1)), "answered with more than 1024 KiB of headers"),
        (head(b"X: " + b"y" * LONGEST_HEAD), "answered with more than 1024 KiB of headers"),
        (b"HTTP/1.1 200 " + b"y" * 70_000, "answered with more than 1024 KiB of headers"),
    ],
)
def test_there_is_an_end_to_what_is_read(sockets: HttpTransport, reply: bytes, words: str) -> None:
    """An answer that goes on and on is described as what it is."""
    with Endpoint(answers_once(reply)) as endpoint, pytest.raises(ConnectionLost) as lost:
        sockets.post(endpoint.url(), {}, b"x", 10)

    assert str(lost.value) == f"127.0.0.1:{endpoint.port} {words}"


def test_an_unusual_answer_is_read_whole(transport: HttpTransport | CurlTransport) -> None:
    """Neither the number of its fields nor their spelling hides the answer, or breaks the connection."""
    for reply in [
        head(*[FIELD] * 300, LENGTH) + BODY,
        head(*[b"Set-Cookie: a=b\r\n"] * 300, LENGTH) + BODY,
        head(b"X: " + b"y" * 70_000 + b"\r\n", LENGTH) + BODY,
        head(b"X: " + b"y" * 65_532 + b"\r\n", LENGTH) + BODY,
        head(b"X: " + b"y" * 65_533 + b"\r\n", LENGTH) + BODY,
        head(b"X: a\r\n" + b" b\r\n" * 50_000, LENGTH) + BODY,
        head(LENGTH, LENGTH) + BODY,
        head(b"Content-Length: 11, 11\r\n") + BODY,
        head(b"CONTENT-LENGTH:11\r\n") + BODY,
        head(CHUNKED) + b"b\r\n" + BODY + b"\r\n0\r\n\r\n",
        head(CHUNKED) + b"B;name=value\r\n" + BODY + b"\r\n0\r\n\r\n",
        head(CHUNKED, CHUNKED)
        + b"6\r\n"
        + BODY[:6]
        + b"\r\n5\r\n"
        + BODY[6:]
        + b"\r\n0\r\nTrailer: x\r\n\r\n",
        head(b"transfer-encoding: Chunked \r\n") + b"000b\r\n" + BODY + b"\r\n000\r\n\r\n",
        head(b"Content-Encoding: identity\r\n", LENGTH) + BODY,
        head(LENGTH, status=b"201 Created") + BODY,
        (head(LENGTH) + BODY).replace(b"\r\n", b"\n"),
    ]:
        with Endpoint(answers(reply)) as endpoint:
            replies = [transport.post(endpoint.url(), {}, b"x", 10) for _ in range(2)]
            assert endpoint.accepted == 1, (len(reply), reply[:60])

        assert [reply.body for reply in replies] == [BODY, BODY], (len(reply), reply[:60])


def test_an_answer_whose_end_is_said_twice_is_read_whole(transport: HttpTransport | CurlTransport) -> None:
    """By its chunks (RFC 9112, 6.3). Others may see another end, so it may cost the connection."""
    reply = head(CHUNKED, b"Content-Length: 5\r\n") + b"b\r\n" + BODY + b"\r\n0\r\n\r\n"
    with Endpoint(answers(reply)) as endpoint:
        replies = [transport.post(endpoint.url(), {}, b"x", 10) for _ in range(2)]

    assert [reply.body for reply in replies] == [BODY, BODY]


def test_a_head_that_breaks_the_rules_is_read_by_sockets(sockets: HttpTransport) -> None:
    """What is no field is left out, by what asks for health and sends notifications; libcurl is strict."""
    for reply in [
        head(b"no field at all\r\n", b": none\r\n", b"a b: c\r\n", LENGTH) + BODY,
        head(b" folded into nothing\r\n", LENGTH) + BODY,
        head(b"X: a\rContent-Length: 5\r\n", b"Y: \0\r\n", LENGTH) + BODY,
        head(b"Content-Length : 11\r\n") + BODY,
        head(b"Transfer-Encoding: identity\r\n", LENGTH) + BODY,
    ]:
        with Endpoint(answers(reply)) as endpoint:
            replies = [sockets.post(endpoint.url(), {}, b"x", 10) for _ in range(2)]
            assert endpoint.accepted == 1, reply[:60]

        assert [reply.body for reply in replies] == [BODY, BODY], reply[:60]


def test_a_body_that_was_packed_unasked_is_unpacked(transport: HttpTransport | CurlTransport) -> None:
    """Some proxies compress whatever is asked for (RFC 9110, 12.5.3)."""
    for coding, body in [
        (b"gzip", PACKED),
        (b"x-gzip", PACKED),
        (b"GZip", PACKED),
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", zlib.compress(BODY)[2:-4]),
        (b"gzip, deflate", zlib.compress(PACKED)),
        (b"identity", PACKED),
        (b"", PACKED),
        (b"gzip", PACKED[:-6]),
        # What cannot be decoded is left as it is.
        (b"gzip", BODY),
        (b"br", BODY),
    ]:
        lines = (b"Content-Encoding: %b\r\n" % coding, b"Content-Length: %d\r\n" % len(body))
        with Endpoint(answers(head(*lines) + body)) as endpoint:
            assert transport.post(endpoint.url(), {}, b"x", 10).body == BODY, (coding, body)


def test_a_transfer_that_was_packed_is_unpacked(sockets: HttpTransport) -> None:
    """`gzip` beneath `chunked` is undone like a coding of the content."""
    body = PACKED
    reply = head(b"Transfer-Encoding: gzip, chunked\r\n") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with Endpoint(answers(reply)) as endpoint:
        assert sockets.post(endpoint.url(), {}, b"x", 10).body == BODY


def test_a_packed_body_unfolds_up_to_the_cap(transport: HttpTransport | CurlTransport) -> None:
    """A small answer cannot fill our memory."""
    body = gzip.compress(bytes(15_000_000))
    reply = head(b"Content-Encoding: gzip\r\n", b"Content-Length: %d\r\n" % len(body)) + body
    with Endpoint(answers(reply)) as endpoint:
        assert transport.post(endpoint.url(), {}, b"x", 10).body == bytes(MOST_BODY)


@pytest.mark.parametrize("lines", [(LENGTH,), (CHUNKED,), (b"Content-Length: 999\r\n",)])
def test_content_of_an_answer_without_content_is_not_the_next_answer(
    transport: HttpTransport | CurlTransport, lines: tuple[bytes, ...]
) -> None:
    """A 204 must have none (RFC 9110, 15.3.5). Sockets read what it says it has, for a second at most."""
    content = b"b\r\n" + BODY + b"\r\n0\r\n\r\n" if lines == (CHUNKED,) else BODY
    with Endpoint(answers(head(*lines, status=b"204 No Content") + content)) as endpoint:
        replies = [transport.post(endpoint.url(), {}, b"x", 10) for _ in range(2)]

    read = BODY if isinstance(transport, HttpTransport) else b""
    assert [(reply.status, reply.body) for reply in replies] == [(204, read)] * 2


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (head(b"Content-Length: 99\r\n") + BODY, "broke off its answer half-way"),
        (head(CHUNKED) + b"b\r\n" + BODY, "broke off its answer half-way"),
        (head(CHUNKED) + b"b\r\n" + BODY + b"\r\nzz\r\n", "broke off its answer half-way"),
    ],
)
def test_what_came_of_a_body_that_broke_off_is_there(
    transport: HttpTransport | CurlTransport, reply: bytes, words: str
) -> None:
    """Whether it is enough is for others to say; so is why there is no more."""
    with Endpoint(answers_once(reply)) as endpoint:
        came = transport.post(endpoint.url(), {}, b"x", 10)

    assert (came.status, came.body) == (200, BODY)
    assert str(came.cut) == f"127.0.0.1:{endpoint.port} {words}"


def test_a_body_that_never_ends_is_there_as_far_as_it_came(transport: HttpTransport | CurlTransport) -> None:
    """The deadline ends the wait, not what was heard before."""
    with Endpoint(answers(head(b"Content-Length: 99\r\n") + BODY)) as endpoint:
        came = transport.post(endpoint.url(), {}, b"x", 0.5)

    assert came.body == BODY
    assert str(came.cut) == f"127.0.0.1:{endpoint.port} did not answer in full within 0.5 s"


def test_headers_that_come_twice(transport: HttpTransport | CurlTransport) -> None:
    """Of each the first counts; cookies stand each by itself, since commas would not separate them."""
    twice = (b"Retry-After: 7\r\n", b"retry-after: 9\r\n", b"Set-Cookie: a=1, 2\r\n", b"set-cookie: b=3\r\n")
    with Endpoint(answers(head(*twice, LENGTH) + BODY)) as endpoint:
        reply = transport.post(endpoint.url(), {}, b"x", 10)

    assert reply.headers["Retry-After"] == "7"
    assert list(reply.set_cookies) == ["a=1, 2", "b=3"]
