"""A short outage keeps the promises of the long one; the long ones are run by hand."""

import pytest

from tests.benchmarks.outage import arguments, measure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.mark.parametrize("kind", ["reset", "busy"])
def test_an_outage_leaves_nothing_behind(kind: str) -> None:
    """All are delivered once it is over; hardly any had died meanwhile, and those were sent again."""
    words = f"--minutes 0.3 --rate 200 --kind {kind} --first-probe 1 --longest-probe 3 --patience 90"
    found = measure(arguments(words.split()))

    assert (found["kept"], found["lost"], found["dead_after_redrive"]) == (True, 0, 0)
    assert found["delivered"] == found["published"]
