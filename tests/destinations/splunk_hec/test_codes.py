"""What each code of Splunk's HTTP Event Collector means for the events, and which setting it is about.

The codes are those of Splunk's "Troubleshoot HTTP Event Collector" (0 to 27; 28 was seen on Splunk Cloud):

| code | HTTP | text                                                           | meaning              |
|------|------|----------------------------------------------------------------|----------------------|
| 0    | 200  | Success                                                        | delivered            |
| 1    | 403  | Token disabled                                                 | configuration: token |
| 2    | 401  | Token is required                                              | configuration: token |
| 3    | 401  | Invalid authorization                                          | configuration: token |
| 4    | 403  | Invalid token                                                  | configuration: token |
| 5    | 400  | No data                                                        | a fault of ours      |
| 6    | 400  | Invalid data format                                            | concerns one event   |
| 7    | 400  | Incorrect index                                                | configuration: index |
| 8    | 500  | Internal server error                                          | retry                |
| 9    | 503  | Server is busy                                                 | retry                |
| 10   | 400  | Data channel is missing                                        | configuration: ack   |
| 11   | 400  | Invalid data channel                                           | configuration: ack   |
| 12   | 400  | Event field is required                                        | concerns one event   |
| 13   | 400  | Event field cannot be blank                                    | concerns one event   |
| 14   | 400  | ACK is disabled                                                | configuration: ack   |
| 15   | 400  | Error in handling indexed fields                               | concerns one event   |
| 16   | 400  | Query string authorization is not enabled                      | configuration: url   |
| 17   | 200  | HEC is healthy                                                 | no answer to events  |
| 18   | 503  | HEC is unhealthy, queues are full                              | retry                |
| 19   | 503  | HEC is unhealthy, ack service unavailable                      | retry                |
| 20   | 503  | HEC is unhealthy, queues are full, ack service unavailable     | retry                |
| 21   | 400  | Invalid token (of a health check)                              | configuration: token |
| 22   | 400  | Token disabled (of a health check)                             | configuration: token |
| 23   | 503  | Server is shutting down                                        | retry                |
| 24   | 200  | HEC queue is approaching its capacity limit                    | delivered, slow down |
| 25   | 200  | HEC ACK is approaching its capacity limit                      | delivered, slow down |
| 26   | 429  | HEC queue is at capacity and cannot process any more requests  | retry                |
| 27   | 429  | HEC ACK channel is at capacity and cannot process any more ... | retry, new channel   |
| 28   | 400  | Data channel is missing. If you have multiple indexers, ...    | configuration: ack   |
"""

import pytest

from worker.demo.splunk import REPLIES, Reply
from worker.destinations.splunk_hec.verdict import HecMeaning, HecVerdict, hec_verdict

COUNT = 5


def finding_code(verdict: HecVerdict) -> str | None:
    """Return the stable code of the finding, if there is one."""
    return verdict.failure.code if verdict.failure else None


@pytest.mark.parametrize(
    ("code", "status", "meaning", "failure"),
    [
        (0, 200, HecMeaning.ACCEPTED, None),
        (1, 403, HecMeaning.RETRY, "token_disabled"),
        (2, 401, HecMeaning.RETRY, "token_missing"),
        (3, 401, HecMeaning.RETRY, "token_invalid"),
        (4, 403, HecMeaning.RETRY, "token_invalid"),
        (5, 400, HecMeaning.RETRY, "no_data"),
        (6, 400, HecMeaning.SPLIT, "event_refused"),
        (7, 400, HecMeaning.RETRY, "index_incorrect"),
        (8, 500, HecMeaning.RETRY, "destination_busy"),
        (9, 503, HecMeaning.RETRY, "destination_busy"),
        (10, 400, HecMeaning.RETRY, "channel_missing"),
        (11, 400, HecMeaning.RETRY, "channel_invalid"),
        (12, 400, HecMeaning.SPLIT, "event_refused"),
        (13, 400, HecMeaning.SPLIT, "event_refused"),
        (14, 400, HecMeaning.RETRY, "ack_disabled"),
        (15, 400, HecMeaning.SPLIT, "event_refused"),
        (16, 400, HecMeaning.RETRY, "query_token"),
        (17, 200, HecMeaning.RETRY, "not_splunk"),
        (18, 503, HecMeaning.RETRY, "destination_busy"),
        (19, 503, HecMeaning.RETRY, "destination_busy"),
        (20, 503, HecMeaning.RETRY, "destination_busy"),
        (21, 400, HecMeaning.RETRY, "token_invalid"),
        (22, 400, HecMeaning.RETRY, "token_disabled"),
        (23, 503, HecMeaning.RETRY, "destination_busy"),
        (24, 200, HecMeaning.ACCEPTED, None),
        (25, 200, HecMeaning.ACCEPTED, None),
        (26, 429, HecMeaning.RETRY, "destination_busy"),
        (27, 429, HecMeaning.RETRY, "destination_busy"),
        (28, 400, HecMeaning.RETRY, "channel_missing"),
    ],
)
def test_every_code_of_splunk(code: int, status: int, meaning: HecMeaning, failure: str | None) -> None:
    """Each code of the table has its meaning, and unless it is good news, words and a remedy."""
    verdict = hec_verdict(status, {}, Reply(code).body, COUNT)

    assert (verdict.meaning, finding_code(verdict), verdict.http_status) == (meaning, failure, status)
    assert (verdict.code, REPLIES[code][0]) == (code, status)
    if verdict.failure is not None:
        assert verdict.failure.message == f"HTTP {status}: {REPLIES[code][1]} (code {code})"
        assert verdict.failure.hint
        assert verdict.failure.http_status == status


def test_the_table_above_is_the_one_that_is_tested() -> None:
    """Code, status and text of each row stand in the table of this module's head, and none besides."""
    rows = [[cell.strip() for cell in row.split("|")[:3]] for row in (__doc__ or "").split("\n|")[3:]]

    assert [int(code) for code, _, _ in rows] == list(range(29))
    for code, status, text in rows:
        known_status, known_text = REPLIES[int(code)]
        assert known_status == int(status)
        assert known_text.startswith(text.partition(" (of")[0].partition("...")[0])


SETTINGS = {
    **dict.fromkeys((1, 2, 3, 4, 21, 22), "token"),
    7: "index",
    **dict.fromkeys((10, 11, 14, 28), "use_ack"),
    16: "url",
}


@pytest.mark.parametrize("code", SETTINGS)
def test_configuration_codes_name_the_setting(code: int) -> None:
    """The hint names what to change in the integration, as it is called there."""
    failure = hec_verdict(REPLIES[code][0], {}, Reply(code).body, COUNT).failure

    assert failure is not None
    assert f"`{SETTINGS[code]}`" in failure.hint


@pytest.mark.parametrize(("code", "strained"), [(0, False), (24, True), (25, True), (26, False), (27, False)])
def test_a_strained_splunk_is_told_from_a_well_one(code: int, strained: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """Codes 24 and 25 are good news with a request."""
    assert hec_verdict(REPLIES[code][0], {}, Reply(code).body, COUNT).strained is strained


@pytest.mark.parametrize("code", [8, 9, 18, 19, 20, 23, 26, 27])
def test_busy_codes_pass_whatever_status_a_proxy_gives_them(code: int) -> None:
    """The code speaks of Splunk, the status of who stands in between."""
    verdict = hec_verdict(400, {"Retry-After": "7"}, Reply(code).body, COUNT)

    assert (verdict.meaning, finding_code(verdict), verdict.retry_after) == (
        HecMeaning.RETRY,
        "destination_busy",
        7.0,
    )
