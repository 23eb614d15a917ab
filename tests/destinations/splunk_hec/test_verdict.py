"""What every answer of an HTTP Event Collector, or of what stands in its place, means for the events."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.receivers.scripts import http_date
from worker.broker.packing import pack_outcomes
from worker.destinations.splunk_hec.verdict import HecMeaning, HecVerdict, confirmed_acks, hec_verdict
from worker.model.deliveries import Outcome

COUNT = 5
ACCEPTED, RETRY, SPLIT = HecMeaning.ACCEPTED, HecMeaning.RETRY, HecMeaning.SPLIT


def answer(code: Any, **more: Any) -> bytes:
    """Write an answer of Splunk."""
    return json.dumps({"text": "Some words", "code": code} | more).encode()


def finding_code(verdict: HecVerdict) -> str | None:
    """Return the stable code of the failure, if there is one."""
    return verdict.failure.code if verdict.failure else None


def test_every_status_without_an_answer_of_splunk() -> None:
    """A page, or nothing, never counts as delivered, and is refused for good only when it says too large."""
    wrong = {}
    for status, body in product(range(200, 600), (b"", b"<html>Sign in</html>")):
        verdict = hec_verdict(status, {}, body, COUNT)
        message = verdict.failure.message if verdict.failure else ""
        words = ":" if status in {495, 496} else " with"  # nginx's own statuses, about TLS
        says_so = message.startswith(f"HTTP {status}{words}")
        if verdict.meaning is not (SPLIT if status == 413 else RETRY) or not says_so:
            wrong[status, body] = verdict

    assert wrong == {}


def test_what_a_status_alone_tells() -> None:
    """Proxies and load balancers answer, too, and each of their statuses has its own hint."""
    failures = {
        200: "answer_cut",
        **dict.fromkeys((302, 308), "redirected"),
        **dict.fromkeys((400, 404), "refused"),
        413: "too_large",
        **dict.fromkeys((408, 425, 429, 500, 502, 599), "destination_busy"),
    }

    assert {status: finding_code(hec_verdict(status, {}, b"", COUNT)) for status in failures} == failures


NOT_SPLUNKS = (
    *(b"{}", b"[]", b"[0]", b"0", b"null", b'"Success"', b'{"text":"Success"}', b'{"code":', b'{"code":0}}'),
    *(b"\xff\xfe", b"[" * 20_000, b'{"code":' + b"[" * 9_000, b"<html>" + b"x" * 20_000),
    *map(answer, ("0", False, 0.0, None, [], [0], {}, 1, -1)),
    b'{"code":' + b"9" * 5_000 + b"}",
)


def test_a_200_that_is_not_splunks_is_no_delivery() -> None:
    """Only the number 0, 24 or 25 under `code` says that the events were taken."""
    verdicts = {body: hec_verdict(200, {}, body, COUNT) for body in NOT_SPLUNKS}
    read = {body[:40]: (verdict.meaning, finding_code(verdict)) for body, verdict in verdicts.items()}

    assert read == dict.fromkeys(read, (RETRY, "not_splunk"))


def test_splunks_word_counts_whatever_the_status() -> None:
    """A gateway may change the status, and the charset; the code is Splunk's."""
    bodies = (
        *(answer(0), answer(24), b"\xef\xbb\xbf" + answer(0), answer(0).decode().encode("utf-16")),
        *('{"text":"Erfüllt","code":0}'.encode("latin-1"), b" \r\n" + answer(0) + b"\n"),
    )
    cases = list(product((200, 201, 202, 204, 299), bodies))
    read = {(status, body): hec_verdict(status, {}, body, COUNT).meaning for status, body in cases}

    assert read == dict.fromkeys(cases, ACCEPTED)


@pytest.mark.parametrize("status", [201, 202, 204])
def test_without_splunks_word_no_success_is_believed(status: int) -> None:
    """Splunk answers with 200 and a code: a server that says less may have dropped what it was sent."""
    verdict = hec_verdict(status, {}, b"", COUNT)

    assert verdict.meaning is RETRY
    assert verdict.not_accepted is None
    assert verdict.failure is not None
    assert verdict.failure.code == "not_splunk"
    assert verdict.failure.message == f"HTTP {status} without an answer"


def test_whether_splunk_may_have_taken_something() -> None:
    """A busy Splunk took nothing, unless it names an event; None leaves it to the status."""
    not_accepted = {
        **dict.fromkeys([(503, answer(9)), (503, answer(18)), (503, answer(23)), (429, answer(26))], True),
        (503, answer(9, **{"invalid-event-number": 0})): True,
        (503, answer(9, **{"invalid-event-number": 2})): False,
        **dict.fromkeys([(500, answer(8)), (503, b""), (502, b"<html>"), (403, answer(4))]),
        (400, answer(7, **{"invalid-event-number": 1})): None,
        (400, answer(7, **{"invalid-event-number": 3})): False,
    }
    read = {
        (status, body): hec_verdict(status, {}, body, COUNT).not_accepted for status, body in not_accepted
    }

    assert read == not_accepted


@pytest.mark.parametrize("code", ["6", True, 6.0, None, [6], {"6": 6}])
def test_a_code_that_is_no_whole_number_condemns_no_event(code: Any) -> None:
    """A server that answers like this is not Splunk, and not to be believed about events."""
    verdict = hec_verdict(400, {}, answer(code, **{"invalid-event-number": 0}), COUNT)

    assert (verdict.meaning, finding_code(verdict)) == (RETRY, "refused")


