"""A key that may only publish must not fill Redis with its answers: they are bounded and few."""

import gzip
import hashlib
import time
from typing import Any

import pytest

from tests.api.conftest import OURS, THEIRS, Api, api, bare_fleet
from tests.api.publishing import NDJSON, event, lines, publish, taken
from worker.broker import keys
from worker.broker.idempotency import KEPT, Idempotency, IdempotencyLock, StoredResponse

__all__ = ["api", "bare_fleet"]

#: The smallest share of a tenant that may be set.
SHARE = 1_000_000


def memory(client: Any) -> int:
    """Count the bytes of all that is kept for repeated requests."""
    return sum(client.memory_usage(key) for key in client.scan_iter("siem:idempotency:*"))


def test_thousands_of_refused_lines_are_counted_not_told_and_not_kept(api: Api) -> None:
    """9 999 invalid gzipped lines and a valid one kept 5.6 MB, for a request of 7 kB."""
    client = api.resources.client
    body = gzip.compress(b"\n".join([lines(event(1)), *[b'{"id":"x"}'] * 9_999]))
    before = memory(client)
    headers = NDJSON | {"Content-Encoding": "gzip", "Idempotency-Key": "flood"}
    answers = [publish(api, body, headers) for _ in range(2)]

    for answer in answers:
        reply = answer.json()
        assert answer.status_code == 202
        assert reply["accepted"] == 1
        assert reply["refused"] == 9_999
        assert [one["line"] for one in reply["errors"]] == list(range(2, 102))
    assert len(taken(api)) == 1
    assert memory(client) - before < 64 * 1024


def test_nothing_but_refused_lines_is_no_long_answer_either(api: Api) -> None:
    """The problem counts them, and names the first hundred."""
    answer = publish(api, b"\n".join([b"x"] * 10_000))
    reply = answer.json()

    assert answer.status_code == 422
    assert reply["refused"] == 10_000
    assert len(reply["errors"]) == 100
    assert reply["detail"].startswith("none of 10000 events is valid")
    assert len(answer.content) < 64 * 1024


@pytest.fixture
def idempotency(client: Any) -> Idempotency:
    """Give one that keeps little."""
    return Idempotency(client, SHARE)


def done(idempotency: Idempotency, tenant: str, key: str, size: int = 10_000) -> None:
    """Do a request, the answer to which has so many bytes."""
    leave = idempotency.begin(tenant, "events", key, b"asked")
    assert isinstance(leave, IdempotencyLock)
    leave.keep(StoredResponse(202, {}, b"x" * size))


def test_a_tenants_answers_have_a_share_and_its_neighbours_keep_theirs(
    client: Any, idempotency: Idempotency
) -> None:
    """Beyond it the oldest are forgotten; those of another tenant are not touched."""
    done(idempotency, THEIRS, "theirs")
    for number in range(300):
        done(idempotency, OURS, f"ours-{number}")

    assert memory(client) < 1.2 * SHARE
    assert isinstance(idempotency.begin(THEIRS, "events", "theirs", b"asked"), StoredResponse)
    assert isinstance(idempotency.begin(OURS, "events", "ours-299", b"asked"), StoredResponse)
    assert isinstance(idempotency.begin(OURS, "events", "ours-0", b"asked"), IdempotencyLock)


def test_what_is_indexed_is_what_is_kept(client: Any, idempotency: Idempotency) -> None:
    """Answers, requests under way and those that were given up are all accounted for, byte by byte."""
    done(idempotency, OURS, "done")
    under_way = idempotency.begin(OURS, "events", "under way", b"asked")
    given_up = idempotency.begin(OURS, "events", "forgotten", b"asked")
    assert isinstance(under_way, IdempotencyLock)
    assert isinstance(given_up, IdempotencyLock)
    given_up.forget()
    [index] = [key for key in client.scan_iter("siem:idempotency:of:*") if not key.endswith(b":bytes")]
    members = [member.partition(b":") for member in client.zrange(index, 0, -1)]

    assert int(client.get(index + b":bytes")) == sum(int(size) for size, _, _ in members)
    assert {key for _, _, key in members} == {
        key for key in client.scan_iter("siem:idempotency:*") if b":of:" not in key and b":lock" not in key
    }
    assert 0 < client.ttl(index) <= 2 * KEPT


def test_what_has_expired_leaves_the_index(client: Any, idempotency: Idempotency) -> None:
    """A day later Redis has forgotten the answers by itself, and they take no share any more."""
    index, total = keys.idempotency_index(hashlib.sha256(OURS.encode()).hexdigest()[:32])
    long_ago = time.time() * 1000 - (KEPT + 60) * 1000
    client.zadd(index, {f"{SHARE}:siem:idempotency:gone": long_ago})
    client.set(total, SHARE)
    done(idempotency, OURS, "new")

    assert int(client.get(total)) < 20_000
    assert client.zcard(index) == 1
    assert isinstance(idempotency.begin(OURS, "events", "new", b"asked"), StoredResponse)


def test_what_an_earlier_release_kept_is_found(client: Any, idempotency: Idempotency) -> None:
    """While a fleet is upgraded, a request that comes twice may come to both releases."""
    done(idempotency, OURS, "before")
    for key in list(client.scan_iter("siem:idempotency:of:*")):
        client.delete(key)

    assert isinstance(idempotency.begin(OURS, "events", "before", b"asked"), StoredResponse)
