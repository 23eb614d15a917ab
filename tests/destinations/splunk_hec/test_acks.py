"""With `use_ack`, delivered means indexed: who is confirmed, who is sent again, and why.

Source: Splunk, "About HEC indexer acknowledgment": every request of a channel has an ackId, `true` is
said once and then forgotten, and what is unknown reads `false`.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.destinations.batches import attempt_of, soon, verdicts
from tests.destinations.senders import TOKEN, splunk_to
from tests.receivers import scripts
from tests.receivers.acks import AckSplunk, not_yet, unnumbered
from tests.receivers.hec import HecReceiver
from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.model.deliveries import Assurance, DeliveryResult, Failure, Verdict
from worker.model.failures import FailureCode

ACCEPTED, RETRY, REFUSED = Verdict.ACCEPTED, Verdict.RETRY, Verdict.REFUSED


@contextmanager
def acknowledged(script: scripts.Script, **options: Any) -> Iterator[tuple[HecReceiver, SplunkHecSender]]:
    """Give a Splunk that follows the script, and a sender to it that wants confirmations."""
    with HecReceiver(script) as splunk, splunk_to(splunk.url, use_ack=True, **options) as sender:
        yield splunk, sender


def asked(splunk: HecReceiver) -> list[list[int]]:
    """Return which ackIds each question was about."""
    return [json.loads(request.body)["acks"] for request in splunk.polls]


def failure_of(results: list[DeliveryResult]) -> Failure:
    """Return the one finding that all rulings share."""
    [failure] = {result.failure for result in results}
    assert failure is not None
    return failure


def test_what_splunk_confirms_is_delivered_as_indexed() -> None:
    """Three requests on one channel, one question about all of them, and three rulings that say indexed."""
    attempt = attempt_of(6)
    with acknowledged(scripts.demand_token(TOKEN, AckSplunk()), batch_events=2) as (splunk, sender):
        results = sender.send(attempt, soon())

    [question] = splunk.polls
    assert set(verdicts(attempt, results).values()) == {ACCEPTED}
    assert {(result.assurance, result.http_status, result.failure) for result in results} == {
        (Assurance.INDEXED, 200, None)
    }
    assert question.body == b'{"acks":[0,1,2]}'
    assert question.path == f"/services/collector/ack?channel={splunk.posts[0].channel}"
    # Some implementations refuse a channel that is named twice.
    assert "X-Splunk-Request-Channel" not in question.headers
    assert len({post.channel for post in splunk.posts}) == 1


def test_only_what_is_open_is_asked_again() -> None:
    """`true` is said once: a request that has it is not asked about any more, and keeps it."""
    answers = [b'{"acks":{"0":false,"1":true}}', b'{"acks":{"0":false}}', b'{"acks":{"0":true}}']
    polls = scripts.sequence(*(scripts.always(scripts.Action(200, body)) for body in answers))
    attempt = attempt_of(2)
    with acknowledged(AckSplunk(polls=polls), batch_events=1) as (splunk, sender):
        results = sender.send(attempt, soon())

    assert asked(splunk) == [[0, 1], [0], [0]]
    assert [list(result.places) for result in results] == [[1], [0]]
    assert set(verdicts(attempt, results).values()) == {ACCEPTED}
    assert results[0].elapsed_ms <= results[1].elapsed_ms


def test_what_is_never_confirmed_is_sent_again() -> None:
    """After `ack_timeout_seconds` the events come back, with the reason and what to do about it."""
    attempt = attempt_of(3)
    with acknowledged(AckSplunk(polls=not_yet), ack_timeout_seconds=1) as (splunk, sender):
        results = sender.send(attempt, soon())

    failure = failure_of(results)
    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert failure.code == FailureCode.NOT_INDEXED
    assert failure.message == "Splunk took these events, but did not confirm within 1 s that they are indexed"
    assert "`ack_timeout_seconds`" in failure.hint
    assert len(splunk.polls) > 1
    assert len(splunk.posts) == 1
    assert set(attempt.request_counts) == {1}


def test_the_deadline_ends_the_waiting() -> None:
    """However long an integration wants to wait, the batch is ruled upon before its deadline."""
    attempt = attempt_of(3)
    with acknowledged(AckSplunk(polls=not_yet), ack_timeout_seconds=250) as (_, sender):
        results = sender.send(attempt, time.monotonic() + 2)

    assert failure_of(results).code == FailureCode.NOT_INDEXED


def test_a_request_that_hangs_leaves_time_to_ask_about_the_others() -> None:
    """Half of the time is kept for confirmations: what was taken before the silence is delivered."""
    attempt = attempt_of(2)
    events = scripts.sequence(scripts.ok(), scripts.hang())
    with acknowledged(AckSplunk(events), batch_events=1) as (_, sender):
        results = sender.send(attempt, time.monotonic() + 2)

    assert verdicts(attempt, results) == {"e0": ACCEPTED, "e1": RETRY}
    assert [result.failure.code for result in results if result.failure] == ["timed_out"]


def test_a_token_without_acknowledgement_is_reported() -> None:
    """A 200 without an ackId can never be confirmed; the rest of the batch is not sent needlessly."""
    attempt = attempt_of(4)
    with acknowledged(unnumbered(scripts.ok()), batch_events=2) as (splunk, sender):
        results = sender.send(attempt, soon())

    failure = failure_of(results)
    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert failure.code == FailureCode.ACK_MISSING
    assert "enable indexer acknowledgement" in failure.hint
    assert "`use_ack`" in failure.hint
    assert (len(splunk.posts), splunk.polls) == (1, [])


@pytest.mark.parametrize(
    ("status", "code", "failure", "setting"),
    [
        (400, 14, "ack_disabled", "`use_ack`"),
        (400, 10, "channel_missing", "`use_ack`"),
        (401, 2, "token_missing", "`token`"),
        (403, 4, "token_invalid", "`token`"),
        (403, None, "refused", "`token`"),
    ],
)
def test_a_question_that_a_setting_forbids_is_not_repeated(
    status: int, code: int | None, failure: str, setting: str
) -> None:
    """No waiting corrects a configuration: the events come back at once with the setting to correct."""
    attempt = attempt_of(2)
    with acknowledged(AckSplunk(polls=scripts.status(status, code))) as (splunk, sender):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert failure_of(results).code == failure
    assert setting in failure_of(results).hint
    assert len(splunk.polls) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        scripts.busy(),
        scripts.status(500, code=8),
        scripts.status(404),
        scripts.status(429, code=26),
        scripts.status(200, code=0),
        scripts.html(),
        scripts.redirect("http://127.0.0.1/"),
        scripts.close_mid_response("nothing", reset=True, of=not_yet),
        scripts.close_mid_response("body", of=not_yet),
    ],
)
def test_a_question_that_fails_is_asked_again(trouble: scripts.Script) -> None:
    """Neither a busy Splunk nor a broken connection says anything about what is indexed."""
    attempt = attempt_of(2)
    splunk = AckSplunk()
    splunk.polls = scripts.first(2, trouble, then=splunk.truth)
    with acknowledged(splunk) as (receiver, sender):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {ACCEPTED}
    assert len(receiver.polls) == 3


def test_the_last_trouble_is_named() -> None:
    """Where the questions themselves fail, the failure says how, and what to do."""
    attempt = attempt_of(2)
    with acknowledged(AckSplunk(polls=scripts.status(404, 404)), ack_timeout_seconds=1) as (_, sender):
        failure = failure_of(sender.send(attempt, soon()))

    assert failure.code == FailureCode.NOT_INDEXED
    assert failure.message.endswith(
        "asked at last: HTTP 404: The requested URL was not found on this server. (code 404)"
    )
    assert "`url`" in failure.hint


def test_a_true_that_nobody_heard_means_a_duplicate() -> None:
    """Splunk forgets what it has said: the events are sent again, with the same ids, and confirmed then."""
    splunk = AckSplunk()
    lost = scripts.close_mid_response("nothing", of=splunk.truth)
    splunk.polls = scripts.first(1, lost, then=splunk.truth)
    attempt = attempt_of(2)
    with acknowledged(splunk, ack_timeout_seconds=1) as (receiver, sender):
        first = sender.send(attempt, soon())
        second = sender.send(attempt, soon())

    assert failure_of(first).code == FailureCode.NOT_INDEXED
    assert set(verdicts(attempt, second).values()) == {ACCEPTED}
    assert receiver.accepted_ids == ["e0", "e1", "e0", "e1"]


def test_what_a_restarted_splunk_forgot_is_sent_again() -> None:
    """After a restart every ackId reads `false`; only sending again shows more."""
    splunk = AckSplunk()

    def restarted(request: scripts.Request) -> scripts.Action:
        splunk.restart()
        splunk.polls = splunk.truth
        return splunk.truth(request)

    splunk.polls = restarted
    attempt = attempt_of(2)
    with acknowledged(splunk, ack_timeout_seconds=1) as (receiver, sender):
        first = sender.send(attempt, soon())
        second = sender.send(attempt, soon())

    assert failure_of(first).code == FailureCode.NOT_INDEXED
    assert set(verdicts(attempt, second).values()) == {ACCEPTED}
    assert receiver.accepted_ids == ["e0", "e1", "e0", "e1"]


def test_what_was_taken_before_splunk_got_busy_is_confirmed() -> None:
    """A 503 in mid-batch puts the rest off, and takes nothing back."""
    attempt = attempt_of(4)
    events = scripts.sequence(scripts.ok(), scripts.throttled(7))
    with acknowledged(AckSplunk(events), batch_events=1) as (splunk, sender):
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": ACCEPTED, "e1": RETRY, "e2": RETRY, "e3": RETRY}
    assert {result.assurance for result in results if result.verdict is ACCEPTED} == {Assurance.INDEXED}
    assert list(attempt.request_counts) == [1, 1, 0, 0]
    assert asked(splunk) == [[0]]


def test_what_stands_before_an_offender_is_confirmed_as_well() -> None:
    """The 400 carries the ackId of what was taken before the offender."""
    attempt = attempt_of(5)
    events = scripts.offender(lambda event: event["id"] == "e2")
    with acknowledged(AckSplunk(events)) as (splunk, sender):
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert ruled == {"e0": ACCEPTED, "e1": ACCEPTED, "e2": REFUSED, "e3": ACCEPTED, "e4": ACCEPTED}
    assert asked(splunk) == [[0, 1]]
    assert splunk.accepted_ids == ["e0", "e1", "e3", "e4"]


def test_an_offender_at_the_head_leaves_nothing_to_ask_about() -> None:
    """Nothing stands before it, so nothing of its request was taken."""
    attempt = attempt_of(2)
    events = scripts.offender(lambda event: event["id"] == "e0")
    with acknowledged(AckSplunk(events)) as (splunk, sender):
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert ruled == {"e0": REFUSED, "e1": ACCEPTED}
    assert asked(splunk) == [[0]]


def test_what_an_offender_leaves_unnumbered_is_sent_again() -> None:
    """A 400 without an ackId: what it took goes out once more, to be distinguished from what was lost."""
    attempt = attempt_of(4)
    splunk = AckSplunk()
    offender = scripts.offender(lambda event: event["id"] == "e2")

    def forgetful(request: scripts.Request) -> scripts.Action:
        return offender(request) if "e2" in request.ids else splunk(request)

    with acknowledged(forgetful) as (receiver, sender):
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert ruled == {"e0": ACCEPTED, "e1": ACCEPTED, "e2": REFUSED, "e3": ACCEPTED}
    assert sorted(receiver.accepted_ids) == ["e0", "e0", "e1", "e1", "e3"]
    assert list(attempt.request_counts) == [2, 2, 1, 2]


def test_what_has_no_request_left_to_be_confirmed_by_comes_back() -> None:
    """The fourth request took it without an ackId: it is not delivered, and not carried a fifth time."""
    attempt = attempt_of(2, carried=[3, 3])
    with acknowledged(scripts.offender(lambda event: event["id"] == "e1")) as (splunk, sender):
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": RETRY, "e1": REFUSED}
    assert {result.failure.code for result in results if result.failure} == {"not_indexed", "event_refused"}
    assert len(splunk.posts) == 1


def test_without_use_ack_an_ack_id_means_nothing() -> None:
    """The integration did not ask for it: accepted is delivered, and nothing is polled."""
    attempt = attempt_of(3)
    with HecReceiver(AckSplunk()) as splunk, splunk_to(splunk.url) as sender:
        [result] = sender.send(attempt, soon())

    assert (result.verdict, result.assurance) == (ACCEPTED, Assurance.ACCEPTED)
    assert splunk.polls == []
