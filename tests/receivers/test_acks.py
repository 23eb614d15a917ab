"""The Splunk of the tests with indexer acknowledgement follows its scripts."""

import json
from collections.abc import Sequence

import pytest
import requests

from tests.receivers import scripts
from tests.receivers.acks import AckSplunk, balanced, not_yet, unnumbered
from tests.receivers.clients import body_of
from tests.receivers.hec import HecReceiver

CHANNEL = "FE0ECFAD-13D5-401B-847D-77833BD77131"


def post(receiver: HecReceiver, *ids: str, channel: str = CHANNEL) -> requests.Response:
    """Send such events on a channel."""
    headers = {"X-Splunk-Request-Channel": channel}
    return requests.post(receiver.url, data=body_of(ids), headers=headers, timeout=10)


def ask(receiver: HecReceiver, numbers: Sequence[int], **headers: str) -> requests.Response:
    """Ask which of these requests are indexed."""
    url = f"{receiver.base_url}/services/collector/ack?channel={CHANNEL}"
    question = json.dumps({"acks": numbers})
    return requests.post(url, data=question, headers=headers, timeout=10)


def test_what_is_taken_is_numbered_and_confirmed_once() -> None:
    """Questions are recorded apart from posts."""
    with HecReceiver(AckSplunk()) as receiver:
        numbers = [post(receiver, "a").json()["ackId"], post(receiver, "b").json()["ackId"]]
        answers = [ask(receiver, [0, 1]).json()["acks"] for _ in range(2)]

        assert numbers == [0, 1]
        assert answers == [{"0": True, "1": True}, {"0": False, "1": False}]
        assert [request.channel for request in receiver.polls + receiver.posts] == [CHANNEL] * 4
        assert (len(receiver.polls), len(receiver.posts)) == (2, 2)


def test_what_is_not_taken_has_no_number() -> None:
    """A busy answer stays as it is; so does one to a request without a proper channel."""
    with HecReceiver(AckSplunk(scripts.busy())) as receiver:
        assert post(receiver, "a").json() == {"text": "Server is busy", "code": 9}
        assert post(receiver, "a", channel="").json()["code"] == 10


def test_a_restart_forgets() -> None:
    """The numbers begin at 0 again."""
    splunk = AckSplunk()
    with HecReceiver(splunk) as receiver:
        post(receiver, "a")
        splunk.restart()

        assert ask(receiver, [0]).json() == {"acks": {"0": False}}
        assert post(receiver, "a").json()["ackId"] == 0


def test_not_yet_forgets_nothing() -> None:
    """A later question gets the true answer."""
    splunk = AckSplunk(polls=not_yet)
    with HecReceiver(splunk) as receiver:
        post(receiver, "a")
        early = ask(receiver, [0]).json()
        splunk.polls = splunk.truth

        assert [early, ask(receiver, [0]).json()] == [{"acks": {"0": False}}, {"acks": {"0": True}}]


def test_a_token_without_acknowledgement_says_so() -> None:
    """Code 14 to every question."""
    with HecReceiver(unnumbered(scripts.ok())) as receiver:
        assert post(receiver, "a").json() == {"text": "Success", "code": 0}
        assert ask(receiver, [0]).json()["code"] == 14


@pytest.mark.parametrize(("sticky", "reported"), [(True, True), (False, False)])
def test_a_balancer_follows_its_cookie_or_its_turn(sticky: bool, reported: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """A question with the first indexer's cookie reaches it if the balancer is sticky, else the next one."""
    with HecReceiver(balanced(AckSplunk(), AckSplunk(), sticky=sticky)) as receiver:
        cookie = post(receiver, "a").headers["Set-Cookie"]

        assert cookie.startswith("node=0;")
        assert ask(receiver, [0], Cookie="node=0").json() == {"acks": {"0": reported}}
