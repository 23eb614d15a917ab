"""`siem integrations update`: change what is given, and leave the rest, secrets above all, as it is."""

import copy
from collections.abc import Mapping
from typing import Any

import click

from worker.cli.field_options import FormOption, SectionedCommand
from worker.cli.field_values import common_values, destination_values, event_types
from worker.cli.integration_form import giving, judged, refuse_contradictions, refuse_useless
from worker.cli.integration_options import INTEGRATION_OPTIONS
from worker.cli.integration_text import integration_warnings
from worker.cli.output import as_json_option, plain, print_json
from worker.cli.selection import integration_argument
from worker.cli.stores import (
    integration_store,
    operator,
    processes_without_key,
    refresh_integrations,
    worker_reach,
)
from worker.integrations import CONFIGS
from worker.integrations.integration import Integration, at_once, secrets_within
from worker.integrations.secrets import SecretUrl
from worker.model.errors import InvalidInput, InvalidIntegration
from worker.vault.places import require_again
from worker.views.integrations import integration_document

#: What has commands of its own, or cannot change.
_FIXED = frozenset({"kind", "tenant", "disabled", "paused"})
#: What a person may bring back to its default, by the field's name in `siem integrations show`.
_RESETTABLE = sorted(
    {"event_types", "max_retries", "redrive"}
    | {field for config in CONFIGS.values() for field in config.model_fields} - {"type", "url"}
)


def _optional(option: FormOption) -> FormOption:
    optional = copy.copy(option)
    optional.required = False
    return optional


_OPTIONS = [_optional(one) for one in INTEGRATION_OPTIONS if one.name not in _FIXED]
_RESET = FormOption(
    "--reset",
    multiple=True,
    metavar="FIELD",
    type=click.Choice(_RESETTABLE),
    help="Bring a field, as `siem integrations show` names it, back to its default; repeat it for several. "
    "So `--reset verify_tls` verifies again, and `--reset signing_secrets` signs no more.",
)


@click.command(cls=SectionedCommand, params=[*_OPTIONS, _RESET])
@integration_argument
@as_json_option
def update(integration: str, *, as_json: bool, **options: Any) -> None:
    """Change an integration, by id or name: what is given, and nothing else.

    \b
    siem integrations update splunk --token-file new.txt
    siem integrations update splunk --index security --max-retries 1
    siem integrations update hook --signing-secret-file new.txt --signing-secret-file old.txt

    Its SIEM is tried again at once, should its events be held. Options that may be repeated (event types,
    fields, headers, signing secrets) replace what was there. With another scheme, host or port in --url, or
    another way for the SIEM to prove who it is (--ca-file, --insecure, --tls-server-name), its secrets are
    given again: they are sent nowhere but where they were given for.
    """
    if not any(value not in (None, ()) for value in options.values()):
        raise click.UsageError("say what to change: nothing was given")
    with integration_store() as store:
        found = store.get(store.resolve(integration))
        mine = store.of(found.tenant_id)
        # Before what is changed is read, for to read the changes may wait for standard input.
        seen = {mine.show(found.id).revision}
        old = mine.get(found.id)
        changed = read_changes(old, options)
        mine.by(operator()).change(old.id, lambda _: changed, seen)
        refresh_integrations(store, old.id)
        shown = mine.show(old.id)
    for warning in integration_warnings(changed, lambda: worker_reach(changed.type), processes_without_key):
        click.echo(f"Warning: {plain(warning)}.", err=True)
    if as_json:
        print_json(integration_document(shown))
    else:
        click.echo(f"Updated {changed.name} ({changed.id}).")


def read_changes(old: Integration, given: Mapping[str, Any]) -> Integration:
    """Return the integration with what is given. Raises InvalidIntegration, click.UsageError."""
    values = {**dict.fromkeys(_FIXED), **given, "url": given["url"] or old.destination.url}
    refuse_useless(old.type, values, dict(old.destination))
    refuse_contradictions(values)
    whole = old.model_dump()
    whole |= common_values(values)
    whole["destination"] |= destination_values(old.type, values, ask=False)
    if isinstance(old.destination.url, SecretUrl) and given["url"]:
        whole["destination"]["url"] = old.destination.url.with_kept(given["url"])
    if types := event_types(values):
        whole["event_types"] = types
    for field in given["reset"]:
        whole.pop(field, None)
        whole["destination"].pop(field, None)
    changed = judged(whole, values)
    # What was given is text.
    kept = {path for path, _ in secrets_within(whole["destination"])}
    try:
        require_again(old, changed, kept)
    except InvalidIntegration as error:
        raise at_once([_named_by_options(one) for one in error.all]) from None
    return changed


def _named_by_options(error: InvalidInput) -> InvalidIntegration:
    """Return which options give the secret."""
    flags = giving(error.field)
    return InvalidIntegration(error.field, error.reason, f"{error.hint}: {flags}" if flags else error.hint)
