"""What `siem up` decides for the processes that it starts, and what it tells of that."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.settings import API_URL_FILE, Settings
from worker.up.environment import explain, located, process_environment

URL = "redis://127.0.0.1:6379/0"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Give a port that someone listens at; no one has wished for one."""
    monkeypatch.delenv("SIEM_API_PORT", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_port_in_use_is_avoided(tmp_path: Path, taken: int) -> None:
    """Who has something at the usual port starts all the same, and reads where the API is."""

    class Occupied(Settings):
        api_port: int = taken

    found = located(Occupied(data_dir=tmp_path), URL)

    assert process_environment(found)["SIEM_API_PORT"] == "0"
    (tmp_path / API_URL_FILE).write_text("http://127.0.0.1:4711\n")
    reported = explain(found, embedded=False)
    assert "API:      http://127.0.0.1:4711/api/v1" in reported
    assert [line for line in reported if line.startswith("Pages:    http://127.0.0.1:4711, ")]


def test_a_port_that_was_wished_for_stays(tmp_path: Path, taken: int) -> None:
    """Others know that port: what is in the way is to be known."""
    assert located(Settings(data_dir=tmp_path, api_port=taken), URL).api_port == taken
