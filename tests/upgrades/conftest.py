"""Without the code of the release before this one, nothing here can be tested: then it is left out."""

from pathlib import Path

import pytest

from tests.upgrades.releases import Release, unpack_previous


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Give the release before this one."""
    return unpack_previous(tmp_path_factory.mktemp("previous"))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give an empty ledger, in each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    given: str = request.getfixturevalue("postgres_url")
    return given
