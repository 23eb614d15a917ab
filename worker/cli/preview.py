"""`siem preview`: the very bytes that an integration's SIEM would be sent for these events."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click

from worker.cli.output import count_text, plain
from worker.cli.publish import SHOWN, InputLine, arriving_lines, of_the_whole
from worker.cli.selection import integration_argument
from worker.cli.stores import integration_store
from worker.destinations.registry import make_sender
from worker.integrations.integration import Integration
from worker.model.errors import InvalidEvent
from worker.model.event_decoder import accept_event
from worker.model.events import EventHead, QueuedEvent
from worker.transports.guard import Guard


@click.command()
@integration_argument
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    help="Stop after so many events; left out, at the end of FILE.",
)
@click.option("--all", "everything", is_flag=True, help="Also events that the integration would not receive.")
def preview(integration: str, source: str, *, limit: int | None, everything: bool) -> None:
    """Print the very bytes that an integration, given by id or name, would be sent for events.

    \b
    siem preview splunk events.jsonl
    head -1 events.jsonl | siem preview qradar - | xxd

    FILE holds one JSON object a line, as `siem publish` reads it; - is standard input. Nothing is dialled,
    and Redis is not needed. Secrets are shown as ***, and what could harm a terminal as codes, but only
    there. What is refused, or left out because the integration would not receive it, is named on stderr;
    exit code 2 means that something was refused.
    """
    with integration_store() as store:
        found = store.open(store.resolve(integration))
    gathered = _CollectedEvents(found, everything=everything)
    with click.open_file(source, "rb") as stream:
        events = gathered.events(stream.fileno(), limit)
    gathered.count_unshown()
    _write(_bytes_for(found, events))
    if gathered.refused:
        sys.exit(2)


@dataclass(slots=True)
class _CollectedEvents:
    """Reads events, and complains about those that are refused or left out."""

    integration: Integration
    everything: bool
    refused: int = 0
    complaints: int = 0

    def events(self, descriptor: int, limit: int | None) -> list[QueuedEvent]:
        found: list[QueuedEvent] = []
        for line in _each_line(descriptor):
            event = self._judged(line)
            if event is not None:
                found.append(event)
            if len(found) == limit:
                break
        return found

    def count_unshown(self) -> None:
        if self.complaints > SHOWN:
            click.echo(
                f"… and {count_text(self.complaints - SHOWN, 'more line')} refused or left out", err=True
            )

    def _judged(self, line: InputLine) -> QueuedEvent | None:
        try:
            event, raw = accept_event(line.text)
        except InvalidEvent as error:
            self.refused += 1
            self._complain(line, str(of_the_whole(line, error)))
            return None
        reason = None if self.everything else _unwanted(event, self.integration)
        if reason is not None:
            self._complain(line, f"left out: {reason} (--all shows it all the same)")
            return None
        return QueuedEvent(event.id, event.type, event.time_ms, time.time_ns() // 1_000_000, raw)

    def _complain(self, line: InputLine, words: str) -> None:
        self.complaints += 1
        if self.complaints <= SHOWN:
            click.echo(f"line {line.number}: {plain(words)}", err=True)


def _each_line(descriptor: int) -> Iterator[InputLine]:
    for lines in arriving_lines(descriptor):
        yield from lines


def _unwanted(event: EventHead, integration: Integration) -> str | None:
    """Return why the integration would not receive the event."""
    if event.tenant_id != integration.tenant_id:
        return f"it is of tenant {event.tenant_id}, and the integration of tenant {integration.tenant_id}"
    if event.type not in integration.event_types:
        return f"{event.type} is not among the integration's event types"
    return None


def _bytes_for(integration: Integration, events: list[QueuedEvent]) -> bytes:
    sender = make_sender(integration, Guard(()), connections=1)
    try:
        return sender.preview(events)
    finally:
        sender.close()


def _write(content: bytes) -> None:
    stream = sys.stdout.buffer
    stream.write(_harmless(content) if sys.stdout.isatty() else content)
    stream.flush()


def _harmless(content: bytes) -> bytes:
    """Show what an event could do to the terminal; lines stay lines."""
    text = content.decode(errors="backslashreplace").replace("\r\n", "\n")
    return "\n".join(map(plain, text.split("\n"))).encode()
