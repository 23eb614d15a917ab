"""What is wrong with the fleet as a whole is reported on the list, for no single integration shows it."""

import msgspec

from tests.pages.conftest import HOME, OURS, THEIRS, Site
from worker.broker import keys
from worker.broker.conflicts import Conflict, ConflictKind


def test_what_could_not_be_recorded_is_shown(site: Site) -> None:
    """As long as something is set aside, and no longer."""
    visitor = site.visitor()
    site.fleet.client.xadd(keys.UNRECORDABLE, {"raw": b""})
    reported = visitor.get(HOME).text
    site.fleet.client.delete(keys.UNRECORDABLE)

    assert "1 batch of results could not be recorded" in reported
    assert "could not be recorded" not in visitor.get(HOME).text


def test_what_the_ledger_does_not_know_is_shown_to_its_tenant(site: Site) -> None:
    """By name; another tenant's is not shown."""
    client = site.fleet.client
    for tenant in (OURS, THEIRS):
        conflict = Conflict(ConflictKind.UNKNOWN, f"late of {tenant}", tenant, "webhook", 1, 1)
        client.hset(keys.CONFLICTS, f"int_{tenant}", msgspec.json.encode(conflict))
    reported = site.visitor().get(HOME).text
    client.delete(keys.CONFLICTS)

    assert f"the database does not know them: late of {OURS}. An operator" in reported
    assert f"late of {THEIRS}" not in reported
