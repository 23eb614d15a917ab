"""Every command that changes something leaves one record, by whom and where; and `siem audit` shows it."""

import itertools
import json
import os
import platform
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from sqlalchemy import delete

from tests.attacks.test_invalid_events import broken, reject
from tests.audit_trail import raw_table, take_in, trail
from tests.cli.running import call
from tests.fleet import Fleet, wait_until
from tests.ledger.entries import NOON, letter
from worker.broker import keys
from worker.broker.conflicts import hold_unknown
from worker.broker.formats import hold_formats
from worker.broker.integration_documents import standing_ids
from worker.cli import siem
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import ledger_id
from worker.ledger.migrations.runner import downgrade_tables
from worker.ledger.recording import record_entries
from worker.ledger.redis_losses import LossStore
from worker.ledger.schema import integrations
from worker.model.audit import Action, AuditRecord
from worker.model.redis_marks import Loss, LossKind
from worker.vault.vault import new_key

OLD, NEW = new_key(), new_key()
_SECRET = "hush-hush-hush"
_USER = pwd.getpwuid(os.getuid()).pw_name
_URL = "https://hook.example.com/in"
_numbers = itertools.count(1)
#: What only reads, publishes events, or runs until it is ended.
READS = {
    *("api", "audit", "completion", "deliveries", "health", "preview", "publish", "record", "route"),
    *("flower", "preflight", "probe", "settings", "status", "up"),
    *("api-keys list", "db status", "dead-letters list", "dead-letters show", "integrations list"),
    *("integrations new-secret", "integrations orphans list", "integrations show", "redis check"),
    *("redis losses", "replays list", "replays show", "secrets new-key", "secrets status", "tenants status"),
    *("unrecordable list", "unrecordable show"),
}


@dataclass(frozen=True)
class Way:
    """How a command is called: what it is given, and what the record says that was done."""

    action: Action
    arguments: Callable[[Fleet], list[str]]


def _name(fleet: Fleet) -> str:
    return fleet.integrate(_URL, f"n{next(_numbers)}", type="webhook", headers={"X-Key": _SECRET}).id


def _home(fleet: Fleet) -> list[str]:
    return [_name(fleet)]


def _buried(fleet: Fleet) -> str:
    home, entry = _name(fleet), f"{NOON}-{next(_numbers) + 50_000}"
    record_entries(fleet.engine, [], [(entry, letter({f"{home}-1": b"{}"}, integration_id=home))])
    return home


def _replay(fleet: Fleet) -> list[str]:
    asked = ("dead-letters", "replay", "--integration", _buried(fleet), "--yes", "--json")
    return [call(fleet.environment, *asked).json["id"]]


def _correction(fleet: Fleet) -> list[str]:
    raw = broken("default", next(_numbers) + 900)
    path = fleet.directory / "event.json"
    path.write_text(json.dumps({**json.loads(raw), "drift_score": 0.5}))
    return [reject(fleet, raw), str(path)]


def _key(fleet: Fleet) -> list[str]:
    made = call(fleet.environment, "api-keys", "create", "--name", "to revoke", "--json").json
    return [made["id"]]


def _orphan(fleet: Fleet) -> list[str]:
    made = _name(fleet)
    with fleet.engine.begin() as connection:
        connection.execute(delete(integrations).where(integrations.c.id == made))
    hold_unknown(fleet.client, standing_ids(fleet.client))
    return [made]


def _loss(fleet: Fleet) -> list[str]:
    loss = Loss(kind=LossKind.EMPTIED, since_ms=NOON, found_ms=NOON + 1, deliveries={}, waiting={})
    return [str(LossStore(fleet.engine).report(loss, "none", None)), "--note", "seen"]


def _aside(fleet: Fleet) -> list[str]:
    fields = {"stream": keys.OUTCOMES, "entry": "1-1", "raw": b"outcomes"}
    made = fleet.client.xadd(keys.UNRECORDABLE, fields)  # type: ignore[arg-type]  # redis-py wants wider keys
    return [made.decode()]  # type: ignore[union-attr]  # the client is no asynchronous one


def _claimed(fleet: Fleet) -> list[str]:
    fleet.client.set(keys.LEDGER, "another-ledger")
    return ["--yes"]


def _tenant(fleet: Fleet) -> list[str]:
    tenant = f"moving-{next(_numbers)}"
    assert call(fleet.environment, "api-keys", "create", "--name", "made", "--tenant", tenant).code == 0
    return [tenant]


