"""The user that deploy/redis gives to publishers: a publisher in Python goes on with it after a rest.

What it may not do is in `tests/deploy/test_redis.py`.
"""

import redis

from tests.deploy.redis_servers import password, users
from tests.embedded_servers import RunningServer
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.connection import send_command
from worker.broker.formats import Format
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
