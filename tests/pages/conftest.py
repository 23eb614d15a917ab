"""The pages, served on loopback with a real Redis and a real ledger behind them, for two tenants."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.fleet import Fleet, wait_until
from tests.pages.reading import Page
from worker.api.app import create_app
from worker.api.resources import Resources
from worker.api.server import bind_socket, listener_url, server_of
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import Role
from worker.pages.app import add_pages

OURS, THEIRS = "ours", "theirs"
HOME = "/settings/integrations"
#: What the tests of a session make together in one tenant.
AMPLE = {"tenant_integrations": 10_000, "tenant_replays": 10_000}


@dataclass
class Site:
    """Pages that answer. `keys` are the texts of keys by tenant and role."""

    url: str
    fleet: Fleet
    resources: Resources
    keys: dict[tuple[str, Role], str] = field(repr=False)
    visitors: "list[Visitor]" = field(default_factory=list)

    def visitor(self, role: Role | None = Role.ADMIN, tenant: str = OURS) -> "Visitor":
        """Give someone who has signed in with a key of that role; with none, someone who has not."""
        visitor = Visitor(self.url)
        self.visitors.append(visitor)
        if role is not None:
            answer = visitor.http.post("/sign-in", data={"key": self.keys[tenant, role]})
            assert answer.status_code == 303, answer.text
        return visitor

    def integrate(
        self, name: str, tenant: str = OURS, url: str = "https://hook.example.com/in", **more: Any
    ) -> str:
        """Make an integration, a webhook unless `type` says otherwise; return its id."""
        given = {"type": "webhook", "tenant_id": tenant, **more}
        return self.fleet.integrate(url, name, **given).id


class Visitor:
    """A browser without its screen: keeps its cookie, reads pages, sends forms."""

    def __init__(self, url: str) -> None:
        """Begin without a cookie."""
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=90)

    def get(self, path: str, status: int = 200, **more: Any) -> Page:
        """Load a page."""
        answer = self.http.get(path, **more)
        assert answer.status_code == status, answer.text
        return Page(answer.text)

    def post(self, path: str, /, *, status: int = 303, **fields: Any) -> httpx.Response:
        """Send a form as a page of ours would, with its proof."""
        data = {"csrf": self.csrf(), **fields}
        answer = self.http.post(path, data=data)
        assert answer.status_code == status, answer.text
        return answer

    def csrf(self) -> str:
        """Return the proof that stands in every page of this session."""
        return self.get(HOME).value_of("csrf")


@contextmanager
def running(fleet: Fleet, **changes: Any) -> Iterator[Site]:
    """Serve the pages of a fleet from a thread, with these settings changed, and give keys to them."""
    config = fleet.settings.model_copy(update={"api_port": 0, **AMPLE, **changes})
    resources = Resources.of(config)
    app = create_app(resources)
    add_pages(app)
    server = server_of(app, config)
    keys = ApiKeyStore(fleet.engine)
    texts = {
        (tenant, role): keys.create(tenant, role, f"{role.value} of {tenant}").text
        for tenant in (OURS, THEIRS)
        for role in Role
    }
    with closing(bind_socket(config)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started, "the pages answer")
            yield Site(listener_url(listener), fleet, resources, texts)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def standing_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give the pages, shared by the tests of a session; no process of the fleet runs."""
    # More than a tenant may own as a rule: all tests share the two tenants.
    with (
        Fleet(tmp_path_factory.mktemp("pages"), SIEM_TENANT_INTEGRATIONS="1000") as fleet,
        running(fleet) as served,
    ):
        yield served


@pytest.fixture
def site(standing_site: Site) -> Iterator[Site]:
    """Give the pages; their visitors leave at the end."""
    yield standing_site
    while standing_site.visitors:
        standing_site.visitors.pop().http.close()