def _export(fleet: Fleet) -> list[str]:
    file = fleet.directory / "tenant.json"
    file.write_text(call(fleet.environment, "tenants", "export", *_tenant(fleet)).out)
    return [str(file)]


def _below(fleet: Fleet) -> list[str]:
    downgrade_tables(fleet.engine, "0012")
    return []


def _created(_fleet: Fleet) -> list[str]:
    return ["--name", f"made-{next(_numbers)}", "--url", _URL, "--type", "webhook"]


def _sealed(fleet: Fleet) -> list[str]:
    environment = {**fleet.environment, "SIEM_SECRET_KEYS": OLD}
    asked = ("integrations", "create", *_created(fleet), "--token", _SECRET)
    assert call(environment, *asked).code == 0
    return ["--confirm"]


def _held(fleet: Fleet) -> list[str]:
    hold_formats(fleet.client, held=True)
    return ["--release"]


CHANGES: dict[str, Way] = {
    "integrations create": Way(Action.INTEGRATION_CREATED, _created),
    "integrations update": Way(
        Action.INTEGRATION_CHANGED, lambda fleet: [*_home(fleet), "--max-retries", "1"]
    ),
    "integrations pause": Way(Action.INTEGRATION_PAUSED, _home),
    "integrations resume": Way(Action.INTEGRATION_RESUMED, _home),
    "integrations disable": Way(Action.INTEGRATION_DISABLED, _home),
    "integrations enable": Way(Action.INTEGRATION_ENABLED, _home),
    "integrations delete": Way(Action.INTEGRATION_DELETED, lambda fleet: [*_home(fleet), "--yes"]),
    "integrations test": Way(Action.INTEGRATION_TESTED, _home),
    "doctor": Way(Action.INTEGRATION_TESTED, _home),
    "integrations orphans adopt": Way(Action.ORPHAN_ADOPTED, _orphan),
    "integrations orphans delete": Way(Action.ORPHAN_DELETED, lambda fleet: [*_orphan(fleet), "--yes"]),
    "dead-letters replay": Way(
        Action.REPLAY_CREATED, lambda fleet: ["--integration", _buried(fleet), "--yes"]
    ),
    "dead-letters discard": Way(
        Action.LETTERS_DISCARDED, lambda fleet: ["--integration", _buried(fleet), "--yes"]
    ),
    "dead-letters correct": Way(Action.LETTER_CORRECTED, _correction),
    "replays cancel": Way(Action.REPLAY_CANCELLED, _replay),
    "api-keys create": Way(Action.API_KEY_CREATED, lambda _fleet: ["--name", "made"]),
    "api-keys revoke": Way(Action.API_KEY_REVOKED, _key),
    "secrets reseal": Way(Action.SECRETS_RESEALED, _sealed),
    "redis claim": Way(Action.REDIS_CLAIMED, _claimed),
    "redis formats": Way(Action.FORMATS_RELEASED, _held),
    "redis acknowledge": Way(Action.LOSS_ACKNOWLEDGED, _loss),
    "unrecordable retry": Way(Action.UNRECORDABLE_RETRIED, _aside),
    "unrecordable discard": Way(Action.UNRECORDABLE_DISCARDED, lambda fleet: [*_aside(fleet), "--yes"]),
    "tenants export": Way(Action.TENANT_EXPORTED, _tenant),
    "tenants import": Way(Action.TENANT_IMPORTED, _export),
    "tenants retire": Way(Action.TENANT_RETIRED, _tenant),
    "db prune": Way(Action.LEDGER_PRUNED, lambda _fleet: ["--confirm"]),
    # The last one: the trail of before is lost with its tables.
    "db upgrade": Way(Action.LEDGER_UPGRADED, _below),
}
#: Takes the trail with it, or needs a later release: tested with the migrations.
_ELSEWHERE = {"db downgrade"}


