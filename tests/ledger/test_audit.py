"""The audit trail: each change has its record, in its own transaction, and no code changes a record."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, func, select, text

from tests.audit_trail import trail
from tests.ledger.entries import NOON, outcome
from worker.integrations.integration import Integration, parse_integration
from worker.ledger import audit as module
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.audit import AuditTrail, audit, outbox
from worker.ledger.engine import reading
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import downgrade_tables, upgrade_tables
from worker.ledger.pruning import PrunableKind, Pruned, oldest_due, prunable_shares, prune_rows
from worker.ledger.recording import record_entries
from worker.model.api_keys import Role
from worker.model.audit import Action, Actor, ActorKind, Change, audit_record
from worker.model.deliveries import Failure, Status
from worker.model.failures import FailureCode
from worker.vault.changes import integration_changes
from worker.vault.vault import Vault, new_key

_ACTOR = Actor(ActorKind.CLI, user="alice", host="bastion")
_WORKER = Path(module.__file__).parents[1]


def webhook(**changes: Any) -> Integration:
    """Make an integration."""
    destination = {"type": "webhook", "url": "https://hook.example.com/in", **changes}
    return parse_integration({"id": "int_a", "name": "hook", "destination": destination})


@pytest.fixture
def store(engine: Engine) -> IntegrationStore:
    """Give the integrations, changed by an operator."""
    return IntegrationStore(engine, Vault([new_key()]), actor=_ACTOR)


def actions(engine: Engine) -> list[str]:
    """Return what was done, the first first; less the upgrade."""
    return [one.action for one in reversed(trail(engine)) if one.action != Action.LEDGER_UPGRADED]


def test_the_first_record_is_that_of_the_tables(engine: Engine) -> None:
    """An upgrade that does nothing leaves none, a downgrade takes the trail with it."""
    upgrade_tables(engine, by=_ACTOR)
    [first] = trail(engine)
    downgrade_tables(engine, "0012", by=_ACTOR)
    upgrade_tables(engine, by=_ACTOR)
    [again] = trail(engine)

    assert (first.action, first.actor.kind) == (Action.LEDGER_UPGRADED, "fleet")
    assert again.actor == _ACTOR
    assert again.details["steps"].startswith("0013")


def test_no_change_without_its_record(engine: Engine, store: IntegrationStore, monkeypatch: Any) -> None:
    """If the record cannot be written, nothing has changed."""
    store.create(webhook())
    before = store.show("int_a")

    def refuse(*_arguments: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(module, "_row", refuse)
    keys = ApiKeyStore(engine)
    attempts: list[Callable[[], object]] = [
        lambda: store.set_paused("int_a", paused=True),
        lambda: store.set_enabled("int_a", enabled=False),
        lambda: store.change("int_a", lambda one: one.model_copy(update={"max_retries": 0})),
        lambda: store.delete("int_a"),
        lambda: keys.create("default", Role.ADMIN, "made"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="no room"):
            attempt()
    monkeypatch.undo()

    assert store.show("int_a") == before
    assert keys.list() == []
    assert actions(engine) == [Action.INTEGRATION_CREATED]


#: Changes an integration and is killed: where `argv` says, before the record or behind it.
_KILLED = """
import os, signal, sys
from worker.ledger import integrations
from worker.ledger.engine import open_ledger
from worker.vault.vault import Vault

url, key, where = sys.argv[1:]
record = integrations.add_integration_record

