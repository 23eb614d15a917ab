"""What each field of an event becomes in CEF, as the documentation says: golden files, and the rules."""

import json
from itertools import product
from typing import Any

import pytest

from tests.destinations.golden_events import GOLDEN, golden_event, queued
from tests.destinations.hostile_events import digest, is_part_of, published
from tests.destinations.syslog_cef.cef_parser import CefEvent, parse_cef
from tests.destinations.syslog_cef.syslog_parser import parse_syslog
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.model.events import EventType, QueuedEvent

FORMAT = SyslogCefFormat.of(
    facility="local0", header="rfc3164", hostname="mitrity-cp", send_src=True, limit=8000
)
BARE = {"id": "evt_1", "type": "policy.deny", "timestamp": "2026-01-02T03:04:05.678Z"}


def read(event: QueuedEvent, format_: SyslogCefFormat = FORMAT) -> CefEvent:
    """Format an event and read it back, strictly."""
    (message,) = format_.messages([event])
    return parse_cef(parse_syslog(message, "rfc3164").text)


def cef(**fields: Any) -> CefEvent:
    """Format an event that has little but these fields, and read it back."""
    return read(published(BARE | fields))


def test_each_type_is_written_as_its_golden_file() -> None:
    """Every byte of one event of each type, reviewed by a person."""
    golden = {name: (GOLDEN / "syslog_cef" / f"{name}.txt").read_bytes() for name in EventType}

    assert {name: FORMAT.messages([golden_event(name)])[0] + b"\n" for name in EventType} == golden


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rfc5424", {"header": "rfc5424"}),
        ("without_src", {"send_src": False}),
        ("truncated", {"limit": 600}),
        ("shortened", {"limit": 480, "facility": "local7", "hostname": f"mitrity-cp.{'x' * 230}.example"}),
    ],
)
def test_each_option_is_written_as_its_golden_file(name: str, options: dict[str, Any]) -> None:
    """The other header, `src` disabled, keys left out, and values cut where even that is not enough."""
    usual: dict[str, Any] = {
        "facility": "local0",
        "header": "rfc3164",
        "hostname": "mitrity-cp",
        "send_src": True,
        "limit": 8000,
    }
    golden = (GOLDEN / "syslog_cef" / f"{name}.txt").read_bytes()

    assert SyslogCefFormat.of(**(usual | options)).messages([golden_event("policy.deny")]) == [
        golden.removesuffix(b"\n")
    ]


def test_every_golden_file_is_strict_cef() -> None:
    """The reader from the standard takes each of them."""
    files = sorted((GOLDEN / "syslog_cef").glob("*.txt"))

    for file in files:
        header = "rfc5424" if file.stem == "rfc5424" else "rfc3164"
        parse_cef(parse_syslog(file.read_bytes().removesuffix(b"\n"), header).text)
    assert len(files) == len(EventType) + 4


def test_severity_follows_the_type() -> None:
    """The documentation says: deny is High, alert Medium, allow Low; 7-8, 4-6 and 0-3 in CEF."""
    severity = {
        "policy.deny": 8,
        "policy.alert": 5,
        "policy.hold": 5,
        "policy.allow": 2,
        "drift.warning": 5,
        "drift.critical": 8,
        "agent.connected": 2,
        "agent.disconnected": 2,
        "hold.approved": 2,
        "hold.denied": 5,
        "hold.expired": 5,
        "integration.test": 2,
    }

    assert {type_: read(QueuedEvent("e", type_, 0, 0, b"{}")).severity for type_ in severity} == severity


