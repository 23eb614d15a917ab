"""An agent must not be able to hide what it was denied: its event is delivered or seen, whatever is in it."""

import json
from itertools import product
from math import isfinite
from typing import Any

import pytest

from tests.destinations.syslog_cef.cef_parser import parse_cef
from tests.destinations.syslog_cef.syslog_parser import parse_syslog
from tests.model.test_event_decoder import encoded, refusal, spliced
from tests.pipeline.test_router import subscribers
from worker.api.validation import validate_lines
from worker.broker.ingress import IngressEntry, RoutingResult
from worker.destinations.splunk_hec.format import HecFormat
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.destinations.webhook.format import body
from worker.model.event_decoder import accept_event
from worker.model.events import MAX_EVENT_BYTES, QueuedEvent
from worker.model.flows import flow_of
from worker.model.invalid_events import hint_for
from worker.model.untrusted_json import repaired
from worker.model.untrusted_text import shortened
from worker.pipeline.routing import route_entries

HEC = HecFormat.of(host="h", source="s", source_type="t", index=None, fields={})
CEF = SyslogCefFormat.of(facility="local0", header="rfc5424", hostname="h", send_src=True, limit=16_000)

#: Valid JSON that common readers do not take, within `context`, beside it, and as a name.
ODD = {
    "half an emoji": '"context":{"a":"x\\ud83d"}',
    "the other half": '"context":{"a":"\\uDE00x"}',
    "halves in the wrong order": '"context":{"a":"\\ude00\\ud83d"}',
    "half of one before a whole one": '"context":{"a":"\\ud83d\\ud83d\\ude00"}',
    "half in a name": '"context":{"\\ud83d":1}',
    "half in an unknown field": '"x":["\\ud83d"]',
    "half in the reason": '"reason":"\\ud83d"',
    "half beside a backslash": '"context":{"a":"\\\\\\ud83d"}',
    "infinite": '"context":{"a":1e400}',
    "negative and infinite": '"hold":{"a":[-1E+999999]}',
    "infinite without an exponent": f'"context":{{"a":{"9" * 400}}}',
    "too many digits": f'"context":{{"a":{"1" * 5000}}}',
    "many digits and an exponent": f'"context":{{"a":{"1" * 300}.0e99}}',
    "infinite in an unknown field": '"x":{"y":[1e400,"\\u0000",null]}',
    "infinite version": '"policy":{"version":1e400}',
    "infinite beside the version": '"policy":{"name":"p","limit":1e400}',
    "infinite within an unknown field of the policy": '"policy":{"name":"p","a":{"b":[-1e999]}}',
    "infinite before its repetition": '"x":1e400,"x":1',
    "infinite in an escaped repetition": '"x":[1e400],"\\u0078":1',
    "half beside an infinite repetition": '"x":[1e400],"context":{"a":"\\ud83d"},"x":1',
    "infinite before its repetition within the policy": '"policy":{"x":1e400,"x":1}',
    "infinite delta": '"behavioral_hash_delta":1e400',
}


def read_strictly(raw: bytes) -> Any:
    """Read JSON as the strictest of readers does: I-JSON (RFC 7493)."""

    def finite(text: str) -> float:
        assert isfinite(float(text)), text[:20]
        return float(text)

    value = json.loads(raw, parse_float=finite, parse_int=finite)
    json.dumps(value, ensure_ascii=False).encode()  # no half of a character is left in it
    return value


def routed(raw: bytes) -> RoutingResult:
    """Route one event of any tenant to an integration of the tenant `default`."""
    return route_entries([IngressEntry(b"1-0", 1, raw, [b"event", raw])], subscribers("a"))


def test_valid_json_is_carried_in_a_form_that_every_siem_reads(subtests: pytest.Subtests) -> None:
    """Splunk and webhooks get JSON that the strictest reader takes, CEF the same text; the event says so."""
    for name, member in ODD.items():
        with subtests.test(odd=name):
            routing_result = routed(spliced(member))

            assert routing_result.dead == []
            [[event]] = [routed_chunk.events for routed_chunk in routing_result.routed_chunks]
            _check_forms(event)


def _check_forms(event: QueuedEvent) -> None:
    payload = read_strictly(event.raw)
    assert payload["id"] == "evt_1"
    assert set(payload["siem_repaired"]) <= {"number_too_large", "unpaired_surrogate"}
    assert read_strictly(HEC.envelope(event))["event"] == payload
    assert read_strictly(body("event", [event.raw])) == payload
    extension = parse_cef(parse_syslog(CEF.messages([event])[0], "rfc5424").text).extension
    assert extension["devicePayloadId"] == "evt_1"
    assert extension["flexString2Label"] == "repaired"
    assert extension["flexString2"] == ",".join(payload["siem_repaired"])
    assert "could not be read" not in extension.get("reason", "")


