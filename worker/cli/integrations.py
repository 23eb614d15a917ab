"""`siem integrations`: create, update, list, show, test, enable, disable, pause, delete."""

import base64
import secrets
from itertools import chain
from typing import Any

import click

from worker.broker.backlog import Backlog, Timing
from worker.broker.connection import redis_client
from worker.cli.doctor import doctor
from worker.cli.field_options import SectionedCommand
from worker.cli.integration_form import read_form
from worker.cli.integration_options import INTEGRATION_OPTIONS
from worker.cli.integration_text import (
    disabled_notices,
    fields,
    integration_row,
    integration_warnings,
    unreadable_secrets,
)
from worker.cli.integration_update import update
from worker.cli.orphans import notices, orphans
from worker.cli.output import as_json_option, confirm, count_text, plain, print_json, print_table
from worker.cli.selection import integration_argument
from worker.cli.stores import (
    configuration,
    integration_store,
    operator,
    processes_without_key,
    refresh_integrations,
    worker_reach,
)
from worker.integrations.integration import Integration
from worker.ledger.integrations import IntegrationStore
from worker.ledger.replays import replays_of
from worker.model.errors import BrokerUnavailable, InvalidSetting
from worker.model.replays import ENABLED, ReplayState
from worker.views.integrations import integration_document, integration_page


@click.group()
def integrations() -> None:
    """Set up the SIEMs that events go to: each is an integration of one tenant."""


@integrations.command(cls=SectionedCommand, params=list(INTEGRATION_OPTIONS))
@as_json_option
def create(*, as_json: bool, **options: Any) -> None:
    """Create an integration; events reach it from now on.

    \b
    siem integrations create --name splunk --token-file token.txt \\
        --url https://splunk.example.com:8088/services/collector/event --index security
    pass show splunk/hec | siem integrations create --name splunk --token-file - \\
        --url https://splunk.example.com:8088/services/collector/event
    siem integrations create --name qradar --url syslog+tls://qradar.example.com:6514
    siem integrations create --name hooks --type webhook --token-file token.txt \\
        --url https://endpoint.example.com/webhook

    Tokens, keys, headers and signing secrets are sealed before they are stored, and are never shown again.
    """
    integration = read_form(options)
    with integration_store() as store:
        store.by(operator()).create(integration)
        refresh_integrations(store, integration.id)
        made = store.show(integration.id)
    for warning in integration_warnings(
        integration, lambda: worker_reach(integration.type), processes_without_key
    ):
        click.echo(f"Warning: {plain(warning)}.", err=True)
    if as_json:
        print_json(integration_document(made))
    else:
        click.echo(f"Created {integration.name} ({integration.id}).")


integrations.add_command(update)
integrations.add_command(orphans)


@integrations.command()
@integration_argument
@click.pass_context
def test(context: click.Context, integration: str) -> None:
    """Test an integration, by id or name: another word for `siem doctor`, which has options."""
    context.invoke(doctor, integration=integration, timeout=None, test_event=True, as_json=False)


@integrations.command("list")
@click.option("--tenant", metavar="TENANT", help="Only this tenant's; left out, all tenants'.")
@as_json_option
def list_(tenant: str | None, *, as_json: bool) -> None:
    """List the integrations, by tenant and name."""
    with integration_store() as store:
        mine = store if tenant is None else store.of(tenant)
        if as_json:
            shown = mine.masked()
            print_json(integration_page(shown, len(shown)))
            return
        found, off = mine.list(), mine.disabled_by_destination()
    print_table(
        ["id", "name", "type", "tenant", "state", "event types", "url"],
        [integration_row(one) for one in found],
        empty="No integrations here yet: `siem integrations create --help` shows how to create one.",
    )
    for notice in disabled_notices(found, off):
        click.echo(plain(notice))
    for warning in chain.from_iterable(map(unreadable_secrets, found)):
        click.echo(f"Warning: {plain(warning)}.", err=True)
    for notice in notices():
        click.echo(plain(notice))


@integrations.command()
@integration_argument
@as_json_option
def show(integration: str, *, as_json: bool) -> None:
    """Show one integration, by id or name. Of a secret, only that it is set."""
    with integration_store() as store:
        found = store.resolve(integration)
        shown = store.show(found)
        if as_json:
            print_json(integration_document(shown))
            return
        print_table(["field", "value"], fields(shown), empty="")
        for warning in unreadable_secrets(store.get(found)):
            click.echo(f"Warning: {plain(warning)}.", err=True)


