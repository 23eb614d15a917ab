"""The oracle can fail: each break of a promise is noticed, and named."""

from typing import Any

import pytest

from tests.chaos.oracle import arguments, run
from tests.chaos.sabotage import SABOTAGES, SHARED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

#: How what the account says of each begins: events that are nowhere, that nobody looks for where they wait,
#: that were settled without a trace, or that cannot be read although nothing was damaged.
LOST = "LOST: neither received nor a dead letter, and it waits nowhere"
STUCK = "NOT SETTLED: in the urgent lane of its backlog, "
UNRECORDED = "without a row in the ledger"
UNREADABLE = "dead for a reason that is not true of it: unreadable"
CONSEQUENCES = {
    "settle": STUCK,
    "outcome": UNRECORDED,
    "claim": STUCK,
    "routing": LOST,
    "recorder": UNRECORDED,
    "count_lost": UNREADABLE,
    "payload_deleted": UNREADABLE,
}
#: A gap is short: on a busy machine, all the kills of a run can miss it.
SEEDS = range(5, 9)
#: Those that keep what they should delete: a sweep finds it.
LEFT = ("count_doubled", "payload_left")


@pytest.mark.parametrize("sabotage", [one for one in SABOTAGES if one not in SHARED])
def test_each_break_is_noticed(sabotage: str) -> None:
    """By events that are missing, at some destination at least, once a kill has hit the gap."""
    words = ("--seconds", "10", "--pause", "0.8", "--settle", "12")
    runs = (_faults(_run(sabotage, *words, "--seed", str(seed))) for seed in SEEDS)

    assert any(fault.startswith(CONSEQUENCES[sabotage]) for faults in runs for fault in faults)


@pytest.mark.parametrize("sabotage", SHARED)
def test_each_wrong_count_of_what_is_shared_is_noticed(sabotage: str) -> None:
    """By events that are gone where somebody wants them, or by what is left where nobody does.

    One destination takes nothing at first, so that what the others have settled still waits for it.
    """
    three = ("hec_well", "cef_well", "hec_hole")
    found = _run(sabotage, "--seed", "5", "--seconds", "1.5", "--pause", "60", "--destinations", *three)

    if sabotage in LEFT:
        assert found["wrong_counts"]["removed"] > 0
        assert _faults(found) == set()
    else:
        assert UNREADABLE in _faults(found)
        assert found["losses"] == 0


def _run(sabotage: str, *words: str) -> dict[str, Any]:
    return run(arguments(["--rate", "150", "--sabotage", sabotage, *words]))


def _faults(found: dict[str, Any]) -> set[str]:
    return {fault for one in found["integrations"].values() for fault in one["faults"]}
