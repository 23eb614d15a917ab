"""What a publisher has done to `siem:events`, or could do: checks of Redis. Pure.

`XADD` takes any id, removes entries by the way (MAXLEN, MINID), and takes any value: no ACL forbids it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from worker.model.time import utc_text

_NOT_SAID = "Redis does not say: ask its operator"


class CheckStatus(StrEnum):
    """How a check came out."""

    OK = "ok"
    #: Nothing is lost yet.
    WARNING = "warning"
    #: Accepted events get lost, or may be lost already.
    FAILED = "failed"
    #: Redis does not say.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RedisCheck:
    """One check: its name, how it came out, in words, and a hint ("" if nothing need be).

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
    """Return the check of what Redis does not say."""
    return RedisCheck(name, CheckStatus.UNKNOWN, what, _NOT_SAID)


#: Since this version Redis counts the entries that were ever added to a stream.
COUNTS_SINCE = 7
#: Nothing of ours writes a larger value, in bytes.
LARGEST_VALUE = 32 << 20


@dataclass(frozen=True, slots=True)
class IngressIds:
    """The ids of `siem:events` beside the clock of Redis: the last one, and whether it is ahead of that.

    `repaired_ms` is when a router brought them back, in the last hour, and `repaired_id` what was ahead then.
    """

    last_id: str = "0-0"
    ahead: bool = False
    repaired_ms: int | None = None
    repaired_id: str = ""


def judge_ids(ids: IngressIds | None) -> RedisCheck:
    """Check whether the ids of the ingress follow the clock; None if that cannot be asked."""
    if ids is None:
        return unknown("ids", "whether the ids of siem:events follow the clock")
    if ids.ahead:
        return RedisCheck(
            "ids",
            CheckStatus.FAILED,
            f"the ids of siem:events are ahead of the clock of Redis (the last is {ids.last_id}): behind the "
            "greatest one it takes no event, and no time of receipt is known",
            "a router brings them back within seconds: see that one runs",
        )
    if ids.repaired_ms is not None:
        return RedisCheck(
            "ids",
            CheckStatus.WARNING,
            f"an entry was added to siem:events with an id ahead of the clock of Redis ({ids.repaired_id}); "
            f"a router brought the ids back at {utc_text(ids.repaired_ms)}, and nothing was lost",
            "see who may publish with XADD, and have them use the HTTP API instead; this ends after an hour",
        )
    return RedisCheck("ids", CheckStatus.OK, "the ids of siem:events follow the clock")


def judge_publishing(version: str, largest_value: int | None) -> list[RedisCheck]:
    """Warn of what a publisher could do unnoticed, or at others' cost.

    `largest_value` is `proto-max-bulk-len` in bytes, None where it cannot be asked.
    """
    return [*_counting(version), *_largest_value(largest_value)]


def _counting(version: str) -> Iterator[RedisCheck]:
    """Warn of a Redis that does not count what a stream was given (`entries-added` came with 7.0)."""
    first = version.partition(".")[0]
    if first.isdecimal() and int(first) < COUNTS_SINCE:
        yield RedisCheck(
            "removals",
            CheckStatus.WARNING,
            f"Redis {version} does not count what is added to a stream: events that a publisher removes from "
            "siem:events (XADD MAXLEN, XTRIM, XDEL) are not missed",
            "run Redis 7 or later, or Valkey, or have only trusted programs publish with XADD",
        )


def _largest_value(largest: int | None) -> Iterator[RedisCheck]:
    """Warn of a Redis that takes values of any size, where that can be asked."""
    if largest is not None and largest > LARGEST_VALUE:
        yield RedisCheck(
            "largest value",
            CheckStatus.WARNING,
            f"proto-max-bulk-len is {largest >> 20} MB: who may publish with XADD may fill Redis with a "
            "few entries (each becomes a dead letter)",
            f"CONFIG SET proto-max-bulk-len {LARGEST_VALUE >> 20}mb, or have only trusted programs use XADD",
        )
