"""`siem dead-letters`: list, show, replay, discard."""

import getpass
import os
from collections.abc import Mapping
from typing import Any

import click

from worker.cli.dead_letter_text import (
    dead_letter_row_cells,
    groups,
    letter_fields,
    payload_lines,
    print_attempts,
    shortfall,
)
from worker.cli.output import as_json_option, confirm, count_text, print_json, print_table, when
from worker.cli.replays import announce_replay, correct, follow
from worker.cli.selection import (
    complete_integration,
    cursor_option,
    integration_option,
    limit_option,
    refuse_other_tenant,
    replay_target,
    resolved,
    selecting,
    selection_of,
    since_option,
)
from worker.cli.stores import configuration, integration_store, names_by_id, operator
from worker.ledger.dead_letters import DeadLetterCount, count_dead_letters, find_dead_letters, find_letter
from worker.ledger.integrations import IntegrationStore
from worker.ledger.letter_changes import discard_dead_letters
from worker.ledger.letter_history import letter_history
from worker.ledger.replays import create_replay
from worker.model.deliveries import Cause
from worker.model.errors import InvalidReplay
from worker.model.replays import DEFAULT_RATE, FASTEST_RATE, DeadLetterFilter, LetterState, Replay
from worker.views.cursors import time_and_id
from worker.views.dead_letters import letter_detail, letter_page
from worker.views.replays import count_document, replay_detail

_yes = click.option("--yes", is_flag=True, help="Do not ask first, as a script must.")
_ANY = "any"


@click.group("dead-letters")
def dead_letters() -> None:
    """See what could not be delivered, and why; send it again, or discard it."""


dead_letters.add_command(correct)


@dead_letters.command("list")
@integration_option
@click.option(
    "--cause",
    type=click.Choice([cause.value for cause in Cause]),
    help="Only those that died of this: every attempt failed; the SIEM refused the event; "
    "it was no valid event; its integration was deleted; it took worker after worker down with it; its bytes "
    "in Redis were damaged.",
)
@click.option(
    "--state",
    type=click.Choice([*(state.value for state in LetterState), _ANY]),
    default=LetterState.WAITING.value,
    show_default=True,
    help="Only those that wait, were replayed, need no replay any more, were discarded; or any.",
)
@since_option
@limit_option
@cursor_option
@as_json_option
def list_(
    integration: str | None,
    cause: str | None,
    state: str,
    since: int | None,
    limit: int,
    cursor: str | None,
    *,
    as_json: bool,
) -> None:
    """List dead letters, the latest first, each with a hint.

    The events' content is left out: `siem dead-letters show ID --json` has it, as `payload`.

    \b
    siem dead-letters list --integration splunk
    siem dead-letters list --cause invalid --json
    """
    with integration_store() as store:
        names = names_by_id(store)
        asked = DeadLetterFilter(
            integration_id=resolved(store, integration),
            causes=(cause,) if cause else (),
            state=None if state == _ANY else LetterState(state),
            since_ms=since,
        )
        found = find_dead_letters(store.engine, asked, limit + 1, time_and_id(cursor))
    if as_json:
        print_json(letter_page(found, limit))
        return
    print_table(
        ["id", "dead since", "integration", "event", "type", "cause", "attempts", "error", "hint"],
        [dead_letter_row_cells(one, names) for one in found[:limit]],
        empty="No dead letters match.",
    )


@dead_letters.command()
@click.argument("letter", metavar="ID")
@as_json_option
def show(letter: str, *, as_json: bool) -> None:
    """Show one dead letter: its payload, why it died, and every attempt to deliver its event."""
    with integration_store() as store:
        names = names_by_id(store)
        found = find_letter(store.engine, letter)
        history = letter_history(store.engine, found)
    if as_json:
        print_json(letter_detail(found, history))
        return
    print_table(["field", "value"], letter_fields(found, names), empty="")
    click.echo("\nPayload:")
    for line in payload_lines(found.payload):
        click.echo(line)
    if history.attempts:
        click.echo("\nAttempts:")
        print_attempts(history.attempts)
    click.echo("\nGiven up:")
    print_table(
        ["when", "id", "attempts", "cause", "error", "state"],
        [
            [when(one.dead_ms), one.id, one.attempts, one.cause, one.error, one.state]
            for one in history.deaths
        ],
        empty="",
    )
    if now := history.delivery:
        click.echo(f"\nIts event is {now.status.value} there, since {when(now.settled_ms)}.")


