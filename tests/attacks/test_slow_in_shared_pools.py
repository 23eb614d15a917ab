"""What is slow waits in threads of its own: forty hosts that never answer, and a Redis that hangs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.attacks.doors import SlowHost, ask, everything_answers
from tests.fleet import Fleet, wait_until
from tests.pages.conftest import HOME, OURS, THEIRS, Site, running
from worker.api.pools import TESTS, WORK
from worker.broker import connection
from worker.model.api_keys import Role

#: More than the threads that Starlette shares among everything.
CLICKS = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give the API and the pages; Redis may hang for longer than the tests wait."""
    directory: Path = tmp_path_factory.mktemp("pools")
    with pytest.MonkeyPatch.context() as patch, Fleet(directory) as fleet:
        patch.setattr(connection, "REPLY_TIMEOUT", 90.0)
        with running(fleet) as served:
            yield served
            while served.visitors:
                served.visitors.pop().http.close()


def test_forty_slow_hosts_hold_up_nobody(site: Site) -> None:
    """By the pages and by the API, tests of a tenant have a share: others, and readiness, notice nothing."""
    with SlowHost() as host, ThreadPoolExecutor(CLICKS) as clicks:
        hung = site.integrate("slow", url=host.url, timeout_seconds=30)
        visitor = site.visitor()
        proof = {"csrf": visitor.csrf()}

        def click(number: int) -> httpx.Response:
            if number % 4:
                return visitor.http.post(f"{HOME}/{hung}/test", data=proof, timeout=90)
            return visitor.http.post(
                f"/api/v1/integrations/siem/{hung}/test",
                headers={"Authorization": f"Bearer {site.keys[OURS, Role.ADMIN]}"},
                timeout=90,
            )

        answers = [clicks.submit(click, number) for number in range(CLICKS)]
        wait_until(lambda: host.take() >= TESTS.share, "the tests wait for the host")
        others = everything_answers(site)
        wait_until(lambda: sum(one.done() for one in answers) >= CLICKS - TESTS.share, "the rest is refused")
        host.__exit__()

    refused = [one.result() for one in answers if one.result().status_code == 429]
    assert others == {"readyz": 503, "metrics": 200, "events": 202, "list": 200, "page": 200}
    assert len(refused) == CLICKS - TESTS.share
    assert {one.headers["Retry-After"] for one in refused} == {"5"}
    assert all("too many tests of your tenant are under way" in one.text for one in refused)
    assert all("wait until one has ended" in one.text for one in refused)


def test_a_redis_that_hangs_holds_up_nobody_who_needs_none(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tenant waits for it as often as it likes: another's list comes, and readiness says what hangs."""
    monkeypatch.setattr("worker.api.fleet.PATIENCE", 0.5)
    # What was answered a moment before Redis hung is no answer here.
    monkeypatch.setattr("worker.api.fleet.FRESH", 0.0)
    one = site.integrate("waits")
    path = f"/api/v1/integrations/siem/{one}/health"
    ask(site, "GET", "/api/v1/event-types", tenant=OURS)
    with ThreadPoolExecutor(CLICKS) as pool:
        site.fleet.server.pause()
        try:
            waiting = [pool.submit(ask, site, "GET", path, tenant=OURS, timeout=90) for _ in range(CLICKS)]
            wait_until(lambda: WORK.running >= WORK.share, "requests wait for Redis")
            listed = ask(site, "GET", "/api/v1/integrations/siem", tenant=THEIRS)
            with httpx.Client(trust_env=False, timeout=90) as http:
                ready = http.get(f"{site.url}/readyz")
        finally:
            site.fleet.server.resume()
        answers = {one.result() for one in waiting}

    assert (listed, ready.status_code) == (200, 503)
    assert [part["name"] for part in ready.json()["parts"] if not part["ok"]] == ["answers"]
    assert answers == {200}
