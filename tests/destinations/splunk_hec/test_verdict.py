"""What every answer of an HTTP Event Collector, or of what stands in its place, means for the events."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.broker.packing import pack_outcomes
from worker.destinations.splunk_hec.verdict import HecMeaning, HecVerdict, hec_verdict
from worker.model.deliveries import Outcome
from worker.model.failures import FailureCode

COUNT = 5


def answer(code: Any, **more: Any) -> bytes:
    """Write an answer of Splunk."""
    return json.dumps({"text": "Some words", "code": code} | more).encode()


def finding_code(verdict: HecVerdict) -> str | None:
    """Return the stable code of the finding, if there is one."""
    return verdict.failure.code if verdict.failure else None


@pytest.mark.parametrize("status", range(200, 600))
def test_every_status_without_an_answer_of_splunk(status: int) -> None:
    """A page, or nothing, never counts as delivered, and is refused for good only when it says too large."""
    for body in (b"", b"<html>Sign in</html>"):
        verdict = hec_verdict(status, {}, body, COUNT)

        assert verdict.meaning is (HecMeaning.SPLIT if status == 413 else HecMeaning.RETRY)
        assert verdict.failure is not None
        speaks_of_tls = status in {495, 496}  # nginx's own
        assert verdict.failure.message.startswith(f"HTTP {status}{':' if speaks_of_tls else ' with'}")


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (200, "answer_cut"),
        (302, "redirected"),
        (308, "redirected"),
        (400, "refused"),
        (404, "refused"),
        (408, "destination_busy"),
        (413, "too_large"),
        (425, "destination_busy"),
        (429, "destination_busy"),
        (500, "destination_busy"),
        (502, "destination_busy"),
        (599, "destination_busy"),
    ],
)
def test_what_a_status_alone_tells(status: int, failure: str) -> None:
    """Proxies and load balancers answer, too, and their statuses have remedies of their own."""
    assert finding_code(hec_verdict(status, {}, b"", COUNT)) == failure


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"[0]",
        b"0",
        b"null",
        b'"Success"',
        b'{"text":"Success"}',
        b'{"code":',
        b'{"code":0}}',
        b"\xff\xfe",
        b"[" * 20_000,
        b'{"code":' + b"[" * 9_000,
        b"<html>" + b"x" * 20_000,
        answer("0"),
        answer(False),  # noqa: FBT003 - a body's value
        answer(0.0),
        answer(None),
        answer([]),
        answer([0]),
        answer({}),
        answer(1),
        answer(-1),
        b'{"code":' + b"9" * 5_000 + b"}",
    ],
)
def test_a_200_that_is_not_splunks_is_no_delivery(body: bytes) -> None:
    """Only the number 0, 24 or 25 under `code` says that the events were taken."""
    verdict = hec_verdict(200, {}, body, COUNT)

    assert (verdict.meaning, finding_code(verdict)) == (HecMeaning.RETRY, "not_splunk")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize(
    "body",
    [
        answer(0),
        answer(24),
        b"\xef\xbb\xbf" + answer(0),
        answer(0).decode().encode("utf-16"),
        '{"text":"Erfüllt","code":0}'.encode("latin-1"),
        b" \r\n" + answer(0) + b"\n",
    ],
)
def test_splunks_word_counts_whatever_the_status(status: int, body: bytes) -> None:
    """A gateway may change the status, and the charset; the code is Splunk's."""
    assert hec_verdict(status, {}, body, COUNT).meaning is HecMeaning.ACCEPTED


@pytest.mark.parametrize("status", [201, 202, 204])
def test_without_splunks_word_no_success_is_believed(status: int) -> None:
    """Splunk answers with 200 and a code: who says less may have dropped what it was sent."""
    verdict = hec_verdict(status, {}, b"", COUNT)

    assert (verdict.meaning, finding_code(verdict), verdict.not_accepted) == (
        HecMeaning.RETRY,
        "not_splunk",
        None,
    )
    assert verdict.failure is not None
    assert verdict.failure.message == f"HTTP {status} without an answer"


@pytest.mark.parametrize(
    ("status", "body", "not_accepted"),
    [
        (503, answer(9), True),
        (503, answer(18), True),
        (503, answer(23), True),
        (429, answer(26), True),
        (503, answer(9, **{"invalid-event-number": 0}), True),
        (503, answer(9, **{"invalid-event-number": 2}), False),
        (500, answer(8), None),
        (503, b"", None),
        (502, b"<html>", None),
        (403, answer(4), None),
        (400, answer(7, **{"invalid-event-number": 1}), None),
        (400, answer(7, **{"invalid-event-number": 3}), False),
    ],
)
def test_whether_splunk_may_have_taken_something(status: int, body: bytes, not_accepted: bool | None) -> None:  # noqa: FBT001 - pytest passes by name
    """A busy Splunk took nothing, unless it names an event; None leaves it to the status."""
    assert hec_verdict(status, {}, body, COUNT).not_accepted is not_accepted


