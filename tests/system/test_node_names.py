"""Workers that the Procfile's lines start have names of their own in Celery, `celery status` and Flower."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.system.test_flower import flower_beside
from worker.broker.identity import process_identity

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: Two of a kind, one of another, and one for all types.
WORKERS = ("worker-webhook", "worker-webhook-2", "worker-splunk_hec", "worker")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose processes the test starts."""
    with Fleet(tmp_path) as fleet:
        yield fleet


def names(fleet: Fleet, count: int) -> list[str]:
    """Wait until so many workers answer; return their names."""
    found: dict[str, object] = {}

    def answered() -> bool:
        nonlocal found
        found = fleet.inspect("ping")
        return len(found) >= count

    wait_until(answered, f"{count} workers answer by names of their own")
    return sorted(found)


def test_workers_of_one_host_have_names_of_their_own(own: Fleet) -> None:
    """The name tells what the worker is for and on which host; its middle is random, as for containers."""
    own.start(*WORKERS)
    found = names(own, len(WORKERS))
    # Celery waits a second for the answers: on a busy machine some come too late.
    status = wait_until(
        lambda: (said := own.celery("status").stdout.decode()).count(": OK") == len(WORKERS) and said,
        "celery status hears of all of them",
    )
    with flower_beside(own) as flower:
        wait_until(lambda: len(flower.workers()) == len(WORKERS), "Flower has asked all of them")
        shown = sorted(flower.workers())

    host = re.escape(process_identity().host)
    for name, kind in zip(found, ("all", "splunk_hec", "webhook", "webhook"), strict=True):
        assert re.fullmatch(rf"{kind}-[0-9a-f]{{8}}@{host}", name)
    assert [name for name in found if name not in status] == []
    assert "4 nodes online" in status
    assert shown == found


@pytest.mark.parametrize("flag", ["-n", "--hostname"])
def test_a_name_that_was_given_is_kept(own: Fleet, flag: str) -> None:
    """Also where it is the one that Celery would have given."""
    own.worker_flags = (flag, "celery@%h")
    own.start("worker-webhook")
    own.worker_flags = (flag, "mine@example")
    own.start("worker-splunk_hec")

    assert [name.partition("@")[0] for name in names(own, 2)] == ["celery", "mine"]