def test_a_decision_that_weighs_more_than_the_type_counts() -> None:
    """Documented: deny and block are High. What a person decided about a hold is its type already."""
    for event_type, decision, severity in [
        ("policy.alert", "block", 8),
        ("policy.alert", "deny", 8),
        ("policy.hold", "block", 8),
        ("policy.allow", "alert", 5),
        ("policy.deny", "allow", 8),
        ("drift.warning", "block", 8),
        ("drift.warning", "allow", 5),
        ("hold.denied", "deny", 5),
        ("hold.approved", "allow", 2),
    ]:
        read_back = cef(type=event_type, decision=decision)
        (message,) = FORMAT.messages([published(BARE | {"type": event_type, "decision": decision})])

        assert read_back.severity == severity, (event_type, decision)
        assert message.startswith({8: b"<131>", 5: b"<132>", 2: b"<134>"}[severity]), (event_type, decision)


def test_the_name() -> None:
    """Policy name, or its id, or plain words; behavioral_anomaly for drift; 512 characters at most."""
    names: list[tuple[dict[str, Any], str]] = [
        ({"policy": {"id": "p", "name": "Block writes"}}, "Block writes"),
        ({"policy": {"id": "p"}}, "p"),
        ({"policy": {"id": "p", "name": " \n"}}, "p"),
        ({"policy": {"id": "", "name": ""}}, "Policy deny"),
        ({"policy": None}, "Policy deny"),
        ({"type": "policy.alert"}, "Policy alert"),
        ({"type": "drift.warning", "policy": {"name": "Drift"}}, "behavioral_anomaly"),
        ({"type": "drift.critical"}, "behavioral_anomaly"),
        ({"type": "agent.connected"}, "Agent connected"),
        ({"type": "agent.disconnected"}, "Agent disconnected"),
        ({"type": "agent.disconnected", "policy": {"name": "Sessions"}}, "Sessions"),
        ({"type": "hold.approved", "policy": {"name": "Four eyes"}}, "Four eyes"),
        ({"type": "hold.denied", "policy": {"id": "pol_pay"}}, "pol_pay"),
        ({"type": "hold.denied"}, "Hold denied"),
        ({"type": "hold.expired"}, "Hold expired"),
        ({"policy": {"name": "x" * 512}}, "x" * 512),
        ({"policy": {"name": "x" * 513}}, "x" * 511 + "…"),
    ]
    for fields, name in names:
        assert cef(**fields).name == name, fields


def test_the_outcome() -> None:
    """The decision in the four documented words; an event without one takes it from its type."""
    outcomes: list[tuple[dict[str, Any], str | None]] = [
        ({"decision": "allow"}, "allow"),
        ({"decision": "deny"}, "deny"),
        ({"decision": "block"}, "deny"),
        ({"decision": "alert"}, "alert"),
        ({"decision": "hold"}, "hold"),
        ({}, "deny"),
        ({"decision": None}, "deny"),
        ({"type": "policy.alert"}, "alert"),
        ({"type": "policy.hold"}, "hold"),
        ({"type": "policy.allow"}, "allow"),
        ({"type": "drift.critical", "decision": "block"}, "deny"),
        ({"type": "drift.warning"}, "alert"),
        ({"type": "drift.critical"}, "alert"),
        ({"type": "hold.approved"}, "allow"),
        ({"type": "hold.denied"}, "deny"),
        ({"type": "hold.expired"}, "deny"),
        ({"type": "hold.expired", "decision": "allow"}, "allow"),
        ({"type": "agent.connected"}, None),
        ({"type": "agent.disconnected"}, None),
        ({"type": "agent.disconnected", "decision": "block"}, "deny"),
    ]
    for fields, outcome in outcomes:
        assert cef(**fields).extension.get("outcome") == outcome, fields


def test_an_event_with_nothing_has_no_empty_keys() -> None:
    """Elastic reports an error for a key without a value; so only what is known is written."""
    assert cef().extension == {
        "rt": "1767323045678",
        "outcome": "deny",
        "externalId": "evt_1",
        "devicePayloadId": "evt_1",
        "cat": "policy",
        "deviceExternalId": "default",
        "msg": "A policy denied an action by an agent.",
    }


