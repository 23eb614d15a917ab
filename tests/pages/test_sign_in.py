"""Signing in and out: who may, what a session is bound to, and where no one can be led."""

import pytest

from tests.pages.conftest import HOME, OURS, Site
from worker.broker.sessions import LONGEST, Sessions
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import ApiKey, Role
from worker.vault.vault import open_vault


def test_a_visitor_is_asked_to_sign_in_and_then_goes_on(site: Site) -> None:
    """The page that was wanted is remembered."""
    visitor = site.visitor(None)
    answer = visitor.http.get(f"{HOME}/dead-letters?cause=refused")
    asked = visitor.get(answer.headers["location"])
    begun = visitor.http.post(
        "/sign-in", data={"key": site.keys[OURS, Role.ADMIN], "next": asked.value_of("next")}
    )

    assert answer.status_code == 303
    assert begun.headers["location"] == f"{HOME}/dead-letters?cause=refused"
    assert "Dead letters" in visitor.get(begun.headers["location"]).text


def test_htmx_is_sent_to_the_sign_in_page_as_a_whole(site: Site) -> None:
    """A part of a page must not be replaced by a sign-in form."""
    answer = site.visitor(None).http.get(HOME, headers={"HX-Request": "true"})

    assert answer.status_code == 401
    assert answer.headers["hx-redirect"].startswith("/sign-in?next=")


@pytest.mark.parametrize("key", ["", "siem_0000", "siem_0123456789abcdef_" + "0" * 64, "\x00é"])
def test_a_wrong_key_opens_nothing(site: Site, key: str) -> None:
    """The answer says so, without the key."""
    answer = site.visitor(None).http.post("/sign-in", data={"key": key})

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "not known here" in answer.text
    assert not key or key not in answer.text


def test_a_key_that_only_publishes_sees_no_page(site: Site) -> None:
    """The answer says which keys do."""
    answer = site.visitor(None).http.post("/sign-in", data={"key": site.keys[OURS, Role.PUBLISH_ONLY]})

    assert answer.status_code == 403
    assert "admin or read-only" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_session_is_never_one_that_was_there_before_the_sign_in(site: Site) -> None:
    """Session fixation: a token that someone planted does not become one, nor does an older one stay."""
    planted = site.visitor()
    before = planted.http.cookies["siem_session"]
    answer = planted.http.post("/sign-in", data={"key": site.keys[OURS, Role.ADMIN]})

    other = site.visitor(None)
    other.http.cookies.set("siem_session", before)
    assert answer.cookies["siem_session"] != before
    assert other.http.get(HOME).status_code == 303


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(site: Site) -> None:
    """And behind TLS it is for TLS alone."""
    key = site.keys[OURS, Role.ADMIN]
    plain = site.visitor(None).http.post("/sign-in", data={"key": key}).headers["set-cookie"].lower()

    assert {"httponly", "samesite=lax", "path=/"} <= set(plain.split("; "))
    assert "secure" not in plain


def test_redis_knows_no_token(site: Site) -> None:
    """Who reads Redis cannot sign in with what is there."""
    token = site.visitor().http.cookies["siem_session"]
    client = site.fleet.client
    found = [key for key in client.keys("*") if token.encode() in key]
    values = [client.get(key) for key in client.keys("siem:session:*")]

    assert found == []
    assert values
    assert all(token.encode() not in (value or b"") for value in values)


def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(site: Site) -> None:
    """Not only for the browser that forgets it."""
    visitor, copy = site.visitor(), site.visitor(None)
    copy.http.cookies.update(visitor.http.cookies)
    assert copy.http.get(HOME).status_code == 200
    visitor.post("/sign-out")

    assert copy.http.get(HOME).status_code == 303


def test_a_revoked_key_ends_its_sessions(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the seconds for which a key is remembered."""
    monkeypatch.setattr("worker.api.key_lookups.REMEMBERED", 0.0)
    keys = ApiKeyStore(site.fleet.engine)
    new = keys.create(OURS, Role.ADMIN, "short-lived")
    visitor = site.visitor(None)
    visitor.http.post("/sign-in", data={"key": new.text})
    assert visitor.http.get(HOME).status_code == 200
    keys.revoke(new.key.id)

    assert visitor.http.get(HOME).status_code == 303


def test_a_session_ends_at_last_however_busy_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look prolongs it, but not beyond its longest."""
    sessions = Sessions(site.fleet.client, open_vault(site.fleet.settings).proofs)
    token = sessions.open(ApiKey("id", OURS, "name", Role.ADMIN, 0))
    assert sessions.find(token) is not None
    real = site.fleet.client.time()[0]
    monkeypatch.setattr(site.fleet.client, "time", lambda: (real + LONGEST, 0))

    assert sessions.find(token) is None


def test_no_sign_in_leads_elsewhere(site: Site) -> None:
    """Open redirect and header injection: whatever `next` says, the way leads to a page of ours."""
    visitor = site.visitor(None)
    for elsewhere in (
        "https://evil.example/settings/integrations",
        "//evil.example/settings/integrations",
        "/\\evil.example",
        "/settings/integrations\\@evil.example",
        "/settings/integrations\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "/settings/integrations/../../elsewhere\x00",
    ):
        visitor.http.cookies.clear()
        asked = visitor.get("/sign-in", params={"next": elsewhere})
        answer = visitor.http.post("/sign-in", data={"key": site.keys[OURS, Role.ADMIN], "next": elsewhere})

        assert asked.value_of("next") == HOME, elsewhere
        assert answer.headers["location"] == HOME, elsewhere
        assert len(answer.headers.get_list("set-cookie")) == 1, elsewhere


def test_many_wrong_keys_are_not_listened_to(site: Site) -> None:
    """Guessing is slowed down; a good key from the same address is not."""
    visitor = site.visitor(None)
    answers = [
        visitor.http.post("/sign-in", data={"key": f"siem_{'ab' * 8}_{number:064x}"}).status_code
        for number in range(25)
    ]

    assert answers[:20] == [401] * 20
    assert set(answers[20:]) == {429}
    assert site.visitor().http.get(HOME).status_code == 200


def test_an_idle_session_is_forgotten_by_redis_itself(site: Site) -> None:
    """An hour after the last look."""
    site.visitor()
    keys = site.fleet.client.keys("siem:session:*")

    assert keys
    assert all(0 < site.fleet.client.ttl(key) <= 3600 for key in keys)


def test_without_redis_the_page_says_so(site: Site) -> None:
    """And says it in words, not with a trace."""
    visitor = site.visitor()
    visitor.get(HOME)
    site.fleet.server.kill()
    try:
        answer = visitor.http.get(HOME)
    finally:
        site.fleet.server.restart()

    assert answer.status_code == 503
    assert "Redis does not answer" in answer.text
