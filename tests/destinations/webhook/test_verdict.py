"""What every status of a webhook's endpoint means, and how its own words are shown."""

from hypothesis import given
from hypothesis import strategies as st

from worker.broker.packing import pack_outcomes
from worker.destinations.webhook.redaction import response_excerpt
from worker.destinations.webhook.verdict import WebhookMeaning, webhook_verdict
from worker.model.deliveries import Outcome
from worker.model.failures import FailureCode

SECRET = "hunter2-hunter2"
ACCEPTED, RETRY, PAUSE, REFUSED = (
    WebhookMeaning.ACCEPTED,
    WebhookMeaning.RETRY,
    WebhookMeaning.PAUSE,
    WebhookMeaning.REFUSED,
)


def test_every_status() -> None:
    """RFC 9110, section 15, and Standard Webhooks 1.0.0: each class has its meaning, words and a hint."""
    others = [400, 402, 406, 409, 411, 412, 415, 416, 417, 418, 422, 424, 428, 451, 499]
    meanings = {
        **dict.fromkeys(range(200, 300), (ACCEPTED, None)),
        **dict.fromkeys(range(300, 400), (RETRY, "redirected")),
        **dict.fromkeys([408, 425, *range(500, 600)], (RETRY, "destination_busy")),
        429: (PAUSE, "destination_busy"),
        **dict.fromkeys([401, 403], (RETRY, "auth_refused")),
        **dict.fromkeys([404, 405, 414, 421, 426], (RETRY, "url_refused")),
        407: (RETRY, "proxy_in_the_way"),
        431: (RETRY, "headers_refused"),
        410: (WebhookMeaning.GONE, FailureCode.ENDPOINT_GONE),
        413: (REFUSED, "too_large"),
        **dict.fromkeys(others, (REFUSED, "event_refused")),
    }
    for status, (meaning, code) in meanings.items():
        verdict = webhook_verdict(status, "some words", None)

        assert verdict.meaning is meaning, status
        assert verdict.http_status == status
        assert (verdict.failure.code if verdict.failure else None) == code, status
        if verdict.failure is not None:
            assert verdict.failure.message == f"HTTP {status}: some words"
            assert verdict.failure.http_status == status


def test_the_setting_to_correct_is_named() -> None:
    """The hint says where to look in the integration."""
    for status, setting in [
        (401, "`auth`"),
        (403, "`signing_secrets`"),
        (404, "`url`"),
        (302, "`url`"),
        (431, "`headers`"),
    ]:
        failure = webhook_verdict(status, "", None).failure

        assert failure is not None, status
        assert setting in failure.hint, status


def test_gone_says_how_to_come_back() -> None:
    """Standard Webhooks 1.0.0: 410 means that the endpoint should be disabled."""
    failure = webhook_verdict(410, "", None).failure

    assert failure is not None
    assert "was disabled" in failure.hint
    assert "siem integrations enable" in failure.hint


def test_retry_after_counts_where_waiting_helps() -> None:
    """With 429, and with 503 that names a time, the endpoint asks for a pause (RFC 6585, RFC 9110)."""
    for status, retry_after, meaning, kept in [
        (503, 7.0, PAUSE, 7.0),
        (503, None, RETRY, None),
        (429, 7.0, PAUSE, 7.0),
        (429, None, PAUSE, None),
        (500, 7.0, RETRY, 7.0),
        (404, 7.0, RETRY, None),
        (302, 7.0, RETRY, None),
        (400, 7.0, REFUSED, None),
    ]:
        verdict = webhook_verdict(status, "", retry_after)

        assert (verdict.meaning, verdict.retry_after) == (meaning, kept), (status, retry_after)


def test_an_endpoints_own_words() -> None:
    """Text is shown on one line, short, and without secrets; a page is not shown at all."""
    words = {
        b"": "",
        b'{"error": "no such field"}': '{"error": "no such field"}',
        b"two\r\n  lines\x00\x1b[31m": "two lines [31m",
        "schön".encode(): "schön",
        b"\xff\xfe": "",
        b"  <!doctype html><p>Not Found": "",
        f"unknown token {SECRET}, and {SECRET}".encode(): "unknown token ***, and ***",
        b"Cannot POST /services/T0/B1": "Cannot POST ***",
        b"x" * 10_000: "x" * 199 + "…",
        "ä".encode() * 10_000: "ä" * 199 + "…",
        "ä".encode() * 10 + b"\xc3": "ä" * 10,
        b"\xc3 and more": "",
    }

    assert {body: response_excerpt(body, [SECRET, "/services/T0/B1"]) for body in words} == words


@given(st.binary(max_size=300), st.integers(300, 599), st.none() | st.floats(0, 1e9))
def test_whatever_is_answered_can_be_written_down(body: bytes, status: int, wish: float | None) -> None:
    """Nothing raises, and the finding can be stored."""
    failure = webhook_verdict(status, response_excerpt(body, [SECRET]), wish).failure

    assert failure is not None
    assert failure.hint
    assert len(failure.message) < 300
    assert pack_outcomes([Outcome("int_1", "retrying", 1, failure, None, [])])
