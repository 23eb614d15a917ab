"""What is wrong with the fleet as a whole is told on the list, for no single integration shows it."""

from tests.pages.conftest import HOME, Site
from worker.broker import keys


def test_what_could_not_be_recorded_is_told(site: Site) -> None:
    """As long as something is set aside, and no longer."""
    visitor = site.visitor()
    site.fleet.client.xadd(keys.UNRECORDABLE, {"raw": b""})
    told = visitor.get(HOME).text
    site.fleet.client.delete(keys.UNRECORDABLE)

    assert "1 batch of results could not be recorded" in told
    assert "could not be recorded" not in visitor.get(HOME).text
