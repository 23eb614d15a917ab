"""The integrations of one tenant: what its people see of secrets, and that they see no other tenant's."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from worker.integrations.integration import Integration, parse_integration
from worker.ledger.engine import writing
from worker.ledger.integrations import IntegrationStore
from worker.model.errors import InvalidIntegration, NotFoundError, RevisionConflict
from worker.vault.marks import SecretMark
from worker.vault.vault import Vault

TOKEN = "a-long-secret-token-f3"


@pytest.fixture
def vault() -> Vault:
    """Give a vault."""
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
def store(engine: Engine, vault: Vault) -> IntegrationStore:
    """Give the integrations of all tenants: one each of `ours` and `theirs`."""
    made = IntegrationStore(engine, vault)
    for tenant in ("ours", "theirs"):
        made.create(splunk(f"int_{tenant}", tenant))
    return made


@pytest.fixture
def ours(store: IntegrationStore, vault: Vault) -> IntegrationStore:
    """Give those of `ours`."""
    return IntegrationStore(store.engine, vault).of("ours")


def splunk(integration_id: str, tenant: str, name: str = "splunk", token: str = TOKEN) -> Integration:
    """Make an integration."""
    destination = {"type": "splunk_hec", "url": "https://splunk.example.com:8088", "token": token}
    document = {"id": integration_id, "tenant_id": tenant, "name": name, "destination": destination}
    return parse_integration(document)


def with_token(token: str) -> Callable[[Integration], Integration]:
    """Return the change that gives it another token."""
    return lambda old: splunk(old.id, old.tenant_id, old.name, token)


def same(old: Integration) -> Integration:
    """Change nothing."""
    return old


def shown_token(ours: IntegrationStore) -> Any:
    """Return what is shown of our token."""
    return ours.show("int_ours").document["destination"]["token"]


def test_of_a_secret_its_mark_is_shown(ours: IntegrationStore) -> None:
    """Since when it is set, and its end; a change of anything else leaves that as it is."""
    made = ours.show("int_ours")
    ours.change("int_ours", lambda old: old.model_copy(update={"name": "renamed"}))

    assert shown_token(ours) == SecretMark(made.created_ms, "f3")
    assert ours.show("int_ours").document["name"] == "renamed"


@pytest.mark.parametrize("token", ["short", "elevenchars"])
def test_of_a_short_secret_no_end_is_shown(ours: IntegrationStore, token: str) -> None:
    """Two characters would be too much of it."""
    ours.change("int_ours", with_token(token))

    assert shown_token(ours) == SecretMark(ours.show("int_ours").updated_ms, None)


def test_what_was_there_before_has_no_date(ours: IntegrationStore, store: IntegrationStore) -> None:
    """Of secrets that an earlier release stored no date is known; a new one has a date again."""
    with writing(store.engine) as connection:
        connection.execute(text("UPDATE integrations SET secrets_set = NULL"))
    before = shown_token(ours)
    ours.change("int_ours", same)
    still = shown_token(ours)
    ours.change("int_ours", with_token("another-secret-token-9c"))

    assert before == still == SecretMark(None, None)
    assert shown_token(ours).tail == "9c"


def test_another_tenants_is_as_if_it_never_was(ours: IntegrationStore, store: IntegrationStore) -> None:
    """The error is the same, whatever is asked; nothing has changed."""
    questions: list[Callable[[str], Any]] = [
        ours.show,
        ours.get,
        ours.open,
        ours.resolve,
        lambda which: ours.change(which, same),
        lambda which: ours.change(which, same, {9}),
        lambda which: ours.set_enabled(which, enabled=False),
        lambda which: ours.set_paused(which, paused=True),
        ours.delete,
        lambda which: ours.delete(which, set()),
    ]
    texts = set()
    for ask in questions:
        for which in ("int_theirs", "int_never", "\0"):
            with pytest.raises(NotFoundError) as missing:
                ask(which)
            texts.add(str(missing.value))

    assert texts == {"there is no integration with this id"}
    everyone = ["int_ours", "int_theirs"]
    assert [one.id for one in ours.page(10)] == ["int_ours"]
    assert [one.id for one in ours.masked()] == [one.id for one in ours.list()] == ["int_ours"]
    assert [one.id for one in ours.records(everyone)] == ["int_ours"]
    assert [one.id for one in ours.states(everyone)] == ["int_ours"]
    assert list(ours.urls(everyone)) == ["int_ours"]
    assert [one.id for one in store.masked()] == everyone
    assert list(ours.names()) == ["int_ours"]
    assert (ours.knows("int_ours"), ours.knows("int_theirs")) == (True, False)
    assert store.get("int_theirs").name == "splunk"


def test_a_store_of_a_tenant_creates_no_others(ours: IntegrationStore, store: IntegrationStore) -> None:
    """From whichever door."""
    with pytest.raises(InvalidIntegration, match=r"^tenant_id"):
        ours.create(splunk("int_second", "theirs", "second"))
    ours.create(splunk("int_third", "ours", "third"))

    assert [one.id for one in store.records()] == ["int_ours", "int_theirs", "int_third"]


def test_a_version_that_was_not_seen_is_not_changed(ours: IntegrationStore) -> None:
    """A change, or deletion, of what was changed meanwhile is refused."""
    ours.change("int_ours", same, {1})
    with pytest.raises(RevisionConflict):
        ours.change("int_ours", with_token("never-to-be-stored-77"), {1})
    with pytest.raises(RevisionConflict):
        ours.delete("int_ours", {1})
    ours.delete("int_ours", {2, 7})

    assert ours.page(10) == []


def test_a_name_is_taken_once_by_a_tenant(ours: IntegrationStore, store: IntegrationStore) -> None:
    """Another tenant's name is free."""
    store.create(splunk("int_second", "ours", "second"))

    with pytest.raises(InvalidIntegration, match="name: is taken by another of your integrations"):
        ours.change("int_second", lambda old: old.model_copy(update={"name": "splunk"}))


def test_pages_follow_each_other(ours: IntegrationStore, store: IntegrationStore) -> None:
    """By the time they were made, and by id where that is the same."""
    for number in range(5):
        store.create(splunk(f"int_{number}", "ours", f"number {number}"))
    with writing(store.engine) as connection:
        connection.execute(text("UPDATE integrations SET created_ms = 7"))
    first = ours.page(4)
    second = ours.page(4, first[-1].place)

    ids = [one.id for one in first + second]
    assert ids == ["int_0", "int_1", "int_2", "int_3", "int_4", "int_ours"]


def test_a_deleted_one_has_no_mark_left(ours: IntegrationStore, store: IntegrationStore) -> None:
    """Nothing of the secret stays behind."""
    ours.delete("int_ours")
    with writing(store.engine) as connection:
        row = connection.execute(text("SELECT * FROM integrations WHERE id = 'int_ours'")).one()

    assert row.secrets_set is None
    assert "sealed" not in row.document
