"""The store of integrations: names, tenants, deletion, and secrets that never rest in the clear."""

import json
import time
from itertools import product

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text, update

from worker.integrations.integration import Integration, parse_integration, unreadable_in
from worker.ledger.engine import reading, writing
from worker.ledger.integrations import IntegrationStore
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration, NotFoundError, SecretUnreadable
from worker.vault.documents import open_document
from worker.vault.vault import Vault


def _integration(integration_id: str, name: str, tenant_id: str = "default") -> Integration:
    url = "https://splunk.example.com:8088/services/collector/event"
    destination = {"type": "splunk_hec", "url": url, "token": "plain-token"}
    return parse_integration(
        {"id": integration_id, "name": name, "tenant_id": tenant_id, "destination": destination}
    )


@pytest.fixture
def vault() -> Vault:
    """Give a vault with a new key."""
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
def store(engine: Engine, vault: Vault) -> IntegrationStore:
    """Give an empty store."""
    return IntegrationStore(engine, vault)


def test_created_is_found_by_id_and_by_name(store: IntegrationStore) -> None:
    """What was created comes back whole, secret included, by either."""
    made = _integration("int_a", "Splunk EU")
    store.create(made)

    assert store.get("int_a") == made
    assert store.get(store.of("default").resolve("Splunk EU")) == made
    assert store.list() == [made]


def test_secret_does_not_rest_in_the_clear(store: IntegrationStore, engine: Engine) -> None:
    """No column of the row holds the secret."""
    store.create(_integration("int_a", "Splunk"))
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT * FROM integrations")).all()

    assert "plain-token" not in str(rows)


def test_name_is_taken_within_its_tenant(store: IntegrationStore) -> None:
    """A name is given once in a tenant; another tenant may have it too."""
    store.create(_integration("int_a", "Splunk"))
    store.create(_integration("int_b", "Splunk", "other"))

    with pytest.raises(InvalidIntegration, match=r"^name: Splunk is taken"):
        store.create(_integration("int_c", "Splunk"))


def test_id_is_taken_for_ever(store: IntegrationStore) -> None:
    """An id names one integration, even after that is deleted."""
    store.create(_integration("int_a", "Splunk"))
    store.delete("int_a")

    with pytest.raises(InvalidIntegration, match=r"^id: int_a is taken"):
        store.create(_integration("int_a", "Splunk"))


def test_tenant_that_cannot_be_printed_is_refused(store: IntegrationStore) -> None:
    """A tenant that one of the databases cannot hold is refused in both."""
    with pytest.raises(InvalidIntegration, match=r"^tenant_id"):
        store.create(_integration("int_a", "Splunk", "ten\0ant"))


def test_name_is_free_after_deletion(store: IntegrationStore) -> None:
    """A deleted integration is found no more, and its name serves again."""
    store.create(_integration("int_a", "Splunk"))
    store.delete("int_a")
    successor = _integration("int_b", "Splunk")
    store.create(successor)

    assert store.get(store.resolve("Splunk")) == successor
    assert store.list() == [successor]
    with pytest.raises(NotFoundError):
        store.get("int_a")


def test_deletion_forgets_the_secrets(store: IntegrationStore, engine: Engine, vault: Vault) -> None:
    """After the deletion nothing is left that a key could open, not even with the key lost."""
    store.create(_integration("int_a", "Splunk"))
    IntegrationStore(engine, Vault([Fernet.generate_key().decode()])).delete("int_a")
    [record] = store.records()

    assert record.deleted
    assert record.revision == 2
    assert json.loads(record.document)["destination"]["token"] is None
    assert "$sealed" not in record.document
    assert vault is not None


def test_deletion_is_dated(store: IntegrationStore, engine: Engine) -> None:
    """The row says when it was made and when it was deleted."""
    before = time.time_ns() // 1_000_000
    store.create(_integration("int_a", "Splunk"))
    store.delete("int_a")
    with reading(engine) as connection:
        columns = "created_ms, updated_ms, deleted_ms"
        created, updated, deleted = connection.execute(text(f"SELECT {columns} FROM integrations")).one()  # noqa: S608 - columns of ours

    assert before <= created <= updated == deleted


def test_missing_integration_says_where_to_look(store: IntegrationStore) -> None:
    """What is not there is reported with the command that lists what is."""
    store.create(_integration("int_a", "Splunk"))

    for find in (store.resolve, store.get, store.open, store.show, store.delete):
        for missing in ("int_x", "No such name", "with\0nul", "%"):
            with pytest.raises(NotFoundError, match="siem integrations list"):
                find(missing)


def test_deleting_twice_is_an_error(store: IntegrationStore) -> None:
    """The second deletion finds nothing to delete."""
    store.create(_integration("int_a", "Splunk"))
    store.delete("int_a")

    with pytest.raises(NotFoundError):
        store.delete("int_a")


def test_switching_off_and_on(store: IntegrationStore) -> None:
    """Column, document and revision follow; its secrets stay what they were."""
    made = _integration("int_a", "Splunk")
    store.create(made)
    off = store.set_enabled("int_a", False)
    [sealed] = store.records()

    assert off == made.model_copy(update={"enabled": False}) == store.get("int_a")
    assert (sealed.revision, json.loads(sealed.document)["enabled"]) == (2, False)
    assert "plain-token" not in sealed.document
    assert store.set_enabled("int_a", True) == made == store.get("int_a")
    assert store.records()[0].revision == 3