@integrations.command()
@integration_argument
@as_json_option
def enable(integration: str, *, as_json: bool) -> None:
    """Switch an integration on, by id or name.

    What waits for it is sent, and events are collected for it again. This is also the way back for one that
    its destination disabled, by saying that it is gone for good (a webhook's HTTP 410): the events that
    met this answer are dead letters until then, and are sent again.
    """
    _switch(integration, enabled=True, as_json=as_json)


@integrations.command()
@integration_argument
@as_json_option
def disable(integration: str, *, as_json: bool) -> None:
    """Switch an integration off, by id or name.

    Nothing more is sent to it, but for what is under way. What waits for it already, waits until it is
    enabled again. Events that are published meanwhile are not collected for it: they never reach it.
    """
    _switch(integration, enabled=False, as_json=as_json)


@integrations.command()
@integration_argument
@as_json_option
def pause(integration: str, *, as_json: bool) -> None:
    """Keep the events of an integration waiting, by id or name.

    Nothing more is sent to it, but for what is under way. Its events are collected all the same, those that
    are published meanwhile as well, and are sent once it is resumed: use it while a SIEM is being maintained.
    What Redis should not hold any longer (SIEM_BACKLOG_EVENTS) rests in the database.
    """
    _pause(integration, paused=True, as_json=as_json)


@integrations.command()
@integration_argument
@as_json_option
def resume(integration: str, *, as_json: bool) -> None:
    """End the pause of an integration, by id or name: what waits is sent.

    One whose circuit breaker is open is tried again at once, instead of when the next try is due.
    """
    _pause(integration, paused=False, as_json=as_json)


@integrations.command("new-secret")
def new_secret() -> None:
    """Print a new signing secret for a webhook.

    It is of the form that Standard Webhooks want, whsec_ and 32 random bytes in base64. It is stored nowhere:
    give it to the endpoint, and to --signing-secret-file.

    \b
    (umask 077; siem integrations new-secret > secret.txt)
    """
    click.echo("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())


@integrations.command()
@integration_argument
@click.option("--yes", is_flag=True, help="Do not ask first, as a script must.")
@as_json_option
def delete(integration: str, *, yes: bool, as_json: bool) -> None:
    """Delete an integration, by id or name. Its undelivered events become dead letters."""
    with integration_store() as store:
        found = store.resolve(integration)
        if not yes:
            question = f"Delete {integration} ({found})? {_waiting(found)} become dead letters."
            confirm(question, "nothing was deleted")
        store.by(operator()).delete(found)
        refresh_integrations(store, found)
    if as_json:
        print_json({"deleted": found})
    else:
        click.echo(f"Deleted {integration} ({found}).")


def _switch(id_or_name: str, *, enabled: bool, as_json: bool) -> None:
    with integration_store() as store:
        changed = store.by(operator()).set_enabled(store.resolve(id_or_name), enabled)
        _tell(store, changed, "Enabled" if enabled else "Disabled", as_json=as_json)
        if enabled and not as_json:
            _print_redrive(store, changed)


def _print_redrive(store: IntegrationStore, enabled: Integration) -> None:
    for replay in replays_of(store.engine, enabled.id, 1):
        if replay.made_by == ENABLED and replay.state is ReplayState.RUNNING:
            letters = "dead letter is" if replay.total == 1 else "dead letters are"
            click.echo(f"{replay.total} {letters} sent again: `siem replays show {replay.id}`.")


def _pause(id_or_name: str, *, paused: bool, as_json: bool) -> None:
    with integration_store() as store:
        changed = store.by(operator()).set_paused(store.resolve(id_or_name), paused)
        _tell(store, changed, "Paused" if paused else "Resumed", as_json=as_json)
        if not (paused or changed.enabled or as_json):
            click.echo(f"It is disabled all the same: see `siem integrations enable {changed.id}`.")


def _tell(store: IntegrationStore, changed: Integration, what: str, *, as_json: bool) -> None:
    refresh_integrations(store, changed.id)
    if as_json:
        print_json(integration_document(store.show(changed.id)))
    else:
        click.echo(f"{what} {changed.name} ({changed.id}).")


def _waiting(integration_id: str) -> str:
    """Count what a deletion makes dead letters, as far as Redis can be asked."""
    try:
        config = configuration()
        client = redis_client(config.broker_address())
        try:
            return count_text(Backlog(client, Timing.of(config)).depth(integration_id), "undelivered event")
        finally:
            client.close()
    except (BrokerUnavailable, InvalidSetting):
        return "Its undelivered events"
