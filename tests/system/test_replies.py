"""What a Splunk may answer, through the whole pipeline: the ledger's words, and who was sent how often."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import Customer
from worker.model.deliveries import MAX_REQUESTS, Status


def test_events_arrive_whole_and_are_recorded(customer: Customer) -> None:
    """Every byte of an event arrives, in Splunk's envelope, and the ledger has its row."""
    with HecReceiver() as splunk:
        customer.integrate(splunk.url, index="security")
        events = customer.events(3, reason="Über | die = Grenze", context={"deep": [1, {"x": None}]})
        ids = customer.publish(events)
        rows = customer.settled(3)

        [request] = splunk.posts
        assert splunk.events == events
        assert sorted(rows) == sorted(ids)
        assert {row.status for row in rows.values()} == {Status.DELIVERED}
        assert {(row.attempts, row.http_status, row.error) for row in rows.values()} == {(1, 200, None)}
        assert request.headers["Authorization"] == "Splunk secret-token"
        assert request.headers["X-Splunk-Request-Channel"]
        assert b'{"time":1795342272.345,"host":"mitrity","source":"mitrity",' in request.body
        assert b'"sourcetype":"mitrity:governance","index":"security","event":{' in request.body


def test_bodies_may_be_compressed(customer: Customer) -> None:
    """With gzip switched on, the same events arrive compressed."""
    with HecReceiver() as splunk:
        customer.integrate(splunk.url, gzip=True)
        events = customer.events(50)
        customer.publish(events)
        customer.settled(50)

        assert splunk.events == events
        assert splunk.posts[0].headers["Content-Encoding"] == "gzip"
        assert len(splunk.posts[0].wire_body) < len(splunk.posts[0].body) / 2


