"""The short way of a worker that stays: what it does is what the whole scripts do, for fewer commands."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, ids, subscribe
from worker.broker import connection, shared_chunks
from worker.broker.backlog import Backlog, Claim
from worker.broker.clocks import redis_now_ms
from worker.broker.connection import script_text
from worker.broker.formats import READABLE
from worker.model.errors import LeaseLost
from worker.model.orders import WorkOrder

#: So many commands a claim and a settle may take, with the read in front of the claim and those of scripts.
MOST_COMMANDS = 29
#: What is prepared in front of a settle, or of the claim behind it.
Prepare = Callable[[redis.Redis], Any]

STATE, SLOT = "siem:state:a", "siem:slot:a:1"
PREPARED: dict[str, Prepare] = {
    "nothing": lambda _: None,
    "held": lambda client: client.hset(STATE, "held", "1"),
    "breaker": lambda client: client.hset(STATE, mapping={"breaker": "open", "probe": "1"}),
    "failures": lambda client: client.hset(STATE, "failures", 2),
    "rests": lambda client: client.hset(STATE, "rests_until", redis_now_ms(client) + 60_000),
    "rested": lambda client: client.hset(STATE, "rests_until", redis_now_ms(client) - 60_000),
    "ordered": lambda client: client.hset(STATE, "ordered_at", redis_now_ms(client)),
    "damaged events": lambda client: client.hset(STATE, "backlog_events", "x"),
    "damaged bytes": lambda client: client.hset(STATE, "unclaimed_bytes", "1e999"),
    "no counts": lambda client: client.hdel(STATE, "backlog_events", "claims"),
    "recount": lambda client: client.hset(STATE, "recount", 1),
    "more": lambda client: append(client, "a", [["e8"], ["e9"]]),
    "what may wait": lambda client: append(client, "a", [["e8"]], urgent=False),
    "0.1.0": lambda client: client.hset(SLOT, mapping={"doubtful": 1, "attempts": 1}),
    "another slot": lambda client: client.hset(STATE, mapping={"window": 4, "slots": 4}),
    "no group": lambda client: client.exists("siem:backlog:a:bulk") and client.delete("siem:backlog:a:bulk"),
    "no outcomes": lambda client: client.set("siem:outcomes", "x"),
    "no lane": lambda client: client.set("siem:backlog:a:bulk", "x"),
}


def _text(name: str, *, short: bool) -> str:
    """Return a script that finds nothing slow, however busy the machine is."""
    if name in {"claim_staying", "settle_staying"} and not short:
        return ""
    return re.sub(r"(?<=local )(SOON|STAY_SOON|ON_ITS_WAY)_MS = \d+", r"\1_MS = 600000", script_text(name))


def _made(client: redis.Redis, monkeypatch: pytest.MonkeyPatch, *, short: bool) -> Backlog:
    client.flushdb()
    client.set("siem:formats", " ".join(READABLE))
    subscribe(client, "a", window=1)
    with monkeypatch.context() as patched:
        patched.setattr(connection, "script_text", lambda name: _text(name, short=short))
        return Backlog(client, TIMING)


def _masked(value: bytes | str) -> str:
    """Leave out times, and what came of them."""
    text = value if isinstance(value, str) else value.decode(errors="replace")
    return re.sub(r"\d{13}(-\d+)?", "T", text)


def _standing(client: redis.Redis) -> dict[str, Any]:
    """Return what stands in Redis, less its times."""
    found: dict[str, Any] = {}
    now = redis_now_ms(client)
    for key in sorted(client.keys()):
        kind, name = client.type(key), _masked(key)
        if kind == b"hash" and key != b"siem:chunks":
            fields = client.hgetall(key)
            found[name] = {
                field: _masked(value) for field, value in fields.items() if field != b"last_send_ms"
            }
        elif kind == b"stream":
            groups = {one["name"]: one["pending"] for one in client.xinfo_groups(key)}
            found[name] = client.xlen(key), groups
        elif kind == b"zset":
            # An order's lease, a batch's, or that of a worker that stays.
            scores: Any = client.zrange(key, 0, -1, withscores=True)
            found[name] = [(member, round((score - now) / 300_000)) for member, score in scores]
        elif kind == b"string" and not name.startswith(("siem:chunk:", "siem:integrations:version")):
            found[name] = client.get(key)
    return found


def _passed(client: redis.Redis, backlog: Backlog, first: Prepare, then: Prepare) -> list[Any]:
    """Have a worker settle, stay, claim and settle again; return what came of it at each step."""
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    first(client)
    order = backlog.settle(batch, delivered(batch), stay=True)
    steps: list[Any] = [order and _said(order), _standing(client)]
    if order is None or not order.stays:
        return steps
    append(client, "a", [["e2"]])
    then(client)
    found = backlog.claim_next(order, 0.001)
    steps += [ids(found.batch) if isinstance(found, Claim) else found, _standing(client)]
    if isinstance(found, Claim):
        steps += [found.further, found.batch.request_counts, found.batch.attempts, found.batch.probing]
        again = backlog.settle(found.batch, delivered(found.batch), stay=True)
        steps += [again and _said(again), _standing(client)]
    return steps


def _said(order: WorkOrder) -> list[str]:
    """Return what an order says, less the times in it."""
    return [_masked(str(one)) for one in (order.integration_id, order.slot, order.epoch, order.behind)]


@pytest.mark.parametrize("where", ["settle", "claim"])
@pytest.mark.parametrize("name", PREPARED)
def test_the_short_way_ends_as_the_whole_one(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    """Whatever it meets: it does the same, or leaves it to the other."""
    ways = (
        [PREPARED["nothing"], PREPARED[name]] if where == "claim" else [PREPARED[name], PREPARED["nothing"]]
    )

    short = _passed(client, _made(client, monkeypatch, short=True), *ways)
    whole = _passed(client, _made(client, monkeypatch, short=False), *ways)

    assert short == whole


def test_what_stands_elsewhere_is_claimed_and_settled_as_well(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A settle of what refers to its events takes them off the counts."""
    monkeypatch.setattr(shared_chunks, "LEAST_ALONE", 1)
    nothing = PREPARED["nothing"]

    short = _passed(client, _made(client, monkeypatch, short=True), nothing, nothing)
    whole = _passed(client, _made(client, monkeypatch, short=False), nothing, nothing)

    assert short == whole
    assert short[2] == ["e2"]


