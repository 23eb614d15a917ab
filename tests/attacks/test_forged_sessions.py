"""Who can write to Redis forges sessions, API keys and their roles: none of that opens a door."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.fleet import Fleet
from tests.pages.conftest import HOME, OURS, THEIRS, Site, Visitor, running
from worker.broker import keys
from worker.broker.api_keys import KeyCopy
from worker.broker.clocks import redis_now_ms
from worker.model.api_keys import ApiKey, Role, key_digest, key_id_of, make_id, make_text
from worker.vault.vault import Signer

FORGED = "forged-by-hand"
PROOFS = Signer([b"the fleet's own key"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give pages that answer; no process of the fleet runs."""
    with Fleet(tmp_path_factory.mktemp("forged")) as fleet, running(fleet) as served:
        yield served
        for visitor in served.visitors:
            visitor.http.close()


def _session_of(site: Site, visitor: Visitor) -> dict[str, Any]:
    value = site.fleet.client.get(_name(str(visitor.http.cookies["siem_session"])))
    found: dict[str, Any] = json.loads(value or b"{}")
    return found


def _name(token: str) -> str:
    return keys.session(hashlib.sha256(token.encode()).hexdigest())


def _of_key(site: Site, role: Role, tenant: str) -> str:
    return key_id_of(site.keys[tenant, role]) or ""


def test_a_session_made_by_hand_opens_nothing(site: Site) -> None:
    """Not with the id of a real admin key, and not with the proof of another session."""
    real = _session_of(site, site.visitor(Role.READ_ONLY))
    victim = {"key_id": _of_key(site, Role.ADMIN, THEIRS), "tenant_id": THEIRS, "role": "admin"}
    site.fleet.client.set(_name(FORGED), json.dumps({**real, **victim}))
    with httpx.Client(base_url=site.url, trust_env=False, cookies={"siem_session": FORGED}) as forger:
        assert forger.get(HOME).status_code == 303


@pytest.mark.parametrize(
    "change",
    [
        {"role": "admin"},
        {"tenant_id": THEIRS, "role": "admin"},
        {"until_ms": 99_999_999_999_999},
        {"csrf": "known to me"},
    ],
    ids="+".join,
)
def test_a_session_that_was_changed_gains_nothing(site: Site, change: dict[str, Any]) -> None:
    """Tenant and role are those of the key in the ledger; whatever else was changed ends the session."""
    visitor = site.visitor(Role.READ_ONLY)
    theirs = f"of-{THEIRS}-{len(change)}-{'-'.join(change)}"
    one = site.integrate(theirs, THEIRS)
    name = _name(str(visitor.http.cookies["siem_session"]))
    site.fleet.client.set(name, json.dumps(_session_of(site, visitor) | change))

    assert visitor.http.get(f"{HOME}/{one}").status_code in {303, 404}
    assert visitor.http.get(f"{HOME}/new/webhook").status_code in {303, 403}
    assert theirs not in visitor.http.get(HOME).text


def test_without_the_database_a_page_says_so_or_goes_by_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither lets in a stranger: without a copy of the keys, no visitor can be identified."""
    for memory in ("REMEMBERED", "AWAY"):
        monkeypatch.setattr(f"worker.api.key_lookups.{memory}", 0.0)
    with Fleet(tmp_path) as fleet, running(fleet) as own:
        visitor = own.visitor(Role.READ_ONLY)
        ledger = tmp_path / "ledger.sqlite3"
        fleet.engine.dispose()
        own.resources.engine.dispose()
        own.resources.reserve.dispose()
        ledger.rename(tmp_path / "away")
        ledger.mkdir()
        nobody = visitor.http.get(f"{HOME}/new/webhook")
        key = ApiKey(_of_key(own, Role.READ_ONLY, OURS), OURS, "mine", Role.READ_ONLY, 5)
        KeyCopy(fleet.client, own.resources.vault.proofs).replace([(key, "0" * 64)])
        reader = visitor.http.get(f"{HOME}/new/webhook")
        visitor.http.close()

    assert nobody.status_code == 503
    assert "database" in nobody.text
    assert reader.status_code == 403, "it is known again, and may read alone"


def _own_entry(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "digest": key_digest(MINE)}


def _raised(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "role": "admin", "tenant_id": THEIRS}


MINE = make_text(make_id())


@pytest.mark.parametrize("forge", [_own_entry, _raised])
def test_a_forged_copy_of_a_key_opens_nothing(
    client: redis.Redis, forge: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """While the database is away the copy decides: an own entry, another role, a copy of an older edition."""
    copy = KeyCopy(client, PROOFS)
    key = ApiKey(key_id_of(MINE) or "", OURS, "mine", Role.READ_ONLY, 5)
    copy.replace([(key, key_digest("another text"))])
    [document] = [json.loads(value) for value in client.hvals(keys.API_KEYS)]
    client.hset(keys.API_KEYS, key.id, json.dumps(forge(document)))
    client.set(keys.API_KEYS_CONFIRMED, redis_now_ms(client))

    assert copy.find(key.id) is None


def test_a_revoked_key_is_not_brought_back(client: redis.Redis) -> None:
    """An entry of an edition that has gone belongs to no confirmation of today."""
    copy = KeyCopy(client, PROOFS)
    key = ApiKey(make_id(), OURS, "mine", Role.ADMIN, 5)
    copy.replace([(key, "0" * 64)])
    kept: Any = client.hgetall(keys.API_KEYS)
    copy.revoke(key.id)
    copy.replace([])
    client.delete(keys.API_KEYS_REVOKED)
    client.hset(keys.API_KEYS, mapping=kept)

    assert copy.find(key.id) is None
