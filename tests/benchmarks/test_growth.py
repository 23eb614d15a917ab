"""Each number of processes is a run in which everything arrives, and shows what each role has used."""

import pytest

from tests.benchmarks.growth import arguments, measure


@pytest.mark.slow
def test_two_of_each_deliver_what_waited_for_six_integrations() -> None:
    """Of two tenants, one has two integrations: its events become two deliveries each."""
    given = arguments(["--events", "200", "--integrations", "6", "--waiting"])

    figures = measure(given, 2)

    assert figures["deliveries"] == 100 * 4 + 100 * 2
    assert set(figures["peak_mb"]) == {"router", "recorder", "worker"}
    assert all(value > 0 for value in figures["peak_mb"].values())
    assert figures["per_second"] > 0
