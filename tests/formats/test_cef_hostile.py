"""No text in an event, whatever it is, forges a key, a field of the header or a second message."""

import json
import re
from typing import Any

from hypothesis import given, settings

from tests.formats.cef_parser import parse_cef
from tests.formats.hostile_events import documented, documented_in_header, hostile_events, published
from tests.formats.syslog_parser import parse_syslog, read_counted, read_lines
from worker.formats.syslog import SyslogCefFormat, framed

ROOMY = SyslogCefFormat.of(
    facility="local0", header="rfc3164", hostname="mitrity", send_src=True, limit=1_000_000
)
#: The keys that carry text of the event as it is, and how much of it.
TEXTS = {
    "act": ("action_type", 63),
    "suid": ("agent_id", 1023),
    "suser": ("agent_name", 1023),
    "src": ("agent_id", 1023),
    "deviceExternalId": ("tenant_id", 255),
    "cs2": ("behavioral_hash", 4000),
    "reason": ("reason", 1023),
    "externalId": ("id", 40),
    "devicePayloadId": ("id", 128),
}
OBJECTS = {"cs5": ("hold", 4000), "requestContext": ("context", 2048)}


@settings(max_examples=120)
@given(hostile_events)
def test_any_text_comes_back_from_a_strict_reader(event: dict[str, Any]) -> None:
    """CEF standard, "Character Encoding": each value is its own again, cut and stripped as documented."""
    (message,) = ROOMY.messages([published(event)])
    extension = parse_cef(parse_syslog(message, "rfc3164").text).extension
    policy = event.get("policy", {})

    for key, (field, most) in TEXTS.items():
        assert extension.get(key, "") == documented(event.get(field, _default(field)), most)
    assert extension.get("cs3", "") == documented(policy.get("id", ""), 4000)
    assert extension.get("cs4", "") == documented(str(event.get("behavioral_hash_delta", "")), 4000)
    assert extension.get("cs1") == extension.get("cfp1") == _score(event)
    assert extension["rt"] == str(published(event).time_ms)


@settings(max_examples=120)
@given(hostile_events)
def test_objects_come_back_as_json(event: dict[str, Any]) -> None:
    """Hold and context are the same JSON again, control characters too, unless they had to be cut."""
    (message,) = ROOMY.messages([published(event)])
    extension = parse_cef(parse_syslog(message, "rfc3164").text).extension

    for key, (field, most) in OBJECTS.items():
        text = extension.get(key, "{}")
        if len(text) < most - 100:  # else it may have been cut, with blanks at the cut
            assert json.loads(text) == event.get(field, {})


@settings(max_examples=120)
@given(hostile_events)
def test_the_header_is_ours_but_for_the_name(event: dict[str, Any]) -> None:
    """CEF standard, "Header": seven fields, of which an event's text can be one, the name."""
    (message,) = ROOMY.messages([published(event)])
    read = parse_cef(parse_syslog(message, "rfc3164").text)
    policy = event.get("policy", {})
    names = [documented_in_header(policy.get(key, ""), 512) for key in ("name", "id")]

    assert (read.vendor, read.product, read.version) == ("MITRITY", "MITRITY Platform", "1.0")
    assert read.event_class == event["type"]
    if event["type"].startswith("drift."):
        assert read.name == "behavioral_anomaly"
    else:
        assert read.name == (names[0] or names[1] or event["type"].replace(".", " ").capitalize())


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

    assert read_lines(b"".join(framed(messages, counts_octets=False))) == messages
    assert read_counted(b"".join(framed(messages, counts_octets=True))) == messages
    for message in messages:
        assert len(message.decode().splitlines()) == 1


def _default(field: str) -> str:
    return "default" if field == "tenant_id" else ""


def _score(event: dict[str, Any]) -> str | None:
    return str(event["drift_score"]) if "drift_score" in event else None
