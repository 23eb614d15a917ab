"""Secrets go in and never come out: shown is since when one is set, and how a long one ends."""

import base64
import json
from typing import Any

from tests.api.conftest import OURS, Api
from worker.ledger.integrations import IntegrationStore
from worker.vault.fields import sealed_in
from worker.vault.vault import Vault, new_key

LONG, OTHER = "a-long-secret-token-f3", "another-long-token-9c"


def opened(api: Api, integration_id: str) -> Any:
    """Return the destination with its secrets, as a worker would see it."""
    return api.resources.integrations_of(OURS).get(integration_id).destination


def test_a_mark_is_shown_and_may_be_sent_back(api: Api) -> None:
    """The whole document, sent back as it was read, changes nothing of its secrets; nor does leaving them."""
    auth = {"kind": "api_key", "header": "X-Api-Key", "value": LONG}
    made = api.create(auth=auth, headers={"X-Team": OTHER, "X-Short": "tiny"})
    path = f"/integrations/siem/{made['id']}"
    sent_back = api.ask("PATCH", path, json={**made, "max_retries": 1}).json()
    left_out = api.ask("PATCH", path, json={"headers": {"X-Team": made["headers"]["X-Team"]}}).json()

    assert made["auth"]["value"] == {
        "set": True,
        "since": made["created_at"],
        "ends_in": "f3",
        "readable": True,
    }
    assert made["headers"]["X-Team"]["ends_in"] == "9c"
    assert made["headers"]["X-Short"]["ends_in"] is None
    for changed in (sent_back, left_out):
        assert (changed["auth"], changed["headers"]) == (made["auth"], made["headers"])
    destination = opened(api, made["id"])
    assert destination.auth.value.get_secret_value() == LONG
    assert destination.headers["X-Team"].get_secret_value() == OTHER


def test_a_new_secret_has_a_new_mark(api: Api) -> None:
    """Of several secrets, the one that changed says so."""
    made = api.create(headers={"X-A": LONG, "X-B": OTHER})
    path = f"/integrations/siem/{made['id']}"
    changed = api.ask("PATCH", path, json={"headers": {"X-A": "a-newer-secret-token-77", "X-B": None}}).json()

    assert changed["headers"].keys() == {"X-A"}
    assert changed["headers"]["X-A"]["ends_in"] == "77"
    assert changed["headers"]["X-A"]["since"] == changed["updated_at"]


def test_another_kind_of_proof_takes_the_place_of_the_first(api: Api) -> None:
    """Nothing of the API key is left once a bearer token is given."""
    made = api.create(auth={"kind": "api_key", "header": "X-Api-Key", "value": LONG})
    answer = api.ask(
        "PATCH", f"/integrations/siem/{made['id']}", json={"auth": {"kind": "bearer", "token": OTHER}}
    )

    assert answer.json()["auth"].keys() == {"kind", "token"}
    assert opened(api, made["id"]).auth.token.get_secret_value() == OTHER


def test_a_signing_secret_is_changed_without_a_gap(api: Api) -> None:
    """The mark of the old one, behind the new one, keeps it."""
    old, new = (f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))
    made = api.create(signing_secrets=[old])
    path = f"/integrations/siem/{made['id']}"
    changed = api.ask("PATCH", path, json={"signing_secrets": [new, *made["signing_secrets"]]}).json()
    unknown = [{"set": True, "since": None, "ends_in": "zz"}, new]

    kept = [secret.get_secret_value() for secret in opened(api, made["id"]).signing_secrets]
    assert kept == [new, old]
    assert changed["signing_secrets"][1] == made["signing_secrets"][0]
    assert api.ask("PATCH", path, json={"signing_secrets": unknown}).json()["field"] == "signing_secrets.0"


def test_a_token_taken_away_is_missed(api: Api) -> None:
    """Null of a secret that is needed is refused, and the old one stays."""
    made = api.create({"type": "splunk_hec", "url": "https://splunk.example.com:8088", "token": LONG})
    answer = api.ask("PATCH", f"/integrations/siem/{made['id']}", json={"token": None})

    assert (answer.status_code, answer.json()["field"]) == (422, "token")
    assert opened(api, made["id"]).token.get_secret_value() == LONG


