"""Messages that are too long: which keys leave first, what stays, and that every limit is kept."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.cef_parser import CefEvent, parse_cef
from tests.formats.hostile_events import hostile_events, published
from tests.formats.syslog_parser import parse_syslog
from worker.formats.syslog import SyslogCefFormat
from worker.model.events import QueuedEvent

#: The order in which customers are told that keys leave, without their labels.
ORDER = (
    *("msg", "reason", "requestContext", "cs5", "cs4", "cs3", "cfp1", "cs2", "cs1"),
    *("suser", "deviceExternalId", "cat", "src"),
)
KEPT = {"rt", "act", "outcome", "externalId", "devicePayloadId", "suid"}
FULL: dict[str, Any] = {
    "id": "0199c0de-0000-7000-8000-000000000001",
    "type": "policy.deny",
    "timestamp": "2026-01-02T03:04:05.678Z",
    "tenant_id": "acme",
    "agent_id": "agent-7",
    "agent_name": "Invoice Matcher",
    "action_type": "db.write",
    "policy": {"id": "pol_1", "name": "Block writes"},
    "decision": "deny",
    "drift_score": 0.83,
    "behavioral_hash": "sha256:ab==",
    "behavioral_hash_delta": 0.25,
    "hold": {"id": "hold_1"},
    "reason": "no change ticket (ticket=none), and the table belongs to finance",
    "context": {"tool": "psql"},
}
LONGEST_ID = 128
UNLIMITED = 1_000_000


def message_of(event: QueuedEvent, limit: int, *, header: str = "rfc3164", hostname: str = "h") -> bytes:
    """Format within the limit, and check it."""
    format_ = SyslogCefFormat.of(
        facility="local0", header=header, hostname=hostname, send_src=True, limit=limit
    )
    (message,) = format_.messages([event])
    assert len(message) <= limit
    return message


def written(event: QueuedEvent, limit: int, *, header: str = "rfc3164", hostname: str = "h") -> CefEvent:
    """Format within the limit, and read the message back."""
    message = message_of(event, limit, header=header, hostname=hostname)
    return parse_cef(parse_syslog(message, header).text)


def test_keys_leave_in_the_documented_order() -> None:
    """At each limit, what is missing is the beginning of the list, and all of it is needed."""
    whole = written(published(FULL), 8000).extension
    limit, counts = len(message_of(published(FULL), UNLIMITED)), [0]

    while counts[-1] < len(ORDER):
        limit -= 1
        extension = written(published(FULL), limit).extension
        missing = {key for key in ORDER if key not in extension}
        assert missing == {*ORDER[: len(missing)]}
        assert extension.keys() >= KEPT
        assert all(extension[key] == whole[key] for key in {*ORDER} - missing)
        assert extension["flexString1"] == "true"
        assert extension["flexString1Label"] == "truncated"
        assert len(missing) - counts[-1] in {0, 1} or counts == [0]  # the marker needs room at once
        counts.append(len(missing))


def test_a_whole_message_has_no_marker() -> None:
    """The marker means something only if it is absent where nothing was left out."""
    assert "flexString1" not in written(published(FULL), 8000).extension


def test_a_message_at_the_limit_is_whole() -> None:
    """To the byte: as long as the limit is not too long."""
    length = len(message_of(published(FULL), UNLIMITED))

    assert "flexString1" not in written(published(FULL), length).extension
    assert "flexString1" in written(published(FULL), length - 1).extension


def test_a_long_name_is_cut_before_the_ids() -> None:
    """A SIEM deduplicates on the id: it stays whole as long as there is anything else to cut."""
    event = published(FULL | {"policy": {"name": "|" * 512}, "agent_id": "=" * 600, "action_type": "\\" * 63})
    read = written(event, 480)

    assert read.extension["devicePayloadId"] == FULL["id"]
    assert read.extension["externalId"] == FULL["id"]
    assert read.extension["flexString1"] == "true"
    assert set(read.name) == {"|"}
    assert set(read.extension["suid"]) == {"="}
    assert abs(len(read.name) - len(read.extension["suid"])) <= 1


@pytest.mark.parametrize(
    ("host_length", "words"),
    [(170, {}), (180, {"agent_id": "a7", "action_type": "db", "policy": {"name": "Block"}})],
)
def test_the_marker_is_left_out_before_an_id_is_cut(host_length: int, words: dict[str, Any]) -> None:
    """A header of nearly 300 bytes leaves the id whole, and no room to say that something is missing."""
    read = written(published(FULL | words), 480, header="rfc5424", hostname="h" * host_length)

    assert read.extension["devicePayloadId"] == FULL["id"]
    assert "flexString1" not in read.extension


def test_nothing_leaves_that_has_room() -> None:
    """To the byte: a message from which keys have left is as long as it says, and fits that limit again."""
    length = len(message_of(published(FULL), 600))

    assert len(message_of(published(FULL), length)) == length
    assert len(message_of(published(FULL), length - 1)) < length - 1


def test_an_event_without_an_id_is_cut_as_well() -> None:
    """An id of blanks is printable, and nothing once it is stripped: no id is left to be cut."""
    read = written(published(FULL | {"id": " ", "agent_id": "a" * 900}), 480)

    assert "externalId" not in read.extension
    assert set(read.extension["suid"]) == {"a"}


@pytest.mark.parametrize("header", ["rfc3164", "rfc5424"])
@pytest.mark.parametrize("character", ["a", "=", "\\", "|", "é", "経", "🚀"])
@pytest.mark.parametrize("event_type", ["agent.disconnected", "policy.deny", "integration.test", "🚀" * 99])
def test_the_worst_that_fits_nowhere(header: str, character: str, event_type: str) -> None:
    """RFC 5424, 6.1: everyone takes 480 bytes; ids of 128 characters behind a host of 255 fit there."""
    text = character * LONGEST_ID
    fields = dict.fromkeys(("agent_id", "agent_name", "action_type", "tenant_id", "reason"), text)
    raw = json.dumps(fields | {"policy": {"id": text, "name": text}, "decision": "alert"}).encode()
    event = QueuedEvent(text, event_type, 253_402_300_799_999, 0, raw)
    read = written(event, 480, header=header, hostname="h" * 255)

    assert read.extension.keys() >= KEPT
    assert all(
        set(read.extension[key]) == {character} for key in ("suid", "act", "externalId", "devicePayloadId")
    )


@settings(max_examples=200)
@given(
    hostile_events,
    st.integers(480, 3000),
    st.sampled_from(["rfc3164", "rfc5424"]),
    st.integers(1, 255),
)
def test_every_limit_is_kept_whatever_the_event_holds(
    event: dict[str, Any], limit: int, header: str, host_length: int
) -> None:
    """And what is left is strict CEF, with the ids, and says of every key what the whole message says."""
    options: dict[str, Any] = {"header": header, "hostname": "h" * host_length}
    whole = written(published(event), UNLIMITED, **options)
    fitted = written(published(event), limit, **options)

    assert fitted.extension.keys() - {"flexString1", "flexString1Label"} <= whole.extension.keys()
    assert KEPT & whole.extension.keys() <= fitted.extension.keys()
    assert whole.name.startswith(fitted.name)
    assert fitted.extension["rt"] == whole.extension["rt"]
    for key in fitted.extension.keys() & whole.extension.keys():
        assert fitted.extension[key]
        assert whole.extension[key].startswith(fitted.extension[key])
