"""The user that deploy/redis gives to publishers: a publisher in Python goes on with it after a rest.

What it may not do is in `tests/deploy/test_redis.py`.
"""

import pytest
import redis
from redis.exceptions import NoPermissionError

from tests.deploy.redis_servers import password, users
from tests.embedded_servers import RunningServer
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.connection import send_command
from worker.broker.formats import READABLE, Format
from worker.publisher import EventPublisher


def test_the_python_publisher_goes_on_after_a_rest(server: RunningServer, client: redis.Redis) -> None:
    """It tests a connection that was idle for half a minute, which the rule must allow."""
    send_command(client, "ACL", "SETUSER", "publisher", "reset", *users()["publisher"])
    url = server.url.replace("redis://", f"redis://publisher:{password('publisher')}@")
    with EventPublisher(url) as publisher:
        publisher.publish(denial("e1"))
        [connection] = publisher._client.connection_pool._available_connections  # noqa: SLF001 - as if it had been idle
        connection.next_health_check = 0
        publisher.publish(denial("e2"))

    assert client.xlen(keys.EVENTS) == 2


def test_the_python_publisher_may_know_that_the_fleet_reads_frames(
    server: RunningServer, client: redis.Redis
) -> None:
    """With the right of an earlier users.acl, it publishes each event in an entry of its own."""
    client.set(keys.FORMATS, Format.FRAMES.value)
    rules = users()["publisher"]
    earlier = [rule for rule in rules if rule not in {"+get", "~siem:formats"}]
    assert len(earlier) == len(rules) - 2
    entries = []
    for allowed in (earlier, rules):
        send_command(client, "ACL", "SETUSER", "publisher", "reset", *allowed)
        url = server.url.replace("redis://", f"redis://publisher:{password('publisher')}@")
        with EventPublisher(url) as publisher:
            receipts = list(publisher.publish_many([denial("e1"), denial("e2")]))
        assert [one.error for one in receipts] == [None, None]
        entries.append(client.xlen(keys.EVENTS))

    assert entries == [2, 3]


def test_without_the_right_to_write_chunks_a_frame_holds_its_events(
    server: RunningServer, client: redis.Redis
) -> None:
    """The rule of an earlier users.acl; with today's, they stand apart, and nothing else can be written."""
    client.set(keys.FORMATS, " ".join(READABLE))
    rules, apart = users()["publisher"], {"~siem:chunk:p*", "+multi", "+setnx", "+exec", "+discard"}
    earlier = [rule for rule in rules if rule not in apart]
    assert len(earlier) == len(rules) - len(apart)
    chunks = []
    for allowed in (earlier, rules):
        send_command(client, "ACL", "SETUSER", "publisher", "reset", *allowed)
        url = server.url.replace("redis://", f"redis://publisher:{password('publisher')}@")
        with EventPublisher(url) as publisher:
            events = [denial(f"e{number}") | {"padding": "x" * 10_000} for number in range(10)]
            assert [one.error for one in publisher.publish_many(events)] == [None] * 10
        chunks.append(len([*client.scan_iter("siem:chunk:*")]))
        with redis.Redis.from_url(url) as guest, pytest.raises(NoPermissionError):
            guest.setnx("siem:chunk:0123456789abcdef", b"x")

    assert chunks == [0, 1]
    assert client.xlen(keys.EVENTS) == 2
