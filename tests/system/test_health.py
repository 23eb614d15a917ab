"""Health over the whole fleet: whoever listens is told why a destination fails, and that it is well again."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial
from worker.broker import keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def listener() -> Iterator[WebhookReceiver]:
    """Give an endpoint for notifications."""
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def own_watched(tmp_path: Path, listener: WebhookReceiver) -> Iterator[Fleet]:
    """Give a fleet whose health is looked at often, and told to the listener."""
    knobs: dict[str, Any] = {
        "SIEM_HEALTH_INTERVAL": "0.2",
        # Long enough for the recorder to have the reason, however busy this machine is.
        "SIEM_HEALTH_STEADY": "2",
        "SIEM_HEALTH_WEBHOOK_URL": listener.url,
        "SIEM_BREAKER_LONGEST_PROBE": "1",
    }
    with Fleet(tmp_path, **knobs) as fleet:
        yield fleet.start()


def told(listener: WebhookReceiver) -> list[tuple[Any, Any]]:
    """Return the states that were posted, each with the one before."""
    posts = [json.loads(request.body) for request in listener.posts]
    return [(post["previous"], post["state"]) for post in posts]


def test_a_change_is_told_with_its_reason(own_watched: Fleet, listener: WebhookReceiver) -> None:
    """On the channel, in the hash, and to the webhook; and so is the end of the trouble."""
    fleet = own_watched
    with HecReceiver() as splunk:
        fleet.integrate(splunk.url)
        ear: Any = fleet.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        ear.subscribe(keys.HEALTH)
        ear.get_message(timeout=5)
        fleet.publish([denial("e1")])
        fleet.settled(1)
        splunk.script = scripts.reject_token()
        fleet.publish([denial("e2")])
        wait_until(lambda: "failing" in [state for _, state in told(listener)], "the trouble is told")
        asked = fleet.siem("health", "splunk", "--json")
        splunk.script = scripts.ok()
        wait_until(lambda: told(listener)[-1][1] == "healthy", "the end of it is told")
        kept: Any = fleet.client.hget(keys.HEALTH_STATES, "int_splunk")
        heard = []
        while message := ear.get_message(timeout=1):
            heard.append(json.loads(message["data"])["state"])
        ear.close()

    failing = next(
        post for post in map(json.loads, (one.body for one in listener.posts)) if post["state"] == "failing"
    )
    assert "circuit breaker open" in failing["reason"]
    # In Splunk's words ("Invalid token"), or in ours if the breaker is told before the answer is recorded.
    assert {"invalid", "token"} <= set(re.findall(r"\w+", failing["reason"].lower()))
    assert (failing["integration_id"], failing["name"]) == ("int_splunk", "splunk")
    assert asked.returncode == 1
    assert json.loads(asked.stdout)["state"] == "failing"
    assert json.loads(kept)["state"] == "healthy"
    assert heard[-2:] == ["failing", "healthy"]
    assert fleet.siem("health", "splunk").returncode == 0


def test_one_refusal_that_a_retry_mended_is_no_trouble(own_watched: Fleet, listener: WebhookReceiver) -> None:
    """A batch that was delivered at its second try: healthy, and nobody is told anything."""
    fleet = own_watched
    with HecReceiver(scripts.first(1, scripts.busy())) as splunk:
        fleet.integrate(splunk.url)
        fleet.publish_at_once(denial(f"e{number}") for number in range(20))
        rows = fleet.settled(20)
        asked = fleet.siem_json("health", "splunk")
        fleet.publish_at_once([denial("later")])
        fleet.settled(21)

    assert max(row.attempts for row in rows) == 2
    assert (asked["state"], asked["error_rate"]) == ("healthy", 0.0)
    assert asked["retry_rate"] > 0
    assert told(listener) == []


def test_what_fails_outright_is_failing_within_seconds(own_watched: Fleet) -> None:
    """By what happens now, whatever was delivered before; and is well again as quickly."""
    fleet = own_watched
    with HecReceiver() as splunk:
        fleet.integrate(splunk.url)
        fleet.publish_at_once(denial(f"e{number}") for number in range(200))
        fleet.settled(200)
        splunk.script = scripts.busy()
        fleet.publish_at_once([denial("ill")])
        wait_until(lambda: state_of(fleet) == "failing", "it is failing")
        splunk.script = scripts.ok()
        fleet.publish_at_once([denial("well")])
        wait_until(lambda: state_of(fleet) != "failing", "it is not failing any more")


def state_of(fleet: Fleet) -> str:
    """Ask how Splunk fares."""
    found: str = json.loads(fleet.siem("health", "splunk", "--json").stdout)["state"]
    return found


def test_another_process_goes_on_and_tells_nothing_twice(
    own_watched: Fleet, listener: WebhookReceiver
) -> None:
    """The recorder that watched is killed; the next one knows what was told."""
    fleet = own_watched
    with HecReceiver(scripts.reject_token()) as splunk:
        fleet.integrate(splunk.url)
        fleet.publish([denial("e1")])
        wait_until(lambda: told(listener), "the trouble is told")
        # Whoever is killed between the answer and the note of it tells it again.
        wait_until(lambda: not fleet.client.exists(keys.HEALTH_UNSENT), "it is known to be told")
        before = told(listener)
        fleet.kill("recorder")
        fleet.start("recorder")
        splunk.script = scripts.ok()
        wait_until(lambda: told(listener)[-1][1] == "healthy", "the end of it is told")

    assert told(listener)[: len(before)] == before
    assert [state for _, state in told(listener)].count("failing") == 1


def test_nothing_is_healthy_while_the_only_recorder_is_dead(tmp_path: Path) -> None:
    """Deliveries go on and nobody records them: it says since when; and all is well once one does."""
    with HecReceiver() as splunk, Fleet(tmp_path, SIEM_HEALTH_LAG="1") as fleet:
        fleet.integrate(splunk.url)
        fleet.start()
        fleet.publish([denial("e1")])
        fleet.settled(1)
        wait_until(lambda: state_of(fleet) == "healthy", "it is well")
        fleet.kill("recorder")
        fleet.publish([denial("e2")])
        splunk.wait_for_events(2, 30)
        wait_until(lambda: state_of(fleet) == "unknown", "it is known no longer")
        asked = fleet.siem("health", "splunk")
        status = fleet.siem("status")
        fleet.start("recorder")
        fleet.settled(2)
        wait_until(lambda: state_of(fleet) == "healthy", "it is well again")

    assert asked.returncode == 1
    assert status.returncode == 1
    for told_by in (asked, status):
        assert "not recorded yet: " in told_by.stdout.decode()


def test_the_fleet_itself_is_asked_for(own_watched: Fleet) -> None:
    """Which part is missing, in words; exit status 1 while one is."""
    fleet = own_watched
    ready = fleet.siem_json("health")["fleet"]
    fleet.kill("router")
    wait_until(lambda: fleet.siem("health").returncode == 1, "it is not ready")
    broken = json.loads(fleet.siem("health", "--json").stdout)["fleet"]

    assert ready["ok"] is True
    assert [part["name"] for part in broken["parts"] if not part["ok"]] == ["router"]
    assert "none runs" in next(part["detail"] for part in broken["parts"] if part["name"] == "router")
