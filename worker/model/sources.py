"""What could not be asked, and why: reports go on with what is known."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from worker.model.errors import BrokerUnavailable, OutageError

_Answer = TypeVar("_Answer")


class Source(StrEnum):
    """Where what is reported comes from."""

    REDIS = "redis"
    DATABASE = "database"


#: What of an integration's health is not known without each source.
HEALTH_FIELDS: Mapping[Source, Sequence[str]] = {
    Source.REDIS: ("backlog", "oldest_event", "waiting_seconds", "recorded_until"),
    Source.DATABASE: ("last_success", "last_error", "error_rate", "retry_rate", "latency_ms", "parked"),
}


class MissingSources:
    """Remembers which source was away; for one report, in one thread."""

    def __init__(self) -> None:
        """Begin with nothing missing."""
        self.errors: dict[Source, OutageError] = {}

    def ask(self, source: Source, question: Callable[[], _Answer]) -> _Answer | None:
        """Return the answer; None where the source is away. Once it was, it is not asked again.

        The question may meet the other source as well: each absence is noted where it belongs.
        """
        if source in self.errors:
            return None
        try:
            return question()
        except OutageError as error:
            where = Source.REDIS if isinstance(error, BrokerUnavailable) else Source.DATABASE
            self.errors.setdefault(where, error)
            return None

    def documents(self, fields: Mapping[Source, Sequence[str]]) -> list[dict[str, Any]]:
        """Return as JSON values which source was away, why, and which of these fields that leaves null."""
        return [
            {
                "source": source.value,
                "cause": error.cause,
                "reason": str(error),
                "fields": list(fields[source]),
            }
            for source, error in self.errors.items()
        ]
