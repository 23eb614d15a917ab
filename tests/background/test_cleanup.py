"""What Redis holds of deleted integrations goes once nothing refers to it; what waits drains first."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import redis
from cryptography.fernet import Fernet
from sqlalchemy import Engine

from tests.broker.sending import TIMING, append, claim, settle_all, subscribe
from tests.ledger.letters import delete, live
from worker.background.cleanup import Cleanup
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.deletions import DeletedKeys, DeletionNote, deletion_notes
from worker.broker.locks import LeaderLock
from worker.broker.snapshot import Snapshot, publish_integrations
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.vault.vault import Vault


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IntegrationStore]:
    """Give a ledger that knows the integrations a and b."""
    engine: Engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(engine)
    live(engine, "a", "b")
    yield IntegrationStore(engine, Vault([Fernet.generate_key().decode()]))
    engine.dispose()


def cleanup(
    client: redis.Redis,
    store: IntegrationStore,
    parked: Mapping[str, object] | None = None,
    turn: str = "turn",
) -> Cleanup:
    """Make a cleanup as a recorder runs it."""
    return Cleanup(
        DeletedKeys(client),
        Snapshot(client),
        store.records,
        lambda: {} if parked is None else parked,
        LeaderLock(client, turn, 60),
    )


def publish_deletions(client: redis.Redis, store: IntegrationStore, *deleted: str) -> None:
    """Publish a and b, of which these are deleted then."""
    subscribe(client, "a", "b")
    for one in deleted:
        delete(store.engine, one)
    gone = [one for one in store.records() if one.deleted]
    publish_integrations(client, gone, slots=4)


def of(client: redis.Redis, integration_id: str) -> list[bytes]:
    """Name the keys of an integration."""
    return sorted(name for name in client.scan_iter(match=f"siem:*:{integration_id}*", count=1000))


def test_only_the_deleted_go(client: redis.Redis, store: IntegrationStore) -> None:
    """With a note; the others stay as they are."""
    publish_deletions(client, store, "a")
    before = of(client, "b")
    cleanup(client, store).step()

    assert (of(client, "a"), of(client, "b")) == ([], before)
    assert client.hkeys(keys.INTEGRATIONS) == [b"b"]
    assert list(deletion_notes(client, ["a", "b"])) == ["a"]


def test_events_drain_first(client: redis.Redis, store: IntegrationStore) -> None:
    """Neither what waits goes with it, nor what is parked in the ledger."""
    publish_deletions(client, store, "a", "b")
    append(client, "a", [["e1"]])
    parked = {"b": 1}
    cleaning = cleanup(client, store, parked)
    cleaning.step()
    assert sorted(client.hkeys(keys.INTEGRATIONS)) == [b"a", b"b"]

    settle_all(Backlog(client, TIMING), "a")
    parked.clear()
    cleaning.step()
    assert client.hlen(keys.INTEGRATIONS) == 0


@pytest.mark.parametrize("has_note", [True, False])
def test_what_comes_late_drains(
    client: redis.Redis,
    store: IntegrationStore,
    has_note: bool,  # noqa: FBT001 - or the ledger alone knows of the deletion
) -> None:
    """A router that slept through the deletion appends: its events get a tombstone, and all goes again."""
    publish_deletions(client, store, "a")
    cleaning = cleanup(client, store)
    cleaning.step()
    if not has_note:
        client.delete(keys.DELETED)
    append(client, "a", [["late"]])
    cleaning.step()
    held = claim(Backlog(client, TIMING), "a")
    assert b'"deleted": true' in held.batch.configuration

    settle_all(Backlog(client, TIMING), "a", held)
    cleaning.step()
    assert of(client, "a") == []


def test_a_recorder_of_an_earlier_release_is_outlasted(client: redis.Redis, store: IntegrationStore) -> None:
    """It writes the tombstones of all that was ever deleted again and again."""
    publish_deletions(client, store, "a")
    cleaning = cleanup(client, store)
    for _ in range(2):
        cleaning.step()
        client.hset(
            keys.INTEGRATIONS, "a", '{"id": "a", "destination": {"type": "webhook"}, "deleted": true}'
        )
        client.hset(keys.state_key("a"), mapping={"slots": 4, "revision": 2, "held": 0})
    cleaning.step()

    assert of(client, "a") == []


def test_what_lives_in_the_ledger_is_for_the_recorder(client: redis.Redis, store: IntegrationStore) -> None:
    """A ledger that was set back: the tombstone stands until the more careful state is in the ledger."""
    publish_deletions(client, store)
    client.hset(keys.INTEGRATIONS, "a", '{"id": "a", "destination": {"type": "webhook"}, "deleted": true}')
    client.hdel(keys.INTEGRATIONS, "b")
    before = of(client, "a") + of(client, "b")
    cleanup(client, store).step()

    assert of(client, "a") + of(client, "b") == before


def test_what_nobody_knows_is_kept_and_told_once(
    client: redis.Redis, store: IntegrationStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a customer's, for all that is known."""
    publish_deletions(client, store)
    append(client, "stranger", [["e1"]])
    cleaning = cleanup(client, store)
    for _ in range(3):
        cleaning.step()

    assert client.xlen(keys.urgent("stranger")) == 1
    assert [one.levelname for one in caplog.records if "stranger" in one.message] == ["ERROR"]


def test_one_works_at_a_time(client: redis.Redis, store: IntegrationStore) -> None:
    """The other rests."""
    publish_deletions(client, store, "a")
    client.set("turn", "another")
    cleanup(client, store).step()

    assert client.hexists(keys.INTEGRATIONS, "a")


def test_notes_that_are_too_old_are_forgotten(client: redis.Redis, store: IntegrationStore) -> None:
    """Redis keeps nothing for ever."""
    client.hset(keys.DELETED, "a", '{"type": "webhook", "revision": 2, "at_ms": 1}')
    assert deletion_notes(client, ["a"]) == {"a": DeletionNote("webhook", 2, 1)}
    cleanup(client, store).step()

    assert deletion_notes(client, ["a"]) == {}
