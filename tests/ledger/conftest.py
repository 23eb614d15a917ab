"""Ledgers for the tests, in both databases that we support: each starts without tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.ledger.tables import lay_tables
from worker.ledger.engine import open_ledger


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of a file that is not there yet."""
    return f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite3'}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Give the URL of an empty ledger, in each database in turn."""
    given: str = request.getfixturevalue(f"{request.param}_url")
    return given


@pytest.fixture
def empty(url: str) -> Iterator[Engine]:
    """Give an engine on a ledger without tables."""
    engine = open_ledger(url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(empty: Engine) -> Engine:
    """Give an engine on a ledger with the tables of this release."""
    lay_tables(empty)
    return empty
