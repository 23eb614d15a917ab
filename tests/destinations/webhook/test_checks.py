"""What an endpoint is asked, and what its answers are taken for."""

from typing import Any

import pytest

from tests.destinations.checks.examinations import HOST, examined, one_at_a_time, results
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BEARER = "bearer-secret-token"


def _hook(base_url: str, **options: Any) -> dict[str, Any]:
    auth = {"kind": "bearer", "token": BEARER}
    return {"type": "webhook", "url": f"{base_url}/hooks/secret-path", "auth": auth} | options


def _takes(_request: Request) -> Action:
    return Action(204, b"", headers={"Date": scripts.http_date(0)})


def test_an_endpoint_takes_the_event() -> None:
    """It is signed as every other event; for the time, the root is asked, without any secret."""
    with HecReceiver(_takes) as endpoint:
        checks = examined(_hook(endpoint.base_url, signing_secrets=[SECRET], headers={"X-Key": "own-secret"}))
    event, clock = endpoint.requests

    assert (event.method, event.path) == ("POST", "/hooks/secret-path")
    assert b'"integration.test"' in event.body
    assert event.headers["webhook-signature"].startswith("v1,")
    assert (clock.method, clock.path) == ("GET", "/")
    assert {"Authorization", "X-Key", "webhook-signature"} & set(clock.headers) == set()
    assert (checks["test event"].result, checks["clock"].result) == ("ok", "ok")
    assert checks["test event"].message.startswith("accepted (HTTP 204), under the id test_")
    assert checks["test event"].message.endswith("; signed; over a new connection")


@pytest.mark.parametrize(
    ("secrets", "words"),
    [([], "not signed"), ([SECRET], ", signed,"), ([SECRET, SECRET], "signed with 2 secrets")],
)
def test_whether_it_is_signed_is_said(secrets: list[str], words: str) -> None:
    """An endpoint only knows who has sent it something if that is signed."""
    with HecReceiver(_takes) as endpoint:
        checks = examined(_hook(endpoint.base_url, signing_secrets=secrets))

    assert words in checks["configuration"].message
    assert "a bearer token" in checks["configuration"].message


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "`auth`"),
        (403, "`auth`"),
        (404, "`url`"),
        (405, "`url`"),
        (302, "final address"),
        (400, "does not take this event"),
        (413, "`batch_bytes`"),
        (429, "overloaded"),
        (503, "overloaded"),
    ],
)
def test_what_an_endpoint_says_of_the_event(status: int, hint: str) -> None:
    """Each class of answers has its hint, and the clock is asked for all the same."""
    with HecReceiver(scripts.status(status, headers={"Date": scripts.http_date(0)})) as endpoint:
        checks = examined(_hook(endpoint.base_url))

    assert checks["test event"].result == "failed"
    assert f"HTTP {status}" in checks["test event"].message
    assert hint in (checks["test event"].hint or "")
    assert checks["clock"].result == "ok"


def test_gone_for_good_switches_nothing_off_here() -> None:
    """The specification lets 410 end a subscription (Standard Webhooks 1.0.0); a test must not."""
    with HecReceiver(scripts.status(410)) as endpoint:
        check = examined(_hook(endpoint.base_url))["test event"]

    assert check.result == "failed"
    assert "this examination does not" in (check.hint or "")


def test_a_late_signature_is_warned_of() -> None:
    """Receivers refuse what was signed five minutes ago, by their own clock."""
    late = scripts.status(200, headers={"Date": scripts.http_date(600)})
    with HecReceiver(late) as endpoint:
        check = examined(_hook(endpoint.base_url))["clock"]

    assert check.result == "warning"
    assert "10 minutes ahead of" in check.message
    assert "five minutes" in (check.hint or "")


def test_no_event_is_posted_unless_wanted() -> None:
    """An endpoint owes nothing to other requests, so without an event little can be found out."""
    with HecReceiver(_takes) as endpoint:
        checks = examined(_hook(endpoint.base_url), test_event=False)

    assert [request.method for request in endpoint.requests] == ["GET"]
    assert results(checks)["test event"] == "skipped"


def test_an_endpoint_may_serve_one_connection_at_a_time() -> None:
    """Nothing is held open from one step to the next: the simplest of servers can be examined."""
    with one_at_a_time() as port:
        checks = examined(_hook(f"http://{HOST}:{port}", timeout_seconds=5.0))

    assert (checks["test event"].result, checks["clock"].result) == ("ok", "ok")