def _commands(name: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from _commands(f"{name} {each}".strip(), found)
    else:
        yield name


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet without any process but the server, that a test may spoil."""
    with Fleet(tmp_path, SIEM_SECRET_KEYS=f"{NEW},{OLD}") as fleet:
        yield fleet


@pytest.mark.slow
def test_every_command_that_changes_something_leaves_one_record(
    own: Fleet, subtests: pytest.Subtests
) -> None:
    """By a user of this machine; a command that is not in a table fails here."""
    assert set(_commands("", siem)) == CHANGES.keys() | READS | _ELSEWHERE
    for command, way in CHANGES.items():
        with subtests.test(command=command):
            arguments = way.arguments(own)
            before = _known(own) if command != "db upgrade" else set()
            ran = call(own.environment, *command.split(), *arguments)
            own.client.set(keys.LEDGER, ledger_id(own.engine))
            take_in(own)
            [record] = [one for one in trail(own.engine) if one.id not in before]

            assert ran.code in ({0, 1} if way.action is Action.INTEGRATION_TESTED else {0}), ran.err
            assert (record.action, record.actor.kind) == (way.action, "cli")
            assert record.actor.user is not None
            assert record.actor.user.split(" ")[0] == _USER
            assert record.actor.host == platform.node()
    assert _SECRET not in raw_table(own.engine)


def _known(fleet: Fleet) -> set[str]:
    """Return the ids of the records that there are, those that wait in Redis included."""
    holder = fleet.client.get(keys.LEDGER)
    fleet.client.set(keys.LEDGER, ledger_id(fleet.engine))
    take_in(fleet)
    if holder is not None:
        fleet.client.set(keys.LEDGER, holder)
    return {one.id for one in trail(fleet.engine)}


def test_the_table_and_the_document(own: Fleet) -> None:
    """People see before and after in a line; scripts get the API's document, page by page."""
    home = _name(own)
    call(own.environment, "integrations", "pause", home)
    shown = call(own.environment, "audit", "--integration", home)
    whole = call(own.environment, "audit", "--integration", home, "--json").json["items"]
    first = call(own.environment, "audit", "--integration", home, "--limit", "1", "--json").json
    second = call(
        own.environment, "audit", "--integration", home, "--limit", "1", "--cursor", first["next"], "--json"
    ).json

    assert "paused: no → yes" in shown.out
    assert _USER in shown.out
    assert [one["action"] for one in whole] == ["integration.paused", "integration.created"]
    assert [*first["items"], *second["items"]] == whole
    assert second["next"] is None
    assert whole[0]["actor"]["host"] == platform.node()
    for narrowed in (("--action", "integration.deleted"), ("--key", "0" * 16), ("--tenant", "other")):
        assert call(own.environment, "audit", *narrowed).out == "No record matches.\n"
    assert call(own.environment, "audit", "--until", "1d").out == "No record matches.\n"
    assert call(own.environment, "audit", "--action", "boredom").code == 2


def test_names_reach_no_terminal(own: Fleet) -> None:
    """A variable may name any user: the record has that of the process, and codes for what it is told."""
    hostile = "\x1b[31mroot\x9b2J\u202e"
    environment = {**own.environment, "LOGNAME": hostile, "SUDO_USER": hostile}
    call(environment, "api-keys", "create", "--name", "made")
    shown = call(own.environment, "audit", "--action", "api_key.created")
    [record] = [one for one in trail(own.engine) if one.action == "api_key.created"]

    assert record.actor.user is not None
    assert record.actor.user.startswith(f"{_USER} (sudo by ")
    assert record.actor.user.isprintable()
    assert all(char.isprintable() or char == "\n" for char in shown.out)
    assert "sudo by" in shown.out


@pytest.mark.slow
def test_a_revocation_without_the_database_is_recorded_once_it_is_back(own: Fleet) -> None:
    """Redis keeps who it was, and a recorder that learns of the revocation itself makes no second record."""
    made = call(own.environment, "api-keys", "create", "--name", "lost", "--json").json["id"]
    ledger, away = own.directory / "ledger.sqlite3", own.directory / "ledger.away"
    own.engine.dispose()
    ledger.rename(away)
    ledger.mkdir()
    ran = call(own.environment, "api-keys", "revoke", made)
    again = call(own.environment, "api-keys", "revoke", made)
    ledger.rmdir()
    away.rename(ledger)
    own.start("recorder")
    revoked = _wait_for_revocation(own, made)

    assert (ran.code, again.code) == (0, 0), ran.err
    assert len(revoked) == 1
    assert revoked[0].actor.user == _USER
    assert revoked[0].subject_name == "lost"


def _wait_for_revocation(fleet: Fleet, key_id: str) -> list[AuditRecord]:
    """Wait until the ledger has the revocation and its record; return its records."""

    def found() -> list[AuditRecord]:
        return [one for one in trail(fleet.engine) if one.action == Action.API_KEY_REVOKED]

    def is_over() -> bool:
        revoked = [one.id for one in ApiKeyStore(fleet.engine).list() if one.revoked_ms]
        return key_id in revoked and bool(found())

    wait_until(is_over, "the ledger knows of the revocation")
    return found()
