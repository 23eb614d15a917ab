"""What Redis really holds of backlogs, read from streams and hashes; and a clock that can be turned on.

Comes in: a client, and what the mirror says. Goes out: an AssertionError that names the difference.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.broker.backlog_mirror import Mirror
from tests.broker.shared import counts_of, references_of, resolved
from worker.broker import keys
from worker.broker.packing import unpack_chunk, unpack_dead, unpack_outcomes
from worker.model.batches import SETTLED
from worker.model.deliveries import Status
from worker.model.events import QueuedEvent

if TYPE_CHECKING:
    import redis

#: Turns every moment that Redis remembers back by ARGV[1] ms, as if so much time had passed.
_TURN_ON = """
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('ZINCRBY', KEYS[1], 0 - ARGV[1], name)
end
for place = 2, #KEYS do
  for _, field in ipairs({'ordered_at', 'claimed_at', 'rests_until', 'probe_at', 'due', 'since'}) do
    if redis.call('HEXISTS', KEYS[place], field) == 1 then
      redis.call('HINCRBY', KEYS[place], field, 0 - ARGV[1])
    end
  end
end
"""
#: Reads the hash, both lanes, who holds their entries, and the slots of one integration, all at one moment.
_LOOK = """
local found = {redis.call('HGETALL', KEYS[1])}
for place = 2, 3 do
  local pending = redis.pcall('XPENDING', KEYS[place], ARGV[1], '-', '+', 10000)
  found[#found + 1] = {redis.call('XRANGE', KEYS[place], '-', '+'), pending.err and {} or pending}
end
for place = 4, #KEYS do
  found[#found + 1] = redis.call('HGETALL', KEYS[place])
end
return found
"""


def now_ms(client: "redis.Redis") -> int:
    """Return the time by the clock of Redis."""
    found: Any = client.time()
    return int(found[0]) * 1000 + int(found[1]) // 1000


def turn_on(client: "redis.Redis", mirrors: list[Mirror], ms: int) -> None:
    """Let so much time pass for everything that Redis remembers of these integrations."""
    hashes = [name for mirror in mirrors for name in (keys.state_key(mirror.id), *_slots(mirror))]
    client.eval(_TURN_ON, 1 + len(hashes), keys.LEASES, *hashes, str(ms))


class Truth:
    """Compares Redis with the mirrors; remembers what has come to an end."""

    def __init__(self, client: "redis.Redis") -> None:
        """Begin with an empty Redis."""
        self._client = client
        self._last = dict.fromkeys((keys.OUTCOMES, keys.DEAD_LETTERS), b"0")
        self._ended: Counter[tuple[str, str]] = Counter()
        self._letters: Counter[str] = Counter()
        #: What nobody has sent again, and whose it is.
        self.dead_letters: list[tuple[str | None, QueuedEvent]] = []

    def check(self, mirrors: list[Mirror], appended: list[str], in_ledger: list[str]) -> None:
        """See that each event is in one place: a lane, a slot, on its way to the ledger or in it, or ended.

        And that the counts, the breakers, the slots and their leases are what they must be.
        """
        self.read_the_ended()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zrange(keys.LEASES, 0, -1)
        pipeline.xrange(keys.PARKED)
        for mirror in mirrors:
            names = [keys.state_key(mirror.id), keys.urgent(mirror.id), keys.bulk(mirror.id), *_slots(mirror)]
            pipeline.eval(_LOOK, len(names), *names, keys.DELIVERY_GROUP)
        leases, parked, *looks = pipeline.execute()
        lanes = [lane for mirror in mirrors for lane in (keys.urgent(mirror.id), keys.bulk(mirror.id))]
        assert counts_of(self._client) == references_of(self._client, lanes)
        _check_leases(mirrors, leases)
        places = Counter(in_ledger)
        places.update(event.id for _, fields in parked for event in unpack_chunk(fields[b"events"]))
        places.update(name for name, _ in self._ended.elements())
        for mirror, (state, urgent, bulk, *slots) in zip(mirrors, looks, strict=True):
            for look, is_urgent in ((urgent, True), (bulk, False)):
                entries = [(entry, resolved(self._client, _hash(fields))) for entry, fields in look[0]]
                places.update(_check_lane(mirror, (entries, look[1]), is_urgent=is_urgent))
            places.update(name for slot in mirror.slots.values() for name in slot.open_names())
            _check_counts(mirror, _hash(state))
            _check_slots(mirror, [_hash(slot) for slot in slots])
        assert places == Counter(appended)
        dead = {name: count for (name, status), count in self._ended.items() if status == Status.DEAD}
        assert self._letters == dead

    def read_the_ended(self) -> None:
        """Remember what came to an end since the last look, before a recorder takes it away."""
        pipeline = self._client.pipeline(transaction=False)
        for stream, last in self._last.items():
            pipeline.xrange(stream, min=b"(" + last)
        outcomes, letters = pipeline.execute()
        for entry, fields in outcomes:
            self._last[keys.OUTCOMES] = entry
            for outcome in unpack_outcomes(fields[b"outcomes"]):
                if outcome.status != Status.RETRYING:
                    self._ended.update((trace.id, outcome.status) for trace in outcome.events)
        for entry, fields in letters:
            self._last[keys.DEAD_LETTERS] = entry
            dead = unpack_dead(fields[b"dead"])
            assert all(0 <= count < SETTLED for count in dead.attempts)
            assert all(event.raw.startswith(event.id.encode()) for event in dead.events)
            self._letters.update(event.id for event in dead.events)
            self.dead_letters += [(dead.integration_id, event) for event in dead.events]


def _slots(mirror: Mirror) -> list[str]:
    return [f"{keys.slot_prefix(mirror.id)}{number}" for number in mirror.slots]


def _hash(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _check_leases(mirrors: list[Mirror], found: list[bytes]) -> None:
    """See that the sweeper will look after every slot that is not free, and after no other."""
    taken = {
        f"{mirror.id}/{number}"
        for mirror in mirrors
        for number, slot in mirror.slots.items()
        if slot.state != "free"
    }
    assert {name.decode() for name in found} == taken


def _check_lane(mirror: Mirror, look: Any, *, is_urgent: bool) -> list[str]:
    """See that each chunk is held by the right slot, in its order; name the events that none holds."""
    entries, pending = look
    owners = {entry: int(consumer) for entry, consumer, *_ in pending}
    held: dict[int, list[str]] = {number: [] for number in (0, *mirror.slots)}
    for entry, fields in entries:
        names = [event.id for event in unpack_chunk(fields[b"events"])]
        held[owners.pop(entry, 0)].extend(names)
    assert not owners, "what is gone is still pending"
    lanes = {0: mirror.lane(urgent=is_urgent)}
    lanes |= {number: slot.urgent if is_urgent else slot.bulk for number, slot in mirror.slots.items()}
    assert held == {owner: [name for chunk in lane for name in chunk.names] for owner, lane in lanes.items()}
    return held[0]


def _check_counts(mirror: Mirror, state: dict[bytes, bytes]) -> None:
    """See that the numbers of the hash are what the streams say, and that the breaker is as it must be."""
    unclaimed = sum(len(chunk.names) for chunk in mirror.waiting())
    claimed = sum(len(slot.open_names()) for slot in mirror.slots.values())
    assert int(state.get(b"unclaimed_events", 0)) == unclaimed
    assert int(state.get(b"unclaimed_bytes", 0)) == sum(chunk.size for chunk in mirror.waiting())
    assert int(state.get(b"backlog_events", 0)) == unclaimed + claimed
    assert (state.get(b"held") == b"1", b"breaker" in state) == (mirror.held, mirror.breaker_open)
    assert int(state.get(b"failures", 0)) == mirror.failures
    assert int(state.get(b"probe", 0)) == (mirror.probe or 0)


def _check_slots(mirror: Mirror, found: list[dict[bytes, bytes]]) -> None:
    """See that each slot is in the state that it must be, and that nothing is left of what was freed."""
    for slot, hashed in zip(mirror.slots.values(), found, strict=True):
        assert hashed.get(b"state", b"free").decode() == slot.state
        assert int(hashed.get(b"epoch", 0)) == slot.epoch
        assert slot.state != "free" or set(hashed) <= {b"epoch"}
