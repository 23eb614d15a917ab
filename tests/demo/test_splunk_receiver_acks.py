"""The receiver of the demonstration as a token with indexer acknowledgement."""

import json

import pytest
import requests

from tests.demo.running import Running, Start

CHANNEL = "FE0ECFAD-13D5-401B-847D-77833BD77131"
OTHER = "fe0ecfad-13d5-401b-847d-77833bd77132"
EVENT = b'{"time":1.5,"event":{"id":"a"}}'


def ask(
    receiver: Running, *numbers: int, channel: str = CHANNEL, body: bytes | None = None
) -> requests.Response:
    """Ask which of these requests are indexed."""
    question = json.dumps({"acks": numbers}).encode() if body is None else body
    url = f"{receiver.base_url}/services/collector/ack?channel={channel}"
    return requests.post(url, data=question, headers={"Authorization": "Splunk t"}, timeout=10)


def test_requests_are_numbered_and_confirmed_once(start: Start) -> None:
    """Each channel counts from 0; `true` is said once, to the one who asks first; the unknown is `false`."""
    with start("--ack") as receiver:
        posted = [
            receiver.post(EVENT, X_Splunk_Request_Channel=name).json() for name in (CHANNEL, CHANNEL, OTHER)
        ]
        first, second = ask(receiver, 0, 1, 7).json(), ask(receiver, 0, 1).json()
        other = ask(receiver, 0, 1, channel=OTHER).json()

    assert posted == [{"text": "Success", "code": 0, "ackId": number} for number in (0, 1, 0)]
    assert first == {"acks": {"0": True, "1": True, "7": False}}
    assert second == {"acks": {"0": False, "1": False}}
    assert other == {"acks": {"0": True, "1": False}}


def test_what_stands_before_a_refused_event_is_numbered(start: Start) -> None:
    """The 400 has the number of the event, and that of the request, if anything of it was taken."""
    with start("--ack") as receiver:
        some = receiver.post(EVENT + b'{"time":1}', X_Splunk_Request_Channel=CHANNEL).json()
        none = receiver.post(b'{"time":1}', X_Splunk_Request_Channel=CHANNEL).json()

    assert list(some.items())[1:] == [("code", 12), ("invalid-event-number", 1), ("ackId", 0)]
    assert "ackId" not in none


@pytest.mark.parametrize(("channel", "code"), [("", 10), ("my-channel", 11)])
def test_a_channel_is_demanded(start: Start, channel: str, code: int) -> None:
    """Without a channel, or with one that is no GUID, nothing is taken and nothing is reported."""
    with start("--ack", "--token", "t") as receiver:
        headers = {"Authorization": "Splunk t", "X-Splunk-Request-Channel": channel}
        posted = requests.post(
            f"{receiver.base_url}/services/collector", data=EVENT, headers=headers, timeout=10
        )
        asked = ask(receiver, 0, channel=channel)

        assert (posted.status_code, posted.json()["code"]) == (400, code)
        assert (asked.status_code, asked.json()["code"]) == (400, code)
        assert receiver.counts()["events"] == 0


def test_the_token_comes_first(start: Start) -> None:
    """Who has the wrong token learns nothing about channels."""
    with start("--ack", "--token", "another") as receiver:
        assert ask(receiver, 0, channel="").json()["code"] == 4


def test_without_the_option_there_is_no_acknowledgement(start: Start) -> None:
    """The token has it disabled: code 14, whatever the channel; no request is numbered."""
    with start() as receiver:
        posted = receiver.post(EVENT, X_Splunk_Request_Channel=CHANNEL).json()
        asked = ask(receiver, 0)

    assert posted == {"text": "Success", "code": 0}
    assert (asked.status_code, asked.json()) == (400, {"text": "ACK is disabled", "code": 14})


def test_a_question_that_cannot_be_read_is_refused(start: Start) -> None:
    """Anything but `{"acks":[…]}` with whole numbers is invalid data."""
    bodies = (b"", b"[]", b'"acks"', b"{}", b'{"acks":0}', b'{"acks":["0"]}', b'{"acks":[true]}')
    with start("--ack") as receiver:
        answers = {body: ask(receiver, body=body) for body in bodies}

    assert {body: (answer.status_code, answer.json()["code"]) for body, answer in answers.items()} == (
        dict.fromkeys(bodies, (400, 6))
    )


def test_counting_alone_numbers_as_well(start: Start) -> None:
    """A benchmark of confirmations need not read the events."""
    with start("--ack", "--count-only") as receiver:
        posted = receiver.post(EVENT * 3, X_Splunk_Request_Channel=CHANNEL).json()

        assert posted["ackId"] == 0
        assert receiver.counts()["events"] == 3
