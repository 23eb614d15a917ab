"""Integrations over HTTP: created, listed, shown, changed, paused, deleted."""

import json
import subprocess
from typing import Any

import trustme

from tests.api.conftest import OURS, PREFIX, THEIRS, Api

WEBHOOK = {"type": "webhook", "url": "https://hook.example.com/in"}
CA_PEM = trustme.CA().cert_pem.bytes().decode()
SPLUNK = {"type": "splunk_hec", "url": "https://splunk.example.com:8088/services/collector/event"}


def test_the_customers_example_works_as_printed(api: Api) -> None:
    """The request of the customers' documentation, with nothing but address and key put in, creates one."""
    example = """\
curl -X POST https://api.mitrity.com/api/v1/integrations/siem \\
  -H "Authorization: Bearer your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "type": "splunk_hec",
    "url": "https://your-splunk:8088/services/collector/event",
    "token": "your-hec-token",
    "source_type": "mitrity:governance",
    "event_types": ["policy.deny", "policy.alert", "policy.hold", "drift.warning", "drift.critical"]
  }'"""
    typed = example.replace("https://api.mitrity.com", api.url).replace(
        "your-api-key", api.keys[OURS, "admin"]
    )
    command = f"{typed} --noproxy '*' -sS"
    answers = [json.loads(subprocess.check_output(["/bin/sh", "-c", command])) for _ in range(2)]

    # Other tests may have created some by the same example.
    numbers = [int(one["name"].removeprefix("splunk_hec your-splunk") or 1) for one in answers]
    assert numbers == [numbers[0], numbers[0] + 1]
    assert answers[0]["token"]["ends_in"] == "en"
    assert answers[0]["event_types"] == [
        *("drift.critical", "drift.warning", "policy.alert", "policy.deny", "policy.hold"),
    ]


def test_created_means_there(api: Api) -> None:
    """The answer says where it is, which version it is, and what all its fields are; the fleet knows it."""
    answer = api.ask("POST", "/integrations/siem", json={**WEBHOOK, "name": "created"})
    made = answer.json()
    shown = api.ask("GET", f"/integrations/siem/{made['id']}")

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{PREFIX}/integrations/siem/{made['id']}"
    assert answer.headers["ETag"] == shown.headers["ETag"] == '"1"'
    assert shown.json() == made
    assert made["tenant_id"] == OURS
    assert made["enabled"] is True
    assert "policy.allow" not in made["event_types"]
    assert made["auth"] == {"kind": "none"}
    assert api.fleet.client.hexists("siem:integrations", made["id"])


