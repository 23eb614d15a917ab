"""The scriptable Splunk of the tests follows its script, and records what it was sent."""

import gzip
import http.client
import time
from email.utils import parsedate_to_datetime

import pytest
import requests

from tests.receivers import scripts
from tests.receivers.clients import body_of, post
from tests.receivers.hec import HecReceiver


def test_a_healthy_receiver_takes_and_records_everything() -> None:
    """Events, headers, the body as sent and its plain form are all there after the answer."""
    plain = body_of(["a", "b"])
    before = time.monotonic()
    with HecReceiver() as receiver:
        headers = {"Content-Encoding": "gzip", "Authorization": "Splunk t"}
        answer = requests.post(receiver.url, data=gzip.compress(plain), headers=headers, timeout=10)

        assert answer.json() == {"text": "Success", "code": 0}
        (request,) = receiver.requests
        assert request.body == plain
        assert gzip.decompress(request.wire_body) == plain
        assert request.headers["authorization"] == "Splunk t"
        assert before <= request.arrived <= time.monotonic()
        assert receiver.events == [{"id": "a"}, {"id": "b"}]


def test_a_connection_is_kept_for_further_requests() -> None:
    """Two posts over one connection are two requests; both count for an event that both carry."""
    with HecReceiver() as receiver:
        client = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        for ids in (["a", "b"], ["b"]):
            client.request("POST", "/services/collector/event", body_of(ids))
            client.getresponse().read()
            used = client.sock
        client.close()

        assert used is not None
        assert receiver.accepted_ids == ["a", "b", "b"]
        assert (receiver.request_counts("a"), receiver.request_counts("b"), receiver.request_counts("c")) == (
            1,
            2,
            0,
        )


def test_health_is_answered_and_is_no_post() -> None:
    """`GET /health` says that all is well, an unknown path does not; neither counts as a post."""
    with HecReceiver() as receiver:
        health = requests.get(f"{receiver.base_url}/services/collector/health", timeout=10)
        unknown = requests.get(f"{receiver.base_url}/nowhere", timeout=10)

        assert (health.status_code, health.json()["code"]) == (200, 17)
        assert unknown.status_code == 404
        assert len(receiver.requests) == 2
        assert receiver.posts == []


@pytest.mark.parametrize(("body", "code"), [(b"", 5), (b"{", 6), (b'{"time":1}', 12), (b'{"event":""}', 13)])
def test_what_is_no_envelope_is_refused(body: bytes, code: int) -> None:
    """A healthy receiver is as strict as Splunk."""
    with HecReceiver() as receiver:
        answer = requests.post(receiver.url, data=body, timeout=10)

        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert receiver.events == []


def test_a_broken_gzip_body_is_refused() -> None:
    """What claims to be gzip and is not is invalid data, not a failure of the receiver."""
    with HecReceiver() as receiver:
        answer = requests.post(receiver.url, data=b"?", headers={"Content-Encoding": "gzip"}, timeout=10)

        assert answer.json()["code"] == 6


def test_busy_for_a_while() -> None:
    """`first` follows one script for so many requests and then the other."""
    with HecReceiver(scripts.first(2, scripts.busy())) as receiver:
        answers = [post(receiver, "a") for _ in range(4)]

        assert [answer.status_code for answer in answers] == [503, 503, 200, 200]
        assert answers[0].json() == {"text": "Server is busy", "code": 9}
        assert receiver.accepted_ids == ["a", "a"]
        assert receiver.request_counts("a") == 4


def test_retry_after_in_seconds_and_as_a_date() -> None:
    """A throttled client learns when to come back, in either form."""
    date = scripts.http_date(60)
    script = scripts.sequence(scripts.throttled(7), scripts.throttled(date), scripts.ok())
    with HecReceiver(script) as receiver:
        answers = [post(receiver, "a") for _ in range(3)]

        assert [answer.status_code for answer in answers] == [429, 429, 200]
        assert answers[0].headers["Retry-After"] == "7"
        assert parsedate_to_datetime(answers[1].headers["Retry-After"]).tzinfo is not None


