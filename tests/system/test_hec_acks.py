"""Indexer acknowledgement through the whole pipeline: delivered means indexed, and what is not comes back.

Source: Splunk, "About HEC indexer acknowledgment".
"""

import json

import pytest

from tests.receivers import scripts
from tests.receivers.acks import AckSplunk, not_yet, unnumbered
from tests.receivers.hec import HecReceiver
from tests.system.conftest import Customer
from worker.model.deliveries import Assurance, Status

pytestmark = pytest.mark.slow


def test_delivered_means_indexed(customer: Customer) -> None:
    """Every event is confirmed before its row says delivered, and the row says that it is indexed."""
    with HecReceiver(AckSplunk()) as splunk:
        customer.integrate(splunk.url, use_ack=True)
        ids = customer.publish(customer.events(50))
        rows = customer.settled(50)

        assert sorted(splunk.accepted_ids) == sorted(ids)
        assert {(row.status, row.attempts, row.http_status) for row in rows.values()} == {
            (Status.DELIVERED, 1, 200)
        }
        assert {row.assurance for row in rows.values()} == {Assurance.INDEXED}
        assert len(splunk.polls) >= 1


def test_without_acknowledgement_delivered_means_accepted(customer: Customer) -> None:
    """The row claims no more than Splunk has said."""
    with HecReceiver(AckSplunk()) as splunk:
        customer.integrate(splunk.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert (row.status, row.assurance) == (Status.DELIVERED, Assurance.ACCEPTED)
        assert splunk.polls == []


def test_several_requests_wait_together(customer: Customer) -> None:
    """Four requests' worth of events go out, and are then asked about in one question."""
    with HecReceiver(AckSplunk()) as splunk:
        customer.integrate(splunk.url, use_ack=True, batch_events=5)
        customer.publish(customer.events(20))
        customer.settled(20)

        assert [len(request.ids) for request in splunk.posts] == [5, 5, 5, 5]
        assert json.loads(splunk.polls[0].body) == {"acks": [0, 1, 2, 3]}


def test_acknowledgements_that_come_late(customer: Customer) -> None:
    """As long as the time-out is not over, late is early enough: nothing is sent twice."""
    script = AckSplunk()
    script.polls = scripts.first(3, not_yet, then=script.truth)
    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url, use_ack=True)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert row.status == Status.DELIVERED
        assert row.attempts == 1
        assert row.assurance == Assurance.INDEXED
        assert splunk.request_counts(event_id) == 1
        assert len(splunk.polls) == 4


def test_acknowledgements_that_never_come(customer: Customer) -> None:
    """Sent again after the time-out, and dead in the end with the true reason: taken, but not indexed."""
    with HecReceiver(AckSplunk(polls=not_yet)) as splunk:
        customer.integrate(splunk.url, use_ack=True, ack_timeout_seconds=1, max_retries=1)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]
        [letter] = customer.dead()

        assert row.status == Status.DEAD
        assert row.attempts == 2
        assert row.error_code == "not_indexed"
        assert row.error == "Splunk took these events, but did not confirm within 1 s that they are indexed"
        assert "`ack_timeout_seconds`" in (row.hint or "")
        assert splunk.accepted_ids == [event_id, event_id]
        assert (letter.event_id, letter.cause) == (event_id, "exhausted")


def test_a_true_that_was_lost_on_its_way(customer: Customer) -> None:
    """Splunk says it once: the event is sent again with the same id, and confirmed then."""
    script = AckSplunk()
    lost = scripts.close_mid_response("nothing", of=script.truth)
    script.polls = scripts.first(1, lost, then=script.truth)
    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url, use_ack=True, ack_timeout_seconds=1)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert row.status == Status.DELIVERED
        assert row.attempts == 2
        assert row.assurance == Assurance.INDEXED
        assert splunk.accepted_ids == [event_id, event_id]


def test_a_splunk_that_was_restarted(customer: Customer) -> None:
    """It has forgotten what it took: that is sent again, and confirmed then."""
    script = AckSplunk()

    def restarted(request: scripts.Request) -> scripts.Action:
        script.restart()
        script.polls = script.truth
        return script.truth(request)

    script.polls = restarted
    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url, use_ack=True, ack_timeout_seconds=1)
        ids = customer.publish(customer.events(3))
        rows = customer.settled(3)

        assert {(row.status, row.attempts) for row in rows.values()} == {(Status.DELIVERED, 2)}
        assert splunk.accepted_ids == ids * 2


def test_a_token_without_acknowledgement(customer: Customer) -> None:
    """Nothing is called delivered that nobody can confirm; the ledger says what to change."""
    with HecReceiver(unnumbered(scripts.ok())) as splunk:
        customer.integrate(splunk.url, use_ack=True, max_retries=0)
        customer.publish(customer.events(1))
        row = customer.held()

        assert row.error_code == "ack_missing"
        assert "enable indexer acknowledgement" in (row.hint or "")
        assert "`use_ack`" in (row.hint or "")


def test_one_offender_among_the_confirmed(customer: Customer) -> None:
    """It alone is dead; what stands before and behind it is indexed."""
    offender = f"{customer.tenant}-7"
    script = AckSplunk(scripts.offender(lambda event: event["id"] == offender))
    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url, use_ack=True)
        ids = customer.publish(customer.events(20))
        rows = customer.settled(20)
        [letter] = customer.dead()

        assert letter.event_id == offender
        assert {row.assurance for row in rows.values() if row.event_id != offender} == {Assurance.INDEXED}
        assert splunk.accepted_ids == [one for one in ids if one != offender]