@pytest.mark.parametrize("tenant_id", ["default", "acme"], ids=["named", "filled in"])
def test_what_the_api_publishes_needs_no_repair(tenant_id: str, subtests: pytest.Subtests) -> None:
    """A router of the release before repairs nothing: it would refuse what was answered with 202."""
    for name, member in ODD.items():
        with subtests.test(odd=name):
            [judged] = validate_lines([(1, spliced(member))], tenant_id).events
            published = judged.event.raw

            assert repaired(published) is None
            assert read_strictly(published).get("tenant_id", "default") == tenant_id
            assert accept_event(published)[1] == published


@pytest.mark.parametrize(
    "member", ['"x":[' + "1e400," * 40_000 + "1]", '"\\ud83d":"' + "x" * (MAX_EVENT_BYTES - 120) + '"']
)
def test_what_only_the_repair_makes_too_large_is_published_as_it_came(member: str) -> None:
    """The router that takes it repairs it; nothing refuses an event that is as large as it may be."""
    raw = spliced(member)
    [named] = validate_lines([(1, raw)], "default").events
    [filled] = validate_lines([(1, raw)], "a").events

    assert len(raw) < MAX_EVENT_BYTES < len(accept_event(raw)[1])
    assert (named.is_whole, filled.is_whole) == (False, False)
    assert (named.event.raw, filled.event.raw) == (raw, raw.replace(b"{", b'{"tenant_id":"a",', 1))


def test_what_is_repaired_keeps_all_else_byte_by_byte() -> None:
    """Half a character becomes U+FFFD in its place, a number its own digits as text."""
    raw = (
        b'{ "id":"e", "type":"policy.deny","timestamp":"2026-11-22T10:11:12Z",'
        b'"x":"\\ud83d\\ud83d\\ude00","y":1e400}'
    )

    assert accept_event(raw)[1] == (
        b'{"siem_repaired":["number_too_large","unpaired_surrogate"], "id":"e", "type":"policy.deny",'
        b'"timestamp":"2026-11-22T10:11:12Z","x":"\\ufffd\\ud83d\\ude00","y":"1e400"}'
    )


@pytest.mark.parametrize(
    "member",
    [
        '"x":"\\ud83d\\ude00"',
        '"x":"\\\\ud83d"',
        '"context":{"a":1.7976931348623157e308,"b":-1e-400,"c":0.0000001E+10}',
        f'"context":{{"a":{"1" * 308},"b":0.{"1" * 5000}}}',
        '"x":"1e400"',
    ],
)
def test_what_every_reader_takes_stays_as_it_is(member: str) -> None:
    """Whole characters, escaped backslashes, and numbers that a double holds."""
    raw = spliced(member)

    assert accept_event(raw)[1] is raw


def test_a_mark_of_the_publisher_is_not_repeated() -> None:
    """One that stands within `context` is none."""
    own = accept_event(spliced('"siem_repaired":true,"x":"\\ud83d"'))[1]
    hidden = accept_event(spliced('"context":{"siem_repaired":[]},"x":"\\ud83d"'))[1]

    assert own.count(b"siem_repaired") == 1
    assert read_strictly(hidden)["siem_repaired"] == ["unpaired_surrogate"]


