"""Messages of Celery's queues: an order is read by its few fields and written again, all else is refused."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.poison import ARGUMENTS, BODIES, KIND, broadcasts, message, poisoned_orders, unacknowledged
from worker.broker.order_messages import InvalidMessage, check_broadcast, read_order, read_unacknowledged
from worker.broker.order_queues import LOGGED_AGAIN, REFUSED_MESSAGES, RefusedMessages
from worker.model.orders import MessageFault


def encoded(**headers: Any) -> bytes:
    """Return an order with these headers changed."""
    made = message()
    made["headers"] |= headers
    return json.dumps(made).encode()


def written(raw: bytes) -> dict[str, Any]:
    """Return the order that Celery is given for this message."""
    found: dict[str, Any] = json.loads(read_order(raw, KIND))
    return found


def test_an_order_of_celery_comes_through() -> None:
    """Its task, id, retries, due time and arguments are those that were sent."""
    due = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    found = written(encoded(retries=3, eta=due))

    headers = found["headers"]
    assert (headers["task"], headers["id"]) == ("deliver_splunk_hec", message()["headers"]["id"])
    assert (headers["retries"], headers["eta"]) == (3, due)
    arguments, follows = json.loads(base64.b64decode(found["body"]))[1:]
    assert (arguments, set(follows.values())) == (ARGUMENTS, {None})
    assert found["properties"]["delivery_info"]["routing_key"] == KIND


def test_what_is_written_is_read_again() -> None:
    """A message without acknowledgement was written by us, and comes back as the same order."""
    first = read_order(encoded(), KIND)
    kind, again = read_unacknowledged(json.dumps([json.loads(first), "", "anywhere"]).encode())

    assert (kind, written(again)["body"]) == (KIND, written(first)["body"])


def test_an_order_says_when_it_was_issued_while_that_is_how_long_it_waits() -> None:
    """One that is due later, or comes back from a worker, waits for something else; nonsense is left out."""
    due = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    fresh = read_order(encoded(siem_issued_ms=7), KIND)
    _, again = read_unacknowledged(json.dumps([json.loads(fresh), "", "anywhere"]).encode())
    others = [
        encoded(),
        encoded(siem_issued_ms=7, eta=due),
        encoded(siem_issued_ms=7, redelivered=True),
        *(encoded(siem_issued_ms=value) for value in (-1, 2**60, "7", True, 7.5, [7], None)),
    ]

    assert json.loads(fresh)["headers"]["siem_issued_ms"] == 7
    assert "siem_issued_ms" not in json.loads(again)["headers"]
    assert [one for one in others if "siem_issued_ms" in written(one)["headers"]] == []


def test_two_messages_have_two_delivery_tags() -> None:
    """With one tag for both, acknowledging the first would take away the second."""
    tags = {written(encoded())["properties"]["delivery_tag"] for _ in range(2)}
    assert len(tags) == 2


def test_only_an_order_is_one() -> None:
    """Other arguments, values out of bounds, and tasks that should follow, are refused."""
    refused = {repr(body)[:200]: _refusal(body) for body in BODIES}

    assert {body: words for body, words in refused.items() if words != "refused"} == {}


def _refusal(body: Any) -> str:
    raw = json.dumps({**message(), "body": base64.b64encode(json.dumps(body).encode()).decode()}).encode()
    try:
        read_order(raw, KIND)
    except InvalidMessage as error:
        words, faults = str(error), {MessageFault.NO_ORDER, MessageFault.TOO_LONG}
        return "refused" if error.fault in faults and len(words) < 250 and words.isprintable() else words
    return "accepted"


def test_whatever_comes_is_refused_or_an_order() -> None:
    """What comes through holds nothing but the fields of an order."""
    for raw in poisoned_orders():
        try:
            found = written(raw)
        except InvalidMessage:
            continue
        assert found["headers"]["task"] == "deliver_splunk_hec"
        assert set(found["headers"]) == set(written(encoded())["headers"])


@given(st.binary())
def test_any_bytes_are_refused(raw: bytes) -> None:
    """No decoder's error gets out."""
    with pytest.raises(InvalidMessage):
        read_order(raw, KIND)
    with pytest.raises(InvalidMessage):
        read_unacknowledged(raw)
    with pytest.raises(InvalidMessage):
        check_broadcast(raw, is_command=True)


def test_an_order_of_another_queue_is_refused() -> None:
    """A task is carried out by the workers of its type alone, and no other queue holds orders."""
    for queue in ("webhook", "nobody"):
        with pytest.raises(InvalidMessage):
            read_order(encoded(), queue)


def test_an_order_for_the_far_future_is_refused() -> None:
    """A worker would keep it in memory until then, and fetch one more for each."""
    with pytest.raises(InvalidMessage, match="it is due at 9999-12-31"):
        read_order(encoded(eta="9999-12-31T00:00:00Z"), KIND)


def test_remote_control_as_celery_sends_it_is_in_order() -> None:
    """`celery inspect` and `control` go on to work."""
    made = message(
        {"method": "ping", "arguments": {}, "destination": None, "pattern": "*", "matcher": "glob"}
    )
    made["headers"] = {"clock": 7, "expires": 1795708800.5}
    check_broadcast(json.dumps(made).encode(), is_command=True)


def test_broadcasts_and_stored_messages_that_are_none_raise_nothing_else() -> None:
    """Whatever they hold."""
    for raw in broadcasts():
        try:
            check_broadcast(raw, is_command=True)
        except InvalidMessage as error:
            assert error.fault is MessageFault.BROADCAST  # noqa: PT017 - some of them are in order
    for raw in unacknowledged():
        try:
            kind, _ = read_unacknowledged(raw)
        except InvalidMessage as error:
            assert error.fault is MessageFault.UNACKNOWLEDGED  # noqa: PT017 - some of them are in order
        else:
            assert kind == KIND


def test_refusals_are_counted_each_and_logged_once(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A kind that is new is logged at once; a count that damage made no number begins again."""
    client.hset("siem:counters", "refused:malformed", "nonsense")
    refused = RefusedMessages()
    refused.count_with(lambda: client)
    for _ in range(50):
        refused.note(InvalidMessage(MessageFault.MALFORMED, "x\x1b\n" + "y" * 500), "webhook")
    refused.note(InvalidMessage(MessageFault.TOO_LONG), "webhook")

    counts = REFUSED_MESSAGES.read(client)
    assert counts["malformed"] == 50
    assert counts["too_long"] == 1
    assert counts["no_order"] == 0
    logged = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
    assert len(logged) == 2
    assert all(words.isprintable() and len(words) < 400 for words in logged)
    assert LOGGED_AGAIN > 60


def test_what_redis_does_not_count_is_counted_later(client: redis.Redis) -> None:
    """A message is dropped all the same while Redis refuses to count."""
    refused = RefusedMessages()
    client.set("siem:counters", "no hash")
    refused.count_with(lambda: client)
    refused.note(InvalidMessage(MessageFault.NO_ORDER), "webhook")
    client.delete("siem:counters")
    refused.note(InvalidMessage(MessageFault.NO_ORDER), "webhook")

    assert REFUSED_MESSAGES.read(client)["no_order"] == 2
