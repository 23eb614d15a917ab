"""Credentials in the query of a webhook's url stand nowhere in the clear, and are sent all the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.api.conftest import OURS, Api, running
from tests.cli.running import call
from tests.fleet import Fleet
from tests.pages.conftest import HOME
from tests.pages.conftest import running as running_pages
from tests.receivers.webhook import WebhookReceiver
from worker.integrations.integration import parse_integration
from worker.integrations.secrets import SecretUrl
from worker.ledger.engine import writing
from worker.ledger.integrations import IntegrationStore
from worker.ledger.resealing import SecretResealer
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration, SecretMoved, SecretUnreadable
from worker.vault.documents import open_document, seal_document
from worker.vault.vault import Vault, new_key

KEY, SIGNATURE = "k3y-of-the-query", "s1gnature-of-it"
QUERY = f"api-version=1&key={KEY}&sig={SIGNATURE}&{KEY}"
CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SHOWN = "api-version=…&key=…&sig=…&…"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Give an API; no process of the fleet runs."""
    with Fleet(tmp_path_factory.mktemp("queries")) as fleet, running(fleet) as served:
        yield served


def _is_clear(text: str) -> bool:
    return KEY in text or SIGNATURE in text


def _everything_in_redis(api: Api) -> str:
    client: Any = api.fleet.client
    return repr([client.dump(key) for key in client.scan_iter("*")]) + repr(client.hvals("siem:integrations"))


def test_nothing_shows_the_values(api: Api) -> None:
    """Neither Redis nor the database nor an answer; the request carries them."""
    with WebhookReceiver() as endpoint:
        made = api.create({"type": "webhook", "url": f"{endpoint.url}?{QUERY}", "name": "queried"})
        path = f"/integrations/siem/{made['id']}"
        answers = [
            api.ask("GET", path),
            api.ask("GET", "/integrations/siem"),
            api.ask("POST", f"{path}/test"),
        ]
        shown = call(api.fleet.environment, "integrations", "show", made["id"], "--json")
        listed = call(api.fleet.environment, "integrations", "list")

    assert made["url"] == f"{endpoint.url}?{SHOWN}"
    assert shown.json["url"] == made["url"]
    assert not [one.text for one in answers if _is_clear(one.text)]
    assert not _is_clear(shown.out + listed.out)
    assert not _is_clear(_everything_in_redis(api))
    files = [one.read_bytes() for one in api.fleet.directory.glob("ledger*")]
    assert not any(KEY.encode() in one or SIGNATURE.encode() in one for one in files)
    assert {request.path.partition("?")[2] for request in endpoint.requests if request.body} == {QUERY}


def test_a_masked_url_keeps_the_values(api: Api) -> None:
    """Sent back as it was read, with another path or another parameter; not for another server."""
    made = api.create({"type": "webhook", "url": f"https://hook.example.com/in?{QUERY}", "name": "masked"})
    path = f"/integrations/siem/{made['id']}"

    def changed(url: str) -> str:
        answer = api.ask("PATCH", path, json={"url": url})
        assert answer.status_code == 200, answer.text
        return str(api.resources.integrations_of(OURS).get(made["id"]).destination.url)

    assert changed(made["url"]) == f"https://hook.example.com/in?{QUERY}"
    assert changed(f"https://hook.example.com/out?{SHOWN}&a=b") == f"https://hook.example.com/out?{QUERY}&a=b"
    assert changed("https://hook.example.com/out?sig=…&key=%E2%80%A6") == (
        f"https://hook.example.com/out?sig={SIGNATURE}&key={KEY}"
    )
    for elsewhere in ("https://evil.example/?key=…", "https://hook.example.com/?other=…", "https://h/…?a=…"):
        refused = api.ask("PATCH", path, json={"url": elsewhere})
        assert (refused.status_code, refused.json()["field"]) == (422, "url"), refused.text
    unverified = api.ask("PATCH", path, json={"verify_tls": False})
    assert (unverified.status_code, unverified.json()["field"]) == (422, "url")


def test_the_form_and_its_preview_show_no_value(tmp_path: Path) -> None:
    """And saving what it shows keeps them."""
    with Fleet(tmp_path) as fleet, running_pages(fleet) as site:
        one = site.integrate("hook", url=f"https://hook.example.com/in?{QUERY}")
        visitor = site.visitor()
        pages = [visitor.get(place).text for place in (HOME, f"{HOME}/{one}", f"{HOME}/{one}/edit")]
        form = visitor.get(f"{HOME}/{one}/edit")
        fields: dict[str, Any] = {
            "name": "hook",
            "url": form.value_of("url"),
            "auth.kind": "none",
            "verify_tls": "yes",
            "event_types": "policy.deny",
            "revision": "1",
        }
        preview = visitor.post(f"{HOME}/{one}/preview", status=200, **fields).text
        visitor.post(f"{HOME}/{one}/edit", **fields)
        kept = site.resources.integrations_of(OURS).get(one).destination.url
        visitor.http.close()

    assert fields["url"] == f"https://hook.example.com/in?{SHOWN}"
    assert not [page for page in (*pages, preview) if _is_clear(page)]
    assert "POST /in?api-version=" in preview
    assert kept == f"https://hook.example.com/in?{QUERY}"


