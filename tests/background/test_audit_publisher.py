"""Each record of the audit trail is published at least once, whatever is away, and never fills Redis."""

import json
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from sqlalchemy import update

from tests.audit_trail import trail
from tests.embedded_servers import VALKEY, start_server
from tests.logged import event_names
from worker.background.audit_publisher import AuditPublisher
from worker.broker import keys
from worker.broker.audit import AuditInbox, AuditStream
from worker.broker.connection import Client, redis_client
from worker.broker.locks import LeaderLock
from worker.ledger.audit import AuditTrail, audit, record_alone
from worker.ledger.engine import Ledger, open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.model.audit import Action, Actor, ActorKind, audit_record
from worker.model.errors import BrokerUnavailable
from worker.vault.vault import Vault, new_key
from worker.views.audit import actor_words, stream_document

_ACTOR = Actor(ActorKind.CLI, user="alice", host="bastion")
_PROOFS = Vault([new_key()]).proofs


class Rig:
    """One Redis and one ledger, and what publishes from one to the other when told."""

    def __init__(self, directory: Path) -> None:
        """Start them."""
        self.server = start_server(VALKEY, directory / "server")
        self.client: Client = redis_client(self.server.url)
        self.engine: Ledger = open_ledger(f"sqlite:///{directory / 'ledger.sqlite3'}")
        upgrade_tables(self.engine)
        self.inbox = AuditInbox(self.client, _PROOFS)

    def publisher(self, most: int = 1000) -> AuditPublisher:
        """Return a new one, as of a process that has just started; it waits for no other's turn to end."""
        turn = LeaderLock(self.client, f"{keys.AUDIT_LOCK}:{token_hex(8)}", 60)
        stream = AuditStream(self.client, most)
        return AuditPublisher(AuditTrail(self.engine), self.inbox, stream, turn, stream_document)

    def act(self, count: int = 1) -> None:
        """Do something."""
        for _ in range(count):
            record_alone(self.engine, audit_record(Action.LEDGER_PRUNED, _ACTOR))

    def published(self) -> list[Any]:
        """Return the documents in the stream."""
        found: Any = self.client.xrange(keys.AUDIT)
        return [json.loads(fields[b"record"]) for _, fields in found]

    def recorded(self) -> list[str]:
        """Return the ids of all records, the first first."""
        return [one.id for one in reversed(trail(self.engine))]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Give it."""
    made = Rig(tmp_path)
    yield made
    made.client.close()
    made.engine.dispose()
    made.server.stop()


def test_each_record_is_published_in_its_order_once(rig: Rig) -> None:
    """As the document of the API; who stops in the middle of a page loses none and repeats none."""
    rig.act(150)
    publisher = rig.publisher()
    rests = [publisher.step() for _ in range(3)]
    rig.act()
    rig.publisher().step()

    assert [one["id"] for one in rig.published()] == rig.recorded()
    assert rig.published()[-1]["actor"]["host"] == "bastion"
    assert rests[0] == 0.0
    assert rests[2] > 0


@pytest.mark.parametrize("document", ["", "{", "[]", '{"actor":1}', "[" * 99_999])
def test_a_damaged_record_holds_up_no_other(rig: Rig, document: str) -> None:
    """It is published with what is known of it, and shown in lists."""
    rig.act(3)
    [_, _, damaged, _] = rig.recorded()
    with rig.engine.begin() as connection:
        connection.execute(update(audit).where(audit.c.id == damaged).values(document=document))
    rig.publisher().step()

    assert [one["id"] for one in rig.published()] == rig.recorded()
    assert rig.published()[2]["actor"]["kind"] == "unknown"
    assert actor_words(trail(rig.engine)[1].actor) == "unknown"


def test_a_record_outlives_the_absence_of_redis(rig: Rig) -> None:
    """It waits in the ledger."""
    rig.publisher().step()
    rig.server.kill()
    rig.act()
    with pytest.raises(BrokerUnavailable):
        rig.publisher().step()
    rig.server.restart()
    rig.publisher().step()

    assert rig.published()[-1]["id"] == rig.recorded()[-1]


def test_who_is_killed_behind_the_publication_repeats_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once: under the same id."""
    rig.act()

    def die(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(AuditTrail, "note_published", die)
    with pytest.raises(KeyboardInterrupt):
        rig.publisher().step()
    monkeypatch.undo()
    rig.publisher().step()

    assert [one["id"] for one in rig.published()] == rig.recorded() * 2


def test_without_a_group_the_oldest_go(rig: Rig) -> None:
    """Nobody reads it: the latest stay."""
    for _ in range(3):
        rig.act(8)
        rig.publisher(10).step()

    assert [one["id"] for one in rig.published()] == rig.recorded()[-10:]


def test_what_a_group_has_not_acknowledged_stays(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """The others wait in the ledger, and come once there is room; the log says so once."""
    rig.client.xgroup_create(keys.AUDIT, "slow", id="0", mkstream=True)
    rig.client.xgroup_create(keys.AUDIT, "quick", id="0", mkstream=True)
    seen: dict[str, list[str]] = {"slow": [], "quick": []}
    publisher = rig.publisher(10)

    def read(group: str, count: int) -> None:
        found: Any = rig.client.xreadgroup(group, "reader", {keys.AUDIT: ">"}, count=count)
        for _, entries in found or ():
            for entry, (_, document) in entries:
                seen[group].append(json.loads(document)["id"])
                rig.client.xack(keys.AUDIT, group, entry)

    rig.act(29)
    for _ in range(3):
        publisher.step()
        read("quick", 100)
    assert rig.client.xlen(keys.AUDIT) == 10
    assert event_names(caplog) == ["audit.subscriber_behind"]
    while len(seen["slow"]) < 30:
        read("slow", 3)
        publisher.step()
        read("quick", 100)
        assert int(str(rig.client.xlen(keys.AUDIT))) <= 10

    assert seen == {"slow": rig.recorded(), "quick": rig.recorded()}


def test_a_full_redis_keeps_the_records_in_the_ledger(rig: Rig) -> None:
    """The trail takes none of the memory that the fleet needs to go on."""
    rig.client.config_set("maxmemory", "1")
    rig.act()
    with pytest.raises(BrokerUnavailable):
        rig.publisher().step()
    rig.client.config_set("maxmemory", "0")
    rig.publisher().step()

    assert [one["id"] for one in rig.published()] == rig.recorded()


def test_what_waits_in_redis_comes_into_the_ledger_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the recorder is killed before it has removed it."""
    record = audit_record(Action.SIGNED_IN, _ACTOR)
    rig.inbox.put(record)
    monkeypatch.setattr(AuditInbox, "remove", lambda *_: None)
    rig.publisher().step()
    monkeypatch.undo()
    rig.publisher().step()

    assert [one for one in trail(rig.engine) if one.action == Action.SIGNED_IN] == [record]
    assert rig.client.hlen(keys.AUDIT_INBOX) == 0


@pytest.mark.parametrize("forged", [b"", b"\xff", b"[]", b'{"record":"{}","proof":"00"}'])
def test_who_can_write_to_redis_makes_no_record(
    rig: Rig, forged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither with what is no entry, nor with one of another key's; what is ours beside it comes."""
    ours, other = (audit_record(Action.SIGNED_IN, _ACTOR) for _ in range(2))
    rig.client.hset(keys.AUDIT_INBOX, "aud_0", forged)
    strange = AuditInbox(rig.client, Vault([new_key()]).proofs).entry(other)
    rig.client.hset(keys.AUDIT_INBOX, *strange)
    rig.inbox.put(ours)
    rig.publisher().step()

    assert rig.recorded()[1:] == [ours.id]
    assert rig.client.hlen(keys.AUDIT_INBOX) == 0
    assert event_names(caplog) == ["audit.records_dropped"]


def test_sign_ins_do_not_fill_redis(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many that wait they are dropped; an operator's deed is not."""
    monkeypatch.setattr("worker.broker.audit.MOST_WAITING", 2)
    records = [audit_record(Action.SIGNED_IN, _ACTOR) for _ in range(4)]

    assert [rig.inbox.put_if_room(one) for one in records[:3]] == [True, True, False]
    rig.inbox.put(records[3])
    assert rig.client.hlen(keys.AUDIT_INBOX) == 3
