"""The demonstration's endpoint for webhooks, started as a program and spoken to over real sockets."""

import json
import signal
import socket
import time
from base64 import b64encode
from pathlib import Path

import pytest
import requests

from tests.demo.running import Start, launch
from worker.demo.server import Request
from worker.demo.webhook_receiver import count_events, read_ids
from worker.destinations.webhook.format import signature
from worker.samples import sample_lines

_KEY = b"k" * 24
_SECRET = "whsec_" + b64encode(_KEY).decode()


def lines_of(body: bytes) -> Request:
    """Make a request whose body is lines."""
    return Request("POST", "/", b"\r\nHost: x\r\nContent-Type: application/x-ndjson", body)


def test_events_are_counted_once_and_duplicates_beside(start_webhook: Start) -> None:
    """One event, an array and lines count alike; an event that comes again is a duplicate."""
    lines = list(sample_lines(10))
    array, several = b"[" + b",".join(lines) + b"]", b"\n".join(lines) + b"\n"
    with start_webhook() as receiver:
        answers = [
            receiver.post(lines[0]),
            receiver.post(array),
            receiver.post(several, Content_Type="application/x-ndjson"),
        ]

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert receiver.counts() == {
            "requests": 3,
            "events": 21,
            "distinct": 10,
            "duplicates": 11,
            "refused": 0,
            "bytes": len(lines[0]) + len(array) + len(several),
            "unauthorized": 0,
            "unavailable": 0,
        }


def test_a_bearer_token_is_demanded(start_webhook: Start) -> None:
    """RFC 6750: no one without the token is heard, and what they send is not counted as events."""
    event = next(sample_lines(1))
    with start_webhook("--bearer", "right") as receiver:
        answers = [
            receiver.post(event),
            receiver.post(event, Authorization="Bearer wrong"),
            receiver.post(event, Authorization="Splunk right"),
            receiver.post(event, Authorization="Bearer right"),
        ]
        counts = receiver.counts()

        assert [answer.status_code for answer in answers] == [401, 401, 401, 200]
        assert "bearer token" in answers[0].json()["error"]
        assert (counts["events"], counts["unauthorized"]) == (1, 3)


def test_a_signature_is_demanded(start_webhook: Start) -> None:
    """Standard Webhooks 1.0.0: what is not signed, or not with this secret, is not counted as events."""
    event, now = next(sample_lines(1)), int(time.time())
    signed = {"webhook_id": "evt_1", "webhook_timestamp": str(now)}
    right, wrong = (signature([key], "evt_1", now, event) for key in (_KEY, b"n" * 24))
    with start_webhook("--secret", _SECRET) as receiver:
        answers = [
            receiver.post(event),
            receiver.post(event, **signed, webhook_signature=wrong),
            receiver.post(event, **signed, webhook_signature=right),
        ]
        counts = receiver.counts()

        assert [answer.status_code for answer in answers] == [401, 401, 200]
        assert answers[1].json() == {"error": "webhook-signature does not fit"}
        assert (counts["events"], counts["unauthorized"]) == (1, 2)


def test_a_secret_of_another_kind_is_refused_without_repeating_it(tmp_path: Path) -> None:
    """The error says what would be right."""
    with launch(tmp_path / "port", "--secret", "whsec_c2hvcnQ=", program="webhook_receiver") as process:
        said = process.communicate(timeout=20)[1]

        assert process.returncode == 2
        assert "24 to 64 random bytes" in said
        assert "c2hvcnQ" not in said


def test_the_same_events_are_refused_again(start_webhook: Start) -> None:
    """A refusal is of the whole request, and repeated for the same event; without that, the rest is taken."""
    lines = list(sample_lines(200, start_ms=0))
    with start_webhook("--refuse", "0.05") as receiver:
        alone = [receiver.post(line).status_code for line in lines]
        again = [receiver.post(line).status_code for line in lines]
        whole = receiver.post(b"[" + b",".join(lines) + b"]")
        counts = receiver.counts()
        refused = alone.count(400)

        assert 0 < refused < 50
        assert again == alone
        assert whole.status_code == 400
        assert counts["distinct"] == 200 - refused
        assert counts["duplicates"] == 200 - refused
        assert counts["refused"] == refused


def test_what_cannot_be_read_counts_as_refused(start_webhook: Start) -> None:
    """A body without an event, or one without an id, is refused."""
    deep = b'{"id":"a","x":' + b"[" * 100_000
    with start_webhook() as receiver:
        for number, body in enumerate((b"", b"{", b"[1]", b'{"type":"x"}', b'{"id":1}', b"\xff", deep), 1):
            assert receiver.post(body).status_code == 400, body[:30]
            counts = receiver.counts()
            assert (counts["refused"], counts["events"]) == (number, 0), body[:30]


def test_counting_alone_reads_nothing(start_webhook: Start) -> None:
    """Events are counted, their ids are not known; an array that is none is noticed all the same."""
    lines = list(sample_lines(100))
    with start_webhook("--count-only", "--bearer", "right") as receiver:
        posted = [
            receiver.post(body, Authorization="Bearer right").status_code
            for body in (lines[0], b"no json", b"[" + b",".join(lines) + b"]", b"[1")
        ]
        counts = receiver.counts()

        assert posted == [200, 200, 200, 400]
        assert counts["events"] == 102
        assert counts["distinct"] is None
        assert counts["duplicates"] is None


def test_answers_are_delayed_and_still_in_order(start_webhook: Start) -> None:
    """Of requests that came together, each waits for the answer to the one before it."""
    post = b"POST / HTTP/1.1\r\nContent-Length: 10\r\n%b\r\n" + b'{"id":"a"}'
    counts = b"GET /counts HTTP/1.1\r\nConnection: close\r\n\r\n"
    with start_webhook("--delay", "50") as receiver:
        began = time.monotonic()
        answer = receiver.exchange(post % b"" + post % b"" + counts)
        took = time.monotonic() - began

        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["events"] == 2
        assert took >= 0.1


def test_a_client_that_does_not_wait_disturbs_no_other(start_webhook: Start) -> None:
    """An answer to a connection that is gone goes nowhere, and without a word."""
    with start_webhook("--delay", "100") as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as client:
            client.sendall(b'POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n{"id":"a"}')
        receiver.wait_for(1, "requests")

        assert receiver.post(b'{"id":"b"}').status_code == 200
        receiver.process.send_signal(signal.SIGTERM)
        assert receiver.process.communicate(timeout=10)[1] == ""


def test_only_posts_are_taken(start_webhook: Start) -> None:
    """RFC 9110, 15.5.6: the answer to another method names those that are known."""
    with start_webhook() as receiver:
        answer = requests.get(receiver.base_url + "/hook", timeout=10)

        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"id":"a"}', ["a"]),
        (b'{"id":"a"}\n{"id":"b"}', ["a", "b"]),
        (b'{"id":"a"}\n{"id":"b"}\n', ["a", "b"]),
    ],
)
def test_lines_are_recognised_by_their_media_type(body: bytes, expected: list[str]) -> None:
    """Whether the last line ends with a newline or not."""
    assert read_ids(lines_of(body)) == expected
    assert count_events(lines_of(body)) == len(expected)


def test_an_event_on_several_lines_is_one() -> None:
    """JSON that was published with blanks and newlines is still one event."""
    request = Request("POST", "/", b"\r\nContent-Type: application/json", b'{\n  "id": "a"\n}\n')

    assert read_ids(request) == ["a"]
    assert count_events(request) == 1
