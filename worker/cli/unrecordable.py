"""`siem unrecordable`: list, show, retry, discard what no recorder could record."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any

import click
import msgspec

from worker.broker.connection import redis_client
from worker.broker.packing import unpack_chunk
from worker.broker.unrecordable import SetAside, Unrecordable
from worker.cli.dead_letter_text import payload_lines
from worker.cli.output import as_json_option, confirm, count_text, plain, print_json, print_table, when
from worker.cli.selection import cursor_option, limit_option
from worker.cli.stores import configuration, leave_record, operator
from worker.model.audit import Action, audit_record
from worker.model.deliveries import DeadLetter, Outcome
from worker.model.errors import InvalidInput, NotFoundError
from worker.model.events import QueuedEvent
from worker.model.parking import ParkedChunk
from worker.model.time import rfc3339
from worker.views.cursors import cut_page, decode_cursor

#: The id of an entry of a Redis stream, in a cursor.
StreamId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}-[0-9]{1,20}$")]

#: Ids of entries that a record has at the most.
_MOST_NAMED = 10

_ids = click.argument("ids", metavar="[ID]...", nargs=-1)


@click.group()
def unrecordable() -> None:
    """See what no recorder could record, and why; put it back, or discard it.

    An outcome, dead letters or parked events that the database does not take, although it takes others, are
    set aside in Redis (`siem:unrecordable`). Parked events among them are not delivered, and dead letters
    cannot be replayed, until they are put back.
    """


@unrecordable.command("list")
@limit_option
@cursor_option
@as_json_option
def list_(limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List the entries that were set aside, the oldest first, with the reason.

    \b
    siem unrecordable list
    siem unrecordable list --json
    """
    with _entries() as entries:
        after = None if cursor is None else decode_cursor(cursor, StreamId)
        found = list(islice(entries.all(after), limit + 1))
    shown, following = cut_page(found, limit, lambda one: one.id)
    if as_json:
        print_json({"items": [_document(one) for one in shown], "next": following})
        return
    print_table(
        ["id", "set aside", "what", "integration", "events", "reason"],
        [[one.id, when(one.set_aside_ms), *_summary(one), one.reason] for one in shown],
        empty="Nothing was set aside: every entry could be recorded.",
    )


@unrecordable.command()
@click.argument("entry", metavar="ID")
@as_json_option
def show(entry: str, *, as_json: bool) -> None:
    """Show one entry: what it holds, where it came from, and why it could not be recorded."""
    with _entries() as entries:
        found = _find(entries, entry)
    if as_json:
        raw = base64.b64encode(found.raw).decode()
        print_json(_document(found) | {"fields": _encoded(found.fields), "raw": raw})
        return
    what, integration, events = _summary(found)
    rows: list[list[Any]] = [
        ["id", found.id],
        ["set aside", when(found.set_aside_ms)],
        ["what", what],
        ["integration", integration],
        ["events", events],
        ["came as", f"{found.entry} of {found.stream}"],
        ["reason", found.reason],
        ["can be put back", found.fields is not None],
    ]
    print_table(["field", "value"], rows, empty="")
    for line in _content_lines(found):
        click.echo(line)


@unrecordable.command()
@_ids
@click.option("--all", "everything", is_flag=True, help="Put back all of them.")
@as_json_option
def retry(ids: tuple[str, ...], *, everything: bool, as_json: bool) -> None:
    """Put entries back, by id, once their reason is fixed: a recorder takes them at once.

    Nothing is lost and nothing comes twice: what was recorded already is not recorded again. What still
    cannot be recorded is set aside once more, with a new id.

    \b
    siem unrecordable retry 1795385700000-0
    siem unrecordable retry --all
    """
    with _entries() as entries:
        chosen = _chosen(entries, ids, everything=everything)
        if ids:
            _refuse_unreadable(chosen)
        _record(entries, Action.UNRECORDABLE_RETRIED, [one for one in chosen if one.fields is not None])
        put_back = sum(entries.put_back(one) for one in chosen if one.fields is not None)
        left = entries.count()
    if as_json:
        print_json({"retried": put_back, "left": left})
        return
    click.echo(f"Put back {_entries_of(put_back)}: a recorder takes them now.")
    if left:
        click.echo(f"{_entries_of(left)} left: see `siem unrecordable list`.")