def test_an_event_that_trickles_in_costs_few_commands(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole scripts take twenty more."""
    backlog = _made(client, monkeypatch, short=True)
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    order = backlog.settle(batch, delivered(batch), stay=True)
    assert order is not None
    append(client, "a", [["e2"]])
    before = _commands(client)

    found = backlog.claim_next(order, 5.0)
    assert isinstance(found, Claim)
    assert backlog.settle(found.batch, delivered(found.batch), stay=True) is not None

    assert _commands(client) - before <= MOST_COMMANDS + 1  # which counts them


def _commands(client: redis.Redis) -> int:
    return sum(one["calls"] for one in client.info("commandstats").values())


def test_a_claim_that_was_settled_is_not_settled_again(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a settle that was repeated because its reply was lost: the slot is another claim's by then."""
    backlog = _made(client, monkeypatch, short=True)
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    assert backlog.settle(batch, delivered(batch), stay=True) is not None

    with pytest.raises(LeaseLost):
        backlog.settle(batch, delivered(batch), stay=True)
    assert client.xlen("siem:outcomes") == 1


def test_whose_place_was_taken_claims_nothing(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot has another epoch by then."""
    backlog = _made(client, monkeypatch, short=True)
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    order = backlog.settle(batch, delivered(batch), stay=True)
    assert order is not None
    append(client, "a", [["e2"]])
    client.hincrby(SLOT, "epoch", 1)

    assert backlog.claim_next(order, 0.001) == "stale"
