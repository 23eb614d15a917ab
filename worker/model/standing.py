"""How a check of Redis came out, in words, and what would mend it."""

from dataclasses import dataclass
from enum import StrEnum

_UNTOLD = "Redis does not tell: ask whoever runs it"


class CheckStatus(StrEnum):
    """How a check came out."""

    OK = "ok"
    #: Nothing is lost yet.
    WARNING = "warning"
    #: Accepted events get lost, or may be lost already.
    FAILED = "failed"
    #: Redis does not tell.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RedisCheck:
    """One check: its name, how it came out, in words, and what would mend it ("" if nothing need be).

    `fatal`: no process can work with such a Redis, and none starts.
    """

    name: str
    standing: CheckStatus
    words: str
    hint: str = ""
    fatal: bool = False

    @property
    def sentence(self) -> str:
        """The words and the hint."""
        return f"{self.words}: {self.hint}" if self.hint else self.words


def unknown(name: str, what: str) -> RedisCheck:
    """Return the check of what Redis does not tell."""
    return RedisCheck(name, CheckStatus.UNKNOWN, what, _UNTOLD)
