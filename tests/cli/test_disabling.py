"""`siem integrations` pauses, resumes, disables and enables, and reports say what is disabled."""

import itertools
import json
import secrets

import pytest

from tests.cli.running import Ran, call
from tests.fleet import Fleet
from worker.integrations.integration import Integration, parse_integration
from worker.ledger.recording import record_entries
from worker.model.deliveries import EventTrace, Failure, Outcome
from worker.model.failures import FailureCode
from worker.model.time import rfc3339

WORDS = "HTTP 410: \x1b[31mGone"
SHOWN = r"HTTP 410: \x1b[31mGone"
GONE_MS = 1_795_385_700_000
# Others record in the same ledger, entries of the same time too.
_entries = itertools.count(1_000_000)


@pytest.fixture
def hook(empty: Fleet) -> Integration:
    """Give a webhook that the fleet knows, of an id that no other test had: an id is taken for ever."""
    return integrate(empty, "hook", type="webhook", url="https://endpoint.example.com/")


def integrate(fleet: Fleet, name: str, **destination: str) -> Integration:
    """Create an integration of a new id, and tell the fleet of it."""
    document = {"id": f"int_{secrets.token_hex(8)}", "name": name, "destination": destination}
    integration = parse_integration(document)
    fleet.store.create(integration)
    fleet.announce()
    return integration


def lose(fleet: Fleet, integration: Integration, words: str = WORDS) -> None:
    """Record that the endpoint is gone, and tell Redis, as a recorder does."""
    failure = Failure(FailureCode.ENDPOINT_GONE, words, "mend it", 410)
    trace = EventTrace("evt_1", "policy.deny", GONE_MS, GONE_MS, 1)
    entry = f"{GONE_MS}-{next(_entries)}"
    record_entries(
        fleet.engine, [(entry, [Outcome(integration.id, "dead", GONE_MS, failure, None, [trace], 410)])], []
    )
    fleet.announce()


def state(fleet: Fleet, integration: Integration) -> tuple[object, bool]:
    """Return what Redis knows: whether it is held, and whether events are collected for it."""
    document = fleet.client.hget("siem:integrations", integration.id)
    assert isinstance(document, bytes)
    return fleet.client.hget(f"siem:state:{integration.id}", "held"), bool(json.loads(document)["enabled"])


@pytest.mark.parametrize(
    ("off", "on", "collects"),
    [("pause", "resume", True), ("disable", "enable", False)],
    ids=["pause", "disable"],
)
@pytest.mark.parametrize("by", ["name", "id"])
def test_off_and_on_again(
    empty: Fleet, hook: Integration, by: str, off: str, on: str, *, collects: bool
) -> None:
    """By name or id; the fleet learns of it at once. Events of a pause are collected, no others."""
    switched_off = call(empty.environment, "integrations", off, getattr(hook, by))
    off_in_redis = state(empty, hook)
    switched_on = call(empty.environment, "integrations", on, getattr(hook, by))

    assert switched_off == Ran(0, f"{off.capitalize()}d hook ({hook.id}).\n", "")
    assert off_in_redis == (b"1", collects)
    assert switched_on == Ran(0, f"{on.capitalize()}d hook ({hook.id}).\n", "")
    assert state(empty, hook) == (b"0", True)


def test_what_is_disabled_stays_so(empty: Fleet, hook: Integration) -> None:
    """A resume says that it takes more than that."""
    call(empty.environment, "integrations", "disable", hook.id)
    resumed = call(empty.environment, "integrations", "resume", hook.id)

    assert resumed.out.splitlines()[1] == (
        f"It is disabled all the same: see `siem integrations enable {hook.id}`."
    )
    assert state(empty, hook) == (b"1", False)


def test_the_document_says_what_it_is_now(empty: Fleet, hook: Integration) -> None:
    """--json prints what show prints."""
    off = call(empty.environment, "integrations", "disable", hook.id, "--json").json
    shown = call(empty.environment, "integrations", "show", hook.id, "--json").json
    on = call(empty.environment, "integrations", "enable", hook.id, "--json").json
    paused = call(empty.environment, "integrations", "pause", hook.id, "--json").json

    assert off == shown
    assert off["enabled"] is False
    assert off["disabled_reason"] is None
    assert on == off | {"enabled": True, "updated_at": on["updated_at"]}
    assert paused == on | {"paused": True, "updated_at": paused["updated_at"]}