@pytest.mark.parametrize("code", ["6", True, 6.0, None, [6], {"6": 6}])
def test_a_code_that_is_no_whole_number_condemns_no_event(code: Any) -> None:
    """Whoever answers like this is not Splunk, and not to be believed about events."""
    verdict = hec_verdict(400, {}, answer(code, **{"invalid-event-number": 0}), COUNT)

    assert (verdict.meaning, finding_code(verdict)) == (HecMeaning.RETRY, "refused")


@pytest.mark.parametrize("code", [6, 12, 13, 15])
@pytest.mark.parametrize("place", range(COUNT))
def test_an_offender_is_found_at_its_place(code: int, place: int) -> None:
    """The number counts from 0."""
    verdict = hec_verdict(400, {}, answer(code, **{"invalid-event-number": place}), COUNT)

    assert (verdict.meaning, verdict.offender) == (HecMeaning.OFFENDER, place)
    assert finding_code(verdict) == "event_refused"


@pytest.mark.parametrize("place", [COUNT, -1, 10**30, 1.0, True, False, "1", None, [1], {}])
def test_a_place_that_cannot_be_condemns_nobody(place: Any) -> None:
    """The request is sent again in parts, until the offender is alone."""
    verdict = hec_verdict(400, {}, answer(6, **{"invalid-event-number": place}), COUNT)

    assert verdict.meaning is HecMeaning.SPLIT


@pytest.mark.parametrize(("code", "status"), [(7, 400), (9, 503), (6, 500), (6, 403)])
def test_a_place_counts_only_where_an_event_was_refused(code: int, status: int) -> None:
    """A wrong index reports a place that is one too far, a busy Splunk one that means something else."""
    verdict = hec_verdict(status, {}, answer(code, **{"invalid-event-number": 1}), COUNT)

    assert verdict.meaning is HecMeaning.RETRY


@pytest.mark.parametrize("status", [200, 400, 503])
def test_words_of_a_destination_can_always_be_written_down(status: int) -> None:
    """A text with half a character, which JSON allows, must not stop the settlement."""
    body = b'{"text":"\\ud800","code":"\\udfff"}'
    failure = hec_verdict(status, {}, body, COUNT).failure

    assert failure is not None
    assert pack_outcomes([Outcome("int_1", "retrying", 1, failure, None, [])])


def test_long_words_are_cut() -> None:
    """Nobody fills our queues with prose."""
    failure = hec_verdict(503, {}, answer(9, text="x" * 10_000), COUNT).failure

    assert failure is not None
    assert len(failure.message) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
members = st.sampled_from(["text", "code", "invalid-event-number", "ackId"])
answers = st.dictionaries(members, json_values | st.integers(0, 30)).map(
    lambda found: json.dumps(found).encode()
)
wishes = st.text(max_size=30) | st.text("0123456789+-: ,GMTJanWed", max_size=40)


@settings(max_examples=400)
@given(
    st.integers(200, 599) | st.sampled_from([200, 400]),
    st.dictionaries(st.just("Retry-After"), wishes),
    st.binary(max_size=100) | answers,
    st.integers(1, 5),
)
def test_whatever_is_answered_has_a_meaning(
    status: int, headers: dict[str, str], body: bytes, count: int
) -> None:
    """Nothing raises; offenders lie within the request; what is not accepted has words that can be stored."""
    verdict = hec_verdict(status, headers, body, count)

    assert verdict.meaning in set(HecMeaning)
    assert 0 <= verdict.offender < count
    assert verdict.retry_after is None or verdict.retry_after >= 0
    assert (verdict.failure is None) == (verdict.meaning is HecMeaning.ACCEPTED)
    assert pack_outcomes([Outcome("int_1", "retrying", 1, verdict.failure, None, [])])


@pytest.mark.parametrize("code", [8, 9, 26])
def test_a_busy_splunk_is_one_whatever_a_proxy_makes_of_its_status(code: int) -> None:
    """No setting is to blame, and the circuit breaker counts it as an outage."""
    verdict = hec_verdict(400, {}, b'{"text":"Server is busy","code":%d}' % code, 1)
    assert verdict.meaning is HecMeaning.RETRY
    assert verdict.failure is not None
    assert verdict.failure.code is FailureCode.DESTINATION_BUSY
