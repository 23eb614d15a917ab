"""The figures of clocks, and of what is not pruned because of them."""

import hashlib
from collections.abc import Collection, Mapping

from worker.api.exposition import Exposition, labels


def anonymous(process: str) -> str:
    """Return the role of a process and a mark that tells it from others, in place of its host and number."""
    role, _, name = process.partition(":")
    return f"{role}:{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def tell_clocks(told: Exposition, skews: Mapping[str, float], refused: Collection[str]) -> None:
    """Tell the skew of every process, and whether something that is old enough is not pruned."""
    told.gauge(
        "siem_clock_skew_seconds",
        "By how much a process's clock is ahead of that of Redis.",
        [(labels(process=name), skew) for name, skew in sorted(skews.items())],
    )
    told.gauge(
        "siem_retention_refused",
        "Whether something is old enough and not pruned: `siem health` says why.",
        [("", int(bool(refused)))],
    )
