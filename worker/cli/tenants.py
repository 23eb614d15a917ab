"""`siem tenants`: taking a tenant from one cell to another (`worker.cells`)."""

import logging
import sys
import time
from contextlib import closing
from typing import Any, BinaryIO

import click
import msgspec

from worker.background.reconciler import share_api_keys
from worker.background.tenants import TenantStatus, tenant_status
from worker.broker.backlog import Timing
from worker.broker.connection import redis_client
from worker.broker.locks import check_claim
from worker.cli.output import as_json_option, count_text, plain, print_json, print_table, when
from worker.cli.stores import configuration, integration_store, key_copy, operator, refresh_integrations
from worker.ledger.engine import ledger_id
from worker.ledger.integrations import IntegrationStore
from worker.ledger.tenants import export_tenant, import_tenant, read_export, retire_tenant
from worker.model.errors import BrokerUnavailable, InvalidSetting
from worker.model.log_events import API_KEY_COPY_DEFERRED
from worker.vault.vault import open_vault
from worker.views.tenants import tenant_document

log = logging.getLogger(__name__)

#: How often `--wait` looks again, and for how long a tenant must have been quiet, in seconds.
_LOOK_EVERY, _QUIET = 2.0, 600.0


@click.group()
def tenants() -> None:
    """Take a tenant from one cell to another, without losing an event.

    A cell is a whole fleet with its own Redis and ledger. The steps, of which each can be repeated:

    \b
    1. In the old cell:  siem tenants export acme > acme.json
    2. In the new one:   siem tenants import acme.json
       with the old cell's key behind the others in SIEM_SECRET_KEYS, for this command alone.
    3. Change the directory of cells, so that events and requests of the tenant go to the new cell.
    4. In the old one:   siem tenants status acme --wait, then siem tenants retire acme

    What became of the events before, dead letters too, stays in the old cell's ledger.
    """


@tenants.command()
@click.argument("tenant")
def export(tenant: str) -> None:
    """Print a tenant as JSON: its integrations, with secrets as they are sealed, and digests of its API keys.

    \b
    siem tenants export acme > acme.json
    """
    with integration_store() as store:
        found = export_tenant(store.engine, tenant, by=operator())
    if not found.integrations and not found.api_keys:
        raise click.ClickException(f"tenant {tenant} has neither integrations nor API keys here")
    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


@tenants.command("import")
@click.argument("source", metavar="FILE", type=click.File("rb"))
@as_json_option
def import_(source: BinaryIO, *, as_json: bool) -> None:
    """Take in a tenant that another cell has exported, all of it or nothing; - is standard input.

    Its integrations keep their ids, and its API keys open here as well. Secrets are sealed with this cell's
    first key. To do it twice does no harm: what has changed in the old cell meanwhile is renewed.

    \b
    SIEM_SECRET_KEYS="$NEW_CELL,$OLD_CELL" siem tenants import acme.json
    """
    config = configuration()
    tenant = read_export(source.read())
    with integration_store() as store:
        done = import_tenant(store.engine, open_vault(config), config.quotas, tenant, by=operator())
        _share(store)
    if as_json:
        print_json({"tenant_id": tenant.tenant_id, **msgspec.structs.asdict(done)})
        return
    click.echo(
        plain(
            f"Tenant {tenant.tenant_id}: {count_text(done.added, 'integration')} added, "
            f"{done.renewed} renewed, {count_text(done.api_keys, 'API key')} added."
        )
    )


@tenants.command()
@click.argument("tenant")
@click.option("--wait", is_flag=True, help="Wait until nothing waits to be routed or sent.")
@as_json_option
def status(tenant: str, *, wait: bool, as_json: bool) -> None:
    """Show what of a tenant still waits in this cell. Exits with 0 if nothing does, with 1 otherwise.

    \b
    siem tenants status acme
    siem tenants status acme --wait
    """
    with integration_store() as store:
        found = _status(store, tenant)
        while wait and not found.is_drained:
            time.sleep(_LOOK_EVERY)
            found = _status(store, tenant)
    if as_json:
        print_json(tenant_document(found).model_dump())
    else:
        _print(found)
    if not found.is_drained:
        sys.exit(1)


@tenants.command()
@click.argument("tenant")
@click.option(
    "--quiet",
    type=click.FloatRange(min=0),
    default=_QUIET,
    show_default=True,
    metavar="SECONDS",
    help="For how long no event of the tenant may have been published here.",
)
@click.option("--confirm", is_flag=True, help="Do it although dead letters wait, which remain here.")
@as_json_option
def retire(tenant: str, quiet: float, *, confirm: bool, as_json: bool) -> None:
    """Disable the integrations of a tenant that has moved to another cell, and revoke its API keys here.

    Nothing is done while an event waits here, or was published here a short time ago: a publisher may not
    have the new directory yet, and an event without an enabled integration is not delivered.

    \b
    siem tenants retire acme
    """
    with integration_store() as store:
        found = _status(store, tenant)
        _require_left(found, quiet, confirm=confirm)
        retired = retire_tenant(store.engine, tenant, by=operator())
        _share(store)
    if as_json:
        count = {"integrations": len(retired.integrations), "api_keys": len(retired.api_keys)}
        print_json({"tenant_id": tenant, **count})
        return
    click.echo(
        plain(
            f"Tenant {tenant}: {count_text(len(retired.integrations), 'integration')} disabled, "
            f"{count_text(len(retired.api_keys), 'API key')} revoked."
        )
    )


def _require_left(found: TenantStatus, quiet: float, *, confirm: bool) -> None:
    name, seconds = found.tenant_id, found.quiet_seconds()
    if not found.is_drained:
        raise click.ClickException(f"events of tenant {name} still wait: see `siem tenants status {name}`")
    if seconds is not None and seconds < quiet:
        raise click.ClickException(
            f"an event of tenant {name} was published here {seconds:.0f} s ago: see that every publisher has "
            f"the new directory, and come back {quiet:.0f} s after the last event, or give --quiet"
        )
    if found.dead_letters and not confirm:
        letters = count_text(found.dead_letters, "dead letter")
        raise click.ClickException(
            f"{letters} of tenant {name} would remain here: replay or discard them first, or give --confirm"
        )


def _status(store: IntegrationStore, tenant: str) -> TenantStatus:
    config = configuration()
    with closing(redis_client(config.broker_address())) as client:
        return tenant_status(store.engine, client, Timing.of(config), store, tenant)


def _share(store: IntegrationStore) -> None:
    """Have the fleet know integrations and keys; while Redis is away, a recorder does that later."""
    refresh_integrations(store)
    try:
        with closing(redis_client(configuration().broker_address())) as client:
            check_claim(client, ledger_id(store.engine))
            share_api_keys(key_copy(client), store.engine)
    except (BrokerUnavailable, InvalidSetting) as error:
        API_KEY_COPY_DEFERRED.log(log, error=str(error))


def _print(found: TenantStatus) -> None:
    rows: list[list[Any]] = [
        ["integrations", found.integrations],
        ["of these enabled", found.enabled],
        ["API keys", found.api_keys],
        ["events to be routed", "more than 10000 entries wait" if found.ingress is None else found.ingress],
        ["events to be sent", found.backlog],
        ["events parked", found.parked],
        ["replays that run", found.replays],
        ["dead letters", found.dead_letters],
        ["last event", when(found.last_event_ms)],
    ]
    print_table([f"tenant {found.tenant_id}", ""], rows, empty="")
    click.echo("Nothing waits here." if found.is_drained else "Events still wait here.")
