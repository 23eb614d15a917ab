"""What is left in Redis is told, and what belongs there is not."""

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, subscribe
from tests.chaos.leftovers import all_keys, leftovers, sweep_chunks
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.shared_chunks import ChunkFindings


@pytest.fixture
def backlog(client: redis.Redis) -> Backlog:
    """Give the backlogs of an empty Redis."""
    return Backlog(client, TIMING)


def test_a_settled_backlog_leaves_nothing(client: redis.Redis, backlog: Backlog) -> None:
    """But what keys.py names; nor does a slot that an earlier release has freed."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    assert leftovers(client) == {
        "siem:backlog:a:urgent": "1 entries, 0 pending",
        "siem:state:a": "counts of nothing: [b'1', b'1', b'10']",
    }
    batch = claim(backlog, "a").batch
    assert leftovers(client).keys() == {
        *("siem:backlog:a:urgent", "siem:leases", "siem:slot:a:1", "siem:state:a"),
    }
    backlog.settle(batch, delivered(batch))
    client.delete(keys.OUTCOMES)
    client.hset("siem:slot:a:1", "shared", 0)

    assert leftovers(client) == {}
    assert all_keys(client)["siem:slot:<id>:<n>"] == 1


def test_each_key_that_should_be_gone_is_told(client: redis.Redis) -> None:
    """Events that nobody refers to, what was moved away, and what nobody has a name for."""
    client.set(keys.chunk("c1"), b"x")
    client.hset(keys.CHUNKS, "c2", 1)
    client.set("siem:displaced:siem:leases", b"x")
    client.set("siem:else", b"x")

    assert leftovers(client) == {
        "siem:chunk:c1": "should be gone",
        "siem:chunks": "should be gone",
        "siem:displaced:siem:leases": "should be gone",
        "siem:else": "no name of keys.py",
    }
    assert all_keys(client)["siem:else"] == 1
    assert sweep_chunks(client) == ChunkFindings(removed=2)
