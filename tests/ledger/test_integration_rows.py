"""An outcome that says its destination is gone switches the integration off: once, and with the reason."""

import threading
from contextlib import suppress

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, event

from tests.ledger.content import recorded_rows
from tests.ledger.entries import NOON, letter, outcome
from worker.integrations.integration import parse_integration
from worker.ledger.integrations import IntegrationStore
from worker.ledger.letter_changes import discard_dead_letters
from worker.ledger.recording import record_entries
from worker.ledger.replays import running_replays
from worker.ledger.results import DisabledIntegration, IntegrationRecord, Recorded
from worker.model.deliveries import Cause, Failure, Outcome, Status
from worker.model.failures import FailureCode
from worker.model.replays import DeadLetterFilter
from worker.vault.vault import Vault

WORDS = "HTTP 410: Gone"
KEY = Fernet.generate_key().decode()


@pytest.fixture
def store(engine: Engine) -> IntegrationStore:
    """Give a store with two integrations that are enabled."""
    store = IntegrationStore(engine, Vault([KEY]))
    for name in ("a", "b"):
        destination = {
            "type": "webhook",
            "url": "https://endpoint.example.com/",
            "headers": {"X-Key": "secret"},
        }
        store.create(
            parse_integration({"id": f"int_{name}", "name": f"Hook {name}", "destination": destination})
        )
    return store


def gone(
    *, integration_id: str = "int_a", settled_ms: int = NOON, status: Status = Status.DEAD, words: str = WORDS
) -> Outcome:
    """Say that an event met an endpoint that is gone."""
    failure = Failure(FailureCode.ENDPOINT_GONE, words, "change it", 410)
    return outcome(
        [f"evt_{settled_ms}"], status, integration_id=integration_id, settled_ms=settled_ms, failure=failure
    )


def revisions(store: IntegrationStore) -> dict[str, tuple[int, bool]]:
    """Return revision and state of each."""
    enabled = {one.id: one.enabled for one in store.list()}
    return {one.id: (one.revision, enabled[one.id]) for one in store.records() if one.id in enabled}


@pytest.mark.parametrize("status", [Status.DEAD, Status.RETRYING])
def test_a_destination_that_is_gone_is_disabled(store: IntegrationStore, status: Status) -> None:
    """Whether the event died of it or waits, its integration is off, with reason and time; no other is."""
    recorded = record_entries(store.engine, [("5-0", [gone(status=status)])], [])

    off = DisabledIntegration("int_a", "Hook a", WORDS, NOON)
    assert recorded == Recorded(1, (off,))
    assert store.disabled_by_destination() == {"int_a": off}
    assert revisions(store) == {"int_a": (2, False), "int_b": (1, True)}


def test_document_and_secrets_stay_whole(store: IntegrationStore) -> None:
    """Nothing but `enabled` changes in the document, which is the copy for Redis."""
    before = store.get("int_a")
    record_entries(store.engine, [("5-0", [gone()])], [])

    assert store.get("int_a") == before.model_copy(update={"enabled": False})


def test_the_same_entry_again_switches_nothing(store: IntegrationStore) -> None:
    """It was enabled meanwhile: what was recorded before does not undo that."""
    entries = [("5-0", [gone()])]
    record_entries(store.engine, entries, [])
    store.set_enabled("int_a", True)
    again = record_entries(store.engine, entries, [])

    assert again == Recorded(0, ())
    assert store.disabled_by_destination() == {}
    assert revisions(store)["int_a"] == (3, True)


def test_a_further_answer_switches_off_again(store: IntegrationStore) -> None:
    """Switched on too early, it goes off with the next answer, and names that one."""
    record_entries(store.engine, [("5-0", [gone()])], [])
    store.set_enabled("int_a", True)
    record_entries(store.engine, [("6-0", [gone(settled_ms=NOON + 5, words="HTTP 410: still gone")])], [])

    assert store.disabled_by_destination() == {
        "int_a": DisabledIntegration("int_a", "Hook a", "HTTP 410: still gone", NOON + 5)
    }


def test_the_first_answer_counts(store: IntegrationStore) -> None:
    """Of several in one transaction or after it, one switches off, and its words stay."""
    first = record_entries(
        store.engine, [("5-0", [gone()]), ("5-1", [gone(settled_ms=NOON + 1, words="later")])], []
    )
    later = record_entries(store.engine, [("6-0", [gone(settled_ms=NOON + 2, words="later still")])], [])

    assert [len(recorded.disabled_by_destination) for recorded in (first, later)] == [1, 0]
    assert store.disabled_by_destination()["int_a"].reason == WORDS
    assert revisions(store)["int_a"] == (2, False)


def test_what_a_person_has_disabled_keeps_no_reason(store: IntegrationStore) -> None:
    """It was off already: the destination did not do that."""
    store.set_enabled("int_a", False)
    recorded = record_entries(store.engine, [("5-0", [gone()])], [])

    assert recorded.disabled_by_destination == ()
    assert store.disabled_by_destination() == {}


def test_switching_on_forgets_the_reason_and_off_keeps_it(store: IntegrationStore) -> None:
    """A person who switches off what is off changes nothing about why; on again, nothing is left of it."""
    record_entries(store.engine, [("5-0", [gone()])], [])
    store.set_enabled("int_a", False)
    kept = store.disabled_by_destination()
    store.set_enabled("int_a", True)
    store.set_enabled("int_a", False)

    assert list(kept) == ["int_a"]
    assert store.disabled_by_destination() == {}


