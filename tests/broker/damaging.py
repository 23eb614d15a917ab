"""Ways to damage what stands in Redis, as a bad disk does: Redis loads it without a complaint.

An entry of a stream cannot be changed in place, so each comes back under its own id: the stream is written
again, from its first entry to its last, with the group and what it holds as they were.
"""

from collections.abc import Callable
from typing import Any

import redis

from worker.broker import keys

Fields = dict[bytes, bytes]
Damage = Callable[[Fields], Fields]


def damage_entries(
    client: redis.Redis, stream: str, damage: Damage, *, places: set[int] | None = None
) -> None:
    """Change the fields of unclaimed entries of a stream, or of those at some places."""
    entries: Any = client.xrange(stream)
    groups: Any = client.xinfo_groups(stream) if entries else []
    client.delete(stream)
    for place, (entry_id, fields) in enumerate(entries):
        given: Any = damage(dict(fields)) if places is None or place in places else fields
        client.xadd(stream, given, id=entry_id)
    for group in groups:
        client.xgroup_create(stream, group["name"], id=group["last-delivered-id"])


def flip(at: int) -> Damage:
    """Turn one bit of the packed events, so many bytes from the beginning, or from the end if negative."""

    def damage(fields: Fields) -> Fields:
        packed = bytearray(fields[b"events"])
        packed[at] ^= 0x04
        return {**fields, b"events": bytes(packed)}

    return damage


def garble(fields: Fields) -> Fields:
    """Leave nothing of the events that decodes."""
    return {**fields, b"events": b"\xc1" * len(fields[b"events"])}


def of_an_earlier_release(fields: Fields) -> Fields:
    """Leave out the checksum, as the release before this one did."""
    return {name: value for name, value in fields.items() if name != b"crc"}


def of_the_size(field: str, value: bytes) -> Damage:
    """Say something else of how many events, or bytes, a chunk holds."""
    return lambda fields: {**fields, field.encode(): value}


def damage_backlog(
    client: redis.Redis, integration_id: str, damage: Damage, *, places: set[int] | None = None
) -> None:
    """Damage chunks of an integration's urgent backlog."""
    damage_entries(client, keys.urgent(integration_id), damage, places=places)
