"""Bodies of webhooks: the event's own bytes; and ids for headers; signatures of Standard Webhooks 1.0.0."""

import base64
import hashlib
import hmac
import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.destinations.golden_events import GOLDEN, golden_event
from tests.destinations.hostile_events import printable_ids
from worker.destinations.webhook.format import BodyKind, batch_id, body, content_type, message_id, signature
from worker.integrations.webhook import signing_key
from worker.model.events import EventType
from worker.samples import sample_lines

WEBHOOK = GOLDEN / "webhook"
ALL = [golden_event(event_type).raw for event_type in EventType]
KEY = signing_key(SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
NEWER = signing_key(SecretStr("whsec_" + base64.b64encode(bytes(range(64))).decode()))
SPREAD = b'{\n  "a" : 1.0,\r\n\t"b": 1e400, "c": "x\\n\\u00e9\\/ y", "a": [ 1,\n 2 ], "d": {}\n}\n'


def test_the_golden_body_of_each_type() -> None:
    """Every byte of the event as it was published, line ends and blanks included, and nothing else."""
    golden = {name: (WEBHOOK / f"{name}.json").read_bytes() for name in EventType}

    assert {name: body("event", [golden_event(name).raw]) for name in EventType} == golden


@pytest.mark.parametrize(("kind", "name"), [("array", "array.json"), ("lines", "lines.ndjson")])
def test_the_golden_body_of_several(kind: BodyKind, name: str) -> None:
    """All eleven types in one body."""
    assert body(kind, ALL) == (WEBHOOK / name).read_bytes()


def test_an_array_is_one_json_text() -> None:
    """RFC 8259, section 5: the events in their order, each as it was published."""
    assert json.loads(body("array", ALL)) == [json.loads(raw) for raw in ALL]
    assert body("array", [SPREAD, b"{}"]) == b"[" + SPREAD + b",{}]"


def test_each_line_is_one_event() -> None:
    """Newline-delimited JSON: every line is a JSON text, and each ends with a newline."""
    lines = body("lines", ALL).decode().split("\n")

    assert [json.loads(line) for line in lines[:-1]] == [json.loads(raw) for raw in ALL]
    assert lines[-1] == ""


def test_an_event_on_several_lines_loses_its_blanks_alone() -> None:
    """Numbers keep their digits, strings their escapes, and a key that stands twice stands twice."""
    assert body("lines", [SPREAD]) == b'{"a":1.0,"b":1e400,"c":"x\\n\\u00e9\\/ y","a":[1,2],"d":{}}\n'


def test_an_event_on_one_line_is_left_as_it_is() -> None:
    """Blanks that are no line ends do no harm."""
    assert body("lines", [b'{ "a" : 1 }']) == b'{ "a" : 1 }\n'


def test_a_line_end_inside_a_string_ends_no_line() -> None:
    """JSON forbids it (RFC 8259, section 7) and not every reader minds: the event still is one line."""
    assert body("lines", [b'{"a":"b\r\nc"}']) == b'{"a":"b  c"}\n'


def test_sample_events_come_back_from_every_body() -> None:
    """A thousand events of all kinds are the same behind an array, and behind lines."""
    raws = list(sample_lines(1_000))
    wanted = [json.loads(raw) for raw in raws]

    assert json.loads(body("array", raws)) == wanted
    assert [json.loads(line) for line in body("lines", raws).splitlines()] == wanted


def test_media_types() -> None:
    """What is in the body is said in its header."""
    assert [content_type(kind) for kind in ("event", "array", "lines")] == [
        "application/json",
        "application/json",
        "application/x-ndjson",
    ]


def test_an_id_is_percent_encoded_where_needed() -> None:
    """Standard Webhooks 1.0.0: what is signed is `id.timestamp.body`, so an id must hold no dot."""
    written = {
        "evt_1": "evt_1",
        "0199c0de-0000-7000-8000-000000000001": "0199c0de-0000-7000-8000-000000000001",
        "a~b": "a~b",
        "a.b": "a%2Eb",
        "a%2Eb": "a%252Eb",
        "evt 1": "evt%201",
        "urn:x/1": "urn%3Ax%2F1",
        "ключ": "%D0%BA%D0%BB%D1%8E%D1%87",
    }

    assert {event_id: message_id(event_id) for event_id in written} == written


@given(printable_ids)
def test_every_id_can_stand_in_a_header_and_comes_back(event_id: str) -> None:
    """Whatever an event calls itself, nothing breaks out of the header, and no two ids become one."""
    written = message_id(event_id)

    assert written.isascii()
    assert written.isprintable()
    assert not {".", " ", "\t"} & set(written)
    assert unquote(written) == event_id


def test_a_batch_has_an_id_of_its_events() -> None:
    """The same over retries of the same events, another for every other choice of them."""
    ids = [
        batch_id(one)
        for one in (["a", "b"], ["a", "b"], ["b", "a"], ["ab"], ["a"], ["a", "b", "c"], ["1:a"], ["", "a"])
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == len(ids) - 1
    assert all(message_id(one) == one for one in ids)
    assert {one.partition("_")[0] for one in ids} == {"batch"}


@pytest.mark.parametrize(
    ("message_id", "timestamp", "body", "expected"),
    [
        (
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "evt_1",
            1767323045,
            b'{"type":"policy.deny","timestamp":"2026-01-02T03:04:05.678Z","data":{"id":"evt_1"}}',
            "v1,3zBe135hBORxG97KBXX55570mLN//a1MGxSZ4eaxaSA=",
        ),
    ],
)
def test_known_answers(message_id: str, timestamp: int, body: bytes, expected: str) -> None:
    """Those that the specification's own libraries agree on."""
    assert signature([KEY], message_id, timestamp, body) == expected


def test_two_secrets_sign_side_by_side() -> None:
    """While a secret is changed, both signatures go along, separated by a space, the newest first."""
    both = signature([NEWER, KEY], "evt_1", 1767323045, b"{}")

    assert both.split(" ") == [signature([key], "evt_1", 1767323045, b"{}") for key in (NEWER, KEY)]


@given(st.binary(max_size=500), st.integers(0, 2**40), st.binary(min_size=24, max_size=64))
def test_exactly_the_bytes_are_signed(body: bytes, timestamp: int, key: bytes) -> None:
    """HMAC-SHA256 over `id.timestamp.body`, in base64, whatever bytes the body has."""
    mac = hmac.new(key, f"evt_1.{timestamp}.".encode() + body, hashlib.sha256)

    assert signature([key], "evt_1", timestamp, body) == "v1," + base64.b64encode(mac.digest()).decode()
