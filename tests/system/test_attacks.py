"""What wedged, lost or ended something once: each of these was found by trying, and stays mended."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.model.deliveries import Status

pytestmark = pytest.mark.slow


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that the test may hurt; nothing runs yet."""
    with Fleet(tmp_path) as fleet:
        yield fleet


def test_a_worker_outlives_redis_restarting_amid_its_delivery(own: Fleet) -> None:
    """Kombu 5.7 fails on the channel that is gone; the worker must report a lost connection and go on."""
    with HecReceiver(scripts.first(1, scripts.drip(0.02))) as splunk:
        own.integrate(splunk.url, timeout_seconds=2.5)
        own.start()
        own.publish([denial("e1")])
        splunk.wait_for_requests(1, 20)
        own.server.kill()
        own.server.restart()
        own.publish([denial("e2")])
        own.settled(2)

        assert own.processes["worker"].poll() is None
        assert set(splunk.accepted_ids) == {"e1", "e2"}


def test_readers_that_redis_unblocks_go_on(own: Fleet) -> None:
    """A failover answers UNBLOCKED to whoever waits; router and recorder say so once and go on."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        for client_id in wait_until(lambda: len(found := _readers(own)) == 2 and found, "both wait"):
            own.client.client_unblock(client_id, error=True)
        own.publish([denial("e1")])
        own.settled(1)

        assert {role: process.poll() for role, process in own.processes.items()} == dict.fromkeys(
            own.processes
        )


def _readers(fleet: Fleet) -> list[int]:
    """Name the connections that wait in a blocking read at this moment."""
    clients = fleet.client.client_list()
    return [int(one["id"]) for one in clients if "b" in one["flags"] and one["cmd"] == "xreadgroup"]


def test_large_events_for_many_integrations_are_handed_over_in_pieces(own: Fleet) -> None:
    """No transaction grows to the gigabyte at which Redis cuts its sender off."""
    with HecReceiver() as splunk:
        for number in range(5):
            own.integrate(splunk.url, f"s{number}", timeout_seconds=2.5)
        own.client.config_set("client-query-buffer-limit", 64 << 20)
        own.publish(denial(f"e{number}", reason="x" * 250_000) for number in range(100))
        own.start()
        for number in range(5):
            own.settled(100, f"int_s{number}")

        assert own.log("router").count("lost Redis") == 0


def test_an_entry_from_the_far_future_is_recorded(own: Fleet) -> None:
    """Whoever publishes may choose an entry's id; one that no column can hold stops nobody."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        own.client.xadd("siem:events", {"event": json.dumps(denial("e1"))}, id="9223372036854775808-0")
        [row] = own.settled(1)

        assert row.status is Status.DELIVERED


def test_a_document_that_nobody_can_read_concerns_itself_alone(own: Fleet) -> None:
    """A recorder sets aside what the ledger does not know either; then routers deliver for all others."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.client.hset("siem:integrations", mapping={"bad": "{", "worse": '{"id":"zz"}'})
        own.start()
        own.publish([denial("e1")])
        own.settled(1)

        assert own.client.xlen("siem:unrecordable") == 2


def test_entries_that_cannot_be_recorded_are_set_aside(own: Fleet) -> None:
    """Strangers' entries among the outcomes stop no recorder, and are kept for a person to see."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.client.xadd("siem:outcomes", {"outcomes": b"garbage"})
        own.client.xadd("siem:dead-letters", {"dead": b"\x93"})
        own.start()
        own.publish([denial("e1")])
        own.settled(1)
        wait_until(lambda: own.client.xlen("siem:unrecordable") == 2, "both entries are set aside")

        # A recorder deletes an entry once its row is committed.
        wait_until(lambda: own.client.xlen("siem:outcomes") == 0, "what was recorded is gone")


def test_events_wait_until_their_secret_can_be_opened(own: Fleet) -> None:
    """A worker with the wrong keys delivers nothing and kills nothing; the ledger says why."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        (own.directory / "secret.key").unlink()
        own.start()
        [event_id] = own.publish([denial("e1")])
        row = own.first_row("int_splunk")

        assert row.event_id == event_id
        assert row.status == Status.RETRYING
        assert row.error_code == "configuration"
        assert "SIEM_SECRET_KEYS" in (row.error or "")
        assert row.attempts == 0
        assert row.retry_at_ms is not None
        assert row.retry_at_ms - row.settled_ms >= 59_000
        assert splunk.requests == []
