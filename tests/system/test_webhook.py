"""What a webhook's endpoint may answer, through the whole pipeline: what is sent, what the ledger says."""

import json
import time
from collections import Counter
from typing import Any

import pytest

from tests.fleet import wait_until
from tests.receivers import scripts
from tests.receivers.webhook import WebhookReceiver, answers, by_event, demands_signature, refuses, takes
from tests.system.conftest import Customer
from worker.broker import keys
from worker.model.deliveries import MAX_REQUESTS, Status
from worker.model.failures import FailureCode

OLDER, NEWER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "Ab1+" * 8
TOKEN = "hunter2-hunter2"


def integrate(customer: Customer, url: str, **options: Any) -> None:
    """Create a webhook."""
    customer.integrate(url, type="webhook", **options)


def is_enabled(customer: Customer) -> bool:
    """Ask the ledger."""
    return customer.fleet.store.get(customer.integration).enabled


def is_off_and_at_rest(customer: Customer) -> bool:
    """Say whether it is disabled, and no further 410 is under way, which would switch it off anew."""
    client, slots = customer.fleet.client, keys.slot_prefix(customer.integration)
    under_way = any(client.hget(key, "state") == b"sending" for key in client.scan_iter(f"{slots}*"))
    return not (is_enabled(customer) or under_way or client.xlen(keys.OUTCOMES))


def test_each_event_arrives_by_itself_and_whole(customer: Customer) -> None:
    """Every byte of an event arrives, under its id, with the key, and the ledger has its row."""
    key = {"kind": "api_key", "header": "X-Key", "value": TOKEN}
    with WebhookReceiver() as endpoint:
        integrate(customer, endpoint.url, auth=key, headers={"X-Team": "blue"})
        events = customer.events(30, reason="Über | die = Grenze", context={"deep": [1, {"x": None}]})
        ids = customer.publish(events)
        rows = customer.settled(30)

    assert {(row.status, row.attempts, row.http_status) for row in rows.values()} == {
        (Status.DELIVERED, 1, 200)
    }
    assert {row.assurance for row in rows.values()} == {"accepted"}
    assert endpoint.ids == dict.fromkeys(ids, 1)
    assert sorted(request.body for request in endpoint.requests) == sorted(
        json.dumps(event).encode() for event in events
    )
    assert {request.headers["X-Key"] for request in endpoint.requests} == {TOKEN}
    assert {request.headers["X-Team"] for request in endpoint.requests} == {"blue"}
    assert sorted(str(request.headers["webhook-id"]) for request in endpoint.requests) == sorted(ids)


def test_a_hundred_events_with_seven_troubles(customer: Customer) -> None:
    """Five answer 500 twice, one 400, one 410: the ledger says exactly that, nothing goes out too often.

    The 410 switches the integration off; once it is on again, what waited and what met the 410 arrives.
    """
    troubled = [f"{customer.tenant}-{number}" for number in (3, 17, 40, 41, 88)]
    refused, gone = f"{customer.tenant}-55", f"{customer.tenant}-60"
    replay_result = {one: [answers(500)] * 2 for one in troubled}
    replay_result |= {refused: [answers(400, b"no such policy")], gone: [answers(410)]}
    with WebhookReceiver(by_event(replay_result)) as endpoint:
        integrate(customer, endpoint.url, connections=8)
        ids = customer.publish(customer.events(100))
        wait_until(lambda: not is_enabled(customer), "the integration is disabled")
        assert sum(row.status is Status.RETRYING for row in customer.fleet.rows(customer.integration))

        enabled = customer.fleet.siem("integrations", "enable", customer.integration)
        assert enabled.returncode == 0, enabled.stderr
        assert b"1 dead letter is sent again" in enabled.stdout
        wait_until(lambda: gone in endpoint.accepted_ids, "what met the 410 is sent again")
        wait_until(
            lambda: customer.settled(100)[gone].status is Status.DELIVERED, "its second sending is recorded"
        )
        rows = customer.settled(100)
        letters = {letter.event_id: letter for letter in customer.dead()}

    assert is_enabled(customer)
    delivered = {one for one, row in rows.items() if row.status is Status.DELIVERED}
    assert delivered == set(ids) - {refused}
    assert {one: row.attempts for one, row in rows.items()} == dict.fromkeys(ids, 1) | dict.fromkeys(
        troubled, 3
    )
    assert endpoint.ids == {one: row.attempts + (one == gone) for one, row in rows.items()}
    assert Counter(endpoint.accepted_ids) == Counter(delivered)
    assert set(letters) == {refused, gone}
    assert {letter.cause for letter in letters.values()} == {"refused"}
    assert (rows[refused].error_code, rows[refused].error) == ("event_refused", "HTTP 400: no such policy")
    died = letters[gone]
    assert died.error_code == FailureCode.ENDPOINT_GONE
    assert died.http_status == 410
    assert died.state == "replayed"
    assert "`siem integrations enable` sends what waited and this event" in (died.hint or "")


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"max_retries": 0}, {"body": "array", "redrive": False}])
def test_an_endpoint_that_was_gone_gets_everything_once_it_is_enabled(
    customer: Customer, options: dict[str, Any]
) -> None:
    """Whatever had met the 410, even if that happens a second time, and whatever else is configured."""
    replies = [answers(410)]
    with WebhookReceiver(lambda request: replies[-1](request)) as endpoint:  # noqa: PLW0108 - it changes
        integrate(customer, endpoint.url, **options)
        ids = customer.publish(customer.events(20))
        wait_until(lambda: is_off_and_at_rest(customer), "the integration is disabled")
        early = customer.fleet.siem("integrations", "enable", customer.integration)
        assert early.returncode == 0, early.stderr
        wait_until(lambda: is_off_and_at_rest(customer), "the integration is disabled again")
        replies.append(takes())
        customer.fleet.siem("integrations", "enable", customer.integration)
        wait_until(lambda: set(endpoint.accepted_ids) == set(ids), "everything has arrived")
        wait_until(
            lambda: {row.status for row in customer.settled(20).values()} == {Status.DELIVERED},
            "everything is delivered",
        )

    assert not [letter for letter in customer.dead() if letter.state == "waiting"]


