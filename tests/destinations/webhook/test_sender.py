"""A batch on its way to a webhook, event by event: what is sent, and how each answer is ruled."""

import json
import time
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from tests.destinations.batches import attempt_of, failures, next_attempt, soon, verdicts
from tests.destinations.senders import NEWER, OLDER, TOKEN, webhook_to
from tests.receivers import scripts
from tests.receivers.webhook import WebhookReceiver, answers, by_event, demands_signature, is_signed
from worker.model.batches import SETTLED, DeliveryAttempt
from worker.model.deliveries import MAX_REQUESTS, Assurance, Verdict
from worker.model.errors import InvalidIntegration
from worker.model.settlement import RetryPolicy, settle_results

ACCEPTED, RETRY, REFUSED = Verdict.ACCEPTED, Verdict.RETRY, Verdict.REFUSED


def renamed(attempt: DeliveryAttempt, *ids: str) -> DeliveryAttempt:
    """Give the events of the batch these ids."""
    attempt.batch.events[:] = [
        msgspec.structs.replace(event, id=one, raw=json.dumps({"id": one}).encode())
        for event, one in zip(attempt.batch.events, ids, strict=True)
    ]
    return attempt


def test_each_event_goes_out_by_itself() -> None:
    """A request for each, with the event's own bytes, its id and the time; all are ruled accepted."""
    attempt, before = attempt_of(50), int(time.time())
    with WebhookReceiver() as endpoint, webhook_to(endpoint.url) as sender:
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {ACCEPTED}
    assert {(one.http_status, one.failure, one.assurance) for one in results} == {
        (200, None, Assurance.ACCEPTED)
    }
    assert sorted(request.body for request in endpoint.requests) == sorted(
        e.raw for e in attempt.batch.events
    )
    assert set(attempt.request_counts) == {1}
    for request in endpoint.requests:
        assert (request.method, request.path) == ("POST", "/hook")
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["webhook-id"] == json.loads(request.body)["id"]
        assert before <= int(str(request.headers["webhook-timestamp"])) <= time.time()
        assert "webhook-signature" not in request.headers
        assert "Authorization" not in request.headers


def test_rulings_are_few_and_their_times_are_near() -> None:
    """Events that were accepted about the same time share a ruling, which says when that was."""
    attempt = attempt_of(300)
    with WebhookReceiver() as endpoint, webhook_to(endpoint.url) as sender:
        results = sender.send(attempt, soon())
        whole = (time.monotonic() - attempt.batch.claimed_at) * 1000

    assert len(results) < 60
    assert [result.elapsed_ms for result in results] == sorted(result.elapsed_ms for result in results)
    assert results[-1].elapsed_ms <= whole + 1


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"kind": "bearer", "token": TOKEN}, "Authorization", f"Bearer {TOKEN}"),
        ({"kind": "api_key", "value": TOKEN}, "X-Api-Key", TOKEN),
        (
            {"kind": "api_key", "header": "Authorization", "value": f"Key {TOKEN}"},
            "Authorization",
            f"Key {TOKEN}",
        ),
        ({"kind": "none"}, "Authorization", None),
    ],
)
def test_auth_and_headers_go_with_each_request(auth: dict[str, str], header: str, value: str | None) -> None:
    """A bearer token (RFC 6750), a key in a header of its own, or nothing; and the integration's headers."""
    with (
        WebhookReceiver() as endpoint,
        webhook_to(endpoint.url, auth=auth, headers={"X-Team": "blue", "X-Site": "eu 1"}) as sender,
    ):
        sender.send(attempt_of(2), soon())

    assert [request.headers[header] for request in endpoint.requests] == [value, value]
    assert {request.headers["X-Team"] for request in endpoint.requests} == {"blue"}
    assert {request.headers["X-Site"] for request in endpoint.requests} == {"eu 1"}


def test_requests_are_signed() -> None:
    """Standard Webhooks 1.0.0: over id, time and exactly the bytes sent, as a receiver verifies it."""
    attempt = renamed(attempt_of(3), "evt_1", "ключ . 2", "a.b")
    with (
        WebhookReceiver(demands_signature(OLDER)) as endpoint,
        webhook_to(endpoint.url, signing_secrets=[OLDER]) as sender,
    ):
        assert set(verdicts(attempt, sender.send(attempt, soon())).values()) == {ACCEPTED}

    ids = [str(request.headers["webhook-id"]) for request in endpoint.requests]
    assert sorted(map(unquote, ids)) == sorted(["evt_1", "ключ . 2", "a.b"])
    assert all("." not in one for one in ids)


def test_a_secret_is_changed_without_a_gap() -> None:
    """With two secrets, receivers that know either let the request in; the newest signs first."""
    with (
        WebhookReceiver(demands_signature(OLDER)) as old,
        WebhookReceiver(demands_signature(NEWER)) as new,
    ):
        for endpoint in (old, new):
            with webhook_to(endpoint.url, signing_secrets=[NEWER, OLDER]) as sender:
                results = sender.send(attempt := attempt_of(3), soon())
            assert set(verdicts(attempt, results).values()) == {ACCEPTED}
        first, second = str(new.requests[0].headers["webhook-signature"]).split(" ")

    assert is_signed(new.requests[0], NEWER)
    assert first != second
    assert first.startswith("v1,")


