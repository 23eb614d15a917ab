"""What each code of Splunk's HTTP Event Collector means for the events, and which setting it is about."""

from dataclasses import dataclass

import pytest

from worker.demo.splunk import REPLIES, Reply
from worker.destinations.splunk_hec.verdict import HecMeaning, hec_verdict

ACCEPTED, RETRY, SPLIT = HecMeaning.ACCEPTED, HecMeaning.RETRY, HecMeaning.SPLIT


@dataclass(frozen=True)
class Code:
    """What is known of a code of Splunk: its answer, its meaning, our failure, and the setting to change."""

    http_status: int
    text: str
    meaning: HecMeaning
    failure: str | None = None
    setting: str = ""


#: Splunk: "Troubleshoot HTTP Event Collector" (0 to 27); 28 was seen on Splunk Cloud.
CODES = {
    0: Code(200, "Success", ACCEPTED),
    1: Code(403, "Token disabled", RETRY, "token_disabled", "token"),
    2: Code(401, "Token is required", RETRY, "token_missing", "token"),
    3: Code(401, "Invalid authorization", RETRY, "token_invalid", "token"),
    4: Code(403, "Invalid token", RETRY, "token_invalid", "token"),
    5: Code(400, "No data", RETRY, "no_data"),  # a fault of ours
    6: Code(400, "Invalid data format", SPLIT, "event_refused"),
    7: Code(400, "Incorrect index", RETRY, "index_incorrect", "index"),
    8: Code(500, "Internal server error", RETRY, "destination_busy"),
    9: Code(503, "Server is busy", RETRY, "destination_busy"),
    10: Code(400, "Data channel is missing", RETRY, "channel_missing", "use_ack"),
    11: Code(400, "Invalid data channel", RETRY, "channel_invalid", "use_ack"),
    12: Code(400, "Event field is required", SPLIT, "event_refused"),
    13: Code(400, "Event field cannot be blank", SPLIT, "event_refused"),
    14: Code(400, "ACK is disabled", RETRY, "ack_disabled", "use_ack"),
    15: Code(400, "Error in handling indexed fields", SPLIT, "event_refused"),
    16: Code(400, "Query string authorization is not enabled", RETRY, "query_token", "url"),
    17: Code(200, "HEC is healthy", RETRY, "not_splunk"),  # no answer to events
    18: Code(503, "HEC is unhealthy, queues are full", RETRY, "destination_busy"),
    19: Code(503, "HEC is unhealthy, ack service unavailable", RETRY, "destination_busy"),
    20: Code(503, "HEC is unhealthy, queues are full, ack service unavailable", RETRY, "destination_busy"),
    21: Code(400, "Invalid token", RETRY, "token_invalid", "token"),  # of a health check, as 22
    22: Code(400, "Token disabled", RETRY, "token_disabled", "token"),
    23: Code(503, "Server is shutting down", RETRY, "destination_busy"),
    24: Code(200, "HEC queue is approaching its capacity limit", ACCEPTED),  # slow down, as 25
    25: Code(200, "HEC ACK is approaching its capacity limit", ACCEPTED),
    26: Code(429, "HEC queue is at capacity and cannot process any more requests", RETRY, "destination_busy"),
    27: Code(429, "HEC ACK channel is at capacity and cannot process any more", RETRY, "destination_busy"),
    28: Code(
        400, "Data channel is missing. If you have multiple indexers, ", RETRY, "channel_missing", "use_ack"
    ),
}


def test_every_code_of_splunk() -> None:
    """Each has its meaning and, unless it is good news, words and a hint that names the setting."""
    assert list(CODES) == list(range(29))
    for code, known in CODES.items():
        http_status, text = REPLIES[code]
        verdict = hec_verdict(http_status, {}, Reply(code).body, 5)
        failure = verdict.failure

        assert http_status == known.http_status, code
        assert text.startswith(known.text), code
        assert verdict.code == code
        assert verdict.meaning is known.meaning, code
        assert verdict.http_status == http_status, code
        assert (failure.code if failure else None) == known.failure, code
        if failure is not None:
            assert failure.message == f"HTTP {http_status}: {text} (code {code})"
            assert failure.hint, code
            assert failure.http_status == http_status, code
            assert not known.setting or f"`{known.setting}`" in failure.hint, code


def test_a_splunk_that_is_nearly_full_says_so() -> None:
    """Codes 24 and 25 are good news with a request; 26 and 27 are failures."""
    strained = {0: False, 24: True, 25: True, 26: False, 27: False}

    assert {
        code: hec_verdict(REPLIES[code][0], {}, Reply(code).body, 5).strained for code in strained
    } == strained


@pytest.mark.parametrize(
    "code", [code for code, known in CODES.items() if known.failure == "destination_busy"]
)
def test_busy_codes_pass_whatever_status_a_proxy_gives_them(code: int) -> None:
    """The code speaks of Splunk, the status of what stands in between."""
    verdict = hec_verdict(400, {"Retry-After": "7"}, Reply(code).body, 5)

    assert verdict.meaning is RETRY
    assert verdict.failure is not None
    assert verdict.failure.code == "destination_busy"
    assert verdict.retry_after == 7.0
