"""The rules of Splunk's collector, as they were measured."""

import json

import pytest

from worker.demo.splunk import (
    REPLIES,
    Acknowledgements,
    Reply,
    index_body,
    judge_channel,
    judge_token,
    read_envelopes,
)

CHANNEL = "FE0ECFAD-13D5-401B-847D-77833BD77131"
GOOD = b'{"time":1.5,"event":{"id":"a"}}'


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"nonsense", 6),
        (b"[1]", 6),
        (b'{"event":{"x":NaN}}', 6),
        (b'{"event":null}', 6),
        (b'{"event":false}', 6),
        (b'{"time":1}', 12),
        (b'{"event":" "}', 13),
        (b'{"time":"noon","event":1}', 15),
        (b'{"time":true,"event":1}', 15),
        (b'{"event":1,"fields":{"a":{"b":1}}}', 15),
        (b'{"event":1,"fields":[]}', 15),
        (b'{"event":"\xff"}', 6),
        (b"[" * 100_000, 6),
    ],
)
def test_a_bad_envelope_alone_is_refused_as_number_0(bad: bytes, code: int) -> None:
    """Each fault has its code."""
    indexed = index_body(bad)

    assert (indexed.events, indexed.reply) == ([], Reply(code, 0))


def test_what_stands_before_a_bad_envelope_is_indexed() -> None:
    """Numbers count from 0, whatever blanks stand between."""
    indexed = index_body(GOOD + b"\n " + GOOD + b'{"time":1}' + GOOD)

    assert (len(indexed.events), indexed.reply) == (2, Reply(12, 2))


@pytest.mark.parametrize(
    "fine",
    [
        b'{"event":{}}',
        b'{"event":0}',
        b'{"time":"1.5","event":"x"}',
        b'{"event":1,"fields":{"a":"b","c":["d"]}}',
    ],
)
def test_what_splunk_takes_is_taken(fine: bytes) -> None:
    """Odd but accepted."""
    indexed = index_body(fine)

    assert (len(indexed.events), indexed.reply) == (1, Reply(0))


def test_fields_without_an_event_are_skipped() -> None:
    """They are answered with success, and index nothing."""
    assert index_body(b'{"fields":{"a":"b"}}' + GOOD) == ([{"id": "a"}], Reply(0), None)


def test_an_unknown_key_silently_ends_the_batch() -> None:
    """Success, but nothing from there on is indexed; alone it is no data."""
    unknown = b'{"event":1,"sender":"x"}'

    assert index_body(GOOD + unknown + GOOD) == ([{"id": "a"}], Reply(0), None)
    assert index_body(unknown + GOOD) == ([], Reply(0), None)
    assert index_body(unknown) == ([], Reply(5), None)


@pytest.mark.parametrize("empty", [b"", b" \n"])
def test_an_empty_body_is_no_data(empty: bytes) -> None:
    """Code 5, which names no event."""
    assert index_body(empty).reply == Reply(5)


def test_an_event_can_be_refused() -> None:
    """The refused event is told beside the reply."""
    body = GOOD + b'{"event":{"id":"b"}}'

    indexed = index_body(body, lambda event: bool(event["id"] == "b"))

    assert indexed == ([{"id": "a"}], Reply(6, 1), {"id": "b"})


def test_reading_stops_at_what_is_no_json() -> None:
    """What was readable comes first, None marks the end."""
    assert list(read_envelopes(b'{"a":1} {"b"')) == [{"a": 1}, None]


@pytest.mark.parametrize(
    ("authorization", "code"),
    [(None, 2), ("", 2), ("Bearer right", 3), ("Splunk wrong", 4), ("Splunk", 4)],
)
def test_tokens_that_do_not_open(authorization: str | None, code: int) -> None:
    """Each way to be wrong has its code."""
    assert judge_token(authorization, "right") == Reply(code)


def test_the_token_that_opens() -> None:
    """The right token meets no objection."""
    assert judge_token("Splunk right", "right") is None


@pytest.mark.parametrize(
    ("channel", "code"),
    [(None, 10), ("", 10), ("x", 11), ("FE0ECFAD13D5401B847D77833BD77131", 11), (f"{CHANNEL} ", 11)],
)
def test_channels_that_are_none(channel: str | None, code: int) -> None:
    """A channel is a GUID with its hyphens."""
    assert judge_channel(channel) == Reply(code)


@pytest.mark.parametrize("channel", [CHANNEL, CHANNEL.lower()])
def test_a_channel_in_either_case(channel: str) -> None:
    """Any GUID will do."""
    assert judge_channel(channel) is None


def test_a_restart_forgets_all_numbers() -> None:
    """What was taken before reads `false`, and the numbers begin anew."""
    splunk = Acknowledgements()
    assert [splunk.number(CHANNEL), splunk.number(CHANNEL)] == [0, 1]

    splunk.forget()

    assert splunk.answer(CHANNEL, b'{"acks":[0,1]}') == b'{"acks":{"0":false,"1":false}}'
    assert splunk.number(CHANNEL) == 0
    assert splunk.answer(CHANNEL, b'{"acks":[0]}') == b'{"acks":{"0":true}}'


@pytest.mark.parametrize("code", REPLIES)
def test_replies_read_as_splunk_writes_them(code: int) -> None:
    """Text, code, and the number of the event where there is one, in this order."""
    assert list(json.loads(Reply(code, 3).body)) == ["text", "code", "invalid-event-number"]
    assert list(json.loads(Reply(code, 3, 0).body)) == ["text", "code", "invalid-event-number", "ackId"]
    assert list(json.loads(Reply(code).body)) == ["text", "code"]
    assert Reply(code).status >= 200


def test_a_wrong_method_carries_code_404_as_measured() -> None:
    """Splunk answers status 405 with code 404."""
    assert (Reply(405).status, json.loads(Reply(405).body)["code"]) == (405, 404)
