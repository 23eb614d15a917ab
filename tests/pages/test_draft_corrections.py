"""A correction that someone typed stays, whatever keeps it from being published."""

import itertools
import json
import threading
from contextlib import suppress

import pytest

from tests.api.publishing import event
from tests.attacks.test_invalid_events import broken, reject
from tests.fleet import wait_until
from tests.pages.conftest import HOME, OURS, THEIRS, Site, Visitor
from tests.pages.reading import Fields, Page
from worker.api.pools import WORK, PoolFull
from worker.ledger.dead_letters import find_letter
from worker.model.api_keys import Role
from worker.model.replays import LetterState

_numbers = itertools.count(5000)


class Typing:
    """Someone who has typed the correction of a letter, and not sent it yet."""

    def __init__(self, site: Site) -> None:
        """Open the page of a new letter, and type."""
        number = next(_numbers)
        self.site, self.visitor = site, site.visitor()
        self.letter = reject(site.fleet, broken(number=number))
        self.path = f"{HOME}/dead-letters/{self.letter}"
        self.typed = json.dumps(event(number, drift_score=1, reason="typed"))
        self.form: Fields = self.visitor.get(self.path).filled | {"event": [self.typed]}

    def sign_in(self, tenant: str = OURS, wanted: str = HOME) -> str:
        """Sign in, with another session then; return where that leads."""
        form = {"key": self.site.keys[tenant, Role.ADMIN], "next": wanted}
        return self.visitor.http.post("/sign-in", data=form).headers["location"]

    def send(self, visitor: Visitor | None = None) -> str:
        """Send the form as it is; return where the answer leads to."""
        answer = (visitor or self.visitor).http.post(f"{self.path}/correct", data=self.form)
        return answer.headers.get("location") or _way_back(Page(answer.text))

    def is_back_at(self, location: str) -> bool:
        """Whether the correction stands in the page there, and can be published from it."""
        page = self.visitor.get(location)
        self.form = page.filled
        reported = "was restored" in page.text and page.filled["event"] == [self.typed]
        self.send()
        return reported and find_letter(self.site.fleet.engine, self.letter).state is LetterState.REPLAYED


def _way_back(page: Page) -> str:
    return next(one.attributes["href"] for one in page.all("a") if "draft=" in one.attributes.get("href", ""))


def _is_submitted(done: threading.Event) -> bool:
    with suppress(PoolFull):
        return bool(WORK.submit(OURS, done.wait))
    return False


def test_an_ended_session_keeps_a_correction(site: Site) -> None:
    """Who signs in again finds it."""
    typing = Typing(site)
    typing.visitor.http.cookies.clear()
    asked = typing.visitor.get(typing.send())

    assert "Your session has ended" in asked.text
    assert typing.is_back_at(typing.sign_in(wanted=asked.value_of("next")))


def test_a_sign_in_in_between_keeps_a_correction(site: Site) -> None:
    """As in another tab; no one of another tenant sees it."""
    typing = Typing(site)
    typing.sign_in(THEIRS)
    wanted = typing.visitor.get(typing.send()).value_of("next")
    typing.visitor.get(wanted, 404)

    assert typing.is_back_at(typing.sign_in(wanted=wanted))


def test_a_tenant_whose_threads_are_all_taken_keeps_a_correction(site: Site) -> None:
    """The page that says so leads back to it."""
    typing, done = Typing(site), threading.Event()
    try:
        for _ in range(WORK.most_of_one):
            # What the page has asked for before may still hold a place.
            wait_until(lambda: _is_submitted(done), "every place is taken")
        location = typing.send()
    finally:
        done.set()

    assert typing.is_back_at(location)


def test_a_redis_that_takes_no_writes_keeps_a_correction(site: Site) -> None:
    """There it cannot be kept, so it stands in the answer."""
    typing, client = Typing(site), site.fleet.client
    client.config_set("maxmemory", "1")
    try:
        answer = typing.visitor.http.post(f"{typing.path}/correct", data=typing.form)
    finally:
        client.config_set("maxmemory", "0")

    assert answer.status_code == 503
    assert Page(answer.text).filled["event"] == [typing.typed]


def test_a_correction_that_comes_too_late_is_shown_with_the_reason(site: Site) -> None:
    """Someone else has published one meanwhile."""
    typing = Typing(site)
    typing.send()
    late = typing.visitor.http.post(f"{typing.path}/correct", data=typing.form)

    assert late.status_code == 422
    assert "replayed already" in Page(late.text).text
    assert typing.typed in Page(late.text).text


@pytest.mark.parametrize("name", ["never-was", "x" * 300])
def test_a_correction_that_is_gone_is_reported(site: Site, name: str) -> None:
    """The form has the event as it was."""
    typing = Typing(site)
    page = typing.visitor.get(typing.path, params={"draft": name})

    assert "no longer kept" in page.text
    assert "high" in page.filled["event"][0]