def test_no_answer_and_no_place_holds_a_secret(api: Api) -> None:
    """Neither answers nor Redis nor the database tell it, right or wrong."""
    made = api.create({"type": "splunk_hec", "url": "https://splunk.example.com:8088", "token": LONG})
    path = f"/integrations/siem/{made['id']}"
    spoilt = f"{LONG} with spaces"
    answers = [
        api.ask("GET", path),
        api.ask("GET", "/integrations/siem?limit=200"),
        api.ask("PATCH", path, json={"token": spoilt}),
        api.ask("POST", "/integrations/siem", json={"type": "webhook", "url": LONG, "token": LONG}),
        api.ask("POST", "/integrations/siem", json={"type": LONG}, headers={"Idempotency-Key": "leak"}),
    ]
    standing: Any = api.fleet.client.hvals("siem:integrations")

    assert not [answer.text for answer in answers if LONG in answer.text]
    assert LONG.encode() not in b"".join(standing)
    assert not any(LONG.encode() in path.read_bytes() for path in api.fleet.directory.glob("ledger*"))


def test_a_secret_whose_key_is_gone_is_shown_so_and_replaced(api: Api) -> None:
    """It hides nothing else; the test names it; every change but its own leaves it; a new value ends that."""
    made = api.create(auth={"kind": "bearer", "token": LONG}, headers={"X-Team": OTHER})
    path = f"/integrations/siem/{made['id']}"
    _seal_with_a_lost_key(api, made["id"])

    assert api.ask("GET", "/integrations/siem").status_code == 200
    assert api.ask("GET", path).json()["auth"]["token"]["readable"] is False
    paused = api.ask("POST", f"{path}/pause")
    assert (paused.status_code, paused.json()["paused"]) == (200, True)
    [step] = api.ask("POST", f"{path}/test").json()["steps"]
    assert (step["step"], step["result"]) == ("configuration", "failed")
    assert step["message"].startswith("auth.token, headers.X-Team cannot be opened")
    anew = api.ask(
        "PATCH", path, json={"auth": {"kind": "bearer", "token": "set-anew-token"}, "headers": None}
    ).json()
    assert anew["auth"]["token"]["readable"] is True
    assert opened(api, made["id"]).auth.token.get_secret_value() == "set-anew-token"


def test_a_secret_whose_key_is_missing_is_not_moved(api: Api) -> None:
    """Behind a new signing secret it would not open again when its key returns."""
    old, new = (f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))
    made = api.create(signing_secrets=[old])
    path = f"/integrations/siem/{made['id']}"
    key = _seal_with_a_lost_key(api, made["id"])
    shown = api.get(path)["signing_secrets"]
    refused = api.ask("PATCH", path, json={"signing_secrets": [new, *shown]})
    renamed = api.ask("PATCH", path, json={"name": "renamed while its key is missing"})
    returned = IntegrationStore(api.resources.engine, Vault([_key_of(api), key])).of(OURS).get(made["id"])

    assert (refused.status_code, refused.json()["field"]) == (422, "signing_secrets.1")
    assert "lacks the key that sealed it" in refused.json()["reason"]
    assert renamed.status_code == 200
    assert [one.get_secret_value() for one in returned.destination.signing_secrets] == [old]  # type: ignore[attr-defined]  # a webhook
    assert api.ask("PATCH", path, json={"signing_secrets": [new]}).status_code == 200


def _seal_with_a_lost_key(api: Api, integration_id: str) -> str:
    """Have its secrets sealed by a key that the API does not have, and return that."""
    engine, kept = api.resources.engine, api.resources.vault
    lost = new_key()
    IntegrationStore(engine, Vault([lost, _key_of(api)])).of(OURS).change(integration_id, lambda one: one)
    assert {kept.key_of(one) for one in _sealed(api, integration_id)} == {None}
    return lost


def _key_of(api: Api) -> str:
    return (api.resources.config.data_dir / "secret.key").read_text().strip()


def _sealed(api: Api, integration_id: str) -> list[str]:
    [document] = [
        one.document for one in api.resources.all_integrations().records() if one.id == integration_id
    ]
    return list(sealed_in(json.loads(document)).values())