@pytest.mark.parametrize("command", ["enable", "disable", "pause", "resume"])
def test_only_what_is_there_is_switched(empty: Fleet, hook: Integration, command: str) -> None:
    """An unknown one, and one that was deleted, end with 4."""
    empty.store.delete(hook.id)
    missing = [call(empty.environment, "integrations", command, named) for named in ("nobody", hook.id)]

    assert [ran.code for ran in missing] == [4, 4]
    assert all("siem integrations list" in ran.complaint for ran in missing)
    assert "there is no integration nobody" in missing[0].complaint


def test_an_enabled_one_can_be_let_go_of(empty: Fleet, hook: Integration) -> None:
    """Whatever held it in Redis, enabling is the way out, even if the ledger had it enabled all along."""
    empty.client.hset(f"siem:state:{hook.id}", "held", "1")
    ran = call(empty.environment, "integrations", "enable", "hook")

    assert ran.code == 0
    assert state(empty, hook) == (b"0", True)


def test_what_its_destination_disabled_says_why_and_the_way_back(empty: Fleet, hook: Integration) -> None:
    """List, show and status: reason, time, and the command; and then it is as if nothing had been."""
    lose(empty, hook)
    listed = call(empty.environment, "integrations", "list").out
    shown = call(empty.environment, "integrations", "show", "hook").out
    status = call(empty.environment, "status").out
    back = f"`siem integrations enable {hook.id}` enables it"

    said = f"on 2026-11-22 22:15:00.000Z its destination said: {SHOWN}"
    assert f"hook is disabled ({said}); {back}." in listed.splitlines()
    assert f"{said}; {back}" in shown
    assert SHOWN in status
    assert "disabled  hook" in status
    assert call(empty.environment, "integrations", "enable", hook.id).code == 0
    assert "disabled" not in call(empty.environment, "integrations", "list").out
    assert "disabled" not in call(empty.environment, "status").out


def test_scripts_read_it_as_well(empty: Fleet, hook: Integration) -> None:
    """The reason, with a code for what cannot be printed, and the time in milliseconds."""
    lose(empty, hook)
    [listed] = call(empty.environment, "integrations", "list", "--json").json["items"]
    [status] = call(empty.environment, "status", "--json").report["integrations"]

    assert (listed["enabled"], listed["disabled_at"]) == (False, rfc3339(GONE_MS))
    assert listed["disabled_reason"] == SHOWN
    assert (status["enabled"], status["disabled_reason"]) == (False, SHOWN)


def test_a_long_reason_does_not_push_the_figures_away(empty: Fleet, hook: Integration) -> None:
    """In the status it stands under the row; `show` has all of it."""
    lose(empty, hook, "x" * 300)
    reported = call(empty.environment, "status").out.splitlines()
    [row] = [line for line in reported if line.startswith("disabled  hook")]

    assert "x" not in row
    assert "xxx" in reported[reported.index(row) + 1]
    assert "x" * 300 in call(empty.environment, "integrations", "show", "hook").out


def test_what_a_person_disabled_says_so(empty: Fleet, hook: Integration) -> None:
    """By hand, without a reason, and with the way back."""
    call(empty.environment, "integrations", "disable", "hook")

    assert "disabled by an operator" in call(empty.environment, "status").out
    assert f"hook is disabled (by hand); `siem integrations enable {hook.id}`" in (
        call(empty.environment, "integrations", "list").out
    )
    assert "by hand; " in call(empty.environment, "integrations", "show", hook.id).out


@pytest.mark.parametrize("command", ["disable", "create"])
def test_help_says_what_becomes_of_events_meanwhile(command: str) -> None:
    """Who switches off must know that events of that time never come."""
    words = " ".join(call({}, "integrations", command, "--help").out.split())

    assert {
        "disable": "Events that are published meanwhile are not collected for it: they never reach it."
        in words,
        "create": "no event is collected for it until `siem integrations enable`" in words,
    }[command]


def test_a_worker_is_missed_where_there_is_work_for_it(empty: Fleet, hook: Integration) -> None:
    """Only of the types that there are; scripts see all."""
    of_webhooks = call(empty.environment, "status").out
    integrate(empty, "qradar", type="syslog_cef", url="syslog+udp://siem")
    of_both = call(empty.environment, "status").out
    processes = call(empty.environment, "status", "--json").report["processes"]

    assert hook.type == "webhook"
    assert "Not running: router, recorder, worker-webhook (start each" in of_webhooks
    assert "Not running: router, recorder, worker-syslog_cef, worker-webhook (start each" in of_both
    assert list(processes) == [
        "router",
        "recorder",
        "worker-splunk_hec",
        "worker-syslog_cef",
        "worker-webhook",
    ]
