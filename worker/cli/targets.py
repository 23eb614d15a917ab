"""Which integration is meant: what a command takes, what a shell completes, and into which letters may go.

Comes in: what was typed. Goes out: the id and the tenant; or an error that says why not.
"""

import json
import re
from collections import Counter

import click
from click.shell_completion import CompletionItem

from worker.cli.stores import integration_store
from worker.ledger.integrations import IntegrationStore
from worker.model.errors import InvalidReplay, NotFoundError, SiemError
from worker.model.replays import Selection

#: What no shell wants quoted.
_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+-]*")


def complete_integration(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names that begin so; the id of one whose name is not plain, or not the only one."""
    try:
        with integration_store() as store:
            found = [(one.name, one.id) for one in store.list()]
    except (SiemError, OSError):
        return []  # a shell shows no errors: it has nothing to complete
    bearers = Counter(name for name, _ in found)
    words = {name if bearers[name] == 1 and _PLAIN.fullmatch(name) else id_: name for name, id_ in found}
    return [CompletionItem(word, help=name) for word, name in words.items() if word.startswith(incomplete)]


integration_argument = click.argument("integration", shell_complete=complete_integration)


def replay_target(store: IntegrationStore, into: str | None) -> tuple[str | None, str | None]:
    """Return the id and the tenant of the integration that gets them, if one was named."""
    if into is None:
        return None, None
    target = store.resolve(into)
    record = next(record for record in store.records() if record.id == target)
    if record.deleted:
        raise NotFoundError(f"the integration {into} was deleted: nothing can be sent to it")
    return target, _tenant(record.document)


def refuse_other_tenant(store: IntegrationStore, selection: Selection) -> None:
    """Raise InvalidReplay when the events would reach another tenant's integration, whoever asks."""
    if selection.tenant_id is None or selection.integration_id is None:
        return
    tenants = {record.id: _tenant(record.document) for record in store.records()}
    home = tenants[selection.integration_id]
    if home != selection.tenant_id:
        raise InvalidReplay(
            "--into",
            f"is an integration of tenant {selection.tenant_id}, and the events are of tenant {home}",
            "give one of the same tenant",
        )


def _tenant(document_: str) -> str:
    return str(json.loads(document_).get("tenant_id", "default"))