def test_pages_hold_each_integration_once(api: Api) -> None:
    """Who follows `next` sees them all, in the order in which they were made, and only the tenant's."""
    made = [api.create(tenant=THEIRS)["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get("/integrations/siem", tenant=THEIRS, params={"limit": "2", **cursor})
        assert len(page["items"]) <= 2
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}

    assert [one for one in seen if one in made] == made
    assert len(set(seen)) == len(seen)
    assert not set(seen) & {one["id"] for one in api.get("/integrations/siem?limit=200")["items"]}


def test_a_wrong_cursor_is_refused(api: Api) -> None:
    """Only what an answer gave is a cursor."""
    for cursor in ("x", "%00", "bnVsbA", "W10", "WzEsMl0", "Wy0xLCJhIl0", "é"):
        answer = api.ask("GET", f"/integrations/siem?cursor={cursor}")

        assert answer.status_code == 422, cursor
        assert answer.json()["field"] == "cursor", cursor


def test_a_merge_patch_changes_what_it_names(api: Api) -> None:
    """What is given changes, null brings the default back, objects merge, and the rest stays."""
    made = api.create({**SPLUNK, "token": "x" * 20, "fields": {"a": "1", "b": "2"}, "gzip": True})
    patch = {
        "name": "patched",
        "fields": {"a": None, "c": "3"},
        "gzip": None,
        "event_types": ["policy.allow"],
    }
    answer = api.ask("PATCH", f"/integrations/siem/{made['id']}", json=patch)
    changed = answer.json()

    assert answer.headers["ETag"] == '"2"'
    assert changed["name"] == "patched"
    assert changed["fields"] == {"b": "2", "c": "3"}
    assert changed["gzip"] is False
    assert changed["event_types"] == ["policy.allow"]
    assert {**changed, **{name: made[name] for name in (*patch, "updated_at")}} == made


def test_if_match_guards_a_change(api: Api) -> None:
    """Who names a version that is not the latest changes, pauses and deletes nothing."""
    path = f"/integrations/siem/{api.create()['id']}"
    api.ask("PATCH", path, json={"max_retries": 1})
    old, new = {"If-Match": '"1"'}, {"If-Match": '"7", "2"'}
    refused = [
        api.ask("PATCH", path, json={"max_retries": 0}, headers=old),
        api.ask("PATCH", path, json={"max_retries": 0}, headers={"If-Match": 'W/"2"'}),
        api.ask("POST", f"{path}/pause", headers=old),
        api.ask("DELETE", path, headers=old),
    ]

    assert [answer.status_code for answer in refused] == [412] * 4
    assert api.get(path)["max_retries"] == 1
    assert api.ask("PATCH", path, json={"max_retries": 0}, headers={"If-Match": "2"}).status_code == 422
    assert api.ask("PATCH", path, json={"max_retries": 0}, headers=new).status_code == 200
    assert api.ask("DELETE", path, headers={"If-Match": "*"}).status_code == 204
    assert api.ask("GET", path).status_code == 404


def test_pause_and_resume(api: Api) -> None:
    """A pause holds the backlog; its end lets it go."""
    made = api.create()
    state = f"siem:state:{made['id']}"
    paused = api.ask("POST", f"/integrations/siem/{made['id']}/pause").json()
    held = api.fleet.client.hget(state, "held")
    resumed = api.ask("POST", f"/integrations/siem/{made['id']}/resume").json()

    assert (paused["paused"], held) == (True, b"1")
    assert (resumed["paused"], api.fleet.client.hget(state, "held")) == (False, b"0")


def test_a_name_may_be_taken_once(api: Api) -> None:
    """A second one of a name that was given is refused, by creation and by change."""
    api.create(name="taken")
    answers = [
        api.ask("POST", "/integrations/siem", json={**WEBHOOK, "name": "taken"}),
        api.ask("PATCH", f"/integrations/siem/{api.create()['id']}", json={"name": "taken"}),
    ]

    assert [(answer.status_code, answer.json()["field"]) for answer in answers] == [(422, "name")] * 2
    assert api.create(name="taken", tenant=THEIRS)["name"] == "taken"


def test_what_is_wrong_is_named(api: Api) -> None:
    """A problem names the field, the reason and the hint in words of the API, and repeats no value."""
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"type": "carrier_pigeon"}, "type", "give one of splunk_hec, syslog_cef, webhook"),
        ({"url": "ftp://secret-host/"}, "url", "give an address like https://endpoint.example.com/webhook"),
        ({"url": None}, "url", "field required"),
        ({"max_retries": 4}, "max_retries", "input should be less than or equal to 3"),
        ({"event_types": []}, "event_types", "give at least one event type"),
        ({"event_types": ["policy.maybe"]}, "event_types.0", "input should be 'policy.deny'"),
        ({"tokn": "x"}, "tokn", "extra inputs are not permitted"),
        ({"id": "int_1"}, "id", "is not for you to set"),
        ({"tenant_id": THEIRS}, "tenant_id", "is not for you to set"),
        ({"auth": {"kind": "basic"}}, "auth.kind", "give one of none, bearer, api_key"),
        ({"auth": {"kind": "bearer", "token": {"set": True}}}, "auth.token", "does not say which secret"),
        ({"ca_pem": "nonsense"}, "ca_pem", ""),
        ({"ca_pem": "\ufeff# \u00dcber uns"}, "ca_pem", "is not a certificate in PEM"),
        ({"ca_pem": f"# \u00dc\n{CA_PEM[:90]}"}, "ca_pem", "holds a certificate that is cut off"),
        ({"signing_secrets": ["whsec_short"]}, "signing_secrets", "give whsec_ and 24 to 64 random bytes"),
        ({"name": "a\nb"}, "name", "has characters that cannot be printed"),
    ]
    for change, field, reason in cases:
        answer = api.ask("POST", "/integrations/siem", json=WEBHOOK | change)
        problem = answer.json()

        assert answer.status_code == 422, change
        assert answer.headers["Content-Type"] == "application/problem+json", change
        assert problem["field"] == field, change
        assert problem["reason"].startswith(reason), change
        assert problem["hint"], change
        assert "secret-host" not in answer.text, change
        assert "`siem " not in answer.text, change


def test_text_around_certificates_does_not_matter(api: Api) -> None:
    """Comments in any script come in bundles; of what is given, only the blocks are kept and shown."""
    bundle = f"\ufeff# Корень, 証明書\r\n{CA_PEM}# — Ende —\r\n"
    answer = api.ask("POST", "/integrations/siem", json={**WEBHOOK, "name": "bundle", "ca_pem": bundle})

    assert answer.status_code == 201
    assert answer.json()["ca_pem"] == CA_PEM.strip()


def test_what_is_no_object_is_refused(api: Api) -> None:
    """A body that cannot be read is a problem, and never a fault of ours."""
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"name": "\\ud800"}', "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"a":' * 30 + b"1" + b"}" * 30, "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"{}", "text/plain", 415),
        (b" " * (1 << 20) + b"{}", "application/json", 413),
    ):
        headers = {"Content-Type": kind}
        answer = api.ask("POST", "/integrations/siem", content=content, headers=headers)

        assert answer.status_code == status, content[:30]
        assert answer.json()["status"] == status, content[:30]


def test_the_type_stays(api: Api) -> None:
    """An integration does not become another one."""
    path = f"/integrations/siem/{api.create()['id']}"
    answer = api.ask("PATCH", path, json={"type": "splunk_hec"})

    assert (answer.status_code, answer.json()["field"]) == (422, "type")
    assert api.ask("PATCH", path, json={"type": "webhook"}).status_code == 200


def test_all_wrong_fields_are_named_at_once(api: Api) -> None:
    """Each with where it stands, what is wrong, and what would be right; on a change as well."""
    made = api.create({"type": "splunk_hec", "url": "https://splunk.example.com", "token": "t"}, name="four")
    wrong = {"url": "ftp://x", "token": "a b", "index": "UPPER", "batch_events": 0, "tenant_id": "other"}
    refused = [
        api.ask("POST", "/integrations/siem", json={"type": "splunk_hec", **wrong}),
        api.ask("PATCH", f"/integrations/siem/{made['id']}", json=wrong),
    ]

    for answer in refused:
        problem = answer.json()
        assert answer.status_code == 422
        assert {one["field"] for one in problem["errors"]} == set(wrong)
        assert {one["pointer"] for one in problem["errors"]} == {f"#/{name}" for name in wrong}
        assert all(one["reason"] and one["hint"] for one in problem["errors"])
        assert problem["errors"][0]["field"] == problem["field"]
        assert "4 more" in problem["detail"]
