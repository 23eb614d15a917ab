"""The oracle can fail: each break of a promise is noticed, and named."""

import argparse

import pytest

from tests.chaos.oracle import run
from tests.chaos.sabotage import SABOTAGES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

#: How what the account says of each begins: events that are nowhere, that nobody looks for where they wait,
#: or that were settled without a trace.
LOST = "LOST: neither received nor a dead letter, and it waits nowhere"
STUCK = "NOT SETTLED: in the urgent lane of its backlog, "
UNRECORDED = "without a row in the ledger"
CONSEQUENCES = {
    "settle": STUCK,
    "outcome": UNRECORDED,
    "claim": STUCK,
    "routing": LOST,
    "recorder": UNRECORDED,
}


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_each_break_is_noticed(sabotage: str) -> None:
    """By events that are missing, at some destination at least."""
    given = argparse.Namespace(
        seed=5, seconds=10.0, rate=150, pause=0.8, settle=12.0, sabotage=sabotage, deed=[]
    )
    found = run(given)
    faults = {fault for one in found["integrations"].values() for fault in one["faults"]}

    assert any(fault.startswith(CONSEQUENCES[sabotage]) for fault in faults), faults
