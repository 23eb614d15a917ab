"""`siem api-keys` where the database serves one step and not the next."""

from pathlib import Path

import pytest

from tests.cli.running import call
from tests.fleet import Fleet
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import writing
from worker.model.api_keys import id_in

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
    assert id_in(ran.out.strip()) == stored.id
