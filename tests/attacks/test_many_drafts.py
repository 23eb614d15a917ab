"""What is typed into refused forms takes no more of Redis than a share of each tenant, by whatever key."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.datastructures import FormData

from tests.pages.conftest import HOME, OURS, THEIRS, Site, Visitor, site, standing_site
from tests.pages.reading import Page
from worker.broker import keys
from worker.broker.sessions import KEPT, Drafts
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import Role
from worker.pages.form_tokens import FORM_FIELD, FormToken, token_in

__all__ = ["site", "standing_site"]

NEW = HOME + "/new/splunk_hec"
#: Bytes of Redis that drafts of one tenant may take where no setting was changed; and of the longest form.
SHARE, LONGEST = 8 << 20, 512 << 10


@pytest.fixture(autouse=True)
def _no_drafts(site: Site) -> Iterator[None]:
    yield
    for key in site.fleet.client.keys("siem:draft*"):
        site.fleet.client.delete(key)


def refused(visitor: Visitor, secret: str) -> Page:
    """Send a form with this secret and another mistake; return the answer."""
    form = visitor.get(NEW).filled | {"name": ["x"], "url": ["ftp://x"], "token": [secret]}
    answer = visitor.http.post(NEW, data=form)
    assert answer.status_code == 422
    return Page(answer.text)


def kept(site: Site) -> list[int]:
    """Return how many bytes each draft takes that is kept."""
    return [site.fleet.client.strlen(key) for key in site.fleet.client.keys("siem:draft:*")]


def test_refused_forms_leave_no_more_than_the_share_of_their_tenant(site: Site) -> None:
    """The latest is kept, and that of another tenant."""
    visitor = site.visitor()
    theirs = refused(site.visitor(tenant=THEIRS), "of-a-neighbour")
    pages = [refused(visitor, "x" * (LONGEST - 1000)) for _ in range(14)]

    assert sum(kept(site)) < 1.1 * SHARE
    for page in (theirs, pages[-1]):
        assert "Kept from your last attempt" in page.text
    drafts = Drafts(site.fleet.client, SHARE)
    found = [
        drafts.find(token.name) is not None
        for token in (_token(site, page) for page in (theirs, pages[0], pages[-1]))
    ]
    assert found == [True, False, True]


def test_a_form_that_no_integration_fills_is_not_kept(site: Site) -> None:
    """Nor does the page say that it is; without a session, the sign-in says so."""
    visitor = site.visitor()
    page = refused(visitor, "x" * (LONGEST + 1))
    visitor.http.cookies.clear()
    sent_away = visitor.http.post(NEW, data=page.filled | {"token": ["x" * LONGEST]})

    assert "Kept from your last attempt" not in page.text
    assert kept(site) == []
    assert "is not kept" in visitor.get(sent_away.headers["location"]).text


def test_a_revoked_key_keeps_nothing(site: Site) -> None:
    """Though the tokens of its forms are good for hours."""
    store = ApiKeyStore(site.fleet.engine)
    key = store.create(OURS, Role.ADMIN, "revoked").key
    store.revoke(key.id)
    token = FormToken.of(OURS, key.id, NEW).sealed(site.resources.vault)
    for visitor in (site.visitor(None), site.visitor()):
        answer = visitor.http.post(NEW, data={FORM_FIELD: token, "csrf": "x", "name": "x"})
        assert answer.status_code == 303

    assert kept(site) == []


def test_what_is_indexed_is_what_is_kept(site: Site) -> None:
    """A draft that is written again counts once, and one that is forgotten does not count."""
    client: Any = site.fleet.client
    drafts = Drafts(client, SHARE)
    for name, text in (("a", "x"), ("a", "longer"), ("b", "y"), ("c", "z")):
        drafts.keep(OURS, name, text)
    for name in ("b", "never-was"):
        drafts.forget(OURS, name)
    index, total = keys.draft_index(hashlib.sha256(OURS.encode()).hexdigest()[:32])
    members = [member.partition(b":") for member in client.zrange(index, 0, -1)]

    assert {key for _, _, key in members} == set(client.keys("siem:draft:*"))
    assert int(client.get(total)) == sum(int(size) for size, _, _ in members)
    assert len(members) == 2
    assert 0 < client.ttl(index) <= 2 * KEPT


def _token(site: Site, page: Page) -> FormToken:
    token = token_in(FormData([(FORM_FIELD, page.filled[FORM_FIELD][-1])]), site.resources.vault)
    assert token is not None
    return token
