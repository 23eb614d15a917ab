"""The fifth pair of a chunk in a backlog, `traces`: which of its events are traced, and by which spans.

Written only with tracing on, and only of events whose publishers sampled them; read only with tracing on. It
stands behind the four pairs that scripts and readers know by their places, so that they pass over it, those
of earlier releases, too. What is damaged in it, or does not fit the chunk, counts as not there.

    1 byte    version
    4 bytes   CRC-32 of the rest
    28 bytes  for each run of events with the same span: the place of the first, how many, trace id, span id
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.model.trace_context import TraceContext

#: The name of the pair.
TRACES = b"traces"
_HEAD = struct.Struct(">BI")
_RUN = struct.Struct(">HH16s8s")
_VERSION = 1
#: A place takes two bytes.
_MOST_EVENTS = 1 << 16


class TracedRun(NamedTuple):
    """Events in a row that one span has published: the place of the first, and how many."""

    first: int
    events: int
    context: TraceContext


def pack_traces(contexts: Sequence[TraceContext | None]) -> bytes:
    """Pack the spans of a chunk's events, None for each that is not traced; empty if none is."""
    runs: list[tuple[int, int, TraceContext]] = []
    for place, context in enumerate(contexts[: _MOST_EVENTS - 1]):
        if context is None:
            continue
        if runs and runs[-1][2] == context and sum(runs[-1][:2]) == place:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, context)
        else:
            runs.append((place, 1, context))
    if not runs:
        return b""
    body = b"".join(_RUN.pack(first, count, one.trace_id, one.span_id) for first, count, one in runs)
    return _HEAD.pack(_VERSION, zlib.crc32(body)) + body


def unpack_traces(packed: bytes, events: int) -> list[TracedRun]:
    """Unpack what `pack_traces` packed of a chunk of so many events; nothing if it is not that."""
    body = packed[_HEAD.size :]
    if len(packed) < _HEAD.size or len(body) % _RUN.size:
        return []
    if _HEAD.unpack(packed[: _HEAD.size]) != (_VERSION, zlib.crc32(body)):
        return []
    runs = [
        TracedRun(first, count, TraceContext(trace_id, span_id))
        for first, count, trace_id, span_id in _RUN.iter_unpack(body)
    ]
    return runs if all(one.first + one.events <= events for one in runs) else []


def batch_contexts(
    traces: Iterable[tuple[int, int, bytes]], open_places: Iterable[int]
) -> list[TraceContext]:
    """Return the spans that published the open events of a batch, each once.

    `traces` has for each chunk with spans the place of its first event, how many it has, and them, packed.
    """
    still_open = set(open_places)
    found: dict[TraceContext, None] = {}
    for run in _runs(traces):
        if not still_open.isdisjoint(range(run.first, run.first + run.events)):
            found[run.context] = None
    return list(found)


def _runs(traces: Iterable[tuple[int, int, bytes]]) -> Iterator[TracedRun]:
    for first, events, packed in traces:
        for run in unpack_traces(packed, events):
            yield TracedRun(first + run.first, run.events, run.context)
