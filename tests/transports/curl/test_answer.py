"""Answers of HTTP/1.1 as bytes: how each is read, however it is cut, and what is taken for none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.transports.curl.answer import (
    LONGEST_BODY,
    AnswerReader,
    CurlResponse,
    NotHttp,
    small_answer,
    wished_seconds,
)
from worker.transports.curl.line import HeadedResponse, small_headed
from worker.transports.http_response import MOST_BODY

OK = b"HTTP/1.1 200 OK\r\n"
#: An answer, and its status, its body, and whether its connection carries another request.
WHOLE: list[tuple[bytes, int, bytes, bool]] = [
    (OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok", True),
    (OK + b"content-length:2\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", True),
    (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    (OK + b"Content-Length: 2, 2\r\n\r\nok", 200, b"ok", True),
    (b"HTTP/1.1 200\nContent-Length: 2\n\nok", 200, b"ok", True),
    (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 3 + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok", True),
    (OK + b"Content-Length: 2\r\nConnection: x, CLOSE\r\n\r\nok", 200, b"ok", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", 200, b"ok", True),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", 204, b"", True),
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b"", True),
    (b"HTTP/1.1 101 Switching\r\n\r\n", 101, b"", True),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nTrailer: x\r\n\r\n", 200, b"ok", True),
    (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", 200, b"ok", True),
    (OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok", False),
    (OK + b"X: folded\r\n Content-Length: 7\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", True),
]
#: What ends with its connection.
UNTIL_CLOSED = [
    OK + b"\r\nok",
    OK + b"Transfer-Encoding: gzip\r\n\r\nok",
    OK + b"Transfer-Encoding: chunked, gzip\r\nContent-Length: 1\r\n\r\nok",
]
NONE = [
    b"SSH-2.0-x\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 200OK\r\n\r\n",
    OK + b"no colon\r\n\r\n",
    OK + b"X: \0\r\n\r\n",
    OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    OK + b"Content-Length: 2, 3\r\n\r\nok",
    OK + b"Content-Length: -2\r\n\r\nok",
    OK + b"Content-Length: 0x2\r\n\r\nok",
    OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok",
    OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nok",
    OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"2;" + b"x" * 5_000,
]

#: What takes too much memory before it is known to be one.
ENDLESS = [
    OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 50_100,
    OK + b"X: " + b"y" * 300_000,
    OK + b"X: y\r\n" * 6_000 + b"\r\n",
    b"HTTP/1.1 103 Early\r\n\r\n" * 15_000,
]


def read(received: bytes, sizes: list[int] | None = None) -> AnswerReader:
    """Feed these bytes, in pieces of these sizes and then the rest."""
    reader = AnswerReader()
    for size in sizes or []:
        if received and not reader.is_over:
            reader.feed(received[:size])
            received = received[size:]
    if received and not reader.is_over:
        reader.feed(received)
    return reader


@given(one=st.sampled_from(WHOLE), sizes=st.lists(st.integers(1, 40), max_size=40))
def test_an_answer_is_the_same_however_it_is_cut(
    one: tuple[bytes, int, bytes, bool], sizes: list[int]
) -> None:
    """Whatever the pieces that it comes in, it is over with its last byte."""
    received, status, body, keeps = one
    reader = read(received, sizes)

    assert (reader.is_over, reader.keeps) == (True, keeps)
    assert reader.answer() == CurlResponse(status, body, None)
    assert not read(received[:-1], sizes).is_over


@pytest.mark.parametrize("received", UNTIL_CLOSED)
def test_what_has_no_length_ends_with_its_connection(received: bytes) -> None:
    """And only so: nothing else can be sent behind it."""
    reader = read(received)

    assert not reader.is_over
    assert reader.end()
    assert not reader.keeps
    assert reader.answer().body == b"ok"


def test_the_end_of_a_connection_does_not_make_it_whole() -> None:
    """What has a length and is short of it was broken off."""
    for received, *_ in WHOLE:
        assert not read(received[:-1]).end()


@given(received=st.sampled_from(NONE), sizes=st.lists(st.integers(1, 40), max_size=20))
def test_what_is_no_answer_is_refused(received: bytes, sizes: list[int]) -> None:
    """At once, and before it takes memory."""
    with pytest.raises(NotHttp):
        read(received, sizes)


@pytest.mark.parametrize("received", ENDLESS, ids=["trailer", "field", "fields", "interim answers"])
def test_what_has_no_end_is_refused(received: bytes) -> None:
    """Before its end has come, if it has one."""
    with pytest.raises(NotHttp):
        read(received, [65_536] * 4)


def test_what_stands_behind_an_answer_costs_the_connection() -> None:
    """It would be taken for the answer to the next request."""
    for received, _, body, _ in WHOLE:
        reader = read(received + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        assert (reader.is_over, reader.keeps, reader.answer().body) == (True, False, body)
        assert small_answer(received + b"x") is None


@pytest.mark.parametrize("length", [b"9999999", b""], ids=["length", "chunks"])
def test_a_huge_body_is_given_up(length: bytes) -> None:
    """Its beginning is kept; the connection is not."""
    framing = b"Content-Length: " + length if length else b"Transfer-Encoding: chunked"
    reader = AnswerReader()
    reader.feed(OK + framing + b"\r\n\r\n" + (b"" if length else b"989680\r\n"))
    for _ in range(LONGEST_BODY // 1_000):
        assert not reader.is_over
        reader.feed(bytes(1_000))
    reader.feed(b"x")

    assert (reader.is_over, reader.keeps) == (True, False)
    assert len(reader.answer().body) == MOST_BODY


def test_a_small_answer_is_what_a_reader_makes_of_it() -> None:
    """One that is read at a glance: whole, its connection kept, with no wish."""
    for received, status, body, keeps in WHOLE:
        glance = small_answer(received)

        assert glance in {None, CurlResponse(status, body, None)}
        assert glance is None or keeps
    assert small_answer(WHOLE[0][0]) is not None
    assert small_answer(WHOLE[0][0][:-1]) is None
    assert small_answer(OK + b"Content-Length: 0\r\nRetry-After: 7\r\n\r\n") is None
    assert small_answer(OK + b"Content-Length: 2000\r\n\r\n" + bytes(2000)) is None


def test_a_small_answer_may_be_had_with_its_head() -> None:
    """The same answers at a glance, each read once however often it comes."""
    for received, status, body, _ in WHOLE:
        glance, headed = small_answer(received), small_headed(received)

        assert (glance is None) == (headed is None)
        if headed is not None:
            fields = read(received).head
            assert fields is not None
            assert headed == HeadedResponse(status, body, None, fields.fields)
            assert small_headed(bytes(bytearray(received))) is headed
    assert small_headed(WHOLE[0][0] + b"x") is None
    assert small_headed(OK + b"Content-Length: 2000\r\n\r\n" + bytes(2000)) is None


def test_a_wish_is_bounded() -> None:
    """However large its number is."""
    assert wished_seconds("9" * 400) == 21_600
    assert wished_seconds("Fri, 31 Dec 9999 23:59:59 GMT") == 21_600
    assert wished_seconds("12") == 12
    assert wished_seconds("") is None