@pytest.mark.parametrize("empty", ["", " ", "\u00a0\n", "\0"])
def test_blank_fields_are_left_out(empty: str) -> None:
    """What is nothing once it is stripped is no value."""
    blank = cef(agent_id=empty, agent_name=empty, action_type=empty, reason=empty, behavioral_hash=empty)

    assert blank.extension.keys() & {"suid", "src", "suser", "act", "reason", "cs2", "cs2Label"} == set()


def test_numbers_keep_the_digits_that_they_were_published_with() -> None:
    """A reader of CEF sees the same score as one of Splunk."""
    for digits in [
        "1",
        "0",
        "1.0",
        "0.8300",
        "1e-7",
        "-0",
        "0.12345678901234567890123",
        "123456789012345678901",
    ]:
        bare = json.dumps(BARE)[:-1]
        raw = f'{bare},"drift_score":{digits},"behavioral_hash_delta":{digits}}}'.encode()
        found = read(queued(raw)).extension

        assert {found[key] for key in ("cs1", "cfp1", "cs4")} == {digits}


def test_a_number_of_more_digits_than_a_number_key_takes_is_the_nearest_double() -> None:
    """A number that ends in a mark is none."""
    raw = f'{json.dumps(BARE)[:-1]},"drift_score":0.{"3" * 500}}}'.encode()
    found = read(queued(raw)).extension

    assert float(found["cfp1"]) == 1 / 3
    assert found["cs1"] == "0." + "3" * 500


def test_scores_and_hashes_are_labelled() -> None:
    """ArcSight dictionary: a custom field says in its label what it is; the score is a number as well."""
    read = cef(
        drift_score=0.83,
        behavioral_hash="sha256:ab==",
        behavioral_hash_delta=0,
        policy={"id": "p"},
        hold={"a": 1},
    ).extension

    assert (read["cs1"], read["cs1Label"]) == ("0.83", "driftScore")
    assert (read["cfp1"], read["cfp1Label"]) == ("0.83", "driftScore")
    assert (read["cs2"], read["cs2Label"]) == ("sha256:ab==", "behavioralHash")
    assert (read["cs3"], read["cs3Label"]) == ("p", "policyId")
    assert (read["cs4"], read["cs4Label"]) == ("0", "behavioralHashDelta")
    assert (read["cs5"], read["cs5Label"]) == ('{"a":1}', "hold")


def test_a_long_id_is_whole_under_one_key_and_a_digest_under_the_other() -> None:
    """ArcSight dictionary: externalId has 40 characters; devicePayloadId has room for the whole."""
    read = cef(id="é" * 128).extension

    assert read["devicePayloadId"] == "é" * 128
    assert read["externalId"] == digest("é" * 128)
    assert len(digest("")) <= 40
    assert "flexString1" not in read


def test_objects_are_compact_json() -> None:
    """Blanks between tokens go, those in strings stay; what can be no line of a message becomes an escape."""
    raw = json.dumps(BARE | {"context": {"a b": [1, "c \x7f\u2028d"]}}, ensure_ascii=False, indent=3).encode()

    assert read(published(BARE | {"context": {}})).extension.get("requestContext") is None
    assert read(QueuedEvent("e", "policy.deny", 0, 0, raw)).extension["requestContext"] == (
        r'{"a b":[1,"c \u007f\u2028d"]}'
    )


@pytest.mark.parametrize(
    ("context", "most", "written"),
    [
        ({"text": "é" * 5000}, 2048, '{"text":"' + "é" * 2020 + '…","…":"truncated"}'),
        ({"a": 1, "text": "\x7f" * 5000, "b": [1]}, 2048, None),
        ({"big": [1] * 5000, "tool": "psql"}, 2048, '{"tool":"psql","…":"truncated"}'),
        ({"x" * 5000: 1}, 2048, '{"…":"truncated"}'),
        ({"a": "b" * 2010, "c": "d" * 30}, 2048, '{"a":"' + "b" * 2010 + '","…":"truncated"}'),
    ],
)
def test_a_large_object_stays_json_and_says_what_it_is(
    context: dict[str, Any], most: int, written: str | None
) -> None:
    """ArcSight dictionary: requestContext has 2048 characters. What is cut into pieces is no JSON."""
    value = cef(context=context).extension["requestContext"]

    assert written in {None, value}
    assert len(value) <= most
    assert is_part_of(json.loads(value), context)
    assert cef(context=context).extension["flexString1"] == "true"