def test_an_offender_is_found_at_its_place() -> None:
    """The number counts from 0."""
    for code, place in product((6, 12, 13, 15), range(COUNT)):
        verdict = hec_verdict(400, {}, answer(code, **{"invalid-event-number": place}), COUNT)

        assert (verdict.meaning, verdict.offender) == (HecMeaning.OFFENDER, place), code
        assert finding_code(verdict) == "event_refused", (code, place)


def test_a_place_that_cannot_be_condemns_no_event() -> None:
    """The request is sent again in parts, until the offender is alone."""
    places: list[Any] = [COUNT, -1, 10**30, 1.0, True, False, "1", None, [1], {}]
    bodies = [answer(6, **{"invalid-event-number": place}) for place in places]

    assert {body: hec_verdict(400, {}, body, COUNT).meaning for body in bodies} == dict.fromkeys(
        bodies, SPLIT
    )


@pytest.mark.parametrize(("code", "status"), [(7, 400), (9, 503), (6, 500), (6, 403)])
def test_a_place_counts_only_where_an_event_was_refused(code: int, status: int) -> None:
    """A wrong index reports a place that is one too far, a busy Splunk one that means something else."""
    verdict = hec_verdict(status, {}, answer(code, **{"invalid-event-number": 1}), COUNT)

    assert verdict.meaning is RETRY


@pytest.mark.parametrize("status", [200, 400, 503])
def test_words_of_a_destination_can_always_be_written_down(status: int) -> None:
    """A text with half a character, which JSON allows, must not stop the settlement."""
    body = b'{"text":"\\ud800","code":"\\udfff"}'
    failure = hec_verdict(status, {}, body, COUNT).failure

    assert failure is not None
    assert pack_outcomes([Outcome("int_1", "retrying", 1, failure, None, [])])


def test_long_words_are_cut() -> None:
    """No answer fills our queues with prose."""
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
    assert (verdict.failure is None) == (verdict.meaning is ACCEPTED)
    assert pack_outcomes([Outcome("int_1", "retrying", 1, verdict.failure, None, [])])


def retry_after(text: str, status: int = 503, body: bytes = b"") -> float | None:
    """Return when Splunk wishes to be asked again, in seconds, by this header."""
    return hec_verdict(status, {"Retry-After": text}, body, COUNT).retry_after


def test_retry_after_is_read_in_both_forms() -> None:
    """Whole seconds or an HTTP date (RFC 9110, section 10.2.3); anything else is ignored."""
    seconds = {
        "0": 0.0,
        "7": 7.0,
        " 120 ": 120.0,
        **dict.fromkeys(("-5", "1.5", "soon", "", "\u0665")),
        "Wed, 21 Oct 2015 07:28:00 GMT": 0.0,
        "Sun, 06 Nov 1994 08:49:37": 0.0,
        "Mon, 01 Jan 99999 00:00:00 GMT": None,
        "Wed, 21 Oct 2999 07:28:00 +999999999999999999": None,
        "99999999999999999999 Jan 2999 07:28:00 GMT": None,
    }

    assert {text: retry_after(text) for text in seconds} == seconds


def test_a_date_becomes_the_seconds_until_then() -> None:
    """By our own clock, and never negative."""
    wish = retry_after(http_date(3_000), status=429)

    assert wish is not None
    assert 2_900 < wish <= 3_000


def test_a_huge_retry_after_is_still_a_number() -> None:
    """The settlement limits it."""
    wish = retry_after("9" * 5_000)

    assert wish is not None
    assert wish > 3_600


def test_retry_after_is_no_matter_of_configuration() -> None:
    """A wrong token stays wrong for longer than any header says; the backoff decides."""
    assert retry_after("7", status=403, body=answer(4)) is None


def test_an_ack_id_is_a_number() -> None:
    """Nothing else that stands there can be asked for."""
    numbers: list[Any] = [0, 7, 10**17]
    others: list[Any] = [None, "0", 1.0, True, -1, 10**30]
    read = [hec_verdict(200, {}, answer(0, ackId=given), COUNT).ack_id for given in numbers + others]

    assert read == numbers + [None] * len(others)


def test_only_true_confirms() -> None:
    """`{"acks":{"0":true,"1":false}}` (Splunk: "About HEC indexer acknowledgment")."""
    for acks, confirmed in [
        ({"0": True, "1": False}, {0}),
        ({"12": True, "3": True}, {3, 12}),
        ({}, set()),
        ({"0": "true", "1": 1, "2": None, "3": [True]}, set()),
        ({"-1": True, "x": True, "": True, "\u0665": True, "9" * 5_000: True}, set()),
    ]:
        assert confirmed_acks(200, {}, json.dumps({"acks": acks}).encode()) == frozenset(confirmed), acks


def test_what_does_not_speak_of_acknowledgements_is_a_failure() -> None:
    """A 200 that is no answer to the question confirms nothing, and is said to be none."""
    for body in [b"[]", b'{"acks":[0]}', b'{"acks":true}', b"<html>", answer(0), answer(24)]:
        verdict = confirmed_acks(200, {}, body)

        assert isinstance(verdict, HecVerdict), body
        assert verdict.failure is not None, body
        assert (verdict.meaning, verdict.failure.code) == (RETRY, "not_splunk"), body


def test_what_only_a_person_can_correct() -> None:
    """There is no sense in asking again where a setting is wrong."""
    is_final = {
        **dict.fromkeys([(400, 14), (401, 2), (403, 4), (403, None)], True),
        **dict.fromkeys([(400, 6), (503, 9), (503, 14), (429, 26), (413, None), (302, None)], False),
    }
    for (status, code), final in is_final.items():
        verdict = confirmed_acks(status, {}, b"" if code is None else answer(code))

        assert isinstance(verdict, HecVerdict), (status, code)
        assert verdict.is_configuration is final, (status, code)
        assert verdict.failure is not None, (status, code)
