"""What could not be asked, and why: reports go on with what is known."""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from worker.model.errors import BrokerUnavailable, OutageError

_Answer = TypeVar("_Answer")


class Source(StrEnum):
    """Where what is reported comes from."""

    REDIS = "redis"
    DATABASE = "database"


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
