"""The copy of the API keys in Redis: what opens by it, for how long, and what never does again."""

import msgspec
import pytest
import redis

from worker.broker import keys
from worker.broker.api_keys import LASTS, KeyCopy
from worker.model.api_keys import ApiKey, Role, key_digest
from worker.vault.vault import Signer

ONE = ApiKey("a" * 16, "ours", "one", Role.ADMIN, 5)
TWO = ApiKey("b" * 16, "theirs", "two", Role.PUBLISH_ONLY, 6)
PROOFS = Signer([b"the fleet's own key"])


def test_what_the_ledger_told_last_is_all_there_is(client: redis.Redis) -> None:
    """Keys come, change and go with it; no reader of Redis finds the text of one."""
    copy = KeyCopy(client, PROOFS)
    copy.replace([(ONE, key_digest("text of one")), (TWO, key_digest("text of two"))])
    found = copy.find(ONE.id)
    copy.replace([(TWO, key_digest("text of two"))])

    assert found is not None
    assert (found.key, found.digest) == (ONE, key_digest("text of one"))
    assert copy.find(ONE.id) is None
    assert "text" not in repr(client.hgetall(keys.API_KEYS))


def test_what_was_revoked_never_opens_again(client: redis.Redis) -> None:
    """Whatever a recorder that had read the ledger just before writes over it."""
    copy = KeyCopy(client, PROOFS)
    copy.replace([(ONE, "0" * 64)])
    copy.revoke(ONE.id)
    copy.replace([(ONE, "0" * 64)])
    found = copy.find(ONE.id)

    assert found is not None
    assert found.key is None
    assert copy.revoked() == {ONE.id}


@pytest.mark.parametrize(
    ("age", "opens"), [(0.0, True), (LASTS - 60, True), (LASTS + 60, False), (None, False)]
)
def test_a_copy_that_was_not_confirmed_for_long_opens_nothing(
    client: redis.Redis,
    age: float | None,
    opens: bool,  # noqa: FBT001 - a column of the table
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the clock of Redis; a copy without a time neither."""
    seconds, _ = client.time()
    then_ms = round((int(seconds) - (age or 0)) * 1000)
    monkeypatch.setattr("worker.broker.api_keys.redis_now_ms", lambda _: then_ms)
    copy = KeyCopy(client, PROOFS)
    copy.replace([(ONE, "0" * 64)])
    if age is None:
        client.delete(keys.API_KEYS_PROVED)

    assert (copy.find(ONE.id) is not None) is opens


def test_a_damaged_document_opens_nothing(client: redis.Redis) -> None:
    """Nor does a damaged time; the next copy replaces both."""
    copy = KeyCopy(client, PROOFS)
    for damage in (b"", b"{}", b"\xff", msgspec.json.encode({"role": "root"})):
        copy.replace([(ONE, "0" * 64)])
        assert copy.find(ONE.id) is not None, damage
        client.hset(keys.API_KEYS, ONE.id, damage)
        assert copy.find(ONE.id) is None, damage
        client.set(keys.API_KEYS_PROVED, damage)
        assert copy.find(ONE.id) is None, damage
        copy.replace([(ONE, "0" * 64)])

        assert copy.find(ONE.id) is not None, damage


def test_a_copy_that_was_overwritten_is_written_again(client: redis.Redis) -> None:
    """A recorder must not be held up by it."""
    copy = KeyCopy(client, PROOFS)
    client.set(keys.API_KEYS, "by hand")
    client.hset(keys.API_KEYS_PROVED, "by", "hand")
    copy.replace([(ONE, "0" * 64)])

    assert copy.find(ONE.id) is not None


def test_a_full_redis_takes_it_all_the_same(client: redis.Redis) -> None:
    """A recorder copies it every few seconds, and must not be held up."""
    copy = KeyCopy(client, PROOFS)
    client.config_set("maxmemory", 1)
    try:
        copy.replace([(ONE, "0" * 64)])
        copy.revoke(TWO.id)
    finally:
        client.config_set("maxmemory", 0)

    assert copy.find(ONE.id) is not None
    assert copy.revoked() == {TWO.id}
