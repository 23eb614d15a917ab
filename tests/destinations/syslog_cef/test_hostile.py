"""No text in an event, whatever it is, forges a key, a field of the header or a second message."""

import json
import re
from typing import Any

from hypothesis import given, settings

from tests.destinations.hostile_events import (
    digest,
    documented,
    documented_event_id,
    documented_id,
    documented_in_header,
    hostile_events,
    is_part_of,
    overlong_events,
    printable_ids,
    published,
)
from tests.destinations.syslog_cef.cef_parser import parse_cef
from tests.destinations.syslog_cef.syslog_parser import parse_syslog, read_frames
from worker.demo.syslog_receiver import counted_frame, newline_frame
from worker.destinations.syslog_cef.syslog import SyslogCefFormat, framed
from worker.model.events import QueuedEvent

ROOMY = SyslogCefFormat.of(
    facility="local0", header="rfc3164", hostname="mitrity", send_src=True, limit=1_000_000
)
#: The keys that carry text of the event as it is, and how much of it.
TEXTS = {"act": ("action_type", 63), "suser": ("agent_name", 1023), "reason": ("reason", 1023)}
#: The keys that carry an id whole, or its digest.
IDS = {
    "suid": ("agent_id", 1023),
    "src": ("agent_id", 1023),
    "deviceExternalId": ("tenant_id", 255),
    "cs2": ("behavioral_hash", 4000),
}
OBJECTS = {"cs5": "hold", "requestContext": "context"}
UNLIMITED = 1_000_000


@settings(max_examples=120)
@given(hostile_events)
def test_any_text_comes_back_from_a_strict_reader(event: dict[str, Any]) -> None:
    """CEF standard, "Character Encoding": each value is its own again, cut and stripped as documented."""
    (message,) = ROOMY.messages([published(event)])
    extension = parse_cef(parse_syslog(message, "rfc3164").text).extension
    policy = event.get("policy", {})

    for key, (field, most) in TEXTS.items():
        assert extension.get(key, "") == documented(event.get(field, ""), most)
    for key, (field, most) in IDS.items():
        assert extension.get(key, "") == documented_id(event.get(field, _default(field)), most)
    for key, most in (("externalId", 40), ("devicePayloadId", 128)):
        assert extension[key] == documented_event_id(event["id"], most)
    assert extension.get("cs3", "") == documented_id(policy.get("id", ""), 4000)
    assert extension.get("cs4", "") == documented(str(event.get("behavioral_hash_delta", "")), 4000)
    assert extension.get("cs1") == extension.get("cfp1") == _score(event)
    assert extension["rt"] == str(published(event).time_ms)


@settings(max_examples=120)
@given(hostile_events)
def test_objects_come_back_as_json(event: dict[str, Any]) -> None:
    """Hold and context are the same JSON again, control characters too, or JSON that says what it is not."""
    (message,) = ROOMY.messages([published(event)])
    extension = parse_cef(parse_syslog(message, "rfc3164").text).extension

    for key, field in OBJECTS.items():
        read = json.loads(extension.get(key, "{}"))
        assert read == event.get(field, {}) or is_part_of(read, event[field])


@settings(max_examples=120)
@given(overlong_events)
def test_nothing_is_cut_without_a_word(event: dict[str, Any]) -> None:
    """Of every key: its value is all of the event's, or ends in the mark; an id is whole, or its digest.

    And the message says that it is not whole, just when it is not.
    """
    (message,) = ROOMY.messages([published(event)])
    read = parse_cef(parse_syslog(message, "rfc3164").text)
    policy = event.get("policy", {})
    cut = set()

    for key, text in (("act", event.get("action_type", "")), ("reason", event.get("reason", ""))):
        if read.extension.get(key, "") != documented(text, UNLIMITED):
            assert read.extension[key].endswith("…")
            cut.add(key)
    for key, text in (("suid", event.get("agent_id", "")), ("cs3", policy.get("id", ""))):
        if read.extension.get(key, "") != documented(text, UNLIMITED):
            assert read.extension[key] == digest(text)
            cut.add(key)
    for key, field in OBJECTS.items():
        if (value := json.loads(read.extension.get(key, "{}"))) != event.get(field, {}):
            assert is_part_of(value, event[field])
            cut.add(key)
    names = [documented_in_header(policy.get(key, ""), UNLIMITED) for key in ("name", "id")]
    if not event["type"].startswith("drift.") and read.name not in {*names, _plain_name(event)}:
        assert read.name.endswith("…")
        cut.add("name")
    if read.extension["msg"].endswith("…"):  # a whole sentence ends in a full stop
        cut.add("msg")
    assert ("flexString1" in read.extension) == bool(cut | ({"suser"} & _long_names(event)))


