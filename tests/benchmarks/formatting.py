"""How many events a second one core formats: CEF behind both syslog headers, and HEC envelopes beside them.

Formats batches of five hundred sample events, as a worker does, and takes the best of several rounds: the
others were disturbed. On a machine that others use as well, only the figures of CPU time mean something.
Also formats into 800 bytes, where nearly every message must be made to fit. Prints JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.benchmarks.measuring import hardware
from worker.destinations.splunk_hec.format import HecFormat
from worker.destinations.syslog_cef.syslog import SyslogCefFormat, framed
from worker.model.event_decoder import decode_event
from worker.model.events import QueuedEvent
from worker.samples import sample_lines

_BATCH = 500
_Formatter = Callable[[Sequence[QueuedEvent]], list[bytes]]


def main() -> None:
    """Measure every format and print one JSON object."""
    arguments = _arguments()
    events = [_queued(line) for line in sample_lines(arguments.events)]
    results: dict[str, Any] = {"hardware": hardware(), "events": len(events)}
    results["bytes_an_event"] = round(sum(len(event.raw) for event in events) / len(events))
    results |= {name: _measure(each, events, arguments.rounds) for name, each in _formatters().items()}
    json.dump(results, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="events a round (default 20000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the best counts (default 7)")
    return parser.parse_args()


def _queued(line: bytes) -> QueuedEvent:
    event = decode_event(line)
    return QueuedEvent(event.id, event.type, event.time_ms, 0, line)


def _formatters() -> dict[str, _Formatter]:
    hec = HecFormat.of(
        host="mitrity", source="mitrity", source_type="mitrity:governance", index=None, fields={}
    )
    return {
        "cef_rfc3164": _cef("rfc3164", 8000),
        "cef_rfc5424": _cef("rfc5424", 8000),
        "cef_made_to_fit": _cef("rfc3164", 800),
        "hec_envelopes": lambda events: [hec.wrapped(events).body(range(len(events)))],
    }


def _cef(header: str, limit: int) -> _Formatter:
    cef = SyslogCefFormat.of(facility="local0", header=header, hostname="mitrity", send_src=True, limit=limit)
    return lambda events: framed(cef.messages(events), counts_octets=True)


def _measure(formatter: _Formatter, events: Sequence[QueuedEvent], rounds: int) -> dict[str, float]:
    batches = [events[start : start + _BATCH] for start in range(0, len(events), _BATCH)]
    walls, cpus = zip(*(_timed(formatter, batches) for _ in range(rounds)), strict=True)
    written = sum(len(message) for batch in batches for message in formatter(batch))
    return {
        "messages_per_second": round(len(events) / min(walls)),
        "messages_per_core_second": round(len(events) / min(cpus)),
        "cpu_us_a_message": round(min(cpus) / len(events) * 1e6, 2),
        "bytes_a_message": round(written / len(events)),
    }


def _timed(formatter: _Formatter, batches: Sequence[Sequence[QueuedEvent]]) -> tuple[float, float]:
    """Return wall and CPU seconds of formatting all batches."""
    cpu, wall = time.process_time(), time.perf_counter()
    for batch in batches:
        formatter(batch)
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
