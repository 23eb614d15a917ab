"""The receiver of the demonstration, started as a program and spoken to over real sockets."""

import gzip
import http.client
import json
import socket
from collections.abc import Sequence
from pathlib import Path

import requests

from tests.demo.running import PATH, Start, launch
from worker.demo.server import LONGEST_BODY
from worker.demo.splunk_receiver import count_envelopes, gunzip
from worker.samples import sample_events, sample_lines


def envelopes(events: Sequence[bytes]) -> bytes:
    """Wrap events as the Splunk destination does."""
    return b"".join(b'{"time":1.5,"event":' + event + b"}" for event in events)


def test_events_are_counted_once_and_duplicates_beside(start: Start) -> None:
    """Plain and gzipped bodies count alike; an event that comes again is a duplicate."""
    body = envelopes(list(sample_lines(100)))
    packed = gzip.compress(body)
    with start() as receiver:
        answers = [receiver.post(body), receiver.post(packed, Content_Encoding="gzip")]

        assert [answer.json() for answer in answers] == [{"text": "Success", "code": 0}] * 2
        assert receiver.counts() == {
            "requests": 2,
            "events": 200,
            "distinct": 100,
            "duplicates": 100,
            "refused": 0,
            "bytes": len(body) + len(packed),
            "unavailable": 0,
        }


def test_paths_answer_as_splunk_does(start: Start) -> None:
    """Events, health, and what is not there."""
    with start() as receiver:
        for method, path, status, code in (
            ("POST", "/services/collector", 400, 5),
            ("POST", "/services/collector/event/1.0?channel=x", 400, 5),
            ("GET", "/services/collector/health", 200, 17),
            ("GET", "/services/collector/event", 405, 404),
            ("GET", "/nowhere", 404, 404),
        ):
            answer = requests.request(method, receiver.base_url + path, timeout=10)

            assert (answer.status_code, answer.json()["code"]) == (status, code), (method, path)


def test_a_token_is_demanded(start: Start) -> None:
    """No one without the token is heard, and what they send is not counted as events."""
    body = envelopes(list(sample_lines(1)))
    with start("--token", "right") as receiver:
        answers = [
            receiver.post(body),
            receiver.post(body, Authorization="Bearer right"),
            receiver.post(body, Authorization="Splunk wrong"),
            receiver.post(body, Authorization="Splunk right"),
        ]

        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
            (401, 2),
            (401, 3),
            (403, 4),
            (200, 0),
        ]
        assert receiver.counts()["events"] == 1


def test_the_same_events_are_refused_again(start: Start) -> None:
    """A refusal names the event, keeps what stands before it, and is repeated for the same event."""
    events, lines = list(sample_events(400, start_ms=0)), list(sample_lines(400, start_ms=0))
    with start("--refuse", "0.05") as receiver:
        first, again = receiver.post(envelopes(lines)), receiver.post(envelopes(lines))
        place = first.json()["invalid-event-number"]
        alone = receiver.post(envelopes([lines[place]]))
        counts = receiver.counts()

        assert (first.status_code, first.json()["code"]) == (400, 6)
        assert 0 < place < len(events)
        assert again.json() == first.json()
        assert alone.json()["invalid-event-number"] == 0
        assert counts["distinct"] == place
        assert counts["duplicates"] == place
        assert counts["refused"] == 1


def test_what_cannot_be_read_counts_as_refused(start: Start) -> None:
    """Bodies that are no JSON, no gzip, or packed in another way are refused."""
    with start() as receiver:
        answers = [
            receiver.post(b"{"),
            receiver.post(b"no gzip", Content_Encoding="gzip"),
            receiver.post(b"x", Content_Encoding="deflate"),
        ]

        assert [answer.status_code for answer in answers] == [400, 400, 415]
        assert answers[2].headers["Content-Type"] == "text/html"
        assert receiver.counts()["refused"] == 1


def test_counting_alone_reads_nothing(start: Start) -> None:
    """Envelopes are counted, their ids are not known."""
    with start("--count-only") as receiver:
        receiver.post(envelopes(list(sample_lines(1000))))
        empty = receiver.post(b"")
        counts = receiver.counts()

        assert counts["events"] == 1000
        assert (counts["distinct"], counts["duplicates"]) == (None, None)
        assert empty.json()["code"] == 5


def test_pipelined_and_piecemeal_requests_are_answered_in_order(start: Start) -> None:
    """Bytes may come in any pieces; `Connection: close` ends the conversation."""
    one = b"GET /services/collector/health HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"POST " + PATH.encode() + b" HTTP/1.1\r\nContent-Length: 20\r\nConnection: close\r\n\r\n"
    with start() as receiver, socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(one + one + last[:30])
        for piece in (last[30:], b'{"event":', b'{"id":"a"}}'):
            client.sendall(piece)
        answer = b"".join(iter(lambda: client.recv(65536), b""))

        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert answer.endswith(b'{"text":"Success","code":0}')


def test_a_connection_is_kept(start: Start) -> None:
    """Two requests go over one connection."""
    with start() as receiver:
        client = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        client.request("POST", PATH, b'{"event":1}')
        client.getresponse().read()
        used = client.sock
        client.request("POST", PATH, b'{"event":1}')
        client.getresponse().read()
        kept = client.sock is used
        client.close()

        assert kept
        assert receiver.counts()["duplicates"] == 1


def test_what_is_not_understood_ends_the_connection(start: Start) -> None:
    """The answer says why, and the receiver hangs up."""
    with start() as receiver:
        for sent, status in (
            (b"nonsense\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\n\r\n", 505),
            (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (LONGEST_BODY + 1), 413),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            (b"GET / HTTP/1.1\r\nX: ".ljust(64 * 1024 + 1, b"x"), 431),
        ):
            assert receiver.exchange(sent).startswith(b"HTTP/1.1 %d " % status), sent[:60]


def test_http_1_0_is_answered_once(start: Start) -> None:
    """An old client gets its answer and the end of the connection."""
    with start() as receiver:
        assert b"HEC is healthy" in receiver.exchange(b"GET /services/collector/health HTTP/1.0\r\n\r\n")


def test_a_port_file_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    """The error names the file."""
    with launch(tmp_path / "missing" / "port") as process:
        said = process.communicate(timeout=20)[1]

        assert process.returncode == 1
        assert f"write {tmp_path / 'missing' / 'port'}" in said


def test_the_cheap_count_is_exact() -> None:
    """A text that looks like the border of two envelopes is not taken for one."""
    tricky = json.dumps({"id": "a", "reason": '}{"time":1}'}).encode()

    assert count_envelopes(envelopes([tricky, tricky, b"{}"])) == 3
    assert count_envelopes(b"") == 0


def test_a_body_that_is_cut_off_is_no_gzip() -> None:
    """Half a gzip body gives nothing, not half of the events."""
    packed = gzip.compress(b"x" * 1000)

    assert gunzip(packed) == b"x" * 1000
    assert gunzip(packed[:-4]) is None
