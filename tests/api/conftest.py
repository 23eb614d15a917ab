"""An API that answers on loopback, with a real Redis and a real ledger behind it, for two tenants."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fleet import Fleet, wait_until
from worker.api.app import create_app
from worker.api.resources import Resources
from worker.api.server import bind_socket, listener_url, server_of
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import Role

#: The tenants that have keys: one for each role.
OURS, THEIRS = "ours", "theirs"
ADMIN, READ_ONLY, PUBLISH_ONLY = (role.value for role in Role)

PREFIX = "/api/v1"
#: What the tests of a session make together in one tenant.
AMPLE = {"tenant_integrations": 10_000, "tenant_replays": 10_000}


@dataclass
class Api:
    """A running API. `keys` are the texts of keys by tenant and role; `fleet` has no process running."""

    url: str
    fleet: Fleet
    resources: Resources
    keys: dict[tuple[str, str], str]
    http: httpx.Client = field(repr=False)

    def ask(self, method: str, path: str, role: str = ADMIN, tenant: str = OURS, **more: Any) -> Any:
        """Send a request with a key; the path is below /api/v1, `more` is for httpx."""
        headers = {"Authorization": f"Bearer {self.keys[tenant, role]}", **more.pop("headers", {})}
        return self.http.request(method, self.url + PREFIX + path, headers=headers, **more)

    def get(self, path: str, **more: Any) -> Any:
        """Return the document that an admin is answered with 200."""
        answer = self.ask("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(self, document: dict[str, Any] | None = None, tenant: str = OURS, **changes: Any) -> Any:
        """Create an integration, a webhook unless the document says otherwise; return its document."""
        given = {"type": "webhook", "url": "https://hook.example.com/in"} if document is None else document
        answer = self.ask("POST", "/integrations/siem", tenant=tenant, json={**given, **changes})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def take_away_ledger(self) -> None:
        """Put a folder in the place of the ledger's file: the database does not answer any more."""
        ledger = self.fleet.directory / "ledger.sqlite3"
        self.fleet.engine.dispose()
        self.resources.engine.dispose()
        self.resources.reserve.dispose()
        ledger.rename(ledger.with_suffix(".away"))
        ledger.mkdir()


@contextmanager
def running(fleet: Fleet, **changes: Any) -> Iterator[Api]:
    """Serve the API of a fleet from a thread, with these settings changed, and give keys to it."""
    config = fleet.settings.model_copy(update={"api_port": 0, **AMPLE, **changes})
    resources = Resources.of(config)
    server = server_of(create_app(resources), config)
    keys = ApiKeyStore(fleet.engine)
    texts = {
        (tenant, role.value): keys.create(tenant, role, f"{role.value} of {tenant}").text
        for tenant in (OURS, THEIRS)
        for role in Role
    }
    with closing(bind_socket(config)) as listener, httpx.Client(trust_env=False, timeout=90) as http:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started, "the API answers")
            yield Api(listener_url(listener), fleet, resources, texts, http)
        finally:
            server.should_exit = True
            http.close()
            thread.join()


@pytest.fixture(scope="session")
def bare_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give Redis and a ledger; none of its processes runs."""
    directory: Path = tmp_path_factory.mktemp("api")
    with Fleet(directory) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def api(bare_fleet: Fleet) -> Iterator[Api]:
    """Give the API, shared by the tests of a session: make what you need, and change only that."""
    with running(bare_fleet) as served:
        yield served