@unrecordable.command()
@_ids
@click.option("--all", "everything", is_flag=True, help="Discard all of them.")
@click.option("--yes", is_flag=True, help="Do not ask first, as a script must.")
@as_json_option
def discard(ids: tuple[str, ...], *, everything: bool, yes: bool, as_json: bool) -> None:
    """Discard entries for good, by id: what they hold is lost, undelivered events included.

    \b
    siem unrecordable show 1795385700000-0 --json > kept.json
    siem unrecordable discard 1795385700000-0
    """
    with _entries() as entries:
        chosen = _chosen(entries, ids, everything=everything)
        if chosen and not yes:
            events = sum(_events(one) or 0 for one in chosen)
            question = f"Discard {_entries_of(len(chosen))}, with {count_text(events, 'event')} in all?"
            confirm(question, "nothing was discarded")
        _record(entries, Action.UNRECORDABLE_DISCARDED, chosen)
        discarded = sum(map(entries.discard, chosen))
    if as_json:
        print_json({"discarded": discarded})
    else:
        click.echo(f"Discarded {_entries_of(discarded)}.")


@contextmanager
def _entries() -> Iterator[Unrecordable]:
    client = redis_client(configuration().broker_address())
    try:
        yield Unrecordable(client)
    finally:
        client.close()


def _record(entries: Unrecordable, action: Action, chosen: Sequence[SetAside]) -> None:
    """Record what is about to be done to entries, if there are any: an integration's, if all are of one."""
    if not chosen:
        return
    found = {_summary(one)[1] for one in chosen}
    details = {
        "entries": len(chosen),
        "events": sum(_events(one) or 0 for one in chosen),
        "ids": ", ".join(one.id for one in chosen[:_MOST_NAMED]),
    }
    record = audit_record(
        action,
        operator(),
        subject=chosen[0].id if len(chosen) == 1 else None,
        integration_id=found.pop() if len(found) == 1 else None,
        details=details,
    )
    leave_record(entries.client, record)


def _chosen(entries: Unrecordable, ids: Sequence[str], *, everything: bool) -> list[SetAside]:
    """Return those that are meant. Raises NotFoundError, UsageError unless either ids or --all are given."""
    if bool(ids) == everything:
        raise click.UsageError("say which entries: their ids (`siem unrecordable list`), or --all")
    if everything:
        return list(entries.all())
    return [_find(entries, one) for one in ids]


def _find(entries: Unrecordable, entry_id: str) -> SetAside:
    found = entries.find(entry_id)
    if found is None:
        raise NotFoundError(
            f"no entry {entry_id} was set aside: `siem unrecordable list` shows those that were"
        )
    return found


def _refuse_unreadable(chosen: Sequence[SetAside]) -> None:
    for one in chosen:
        if one.fields is None:
            raise InvalidInput(
                one.id, "cannot be put back, for it was not written by this software", "leave it out"
            )


def _entries_of(number: int) -> str:
    return count_text(number, "entry", "entries")


def _document(one: SetAside) -> dict[str, Any]:
    what, integration, events = _summary(one)
    return {
        "id": one.id,
        "set_aside_at": rfc3339(one.set_aside_ms),
        "stream": one.stream,
        "entry": one.entry,
        "what": what,
        "integration_id": integration,
        "events": events,
        "reason": one.reason,
        "retryable": one.fields is not None,
    }


def _summary(one: SetAside) -> tuple[str, str | None, int | None]:
    """Return what it is, whose, and how many events it holds; None where that is not known."""
    match one.content:
        case DeadLetter(integration_id=integration):
            return "dead letters", integration, _events(one)
        case ParkedChunk(integration_id=integration):
            return "parked events", integration, _events(one)
        case [Outcome(integration_id=integration), *_]:
            return "outcomes", integration, _events(one)
        case _:
            return "unreadable", None, None


def _events(one: SetAside) -> int | None:
    match one.content:
        case DeadLetter(events=events):
            return len(events)
        case ParkedChunk(events=count):
            return count
        case [*outcomes]:
            return sum(len(outcome.events) for outcome in outcomes)
        case _:
            return None


def _content_lines(one: SetAside) -> Iterator[str]:
    """Yield each outcome in a line, or the events themselves."""
    match one.content:
        case DeadLetter(events=events):
            yield from _event_lines(events)
        case ParkedChunk(packed=packed):
            yield from _event_lines(unpack_chunk(packed))
        case [*outcomes]:
            for outcome in outcomes:
                for trace in outcome.events:
                    yield plain(f"{outcome.status} at {when(outcome.settled_ms)}: {trace.type} {trace.id}")
        case _:
            yield plain(f"Content: {one.fields or one.raw!r}")


def _event_lines(events: Sequence[QueuedEvent]) -> Iterator[str]:
    for event in events:
        yield plain(f"\n{event.type} {event.id}, published {when(event.published_ms)}:".lstrip())
        yield from payload_lines(event.raw)


def _encoded(fields: Sequence[bytes] | None) -> list[str] | None:
    """Return the fields in base64, in pairs: they are MessagePack for the most part."""
    return None if fields is None else [base64.b64encode(one).decode() for one in fields]
