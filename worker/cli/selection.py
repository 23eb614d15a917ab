"""Options that say which rows of the ledger are meant, the same in every command.

Which integration is meant: what a command takes, what a shell completes, and into which letters may go.

Input: what was typed. Output: the id and the tenant; or an error that says why not.
"""

import json
import re
from collections import Counter
from typing import Any

import click
from click.shell_completion import CompletionItem

from worker.cli.output import Since
from worker.cli.stores import integration_store
from worker.ledger.integrations import IntegrationStore
from worker.model.deliveries import Cause
from worker.model.errors import InvalidReplay, NotFoundError, SiemError
from worker.model.events import EventType
from worker.model.limits import MOST_ROWS, USUAL_ROWS
from worker.model.replays import DeadLetterFilter

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
    [record] = store.records([target])
    if record.deleted:
        raise NotFoundError(f"the integration {into} was deleted: nothing can be sent to it")
    return target, _tenant(record.document)


def refuse_other_tenant(store: IntegrationStore, selection: DeadLetterFilter) -> None:
    """Raise InvalidReplay when the events would reach another tenant's integration."""
    if selection.tenant_id is None or selection.integration_id is None:
        return
    [record] = store.records([selection.integration_id])
    home = _tenant(record.document)
    if home != selection.tenant_id:
        raise InvalidReplay(
            "--into",
            f"is an integration of tenant {selection.tenant_id}, and the events are of tenant {home}",
            "give one of the same tenant",
        )


def _tenant(document_: str) -> str:
    return str(json.loads(document_).get("tenant_id", "default"))


limit_option = click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(1, MOST_ROWS),
    default=USUAL_ROWS,
    show_default=True,
    help="The most rows.",
)
cursor_option = click.option(
    "--cursor", metavar="CURSOR", help="The page behind another one: `next` of its JSON."
)
since_option = click.option(
    "--since",
    metavar="TIME",
    type=Since(),
    help="Not before 30s, 15m, 1h, 2d ago, or a time like 2026-11-22T10:00:00Z.",
)
integration_option = click.option(
    "--integration",
    metavar="INTEGRATION",
    shell_complete=complete_integration,
    help="Only this integration's, by id or name.",
)

_SELECTING = (
    click.option("--id", "ids", metavar="ID", multiple=True, help="This dead letter; repeat it for several."),
    integration_option,
    click.option(
        "--since",
        metavar="TIME",
        type=Since(),
        help="What died not before 15m, 1h, 2d ago, or a time like 2026-11-22T10:00:00Z.",
    ),
    click.option("--until", metavar="TIME", type=Since(), help="What died not after that."),
    click.option(
        "--type",
        "event_types",
        metavar="TYPE",
        multiple=True,
        type=click.Choice([event_type.value for event_type in EventType]),
        help="Only events of this type, such as policy.deny; repeat it for several.",
    ),
    click.option(
        "--cause",
        "causes",
        multiple=True,
        type=click.Choice([cause.value for cause in Cause]),
        help="Only what died of this; repeat it for several.",
    ),
    click.option(
        "--reason",
        "codes",
        metavar="CODE",
        multiple=True,
        help="Only what died for this reason, by the error_code that `list --json` shows; repeat it for "
        "several.",
    ),
    click.option("--all", "everything", is_flag=True, help="All that wait: say so instead of any of these."),
)


def selecting(command: Any) -> Any:
    """Give a command the options that select dead letters; it gets their values as `options`."""
    for option in reversed(_SELECTING):
        command = option(command)
    return command


def resolved(store: IntegrationStore, id_or_name: str | None) -> str | None:
    """Find the id of what was named; a deleted integration is still found by its id."""
    return None if id_or_name is None else store.resolve(id_or_name)


def selection_of(
    store: IntegrationStore, options: dict[str, Any], tenant_id: str | None = None
) -> DeadLetterFilter:
    """Read the options of `selecting`. Raises click.UsageError when they do not say which are meant."""
    given = {
        name: value for name, value in options.items() if name != "everything" and value not in (None, ())
    }
    if bool(given) == options["everything"]:
        raise click.UsageError("say which dead letters: --id, --integration and the like, or --all")
    return DeadLetterFilter(
        ids=options["ids"],
        integration_id=resolved(store, options["integration"]),
        tenant_id=tenant_id,
        since_ms=options["since"],
        until_ms=options["until"],
        event_types=options["event_types"],
        causes=options["causes"],
        codes=options["codes"],
    )
