"""What Splunk is asked beyond the way there, and what its answers are taken for."""

import gzip
import json
from typing import Any

import pytest

from tests.destinations.checks.examinations import HOST, examined, one_at_a_time, results
from tests.receivers import scripts
from tests.receivers.acks import AckSplunk
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request, Script
from worker.demo.splunk import ACK_PATH, EVENT_PATHS, HEALTH_PATHS, Reply

TOKEN = "hunter2-hunter2"


def _destination(url: str, **options: Any) -> dict[str, Any]:
    return {"type": "splunk_hec", "url": url, "token": TOKEN, "timeout_seconds": 2.0} | options


def _but(*, health: Script | None = None, events: Script | None = None, acks: Script | None = None) -> Script:
    """Be a Splunk without indexer acknowledgement, but for what answers here and there."""

    def script(request: Request) -> Action:
        path = request.path.partition("?")[0]
        if path in HEALTH_PATHS:
            return (health or scripts.ok())(request)
        if path == ACK_PATH:
            return (acks or scripts.status(400, 14))(request)
        return (events or scripts.demand_token(TOKEN))(request)

    return script


def test_a_healthy_splunk_is_asked_in_order() -> None:
    """Health without the token, the token by an empty request, then one event (protocol: codes 17 and 5)."""
    with HecReceiver(_but()) as splunk:
        checks = examined(_destination(splunk.url, index="main"))
    health, token, event, _ = splunk.requests

    assert (health.method, health.headers["Authorization"]) == ("GET", None)
    assert (token.body, token.headers["Authorization"]) == (b"", f"Splunk {TOKEN}")
    assert token.headers["X-Splunk-Request-Channel"]
    assert event.events[0]["type"] == "integration.test"
    assert b'"index":"main"' in event.body
    assert {step: result for step, result in results(checks).items() if result == "failed"} == {}


def test_interim_answers_make_nothing_fail() -> None:
    """The doctor reads past them as deliveries do (RFC 9110, 15.2)."""
    interim = scripts.after_interim("102 Processing", "103 Early Hints", of=_but())
    with HecReceiver(_but()) as plain, HecReceiver(interim) as splunk:
        checks = [examined(_destination(one.url, index="main")) for one in (plain, splunk)]

    assert results(checks[0]) == results(checks[1])


def test_the_event_is_marked_in_every_form() -> None:
    """A person who finds it in the SIEM sees that no action is needed, and can search for it by its id."""
    with HecReceiver(_but()) as splunk:
        first = examined(_destination(splunk.url), tenant_id="acme")["test event"]
        second = examined(_destination(splunk.url))["test event"]
    event, other = splunk.events

    assert event["type"] == "integration.test"
    assert event["test"] is True
    assert event["tenant_id"] == "acme"
    assert "no action is needed" in event["reason"]
    assert event["id"] in first.message
    assert other["id"] in second.message
    assert event["id"] != other["id"]
    assert len(event["id"]) <= 40  # what CEF has room for


@pytest.mark.parametrize(
    ("health", "words"),
    [(scripts.html(), "not Splunk's"), (scripts.status(404), "HTTP 404"), (scripts.status(403), "HTTP 403")],
)
def test_a_proxy_may_hide_health(health: Script, words: str) -> None:
    """What matters is whether events arrive: a proxy that lets nothing else through is no failure."""
    with HecReceiver(_but(health=health)) as splunk:
        checks = examined(_destination(splunk.url))

    assert checks["health"].result == "warning"
    assert words in checks["health"].message
    assert (checks["token"].result, checks["test event"].result) == ("ok", "ok")


@pytest.mark.parametrize("code", [18, 19, 20, 23])
def test_an_unhealthy_splunk_is_said_so(code: int) -> None:
    """Splunk's codes 18 to 20 and 23: deliveries wait, and whether one gets through is tried all the same."""
    with HecReceiver(_but(health=scripts.status(503, code))) as splunk:
        checks = examined(_destination(splunk.url))

    assert checks["health"].result == "warning"
    assert f"(code {code})" in checks["health"].message
    assert "queues" in (checks["health"].hint or "")
    assert checks["test event"].result == "ok"


@pytest.mark.parametrize(
    ("code", "status", "hint"),
    [
        (1, 403, "enable the token"),
        (2, 401, "correct the integration's `token`"),
        (3, 401, "correct the integration's `token`"),
        (4, 403, "correct the integration's `token`"),
        (10, 400, "X-Splunk-Request-Channel"),
        (28, 400, "X-Splunk-Request-Channel"),
        (16, 400, "`url`"),
        (9, 503, "queues are full"),
    ],
)
def test_what_splunk_says_of_the_token(code: int, status: int, hint: str) -> None:
    """Each of Splunk's codes has its hint, and no event is sent needlessly."""
    with HecReceiver(_but(events=scripts.status(status, code))) as splunk:
        checks = examined(_destination(splunk.url))

    assert checks["token"].result == "failed"
    assert f"(code {code})" in checks["token"].message
    assert hint in (checks["token"].hint or "")
    assert len(splunk.posts) == 1


def test_an_empty_request_may_be_zipped() -> None:
    """With gzip, "No data" (code 5) is the answer to an empty body in a wrapping."""
    with HecReceiver(_but()) as splunk:
        checks = examined(_destination(splunk.url, gzip=True))

    assert gzip.decompress(splunk.posts[0].wire_body) == b""
    assert (checks["token"].result, checks["test event"].result) == ("ok", "ok")


