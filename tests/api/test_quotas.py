"""A quota that is used up is answered as a problem that names it."""

from pathlib import Path

from tests.api.conftest import Api, running
from tests.fleet import Fleet
from tests.ledger.letters import bury

WEBHOOK = {"type": "webhook", "url": "https://hook.example.com/in"}


def test_one_integration_too_many_is_refused(bare_fleet: Fleet) -> None:
    """With 409, the limit's name and its value; with a key for repetition, it can be sent again."""
    with running(bare_fleet, tenant_integrations=1) as api:
        _delete_all(api)
        made = api.create()
        headers = {"Idempotency-Key": "one"}
        refused = api.ask("POST", "/integrations/siem", json=WEBHOOK, headers=headers)
        api.ask("DELETE", f"/integrations/siem/{made['id']}")
        repeated = api.ask("POST", "/integrations/siem", json=WEBHOOK, headers=headers)

    problem = refused.json()
    assert refused.status_code == 409
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert {"field": "integrations", "limit": "tenant_integrations", "most": 1}.items() <= problem.items()
    assert "SIEM_TENANT_INTEGRATIONS" in problem["hint"]
    assert repeated.status_code == 201


def test_a_document_that_is_too_large_is_refused(api: Api) -> None:
    """With 422, created or changed, and the field that takes the most."""
    large = {"headers": {f"X-{number}": "x" * 4000 for number in range(17)}}
    made = api.create()
    answers = [
        api.ask("POST", "/integrations/siem", json=WEBHOOK | large),
        api.ask("PATCH", f"/integrations/siem/{made['id']}", json=large),
    ]

    for answer in answers:
        assert answer.status_code == 422
        reported = {"field": "headers", "limit": "integration_bytes", "most": 65_536}
        assert reported.items() <= answer.json().items()


def test_one_replay_too_many_is_refused(tmp_path: Path) -> None:
    """With 409; a dry run makes none, and is answered. Replays of other tests would count."""
    with Fleet(tmp_path) as own, running(own, tenant_replays=1) as api:
        tenant, path = "theirs", "/integrations/siem/{}/replays"
        ids = [api.create(tenant=tenant)["id"] for _ in range(2)]
        for number, one in enumerate(ids):
            bury(own.engine, f"quota-{number}", integration_id=one)
        asked = {"all": True, "rate": 1}
        answers = [api.ask("POST", path.format(one), tenant=tenant, json=asked) for one in ids]
        counted = api.ask("POST", path.format(ids[1]), tenant=tenant, json={"all": True, "dry_run": True})

    assert [answer.status_code for answer in answers] == [201, 409]
    assert {"limit": "tenant_replays", "most": 1}.items() <= answers[1].json().items()
    assert counted.status_code == 200


def _delete_all(api: Api) -> None:
    for one in api.get("/integrations/siem?limit=200")["items"]:
        api.ask("DELETE", f"/integrations/siem/{one['id']}")
