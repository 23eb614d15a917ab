"""What the receivers of the demo have in common: their options, their faults, and how they count.

They count different events beside all of them, so that a demo sees what came twice or not at all. With
`--count-only` they read as little as they can of what comes, so that a benchmark measures the sender.
"""

import functools
import json
import random
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from worker.demo.server import Request, Response

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _all(*options: _Decorator) -> _Decorator:
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


_SHARE = click.FloatRange(0, 1)
#: What every receiver can be given.
receiver_options = _all(
    click.option(
        "--port-file",
        type=click.Path(path_type=Path),
        required=True,
        help="Gets the port when ready, and where the counts are if that is another one.",
    ),
    click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; left out, a free one."),
    click.option("--count-only", is_flag=True, help="Count without reading what comes; for benchmarks."),
)
#: What every receiver of HTTP can be given.
http_options = _all(
    receiver_options,
    click.option("--flaky", type=_SHARE, default=0.0, help="Share of requests answered 503."),
    click.option("--refuse", type=_SHARE, default=0.0, help="Share of events refused for good."),
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an HTTP receiver behaves; the shares are from 0 to 1. Raises UsageError for a contradiction."""

    flaky: float = 0.0
    refuse: float = 0.0
    count_only: bool = False

    def __post_init__(self) -> None:
        if self.count_only and self.refuse:
            raise click.UsageError(
                "--refuse: has to read the events, and --count-only does not; give one of the two"
            )


def event_counts(events: int, seen: Collection[str] | None) -> dict[str, int | None]:
    """Return `events` beside how many were `distinct` and `duplicates`; those are None without the ids."""
    if seen is None:
        return {"events": events, "distinct": None, "duplicates": None}
    return {"events": events, "distinct": len(seen), "duplicates": events - len(seen)}


def asks_for_counts(request: Request) -> bool:
    """Whether it is `GET /counts`."""
    return request.method == "GET" and request.path == "/counts"


def counts_response(counts: Mapping[str, int | None]) -> Response:
    """Answer `GET /counts`."""
    return Response(200, json.dumps(counts).encode())


class HttpReceiver(ABC):
    """Answers requests, and counts what they carried."""

    def __init__(self, behaviour: Behaviour) -> None:
        """Begin with nothing counted."""
        self._behaviour = behaviour
        self._dice = random.Random()  # noqa: S311 - whether to be busy is no secret
        self._seen: set[str] = set()
        self._refused: set[str] = set()
        self._requests = self._bytes = self._events = self._unavailable = self._unreadable = 0

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        return counts_response(self.counts()) if asks_for_counts(request) else self._respond(request)

    def counts(self) -> dict[str, int | None]:
        """Report what came: `bytes` over the wire, `events` accepted, `refused` distinct ones."""
        return {
            "requests": self._requests,
            **event_counts(self._events, None if self._behaviour.count_only else self._seen),
            "refused": len(self._refused) + self._unreadable,
            "bytes": self._bytes,
            "unavailable": self._unavailable,
        }

    @abstractmethod
    def _respond(self, request: Request) -> Response:
        """Answer what does not ask for the counts."""

    def _note(self, request: Request) -> None:
        self._requests += 1
        self._bytes += len(request.body)

    def _is_busy(self) -> bool:
        """Throw the dice on whether to answer 503, and count that."""
        busy = self._behaviour.flaky > 0 and self._dice.random() < self._behaviour.flaky
        self._unavailable += busy
        return busy

    def _refuses(self, event_id: str) -> bool:
        """Refuse an event always or never: what decides is its id."""
        return zlib.crc32(event_id.encode()) < self._behaviour.refuse * 2**32
