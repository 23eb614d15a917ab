"""What an integration is made of, as options of the command line: their help, and how they are read.

Comes in: options. Goes out: an Integration that is known to work as far as can be told without dialling;
or an error that names the option, and never repeats a secret.
"""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from worker.destinations.opening import DESTINATION_TYPES
from worker.model.errors import InvalidIntegration
from worker.model.events import DEFAULT_EVENT_TYPES, EventType
from worker.model.integrations import MAX_RETRIES, Integration, parse_integration
from worker.transports.tls import client_context

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_TYPES = [event_type.value for event_type in EventType]

_OPTIONS = (
    click.option(
        "--name", required=True, metavar="NAME", help="A name of your choice, unique in the tenant."
    ),
    click.option(
        "--url",
        required=True,
        metavar="URL",
        help="Where Splunk's HEC listens: https://splunk.example.com:8088/services/collector/event.",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        type=_FILE,
        help="Read the HEC token from a file, or from standard input with -. Left out, you are asked for it.",
    ),
    click.option(
        "--token",
        metavar="TOKEN",
        help="The HEC token itself. Others on this machine can see it while the command runs: "
        "rather use --token-file.",
    ),
    click.option(
        "--type",
        "kind",
        type=click.Choice(DESTINATION_TYPES),
        default="splunk_hec",
        show_default=True,
        help="What kind of SIEM it is.",
    ),
    click.option(
        "--tenant",
        metavar="TENANT",
        default="default",
        show_default=True,
        help="Whose events it gets: those with this tenant_id.",
    ),
    click.option(
        "--event-type",
        "event_types",
        metavar="TYPE",
        multiple=True,
        type=click.Choice(_TYPES),
        help=f"An event type to deliver; repeat it for several: {', '.join(_TYPES)}. "
        "Left out, all but policy.allow.",
    ),
    click.option("--all-events", is_flag=True, help="Deliver every event type, policy.allow too."),
    click.option("--disabled", is_flag=True, help="Create it, but deliver nothing to it yet."),
    click.option(
        "--index", metavar="INDEX", help="The Splunk index; left out, the default one of the token."
    ),
    click.option(
        "--source-type",
        metavar="TEXT",
        default="mitrity:governance",
        show_default=True,
        help="The sourcetype of each event in Splunk.",
    ),
    click.option(
        "--host", metavar="TEXT", default="mitrity", show_default=True, help="The host of each event."
    ),
    click.option(
        "--source", metavar="TEXT", default="mitrity", show_default=True, help="The source of each event."
    ),
    click.option("--gzip/--no-gzip", default=False, show_default=True, help="Whether to compress requests."),
    click.option(
        "--batch-events",
        metavar="NUMBER",
        type=int,
        default=500,
        show_default=True,
        help="The most events of one request, up to 1000.",
    ),
    click.option(
        "--batch-bytes",
        metavar="NUMBER",
        type=int,
        default=900_000,
        show_default=True,
        help="The most bytes of one request before compression, 1000 to 4000000.",
    ),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=20.0,
        show_default=True,
        help="How long one request may take in all, up to 30.",
    ),
    click.option(
        "--max-retries",
        metavar="NUMBER",
        type=int,
        default=MAX_RETRIES,
        show_default=True,
        help=f"How often an event is sent again before it becomes a dead letter, 0 to {MAX_RETRIES}.",
    ),
    click.option(
        "--ca-file",
        metavar="FILE",
        type=_FILE,
        help="The CA that signed the SIEM's certificate, in PEM; left out, the public ones.",
    ),
    click.option(
        "--client-cert-file", metavar="FILE", type=_FILE, help="A client certificate to present, in PEM."
    ),
    click.option(
        "--client-key-file", metavar="FILE", type=_FILE, help="The client certificate's key, in PEM."
    ),
    click.option(
        "--insecure", is_flag=True, help="Do not verify the SIEM's certificate: anybody can pose as it."
    ),
)

#: Fields of the model whose option has another name than they.
_FIELD_OPTIONS = {
    "timeout_seconds": "--timeout",
    "tenant_id": "--tenant",
    "ca_pem": "--ca-file",
    "client_cert_pem": "--client-cert-file",
    "client_key_pem": "--client-key-file",
}


def integration_form(command: _Command) -> _Command:
    """Give a command all the options that an integration takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_form(options: dict[str, Any]) -> Integration:
    """Make an integration, with a new id, of the options' values; ask for the token if it is missing.

    Raises InvalidIntegration, and click.UsageError for options that contradict each other.
    """
    document = _document(options)
    try:
        integration = parse_integration(document)
        client_context(integration.destination)
    except InvalidIntegration as error:
        raise InvalidIntegration(_option_of(error.field), error.reason, error.remedy) from None
    return integration


def _option_of(field: str) -> str:
    """Name the option that gave a field, if there is one."""
    command = click.get_current_context().command
    option = _FIELD_OPTIONS.get(field, f"--{field.replace('_', '-')}")
    return option if option in {name for param in command.params for name in param.opts} else field


def _document(options: dict[str, Any]) -> dict[str, Any]:
    if (options["client_cert_file"] is None) != (options["client_key_file"] is None):
        raise click.UsageError("--client-cert-file and --client-key-file go together: give both or neither")
    destination = {
        "type": options["kind"],
        "url": options["url"],
        "ca_pem": _text(options, "ca_file"),
        "client_cert_pem": _text(options, "client_cert_file"),
        "client_key_pem": _text(options, "client_key_file"),
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
        "destination": destination | {"token": _token(options)},
    }


def _event_types(options: dict[str, Any]) -> list[str]:
    if options["all_events"] and options["event_types"]:
        raise click.UsageError("give --event-type or --all-events, not both")
    if options["all_events"]:
        return sorted(EventType)
    return sorted(options["event_types"] or DEFAULT_EVENT_TYPES)


def _token(options: dict[str, Any]) -> str:
    given: str | None = options["token"]
    in_file = _text(options, "token_file")
    if given is not None and in_file is not None:
        raise click.UsageError("give --token or --token-file, not both")
    if given is None and in_file is None:
        return _asked_token()
    return given or in_file or ""


def _asked_token() -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("the token is missing, and there is no terminal to ask at: give --token-file")
    token: str = click.prompt("HEC token (not shown)", hide_input=True, err=True)
    return token


def _text(options: dict[str, Any], name: str) -> str | None:
    """Read the file that an option names; text of UTF-8, or - for standard input."""
    path: Path | None = options[name]
    if path is None:
        return None
    content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise click.UsageError(f"--{name.replace('_', '-')}: {path} holds no text")
    return text
