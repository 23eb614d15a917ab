"""`siem integrations`: create, list, show, delete."""

import sys
from typing import Any

import click

from worker.broker.backlog import Backlog, Timing
from worker.broker.connection import connect
from worker.cli.configuration import configuration
from worker.cli.integration_form import integration_form, read_form
from worker.cli.output import as_json_option, counted, print_json, print_table
from worker.cli.stores import announce, integration_store
from worker.ledger.vault import public_document
from worker.model.errors import BrokerUnavailable, InvalidSetting
from worker.model.events import DEFAULT_EVENT_TYPES, EventType
from worker.model.integrations import Integration


@click.group()
def integrations() -> None:
    """Set up the SIEMs that events go to: each is an integration of one tenant."""


@integrations.command()
@integration_form
@as_json_option
def create(*, as_json: bool, **options: Any) -> None:
    """Create an integration; events reach it from now on.

    \b
    siem integrations create --name splunk --token-file token.txt \\
        --url https://splunk.example.com:8088/services/collector/event --index security
    pass show splunk/hec | siem integrations create --name splunk --token-file - \\
        --url https://splunk.example.com:8088/services/collector/event

    The token and the key are sealed before they are stored, and are never shown again.
    """
    integration = read_form(options)
    with integration_store() as store:
        store.create(integration)
        announce(store)
    if as_json:
        print_json(public_document(integration))
    else:
        click.echo(f"Created {integration.name} ({integration.id}).")


@integrations.command("list")
@click.option("--tenant", metavar="TENANT", help="Only this tenant's; left out, all tenants'.")
@as_json_option
def list_(tenant: str | None, *, as_json: bool) -> None:
    """List the integrations, by tenant and name."""
    with integration_store() as store:
        found = store.list(tenant)
    if as_json:
        print_json([public_document(one) for one in found])
        return
    print_table(
        ["id", "name", "type", "tenant", "enabled", "event types", "url"],
        [_row(one) for one in found],
        empty="No integrations here yet: `siem integrations create --help` tells how to create one.",
    )


@integrations.command()
@click.argument("integration")
@as_json_option
def show(integration: str, *, as_json: bool) -> None:
    """Show one integration, by id or name. Of a secret, only that it is set."""
    with integration_store() as store:
        document = public_document(store.get(integration))
    if as_json:
        print_json(document)
        return
    destination = document.pop("destination")
    pairs = {**document, **destination}
    print_table(["field", "value"], [[key, _shown(key, value)] for key, value in pairs.items()], empty="")


@integrations.command()
@click.argument("integration")
@click.option("--yes", is_flag=True, help="Do not ask first, as a script must.")
@as_json_option
def delete(integration: str, *, yes: bool, as_json: bool) -> None:
    """Delete an integration, by id or name. Its undelivered events become dead letters."""
    with integration_store() as store:
        found = store.resolve(integration)
        if not yes:
            _confirm(integration, found)
        store.delete(found)
        announce(store)
    if as_json:
        print_json({"deleted": found})
    else:
        click.echo(f"Deleted {integration} ({found}).")


def _row(one: Integration) -> list[Any]:
    types = "all" if one.event_types == frozenset(EventType) else ", ".join(sorted(one.event_types))
    if one.event_types == DEFAULT_EVENT_TYPES:
        types = "all but policy.allow"
    return [one.id, one.name, one.type, one.tenant_id, one.enabled, types, one.destination.url]


def _shown(key: str, value: Any) -> Any:
    """Show one value; certificates are pages long, and `--json` has them."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "set" if key.endswith("_pem") and value else value


def _confirm(name: str, integration_id: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nothing was deleted: there is no terminal to ask at, so give --yes")
    question = f"Delete {name} ({integration_id})? {_waiting(integration_id)} become dead letters."
    if not click.confirm(question, err=True):
        raise click.ClickException("nothing was deleted")


def _waiting(integration_id: str) -> str:
    """Count what a deletion would bury, as far as Redis can be asked."""
    try:
        config = configuration()
        client = connect(config.broker_address())
        try:
            return counted(Backlog(client, Timing.of(config)).depth(integration_id), "undelivered event")
        finally:
            client.close()
    except (BrokerUnavailable, InvalidSetting):
        return "Its undelivered events"
