"""Every secret that goes in, looked for in everything that comes out: none is there, not even by an echo."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fleet import Fleet, wait_until
from tests.pages.conftest import HOME, OURS, Site, Visitor, running
from tests.receivers import scripts, webhook
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial
from tests.system.test_flower import flower_beside
from worker.model.api_keys import Role

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SECRETS = {
    "token": "hec-token-7d1f6a52c0f3",
    "wrong token": "hec-token-of-yesterday-99aa",
    "bearer": "bearer-2f7c9e31d4b8aa55",
    "key": "api-key-value-5b1e8d77cc02",
    "header": "header-secret-e21c44f09b6d",
    "signature": "whsec_" + base64.b64encode(b"signing-secret-of-32-random-byte").decode(),
}
CLIENT = trustme.CA().issue_cert("client.example.com")
KEY_PEM = CLIENT.private_key_pem.bytes().decode()
CERT_PEM = b"".join(one.bytes() for one in CLIENT.cert_chain_pems).decode()
#: A part of the private key that no framing of PEM contains.
SECRETS["private key"] = KEY_PEM.splitlines()[2]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give the pages and the API of a fleet that runs, and that logs all it can."""
    with Fleet(tmp_path, SIEM_LOG_LEVEL="DEBUG") as fleet:
        fleet.worker_flags = ("-l", "DEBUG")
        with running(fleet.start()) as served:
            yield served
            while served.visitors:
                served.visitors.pop().http.close()


def echo(status: int) -> scripts.Script:
    """Refuse, and repeat in the answer what only we know: the headers of the request."""
    return lambda request: Action(status, _told(request), headers={"X-Echo": "yes"})


def _told(request: Request) -> bytes:
    return f"not {request.headers['Authorization']} {request.headers.as_string()}".encode()


def test_no_secret_comes_out_anywhere(site: Site) -> None:
    """Redis, database, logs, command line, API, pages, Flower; while deliveries succeed, fail and echo."""
    fleet, visitor = site.fleet, site.visitor()
    with HecReceiver(scripts.demand_token(SECRETS["token"])) as splunk, WebhookReceiver() as hook:
        hook.script = webhook.takes()
        ids = _integrate(site, visitor, splunk, hook)
        fleet.publish(denial(f"well-{n}", tenant_id=OURS) for n in range(20))
        splunk.wait_for_events(20)
        wait_until(lambda: len(hook.accepted_ids) >= 40, "both webhooks have all")
        hook.script = echo(400)
        fleet.publish(denial(f"echo-{n}", tenant_id=OURS) for n in range(3))
        wait_until(lambda: len(fleet.dead(ids["bearer"])) == 3, "the refused are dead letters")
        splunk.script = scripts.demand_token("another")
        fleet.publish([denial("held", tenant_id=OURS)])
        wait_until(
            lambda: fleet.client.hget(f"siem:state:{ids['splunk']}", "breaker") == b"open", "it is held"
        )
        with flower_beside(fleet) as flower:
            flower.tasks()
            flower.workers()
            for page in ("/", "/tasks", "/workers"):
                flower.ask(page)
            found = {
                "Flower": "".join(flower.answers).encode(),
                "API": _api(site, ids),
                "pages": _pages(visitor, ids),
                "command line": _command_line(fleet),
            }
    found |= {"Redis": _redis(fleet), "files": _files(fleet)}

    keys = {f"key {tenant} {role}": text for (tenant, role), text in site.keys.items()}
    leaks = [
        f"{name} in {place}"
        for place, content in found.items()
        for name, secret in (SECRETS | keys).items()
        if secret.encode() in content
    ]
    assert leaks == []
    assert all(len(content) > 1000 for content in found.values())
    assert b"echo-0" in found["pages"]


