"""What `siem up` decides for the processes that it starts, and what it tells of that."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

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


def test_a_secret_in_a_file_is_not_copied_into_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who mounts it as a file wants it there alone; only what replaces it is passed on itself."""
    for name in ("redis", "database"):
        (tmp_path / name).write_text(f"{name}://user:hunter2@{name}/0\n")
        monkeypatch.delenv(f"SIEM_{name.upper()}_URL", raising=False)
        monkeypatch.setenv(f"SIEM_{name.upper()}_URL_FILE", name)
    monkeypatch.chdir(tmp_path)
    read = Settings().model_copy(update={"database_url": SecretStr("")})

    environment = process_environment(read)

    assert "SIEM_REDIS_URL" not in environment
    assert environment["SIEM_REDIS_URL_FILE"] == str(tmp_path / "redis")
    assert environment["SIEM_DATABASE_URL"] == ""
    assert "SIEM_DATABASE_URL_FILE" not in environment


def test_what_one_process_alone_can_have_is_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes of one machine cannot answer at one port, nor each be the main one of a unit."""
    monkeypatch.setenv("SIEM_PROBE_PORT", "8081")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    given = process_environment(located(Settings(data_dir=tmp_path), "redis://127.0.0.1:6379/0"))

    assert {"SIEM_PROBE_PORT", "NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(given) == set()
