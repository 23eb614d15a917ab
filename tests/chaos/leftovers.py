"""What is left in Redis once every event has ended: nothing but what `worker.broker.keys` says stays.

A key that its table does not name, an entry or a message that nobody takes, a slot that is not free, a count
that is not zero, events that several integrations shared and none refers to any more: each is a leftover.
"""

import re
from functools import cache
from typing import Any

import redis

from worker.broker import keys
from worker.broker.shared_chunks import ChunkFindings, ChunkSweep

#: A name of the table, with `<…>` where it has some of a process, an integration, …
_NAMED = re.compile(r"^\| `(siem:[^`]+)`", re.MULTILINE)
_PLACE = re.compile(r"<[^>]*>")
#: What is gone when all is settled, although the table names it.
_TRANSIENT = re.compile(
    rb"siem:(chunk:.*|chunks|displaced.*|events:aside.*|integrations:conflicts|leases|recorder:stall|replays"
    rb"|tenants:full)"
)
_COUNTS = (b"backlog_events", b"unclaimed_events", b"unclaimed_bytes")


def leftovers(client: redis.Redis) -> dict[str, str]:
    """Return what should not be there, and why, by its key."""
    found = {}
    for name in sorted(client.scan_iter(count=1000)):
        if why := _fault(client, name):
            found[name.decode(errors="replace")] = why
    return found


def all_keys(client: redis.Redis) -> dict[str, int]:
    """Return how many keys there are of each name of the table; others by themselves."""
    found: dict[str, int] = {}
    for key in client.scan_iter(count=1000):
        name = key.decode(errors="replace")
        kind = next((one for one, pattern in _patterns().items() if pattern.fullmatch(name)), name)
        found[kind] = found.get(kind, 0) + 1
    return dict(sorted(found.items()))


def sweep_chunks(client: redis.Redis) -> ChunkFindings:
    """Look for wrong counts of shared chunks as the sweeper does; return what two looks set right."""
    sweep = ChunkSweep(client, look_every=0, look_again=0)
    total = ChunkFindings()
    for _ in range(2):
        found = sweep.step()
        while sweep.is_looking():
            found = sweep.step()
        total.recounted += found.recounted
        total.removed += found.removed
        total.missing += found.missing
    return total


@cache
def _patterns() -> dict[str, "re.Pattern[str]"]:
    """Return what matches the keys of each name. A place at the end may hold colons: a process, a key."""
    found = {}
    for name in _NAMED.findall(keys.__doc__ or ""):
        parts = [re.escape(part).replace(r"\*", ".*") for part in _PLACE.split(name)]
        if parts[-1]:
            found[name] = re.compile("[^:]+".join(parts))
        else:
            found[name] = re.compile("[^:]+".join(parts[:-1]) + ".+")
    return found


def _fault(client: redis.Redis, key: bytes) -> str | None:
    name = key.decode(errors="replace")
    if not any(pattern.fullmatch(name) for pattern in _patterns().values()):
        return "no name of keys.py"
    if _TRANSIENT.fullmatch(key):
        return "should be gone"
    kind: Any = client.type(key)
    if kind == b"stream" and key != keys.AUDIT.encode():
        return _waiting_in(client, key)
    if name.startswith(keys.SLOT_PREFIX):
        # What an earlier release frees, it does not rid of fields that it does not know.
        slot: Any = client.hgetall(key)
        return f"a slot that is not free: {slot}" if b"state" in slot else None
    if name.startswith(keys.STATE_PREFIX):
        counts: Any = client.hmget(key, _COUNTS)
        return f"counts of nothing: {counts}" if any(int(count or 0) for count in counts) else None
    return None


def _waiting_in(client: redis.Redis, key: bytes) -> str | None:
    groups: Any = client.xinfo_groups(key)
    pending = sum(group["pending"] for group in groups)
    entries = client.xlen(key)
    return f"{entries} entries, {pending} pending" if entries or pending else None
