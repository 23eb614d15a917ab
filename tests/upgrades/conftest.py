"""Without the code of the release before this one, nothing here can be tested: then it is left out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger.postgres import PostgresServer, postgres_server
from tests.upgrades.releases import Release, unpack_previous


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Give the release before this one."""
    return unpack_previous(tmp_path_factory.mktemp("previous"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give the one PostgreSQL of the session."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give an empty ledger, in each database in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database(f"upgrade_{abs(hash(tmp_path))}") as url:
        yield url
