"""`siem replays`: list, show, cancel; `siem dead-letters correct`; and how a replay is shown."""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, BinaryIO

import click
from msgspec import structs

from worker.broker.connection import redis_client
from worker.cli.output import as_json_option, count_text, plain, print_json, print_table, when
from worker.cli.selection import cursor_option, limit_option
from worker.cli.stores import configuration, integration_store, ledger, names_by_id, operator
from worker.ledger.dead_letters import find_letter
from worker.ledger.engine import Ledger
from worker.ledger.replays import cancel_replay, find_replays, get_replay, replay_result
from worker.model.errors import InvalidReplay
from worker.model.events import MAX_EVENT_BYTES
from worker.model.replays import Replay, ReplayResult, ReplayState
from worker.pipeline.correction import publish_corrected
from worker.views.cursors import time_and_id
from worker.views.dead_letters import letter_document
from worker.views.replays import replay_detail, replay_document, replay_page

#: How often a command that waits looks at the ledger, in seconds.
_LOOK_EVERY = 0.5


@click.group()
def replays() -> None:
    """Follow the replays of dead letters, and cancel them."""


@replays.command("list")
@limit_option
@cursor_option
@as_json_option
def list_(limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List the replays, the newest first; `redrive` made those of an outage, `enable` those of a 410."""
    with integration_store() as store:
        names = names_by_id(store)
        found = find_replays(store.engine, limit + 1, time_and_id(cursor))
    if as_json:
        print_json(replay_page(found, limit))
        return
    print_table(
        ["id", "made", "by", "state", "of", "into", "letters", "replayed", "not needed", "rate"],
        [_row(one, names) for one in found[:limit]],
        empty="No replays yet: `siem dead-letters replay --help` shows how to create one.",
    )


@replays.command()
@click.argument("replay", metavar="ID")
@as_json_option
def show(replay: str, *, as_json: bool) -> None:
    """Show how far a replay is, and what became of its events."""
    with integration_store() as store:
        names, found = names_by_id(store), get_replay(store.engine, replay)
        became = replay_result(store.engine, found)
    if as_json:
        print_json(replay_detail(found, became))
    else:
        print_table(["field", "value"], _fields(found, became, names), empty="")


@replays.command()
@click.argument("replay", metavar="ID")
@as_json_option
def cancel(replay: str, *, as_json: bool) -> None:
    """Cancel a replay that runs. What it has handed over is sent; the rest waits on."""
    with ledger() as engine:
        found = get_replay(engine, replay)
        if not cancel_replay(engine, found, "by hand", operator()):
            raise InvalidReplay("ID", f"{replay} is {found.state} already", "give one that runs")
        found = get_replay(engine, replay)
        became = replay_result(engine, found)
    if as_json:
        print_json(replay_detail(found, became))
    else:
        click.echo(
            f"Cancelled {replay}: {found.replayed} of {count_text(found.total, 'dead letter')} are sent."
        )


def announce_replay(replay: Replay, *, as_json: bool) -> None:
    """Report a replay that was just made."""
    if as_json:
        print_json(replay_document(replay))
        return
    click.echo(
        f"{replay.id}: {count_text(replay.total, 'dead letter')}, {replay.rate} a second at the most. "
        f"`siem replays show {replay.id}` shows its progress."
    )


def follow(engine: Ledger, replay: Replay) -> tuple[Replay, ReplayResult]:
    """Wait until it has ended and each of its events is delivered or dead; show the progress on stderr.

    Raises ClickException when it was cancelled.
    """
    shown = ""
    while True:
        replay, became = get_replay(engine, replay.id), replay_result(engine, replay)
        if (line := _line(replay, became)) != shown:
            click.echo(line, err=True)
            shown = line
        if replay.state is ReplayState.CANCELLED:
            raise click.ClickException(f"{replay.id} was cancelled: {replay.note}")
        if replay.state is ReplayState.DONE and not became.under_way:
            return replay, became
        time.sleep(_LOOK_EVERY)


def _line(replay: Replay, became: ReplayResult) -> str:
    return (
        f"{replay.id}: {replay.replayed + replay.skipped} of {replay.total} handed over; "
        f"{became.delivered} delivered, {became.dead} dead again, {became.under_way} under way"
    )


def _row(replay: Replay, names: Mapping[str, str]) -> list[Any]:
    home, target = replay.selection.integration_id, replay.target_id
    return [
        replay.id,
        when(replay.created_ms),
        replay.made_by,
        replay.state.value,
        names.get(home, home) if home else "all",
        names.get(target, target) if target else None,
        replay.total,
        replay.replayed,
        replay.skipped,
        replay.rate,
    ]


def _fields(replay: Replay, became: ReplayResult, names: Mapping[str, str]) -> list[list[Any]]:
    columns = ["id", "made", "by", "state", "of", "into", "letters", "replayed", "not needed", "rate"]
    chosen = structs.asdict(replay.selection)
    narrowed = ", ".join(
        f"{name}: {_shown(value)}" for name, value in chosen.items() if value and name != "state"
    )
    return [
        *map(list, zip(columns, _row(replay, names), strict=True)),
        ["ended", when(replay.ended_ms)],
        ["note", replay.note],
        ["selected by", narrowed],
        ["delivered", became.delivered],
        ["dead again", became.dead],
        ["under way", became.under_way],
    ]


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


@click.command()
@click.argument("letter", metavar="ID")
@click.argument("source", metavar="FILE", type=click.File("rb"))
@as_json_option
def correct(letter: str, source: BinaryIO, *, as_json: bool) -> None:
    """Publish the corrected event of a dead letter that was not valid, from FILE or - for standard input.

    Its id and tenant must be those that it had, where those could be read. Once Redis has the event, the
    letter waits no longer.

    \b
    siem dead-letters show ID --json | jq -r .payload > event.json
    siem dead-letters correct ID event.json
    """
    raw = source.read(MAX_EVENT_BYTES + 1).strip()
    with integration_store() as store, closing(redis_client(configuration().broker_address())) as client:
        event_id = publish_corrected(
            store.engine, client, find_letter(store.engine, letter), raw, by=operator()
        )
        corrected = find_letter(store.engine, letter)
    if as_json:
        print_json(letter_document(corrected))
    else:
        click.echo(plain(f"Published {event_id}; the dead letter waits no longer."))
