"""What several integrations send alike is written once, and is what each would have written."""

import threading
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import pytest

from tests.destinations.batches import attempt_of, soon
from tests.destinations.golden_events import queued
from tests.destinations.senders import syslog_to
from tests.destinations.syslog_cef.syslog_parser import ids
from tests.receivers.syslog import SyslogReceiver
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.destinations.syslog_cef.written_runs import written_runs
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.event_runs import EventRun
from worker.model.events import QueuedEvent
from worker.samples import sample_lines

EVENTS = [queued(line) for line in sample_lines(40, start_ms=1_767_323_045_678)]
OPTIONS: dict[str, Any] = {
    "facility": "local0",
    "header": "rfc3164",
    "hostname": "h",
    "send_src": True,
    "limit": 8000,
}
OTHERS = [
    OPTIONS | {name: value}
    for name, value in (
        ("facility", "local1"),
        ("header", "rfc5424"),
        ("hostname", "g"),
        ("send_src", False),
        ("limit", 600),
    )
]


def expected(
    format_: SyslogCefFormat, events: Sequence[QueuedEvent], *, counts_octets: bool | None
) -> list[bytes]:
    """Write the events without runs."""
    if counts_octets is None:
        return format_.messages(events)
    return format_.frames(events, counts_octets=counts_octets)


@pytest.mark.parametrize("cuts", [(0, 40), (0, 1, 1, 25, 40)])
def test_runs_give_what_their_events_give(cuts: Sequence[int]) -> None:
    """Whoever has written them before, by the same options or by others; and with runs that are new."""
    runs = [EventRun(EVENTS[begin:end]) for begin, end in pairwise(cuts)]
    for _, options, counts_octets in product(range(2), [OPTIONS, *OTHERS], (None, False, True)):
        format_ = SyslogCefFormat.of(**options)
        written_runs(runs[:1] + runs[2:3], format_, counts_octets=counts_octets)

        assert [*written_runs(runs, format_, counts_octets=counts_octets)] == expected(
            format_, EVENTS, counts_octets=counts_octets
        )


@pytest.mark.parametrize("count", [1, 4])
def test_the_same_is_written_once(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """By the same options, also of another format's; what others write in between is written again."""
    calls: list[int] = []
    messages = SyslogCefFormat.messages

    def counted(self: SyslogCefFormat, events: Sequence[QueuedEvent]) -> list[bytes]:
        calls.append(len(events))
        return messages(self, events)

    monkeypatch.setattr(SyslogCefFormat, "messages", counted)
    runs = [EventRun(EVENTS[at::count]) for at in range(count)]
    for _ in range(3):
        written_runs(runs, SyslogCefFormat.of(**OPTIONS), counts_octets=None)
    assert sum(calls) == len(EVENTS)

    written_runs(runs, SyslogCefFormat.of(**OTHERS[0]), counts_octets=None)
    assert sum(calls) == 2 * len(EVENTS)


def test_of_two_threads_one_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one waits for it: both want the same run at the same time."""
    run, calls, begun, goes_on = EventRun(EVENTS), list[int](), threading.Event(), threading.Event()
    messages = SyslogCefFormat.messages

    def held(self: SyslogCefFormat, events: Sequence[QueuedEvent]) -> list[bytes]:
        calls.append(len(events))
        begun.set()
        assert goes_on.wait(60)
        return messages(self, events)

    monkeypatch.setattr(SyslogCefFormat, "messages", held)
    found: list[Sequence[bytes]] = []

    def write() -> None:
        found.append(written_runs([run], SyslogCefFormat.of(**OPTIONS), counts_octets=None))

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    goes_on.set()
    for thread in threads:
        thread.join(60)

    assert calls == [len(EVENTS)]
    assert found[0] is found[1]


def test_a_part_of_a_batch_is_written_by_itself() -> None:
    """What was delivered before is not sent again, whatever is kept of the whole run."""
    whole = attempt_of(5).batch
    with SyslogReceiver() as receiver, syslog_to(receiver.url) as sender:
        for counts in (bytes(5), b"\xff\0\xff\0\0"):
            sender.send(DeliveryAttempt(_with(whole, counts)), soon())

        assert ids(receiver.wait_for(8)) == ["e0", "e1", "e2", "e3", "e4", "e1", "e3", "e4"]


def _with(batch: Batch, counts: bytes) -> Batch:
    runs = batch.runs or [EventRun(batch.events)]
    return Batch(batch.order, batch.events, b"{}", counts, 0, 1_000, soon() - 60, [], [], runs=runs)