def test_an_offender_is_named_and_what_stands_before_it_is_taken() -> None:
    """The number counts from 0; the offender and what follows it are not taken."""
    with HecReceiver(scripts.offender(lambda event: event["id"] == "bad")) as receiver:
        answer = post(receiver, "a", "b", "bad", "c")

        assert answer.status_code == 400
        assert answer.json() == {"text": "Invalid data format", "code": 6, "invalid-event-number": 2}
        assert receiver.accepted_ids == ["a", "b"]
        assert receiver.request_counts("c") == 1


def test_an_offender_may_have_another_code() -> None:
    """Codes 12, 13 and 15 name an event in the same way."""
    with HecReceiver(scripts.offender(lambda event: event["id"] == "bad", code=15)) as receiver:
        answer = post(receiver, "a", "bad").json()

        assert (answer["code"], answer["invalid-event-number"]) == (15, 1)


def test_a_wrong_index_is_reported_one_too_far() -> None:
    """Code 7 carries the number of the event after the bad one, as measured on Splunk."""
    with HecReceiver(scripts.incorrect_index(1)) as receiver:
        answer = post(receiver, "a", "b")

        assert answer.json() == {"text": "Incorrect index", "code": 7, "invalid-event-number": 2}
        assert receiver.accepted_ids == ["a"]


@pytest.mark.parametrize("script", [scripts.too_large(max_bytes=100), scripts.too_large(max_events=2)])
def test_too_large_a_body_is_refused_whole(script: scripts.Script) -> None:
    """413 above the limit, success at it."""
    with HecReceiver(script) as receiver:
        refused, taken = post(receiver, "a", "b", "c", "d"), post(receiver, "a", "b")

        assert (refused.status_code, taken.status_code) == (413, 200)
        assert receiver.accepted_ids == ["a", "b"]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (scripts.reject_token(), 403),
        (scripts.html(), 200),
        (scripts.redirect("http://127.0.0.1:1/"), 302),
        (scripts.status(500, code=8), 500),
        (scripts.status(502), 502),
    ],
)
def test_answers_that_take_nothing(script: scripts.Script, status: int) -> None:
    """Whatever the status, no event is taken."""
    with HecReceiver(script) as receiver:
        answer = post(receiver, "a")

        assert answer.status_code == status
        assert receiver.events == []
        assert receiver.request_counts("a") == 1


def test_a_token_can_be_demanded() -> None:
    """Splunk's codes for no token, a wrong one, the right one; health needs none."""
    with HecReceiver(scripts.demand_token("right")) as receiver:
        headers = [{}, {"Authorization": "Splunk wrong"}, {"Authorization": "Splunk right"}]
        answers = [
            requests.post(receiver.url, data=body_of("a"), headers=each, timeout=10) for each in headers
        ]
        health = requests.get(f"{receiver.base_url}/services/collector/health", timeout=10)

        assert [answer.json()["code"] for answer in answers] == [2, 4, 0]
        assert health.status_code == 200


def test_the_script_can_be_changed_while_running() -> None:
    """The next request follows the new script."""
    with HecReceiver(scripts.busy()) as receiver:
        before = post(receiver, "a")
        receiver.script = scripts.ok()
        after = post(receiver, "a")

        assert (before.status_code, after.status_code) == (503, 200)


def test_an_error_inside_a_script_fails_the_test() -> None:
    """A mistake in a script is not lost in a thread."""

    def mistaken(_request: scripts.Request) -> scripts.Action:
        raise LookupError("mistake")

    def use() -> None:
        with HecReceiver(mistaken) as receiver, pytest.raises(requests.ConnectionError):
            post(receiver, "a")

    with pytest.raises(LookupError, match="mistake"):
        use()


def test_waiting_tells_what_had_come() -> None:
    """A deadline that passes names the requests and events until then."""
    with HecReceiver() as receiver:
        post(receiver, "a")
        receiver.wait_for_requests(1)
        receiver.wait_for_events(1)

        with pytest.raises(AssertionError, match="1 requests, 1 events taken"):
            receiver.wait_for_events(2, seconds=0.01)
