"""What tests of `siem up` ask for: a data directory, and an embedded server that is ended afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.settings import Settings
from worker.up.data_dir_lock import DataDirLock
from worker.up.embedded import EmbeddedServer


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Give a data directory that does not exist yet, at a path with a space."""
    return tmp_path / "a checkout" / ".siem"


@pytest.fixture
def settings(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Give settings of nothing but the data directory."""
    for name in ("SIEM_REDIS_URL", "SIEM_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Settings(data_dir=data_dir)


@pytest.fixture
def possession(data_dir: Path) -> Iterator[DataDirLock]:
    """Give the possession of the data directory."""
    with DataDirLock(data_dir) as held:
        yield held


@pytest.fixture
def embedded(data_dir: Path, possession: DataDirLock) -> Iterator[EmbeddedServer]:
    """Give an embedded server that the test starts."""
    server = EmbeddedServer(data_dir, possession)
    yield server
    server.stop()