def test_only_what_failed_is_sent_again(customer: Customer) -> None:
    """Two of forty fail once: they go out twice, the others once."""
    failing = [f"{customer.tenant}-{number}" for number in (0, 39)]
    with WebhookReceiver(by_event({one: [answers(503)] for one in failing})) as endpoint:
        integrate(customer, endpoint.url)
        ids = customer.publish(customer.events(40))
        rows = customer.settled(40)

    assert {row.status for row in rows.values()} == {Status.DELIVERED}
    assert endpoint.ids == dict.fromkeys(ids, 1) | dict.fromkeys(failing, 2)


def test_an_integration_may_ask_for_no_retries(customer: Customer) -> None:
    """With max_retries 0, one failure is the end of that event, and of no other."""
    failing = f"{customer.tenant}-2"
    with WebhookReceiver(by_event({failing: [answers(500, b"oops")] * 9})) as endpoint:
        integrate(customer, endpoint.url, max_retries=0)
        ids = customer.publish(customer.events(5))
        rows = customer.settled(5)
        [letter] = customer.dead()

    assert letter.event_id == failing
    assert letter.cause == "exhausted"
    assert letter.attempts == 1
    assert (rows[failing].error_code, rows[failing].error) == ("destination_busy", "HTTP 500: oops")
    assert endpoint.ids == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("max_retries", [1, 2, 3])
def test_an_event_is_retried_as_often_as_was_asked(customer: Customer, max_retries: int) -> None:
    """One that always fails is carried by that many requests and one more."""
    with WebhookReceiver(answers(500)) as endpoint:
        integrate(customer, endpoint.url, max_retries=max_retries)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

    assert (row.status, row.attempts) == (Status.DEAD, max_retries + 1)
    assert endpoint.ids[event_id] == max_retries + 1 <= MAX_REQUESTS


