"""`siem api-keys` where the database serves one step and not the next."""

from pathlib import Path

import pytest

from tests.cli.running import call
from tests.fleet import Fleet
from tests.ledger.migrations.later_steps import CONTRACTS, EXPANDS, as_later_release
from worker.broker.api_keys import KeyCopy
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import writing
from worker.ledger.migrations.runner import upgrade_tables
from worker.model.api_keys import key_id_of
from worker.vault.vault import open_vault

pytestmark = pytest.mark.slow

#: Keys can be stored; whose ledger this is cannot be read any more.
_LOSES_ITS_ID = "CREATE TRIGGER loses AFTER INSERT ON api_keys BEGIN DELETE FROM ledger_identity; END"


@pytest.fixture
def own(tmp_path: Path) -> Fleet:
    """Give the folder of a fleet that a test may spoil."""
    return Fleet(tmp_path / "fleet")


def test_a_key_that_is_stored_is_printed(own: Fleet) -> None:
    """Its text is nowhere else, so nothing that fails behind it may keep it back."""
    with own:
        with writing(own.engine) as connection:
            connection.exec_driver_sql(_LOSES_ITS_ID)
        ran = call(own.environment, "api-keys", "create", "--name", "terraform")
        [stored] = ApiKeyStore(own.engine).list()

    assert ran.code == 0, ran.err
    assert key_id_of(ran.out.strip()) == stored.id


def test_a_key_is_revoked_beside_tables_of_a_later_release(own: Fleet, tmp_path: Path) -> None:
    """The API lets callers in by the copy in Redis then, so there is where the key is revoked."""
    with own:
        key = call(own.environment, "api-keys", "create", "--name", "terraform", "--json").json["id"]
        with as_later_release(tmp_path / "later", EXPANDS, CONTRACTS):
            upgrade_tables(own.engine)
        ran = call(own.environment, "api-keys", "revoke", key)
        found = KeyCopy(own.client, open_vault(own.settings).proofs).find(key)

    assert ran.code == 0, ran.err
    assert f"Revoked terraform ({key}) in Redis" in ran.out
    assert found is not None
    assert found.key is None
