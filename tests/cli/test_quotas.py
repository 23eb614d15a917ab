"""A quota that is used up is reported in one line, with what to do."""

from tests.cli.running import call, create
from tests.fleet import Fleet
from tests.ledger.letters import bury

URL = "https://hook.example.com/in"


def test_one_integration_too_many_is_refused(empty: Fleet) -> None:
    """Its document too large, or itself too much."""
    environment = {**empty.environment, "SIEM_TENANT_INTEGRATIONS": "1", "SIEM_INTEGRATION_BYTES": "4096"}
    large = [option for number in range(4) for option in ("--add-header", f"X-{number}: {'x' * 2000}")]
    too_large = create(environment, URL, "--type", "webhook", *large, name="hook")
    made = create(environment, URL, "--type", "webhook", name="hook")
    grown = call(environment, "integrations", "update", "hook", *large)
    too_many = create(environment, URL, "--type", "webhook", name="another")

    assert made.code == 0, made.err
    assert too_large.code == 2
    assert grown.code == 2
    assert too_many.code == 2
    assert "(limit integration_bytes: 4096)" in too_large.complaint
    assert "(limit integration_bytes: 4096)" in grown.complaint
    assert too_many.complaint == (
        "integrations: this tenant has 1 already (limit tenant_integrations: 1); delete one that is not "
        "needed any more, or have SIEM_TENANT_INTEGRATIONS raised by those who run this installation"
    )


def test_one_replay_too_many_is_refused(empty: Fleet) -> None:
    """Of one tenant, whichever of its integrations they are for."""
    environment = {**empty.environment, "SIEM_TENANT_REPLAYS": "1"}
    for name in ("one", "two"):
        bury(empty.engine, f"quota-{name}", integration_id=empty.integrate(URL, name, type="webhook").id)
    again = ("dead-letters", "replay", "--yes", "--rate", "1")
    answers = [call(environment, *again, "--integration", name) for name in ("one", "two")]

    assert [answer.code for answer in answers] == [0, 2]
    assert "limit tenant_replays: 1" in answers[1].complaint
