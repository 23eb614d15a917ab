"""Who may change an integration reads its write-only secrets by sending them to a server of their own."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import OURS
from tests.api.conftest import running as running_api
from tests.fleet import Fleet
from tests.pages.conftest import HOME
from tests.pages.conftest import running as running_pages
from tests.receivers.webhook import WebhookReceiver
from worker.integrations.integration import Integration, parse_integration, secrets_in
from worker.integrations.secrets import UnreadableSecret
from worker.model.errors import InvalidIntegration
from worker.vault.places import require_again

TOKEN, OTHER = "a-long-secret-token-f3", "another-long-token-9c"
SIGNING = f"whsec_{base64.b64encode(b'a' * 32).decode()}"
CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def _webhook(**changes: Any) -> Integration:
    destination = {
        "type": "webhook",
        "url": "https://hook.example.com/in",
        "auth": {"kind": "api_key", "header": "X-Api-Key", "value": TOKEN},
        "headers": {"X-Team": OTHER},
        "signing_secrets": [SIGNING],
    }
    return parse_integration({"id": "a", "name": "a", "destination": destination | changes}, stored=True)


def _asked(old: Integration, new: Integration) -> list[str]:
    """Return which secrets are to be given again, when none of them was given."""
    try:
        require_again(old, new, {path for path, _ in secrets_in(new)})
    except InvalidIntegration as error:
        return [one.field for one in error.all]
    return []


ALL = ["auth.value", "headers.X-Team", "signing_secrets.0"]


#: Fields before and after a change, and the secrets that it asks for.
CHANGES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, {"url": "https://hook.example.com/elsewhere"}, []),
    ({}, {"url": "https://HOOK.example.com:443/in"}, []),
    ({}, {"url": "https://hook.example.com.evil.example/in"}, ALL),
    ({}, {"url": "https://hook.example.com:8443/in"}, ALL),
    ({}, {"url": "http://hook.example.com:443/in"}, ALL),
    ({}, {"verify_tls": False}, ALL),
    ({}, {"ca_pem": CA}, ALL),
    ({"ca_pem": CA}, {}, ALL),
    ({}, {"tls_server_name": "evil.example"}, ALL),
    ({"verify_tls": False}, {"ca_pem": CA}, []),
    ({"verify_tls": False}, {"verify_tls": False, "tls_server_name": "evil.example"}, []),
    ({}, {"batch_events": 7, "timeout_seconds": 2, "connections": 1}, []),
    ({}, {"auth": {"kind": "api_key", "header": "X-Echoed", "value": TOKEN}}, ["auth.value"]),
    ({}, {"auth": {"kind": "api_key", "header": "x-api-KEY", "value": TOKEN}}, []),
]


def test_what_asks_for_the_secrets_again(subtests: pytest.Subtests) -> None:
    """Another server, or another proof of who it is; a path asks for nothing."""
    for before, after, asked in CHANGES:
        with subtests.test(before=before, after=after):
            changed = before | after if before.get("verify_tls") is False else after

            assert _asked(_webhook(**before), _webhook(**changed)) == asked


def test_what_cannot_be_opened_is_kept_for_its_url_alone() -> None:
    """It cannot be sealed for another place."""
    auth = {"kind": "bearer", "token": UnreadableSecret("sealed")}
    old, moved = (_webhook(auth=auth, url=f"https://hook.example.com/{path}") for path in ("in", "out"))

    assert _asked(old, old) == []
    assert _asked(old, moved) == ["auth.token"]


def test_the_api_sends_no_kept_secret_to_another_server(tmp_path: Path) -> None:
    """Neither one that is left out, nor one whose mark is sent back; all that are needed are named."""
    with Fleet(tmp_path) as fleet, running_api(fleet) as api, WebhookReceiver() as evil:
        made = api.create(auth={"kind": "bearer", "token": TOKEN}, headers={"X-Team": OTHER})
        path = f"/integrations/siem/{made['id']}"
        left_out = api.ask("PATCH", path, json={"url": evil.url})
        marked = api.ask("PATCH", path, json={**made, "url": evil.url})
        half = api.ask("PATCH", path, json={"url": evil.url, "auth": {"kind": "bearer", "token": TOKEN}})
        unverified = api.ask("PATCH", path, json={"verify_tls": False})
        elsewhere = api.ask("PATCH", path, json={"url": "https://hook.example.com/out"})
        given = {"auth": {"kind": "bearer", "token": OTHER}, "headers": {"X-Team": TOKEN}}
        moved = api.ask("PATCH", path, json={"url": evil.url, **given})
        api.ask("POST", f"{path}/test")

    for refused in (left_out, marked, unverified):
        assert refused.status_code == 422
        assert [one["field"] for one in refused.json()["errors"]] == ["auth.token", "headers.X-Team"]
    assert (half.status_code, half.json()["field"]) == (422, "headers.X-Team")
    assert "scheme, host or port" in half.json()["reason"]
    assert (elsewhere.status_code, moved.status_code) == (200, 200)
    sent = {request.headers["Authorization"] for request in evil.requests} - {None}
    assert sent == {f"Bearer {OTHER}"}, "a look at the address alone carries nothing"


def test_the_page_tests_no_kept_secret_against_another_server(tmp_path: Path) -> None:
    """Nothing is saved yet, and the token would be read all the same; the field says why it is asked for."""
    with Fleet(tmp_path) as fleet, running_pages(fleet) as site, WebhookReceiver() as evil:
        one = site.integrate("hook", auth={"kind": "bearer", "token": TOKEN}, signing_secrets=[SIGNING])
        visitor = site.visitor()
        fields: dict[str, Any] = {
            "name": "hook",
            "url": evil.url,
            "auth.kind": "bearer",
            "verify_tls": "yes",
            "event_types": "policy.deny",
            "revision": "1",
        }
        tested = visitor.post(f"{HOME}/{one}/test", status=200, **fields)
        shown = visitor.post(f"{HOME}/{one}/edit", status=422, **fields)
        fields["auth.token"] = OTHER
        signed = visitor.post(f"{HOME}/{one}/edit", status=422, **fields)
        fields["forget:signing_secrets"] = "yes"
        with_token = visitor.post(f"{HOME}/{one}/edit", status=303, **fields)
        kept = site.resources.integrations_of(OURS).get(one).destination
        visitor.http.close()

    for answer in (tested, shown):
        assert "is kept for the server that it was given for, and url has another scheme" in answer.text
        assert TOKEN not in answer.text
    assert 'id="f-auth-token-wrong"' in shown.text
    assert 'id="f-auth-token-wrong"' not in signed.text
    assert 'id="f-signing_secrets-wrong"' in signed.text
    assert evil.requests == []
    assert with_token.status_code == 303
    assert kept.url == evil.url
