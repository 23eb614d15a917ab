"""JSON that is nested too deeply for us, in whatever place of Redis, is damaged and stops nothing."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.fleet import Fleet
from worker.background.reconciler import Reconciliation
from worker.broker import keys
from worker.broker.api_keys import KeyCopy
from worker.broker.conflicts import conflicts, orphan_document, standing_documents
from worker.broker.connection import redis_client
from worker.broker.deletions import deletion_notes
from worker.broker.fleet import read_process_report
from worker.broker.health_events import HealthEvents
from worker.broker.notices import FullTenants, recorder_stall
from worker.broker.redis_server import RedisMarks
from worker.broker.redis_stats import UNKNOWN, Tenants, standing_subjects
from worker.broker.sessions import Sessions
from worker.broker.snapshot import Snapshot
from worker.ledger.integrations import IntegrationStore
from worker.vault.vault import Signer, open_vault

PROOFS = Signer([b"the fleet's own key"])


def nested(levels: int) -> bytes:
    """Return the document of integration `x`, which has an unknown field of so many levels."""
    return b'{"id":"x","destination":{"type":"webhook"},"a":' + b"[" * levels + b"]" * levels + b"}"


#: How deep msgspec reads depends on the calls on the stack: about 1000 levels without any.
DEEP = nested(1000)


@pytest.mark.parametrize("levels", [800, 950, 1000, 100_000])
def test_a_deep_document_is_set_aside_and_routing_goes_on(tmp_path: Path, levels: int) -> None:
    """Also where a recorder could just read it: a router with a longer stack could not."""
    with Fleet(tmp_path) as own:
        own.integrate("https://splunk.example")
        client, vault = redis_client(own.settings.broker_address()), open_vault(own.settings)
        store = IntegrationStore(own.engine, vault)
        own.client.hset(keys.INTEGRATIONS, "x", nested(levels))
        own.client.set(keys.INTEGRATIONS_VERSION, "of somebody else")

        Reconciliation(client, store, KeyCopy(client, vault.proofs), own.settings.slots).look()

        snapshot = Snapshot(own.client)
        assert len(snapshot.subscriptions()) == 1
        assert not snapshot.unreadable
        assert not own.client.hexists(keys.INTEGRATIONS, "x")
        assert own.client.xlen(keys.UNRECORDABLE) == 1


#: Readers of what is in Redis, and what each finds.
READERS: dict[str, tuple[Callable[[redis.Redis], Any], Any]] = {
    "process report": (lambda _: read_process_report(DEEP), None),
    "conflicts": (conflicts, {}),
    "standing documents": (standing_documents, []),
    "standing subjects": (standing_subjects, []),
    "recorder stall": (recorder_stall, None),
    "orphan": (lambda client: orphan_document(client, "x"), None),
    "deletion notes": (lambda client: deletion_notes(client, ["x"]), {}),
    "tenants": (lambda client: Tenants(client).of("x"), UNKNOWN),
    "full tenants": (lambda client: FullTenants(client).now(), {}),
    "health events": (lambda client: HealthEvents(client).known(), {}),
    "sessions": (lambda client: Sessions(client, PROOFS).find("token"), None),
    "keys": (lambda client: KeyCopy(client, PROOFS).find("x"), None),
    "marks": (lambda client: RedisMarks(client).found().mark.number, 0),  # type: ignore[union-attr]  # there is one
}


def test_what_is_nested_too_deeply_is_damaged(client: redis.Redis, subtests: pytest.Subtests) -> None:
    """Every reader goes on as with any other damage."""
    of_integration = (keys.INTEGRATIONS, keys.CONFLICTS, keys.DELETED, keys.HEALTH_STATES, keys.API_KEYS)
    for reader, (read, found) in READERS.items():
        with subtests.test(reader=reader):
            client.flushall()
            for name in of_integration:
                client.hset(name, "x", DEEP)
            client.hset(keys.EPOCH, mapping={"id": "one", "figures": DEEP, "number": 1})
            for name in (keys.RECORDER_STALL, keys.FULL_TENANTS, keys.API_KEYS_CONFIRMED):
                client.set(name, DEEP)
            client.set(keys.session(hashlib.sha256(b"token").hexdigest()), DEEP)

            assert read(client) == found
