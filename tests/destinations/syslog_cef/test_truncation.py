"""Messages that are too long: which keys leave first, what stays, and that every limit is kept."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.destinations.hostile_events import digest, hostile_events, published
from tests.destinations.syslog_cef.cef_parser import CefEvent, parse_cef
from tests.destinations.syslog_cef.syslog_parser import parse_syslog
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.model.events import QueuedEvent

#: The documented order in which keys leave, without their labels.
ORDER = (
    *("msg", "reason", "requestContext", "cs5", "cs4", "cs3", "cfp1", "cs2", "cs1"),
    *("suser", "deviceExternalId", "cat", "src", "externalId"),
)
KEPT = {"rt", "act", "outcome", "devicePayloadId", "suid"}
#: Only where ids of 128 characters meet a header of 300 bytes, the agent leaves, too.
KEPT_ALWAYS = KEPT - {"suid"}
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


def test_a_long_name_is_cut_and_the_ids_are_whole() -> None:
    """A SIEM deduplicates on the id: it stays whole as long as there is anything else to cut."""
    event = published(FULL | {"policy": {"name": "|" * 512}, "action_type": "\\" * 63})
    read = written(event, 480, hostname="h" * 80)

    assert read.extension["devicePayloadId"] == FULL["id"]
    assert read.extension["suid"] == FULL["agent_id"]
    assert read.extension["flexString1"] == "true"
    assert set(read.name) == {"|", "…"}
    assert set(read.extension["act"]) == {"\\", "…"}
    assert abs(len(read.name) - len(read.extension["act"])) <= 1


def test_an_id_that_has_no_room_becomes_its_digest() -> None:
    """That of the agent first; two ids never become one, and no reader takes a part for the whole."""
    agent, other = "=" * 130, "=" * 129 + "|"
    reads = [written(published(FULL | {"agent_id": one}), 480) for one in (agent, other)]

    assert [read.extension["suid"] for read in reads] == [digest(agent), digest(other)]
    assert {read.extension["devicePayloadId"] for read in reads} == {FULL["id"]}


@pytest.mark.parametrize(
    ("host_length", "words"),
    [(215, {}), (230, {"agent_id": "a7", "action_type": "db", "policy": {"name": "Block"}})],
)
def test_without_room_for_the_marker_the_name_ends_in_the_mark(
    host_length: int, words: dict[str, Any]
) -> None:
    """A header of nearly 300 bytes leaves the id whole, and the message says that it is not."""
    read = written(published(FULL | words), 480, header="rfc5424", hostname="h" * host_length)

    assert read.extension["devicePayloadId"] == FULL["id"]
    assert "flexString1" not in read.extension
    assert read.name.endswith("…")


def test_nothing_leaves_that_has_room() -> None:
    """To the byte: a message from which keys have left is as long as it says, and fits that limit again."""
    length = len(message_of(published(FULL), 600))

    assert len(message_of(published(FULL), length)) == length
    assert len(message_of(published(FULL), length - 1)) < length - 1


@pytest.mark.parametrize("event_id", [" ", "  ", " evt_1", "evt_1 "])
def test_an_id_with_blanks_at_its_ends_becomes_its_digest(event_id: str) -> None:
    """It is printable, and a reader would strip it: to an id that another event may have, or to nothing."""
    read = written(published(FULL | {"id": event_id, "agent_id": "a" * 900}), 480)

    assert read.extension["devicePayloadId"] == digest(event_id)
    assert read.extension["suid"] == digest("a" * 900)


def test_the_worst_that_fits_nowhere() -> None:
    """RFC 5424, 6.1: everyone takes 480 bytes; ids of 128 characters behind a host of 255 fit there."""
    types = ("agent.disconnected", "policy.deny", "integration.test", "🚀" * 99)
    for header, character, event_type in product(("rfc3164", "rfc5424"), "a=\\|é経🚀", types):
        case = (header, character, event_type)
        text = character * LONGEST_ID
        fields = dict.fromkeys(("agent_id", "agent_name", "action_type", "tenant_id", "reason"), text)
        raw = json.dumps(fields | {"policy": {"id": text, "name": text}, "decision": "alert"}).encode()
        event = QueuedEvent(text, event_type, 253_402_300_799_999, 0, raw)
        read = written(event, 480, header=header, hostname="h" * 255)

        assert read.extension.keys() >= KEPT_ALWAYS, case
        assert read.extension["devicePayloadId"] == digest(text), case
        assert read.extension["act"].endswith("…"), case
        assert set(read.extension["act"]) <= {character, "…"}, case
        assert read.extension.get("suid", digest(text)) == digest(text), case


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

    keys = fitted.extension.keys() - {"flexString1", "flexString1Label"}
    assert keys <= whole.extension.keys()
    assert KEPT_ALWAYS & whole.extension.keys() <= keys
    for key in keys - {"suid", "devicePayloadId"}:
        assert is_whole_or_marked(fitted.extension[key], whole.extension[key])
    assert fitted.extension["devicePayloadId"] in {whole.extension["devicePayloadId"], digest(event["id"])}
    agent = event.get("agent_id", "")
    assert fitted.extension.get("suid") in {None, whole.extension.get("suid"), digest(agent)}
    assert is_whole_or_marked(fitted.name, whole.name)
    says_so = "flexString1" in fitted.extension or fitted.name.endswith("…")
    assert says_so or fitted == whole


def is_whole_or_marked(value: str, whole: str) -> bool:
    """Whether a value is the whole one, or its beginning with the mark behind it."""
    return value == whole or (value.endswith("…") and whole.startswith(value.removesuffix("…")))