def test_a_large_object_that_is_damaged_leaves_the_mark() -> None:
    """Broken UTF-8 in what is too long: the rest stays, and nothing is raised."""
    raw = b'{"context": {"tool": "psql", "text": "\xff", "long": "%b"}}' % (b"x" * 3000)
    value = read(QueuedEvent("evt_1", "policy.deny", 0, 0, raw)).extension["requestContext"]

    assert json.loads(value)["tool"] == "psql"
    assert json.loads(value)["…"] == "truncated"


def test_an_event_that_cannot_be_read_shows_what_is_known() -> None:
    """Formats hold up no event: id, type and time were written down when it was accepted."""
    for raw in [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{",
        b'{"agent_id": 5}',
        b'{"reason": "\\ud800"}',
        b'{"context": ' + b"[" * 100_000,
        b'{"context": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"agent_id": "\xff"}',
    ]:
        read_back = read(QueuedEvent("evt_1", "policy.deny", 1_767_323_045_678, 0, raw))

        assert read_back.event_class == "policy.deny", raw[:40]
        assert read_back.name == "Policy deny", raw[:40]
        assert read_back.severity == 8, raw[:40]
        assert read_back.extension["devicePayloadId"] == "evt_1", raw[:40]
        assert read_back.extension["rt"] == "1767323045678", raw[:40]
        assert "could not be read" in read_back.extension["reason"], raw[:40]


def test_an_object_that_is_none_does_no_harm() -> None:
    """Half a surrogate pair, broken UTF-8 and other types make a valid message all the same."""
    for json_text, field in product([b'"\\ud800"', b'"\xff"', b"5", b"[1, 2]"], ["hold", "context"]):
        raw = b'{"agent_id": "agent-7", "%b": {"a": %b}}' % (field.encode(), json_text)

        assert read(QueuedEvent("evt_1", "policy.deny", 0, 0, raw)).extension["devicePayloadId"] == "evt_1", (
            raw
        )


def test_half_a_surrogate_pair_in_an_id_is_no_obstacle() -> None:
    """No id that was accepted has one; if one ever does, its message is still UTF-8."""
    read_back = read(QueuedEvent("a\ud800b", "policy.deny", 0, 0, b"{}"))

    assert read_back.extension["externalId"] == "a?b"


def test_the_test_event_of_the_doctor() -> None:
    """A type that the control plane never reports is named by its own words."""
    read_back = read(QueuedEvent("test_1", "integration.test", 0, 0, b"{}"))

    assert read_back.event_class == "integration.test"
    assert read_back.name == "Integration test"
    assert read_back.severity == 2
    assert read_back.extension["cat"] == "integration"
    assert "outcome" not in read_back.extension


def test_an_unknown_type_has_no_outcome_of_its_own() -> None:
    """Only the documented words are outcomes."""
    assert "outcome" not in read(QueuedEvent("e", "policy.quarantine", 0, 0, b"{}")).extension


def test_no_type_breaks_the_header() -> None:
    """Whatever the type is called, seven fields are written, and a class of printable ASCII."""
    for event_type in ["", "a|b\\c", "x y\n", "é" * 3000, "{agent}", ".", "policy."]:
        read_back = read(QueuedEvent("e", event_type, 0, 0, b"{}"))

        assert read_back.event_class.isascii(), event_type[:9]
        assert 1 <= len(read_back.event_class) <= 20, event_type[:9]
