"""When a destination wishes to be asked again: whole seconds or a date, and nothing else."""

import pytest

from tests.receivers.scripts import http_date
from worker.destinations.splunk_hec.verdict import hec_verdict

COUNT = 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\u0665", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:37", 0.0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Wed, 21 Oct 2999 07:28:00 +999999999999999999", None),
        ("99999999999999999999 Jan 2999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    """Whole seconds or an HTTP date (RFC 9110, section 10.2.3); whatever else is no wish at all."""
    assert hec_verdict(503, {"Retry-After": text}, b"", COUNT).retry_after == seconds


def test_a_date_becomes_the_seconds_until_then() -> None:
    """By our own clock, and never negative."""
    wish = hec_verdict(429, {"Retry-After": http_date(3_000)}, b"", COUNT).retry_after

    assert wish is not None
    assert 2_900 < wish <= 3_000


def test_a_huge_retry_after_is_still_a_number() -> None:
    """Where it ends is for the settlement to say."""
    wish = hec_verdict(503, {"Retry-After": "9" * 5_000}, b"", COUNT).retry_after

    assert wish is not None
    assert wish > 3_600


def test_retry_after_is_no_matter_of_configuration() -> None:
    """A wrong token stays wrong for longer than any header says; the backoff decides."""
    assert (
        hec_verdict(403, {"Retry-After": "7"}, b'{"text":"Invalid token","code":4}', COUNT).retry_after
        is None
    )