def test_a_retry_has_the_same_id_and_is_signed_anew() -> None:
    """The id is what receivers deduplicate by; the time is that of the attempt."""
    script = by_event({"e0": [answers(500)]}, demands_signature(OLDER))
    with WebhookReceiver(script) as endpoint, webhook_to(endpoint.url, signing_secrets=[OLDER]) as sender:
        attempt = attempt_of(1)
        sender.send(attempt, soon())
        first = int(time.time())
        while int(time.time()) == first:  # timestamps are in whole seconds
            time.sleep(0.01)
        assert verdicts(attempt, sender.send(attempt, soon())) == {"e0": ACCEPTED}

    early, late = endpoint.requests
    assert early.headers["webhook-id"] == late.headers["webhook-id"] == "e0"
    assert int(str(late.headers["webhook-timestamp"])) > int(str(early.headers["webhook-timestamp"]))
    assert early.headers["webhook-signature"] != late.headers["webhook-signature"]


def test_nothing_open_is_nothing_to_do() -> None:
    """A batch whose events are all settled sends nothing."""
    attempt = attempt_of(1, carried=[SETTLED])
    with WebhookReceiver() as endpoint, webhook_to(endpoint.url) as sender:
        assert sender.send(attempt, soon()) == []

    assert endpoint.requests == []


def test_each_event_has_a_verdict_of_its_own() -> None:
    """What one is answered says nothing of the others."""
    ends_of = {
        "e1": [answers(400, b'{"error":"bad"}')],
        "e4": [answers(500)],
        "e5": [answers(204)],
        "e7": [answers(422)],
        "e8": [answers(404)],
    }
    attempt = attempt_of(10)
    with WebhookReceiver(by_event(ends_of)) as endpoint, webhook_to(endpoint.url) as sender:
        results = sender.send(attempt, soon())

    ruled = verdicts(attempt, results)
    assert {one for one, verdict in ruled.items() if verdict is REFUSED} == {"e1", "e7"}
    assert {one for one, verdict in ruled.items() if verdict is RETRY} == {"e4", "e8"}
    assert failures(attempt, results) == dict.fromkeys(ruled) | {
        "e1": "event_refused",
        "e4": "destination_busy",
        "e7": "event_refused",
        "e8": "url_refused",
    }
    [words] = [r.failure.message for r in results if r.failure and r.failure.message.startswith("HTTP 400")]
    assert words == 'HTTP 400: {"error":"bad"}'
    assert set(endpoint.ids.values()) == {1}


def test_only_what_failed_is_sent_again() -> None:
    """The settlement marks what is done; the next sending of the batch carries the rest."""
    attempt = attempt_of(20)
    script = by_event({"e3": [answers(500)] * 2, "e4": [answers(500)]})
    with WebhookReceiver(script) as endpoint, webhook_to(endpoint.url) as sender:
        for _ in range(3):
            settle_results(attempt, sender.send(attempt, soon()), RetryPolicy(MAX_REQUESTS, 0))
            attempt = next_attempt(attempt, 0, time.monotonic())

    assert set(attempt.request_counts) == {SETTLED}
    assert endpoint.ids == {f"e{n}": 1 for n in range(20)} | {"e3": 3, "e4": 2}


SCRIPTS = [
    answers(500, f"token {TOKEN} of /hook?key={TOKEN}".encode()),
    answers(400, f'{{"you sent": "Bearer {TOKEN}"}}'.encode()),
    answers(401, TOKEN.encode()),
    answers(302, Location=f"http://127.0.0.1/{TOKEN}"),
    answers(410, f"X-Team: {TOKEN}-blue".encode()),
    scripts.close_mid_response(taking=False),
    scripts.close_mid_response("nothing", reset=True, taking=False),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_failure_contains_a_secret(script: scripts.Script) -> None:
    """Whatever an endpoint says, the words about it may be shown to any user."""
    options: dict[str, Any] = {
        "auth": {"kind": "bearer", "token": TOKEN},
        "headers": {"X-Team": f"{TOKEN}-blue"},
        "signing_secrets": [OLDER],
    }
    with (
        WebhookReceiver(script) as endpoint,
        webhook_to(f"{endpoint.url}?key={TOKEN}", **options) as sender,
    ):
        results = sender.send(attempt := attempt_of(3), soon())

    assert ACCEPTED not in verdicts(attempt, results).values()
    assert TOKEN not in repr(results)
    assert OLDER not in repr(results)


def test_an_unreachable_endpoint_is_described() -> None:
    """Nothing listens there: the batch comes back with the reason."""
    with WebhookReceiver() as gone:
        pass
    with webhook_to(gone.url) as sender:
        results = sender.send(attempt := attempt_of(100), soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert set(failures(attempt, results).values()) == {"connect_failed"}
    assert 0 < sum(attempt.request_counts) < 20


def test_tls_options_that_cannot_be_read_are_reported_at_once() -> None:
    """A broken PEM is a matter of configuration: there is no sender, and events wait."""
    with pytest.raises(InvalidIntegration, match="ca_pem"), webhook_to("https://a.example/", ca_pem="no PEM"):
        pass


def test_no_event_goes_out_more_often_than_is_allowed() -> None:
    """Four sendings are four requests for each event that fails, and one for each that does not."""
    attempt = attempt_of(12)
    ends_of = {f"e{number}": [answers(500)] * 9 for number in (2, 3, 11)}
    with WebhookReceiver(by_event(ends_of)) as endpoint, webhook_to(endpoint.url) as sender:
        for _ in range(MAX_REQUESTS):
            settle_results(attempt, sender.send(attempt, soon()), RetryPolicy(MAX_REQUESTS, 0))
            attempt = next_attempt(attempt, 0, time.monotonic())

    assert {one for one, count in endpoint.ids.items() if count == MAX_REQUESTS} == set(ends_of)
    assert sum(endpoint.ids.values()) == 9 + 3 * MAX_REQUESTS
