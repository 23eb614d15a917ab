"""Entries that were handed out, and that nobody holds: a Redis that lost some of its commands has such."""

import pytest
import redis

from worker.broker.streams import Entry, GroupReader

STREAM, GROUP = "stream", "readers"


@pytest.fixture
def reader(client: redis.Redis) -> GroupReader:
    """Give a reader that looks at once for what others left behind; its group is there."""
    made = _reader(client, "reader")
    made.read(1, 1)
    return made


def _reader(client: redis.Redis, name: str) -> GroupReader:
    return GroupReader(client, [STREAM], GROUP, name, claim_idle=0)


def _add(client: redis.Redis, count: int) -> list[bytes]:
    added = client.pipeline(transaction=False)
    for number in range(count):
        added.xadd(STREAM, {"place": number})
    found: list[bytes] = added.execute()
    return found


def _ids(read: dict[str, list[Entry]]) -> list[bytes]:
    return [entry_id for entry_id, _ in read.get(STREAM, [])]


def _finish(client: redis.Redis, ids: list[bytes]) -> None:
    client.xack(STREAM, GROUP, *ids)
    client.xdel(STREAM, *ids)


def test_they_are_read_and_held_again(
    client: redis.Redis, reader: GroupReader, caplog: pytest.LogCaptureFixture
) -> None:
    """In their order, as many as were asked for; what is new comes behind them."""
    stranded = _add(client, 5)
    client.xgroup_setid(STREAM, GROUP, stranded[-1])
    new = _add(client, 1)

    assert _ids(reader.read(3, 1)) == stranded[:3]
    assert client.xpending(STREAM, GROUP)["pending"] == 3
    assert "3 entries of stream were handed out and held by no reader" in caplog.text
    _finish(client, stranded[:3])
    assert _ids(reader.read(10, 1)) == stranded[3:]
    _finish(client, stranded[3:])
    assert _ids(reader.read(10, 1)) == new


def test_however_many_they_are_nothing_new_comes_before_them(client: redis.Redis) -> None:
    """Of a patient reader, too, which looks for them only now and then."""
    patient = GroupReader(client, [STREAM], GROUP, "patient", claim_idle=60)
    patient.read(1, 1)
    stranded = _add(client, 5)
    client.xgroup_setid(STREAM, GROUP, stranded[-1])
    new = _add(client, 1)

    read = []
    for _ in range(4):
        read.append(_ids(patient.read(2, 1)))
        _finish(client, read[-1])

    assert read == [stranded[:2], stranded[2:4], stranded[4:], new]


def test_what_another_holds_stays_with_it(client: redis.Redis, reader: GroupReader) -> None:
    """Only those between that nobody holds change hands."""
    first, *stranded, last = _add(client, 4)
    client.xgroup_setid(STREAM, GROUP, last)
    patient = GroupReader(client, [STREAM], GROUP, "patient", claim_idle=60)
    client.xclaim(STREAM, GROUP, "patient", 0, [first, last], force=True)
    assert _ids(patient.read(10, 1)) == [first, last], "it holds these two"

    # The one in front is held, and is done sooner or later.
    _finish(client, [first])
    assert _ids(reader.read(10, 1)) == stranded
    held = {one["message_id"]: one["consumer"] for one in client.xpending_range(STREAM, GROUP, "-", "+", 10)}
    assert held == {stranded[0]: b"reader", stranded[1]: b"reader", last: b"patient"}


def test_without_a_stream_or_a_group_there_is_nothing(client: redis.Redis) -> None:
    """The first read makes both."""
    assert _ids(_reader(client, "early").read(1, 1)) == []
    client.delete(STREAM)
    assert _ids(_reader(client, "later").read(1, 1)) == []
