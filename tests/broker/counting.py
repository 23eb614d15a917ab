"""Counts round trips to Redis, by what is sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from worker.broker.connection_pool import LeanConnection


@contextmanager
def round_trips() -> Iterator[Callable[[], int]]:
    """Count the sendings of this process, by any connection of TCP, while the block lasts."""
    sent = list[None]()
    exchange, send = LeanConnection.exchange, LeanConnection.send_packed_command

    def counted_exchange(self: LeanConnection, *given: Any) -> Any:
        sent.append(None)
        return exchange(self, *given)

    def counted_send(self: LeanConnection, *given: Any, **options: Any) -> None:
        sent.append(None)
        send(self, *given, **options)

    with (
        patch.object(LeanConnection, "exchange", counted_exchange),
        patch.object(LeanConnection, "send_packed_command", counted_send),
    ):
        yield lambda: len(sent)
