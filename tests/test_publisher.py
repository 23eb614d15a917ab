"""Publishing from Python: a receipt for each event, and none that Redis does not stand for."""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import redis

from tests.embedded_servers import VALKEY, RunningServer, start_server
from worker.model.errors import BrokerFull, BrokerUnavailable, InvalidEvent
from worker.publisher import PIPELINE, EventPublisher, Receipt

VALID: dict[str, Any] = {"type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z"}


def event(event_id: str, **fields: Any) -> dict[str, Any]:
    """Make an event."""
    return {"id": event_id} | VALID | fields


@pytest.fixture
def publisher(server: RunningServer) -> Iterator[EventPublisher]:
    """Give a publisher to the shared server."""
    with EventPublisher(server.url) as made:
        yield made


def stood(client: redis.Redis) -> dict[str, bytes]:
    """Return the bytes in the stream by entry id, in order."""
    entries: Any = client.xrange("siem:events")
    return {entry_id.decode(): fields[b"event"] for entry_id, fields in entries}


def entry_ids(receipts: list[Receipt]) -> list[str]:
    """Return the entries of receipts that all have one."""
    assert [receipt.error for receipt in receipts] == [None] * len(receipts)
    return [receipt.entry_id or "" for receipt in receipts]


def test_one_event(client: redis.Redis, publisher: EventPublisher) -> None:
    """What is returned is the id of the entry under which the event stands in the stream."""
    entry_id = publisher.publish(event("e1", note="é"))

    assert list(stood(client)) == [entry_id]
    assert json.loads(stood(client)[entry_id]) == event("e1", note="é")


def test_what_not_every_router_takes_is_published_repaired(
    client: redis.Redis, publisher: EventPublisher
) -> None:
    """One of the release before refuses half a character, and a number that no double holds."""
    entry_id = publisher.publish(json.dumps(event("e1", note="\ud83d")).encode())

    assert json.loads(stood(client)[entry_id]) == event(
        "e1", note="\ufffd", siem_repaired=["unpaired_surrogate"]
    )


def test_bytes_are_published_as_they_are(client: redis.Redis, publisher: EventPublisher) -> None:
    """JSON that is already written is judged, and not written again."""
    raw = json.dumps(event("e1"), indent=1).encode()

    entry_id = publisher.publish(raw)

    assert stood(client) == {entry_id: raw}


@pytest.mark.parametrize("count", [0, 1, PIPELINE, PIPELINE + 1, 2 * PIPELINE + 7])
def test_receipts_come_in_order(client: redis.Redis, publisher: EventPublisher, count: int) -> None:
    """Out of a generator of any length, the n-th receipt is that of the n-th event."""
    receipts = list(publisher.publish_many(event(f"e{number}") for number in range(count)))

    found = stood(client)
    assert entry_ids(receipts) == list(found)
    assert [json.loads(raw)["id"] for raw in found.values()] == [f"e{number}" for number in range(count)]


def test_receipts_come_while_events_are_still_being_made(publisher: EventPublisher) -> None:
    """A stream without an end is published window by window."""

    def endless() -> Iterator[Mapping[str, Any]]:
        number = 0
        while True:
            yield event(f"e{number}")
            number += 1

    receipts = publisher.publish_many(endless())

    assert entry_ids([next(receipts) for _ in range(PIPELINE + 1)])


def test_an_invalid_event_is_refused_alone(client: redis.Redis, publisher: EventPublisher) -> None:
    """Its receipt has the error that names the field; those around it are published."""
    wrong: list[Mapping[str, Any] | bytes] = [event("e1", type="policy.maybe"), b"no json", {"x": object()}]
    events = [event("e0"), wrong[0], event("e2"), *wrong[1:], event("e5")]
    receipts = list(publisher.publish_many(events))

    assert [json.loads(raw)["id"] for raw in stood(client).values()] == ["e0", "e2", "e5"]
    assert [receipt.entry_id is None for receipt in receipts] == [False, True, False, True, True, False]
    errors = [receipt.error for receipt in receipts if isinstance(receipt.error, InvalidEvent)]
    assert [error.field for error in errors] == ["type", "event", "event"]


@pytest.mark.parametrize(
    "value", [object(), "\ud800", {(1, 2): 3}, 1j], ids=["object", "surrogate", "key", "complex"]
)
def test_what_json_cannot_carry_is_refused(publisher: EventPublisher, value: Any) -> None:
    """The sentence says that the values are not plain, instead of a stack trace of some encoder."""
    with pytest.raises(InvalidEvent, match="cannot be written as JSON"):
        publisher.publish(event("e1", x=value))


def test_an_event_that_contains_itself_is_refused(publisher: EventPublisher) -> None:
    """No recursion without an end."""
    endless: dict[str, Any] = {}
    endless["x"] = endless

    with pytest.raises(InvalidEvent, match="cannot be written as JSON"):
        publisher.publish(event("e1", context=endless))


def test_any_mapping_is_an_event(client: redis.Redis, publisher: EventPublisher) -> None:
    """It need not be a dict."""
    entry_id = publisher.publish(MappingProxyType(event("e1")))

    assert list(stood(client)) == [entry_id]


def test_one_invalid_event_raises(publisher: EventPublisher) -> None:
    """Who publishes one event gets the error itself."""
    with pytest.raises(InvalidEvent, match="id: is missing"):
        publisher.publish(VALID)


def test_a_full_redis_says_so(client: redis.Redis, publisher: EventPublisher) -> None:
    """Nothing is taken that cannot be kept; with room again, publishing goes on."""
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerFull, match="the event was not accepted: Redis is full"):
            publisher.publish(event("e1"))
        receipts = list(publisher.publish_many([event("e2"), b"no json"]))
    finally:
        client.config_set("maxmemory", "0")

    assert [type(receipt.error) for receipt in receipts] == [BrokerFull, InvalidEvent]
    entry_id = publisher.publish(event("e3"))
    assert list(stood(client)) == [entry_id]


def test_a_redis_that_returns_in_time_has_not_been_away(tmp_path: Path) -> None:
    """While Redis restarts, the publisher waits; every event stands in the stream once it returns."""
    with start_server(VALKEY, tmp_path) as server, EventPublisher(server.url, patience=30) as publisher:
        publisher.publish(event("before"))
        server.stop()
        restarting = threading.Thread(target=server.restart)
        restarting.start()
        receipts = list(publisher.publish_many(event(f"e{number}") for number in range(PIPELINE + 1)))
        restarting.join()

        with server.client() as client:
            found = stood(client)
        assert set(entry_ids(receipts)) <= found.keys()
        assert {json.loads(raw)["id"] for raw in found.values()} == {
            "before",
            *(f"e{number}" for number in range(PIPELINE + 1)),
        }


def test_patience_ends(tmp_path: Path) -> None:
    """A Redis that stays away is an error for each event, and an invalid event is still named as such."""
    with start_server(VALKEY, tmp_path) as server, EventPublisher(server.url, patience=0.1) as publisher:
        server.stop()
        receipts = list(publisher.publish_many([event("e0"), b"no json", event("e2")]))

        assert [type(one.error) for one in receipts] == [BrokerUnavailable, InvalidEvent, BrokerUnavailable]
        with pytest.raises(BrokerUnavailable, match="Redis does not answer"):
            publisher.publish(event("e3"))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused(publisher: EventPublisher, number: float) -> None:
    """A score that is not a number is not turned into null behind anyone's back."""
    with pytest.raises(InvalidEvent, match=r"drift_score: is (nan|inf)"):
        publisher.publish(event("e1", drift_score=number))
