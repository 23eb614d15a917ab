"""What one tenant may own is bounded, also where two requests come at once."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine

from tests.ledger.letters import bury, live
from worker.integrations.integration import Integration, parse_integration
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.replays import create_replay, end_replay, running_replays
from worker.model.deliveries import Failure
from worker.model.failures import FailureCode
from worker.model.limits import Quotas, TooLargeIntegration, TooManyIntegrations, TooManyReplays
from worker.model.replays import DeadLetterFilter, ReplayState
from worker.vault.vault import Vault

pytestmark = pytest.mark.slow

QUOTAS = Quotas(integrations=3, integration_bytes=4096, replays=3)
AT_ONCE = 8


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Give a ledger in each database in turn."""
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'l'}" if is_file else request.getfixturevalue("postgres_url")
    made = open_ledger(url)
    upgrade_tables(made)
    yield made
    made.dispose()


@pytest.fixture
def vault() -> Vault:
    """Give a vault."""
    return Vault([Fernet.generate_key().decode()])


def webhook(name: str, tenant: str = "a", **destination: Any) -> Integration:
    """Make an integration."""
    return parse_integration(
        {
            "id": f"int_{name}",
            "name": name,
            "tenant_id": tenant,
            "destination": {"type": "webhook", "url": "https://hook.example.com/in", **destination},
        }
    )


def at_once(do: Callable[[int], object], refusal: type[Exception]) -> int:
    """Do it in many threads at the same moment; count those that were not refused."""
    start, done = threading.Barrier(AT_ONCE), []

    def one(number: int) -> None:
        start.wait()
        try:
            do(number)
        except refusal:
            return
        done.append(number)

    threads = [threading.Thread(target=one, args=[number]) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)


def test_creations_at_once_stay_within_the_quota(engine: Engine, vault: Vault) -> None:
    """Of eight that come together where one has room, one is made; a neighbour has room of its own."""
    store = IntegrationStore(engine, vault, QUOTAS)
    for number in range(2):
        store.create(webhook(f"first{number}"))

    assert at_once(lambda number: store.create(webhook(f"w{number}")), TooManyIntegrations) == 1
    store.create(webhook("theirs", "b"))
    with pytest.raises(TooManyIntegrations, match=r"tenant_integrations: 3\).*SIEM_TENANT_INTEGRATIONS"):
        store.create(webhook("more"))


def test_a_deleted_integration_makes_room(engine: Engine, vault: Vault) -> None:
    """Only those that live count."""
    store = IntegrationStore(engine, vault, QUOTAS)
    for number in range(3):
        store.create(webhook(f"w{number}"))
    store.delete("int_w0")
    store.create(webhook("w3"))

    assert len(store.of("a").list()) == 3


def test_a_large_document_is_refused_by_its_largest_field(engine: Engine, vault: Vault) -> None:
    """Created or changed; nothing has changed then."""
    store = IntegrationStore(engine, vault, QUOTAS)
    large = {"X-Large": "x" * 4000}
    with pytest.raises(TooLargeIntegration) as refused:
        store.create(webhook("w", headers=large))
    store.create(webhook("w"))
    mine = IntegrationStore(engine, vault, QUOTAS).of("a")
    with pytest.raises(TooLargeIntegration):
        mine.change("int_w", lambda _: webhook("w", headers=large))

    assert refused.value.field == "headers"
    assert refused.value.limit == "integration_bytes"
    assert refused.value.most == 4096
    assert mine.show("int_w").revision == 1


def test_what_was_too_large_before_may_be_changed(engine: Engine, vault: Vault) -> None:
    """A lower limit breaks nothing: it can be renamed and made smaller, and not larger."""
    IntegrationStore(engine, vault).create(webhook("w", headers={"X-One": "x" * 3000, "X-Two": "x" * 3000}))
    mine = IntegrationStore(engine, vault, QUOTAS).of("a")
    mine.change("int_w", lambda one: one.model_copy(update={"paused": True}))
    mine.change("int_w", lambda _: webhook("w", headers={"X-One": "x" * 3000, "X-Two": "x" * 2000}))

    with pytest.raises(TooLargeIntegration):
        mine.change("int_w", lambda _: webhook("w", headers={"X-One": "x" * 3000, "X-Two": "x" * 2100}))


def test_replays_at_once_stay_within_the_quota(engine: Engine) -> None:
    """Whichever integration of the tenant they are for, and whichever key asks; one that ended makes room."""
    live(engine, "int_a", "int_b", tenant="a")
    live(engine, "int_c", tenant="c")
    bury(engine, "e1", "e2")

    def replay(number: int) -> str:
        home = "int_a" if number % 2 else "int_b"
        selection = DeadLetterFilter(integration_id=home)
        made = create_replay(engine, selection, target_id=None, rate=1, made_by="test", quotas=QUOTAS)
        return made.id

    first = replay(0)
    assert at_once(replay, TooManyReplays) == 2
    of_tenant = DeadLetterFilter(tenant_id="a")
    with pytest.raises(TooManyReplays, match="tenant_replays: 3"):
        create_replay(engine, of_tenant, target_id=None, rate=1, made_by="test", quotas=QUOTAS)
    create_replay(
        engine, DeadLetterFilter(tenant_id="c"), target_id="int_c", rate=1, made_by="test", quotas=QUOTAS
    )
    end_replay(engine, first, ReplayState.CANCELLED)
    create_replay(engine, of_tenant, target_id=None, rate=1, made_by="test", quotas=QUOTAS)


def test_enabling_again_and_again_makes_one_replay(engine: Engine, vault: Vault) -> None:
    """What brings letters back by itself counts for no quota, so there must be no way to make many."""
    store = IntegrationStore(engine, vault)
    store.create(webhook("w"))
    gone = Failure(FailureCode.ENDPOINT_GONE, "HTTP 410", "remove it", 410)
    bury(engine, "e1", "e2", integration_id="int_w", failure=gone)
    for _ in range(5):
        store.set_enabled("int_w", False)
        store.set_enabled("int_w", True)

    assert len(running_replays(engine)) == 1


def test_what_was_deleted_takes_little(engine: Engine, vault: Vault) -> None:
    """A tenant that creates and deletes again and again does not fill the ledger with what was large."""
    store = IntegrationStore(engine, vault)
    store.create(webhook("w", headers={"X-One": "x" * 3000, "X-Two": "x" * 3000}))
    store.create(webhook("v", headers={"X-One": "x" * 3000, "X-Two": "x" * 3000}))
    store.delete("int_w")
    IntegrationStore(engine, vault).of("a").delete("int_v")

    for record in store.records():
        assert record.deleted
        assert len(record.document) < 1500
        assert '"url": "https://hook.example.com/in"' in record.document