@dead_letters.command("discard")
@selecting
@_yes
@as_json_option
def discard_(*, yes: bool, as_json: bool, **options: Any) -> None:
    """Discard dead letters: they wait no longer, and no replay sends them.

    They keep their content, and can be shown, until they are pruned by age.

    \b
    siem dead-letters discard --integration splunk --cause refused --until 2d
    """
    with integration_store() as store:
        selection = selection_of(store, options)
        found = _counted(store, selection, elsewhere=True)
        if found.total and not yes:
            confirm(f"Discard {count_text(found.total, 'dead letter')}?", "nothing was discarded")
        discarded = (
            discard_dead_letters(store.engine, selection, found.upto_ms, by=operator()) if found.total else 0
        )
    if as_json:
        print_json({"discarded": discarded})
    else:
        click.echo(
            f"Discarded {count_text(discarded, 'dead letter')}." if discarded else "No dead letters match."
        )


@dead_letters.command()
@selecting
@click.option(
    "--into",
    metavar="INTEGRATION",
    shell_complete=complete_integration,
    help="Send them to this integration of the same tenant instead.",
)
@click.option(
    "--rate",
    metavar="NUMBER",
    type=click.IntRange(1, FASTEST_RATE),
    default=DEFAULT_RATE,
    show_default=True,
    help="The most events a second.",
)
@click.option("--dry-run", is_flag=True, help="Count what would be replayed, and replay nothing.")
@click.option("--wait", is_flag=True, help="Wait until each event is delivered, or has died once more.")
@_yes
@as_json_option
def replay(
    *,
    into: str | None,
    rate: int,
    dry_run: bool,
    wait: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Send dead letters again: a job that a recorder carries out, and that survives whatever is killed.

    What was delivered meanwhile is not sent once more. An event that dies again is a new dead letter. What
    never was a valid event, or was damaged in Redis, cannot be replayed. With --wait, the exit code is 1 if
    any event died again.

    \b
    siem dead-letters replay --integration splunk --since 2d --dry-run
    siem dead-letters replay --integration splunk --since 2d --rate 500 --wait
    siem dead-letters replay --all --cause deleted --into splunk
    """
    with integration_store() as store:
        target, tenant = replay_target(store, into)
        selection = selection_of(store, options, tenant)
        refuse_other_tenant(store, selection)
        found = _counted(store, selection, elsewhere=target is not None)
        if dry_run or not found.replayable:
            _tell(found, names_by_id(store), as_json=as_json)
            return
        if not yes:
            question = f"Replay {count_text(found.replayable, 'dead letter')}?"
            confirm(question, "nothing is replayed", shortfall(found))
        made = create_replay(
            store.engine,
            selection,
            target_id=target,
            rate=rate,
            made_by=_user(),
            quotas=configuration().quotas,
            by=operator(),
        )
        if wait:
            _wait_for(store, made, as_json=as_json)
        else:
            announce_replay(made, as_json=as_json)


def _counted(store: IntegrationStore, selection: DeadLetterFilter, *, elsewhere: bool) -> DeadLetterCount:
    """Count what is meant. Raises NotFoundError or InvalidReplay for an id of which nothing waits."""
    found = count_dead_letters(store.engine, selection, elsewhere=elsewhere)
    if found.total < len(set(selection.ids)):
        for one in selection.ids:
            letter = find_letter(store.engine, one)
            if letter.state is not LetterState.WAITING:
                raise InvalidReplay("--id", f"{one} is {letter.state} already", "give one that waits")
    return found


def _wait_for(store: IntegrationStore, made: Replay, *, as_json: bool) -> None:
    """Wait for its end. Raises ClickException when events died again."""
    ended, replay_result = follow(store.engine, made)
    if as_json:
        print_json(replay_detail(ended, replay_result))
    if replay_result.dead:
        raise click.ClickException(
            f"{count_text(replay_result.dead, 'event')} died again: `siem dead-letters list`"
        )


def _tell(found: DeadLetterCount, names: Mapping[str, str], *, as_json: bool) -> None:
    """Return what a replay would do."""
    if as_json:
        print_json(count_document(found))
        return
    print_table(["integration", "reason", "count"], groups(found, names), empty="No dead letters match.")
    if found.total:
        click.echo(f"{count_text(found.replayable, 'dead letter')} can be replayed.")
    for line in shortfall(found):
        click.echo(line)


def _user() -> str:
    """Name who asks, as far as the machine knows."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"