def die(*arguments):
    if where == "behind":
        record(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

integrations.add_integration_record = die
integrations.IntegrationStore(open_ledger(url), Vault([key])).set_paused("int_a", paused=True)
"""


@pytest.mark.parametrize("where", ["before", "behind"])
def test_who_is_killed_leaves_neither(engine: Engine, url: str, where: str) -> None:
    """Neither a change without its record, nor a record without its change."""
    key = new_key()
    store = IntegrationStore(engine, Vault([key]))
    store.create(webhook())
    done = subprocess.run([sys.executable, "-c", _KILLED, url, key, where], check=False, timeout=180)

    assert done.returncode == -9
    assert store.get("int_a").paused is False
    assert actions(engine) == [Action.INTEGRATION_CREATED]


def test_each_record_is_to_be_published(engine: Engine, store: IntegrationStore) -> None:
    """Until it is; a record that was pruned before is forgotten."""
    store.create(webhook())
    store.set_paused("int_a", paused=True)
    published = AuditTrail(engine)
    waiting = published.unpublished(10)
    published.note_published([waiting[0].id])
    prune_rows(engine, PrunableKind.AUDIT, waiting[1].at_ms + 1, 10)
    left = published.unpublished(10)
    published.note_published([one.id for one in left])

    assert [one.action for one in waiting][:2] == [Action.LEDGER_UPGRADED, Action.INTEGRATION_CREATED]
    assert [one.id for one in waiting] == sorted(one.id for one in waiting)
    assert {one.id for one in left} <= {one.id for one in waiting[1:]}
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(outbox)).scalar_one() == 0


def test_what_waited_in_redis_comes_once(engine: Engine) -> None:
    """However often a recorder takes it in."""
    one, other = (audit_record(Action.SIGNED_IN, _ACTOR) for _ in range(2))
    taken = [AuditTrail(engine).take_in(some) for some in ([one], [one, other], [other, one])]

    assert taken == [1, 1, 0]
    assert actions(engine) == [Action.SIGNED_IN] * 2


def test_a_destination_that_is_gone_is_disabled_by_the_fleet(engine: Engine, store: IntegrationStore) -> None:
    """With the reason; recording the same outcome again leaves no second record."""
    store.create(webhook())
    gone = Failure(FailureCode.ENDPOINT_GONE, "HTTP 410", "enable it again", 410)
    settled = outcome(["e1"], Status.DEAD, integration_id="int_a", failure=gone, settled_ms=NOON)
    for _ in range(2):
        record_entries(engine, [(f"{NOON}-1", [settled])], [])
    disabled = trail(engine)[0]

    assert actions(engine) == [Action.INTEGRATION_CREATED, Action.INTEGRATION_DISABLED]
    assert (disabled.actor.kind, disabled.integration_id) == ("fleet", "int_a")
    assert disabled.changes == (Change("enabled", before=True, after=False),)
    assert disabled.details["reason"] == "HTTP 410"


def test_records_go_by_age_alone(engine: Engine, store: IntegrationStore) -> None:
    """A few at a time, the oldest first, as everything else that is pruned."""
    store.create(webhook())
    for _ in range(4):
        store.set_paused("int_a", paused=True)
    with engine.begin() as connection:
        connection.execute(text("UPDATE audit SET at_ms = 1000 WHERE action = 'integration.paused'"))

    assert oldest_due(engine, PrunableKind.AUDIT, 1000) is None
    assert oldest_due(engine, PrunableKind.AUDIT, 1001) == 1000
    assert [(one.name, one.due, one.total) for one in prunable_shares(engine, PrunableKind.AUDIT, 1001)] == [
        ("audit records", 4, 6)
    ]
    steps = [prune_rows(engine, PrunableKind.AUDIT, 1001, 3) for _ in range(3)]
    assert steps == [Pruned(3), Pruned(1), Pruned(0)]
    assert actions(engine) == [Action.INTEGRATION_CREATED]


def test_no_code_changes_or_removes_a_record() -> None:
    """But retention, which works on the table of its plan."""
    named = re.compile(r"\b(update|delete)\(\s*audit\b|(UPDATE|DELETE FROM) audit\b")
    found = [
        path.name
        for path in _WORKER.rglob("*.py")
        if "migrations" not in path.parts and named.search(path.read_text())
    ]

    assert found == []
    assert named.search("delete(audit)")


def test_a_newer_release_may_record_what_this_one_does_not_know(engine: Engine) -> None:
    """It is listed all the same."""
    known = audit_record(Action.SIGNED_IN, _ACTOR)
    newer = msgspec.structs.replace(known, action="moon.landed", actor=Actor("satellite"))
    AuditTrail(engine).take_in([newer])

    assert trail(engine)[0] == newer


def test_names_of_any_kind_are_kept(engine: Engine) -> None:
    """NUL, which PostgreSQL takes in no text, lone surrogates, and names beyond any length."""
    actor = Actor(ActorKind.CLI, user="a\0b\ud800", host="h" * 5000)
    change = Change("x" * 5000, "\0" * 10, {"deep": ["\u202e" * 5000]})
    record = audit_record(
        Action.INTEGRATION_CHANGED, actor, tenant_id="t", integration_id="int_\0", changes=[change] * 500
    )
    AuditTrail(engine).take_in([record])
    found = trail(engine)[0]
    with reading(engine) as connection:
        longest = connection.execute(select(func.max(func.length(audit.c.document)))).scalar_one()

    assert found.action == Action.INTEGRATION_CHANGED
    assert longest <= 8192
    assert len(str(found.actor.host)) <= 200


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"body": "array"}, [("body", "event", "array", False)]),
        (
            {"headers": {"X-A": "one", "X-B": "two"}},
            {"headers": {"X-A": "one", "X-B": "three", "X-C": "four"}},
            [
                ("headers.X-B", {"set": True}, {"set": True}, True),
                ("headers.X-C", None, {"set": True}, True),
            ],
        ),
        (
            {"url": "https://a.example.com/?k=1"},
            {"url": "https://a.example.com/?k=2"},
            [("url", "https://a.example.com/?k=…", "https://a.example.com/?k=…", True)],
        ),
        (
            {"auth": {"kind": "bearer", "token": "one"}},
            {"auth": {"kind": "api_key", "header": "X-K", "value": "two"}},
            [
                ("auth.header", None, "X-K", False),
                ("auth.kind", "bearer", "api_key", False),
                ("auth.token", {"set": True}, None, True),
                ("auth.value", None, {"set": True}, True),
            ],
        ),
    ],
)
def test_what_a_change_has_changed(
    before: dict[str, Any], after: dict[str, Any], expected: list[Any]
) -> None:
    """Field by field; of a secret only that it was set, is set, or is another one."""
    found = integration_changes(webhook(**before), webhook(**after))

    assert [(one.field, one.before, one.after, one.secret) for one in found] == expected
