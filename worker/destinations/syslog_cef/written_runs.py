"""Messages that several integrations send alike: those of the same events and options are written once.

Such integrations claim the same events at nearly the same time (`worker.broker.chunk_cache`). What is written
of a run of events is kept with the run, by the options that were last: more, that cache does not reckon with.
"""

import threading
from collections.abc import Sequence
from itertools import islice

from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.model.event_runs import EventRun
from worker.model.events import QueuedEvent


class _WrittenRun:
    """What was written last of a run, and by which options; shared by threads."""

    __slots__ = ("_last", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._last: tuple[object, Sequence[bytes]] = None, ()

    def find(self, options: object) -> Sequence[bytes] | None:
        """Return what was written by these options, if they were the last."""
        last, written = self._last
        return written if last == options else None

    def keep(self, options: object, written: Sequence[bytes]) -> Sequence[bytes]:
        """Keep it in place of what there was."""
        self._last = options, written
        return written


def written_runs(
    runs: Sequence[EventRun], format_: SyslogCefFormat, *, counts_octets: bool | None
) -> Sequence[bytes]:
    """Return the events of all runs as `SyslogCefFormat.frames` does, or without frames for None.

    Of two threads that want the same of one run, one writes it. Never raises.
    """
    options = format_.options, counts_octets
    kept = [run.made(_unwritten) for run in runs]
    if len(runs) == 1:
        with kept[0].lock:
            if (found := kept[0].find(options)) is not None:
                return found
            return kept[0].keep(options, _write(format_, runs[0].events, counts_octets=counts_octets))
    parts = [one.find(options) for one in kept]
    # Together, for a batch costs far less than its parts.
    missing = [event for run, part in zip(runs, parts, strict=True) if part is None for event in run.events]
    new = iter(_write(format_, missing, counts_octets=counts_octets))
    return [
        frame
        for run, one, part in zip(runs, kept, parts, strict=True)
        for frame in (one.keep(options, list(islice(new, len(run.events)))) if part is None else part)
    ]


def _unwritten(_events: Sequence[QueuedEvent]) -> _WrittenRun:
    return _WrittenRun()


def _write(
    format_: SyslogCefFormat, events: Sequence[QueuedEvent], *, counts_octets: bool | None
) -> Sequence[bytes]:
    if counts_octets is None:
        return format_.messages(events)
    return format_.frames(events, counts_octets=counts_octets)
