"""`siem integrations`: create, list, show, delete."""

import secrets
import sys
from pathlib import Path
from typing import Any

import click

from worker.broker.backlog import Backlog, Timing
from worker.broker.connection import connect
from worker.cli.output import print_json, print_table
from worker.cli.stores import announce, integration_store
from worker.destinations.opening import DESTINATION_TYPES
from worker.ledger.vault import public_document
from worker.model.events import DEFAULT_EVENT_TYPES, EventType
from worker.model.integrations import Integration, parse_integration
from worker.settings import settings

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_text_file = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.group()
def integrations() -> None:
    """Set up the SIEMs that events are delivered to."""


@integrations.command()
@click.option("--type", "kind", type=click.Choice(DESTINATION_TYPES), default="splunk_hec", show_default=True)
@click.option("--name", required=True, help="A name of your choice, unique within the tenant.")
@click.option("--url", required=True, help="https://splunk.example.com:8088/services/collector/event")
@click.option("--token", help="The HEC token; left out, you are asked for it.")
@click.option("--token-file", type=_text_file, help="Read the token from a file (- for standard input).")
@click.option("--source-type", default="mitrity:governance", show_default=True)
@click.option("--index", help="The Splunk index; left out, the token's default.")
@click.option("--host", default="mitrity", show_default=True, help="The envelope's host.")
@click.option("--source", default="mitrity", show_default=True, help="The envelope's source.")
@click.option(
    "--event-type",
    "event_types",
    multiple=True,
    type=click.Choice([*EventType]),
    help="An event type to forward; repeat for several. Left out, all but policy.allow.",
)
@click.option("--all-events", is_flag=True, help="Forward every event type, policy.allow too.")
@click.option("--gzip/--no-gzip", default=False, show_default=True, help="Compress requests.")
@click.option("--batch-events", type=int, default=500, show_default=True, help="Events of one request.")
@click.option("--batch-bytes", type=int, default=900_000, show_default=True, help="Bytes, uncompressed.")
@click.option("--timeout", type=float, default=20.0, show_default=True, help="Seconds for one request.")
@click.option("--max-retries", type=int, default=3, show_default=True, help="0 to 3.")
@click.option("--ca-file", type=_text_file, help="PEM of the CA that signed the SIEM's certificate.")
@click.option("--client-cert-file", type=_text_file, help="PEM of a client certificate.")
@click.option("--client-key-file", type=_text_file, help="PEM of the client certificate's key.")
@click.option("--insecure", is_flag=True, help="Do not verify the SIEM's certificate.")
@click.option("--tenant", default="default", show_default=True)
@click.option("--disabled", is_flag=True, help="Create it without delivering to it yet.")
@_as_json
def create(**options: Any) -> None:
    """Create an integration.

    \b
    siem integrations create --name splunk --url https://splunk:8088/services/collector/event \\
        --token-file token.txt --index security
    """
    integration = parse_integration(_document(options))
    with integration_store() as store:
        store.create(integration)
        announce(store)
    if options["as_json"]:
        print_json(public_document(integration))
    else:
        click.echo(f"Created {integration.name} ({integration.id}).")


@integrations.command("list")
@click.option("--tenant", help="Only this tenant's.")
@_as_json
def list_(tenant: str | None, *, as_json: bool) -> None:
    """List the integrations."""
    with integration_store() as store:
        found = store.list(tenant)
    if as_json:
        print_json([public_document(one) for one in found])
        return
    print_table(
        ["id", "name", "type", "tenant", "enabled", "event types", "url"],
        [_row(one) for one in found],
        empty="No integrations yet: create one with `siem integrations create --help`.",
    )


@integrations.command()
@click.argument("integration")
@_as_json
def show(integration: str, *, as_json: bool) -> None:
    """Show one integration, by id or name. Secrets are never shown."""
    with integration_store() as store:
        document = public_document(store.get(integration))
    if as_json:
        print_json(document)
        return
    destination = document.pop("destination")
    pairs = {**document, **destination}
    print_table(["field", "value"], [[key, _shown(value)] for key, value in pairs.items()], empty="")


@integrations.command()
@click.argument("integration")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_as_json
def delete(integration: str, *, yes: bool, as_json: bool) -> None:
    """Delete an integration, by id or name. Its undelivered events become dead letters."""
    with integration_store() as store:
        found = store.resolve(integration)
        if not yes:
            question = f"Delete {integration}? {_waiting(found)} undelivered events become dead letters."
            click.confirm(question, abort=True)
        store.delete(found)
        announce(store)
    if as_json:
        print_json({"deleted": found})
    else:
        click.echo(f"Deleted {integration} ({found}).")


def _document(options: dict[str, Any]) -> dict[str, Any]:
    key = _text(options["client_key_file"])
    destination = {
        "type": options["kind"],
        "url": options["url"],
        "token": _token(options),
        "ca_pem": _text(options["ca_file"]),
        "client_cert_pem": _text(options["client_cert_file"]),
        "client_key_pem": key,
        "verify_tls": not options["insecure"],
        "timeout_seconds": options["timeout"],
    }
    for name in ("source_type", "index", "host", "source", "gzip", "batch_events", "batch_bytes"):
        destination[name] = options[name]
    return {
        "id": f"int_{secrets.token_hex(8)}",
        "tenant_id": options["tenant"],
        "name": options["name"],
        "enabled": not options["disabled"],
        "event_types": _event_types(options),
        "max_retries": options["max_retries"],
        "destination": destination,
    }


def _event_types(options: dict[str, Any]) -> list[str]:
    if options["all_events"]:
        return sorted(EventType)
    return sorted(options["event_types"] or DEFAULT_EVENT_TYPES)


def _token(options: dict[str, Any]) -> str:
    if options["token"] is not None and options["token_file"] is not None:
        raise click.UsageError("give --token or --token-file, not both")
    if options["token_file"] is not None:
        return _text(options["token_file"]) or ""
    token: str = options["token"] or click.prompt("HEC token", hide_input=True)
    return token


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    return (sys.stdin.read() if str(path) == "-" else path.read_text()).strip()


def _row(one: Integration) -> list[Any]:
    types = "all" if one.event_types == frozenset(EventType) else ", ".join(sorted(one.event_types))
    if one.event_types == DEFAULT_EVENT_TYPES:
        types = "all but policy.allow"
    enabled = "yes" if one.enabled else "no"
    return [one.id, one.name, one.type, one.tenant_id, enabled, types, one.destination.url]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _waiting(integration_id: str) -> int:
    client = connect(settings().broker_address())
    try:
        return Backlog(client, Timing.of(settings())).depth(integration_id)
    finally:
        client.close()
