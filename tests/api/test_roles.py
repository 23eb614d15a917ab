"""What each role may do, on each route; and that no route tells what another tenant has."""

from typing import Any

from tests.api.conftest import ADMIN, OURS, PREFIX, PUBLISH_ONLY, READ_ONLY, THEIRS, Api
from tests.api.routes import Door, doors

#: What a key may do that only publishes.
PUBLISHING = {"POST /events", "GET /event-types"}


def may(role: str, door: Door) -> bool:
    """Whether the role may open the door: reading is asking with GET."""
    if role == PUBLISH_ONLY:
        return str(door) in PUBLISHING
    return role == ADMIN or door.method == "GET"


def test_each_role_opens_its_doors_and_no_other(api: Api) -> None:
    """403 where the role may not, and never where it may; the answer says which role may."""
    wrong = []
    for door in doors(api):
        for role in (ADMIN, READ_ONLY, PUBLISH_ONLY):
            answer = door.ask(api, role=role)
            if (answer.status_code == 403) is may(role, door) or answer.status_code >= 500:
                wrong.append((str(door), role, answer.status_code))
            if answer.status_code == 403:
                assert "admin" in answer.json()["hint"]

    assert wrong == []


def test_every_door_wants_a_key(api: Api) -> None:
    """Nothing below /api/v1 is open to everyone; before the key, nothing is looked at."""
    found = {
        (str(door), api.http.request(door.method, api.url + PREFIX + door.path, content=b"{").status_code)
        for door in doors(api)
    }

    assert {status for _, status in found} == {401}
    assert len(found) > 8


def test_another_tenants_things_are_as_if_they_never_were(api: Api) -> None:
    """Each route that names an integration answers alike for a stranger's and for one that never was."""
    theirs = api.create(tenant=THEIRS)["id"]
    never = theirs[:-6] + "000000"
    reported = []
    for door in doors(api):
        if "{integration_id}" in door.path:
            stranger, nobody = (door.ask(api, tenant=OURS, integration_id=one) for one in (theirs, never))
            assert nobody.status_code == 404, str(door)
            if facts(stranger, theirs) != facts(nobody, never):
                reported.append(str(door))

    assert reported == []
    assert api.get(f"/integrations/siem/{theirs}", tenant=THEIRS)["paused"] is False


def facts(answer: Any, integration_id: str) -> Any:
    """Return all that an answer tells, but for the id, which the asker knows."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, headers, answer.content.replace(integration_id.encode(), b"ID")
