"""How integrations look to people: rows, fields, and what to be wary of. Of a secret, only that it is set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from worker.broker.key_holders import KeyHolder, words_of_lack
from worker.cli.output import when
from worker.integrations.integration import Integration, moved_in, secrets_in, unreadable_in
from worker.integrations.secrets import masked_url
from worker.ledger.results import DisabledIntegration
from worker.model.allowed_networks import AllowedNetworks
from worker.model.events import DEFAULT_EVENT_TYPES, EventType
from worker.model.untrusted_text import shortened
from worker.transports.check_guards import address_warning, literal
from worker.vault.masking import MaskedIntegration
from worker.views.integrations import READ_ONLY, integration_document

#: Of a reason among other columns, so much is shown; `siem integrations show` has all of it.
_SHORT = 60
_IDS = ("id", "tenant_id")


def integration_row(one: Integration) -> list[Any]:
    """Return the cells of one line of the list."""
    types = "all" if one.event_types == frozenset(EventType) else ", ".join(sorted(one.event_types))
    if one.event_types == DEFAULT_EVENT_TYPES:
        types = "all but policy.allow"
    return [one.id, one.name, one.type, one.tenant_id, _state(one), types, masked_url(one.destination.url)]


def fields(one: MaskedIntegration) -> list[list[Any]]:
    """Return a row for each field that can be set, and why it is disabled, if it is."""
    document = integration_document(one)
    known = (name for name in document if name not in READ_ONLY or name in _IDS)
    rows = [[name, _cell(name, document[name])] for name in known]
    if not document["enabled"]:
        rows.append(["disabled", f"{_why(one.disabled_reason, one.disabled_ms)}; {_way_back(one.id)}"])
    return rows


def disabled_notices(
    integrations: list[Integration], off: Mapping[str, DisabledIntegration]
) -> Iterator[str]:
    """Yield a sentence for each that is disabled: why, and the way back."""
    for one in integrations:
        if not one.enabled:
            found = off.get(one.id)
            why = _why(found.reason, found.at_ms) if found else _why(None, None)
            yield f"{one.name} is disabled ({why}); {_way_back(one.id)}."


def state_suffix(*, enabled: bool, paused: bool, reason: str | None) -> str:
    """Return what stands behind the name of an integration that is disabled or paused, or nothing."""
    if enabled:
        return " (paused)" if paused else ""
    if reason is None:
        return " (disabled)"
    return f" (disabled: {shortened(reason, _SHORT)})"


def _state(one: Integration) -> str:
    if not one.enabled:
        return "off"
    return "paused" if one.paused else "on"


def integration_warnings(
    integration: Integration,
    ask_reach: Callable[[], AllowedNetworks],
    ask_lacking: Callable[[], Sequence[KeyHolder]],
) -> Iterator[str]:
    """Yield what needs a look.

    Secrets that no key opens, or that a process of the fleet cannot open; secrets in the clear and addresses
    that workers do not allow, which may be as intended. `ask_reach` says what they allow, `ask_lacking` who
    lacks the key that sealed: each is called where that matters.
    """
    yield from unreadable_secrets(integration)
    yield from _unreadable_by_workers(integration, ask_lacking)
    parts = urlsplit(integration.destination.url)
    address = literal(parts.hostname or "")
    secrets = integration.destination.secrets_sent()
    if parts.scheme == "http" and secrets and not (address and address.is_loopback):
        yield (
            f"{secrets} will go over the network unencrypted, where others may read along: give an address "
            "with https:// if the SIEM has one"
        )
    if warning := address_warning(parts.hostname or "", ask_reach):
        yield warning


def unreadable_secrets(integration: Integration) -> Iterator[str]:
    """Yield a sentence if one of its secrets cannot be opened here."""
    moved = moved_in(integration)
    if moved:
        yield (
            f"{', '.join(moved)} of {integration.name} was sealed for another address or integration: "
            "the stored integration was modified; its events wait until the secret is set again"
        )
    if unreadable := [path for path in unreadable_in(integration) if path not in moved]:
        yield (
            f"SIEM_SECRET_KEYS lacks the key that sealed {', '.join(unreadable)} of {integration.name}: its "
            "events wait until that key is there again, or the secret is set again"
        )


def _unreadable_by_workers(
    integration: Integration, ask_lacking: Callable[[], Sequence[KeyHolder]]
) -> Iterator[str]:
    unreadable = unreadable_in(integration)
    sealed = [path for path, _ in secrets_in(integration) if path not in unreadable]
    if sealed and (lacking := ask_lacking()):
        yield (
            f"{words_of_lack(lacking, sealed)} of {integration.name}, the first of SIEM_SECRET_KEYS here: "
            "a worker that lacks it does not deliver its events; add that key to SIEM_SECRET_KEYS there and "
            "restart, or set the secret again with a key that is there"
        )


def _why(reason: str | None, at_ms: int | None) -> str:
    return "by hand" if reason is None else f"on {when(at_ms)} its destination said: {reason}"


def _way_back(integration_id: str) -> str:
    """Return how to enable it; by its id, because another tenant may have its name as well."""
    return f"`siem integrations enable {integration_id}` enables it"


def _cell(name: str, value: Any) -> Any:
    """Return a value for people; certificates are pages long, and `--json` has them."""
    match value:
        case {"set": True, "readable": readable}:
            return "set" if readable else "unreadable"
        case Mapping():
            return ", ".join(f"{key}: {_cell(key, one)}" for key, one in value.items())
        case list():
            return ", ".join(str(_cell(name, one)) for one in value)
        case _:
            return "set" if name.endswith("_pem") and value else value
