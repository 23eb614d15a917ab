"""What this release writes into Redis is read by the one before it, and what that one wrote by this one.

Each sample holds every member of the closed lists in it, so that a new member is tried, too. Fields that this
release has added hold a value: the one before it skips them, and keeps the rest.
"""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from tests.upgrades.releases import THIS, Release
from worker.broker.packing import (
    pack_chunk,
    pack_dead,
    pack_outcomes,
    unpack_chunk,
    unpack_dead,
    unpack_outcomes,
)
from worker.integrations.integration import parse_integration
from worker.model.deliveries import Assurance, Cause, DeadLetter, EventTrace, Failure, Outcome, Status
from worker.model.events import EventType, QueuedEvent
from worker.model.failures import FailureCode
from worker.vault.documents import open_document, seal_document
from worker.vault.vault import Vault, new_key

pytestmark = pytest.mark.slow

#: Reads what is given and writes it again, in the words of the release that runs it.
_PASS_ON = """
import json, sys
from worker.broker import packing
try:
    from worker.vault.documents import open_document, seal_document
    from worker.vault.vault import Vault
except ImportError:  # release 0.1.0
    from worker.ledger.vault import Vault, open_document, seal_document

given = json.load(sys.stdin)
vault = Vault([given["key"]])

def again(name, unpack, pack):
    return [pack(unpack(bytes.fromhex(one))).hex() for one in given[name]]

json.dump({
    "chunks": again("chunks", packing.unpack_chunk, packing.pack_chunk),
    "outcomes": again("outcomes", packing.unpack_outcomes, packing.pack_outcomes),
    "dead": again("dead", packing.unpack_dead, packing.pack_dead),
    "documents": [seal_document(open_document(one, vault), vault) for one in given["documents"]],
}, sys.stdout)
"""
_DESTINATIONS: list[dict[str, Any]] = [
    {"type": "splunk_hec", "url": "https://splunk:8088/services/collector/event", "token": "t"},
    {"type": "syslog_cef", "url": "syslog+tls://siem:6514"},
    {"type": "webhook", "url": "https://endpoint/hook", "auth": {"kind": "bearer", "token": "t"}},
    {"type": "webhook", "url": "https://endpoint/hook?key=secret", "headers": {"X-Team": "t"}},
]


_EVENT = QueuedEvent("evt_1", "policy.deny", 1, 2, b"{}")
_FINDINGS = [Failure(code, "what went wrong", "what mends it", 503) for code in FailureCode]


def _outcome(
    failure: Failure | None, status: str = "retrying", assurance: str | None = None, *, sent: bool = True
) -> Outcome:
    traces = [EventTrace(f"evt_{kind}", kind, 1, 2, 3, "digest") for kind in EventType]
    return Outcome("int_a", status, 5, failure, 6, traces, 503, assurance, sent)


def _outcomes() -> list[Outcome]:
    return [
        _outcome(failure, status.value, assurance, sent=sent)
        for status in Status
        for failure in (None, *_FINDINGS)
        for assurance in (None, *(one.value for one in Assurance))
        for sent in (True, False)
    ]


def _dead() -> list[DeadLetter]:
    return [
        DeadLetter("int_a", cause.value, failure, 3, [_EVENT], [4], "tenant")
        for cause in Cause
        for failure in _FINDINGS
    ]


def _skipped(outcome: Outcome) -> Outcome:
    """Return what the release before this one keeps of it."""
    return replace(outcome, events=[replace(trace, content="") for trace in outcome.events])


def _pass_on(release: Release, given: Mapping[str, Any]) -> dict[str, Any]:
    """Have a release read all of it, and return what it writes."""
    done = subprocess.run(
        [release.programs / "python", "-c", _PASS_ON],
        env=release.environment({}),
        cwd=release.top,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    passed: dict[str, Any] = json.loads(done.stdout)
    return passed


def test_the_previous_release_reads_what_this_one_writes(previous: Release) -> None:
    """Chunks, outcomes, dead letters, sealed integrations: it loses nothing of them."""
    key = new_key()
    vault = Vault([key])
    integrations = [
        parse_integration({"id": f"int_{place}", "name": f"n{place}", "destination": destination})
        for place, destination in enumerate(_DESTINATIONS)
    ]
    given = {
        "key": key,
        "chunks": [pack_chunk([_EVENT]).hex()],
        "outcomes": [pack_outcomes(_outcomes()).hex()],
        "dead": [pack_dead(one).hex() for one in _dead()],
        "documents": [seal_document(one, vault) for one in integrations],
    }
    passed = _pass_on(previous, given)

    assert [unpack_chunk(bytes.fromhex(one)) for one in passed["chunks"]] == [[_EVENT]]
    assert [unpack_outcomes(bytes.fromhex(one)) for one in passed["outcomes"]] == [
        [_skipped(one) for one in _outcomes()]
    ]
    assert [unpack_dead(bytes.fromhex(one)) for one in passed["dead"]] == [
        replace(one, tenant_id=None) for one in _dead()
    ]
    assert [open_document(one, vault) for one in passed["documents"]] == integrations


def test_a_code_that_is_yet_to_come_is_kept(previous: Release) -> None:
    """A failure of another release is recorded under its own name, by both."""
    outcome = _outcome(Failure(FailureCode.read("of_tomorrow"), "what", "hint"))
    packed = pack_outcomes([outcome]).hex()
    given = {"key": new_key(), "chunks": [], "outcomes": [packed], "dead": [], "documents": []}
    [by_previous] = _pass_on(previous, given)["outcomes"]
    [by_this] = _pass_on(THIS, given)["outcomes"]

    assert unpack_outcomes(bytes.fromhex(by_previous)) == [_skipped(outcome)]
    assert by_this == packed