def test_busy_twice_and_then_well(customer: Customer) -> None:
    """503 twice, then 200: delivered at the third attempt."""
    with HecReceiver(scripts.first(2, scripts.busy())) as splunk:
        customer.integrate(splunk.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert (row.status, row.attempts) == (Status.DELIVERED, 3)
        assert splunk.request_counts(event_id) == 3
        assert splunk.accepted_ids == [event_id]


def test_busy_for_ever(customer: Customer) -> None:
    """503 for ever: four requests, then a dead letter that says so and holds the payload."""
    with HecReceiver(scripts.busy()) as splunk:
        customer.integrate(splunk.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]
        [letter] = customer.dead()

        assert row.status == Status.DEAD
        assert row.attempts == MAX_REQUESTS
        assert row.http_status == 503
        assert (row.error_code, row.error) == ("destination_busy", "HTTP 503: Server is busy (code 9)")
        assert splunk.request_counts(event_id) == MAX_REQUESTS
        assert letter.event_id == event_id
        assert letter.cause == "exhausted"
        assert letter.attempts == MAX_REQUESTS
        assert event_id.encode() in letter.payload


def test_an_integration_may_ask_for_no_retries(customer: Customer) -> None:
    """With max_retries 0, one failure is the end."""
    with HecReceiver(scripts.busy()) as splunk:
        customer.integrate(splunk.url, max_retries=0)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert (row.status, row.attempts) == (Status.DEAD, 1)
        assert splunk.request_counts(event_id) == 1


def test_retry_after_is_honoured(customer: Customer) -> None:
    """429 with Retry-After: the next request does not come before that."""
    with HecReceiver(scripts.first(1, scripts.throttled(1))) as splunk:
        customer.integrate(splunk.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        early, late = splunk.posts
        assert (row.status, row.attempts) == (Status.DELIVERED, 2)
        assert late.arrived - early.arrived >= 1


def test_while_it_waits_the_ledger_says_when_it_goes_on(customer: Customer) -> None:
    """A delivery that will be retried is shown as such, with the reason and the time of its next attempt."""
    with HecReceiver(scripts.throttled(3000)) as splunk:
        customer.integrate(splunk.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.fleet.first_row(customer.integration)

        assert row.event_id == event_id
        assert row.status == Status.RETRYING
        assert row.error_code == "destination_busy"
        assert row.retry_at_ms is not None
        assert row.retry_at_ms - row.settled_ms >= 3_000_000


@pytest.mark.parametrize("code", [6, 12, 13, 15])
def test_one_offender_does_not_take_its_batch_with_it(customer: Customer, code: int) -> None:
    """400 with an offender amid 500: it alone is dead, what stands before it is not sent again."""
    offender = f"{customer.tenant}-250"
    script = scripts.offender(lambda event: event["id"] == offender, code=code)
    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url)
        ids = customer.publish(customer.events(500))
        rows = customer.settled(500)
        [letter] = customer.dead()

        assert sorted(splunk.accepted_ids) == sorted(set(ids) - {offender})
        assert letter.event_id == offender
        assert letter.cause == "refused"
        assert letter.error_code == "event_refused"
        assert (rows[offender].status, rows[offender].http_status) == (Status.DEAD, 400)
        assert sum(row.status is Status.DELIVERED for row in rows.values()) == 499
        assert {splunk.request_counts(one) for one in ids[:250]} == {1}


def test_many_offenders_cost_no_event_more_than_four_requests(customer: Customer) -> None:
    """However many are refused, each event is carried by at most four requests, and none is lost."""
    script = scripts.offender(lambda event: int(event["id"].rpartition("-")[2]) % 7 == 0)
    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url)
        ids = customer.publish(customer.events(200))
        customer.settled(200)

        refused = [one for one in ids if int(one.rpartition("-")[2]) % 7 == 0]
        assert sorted(letter.event_id or "" for letter in customer.dead()) == sorted(refused)
        assert sorted(splunk.accepted_ids) == sorted(set(ids) - set(refused))
        assert max(splunk.request_counts(one) for one in ids) <= MAX_REQUESTS


def test_too_large_a_request_is_split(customer: Customer) -> None:
    """413: the same events go out in smaller requests, each once."""
    with HecReceiver(scripts.too_large(max_events=30)) as splunk:
        customer.integrate(splunk.url)
        ids = customer.publish(customer.events(100))
        rows = customer.settled(100)

        assert sorted(splunk.accepted_ids) == sorted(ids)
        assert {row.status for row in rows.values()} == {Status.DELIVERED}
        assert max(splunk.request_counts(one) for one in ids) <= MAX_REQUESTS


def test_an_event_that_is_too_large_by_itself_is_dead(customer: Customer) -> None:
    """413 for a single event: a dead letter that says what to change; its neighbours arrive."""
    with HecReceiver(scripts.too_large(max_bytes=5_000)) as splunk:
        customer.integrate(splunk.url)
        events = customer.events(3)
        events[1]["reason"] = "x" * 10_000
        ids = customer.publish(events)
        rows = customer.settled(3)

        assert sorted(splunk.accepted_ids) == sorted([ids[0], ids[2]])
        assert (rows[ids[1]].status, rows[ids[1]].error_code) == (Status.DEAD, "too_large")
        assert "batch_bytes" in (rows[ids[1]].hint or "")


def test_a_receiver_that_hangs(customer: Customer) -> None:
    """No answer within the time-out: retried, and delivered once it answers."""
    with HecReceiver(scripts.first(1, scripts.hang())) as splunk:
        customer.integrate(splunk.url, timeout_seconds=0.5)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert (row.status, row.attempts) == (Status.DELIVERED, 2)


def test_a_receiver_that_hangs_for_ever(customer: Customer) -> None:
    """The dead letter of a destination that never answers says so."""
    with HecReceiver(scripts.hang()) as splunk:
        customer.integrate(splunk.url, timeout_seconds=0.2, max_retries=1)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert row.status == Status.DEAD
        assert row.attempts == 2
        assert row.error_code == "timed_out"
        assert splunk.request_counts(event_id) == 2


@pytest.mark.parametrize("after", ["nothing", "status", "headers", "body"])
def test_a_connection_that_breaks_in_mid_response(customer: Customer, after: str) -> None:
    """It may have been accepted: the event is sent again, with the same id."""
    with HecReceiver(scripts.first(1, scripts.close_mid_response(after))) as splunk:
        customer.integrate(splunk.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert (row.status, row.attempts) == (Status.DELIVERED, 2)
        assert splunk.accepted_ids == [event_id, event_id]


def test_a_receiver_that_resets_every_connection(customer: Customer) -> None:
    """A connection that is always torn down ends in a dead letter that says so."""
    with HecReceiver(scripts.close_mid_response("nothing", reset=True, taking=False)) as splunk:
        customer.integrate(splunk.url, max_retries=1)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert row.status == Status.DEAD
        assert row.attempts == 2
        assert row.error_code == "connection_lost"


def test_a_receiver_that_refuses_tls(customer: Customer) -> None:
    """An https url to a port that speaks plain HTTP is a setting to mend: it is named, the event held."""
    with HecReceiver() as splunk:
        customer.integrate(splunk.url.replace("http://", "https://"), max_retries=1)
        customer.publish(customer.events(1))
        row = customer.held()

        assert row.error_code == "tls_failed"
        assert splunk.events == []


def test_nobody_listens(customer: Customer) -> None:
    """A closed port ends in a dead letter that names address and port."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        customer.integrate(f"http://127.0.0.1:{port}/services/collector", max_retries=1)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

    assert (row.status, row.error_code) == (Status.DEAD, "connect_failed")
    assert str(port) in (row.error or "")


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (scripts.reject_token(), "token_invalid", "HTTP 403: Invalid token (code 4)"),
        (scripts.incorrect_index(), "index_incorrect", "HTTP 400: Incorrect index (code 7)"),
        (scripts.html(), "not_splunk", "HTTP 200 with an answer that is not Splunk's"),
        (scripts.redirect("https://elsewhere.example/"), "redirected", "HTTP 302"),
        (scripts.status(404, code=404), "refused", "HTTP 404"),
    ],
    ids=["token", "index", "page", "redirect", "path"],
)
def test_a_setting_that_is_wrong_is_named(
    customer: Customer, script: scripts.Script, code: str, words: str
) -> None:
    """What only a person can mend is said in words that name it; until then the event is held."""
    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url, max_retries=0)
        customer.publish(customer.events(1))
        row = customer.held()

        assert row.error_code == code
        assert (row.error or "").startswith(words)
        assert row.hint
        assert customer.dead() == []


@pytest.fixture
def second_receiver() -> Iterator[HecReceiver]:
    """Give a receiver that nothing should reach."""
    with HecReceiver() as receiver:
        yield receiver


def test_a_redirect_is_not_followed(customer: Customer, second_receiver: HecReceiver) -> None:
    """A token is never carried to another address."""
    with HecReceiver(scripts.redirect(second_receiver.url, 307)) as splunk:
        customer.integrate(splunk.url, max_retries=0)
        [event_id] = customer.publish(customer.events(1))
        customer.held()

        assert splunk.request_counts(event_id) >= 1
        assert second_receiver.requests == []


def test_each_event_goes_to_those_who_want_it(customer: Customer) -> None:
    """Types and tenants decide; policy.allow only where it was asked for."""
    with HecReceiver() as some, HecReceiver() as everything:
        customer.integrate(some.url)
        archive = f"{customer.tenant}-archive"
        types = ["policy.allow", "policy.deny"]
        customer.fleet.integrate(everything.url, archive, tenant_id=customer.tenant, event_types=types)
        events: list[dict[str, Any]] = customer.events(4)
        events[1] |= {"type": "policy.allow"}
        events[2] |= {"type": "agent.connected"}
        events[3] |= {"tenant_id": "somebody-else"}
        ids = customer.publish(events)
        customer.settled(2)
        customer.fleet.settled(2, f"int_{archive}")

        assert sorted(some.accepted_ids) == [ids[0], ids[2]]
        assert sorted(everything.accepted_ids) == [ids[0], ids[1]]


def test_what_is_deleted_leaves_dead_letters(customer: Customer) -> None:
    """Deleting an integration loses nothing: what it had not received is a dead letter."""
    answering = threading.Event()

    def slowly(request: scripts.Request) -> scripts.Action:
        answering.set()
        return scripts.busy()(request)

    with HecReceiver(slowly) as splunk:
        customer.integrate(splunk.url)
        ids = customer.publish(customer.events(3))
        assert answering.wait(20)
        customer.fleet.store.delete(customer.integration)
        customer.fleet.announce()
        rows = customer.settled(3)

        assert {row.status for row in rows.values()} == {Status.DEAD}
        assert {letter.cause for letter in customer.dead()} <= {"deleted"}
        assert sorted(letter.event_id or "" for letter in customer.dead()) == sorted(ids)
