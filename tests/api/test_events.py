"""POST /events: what is valid goes to Redis as it was sent, and the rest is reported line by line."""

import gzip
import json
from collections.abc import Iterator

import pytest

from tests.api.conftest import OURS, PUBLISH_ONLY, READ_ONLY, THEIRS, Api
from tests.api.publishing import JSON, NDJSON, event, lines, publish, taken


@pytest.fixture(autouse=True)
def _empty(api: Api) -> Iterator[None]:
    """Begin and end with no event in Redis."""
    taken(api)
    yield
    taken(api)


def test_an_event_is_accepted_when_redis_has_it(api: Api) -> None:
    """One object, as application/json; every byte of it stays as it was sent."""
    raw = (
        b'{"id": "evt_1",\n "type":"policy.deny", "timestamp":"2026-11-22T10:11:12Z",'
        b'\t"tenant_id":"ours", "x":1e2}'
    )
    answer = publish(api, raw, JSON)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "refused": 0, "errors": []})
    assert taken(api) == [raw]


def test_lines_go_in_together(api: Api) -> None:
    """NDJSON: in order, blank lines and carriage returns aside."""
    body = b"\r\n".join([lines(event(1)), b"", lines(event(2)), b""])
    answer = publish(api, body)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "refused": 0, "errors": []})
    assert [json.loads(raw)["id"] for raw in taken(api)] == ["evt_1", "evt_2"]


def test_more_than_one_round_trip(api: Api) -> None:
    """Thousands of lines are accepted, each once and in order."""
    answer = publish(api, lines(*map(event, range(2500))))

    assert answer.json() == {"accepted": 2500, "refused": 0, "errors": []}
    assert [json.loads(raw)["id"] for raw in taken(api)] == [f"evt_{number}" for number in range(2500)]


def test_each_wrong_line_is_named_and_keeps_no_other_out(api: Api) -> None:
    """The line, the event's id if it has one, the field, what is wrong and what would be right."""
    body = lines(event(1), event(2, type="policy.maybe"), b"{", event(4, timestamp="now"), event(5))
    answer = publish(api, body)
    errors = answer.json()["errors"]

    assert answer.status_code == 202
    assert answer.json()["accepted"] == 2
    assert [(one["line"], one.get("id"), one["field"]) for one in errors] == [
        (2, "evt_2", "type"),
        (3, None, "event"),
        (4, "evt_4", "timestamp"),
    ]
    assert "policy.deny" in errors[0]["hint"]
    assert [json.loads(raw)["id"] for raw in taken(api)] == ["evt_1", "evt_5"]


def test_nothing_valid_is_a_problem(api: Api) -> None:
    """Nothing was accepted: 422, with the same complaints."""
    answer = publish(api, lines(event(1, type="x"), b"[]"))
    single = publish(api, lines(event(1, id="")), JSON)
    several = publish(api, json.dumps([event(1), event(2)]).encode(), JSON)
    empty = publish(api, b"\n\n")

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [one["line"] for one in answer.json()["errors"]] == [1, 2]
    assert answer.json()["accepted"] == 0
    assert (single.status_code, single.json()["field"]) == (422, "id")
    assert (several.status_code, several.json()["field"]) == (422, "event")
    assert (empty.status_code, empty.json()["field"]) == (422, "body")
    assert taken(api) == []


def test_an_event_without_tenant_is_given_that_of_the_key(api: Api) -> None:
    """It is put in front; what was sent follows, byte by byte."""
    raw = b' { "type":"hold.denied","id":"a","timestamp":"2026-11-22T10:11:12Z" }'
    publish(api, raw, JSON)

    assert taken(api) == [
        b' {"tenant_id":"ours", "type":"hold.denied","id":"a","timestamp":"2026-11-22T10:11:12Z" }'
    ]


def test_an_event_of_another_tenant_is_refused(api: Api) -> None:
    """Whatever tenant it names, even the default one, and however the name is written."""
    spelled = b'{"tenant\\u005fid":"theirs","id":"c","type":"hold.denied","timestamp":"2026-11-22T10:11:12Z"}'
    answer = publish(api, lines(event(1, tenant_id=THEIRS), event(2, tenant_id="default"), spelled, event(4)))

    assert answer.json()["accepted"] == 1
    assert [(one["line"], one["field"]) for one in answer.json()["errors"]] == [
        (1, "tenant_id"),
        (2, "tenant_id"),
        (3, "tenant_id"),
    ]
    assert THEIRS not in answer.text
    assert [json.loads(raw)["tenant_id"] for raw in taken(api)] == [OURS]


def test_the_tenant_must_fit_too(api: Api) -> None:
    """An event that is too large only with its tenant is refused here, not by a router later."""
    frame = len(lines(event(1, context={"x": ""})))
    largest = lines(event(1, context={"x": "y" * (256 * 1024 - frame)}))
    answer = publish(api, largest, JSON)

    assert len(largest) == 256 * 1024
    assert (answer.status_code, answer.json()["field"]) == (422, "event")


def test_gzip_is_understood(api: Api) -> None:
    """In one member or several; the Content-Encoding says so."""
    body = gzip.compress(lines(event(1)) + b"\n") + gzip.compress(lines(event(2)))
    answer = publish(api, body, NDJSON | {"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    assert len(taken(api)) == 2


@pytest.mark.parametrize(
    ("headers", "content", "status", "field"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415, "Content-Type"),
        ({"Content-Type": ""}, b"{}", 415, "Content-Type"),
        (JSON | {"Content-Encoding": "br"}, b"{}", 415, "Content-Encoding"),
        (JSON | {"Content-Encoding": "gzip"}, b"{}", 400, "body"),
        (JSON | {"Content-Encoding": "gzip"}, b"", 400, "body"),
        (JSON | {"Content-Encoding": "gzip"}, gzip.compress(b"{}" * 99)[:-9], 400, "body"),
        (JSON | {"Content-Encoding": "gzip"}, gzip.compress(b"{}") + b"more", 400, "body"),
        (JSON | {"Content-Encoding": "gzip"}, gzip.compress(b"") * 100, 400, "body"),
    ],
    ids=["text", "no type", "brotli", "no gzip", "nothing", "cut short", "more behind", "many members"],
)
def test_what_is_not_understood_is_named(
    api: Api, headers: dict[str, str], content: bytes, status: int, field: str
) -> None:
    """The header or the body, and what would be right."""
    answer = publish(api, content, headers)

    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert answer.json()["hint"]


def test_what_was_sent_twice_is_published_once(api: Api) -> None:
    """With an Idempotency-Key the second answer is the first one; another body is refused."""
    headers = NDJSON | {"Idempotency-Key": "ingest-1"}
    first, second = (publish(api, lines(event(1), b"x"), headers) for _ in range(2))
    other = publish(api, lines(event(2)), headers)
    other_tenant = publish(api, lines(event(1)), headers, tenant=THEIRS)

    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
    assert other_tenant.status_code == 202
    assert [json.loads(raw)["tenant_id"] for raw in taken(api)] == [OURS, THEIRS]


def test_who_may_publish(api: Api) -> None:
    """Keys that may only read may not, nor may a request without a key."""
    answer = api.ask("POST", "/events", READ_ONLY, json=event())
    nobody = api.http.post(f"{api.url}/api/v1/events", json=event())
    reading = api.ask("GET", "/integrations/siem", PUBLISH_ONLY)

    assert answer.status_code == 403
    assert nobody.status_code == 401
    assert reading.status_code == 403
    assert taken(api) == []
