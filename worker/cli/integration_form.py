"""From the options that describe an integration to the integration, checked as far as it can be undialled.

An error names the option, and never repeats a secret.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from worker.cli.field_options import FormOption
from worker.cli.field_values import common_values, destination_values, event_types, field_value, options_of
from worker.cli.integration_options import INTEGRATION_OPTIONS, address_examples
from worker.integrations import CONFIGS
from worker.integrations.fields import ConfigField, FieldShape, fields_of
from worker.integrations.integration import Integration, at_once
from worker.model.errors import InvalidIntegration
from worker.model.events import DEFAULT_EVENT_TYPES
from worker.transports.tls import judged_whole


def read_form(values: Mapping[str, Any]) -> Integration:
    """Make an integration, with a new id, of the options' values; ask for a secret that is missing.

    Raises InvalidIntegration, and click.UsageError for options that contradict each other.
    """
    kind = values["kind"] or _type_from_url(values)
    refuse_useless(kind, values)
    refuse_contradictions(values)
    document = {
        **common_values(values),
        "id": f"int_{secrets.token_hex(8)}",
        "enabled": not values["disabled"],
        "paused": bool(values["paused"]),
        "event_types": event_types(values) or sorted(DEFAULT_EVENT_TYPES),
        "destination": {"type": kind, **destination_values(kind, values, ask=True)},
    }
    return judged(document, values)


def judged(document: dict[str, Any], values: Mapping[str, Any]) -> Integration:
    """Read the integration. Raises InvalidIntegration, which names the options of every wrong field."""
    try:
        return judged_whole(document)
    except InvalidIntegration as error:
        given = {**document, **document["destination"]}
        named = [
            InvalidIntegration(_blamed(one.field, values, given), one.reason, one.hint) for one in error.all
        ]
        raise at_once(named) from None


def _type_from_url(values: Mapping[str, Any]) -> str:
    """Derive the type from the url; where several types have its scheme, by the options that are given."""
    scheme = _scheme(values)
    known = [kind for kind, config in CONFIGS.items() if scheme in config.SCHEMES]
    if not known:
        examples: dict[frozenset[str], str] = {}
        for kind, config in CONFIGS.items():
            examples.setdefault(frozenset(config.SCHEMES), address_examples(kind)[0])
        hint = f"give one like {' or '.join(examples.values())}"
        raise InvalidIntegration("--url", "begins with nothing that we know", hint)
    path = values["url"].partition("?")[0]
    marked = [kind for kind in known if CONFIGS[kind].PATH_MARK and CONFIGS[kind].PATH_MARK in path]
    able = marked or [kind for kind in known if all(kind in option.types for option in _given(values))]
    if len(able) != 1 and len(known) > 1:
        raise click.UsageError(
            f"the type cannot be derived from the url: give --type {' or --type '.join(known)}"
        )
    return (able or known)[0]


def _scheme(values: Mapping[str, Any]) -> str:
    scheme: str = values["url"].partition("://")[0]
    return scheme.lower()


def _given(values: Mapping[str, Any]) -> Iterator[FormOption]:
    return (option for option in INTEGRATION_OPTIONS if option.is_given(values))


def refuse_useless(kind: str, values: Mapping[str, Any], standing: Mapping[str, Any] | None = None) -> None:
    """Refuse an option that would have no effect: its user expects one.

    `standing` are the values that the fields of the destination have already.
    """
    for option in _given(values):
        if kind not in option.types:
            reason = f"is of no use for {kind}: it goes with {' and '.join(option.types)}"
            raise click.UsageError(f"{option.flag} {reason}")
        for source in option.sources:
            if source.kind == kind and (reason := _uselessness(kind, source.field, values, standing or {})):
                raise click.UsageError(f"{option.flag} {reason}")


def _uselessness(
    kind: str, field: ConfigField, values: Mapping[str, Any], standing: Mapping[str, Any]
) -> str:
    """Return what the field lacks to have an effect, or return nothing."""
    schemes, over = CONFIGS[kind].SCHEMES, field.about.over
    if over and schemes.get(_scheme(values)) != over:
        ways = [one for one in address_examples(kind) if schemes[one.partition("://")[0]] == over]
        leading = f": give an address like {ways[0]}" if ways else ""
        return f"is of no use without {over}{leading}"
    if field.about.when is None:
        return ""
    name, wanted = field.about.when
    other = next(one for one in fields_of(CONFIGS[kind]) if one.name == name)
    given = field_value(kind, other, values)
    if wanted == (standing.get(name, other.default) if given is None else given):
        return ""
    words = options_of(kind, other)[0].flag + ("" if other.shape is FieldShape.CHECK else f" {wanted}")
    return f"goes with {words}: give both or neither"


def refuse_contradictions(values: Mapping[str, Any]) -> None:
    """Refuse options that say two things at once. Raises click.UsageError."""
    if (values["client_cert_file"] is None) != (values["client_key_file"] is None):
        raise click.UsageError("--client-cert-file and --client-key-file go together: give both or neither")
    if values["all_events"] and values["event_types"]:
        raise click.UsageError("give --event-type or --all-events, not both")
    _one_reader([path for value in values.values() for path in _paths(value)])


def _paths(value: Any) -> list[Path]:
    return [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Path)]


def _one_reader(paths: Sequence[Path]) -> None:
    """Refuse to read standard input for two options: the second would find it empty."""
    if sum(str(path) == "-" for path in paths) > 1:
        raise click.UsageError("only one option can read standard input: give files for the others")


def _blamed(field: str, values: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Name the options that gave a field, or that would give one that is missing."""
    is_missing = field.partition(".")[0] not in document
    return _naming(field, list(_given(values))) or (is_missing and giving(field)) or field


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
