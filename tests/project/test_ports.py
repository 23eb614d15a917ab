"""Tests that run side by side have ports of their own, however many processes there are."""

import pytest

from tests.ports import own_ports


@pytest.mark.parametrize("processes", [1, 4, 6, 16])
def test_no_two_processes_of_a_run_share_a_port(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one would be asked by what another test left behind."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(processes))
    given: list[int] = []
    for number in range(processes):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        given += own_ports()

    assert len(given) == len(set(given))
    assert len(given) > 5_000
    assert max(given) < 32_768
