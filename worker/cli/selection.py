"""Options that say which rows of the ledger are meant, the same in every command."""

from typing import Any

import click

from worker.cli.output import Since
from worker.cli.targets import complete_integration
from worker.ledger.integrations import IntegrationStore
from worker.model.deliveries import Cause
from worker.model.events import EventType
from worker.model.limits import MOST_ROWS, USUAL_ROWS
from worker.model.replays import Selection

limit_option = click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(1, MOST_ROWS),
    default=USUAL_ROWS,
    show_default=True,
    help="The most rows.",
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
        help="Only what died for this reason, by the error_code that `list --json` tells; repeat it for "
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


def selection_of(store: IntegrationStore, options: dict[str, Any], tenant_id: str | None = None) -> Selection:
    """Read the options of `selecting`. Raises click.UsageError when they do not say which are meant."""
    given = {
        name: value for name, value in options.items() if name != "everything" and value not in (None, ())
    }
    if bool(given) == options["everything"]:
        raise click.UsageError("say which dead letters: --id, --integration and the like, or --all")
    return Selection(
        ids=options["ids"],
        integration_id=resolved(store, options["integration"]),
        tenant_id=tenant_id,
        since_ms=options["since"],
        until_ms=options["until"],
        event_types=options["event_types"],
        causes=options["causes"],
        codes=options["codes"],
    )
