"""A fleet whose ledger stands behind pgbouncer in transaction mode, and has few sessions."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.ledger.pgbouncer import pgbouncer
from tests.ledger.postgres import postgres_server
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.background.health import HealthService
from worker.model.deliveries import Status

pytestmark = pytest.mark.slow

RECORDERS = ("recorder", "recorder-2", "recorder-3")
READERS = 4


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose ledger is reached through three server connections; nothing runs yet."""
    with (
        postgres_server() as server,
        server.database(tmp_path.name) as direct,
        pgbouncer(direct, connections=3) as url,
        Fleet(tmp_path, database_url=url, SIEM_BACKLOG_EVENTS="1000") as fleet,
    ):
        yield fleet


def test_recorders_replays_and_readers_share_few_sessions(own: Fleet) -> None:
    """All is recorded, parked events and dead letters go out again, health answers; no trouble is logged."""
    stopping = threading.Event()
    answers: list[int] = []

    def watch() -> None:
        asked = HealthService(own.engine, own.client, own.settings)
        while not stopping.is_set():
            answers.append(len(asked.all(None)))

    readers = [threading.Thread(target=watch) for _ in range(READERS)]
    with HecReceiver() as well, HecReceiver(scripts.first(1, scripts.busy())) as ill:
        paused = own.integrate(well.url, "well", tenant_id="one", paused=True)
        own.integrate(ill.url, "ill", tenant_id="two", max_retries=0)
        own.start("router", "worker", *RECORDERS)
        for reader in readers:
            reader.start()
        ids = own.publish_at_once(denial(f"well-{number}", tenant_id="one") for number in range(3000))
        own.publish_at_once([denial("ill-1", tenant_id="two")])
        wait_until(lambda: own.dead("int_ill"), "the dead letter is recorded")
        made = own.siem("dead-letters", "replay", "--all", "--yes", "--wait")
        own.store.set_paused(paused.id, paused=False)
        own.announce()
        rows = own.settled(3000, "int_well")
        stopping.set()
        for reader in readers:
            reader.join()

        assert made.returncode == 0, made.stderr
        assert {row.status for row in rows} == {Status.DELIVERED}
        assert set(well.accepted_ids) == set(ids)
        assert set(answers) == {2}
        assert own.client.xlen("siem:unrecordable") == 0
        for role in RECORDERS:
            assert "Traceback" not in own.log(role)
            assert "lost the database" not in own.log(role)
