"""Anonymous wrong keys: they are slowed down, and no right key is refused for them, whatever its address."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fleet import Fleet
from tests.pages.conftest import OURS, THEIRS, Site, running
from worker.api.access import MOST_OF_ADDRESS
from worker.model.api_keys import Role, make_id, make_text


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give Redis and a ledger."""
    directory: Path = tmp_path_factory.mktemp("keys")
    with Fleet(directory) as own:
        yield own


@pytest.mark.parametrize("is_proxied", [False, True])
def test_a_right_key_is_not_refused_for_wrong_ones(fleet: Fleet, *, is_proxied: bool) -> None:
    """Neither one in use nor one that this process has never seen, at the API and at the sign-in page."""
    trusted = fleet.settings.allowed_networks if is_proxied else ()
    with (
        running(fleet, api_trusted_proxies=trusted) as site,
        httpx.Client(base_url=site.url, trust_env=False, timeout=90) as http,
    ):
        http.headers["X-Forwarded-For"] = "198.51.100.7"
        before = _knock(http, site, OURS)
        wrong = [_knock_with(http, make_text(make_id())) for _ in range(MOST_OF_ADDRESS + 10)]
        own = [make_text(site.keys[OURS, Role.ADMIN].split("_")[1]) for _ in range(30)]
        guessed = [_knock_with(http, text) for text in own]

        assert before == 200
        assert wrong == [401] * MOST_OF_ADDRESS + [429] * 10
        assert set(guessed) == {429}
        assert (_knock(http, site, OURS), _knock(http, site, THEIRS)) == (200, 200)
        assert _sign_in(http, make_text(make_id())) == 429
        assert _sign_in(http, site.keys[THEIRS, Role.READ_ONLY]) == 303


def _knock(http: httpx.Client, site: Site, tenant: str) -> int:
    return _knock_with(http, site.keys[tenant, Role.ADMIN])


def _knock_with(http: httpx.Client, text: str) -> int:
    return http.get("/api/v1/event-types", headers={"Authorization": f"Bearer {text}"}).status_code


def _sign_in(http: httpx.Client, text: str) -> int:
    return http.post("/sign-in", data={"key": text}).status_code
