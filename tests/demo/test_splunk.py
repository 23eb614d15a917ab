"""The rules of Splunk's collector, as they were measured."""

import json

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


def test_a_bad_envelope_alone_is_refused_as_number_0() -> None:
    """Each fault has its code."""
    codes = {
        b"nonsense": 6,
        b"[1]": 6,
        b'{"event":{"x":NaN}}': 6,
        b'{"event":null}': 6,
        b'{"event":false}': 6,
        b'{"time":1}': 12,
        b'{"event":" "}': 13,
        b'{"time":"noon","event":1}': 15,
        b'{"time":true,"event":1}': 15,
        b'{"event":1,"fields":{"a":{"b":1}}}': 15,
        b'{"event":1,"fields":[]}': 15,
        b'{"event":"\xff"}': 6,
        b"[" * 100_000: 6,
    }

    assert {bad: index_body(bad)[:2] for bad in codes} == {
        bad: ([], Reply(code, 0)) for bad, code in codes.items()
    }


def test_what_stands_before_a_bad_envelope_is_indexed() -> None:
    """Numbers count from 0, whatever blanks stand between."""
    indexed = index_body(GOOD + b"\n " + GOOD + b'{"time":1}' + GOOD)

    assert (len(indexed.events), indexed.reply) == (2, Reply(12, 2))


def test_what_splunk_takes_is_taken() -> None:
    """Odd but accepted."""
    for fine in (
        b'{"event":{}}',
        b'{"event":0}',
        b'{"time":"1.5","event":"x"}',
        b'{"event":1,"fields":{"a":"b","c":["d"]}}',
    ):
        indexed = index_body(fine)

        assert (len(indexed.events), indexed.reply) == (1, Reply(0)), fine


def test_fields_without_an_event_are_skipped() -> None:
    """They are answered with success, and index nothing."""
    assert index_body(b'{"fields":{"a":"b"}}' + GOOD) == ([{"id": "a"}], Reply(0), None)


def test_an_unknown_key_silently_ends_the_batch() -> None:
    """Success, but nothing from there on is indexed; alone it is no data."""
    unknown = b'{"event":1,"sender":"x"}'

    assert index_body(GOOD + unknown + GOOD) == ([{"id": "a"}], Reply(0), None)
    assert index_body(unknown + GOOD) == ([], Reply(0), None)
    assert index_body(unknown) == ([], Reply(5), None)


def test_an_empty_body_is_no_data() -> None:
    """Code 5, which names no event."""
    assert index_body(b"").reply == index_body(b" \n").reply == Reply(5)


def test_an_event_can_be_refused() -> None:
    """The refused event is reported beside the reply."""
    body = GOOD + b'{"event":{"id":"b"}}'

    indexed = index_body(body, lambda event: bool(event["id"] == "b"))

    assert indexed == ([{"id": "a"}], Reply(6, 1), {"id": "b"})


def test_reading_stops_at_what_is_no_json() -> None:
    """What was readable comes first, None marks the end."""
    assert list(read_envelopes(b'{"a":1} {"b"')) == [{"a": 1}, None]


def test_the_token_must_be_right() -> None:
    """Each way to be wrong has its code."""
    codes = {None: 2, "": 2, "Bearer right": 3, "Splunk wrong": 4, "Splunk": 4}

    assert {given: judge_token(given, "right") for given in codes} == {
        given: Reply(code) for given, code in codes.items()
    }
    assert judge_token("Splunk right", "right") is None


def test_a_channel_is_a_guid_with_its_hyphens() -> None:
    """In either case; whatever else is given has its code."""
    codes = {None: 10, "": 10, "x": 11, CHANNEL.replace("-", ""): 11, f"{CHANNEL} ": 11}

    assert {given: judge_channel(given) for given in codes} == {
        given: Reply(code) for given, code in codes.items()
    }
    assert judge_channel(CHANNEL) is judge_channel(CHANNEL.lower()) is None


def test_a_restart_forgets_all_numbers() -> None:
    """What was taken before reads `false`, and the numbers begin again."""
    splunk = Acknowledgements()
    assert [splunk.number(CHANNEL), splunk.number(CHANNEL)] == [0, 1]

    splunk.forget()

    assert splunk.answer(CHANNEL, b'{"acks":[0,1]}') == b'{"acks":{"0":false,"1":false}}'
    assert splunk.number(CHANNEL) == 0
    assert splunk.answer(CHANNEL, b'{"acks":[0]}') == b'{"acks":{"0":true}}'


def test_replies_read_as_splunk_writes_them() -> None:
    """Text, code, and the number of the event where there is one, in this order."""
    for code in REPLIES:
        keys = [list(json.loads(reply.body)) for reply in (Reply(code), Reply(code, 3), Reply(code, 3, 0))]
        assert keys[0] == ["text", "code"], code
        assert keys[1] == [*keys[0], "invalid-event-number"], code
        assert keys[2] == [*keys[1], "ackId"], code
        assert Reply(code).status >= 200, code


def test_a_wrong_method_carries_code_404_as_measured() -> None:
    """Splunk answers status 405 with code 404."""
    assert (Reply(405).status, json.loads(Reply(405).body)["code"]) == (405, 404)
