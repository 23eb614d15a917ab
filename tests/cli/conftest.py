"""A fleet for the tests of the command line, with something to tell: deliveries, dead letters, a retry."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import call
from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver

#: A secret that nothing may show.
SECRET = "hook-secret-value"
#: What a hostile SIEM might answer, and a hostile publisher write: terminal escapes, markup, a line break.
HOSTILE = "\x1b[31m[bold]owned\x9b2J\u202e\nnext"


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a fleet without any process but the server: for those who only write to it."""
    with Fleet(tmp_path_factory.mktemp("desk")) as fleet:
        yield fleet


@pytest.fixture
def empty(desk: Fleet) -> Iterator[Fleet]:
    """Give a fleet without integrations, and leave it so."""
    yield desk
    for integration in desk.store.list():
        desk.store.delete(integration.id)
    desk.announce()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a secret, headers, and two signing secrets, as files."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "headers").write_text(f"\ufeffX-Env: prod\r\n\r\n X-Key :  {SECRET}:x \n")
    for name in ("new", "old"):
        (tmp_path / name).write_text(call({}, "integrations", "new-secret").out)
    return tmp_path


@pytest.fixture(scope="session")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a running fleet whose ledger tells of 300 deliveries, 2 dead letters and an invalid event.

    No one may change what is in it. `well` takes events of tenant one, `ill` refuses those of tenant two.
    """
    refusal = scripts.Action(503, json.dumps({"text": HOSTILE, "code": 9}).encode())
    with (
        HecReceiver() as well,
        HecReceiver(lambda _request: refusal) as ill,
        Fleet(tmp_path_factory.mktemp("told")) as fleet,
    ):
        fleet.integrate(well.url, "well", tenant_id="one")
        fleet.integrate(ill.url, "ill", tenant_id="two", max_retries=0)
        fleet.start()
        fleet.publish_at_once(denial(f"well-{number}", "one") for number in range(300))
        fleet.publish_at_once([denial("ill-1", "two"), denial("ill-2", "two")])
        fleet.client.xadd("siem:events", {"event": json.dumps({"id": "invalid-1", "type": HOSTILE})})
        fleet.settled(300, "int_well")
        fleet.settled(2, "int_ill")
        wait_until(lambda: len(fleet.dead(None)) == 3, "the invalid event is a dead letter")
        yield fleet


def denial(event_id: str, tenant: str = "default") -> dict[str, str]:
    """Make an event whose content must not appear where only its outcome is asked for."""
    return {
        "id": event_id,
        "tenant_id": tenant,
        "type": "policy.deny",
        "timestamp": "2026-11-22T10:11:12.345Z",
        "reason": "private-content",
    }