@settings(max_examples=100)
@given(printable_ids, printable_ids)
def test_two_ids_never_become_one(first: str, second: str) -> None:
    """Neither under the key to deduplicate on nor under the shorter one, whatever they begin or end with."""
    for one, other in (
        (first, second),
        (first, first + " "),
        (" " + first, first),
        ("x" * 90 + first, "x" * 90),
    ):
        one_, other_ = (
            parse_cef(parse_syslog(message, "rfc3164").text).extension
            for message in ROOMY.messages(
                [QueuedEvent(id_, "policy.deny", 0, 0, b"{}") for id_ in (one, other)]
            )
        )
        for key in ("externalId", "devicePayloadId"):
            assert (one_[key] == other_[key]) == (one == other)


@settings(max_examples=120)
@given(hostile_events)
def test_the_header_is_ours_but_for_the_name(event: dict[str, Any]) -> None:
    """CEF standard, "Header": seven fields, of which an event's text can be one, the name."""
    (message,) = ROOMY.messages([published(event)])
    read = parse_cef(parse_syslog(message, "rfc3164").text)
    policy = event.get("policy", {})
    names = [documented_in_header(policy.get(key, ""), 512) for key in ("name", "id")]

    assert read.vendor == "MITRITY"
    assert read.product == "MITRITY Platform"
    assert read.version == "1.0"
    assert read.event_class == event["type"]
    if event["type"].startswith("drift."):
        assert read.name == "behavioral_anomaly"
    else:
        assert read.name == (names[0] or names[1] or _plain_name(event))


@settings(max_examples=120)
@given(hostile_events)
def test_a_lenient_reader_sees_the_same_keys(event: dict[str, Any]) -> None:
    """One that takes a value to end at blank, word and equals sign, as Logstash does, is not deceived."""
    (message,) = ROOMY.messages([published(event)])
    text = parse_syslog(message, "rfc3164").text
    header_and_extension = re.fullmatch(r"((?:(?:\\.|[^\\|])*\|){7})(.*)", text.decode())
    assert header_and_extension
    pairs = re.findall(r"(?:^|\s)(\w+)=(.*?)(?=\s+\w+=|$)", header_and_extension[2])

    assert [key for key, _ in pairs] == [*parse_cef(text).extension]


@settings(max_examples=60)
@given(hostile_events, hostile_events)
def test_no_event_makes_a_second_message(first: dict[str, Any], second: dict[str, Any]) -> None:
    """RFC 6587, 3.4.1 and 3.4.2: two events are two messages, in either kind of frame."""
    messages = ROOMY.messages([published(first), published(second)])

    assert read_frames(b"".join(framed(messages, counts_octets=False)), newline_frame) == messages
    assert read_frames(b"".join(framed(messages, counts_octets=True)), counted_frame) == messages
    for message in messages:
        assert len(message.decode().splitlines()) == 1


def _default(field: str) -> str:
    return "default" if field == "tenant_id" else ""


def _score(event: dict[str, Any]) -> str | None:
    return str(event["drift_score"]) if "drift_score" in event else None


def _plain_name(event: dict[str, Any]) -> str:
    return str(event["type"]).replace(".", " ").capitalize()


def _long_names(event: dict[str, Any]) -> set[str]:
    return {"suser"} if len(documented(event.get("agent_name", ""), UNLIMITED)) > 1023 else set()