@pytest.mark.parametrize("door", ["store", "tenant"])
def test_enabling_brings_back_what_met_the_answer(store: IntegrationStore, door: str) -> None:
    """By whichever door: in the same transaction a replay is made of those letters, and of no others."""
    failure = Failure(FailureCode.ENDPOINT_GONE, WORDS, "change it", 410)
    letters = [
        ("5-0", letter({"evt_1": b"{}", "evt_2": b"{}"}, cause=Cause.REFUSED, failure=failure)),
        ("5-1", letter({"evt_3": b"{}"}, cause=Cause.EXHAUSTED)),
        ("5-2", letter({"evt_4": b"{}"}, integration_id="int_b", cause=Cause.REFUSED, failure=failure)),
    ]
    record_entries(store.engine, [("5-0", [gone()])], letters)
    assert running_replays(store.engine) == []

    if door == "store":
        store.set_enabled("int_a", True)
    else:
        tenant = IntegrationStore(store.engine, Vault([KEY])).of("default")
        tenant.change("int_a", lambda one: one.model_copy(update={"paused": True}))
        assert running_replays(store.engine) == []
        tenant.change("int_a", lambda one: one.model_copy(update={"enabled": True}))

    [replay] = running_replays(store.engine)
    assert (replay.selection.integration_id, replay.total, replay.made_by) == ("int_a", 2, "enable")


def test_enabling_what_met_no_such_answer_replays_nothing(store: IntegrationStore) -> None:
    """Nor does it send again what a person has discarded."""
    failure = Failure(FailureCode.ENDPOINT_GONE, WORDS, "change it", 410)
    record_entries(store.engine, [("5-0", [gone()])], [("5-0", letter({"evt_1": b"{}"}, failure=failure))])
    discard_dead_letters(store.engine, DeadLetterFilter(integration_id="int_a"), NOON)
    store.set_enabled("int_a", True)

    assert running_replays(store.engine) == []


def test_one_that_does_not_live_is_left_alone(store: IntegrationStore) -> None:
    """The outcome is recorded all the same; a deleted integration gets no further revision."""
    store.delete("int_b")
    before = store.records()
    for place, unknown in enumerate(("int_gone", "int_x", "with\0nul")):
        outcomes = [gone(integration_id=unknown), gone(integration_id="int_b")]
        recorded = record_entries(store.engine, [(f"5-{place}", outcomes)], [])

        assert recorded == Recorded(2, ()), unknown
        assert store.records() == before, unknown


def test_other_findings_switch_nothing(store: IntegrationStore) -> None:
    """A refusal, however often, is no farewell."""
    entries = [(f"5-{place}", [outcome([f"evt_{place}"], Status.DEAD)]) for place in range(20)]
    record_entries(store.engine, entries, [])

    assert revisions(store) == {"int_a": (1, True), "int_b": (1, True)}


@pytest.mark.parametrize(("words", "kept"), [("x" * 10_000, "x" * 499 + "…"), ("nu\0l", r"nu\x00l")])
def test_any_words_are_kept(store: IntegrationStore, words: str, kept: str) -> None:
    """What a destination says is cut and made storable, as every reason is."""
    [off] = record_entries(store.engine, [("5-0", [gone(words=words)])], []).disabled_by_destination

    assert off.reason == kept == store.disabled_by_destination()["int_a"].reason


def test_all_of_it_or_nothing(store: IntegrationStore) -> None:
    """A transaction that fails at the switching leaves no row behind either, and does all of it later."""

    def fail(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("UPDATE integrations"):
            raise KeyError

    event.listen(store.engine, "before_cursor_execute", fail)
    with pytest.raises(KeyError):
        record_entries(store.engine, [("5-0", [gone()])], [])
    event.remove(store.engine, "before_cursor_execute", fail)

    assert not any(recorded_rows(store.engine).values())
    assert len(record_entries(store.engine, [("5-0", [gone()])], []).disabled_by_destination) == 1


def test_recorders_at_once_switch_each_off_once(store: IntegrationStore) -> None:
    """Two recorders that learn of the same two destinations in opposite orders do not stop each other."""
    results: list[Recorded] = []
    both_have_one = threading.Barrier(2)

    def linger(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        """Keep the first row until the other has one too: if it waits for this very row, that never comes."""
        if statement.startswith("SELECT integrations.document") and not both_have_one.broken:
            with suppress(threading.BrokenBarrierError):
                both_have_one.wait(0.5)
            both_have_one.abort()

    def run(entry: str, settled_ms: int, order: tuple[str, ...]) -> None:
        outcomes = [gone(integration_id=one, settled_ms=settled_ms) for one in order]
        results.append(record_entries(store.engine, [(entry, outcomes)], []))

    event.listen(store.engine, "after_cursor_execute", linger)
    threads = [
        threading.Thread(target=run, args=("5-0", NOON, ("int_a", "int_b"))),
        threading.Thread(target=run, args=("5-1", NOON + 60_000, ("int_b", "int_a"))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    event.remove(store.engine, "after_cursor_execute", linger)

    assert sorted(off.integration_id for one in results for off in one.disabled_by_destination) == [
        "int_a",
        "int_b",
    ]
    assert revisions(store) == {"int_a": (2, False), "int_b": (2, False)}
    assert len(results) == 2


def test_a_record_of_a_disabled_integration_says_so(store: IntegrationStore) -> None:
    """What is published to Redis has the state in its document."""
    record_entries(store.engine, [("5-0", [gone()])], [])
    [off, on] = store.records()

    assert isinstance(off, IntegrationRecord)
    assert ('"enabled": false' in off.document, '"enabled": true' in on.document) == (True, True)
