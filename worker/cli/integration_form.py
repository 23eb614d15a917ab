"""From the options that describe an integration to the integration.

Comes in: the options of `worker.cli.integration_options`. Goes out: an Integration that is known to work as
far as can be told without dialling; or an error that names the option, and never repeats a secret.

Reads what is not typed on the command line: files, standard input, a hidden answer; and pairs.

Comes in: paths and words from options. Goes out: text, or click.UsageError that names the option and never
repeats what was read, for it may be a secret.
"""

import secrets
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from worker.cli.field_options import MODELS, FormOption
from worker.cli.integration_options import API_KEY, BEARER, INTEGRATION_OPTIONS, NO_AUTH, TLS
from worker.integrations.integration import Integration, at_once
from worker.integrations.pem import pem_text
from worker.model.errors import InvalidIntegration
from worker.model.events import DEFAULT_EVENT_TYPES, EventType
from worker.transports.tls import judged_whole


def text_in(flag: str, path: Path) -> str:
    """Read a file, UTF-8 without the white space around it; - is standard input."""
    try:
        text = _content(path).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise click.UsageError(f"{flag}: {path} holds no text")
    return text


def pem_in(flag: str, path: Path) -> str:
    """Read a file in PEM, with anything around its blocks, in whichever encoding; - is standard input."""
    text = pem_text(_content(path)).strip()
    if not text:
        raise click.UsageError(f"{flag}: {path} is empty")
    return text


def _content(path: Path) -> bytes:
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def secret(what: str, flag: str, path: Path | None, given: str | None = None) -> str:
    """Return a secret that was given, or is in a file, or else is typed unseen at the terminal."""
    if given is not None and path is not None:
        raise click.UsageError(f"give {flag.removesuffix('-file')} or {flag}, not both")
    if path is not None:
        return text_in(flag, path)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError(f"the {what} is missing, and there is no terminal to ask at: give {flag}")
    typed: str = click.prompt(f"{what} (not shown)", hide_input=True, err=True)
    return typed


def pairs(flag: str, given: Iterable[str], separator: str, example: str) -> dict[str, str]:
    """Read `NAME<separator>VALUE` of each, without the white space around both; no name may come twice."""
    read: dict[str, str] = {}
    for number, one in enumerate(given, 1):
        name, found, value = (part.strip() for part in one.partition(separator))
        if not found:
            raise click.UsageError(f"{flag}: number {number} is not written as {example}")
        if name in read:
            raise click.UsageError(f"{flag}: {name} comes twice: give it once")
        read[name] = value
    return read


def one_reader(paths: Sequence[Path]) -> None:
    """Refuse to read standard input for two options: the second would find it empty."""
    if sum(str(path) == "-" for path in paths) > 1:
        raise click.UsageError("only one option can read standard input: give files for the others")


_COLLECTOR = "/services/collector"
_ENCRYPTED = ("https", "syslog+tls")
_OVER_HTTP = ("splunk_hec", "webhook")
_EXAMPLES = "https://splunk.example.com:8088/services/collector/event or syslog://siem:514"
_OPTIONS = {str(option.name): option for option in INTEGRATION_OPTIONS}
#: The options that prove who we are to a webhook, by the `--auth` that they go with.
_AUTH_OPTIONS = {BEARER: ("token", "token_file"), API_KEY: ("api_key_file", "api_key_header")}


def read_form(values: Mapping[str, Any]) -> Integration:
    """Make an integration, with a new id, of the options' values; ask for a secret that is missing.

    Raises InvalidIntegration, and click.UsageError for options that contradict each other.
    """
    kind = values["kind"] or _type_from_url(values)
    refuse_useless(kind, values)
    refuse_contradictions(values)
    return judged(_document(kind, values), values)


def judged(document: dict[str, Any], values: Mapping[str, Any]) -> Integration:
    """Read the integration. Raises InvalidIntegration, which names the options of every wrong field."""
    try:
        return judged_whole(document)
    except InvalidIntegration as error:
        named = [InvalidIntegration(blamed(one.field, values), one.reason, one.hint) for one in error.all]
        raise at_once(named) from None


def _type_from_url(values: Mapping[str, Any]) -> str:
    """Tell the type by the url; where only an option tells Splunk from a webhook, by that."""
    scheme = _scheme(values)
    if scheme.startswith("syslog"):
        return "syslog_cef"
    if scheme not in {"http", "https"}:
        raise InvalidIntegration("--url", "begins with nothing that we know", f"give one like {_EXAMPLES}")
    if _COLLECTOR in values["url"].partition("?")[0]:
        return "splunk_hec"
    able = [kind for kind in _OVER_HTTP if all(kind in option.types for option in _given(values))]
    if len(able) != 1:
        raise click.UsageError(
            f"the url does not tell what stands there: give --type {' or --type '.join(_OVER_HTTP)}"
        )
    return able[0]


def _scheme(values: Mapping[str, Any]) -> str:
    scheme: str = values["url"].partition("://")[0]
    return scheme.lower()


def _given(values: Mapping[str, Any]) -> Iterator[FormOption]:
    return (option for option in INTEGRATION_OPTIONS if option.is_given(values))