def _integrate(site: Site, visitor: Visitor, splunk: HecReceiver, hook: WebhookReceiver) -> dict[str, str]:
    """Make three by API and page; return their ids by name."""
    admin = {"Authorization": f"Bearer {site.keys[OURS, Role.ADMIN]}"}
    api = "/api/v1/integrations/siem"
    by_key: dict[str, Any] = {
        "type": "webhook",
        "name": "key",
        "url": hook.url,
        "auth": {"kind": "api_key", "value": SECRETS["key"]},
        "headers": {"X-Team": SECRETS["header"]},
        "signing_secrets": [SECRETS["signature"]],
        "client_cert_pem": CERT_PEM,
        "client_key_pem": KEY_PEM,
    }
    made = visitor.http.post(api, headers=admin, json=by_key)
    assert made.status_code == 201, made.text
    form: dict[str, Any] = {
        "name": "splunk",
        "url": splunk.url,
        "token": SECRETS["wrong token"],
        "verify_tls": "yes",
    }
    answer = visitor.post(HOME + "/new/splunk_hec", **form, event_types="policy.deny", redrive="yes")
    splunk_id = answer.headers["location"].rpartition("/")[2]
    visitor.http.patch(f"{api}/{splunk_id}", headers=admin, json={"token": SECRETS["token"]})
    bearer = {"name": "bearer", "url": hook.url, "auth.kind": "bearer", "auth.token": SECRETS["bearer"]}
    fields: dict[str, Any] = {**bearer, "verify_tls": "yes", "body": "event", "event_types": "policy.deny"}
    answer = visitor.post(HOME + "/new/webhook", **fields)
    # What is wrong with a form is told without what was written into it.
    wrong = visitor.post(HOME + "/new/webhook", status=422, **fields | {"url": "ftp://x"})
    assert SECRETS["bearer"] not in wrong.text
    return {
        "key": made.json()["id"],
        "splunk": splunk_id,
        "bearer": answer.headers["location"].rpartition("/")[2],
    }


def _api(site: Site, ids: dict[str, str]) -> bytes:
    """Ask every route that can be read."""
    admin = {"Authorization": f"Bearer {site.keys[OURS, Role.ADMIN]}"}
    http = site.visitor(None).http
    paths = [path for path, methods in http.get("/openapi.json").json()["paths"].items() if "get" in methods]
    answers = []
    for path in paths:
        for one in ids.values():
            asked = re.sub(r"\{[^}]+\}", "none", path.replace("{integration_id}", one))
            answers.append(http.get(asked, headers=admin).content)
    tests = [
        http.post(f"/api/v1/integrations/siem/{one}/test", headers=admin).content for one in ids.values()
    ]
    return b"".join(answers + tests)


def _pages(visitor: Visitor, ids: dict[str, str]) -> bytes:
    paths = [HOME, HOME + "/dead-letters", HOME + "/events?id=echo-0"]
    paths += [f"{HOME}/{one}{more}" for one in ids.values() for more in ("", "/edit")]
    pages = [visitor.http.get(path).content for path in paths]
    letters = re.findall(rb'href="(/settings/integrations/dead-letters/[^"?]+)"', pages[1])
    pages += [visitor.http.get(path.decode()).content for path in letters]
    forms = {"csrf": visitor.csrf()}
    pages += [
        visitor.http.post(f"{HOME}/{one}/{what}", data=forms).content
        for one in ids.values()
        for what in ("test", "preview")
    ]
    return b"".join(pages)


def _command_line(fleet: Fleet) -> bytes:
    asked = [
        *(["integrations", "list"], ["integrations", "list", "--json"], ["integrations", "show", "key"]),
        *(["status"], ["health"], ["deliveries", "--json"], ["dead-letters", "list", "--json"]),
        *(["doctor", "splunk"], ["doctor", "bearer", "--json"], ["api-keys", "list", "--json"]),
    ]
    ran = [fleet.siem(*arguments) for arguments in asked]
    return b"".join(one.stdout + one.stderr for one in ran)


def _redis(fleet: Fleet) -> bytes:
    """Return every key with all that it holds, as Redis would move it to another server."""
    keys = [*fleet.client.scan_iter(count=1000)]
    return b"".join(key + (fleet.client.dump(key) or b"") for key in keys) + b" " * 1000


def _files(fleet: Fleet) -> bytes:
    """Return logs, ledger, and the files of the server; the one that holds the key of keys is no secret's."""
    return b"".join(path.read_bytes() for path in fleet.directory.rglob("*") if path.is_file())