def test_what_an_earlier_release_left_in_the_clear_is_sealed(api: Api) -> None:
    """By a recorder, once every API can show it; until then it is shown masked all the same."""
    made = api.create({"type": "webhook", "url": f"https://hook.example.com/in?{QUERY}", "name": "older"})
    mine = integrations.c.id == made["id"]
    engine, vault = api.resources.engine, api.resources.vault

    def stored() -> str:
        with writing(engine) as connection:
            return str(connection.execute(select(integrations.c.document).where(mine)).scalar_one())

    document = json.loads(stored())
    document["destination"]["url"] = f"https://hook.example.com/in?{QUERY}"
    with writing(engine) as connection:
        connection.execute(update(integrations).where(mine).values(document=json.dumps(document)))
    assert api.get(f"/integrations/siem/{made['id']}")["url"] == made["url"]
    told = call(api.fleet.environment, "secrets", "status")
    assert SecretResealer(engine, vault, lambda: False).bind() == []
    assert _is_clear(stored())
    [done] = SecretResealer(engine, vault).bind()

    assert (done.path, done.binding.value) == ("url", "clear")
    assert not _is_clear(stored())
    assert open_document(json.loads(stored()), vault).destination.url.endswith(QUERY)
    assert told.code == 1
    assert "1 url with a query left in the clear by an earlier release" in told.out
    assert not _is_clear(told.out + told.err)


def test_a_url_whose_key_is_lost_hides_nothing_else(api: Api) -> None:
    """It is shown as when it was saved, can be paused, and is given again with the secrets of it."""
    made = api.create(
        {"type": "webhook", "url": f"https://hook.example.com/in?{QUERY}", "name": "lost"},
        auth={"kind": "bearer", "token": "a-token-of-it"},
    )
    path = f"/integrations/siem/{made['id']}"
    current = (api.fleet.directory / "secret.key").read_text().strip()
    lost = Vault([new_key(), current])
    IntegrationStore(api.resources.engine, lost, api.resources.config.quotas).of(OURS).change(
        made["id"], lambda one: one
    )

    assert api.get(path)["url"] == made["url"]
    assert api.ask("POST", f"{path}/pause").status_code == 200
    [step] = api.ask("POST", f"{path}/test").json()["steps"]
    assert step["message"].startswith("url, auth.token cannot be opened")
    half = api.ask("PATCH", path, json={"auth": {"kind": "bearer", "token": "another"}})
    assert (half.status_code, half.json()["field"]) == (422, "url")
    whole = {"url": "https://hook.example.com/?a=b", "auth": {"kind": "bearer", "token": "another"}}
    assert api.ask("PATCH", path, json=whole).json()["url"] == "https://hook.example.com/?a=…"


def test_a_sealed_url_opens_for_its_own_integration_alone() -> None:
    """And nothing shows it by accident."""
    vault = Vault([new_key()])
    destination = {"type": "webhook", "url": f"https://hook.example.com/in?{QUERY}"}
    one = parse_integration({"id": "a", "name": "a", "destination": destination})
    sealed = json.loads(json.dumps(seal_document(one, vault)))

    assert open_document(sealed, vault) == one
    with pytest.raises(SecretUnreadable, match="url of integration a"):
        open_document(sealed | {"id": "b"}, vault)
    shown = [repr(one), str(one), one.model_dump_json(), str(one.model_dump())]
    assert not [text for text in shown if _is_clear(text)]


@pytest.mark.parametrize(
    ("field", "value"), [("verify_tls", False), ("ca_pem", CA), ("tls_server_name", "evil.example")]
)
def test_a_sealed_url_opens_for_no_other_proof_of_who_the_server_is(field: str, value: object) -> None:
    """An attacker who can write to Redis and sits on the way would read the query."""
    vault = Vault([new_key()])
    destination = {"type": "webhook", "url": f"https://hook.example.com/in?{QUERY}"}
    one = parse_integration({"id": "a", "name": "a", "destination": destination})
    sealed = json.loads(json.dumps(seal_document(one, vault)))
    sealed["destination"][field] = value

    with pytest.raises(SecretMoved, match="url of integration a"):
        open_document(sealed, vault)


@pytest.mark.parametrize("given", ["https://a.example/?key=…", "https://a.example/?…"])
def test_a_mask_is_no_value(given: str) -> None:
    """Neither for a new integration, nor where nothing of that name stood."""
    with pytest.raises(InvalidIntegration, match="give the value itself"):
        parse_integration({"id": "a", "name": "a", "destination": {"type": "webhook", "url": given}})
    with pytest.raises(InvalidIntegration, match="give the value itself"):
        SecretUrl("https://a.example/?other=1").with_kept(given)