def test_only_an_event_shows_whether_the_index_is_right() -> None:
    """Splunk's code 7: health and token are fine, and yet nothing would arrive."""

    def script(request: Request) -> Action:
        return (scripts.incorrect_index() if request.events else scripts.ok())(request)

    with HecReceiver(_but(events=script)) as splunk:
        with_event = examined(_destination(splunk.url, index="nonesuch"))
        without = examined(_destination(splunk.url, index="nonesuch"), test_event=False)

    assert with_event["test event"].result == "failed"
    assert "`index`" in (with_event["test event"].hint or "")
    assert results(without)["test event"] == "skipped"
    assert "failed" not in results(without).values()


def test_an_acknowledgement_is_waited_for() -> None:
    """With `use_ack`, the sender has Splunk confirm the event itself: that is the proof."""
    with HecReceiver(AckSplunk()) as splunk:
        checks = examined(_destination(splunk.url, use_ack=True))

    assert checks["test event"].message.startswith("indexed (HTTP 200), under the id test_")
    assert checks["acknowledgement"].result == "ok"
    assert len(splunk.polls) == 1


def test_an_event_that_is_never_indexed_is_the_fault_of_no_token() -> None:
    """Splunk took the event, so that step is fine; what failed is the confirmation."""
    never = AckSplunk(polls=lambda request: Action(200, _acks(request, indexed=False)))
    with HecReceiver(never) as splunk:
        checks = examined(_destination(splunk.url, use_ack=True, ack_timeout_seconds=1))

    assert checks["test event"].result == "ok"
    assert "not confirmed" in checks["test event"].message
    assert checks["acknowledgement"].result == "failed"
    assert "did not confirm within" in checks["acknowledgement"].message


@pytest.mark.parametrize(("offers", "result"), [(True, "ok"), (False, "failed")])
def test_without_an_event_the_token_itself_is_asked(offers: bool, result: str) -> None:  # noqa: FBT001 - pytest passes by name
    """Splunk's code 14 says that a token has no indexer acknowledgement, before anything was sent."""
    asked = (lambda request: Action(200, _acks(request, indexed=False))) if offers else None
    with HecReceiver(_but(acks=asked)) as splunk:
        check = examined(_destination(splunk.url, use_ack=True), test_event=False)["acknowledgement"]

    assert check.result == result
    assert splunk.events == []
    assert ("`use_ack` off" in (check.hint or "")) is not offers


def test_without_acknowledgement_the_check_says_what_delivered_means() -> None:
    """Without it, Splunk has accepted the events, which is less than having them indexed."""
    with HecReceiver(_but()) as splunk:
        check = examined(_destination(splunk.url))["acknowledgement"]

    assert check.result == "ok"
    assert "accepted, not yet indexed" in check.message


def test_who_hides_acknowledgements_proves_nothing() -> None:
    """A proxy in front of a token that is not to be asked: that is not worth a warning."""
    with HecReceiver(_but(acks=scripts.status(404))) as splunk:
        assert examined(_destination(splunk.url))["acknowledgement"].result == "skipped"


@pytest.mark.parametrize(
    ("seconds", "result", "words"),
    [
        (0, "ok", "agree"),
        (-50, "ok", "agree"),
        (90, "warning", " seconds ahead of the one"),
        (-10_000, "warning", "3 hours behind the one"),
        (200_000, "warning", "2 days ahead of the one"),
    ],
)
def test_clocks_are_compared(seconds: float, result: str, words: str) -> None:
    """The `Date` of an answer (RFC 9110, 6.6.1) shows the other clock; a minute is borne."""

    def health(request: Request) -> Action:
        action = scripts.ok()(request)
        return Action(action.status, action.body, headers={"Date": scripts.http_date(seconds)})

    with HecReceiver(_but(health=health)) as splunk:
        check = examined(_destination(splunk.url))["clock"]

    assert check.result == result
    assert words in check.message


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 2026 08:49:37 GMT"])
def test_a_clock_that_cannot_be_read_is_left_alone(date: str) -> None:
    """No answer need have the time, nor the right one."""

    def health(_request: Request) -> Action:
        return Action(200, Reply(17).body, headers={"Date": date})

    with HecReceiver(_but(health=health)) as splunk:
        assert examined(_destination(splunk.url))["clock"].result == "skipped"


def test_an_answer_in_other_words_is_not_repeated_at_length() -> None:
    """A hostile Splunk may say what it likes: it is cut, and escaped where it is printed."""
    body = json.dumps({"text": "x" * 5000, "code": 4}).encode()
    with HecReceiver(_but(events=lambda _: Action(403, body))) as splunk:
        message = examined(_destination(splunk.url))["token"].message

    assert len(message) < 300
    assert "x…" in message


def _acks(request: Request, *, indexed: bool) -> bytes:
    asked = json.loads(request.body)["acks"]
    return json.dumps({"acks": {str(number): indexed for number in asked}}).encode()


def test_a_collector_may_serve_one_connection_at_a_time() -> None:
    """Nothing is held open from one step to the next: the simplest of stand-ins can be examined."""
    with one_at_a_time() as port:
        checks = examined(_destination(f"http://{HOST}:{port}"))

    assert (checks["token"].result, checks["test event"].result) == ("ok", "ok")


def test_the_paths_that_are_asked() -> None:
    """Whatever address the integration was given, health and acknowledgements lie beside the events."""
    with HecReceiver(_but()) as splunk:
        examined(_destination(f"{splunk.base_url}/services/collector/raw"))
    paths = [request.path.partition("?")[0] for request in splunk.requests]

    assert paths[0] in HEALTH_PATHS
    assert set(paths[1:3]) <= EVENT_PATHS
    assert paths[3] == ACK_PATH
