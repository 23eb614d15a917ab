"""A quota that is used up is reported on the page, in a sentence that says what to do."""

from tests.fleet import Fleet
from tests.ledger.letters import bury
from tests.pages.conftest import HOME, Site, running
from worker.ledger.replays import end_replay, running_replays
from worker.model.replays import ReplayState


def test_a_form_tells_of_a_quota(standing_site: Site) -> None:
    """Of one integration too many, and of one replay too many."""
    fleet: Fleet = standing_site.fleet
    for one in running_replays(fleet.engine):  # of other tests, which share the tenant
        end_replay(fleet.engine, one.id, ReplayState.CANCELLED)
    with running(fleet, tenant_integrations=1, tenant_replays=1) as site:
        homes = [site.integrate(f"quota {number}", id=f"int_quota_{number}") for number in range(2)]
        for home in homes:
            bury(fleet.engine, f"event of {home}", integration_id=home)
        visitor = site.visitor()
        filled = visitor.get(f"{HOME}/new/webhook").filled
        form = {**filled, "url": "https://hook.example.com/in", "name": "one more"}
        refused = visitor.http.post(f"{HOME}/new/webhook", data=form)
        replayed = [
            visitor.post(f"{HOME}/replays", status=status, integration=home, rate="1")
            for home, status in zip(homes, (303, 409), strict=True)
        ]
        visitor.http.close()

    assert refused.status_code == 422
    assert "limit tenant_integrations: 1" in refused.text
    assert "one more" in refused.text
    assert "limit tenant_replays: 1" in replayed[1].text
    assert "wait until one is done, or cancel one" in replayed[1].text