def test_switching_is_dated_and_stands_in_its_column(store: IntegrationStore, engine: Engine) -> None:
    """Who asks the database alone gets the same answer as who reads the document."""
    store.create(_integration("int_a", "Splunk"))
    store.set_enabled("int_a", False)
    columns = "enabled, updated_ms >= created_ms, disabled_reason, disabled_ms"
    with reading(engine) as connection:
        row = connection.execute(text(f"SELECT {columns} FROM integrations")).one()  # noqa: S608 - columns of ours

    assert tuple(row) == (False, True, None, None)
    assert store.disabled_by_destination() == {}


def test_switching_to_what_it_is_counts_as_a_change(store: IntegrationStore) -> None:
    """The copy in Redis may have been held by a worker, and must be written again."""
    store.create(_integration("int_a", "Splunk"))
    store.set_enabled("int_a", True)

    assert store.records()[0].revision == 2


def test_only_what_lives_is_switched(store: IntegrationStore, subtests: pytest.Subtests) -> None:
    """What is deleted stays deleted; for what was never there, the error says where to look."""
    store.create(_integration("int_gone", "Splunk"))
    store.delete("int_gone")
    before = store.records()

    for missing, enabled in product(("int_x", "Splunk", "with\0nul", "int_gone"), (True, False)):
        with subtests.test(missing=missing, enabled=enabled):
            with pytest.raises(NotFoundError, match="siem integrations list"):
                store.set_enabled(missing, enabled)
            assert store.records() == before


def test_what_no_key_opens_is_switched_all_the_same(store: IntegrationStore, engine: Engine) -> None:
    """To disable or pause needs no secret; it stays sealed as it was, and its key still opens it."""
    store.create(_integration("int_a", "Splunk"))
    before = store.get("int_a")
    stranger = IntegrationStore(engine, Vault([Fernet.generate_key().decode()]))
    stranger.set_enabled("int_a", enabled=False)
    stranger.set_paused("int_a", paused=True)

    assert store.get("int_a") == before.model_copy(update={"enabled": False, "paused": True})


def test_tenants_do_not_see_each_other(store: IntegrationStore) -> None:
    """With a tenant given, only its integrations are found, by id as well."""
    mine = _integration("int_a", "Splunk", "mine")
    theirs = _integration("int_b", "Splunk", "theirs")
    store.create(mine)
    store.create(theirs)

    assert store.of("mine").list() == [mine]
    assert store.get(store.of("theirs").resolve("Splunk")) == theirs
    assert store.list() == [mine, theirs]
    with pytest.raises(NotFoundError):
        store.of("mine").get("int_b")


def test_name_in_several_tenants_is_not_guessed(store: IntegrationStore) -> None:
    """Without a tenant, a name that several have is answered with their ids."""
    store.create(_integration("int_a", "Splunk", "mine"))
    store.create(_integration("int_b", "Splunk", "theirs"))

    with pytest.raises(NotFoundError, match="int_a, int_b"):
        store.resolve("Splunk")


def test_id_wins_over_a_name(store: IntegrationStore) -> None:
    """An integration whose name is another's id does not stand in its way."""
    made = _integration("int_a", "Splunk")
    store.create(made)
    store.create(_integration("int_b", "int_a"))

    assert store.get("int_a") == made
    assert store.resolve("int_a") == "int_a"


def test_name_resolves_without_a_key(store: IntegrationStore, engine: Engine) -> None:
    """Ids come from names with the key lost too; a deleted integration still answers to its id."""
    store.create(_integration("int_a", "Splunk"))
    store.create(_integration("int_b", "Gone"))
    store.delete("int_b")
    stranger = IntegrationStore(engine, Vault([Fernet.generate_key().decode()]))

    assert [stranger.resolve(name) for name in ("int_a", "Splunk", "int_b")] == ["int_a", "int_a", "int_b"]
    for missing in ("Gone", "int_x"):
        with pytest.raises(NotFoundError):
            stranger.resolve(missing)


def test_records_are_sealed_and_complete(store: IntegrationStore, vault: Vault) -> None:
    """The copy for Redis has every integration, deleted ones too, by id, and opens only with the key."""
    kept = _integration("int_b", "Kept")
    store.create(kept)
    store.create(_integration("int_a", "Gone"))
    store.delete("int_a")
    records = store.records()

    assert [(record.id, record.type, record.revision, record.deleted) for record in records] == [
        ("int_a", "splunk_hec", 2, True),
        ("int_b", "splunk_hec", 1, False),
    ]
    assert "plain-token" not in str(records)
    assert open_document(json.loads(records[1].document), vault) == kept


def test_lost_key_names_the_integration(store: IntegrationStore, engine: Engine) -> None:
    """With another key everything is shown but secrets, and a worker that sends learns which is missing."""
    store.create(_integration("int_a", "Splunk EU"))
    stranger = IntegrationStore(engine, Vault([Fernet.generate_key().decode()]))

    assert [one.name for one in stranger.list()] == ["Splunk EU"]
    assert unreadable_in(stranger.get("int_a")) == ["token"]
    with pytest.raises(SecretUnreadable, match="token of integration Splunk EU"):
        stranger.open("int_a")


def test_what_another_release_wrote_does_not_hide_the_others(
    store: IntegrationStore, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """One that this release cannot read is left out of the list, and the log names it."""
    store.create(_integration("int_a", "Splunk EU"))
    store.create(_integration("int_b", "Splunk US"))
    strange = json.loads(store.records()[0].document) | {"of_a_later_release": True}
    with writing(engine) as connection:
        mine = update(integrations).where(integrations.c.id == "int_a")
        connection.execute(mine.values(document=json.dumps(strange)))

    assert [one.name for one in store.list()] == ["Splunk US"]
    assert "Splunk EU (int_a)" in caplog.text
