"""The keys of the HTTP API, as the ledger keeps them."""

import pytest
from sqlalchemy import Engine, text

from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import reading
from worker.model.api_keys import Role, key_digest
from worker.model.errors import InvalidApiKey, NotFoundError


@pytest.fixture
def keys(engine: Engine) -> ApiKeyStore:
    """Give the keys of a ledger that has none."""
    return ApiKeyStore(engine)


def test_keys_are_found_by_their_ids(keys: ApiKeyStore) -> None:
    """Each with the digest of its whole text; ids of no key are passed over."""
    made = keys.create("acme", Role.READ_ONLY, "dashboard")
    other = keys.create("acme", Role.ADMIN, "other")
    found = keys.find_all([made.key.id, other.key.id, "0" * 16, "", "\0"])

    assert found == {one.key.id: (one.key, key_digest(one.text)) for one in (made, other)}
    assert made.key.role is Role.READ_ONLY


def test_a_revoked_key_stays_in_the_list(keys: ApiKeyStore) -> None:
    """It opens nothing any more; when it was revoked first is what counts."""
    made = keys.create("acme", Role.ADMIN, "leaked")
    first = keys.revoke(made.key.id)
    second = keys.revoke(made.key.id)

    assert keys.find_all([made.key.id])[made.key.id][0] == first
    assert first.revoked_ms is not None
    assert first == second
    assert keys.list("acme") == [first]


def test_keys_are_listed_by_tenant(keys: ApiKeyStore) -> None:
    """Those of one tenant, or all, the oldest first."""
    made = [keys.create(tenant, Role.ADMIN, "key").key for tenant in ("a", "b", "a")]

    assert {key.id for key in keys.list()} == {key.id for key in made}
    assert {key.id for key in keys.list("a")} == {made[0].id, made[2].id}


def test_the_text_of_a_key_is_stored_nowhere(keys: ApiKeyStore, engine: Engine) -> None:
    """What rests is its SHA-256, and nothing of it is shown by accident."""
    made = keys.create("acme", Role.ADMIN, "key")
    with reading(engine) as connection:
        [row] = connection.execute(text("SELECT * FROM api_keys"))

    assert made.text.rpartition("_")[2] not in str(row)
    assert made.text not in repr(made)


@pytest.mark.parametrize(
    ("tenant", "name", "field"), [("", "x", "tenant"), ("a\0", "x", "tenant"), ("a", "x" * 201, "name")]
)
def test_what_is_wrong_is_named(keys: ApiKeyStore, tenant: str, name: str, field: str) -> None:
    """Nothing is made then."""
    with pytest.raises(InvalidApiKey) as refused:
        keys.create(tenant, Role.ADMIN, name)

    assert refused.value.field == field
    assert keys.list() == []


def test_what_is_not_there_cannot_be_revoked(keys: ApiKeyStore) -> None:
    """The error says where the ids are."""
    with pytest.raises(NotFoundError, match="siem api-keys list"):
        keys.revoke("nothing\0")
