"""The clocks of a fleet: this host's, Redis's, the database's; and what follows when they differ. Pure.

What deletes or expires goes by a time that all of them agree on: one host whose clock is wrong must destroy
nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.model.fleet_health import Part
from worker.model.time import span

#: How far clocks may be apart, and a clock may leap, before nothing is deleted, in milliseconds.
MOST_APART_MS = 300_000
#: From which skew on a process reports its clock, and from which the fleet is not ok, in seconds.
#: Receivers of signed webhooks refuse what is 300 s off (Standard Webhooks, "Verifying webhook
#: authenticity").
TELLING_SKEW, ALARMING_SKEW = 5.0, 60.0
#: Names of the parts of the fleet for clocks, and for what is not deleted.
CLOCKS_PART, RETENTION_PART = "clocks", "retention"


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the clocks said at one moment, in milliseconds since 1970 UTC.

    `database_ms` is None where the database has no clock but this host's (SQLite). `steady_ms` counts from
    anywhere, and never leaps.
    """

    host_ms: int
    redis_ms: int
    database_ms: int | None
    steady_ms: int

    def readings(self) -> dict[str, int]:
        """Return what each clock says, by its name in words."""
        found = {"this host": self.host_ms, "Redis": self.redis_ms}
        return found if self.database_ms is None else found | {"the database": self.database_ms}

    @property
    def earliest_ms(self) -> int:
        """The time to go by where something is deleted for its age."""
        return min(self.readings().values())


def disagreement(clocks: Clocks) -> str | None:
    """Return which clocks are too far apart, in words; None while they agree."""
    words = sorted(clocks.readings().items(), key=_moment)
    (slowest, first_ms), (fastest, last_ms) = words[0], words[-1]
    if last_ms - first_ms <= MOST_APART_MS:
        return None
    return f"the clock of {fastest} is {span(last_ms - first_ms)} ahead of that of {slowest}"


def leap(before: Clocks, now: Clocks) -> str | None:
    """Return which clocks have jumped since, in words; None if none has."""
    steady_ms = now.steady_ms - before.steady_ms
    then, leaps = before.readings(), {}
    for name, at_ms in now.readings().items():
        if name in then and abs(by_ms := at_ms - then[name] - steady_ms) > MOST_APART_MS:
            leaps[name] = by_ms
    if not leaps:
        return None
    return "; ".join(
        f"the clock of {name} leapt {'forward' if by_ms > 0 else 'back'} by {span(abs(by_ms))}"
        for name, by_ms in leaps.items()
    )


def clocks_part(skews: Mapping[str, float]) -> Part:
    """Return the part on clocks that differ from that of Redis, by their skews in seconds."""
    off = {name: skew for name, skew in skews.items() if abs(skew) >= TELLING_SKEW}
    if not off:
        return Part(CLOCKS_PART, ok=True, words="every process has the time of Redis")
    words = "; ".join(
        f"{name} is {span(abs(skew) * 1000)} {'ahead of' if skew > 0 else 'behind'} Redis"
        for name, skew in sorted(off.items())
    )
    return Part(
        CLOCKS_PART,
        ok=all(abs(skew) < ALARMING_SKEW for skew in off.values()),
        words=f"{words}: synchronize the clocks (NTP); webhook signatures use the worker's time",
        holds_events=False,
    )


def retention_part(refusals: Sequence[str]) -> Part:
    """Return the part on why nothing, or not everything, is deleted that is old enough."""
    if not refusals:
        return Part(RETENTION_PART, ok=True, words="what is old enough is deleted")
    words = "; ".join(refusals)
    return Part(RETENTION_PART, ok=False, words=words, holds_events=False, public=words)


def _moment(reading: tuple[str, int]) -> int:
    return reading[1]
