"""The user that deploy/redis gives to publishers: a publisher in Python goes on with it after a rest.

What it may not do is in `tests/deploy/test_redis.py`.
"""

import redis

from tests.deploy.redis_servers import password, users
from tests.embedded_servers import RunningServer
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.connection import send_command
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
