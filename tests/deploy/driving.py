"""What operators, users and publishers do with a whole fleet, so that a test sees what its servers refuse."""

import re
from contextlib import ExitStack
from typing import Self

import httpx

from tests.cli.running import call
from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial
from worker.publisher import EventPublisher

#: The integrations, by name: Splunk that refuses at first, one that stays ill, syslog, a webhook.
NAMES = ("splunk", "ill", "siem", "endpoint")


class Destinations:
    """A receiver of each type, and a Splunk that is ill until `heal`; they end with the `with` block."""

    def __init__(self) -> None:
        """Make the receivers."""
        self.splunk = HecReceiver(scripts.first(1, scripts.busy()))
        self.ill = HecReceiver(scripts.busy())
        self.siem = SyslogReceiver()
        self.endpoint = WebhookReceiver()
        self._all = (self.splunk, self.ill, self.siem, self.endpoint)
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        for one in self._all:
            self._entered.enter_context(one)
        return self

    def __exit__(self, *raised: object) -> None:
        self._entered.close()

    def integrate(self, fleet: Fleet) -> None:
        """Create an integration for each."""
        fleet.integrate(self.splunk.url, "splunk")
        fleet.integrate(self.ill.url, "ill", redrive=False, max_retries=0)
        fleet.integrate(self.siem.url, "siem")
        fleet.integrate(self.endpoint.url, "endpoint", type="webhook")

    def heal(self) -> None:
        """Have the Splunk that was ill take everything."""
        self.ill.script = scripts.ok()

    def lack(self, ids: set[str]) -> dict[str, set[str]]:
        """Name those of these events that each has not taken; each has taken test events as well."""
        return {name: ids - taken for name, taken in self._received().items()}

    def _received(self) -> dict[str, set[str]]:
        cef = [re.search(rb"externalId=(\S+)", one) for one in self.siem.messages]
        return {
            "splunk": set(self.splunk.accepted_ids),
            "ill": set(self.ill.accepted_ids),
            "siem": {found[1].decode() for found in cef if found},
            "endpoint": set(self.endpoint.ids),
        }


def publish(url: str, *ids: str) -> set[str]:
    """Publish these events with EventPublisher, at this address of Redis; return their ids."""
    with EventPublisher(url) as publisher:
        receipts = list(publisher.publish_many(denial(one) for one in ids))
    assert [receipt.error for receipt in receipts] == [None] * len(ids)
    return set(ids)


def settled(fleet: Fleet, count: int) -> None:
    """Wait until so many events are delivered or dead at each integration."""
    for name in NAMES:
        fleet.settled(count, f"int_{name}")


def operate(fleet: Fleet, url: str) -> set[str]:
    """Pause, publish an event at `url`, resume, replay, and look at everything; name the event."""
    _do(fleet, "integrations pause endpoint")
    ids = publish(url, "paused")
    wait_until(lambda: fleet.client.hget("siem:state:int_endpoint", "backlog_events") == b"1", "it waits")
    _do(fleet, "integrations resume endpoint")
    _do(fleet, "dead-letters replay --integration ill --yes --wait")
    found = {
        words: call(fleet.environment, *words.split())
        for words in (
            "status",
            "health",
            "doctor",
            "doctor endpoint",
            "redis check",
            "redis losses",
            "integrations list",
            "integrations orphans list",
            "secrets status",
            "db status",
            "db prune --dry-run",
            "unrecordable list",
            "deliveries --failed",
            "replays list",
        )
    }
    assert {words: done.err for words, done in found.items() if done.code > 1} == {}
    return ids


def _do(fleet: Fleet, words: str) -> None:
    done = call(fleet.environment, *words.split())
    assert done.code == 0, done.err


def use_api(fleet: Fleet) -> set[str]:
    """Publish by the API, read figures, test, create, delete, sign in to the pages; name the event."""
    made = call(fleet.environment, "api-keys", "create", "--name", "test", "--tenant", "default", "--json")
    key = made.json["api_key"]
    found = wait_until(lambda: re.search(r"listening at (\S+)", fleet.log("api")), "the API listens")
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "once"}
    with httpx.Client(base_url=found[1], headers=headers, timeout=90, trust_env=False) as http:
        document = {"type": "webhook", "url": "https://hook.example.com/in"}
        created = http.post("/api/v1/integrations/siem", json=document)
        answers = [
            http.post("/api/v1/events", json=denial("by-api") | {"tenant_id": "default"}),
            http.get("/api/v1/integrations/siem"),
            http.post("/api/v1/integrations/siem/int_endpoint/test"),
            http.delete(f"/api/v1/integrations/siem/{created.json()['id']}"),
            http.get("/metrics"),
            http.post("/sign-in", data={"key": key}),
            http.get("/settings/integrations"),
            http.get("/settings/integrations/new"),
        ]
    wrong = [(one.request.url.path, one.status_code, one.text) for one in (created, *answers) if one.is_error]
    assert wrong == []
    return {"by-api"}