def refuse_useless(kind: str, values: Mapping[str, Any]) -> None:
    """Refuse an option that would have no effect: whoever gave it expects one."""
    scheme = _scheme(values)
    for option in _given(values):
        if kind not in option.types:
            reason = f"is of no use for {kind}: it goes with {' and '.join(option.types)}"
        elif option.section == TLS and scheme not in _ENCRYPTED:
            encrypted = "syslog+tls://siem:6514" if kind == "syslog_cef" else "https://siem.example.com"
            reason = f"is of no use without TLS: give an address like {encrypted}"
        elif option.name == "max_datagrams_per_second" and scheme != "syslog+udp":
            reason = "is of no use without UDP: leave it out, or give an address like syslog+udp://siem:514"
        elif option.name == "ack_timeout_seconds" and not values["use_ack"]:
            reason = "goes with --use-ack: give both or neither"
        else:
            continue
        raise click.UsageError(f"{option.flag} {reason}")


def refuse_contradictions(values: Mapping[str, Any]) -> None:
    """Refuse options that say two things at once. Raises click.UsageError."""
    if (values["client_cert_file"] is None) != (values["client_key_file"] is None):
        raise click.UsageError("--client-cert-file and --client-key-file go together: give both or neither")
    if values["all_events"] and values["event_types"]:
        raise click.UsageError("give --event-type or --all-events, not both")
    one_reader([path for value in values.values() for path in _paths(value)])


def _paths(value: Any) -> list[Path]:
    return [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Path)]


def _document(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    destination = {
        **as_given(values, MODELS[kind]),
        "type": kind,
        "ca_pem": pem_of(values, "ca_file"),
        "client_cert_pem": pem_of(values, "client_cert_file"),
        "client_key_pem": pem_of(values, "client_key_file"),
        "verify_tls": not values["insecure"],
    }
    match kind:
        case "splunk_hec":
            destination |= _splunk(values)
        case "webhook":
            destination |= _webhook(values)
    return {
        **as_given(values, Integration),
        "id": f"int_{secrets.token_hex(8)}",
        "enabled": not values["disabled"],
        "paused": bool(values["paused"]),
        "event_types": _event_types(values),
        "destination": destination,
    }


def as_given(
    values: Mapping[str, Any], model: type[BaseModel], without: Collection[str] = ()
) -> dict[str, Any]:
    """Return the fields whose option has their name and stands on the command line."""
    names = model.model_fields.keys() - set(without)
    return {field: values[field] for field in names if values.get(field) is not None}


def _event_types(values: Mapping[str, Any]) -> list[str]:
    return sorted(EventType if values["all_events"] else values["event_types"] or DEFAULT_EVENT_TYPES)


def _splunk(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "token": token_of("HEC token", values),
        "fields": pairs("--field", values["fields"], "=", "NAME=VALUE"),
    }


def _webhook(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "auth": auth_of(values),
        "headers": headers_of(values),
        "signing_secrets": [text_in("--signing-secret-file", path) for path in values["signing_secret_file"]],
    }


def auth_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Read how we prove who we are: as `--auth` says, or as the options tell that go with one kind of it."""
    told = {
        kind: [name for name in names if values[name] is not None] for kind, names in _AUTH_OPTIONS.items()
    }
    kind = values["auth"] or next((kind for kind, names in told.items() if names), NO_AUTH)
    for other, names in told.items():
        if names and other != kind:
            raise click.UsageError(
                f"{_OPTIONS[names[0]].flag} goes with --auth {other}, not with --auth {kind}"
            )
    if kind == BEARER:
        return {"kind": "bearer", "token": token_of("bearer token", values)}
    if kind == NO_AUTH:
        return {"kind": "none"}
    key = secret("API key", "--api-key-file", values["api_key_file"])
    header = values["api_key_header"]
    return {"kind": "api_key", "value": key} | ({} if header is None else {"header": header})


def token_of(what: str, values: Mapping[str, Any]) -> str:
    """Return the token that is given, or ask for it."""
    return secret(what, "--token-file", values["token_file"], values["token"])


def headers_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that are given, typed or in files."""
    flag, example = "--header-file", "NAME: VALUE"
    lines = [
        line for path in values["header_file"] for line in text_in(flag, path).splitlines() if line.strip()
    ]
    in_files = pairs(flag, lines, ":", f"{example}, one a line")
    typed = pairs("--add-header", values["add_header"], ":", f"'{example}'")
    if twice := in_files.keys() & typed.keys():
        raise click.UsageError(f"--add-header and --header-file both have {min(twice)}: give it once")
    return typed | in_files


def pem_of(values: Mapping[str, Any], name: str) -> str | None:
    """Return what is in the PEM file that the option of this name gives."""
    return None if values[name] is None else pem_in(_OPTIONS[name].flag, values[name])


def blamed(field: str, values: Mapping[str, Any]) -> str:
    """Name the options that gave a field, as far as there are some."""
    return _naming(field, list(_given(values))) or field


def giving(field: str) -> str:
    """Name the options that give a field, such as `auth.value`; empty where none does."""
    return _naming(field, INTEGRATION_OPTIONS)


def _naming(field: str, options: Sequence[FormOption]) -> str:
    path = field
    while path:
        if flags := [option.flag for option in options if path in option.gives]:
            return " or ".join(flags)
        path = path.rpartition(".")[0]
    return ""
