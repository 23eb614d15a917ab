"""The rules that deploy/README.md gives to publishers: enough to publish, and for nothing else."""

import re
from pathlib import Path

import pytest
import redis

from tests.embedded_servers import RunningServer
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.connection import send_command
from worker.publisher import EventPublisher

README = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
RULES = {found[1]: found[0] for found in re.finditer(r"ACL SETUSER (\S+) .*", README)}
PASSWORD = "secret"

#: What an ACL must not let through: other commands on the ingress, other keys, and whatever needs no key.
FORBIDDEN = [
    ("XLEN", keys.EVENTS),
    ("XRANGE", keys.EVENTS, "-", "+"),
    ("XDEL", keys.EVENTS, "1-1"),
    ("XTRIM", keys.EVENTS, "MAXLEN", "0"),
    ("XSETID", keys.EVENTS, "1-1"),
    ("DEL", keys.EVENTS),
    ("XADD", keys.OUTCOMES, "*", "outcomes", "x"),
    ("XADD", keys.DEAD_LETTERS, "*", "dead", "x"),
    ("XADD", keys.PARKED, "*", "parked", "x"),
    ("XADD", keys.urgent("int_a"), "*", "events", "x"),
    ("XADD", keys.EVENTS_ASIDE + ":1", "*", "event", "x"),
    ("HSET", keys.INTEGRATIONS, "int_a", "{}"),
    ("PUBLISH", keys.HEALTH, "x"),
    ("EVAL", "return 1", "0"),
    ("MULTI",),
    ("CONFIG", "GET", "*"),
    ("KEYS", "*"),
]


@pytest.fixture
def url(server: RunningServer, client: redis.Redis, rule: str) -> str:
    """Give the address for a user of this rule."""
    send_command(client, *RULES[rule].replace(">PASSWORD", f">{PASSWORD}").split())
    return server.url.replace("redis://", f"redis://{rule}:{PASSWORD}@")


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_allows_to_publish_and_nothing_else(client: redis.Redis, url: str) -> None:
    """By plain XADD; no other stream of the fleet can be reached."""
    with redis.Redis.from_url(url) as publisher:
        publisher.xadd(keys.EVENTS, {"event": "{}"})
        for command in FORBIDDEN:
            with pytest.raises(redis.exceptions.NoPermissionError):
                send_command(publisher, *command)

    assert client.keys() == [keys.EVENTS.encode()]
    assert client.xlen(keys.EVENTS) == 1


@pytest.mark.parametrize("rule", ["python-publisher"])
def test_the_python_publisher_goes_on_after_a_rest(client: redis.Redis, url: str) -> None:
    """It tests a connection that was idle for half a minute, which the rule must allow."""
    with EventPublisher(url) as publisher:
        publisher.publish(denial("e1"))
        [connection] = publisher._client.connection_pool._available_connections  # noqa: SLF001 - as if it had been idle
        connection.next_health_check = 0
        publisher.publish(denial("e2"))

    assert client.xlen(keys.EVENTS) == 2


def test_readme_gives_a_rule_for_each_way_to_publish() -> None:
    """One for any language, one for Python."""
    assert set(RULES) == {"publisher", "python-publisher"}