@pytest.mark.parametrize("field", ["id", "tenant_id"])
def test_a_name_is_never_repaired(field: str) -> None:
    """Two ids that differ in half a character would become one."""
    raw = json.dumps(
        {"id": "e", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z", field: "a\ud83d"}
    )
    error = refusal(raw.encode())

    assert (error.field, error.reason) == (field, "has half a character (an unpaired surrogate)")
    assert accept_event(spliced('"x":"\\ud83d"').replace(b"evt_1", "evt_�".encode()))[0].id == "evt_�"


TEXTS = (
    *("id", "type", "timestamp", "tenant_id", "agent_id", "agent_name", "action_type", "decision"),
    *("behavioral_hash", "reason", "policy", "policy.id", "policy.name", "hold", "context"),
)


@pytest.mark.parametrize("number", ["1e400", "-1e999", "9" * 400], ids=["infinite", "negative", "long"])
def test_a_number_is_no_text_however_large(number: str, subtests: pytest.Subtests) -> None:
    """It is refused as any other number there, also in an event in which something else is repaired."""
    for field, more in product(TEXTS, ("x", "\ud83d")):
        with subtests.test(field=field, beside=ascii(more)):
            name, _, inner = field.partition(".")
            raw = encoded(**{name: {inner: "@"} if inner else "@", "x": more})
            error, usual = (refusal(raw.replace(b'"@"', one.encode())) for one in (number, "17"))

            assert (error.field, error.hint) == (usual.field, usual.hint) == (field, hint_for(field))
            assert (error.reason, usual.reason) == (f"is {shortened(number, 100)}", "is 17")


@pytest.mark.parametrize("ends", [b"x", b"}", b',"', b""], ids=["more", "brace", "unended", "cut"])
@pytest.mark.parametrize("again", ['"y":2', "1e300:2", '"y":[2}'], ids=["right", "name", "bracket"])
def test_what_is_no_json_besides_is_located_by_its_own_bytes(again: str, ends: bytes) -> None:
    """Its publisher finds it there: the bytes that count are those that were published."""
    far = "f" * 40
    usual = spliced(f'"x":"\\ufffd","y":1e300,"{far}":1,{again},"z":"{far}"')
    raw = usual.replace(rb"\ufffd", rb"\ud83d").replace(b"1e300", b"1e400")
    usual, raw = (one[: None if ends else -1] + ends for one in (usual, raw))

    assert refusal(raw).reason.replace("1e400", "1e300") == refusal(usual).reason


def test_a_number_that_cannot_be_read_is_named_as_such() -> None:
    """It is small enough for a double, but written as no reader expects it."""
    error = refusal(spliced('"x":' + "1" * 100_000 + "e-100000"))

    assert (error.field, error.reason) == ("event", "has a number that cannot be read")


#: Invalid events, and what is known of each: id, type and tenant.
KNOWN: list[tuple[bytes, tuple[str, str, str | None]]] = [
    (encoded(tenant_id="acme", drift_score="high"), ("evt_1", "policy.deny", "acme")),
    (encoded(tenant_id="acme", type="policy.denied"), ("evt_1", "", "acme")),
    (encoded(tenant_id="acme", timestamp="now"), ("evt_1", "policy.deny", "acme")),
    (encoded(drift_score="high"), ("evt_1", "policy.deny", "default")),
    (encoded(tenant_id="acme", context={"x": 1})[:-4], ("evt_1", "policy.deny", "acme")),
    (encoded(context={"tenant_id": "other"})[:-3], ("evt_1", "policy.deny", None)),
    (
        b'{"context":{"tenant_id":"other","id":"x"},"id":"evt_1","tenant_id":"acme","type',
        ("evt_1", "", "acme"),
    ),
    (encoded(tenant_id="acme") + b"}", ("evt_1", "policy.deny", "acme")),
    (encoded(tenant_id="acme", x="@").replace(b"@", b"\xff"), ("evt_1", "policy.deny", "acme")),
    (encoded(tenant_id="acme", x="y" * 300_000), ("evt_1", "policy.deny", "acme")),
    (encoded(tenant_id="acme", id="x\nx"), ("", "policy.deny", "acme")),
    (spliced('"tenant_id":"acme","x":"\\ud83d","drift_score":"x"'), ("evt_1", "policy.deny", "acme")),
    (spliced('"tenant_id":"a","tenant\\u005fid":"b"'), ("evt_1", "policy.deny", None)),
    (spliced('"tenant_id":"a","tenant\\u005fid":"a"'), ("evt_1", "policy.deny", "a")),
    (spliced('"tenant_id":"a","id":"evt_2"'), ("", "policy.deny", "a")),
    (spliced('"tenant_id":1e400'), ("evt_1", "policy.deny", None)),
    (spliced('"tenant_id":1e400,"x":"\\ud83d"'), ("evt_1", "policy.deny", None)),
    (encoded(tenant_id="acme", id="a{\ud83d"), ("a{\ufffd", "policy.deny", "acme")),
    (encoded(tenant_id="{\ud83d"), ("evt_1", "policy.deny", "{\ufffd")),
    (encoded(tenant_id=7), ("evt_1", "policy.deny", None)),
    (b"[]", ("", "", None)),
    (b"", ("", "", None)),
    (b"nonsense", ("", "", None)),
]


def test_an_invalid_event_keeps_what_can_be_read(subtests: pytest.Subtests) -> None:
    """Its id, type and tenant: read where the event itself has them, never within its context."""
    for raw, known in KNOWN:
        with subtests.test(raw=raw[:200]):
            [letter] = routed(raw).dead
            [event] = letter.events

            assert (event.id, event.type, letter.tenant_id) == known
            assert event.raw == raw
            assert event.time_ms == (1_795_342_272_345 if b"2026-11-22T10:11:12.345Z" in raw else 0)


def test_a_repaired_event_goes_with_the_flow_of_its_tenant() -> None:
    """What is routed out of turn keeps the order of each tenant's events."""
    assert flow_of(spliced('"tenant_id":"acme","x":"\\ud83d"')) == flow_of(encoded(tenant_id="acme"))
    assert flow_of(spliced('"tenant_id":1e400,"x":"\\ud83d"')) == flow_of(encoded(tenant_id=17))
