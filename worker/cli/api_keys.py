"""`siem api-keys`: create, list, revoke."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from worker.background.reconciler import share_api_keys
from worker.broker.api_keys import FoundKey
from worker.broker.audit import AuditInbox
from worker.broker.connection import Client, redis_client
from worker.broker.locks import check_claim
from worker.cli.output import as_json_option, plain, print_items, print_json, print_table, when
from worker.cli.stores import configuration, key_copy, ledger, operator
from worker.ledger.api_keys import ApiKeyStore, key_record
from worker.ledger.engine import Ledger, ledger_id
from worker.model.api_keys import ApiKey, Role
from worker.model.audit import Action
from worker.model.errors import (
    BrokerUnavailable,
    InvalidSetting,
    LedgerUnavailable,
    OutageError,
    SchemaOutdated,
)
from worker.model.log_events import API_KEY_COPY_DEFERRED, API_KEY_REVOCATION_DEFERRED
from worker.model.time import rfc3339
from worker.vault.vault import open_vault

log = logging.getLogger(__name__)

_ROLES = [role.value for role in Role]


@click.group("api-keys")
def api_keys() -> None:
    """Make and revoke the keys of the HTTP API: each belongs to one tenant."""


@api_keys.command()
@click.option("--name", required=True, metavar="NAME", help="Who will use it, for the list.")
@click.option(
    "--tenant",
    default="default",
    show_default=True,
    metavar="TENANT",
    help="The tenant whose integrations it opens, and for which it publishes.",
)
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default=Role.ADMIN.value,
    show_default=True,
    help="What it may do: everything; read; or publish events and nothing else.",
)
@as_json_option
def create(name: str, tenant: str, role: str, *, as_json: bool) -> None:
    """Make a key, and print it this once: only its digest is stored.

    \b
    siem api-keys create --name terraform
    siem api-keys create --name control-plane --tenant acme --role publish-only
    """
    with ledger() as engine:
        made = ApiKeyStore(engine).create(tenant, Role(role), name, by=operator())
        try:
            with _client() as client:
                _share(client, engine)
        except (OutageError, InvalidSetting) as error:
            # The key is stored, and its text is nowhere else: it is printed whatever fails here.
            API_KEY_COPY_DEFERRED.log(log, error=str(error))
    if as_json:
        print_json({**_document(made.key), "api_key": made.text})
        return
    click.echo(made.text)
    note = f"This is key {made.key.id}, {role} of tenant {tenant}. It is not shown again."
    click.echo(plain(note), err=True)


@api_keys.command("list")
@click.option("--tenant", metavar="TENANT", help="Only this tenant's; left out, all tenants'.")
@as_json_option
def list_(tenant: str | None, *, as_json: bool) -> None:
    """List the keys, the oldest first, those that were revoked as well. What they are is not known."""
    with ledger() as engine:
        found = ApiKeyStore(engine).list(tenant)
    if as_json:
        print_items([_document(key) for key in found])
        return
    print_table(
        ["id", "name", "tenant", "role", "created", "revoked"],
        [
            [key.id, key.name, key.tenant_id, key.role.value, when(key.created_ms), when(key.revoked_ms)]
            for key in found
        ],
        empty="No keys yet: `siem api-keys create --help` shows how to create one.",
    )


@api_keys.command()
@click.argument("key", metavar="ID")
@as_json_option
def revoke(key: str, *, as_json: bool) -> None:
    """Revoke a key, by its id: some seconds later it opens nothing any more, and never will again.

    While the database cannot be used, a key is revoked in Redis, by whose copy it would open; a recorder
    revokes it in the database as well once it can.
    """
    try:
        with ledger() as engine:
            revoked = ApiKeyStore(engine).revoke(key, by=operator())
            _publish_revocation(engine, revoked)
    except (LedgerUnavailable, SchemaOutdated) as error:
        _revoke_in_copy(key, error, as_json=as_json)
        return
    if as_json:
        print_json(_document(revoked))
    else:
        click.echo(plain(f"Revoked {revoked.name} ({revoked.id})."))


def _publish_revocation(engine: Ledger, revoked: ApiKey) -> None:
    try:
        with _client() as client:
            check_claim(client, ledger_id(engine))
            key_copy(client).revoke(revoked.id)
    except (BrokerUnavailable, InvalidSetting) as error:
        API_KEY_REVOCATION_DEFERRED.log(log, api_key=revoked.id, error=str(error))


def _revoke_in_copy(key_id: str, outage: OutageError, *, as_json: bool) -> None:
    with _client() as client:
        copy = key_copy(client)
        found = copy.find(key_id)
        if found is None:
            raise outage
        copy.revoke(key_id, _record_of(client, found))
    name = found.key.name if found.key else "the key"
    if as_json:
        print_json({"id": key_id, "revoked_at": None, "revoked_in_redis": True, "reason": str(outage)})
    else:
        click.echo(plain(f"Revoked {name} ({key_id}) in Redis; a recorder revokes it in the database:"))
        click.echo(plain(str(outage)))


def _record_of(client: Client, found: FoundKey) -> tuple[str, bytes] | None:
    """Return the record of a revocation that Redis keeps until the database is back; none of a second one."""
    if found.key is None:
        return None
    record = key_record(Action.API_KEY_REVOKED, operator(), found.key, database="away")
    return AuditInbox(client, open_vault(configuration()).proofs).entry(record)


def _share(client: Client, engine: Ledger) -> None:
    """Write all keys to Redis, if it is this ledger's."""
    check_claim(client, ledger_id(engine))
    share_api_keys(key_copy(client), engine)


@contextmanager
def _client() -> Iterator[Client]:
    client = redis_client(configuration().broker_address())
    try:
        yield client
    finally:
        client.close()


def _document(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant_id": key.tenant_id,
        "role": key.role.value,
        "created_at": rfc3339(key.created_ms),
        "revoked_at": rfc3339(key.revoked_ms),
    }