@pytest.mark.parametrize("wish", [lambda: "1", lambda: scripts.http_date(2)], ids=["seconds", "date"])
def test_retry_after_is_honoured(customer: Customer, wish: Any) -> None:
    """Seconds or a date (RFC 9110, section 10.2.3): the next request does not come before that."""
    script = by_event({f"{customer.tenant}-0": [answers(429, Retry_After=wish())]})
    with WebhookReceiver(script) as endpoint:
        integrate(customer, endpoint.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

    early, late = endpoint.requests
    assert (row.status, row.attempts) == (Status.DELIVERED, 2)
    assert late.arrived - early.arrived >= 0.9


def test_signatures_over_retries_and_with_two_secrets(customer: Customer) -> None:
    """Each attempt is signed anew under the same id; a receiver with either secret lets it in."""
    script = by_event({f"{customer.tenant}-1": [answers(500)]}, demands_signature(OLDER))
    with WebhookReceiver(script) as endpoint:
        integrate(customer, endpoint.url, signing_secrets=[NEWER, OLDER])
        ids = customer.publish(customer.events(10))
        rows = customer.settled(10)

    assert {row.status for row in rows.values()} == {Status.DELIVERED}
    assert Counter(str(request.headers["webhook-id"]) for request in endpoint.requests) == dict.fromkeys(
        ids, 1
    ) | {ids[1]: 2}
    assert all(abs(time.time() - int(str(r.headers["webhook-timestamp"]))) < 60 for r in endpoint.requests)


@pytest.mark.parametrize("body", ["array", "lines"])
def test_a_refused_event_does_not_take_its_batch_with_it(customer: Customer, body: str) -> None:
    """One in two hundred is refused with the whole request: it alone is dead, each other arrives once."""
    poison = f"{customer.tenant}-123"
    with WebhookReceiver(refuses(poison.__eq__)) as endpoint:
        integrate(customer, endpoint.url, body=body)
        ids = customer.publish(customer.events(200))
        rows = customer.settled(200)
        [letter] = customer.dead()

    assert (letter.event_id, letter.cause) == (poison, "refused")
    assert Counter(endpoint.accepted_ids) == Counter(set(ids) - {poison})
    assert max(endpoint.ids.values()) <= MAX_REQUESTS
    assert sum(row.status is Status.DELIVERED for row in rows.values()) == 199


def test_an_endpoint_that_hangs(customer: Customer) -> None:
    """No answer within the time-out: retried, and delivered once it answers."""
    script = by_event({f"{customer.tenant}-0": [scripts.hang()]})
    with WebhookReceiver(script) as endpoint:
        integrate(customer, endpoint.url, timeout_seconds=0.5)
        ids = customer.publish(customer.events(3))
        rows = customer.settled(3)

    assert [rows[one].attempts for one in ids] == [2, 1, 1]
    assert {row.status for row in rows.values()} == {Status.DELIVERED}


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (answers(401), "auth_refused", "HTTP 401"),
        (answers(404, b"<html>"), "url_refused", "HTTP 404"),
        (answers(308, Location="http://127.0.0.1:1/"), "redirected", "HTTP 308"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    customer: Customer, script: scripts.Script, code: str, words: str
) -> None:
    """What only a person can mend is said in words that name it; until then the event is held."""
    with WebhookReceiver(script) as endpoint:
        integrate(customer, endpoint.url, max_retries=0)
        customer.publish(customer.events(1))
        row = customer.held()

    assert (row.error_code, row.error) == (code, words)
    assert row.hint
    assert customer.dead() == []


def test_a_closed_network_is_refused(customer: Customer) -> None:
    """Nothing is dialled that the workers' allow-list does not open, and the ledger says what would."""
    integrate(customer, "http://10.11.12.13/hook", max_retries=0)
    customer.publish(customer.events(1))
    row = customer.held()

    assert row.error_code == "address_refused"
    assert "SIEM_ALLOWED_NETWORKS" in (row.hint or "")


def test_secrets_are_in_no_log(customer: Customer) -> None:
    """Neither in what the processes print, nor in what the ledger says, whatever the endpoint repeats."""
    echo = answers(500, f"{TOKEN} {OLDER} Bearer {TOKEN}".encode())
    with WebhookReceiver(echo) as endpoint:
        options: dict[str, Any] = {"auth": {"kind": "bearer", "token": TOKEN}, "signing_secrets": [OLDER]}
        integrate(customer, f"{endpoint.url}?key={TOKEN}", max_retries=1, **options)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

    assert f"Bearer {TOKEN}" in {request.headers["Authorization"] for request in endpoint.requests}
    assert row.status is Status.DEAD
    logs = "".join(customer.fleet.log(role) for role in ("worker", "router", "recorder"))
    assert event_id not in logs
    assert TOKEN not in f"{logs}{row}"
    assert OLDER not in f"{logs}{row}"


def test_an_endpoint_that_takes_it_with_another_status(customer: Customer) -> None:
    """Every 2xx is a yes, and the ledger says which."""
    with WebhookReceiver(takes(202)) as endpoint:
        integrate(customer, endpoint.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

    assert (row.status, row.http_status) == (Status.DELIVERED, 202)
    assert endpoint.accepted_ids == [event_id]
