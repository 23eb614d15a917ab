"""`siem integrations orphans`: list, adopt, delete what stands in Redis and not in the ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from worker.broker.backlog import Backlog, Timing
from worker.broker.conflicts import (
    Conflict,
    ConflictKind,
    conflicts,
    count_by_kind,
    orphan_document,
    sentences,
)
from worker.broker.connection import Client, redis_client
from worker.cli.output import (
    as_json_option,
    confirm,
    count_text,
    plain,
    print_items,
    print_json,
    print_table,
    when,
)
from worker.cli.stores import configuration, integration_store, operator, reconcile, refresh_integrations
from worker.ledger.orphans import adopt_integration as adopt_into
from worker.ledger.orphans import keep_dead_letters
from worker.model.errors import BrokerUnavailable, NotFoundError
from worker.model.time import rfc3339
from worker.vault.vault import open_vault
from worker.views.integrations import integration_document

_orphan = click.argument("orphan", metavar="INTEGRATION")


@click.group()
def orphans() -> None:
    """See to integrations on which Redis and the ledger disagree, as after a restore from a backup.

    One that the ledger does not know is paused; its events are kept. Adopt it, or delete it. One that was
    paused, disabled or deleted after the backup is paused or disabled in the ledger, too: `siem integrations
    resume`, `enable`, `update` or `delete` settles that.
    """


@orphans.command("list")
@as_json_option
def list_(*, as_json: bool) -> None:
    """List them, with what waits for each.

    \b
    siem integrations orphans list
    siem integrations orphans list --json
    """
    with _opened() as client:
        known = sorted(conflicts(client).items())
        found = [_document(client, one, conflict) for one, conflict in known]
    if as_json:
        print_items(found)
        return
    print_table(
        ["id", "name", "type", "tenant", "since", "backlog", "what is the matter"],
        [
            [
                *(document[name] for name in ("id", "name", "type", "tenant_id")),
                when(conflict.since_ms),
                document["backlog"],
                _WORDS[conflict.kind],
            ]
            for (_, conflict), document in zip(known, found, strict=True)
        ],
        empty="None: Redis and the ledger know the same integrations.",
    )


@orphans.command()
@_orphan
@click.option("--name", metavar="NAME", help="Another name for it, should its own be taken.")
@as_json_option
def adopt(orphan: str, name: str | None, *, as_json: bool) -> None:
    """Write an integration that only Redis knows into the ledger, by id or name, secrets included.

    It stays paused: look at it, test it, and resume it.

    \b
    siem integrations orphans adopt splunk
    siem integrations resume splunk
    """
    with _opened() as client, integration_store() as store:
        reconcile(store)
        found, conflict = _find(client, orphan)
        sealed = _sealed(client, found, conflict)
        vault = open_vault(configuration())
        integration = adopt_into(store.engine, vault, sealed, conflict.revision, name, by=operator())
        refresh_integrations(store)
        shown = store.show(integration.id)
    if as_json:
        print_json(integration_document(shown))
    else:
        resume = f"`siem integrations resume {integration.id}` ends its pause"
        click.echo(plain(f"Adopted {integration.name} ({integration.id}); {resume}."))


@orphans.command()
@_orphan
@click.option("--yes", is_flag=True, help="Do not ask first, as a script must.")
@as_json_option
def delete(orphan: str, *, yes: bool, as_json: bool) -> None:
    """Delete an integration that only Redis knows, by id or name. Its undelivered events become dead letters.

    \b
    siem integrations orphans delete splunk
    """
    with _opened() as client, integration_store() as store:
        reconcile(store)
        found, conflict = _find(client, orphan)
        if not yes:
            events = count_text(_backlog(client, found), "undelivered event")
            question = f"Delete {conflict.name} ({found})? {events} become dead letters."
            confirm(question, "nothing was deleted")
        sealed = _sealed(client, found, conflict)
        keep_dead_letters(store.engine, sealed, conflict.revision, by=operator())
        refresh_integrations(store)
    if as_json:
        print_json({"deleted": found})
    else:
        click.echo(plain(f"Deleted {conflict.name} ({found})."))


def notices() -> Iterator[str]:
    """Yield a sentence for each kind of conflict that there is, as far as Redis can be asked."""
    try:
        with _opened() as client:
            yield from (f"{sentence}." for sentence in sentences(count_by_kind(conflicts(client))))
    except BrokerUnavailable:
        return


_WORDS = {
    ConflictKind.UNKNOWN: "not in the ledger: paused until it is adopted or deleted",
    ConflictKind.OLDER: (
        "the ledger was set back: `siem integrations resume`, `enable`, `update` or `delete` settles it"
    ),
}


@contextmanager
def _opened() -> Iterator[Client]:
    client = redis_client(configuration().broker_address())
    try:
        yield client
    finally:
        client.close()


def _find(client: Client, id_or_name: str) -> tuple[str, Conflict]:
    """Return the one that is meant, of those that the ledger does not know. Raises NotFoundError."""
    unknown = {
        one: conflict for one, conflict in conflicts(client).items() if conflict.kind is ConflictKind.UNKNOWN
    }
    if id_or_name in unknown:
        return id_or_name, unknown[id_or_name]
    named = [(one, conflict) for one, conflict in unknown.items() if conflict.name == id_or_name]
    if len(named) > 1:
        raise NotFoundError(f"several are called {id_or_name}: give the id of one")
    if not named:
        raise NotFoundError(
            f"no integration {id_or_name} is unknown to the ledger: `siem integrations orphans list` says "
            "which are, and what settles the others"
        )
    return named[0]


def _sealed(client: Client, integration_id: str, conflict: Conflict) -> dict[str, Any]:
    """Return its sealed document, or of one that is gone from Redis what is known of it."""
    found = orphan_document(client, integration_id)
    if found is not None:
        return found
    return {
        "id": integration_id,
        "name": conflict.name,
        "tenant_id": conflict.tenant_id,
        "destination": {"type": conflict.type},
    }


def _document(client: Client, integration_id: str, conflict: Conflict) -> dict[str, Any]:
    return {
        "id": integration_id,
        "name": conflict.name,
        "type": conflict.type,
        "tenant_id": conflict.tenant_id,
        "kind": conflict.kind.value,
        "since": rfc3339(conflict.since_ms),
        "backlog": _backlog(client, integration_id),
    }


def _backlog(client: Client, integration_id: str) -> int:
    return Backlog(client, Timing.of(configuration())).depth(integration_id)
