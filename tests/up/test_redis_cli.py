"""The line of README.md that publishes with `redis-cli` works as it is printed."""

import subprocess
from typing import Any

import redis

from tests.embedded_servers import REDIS
from worker.up.embedded import EmbeddedServer


def test_redis_cli_publishes_with_the_url_that_up_leaves(embedded: EmbeddedServer) -> None:
    """The URL in `redis.url` is one that redis-cli takes."""
    assert REDIS is not None
    embedded.start()
    program = [str(REDIS.with_name("redis-cli")), "--no-auth-warning", "-u", embedded.url]
    xadd = ["XADD", "siem:events", "*", "event", '{"id":"evt_1"}']
    done = subprocess.run([*program, *xadd], capture_output=True, timeout=30, check=True)

    with redis.Redis.from_url(embedded.url) as client:
        stands: Any = client.xrange("siem:events")
        assert stands == [(done.stdout.strip(), {b"event": b'{"id":"evt_1"}'})]
