"""`siem integrations pause` and `resume`: by name or id, told to the fleet at once."""

import json
import secrets

import pytest

from tests.cli.running import run
from tests.fleet import Fleet
from worker.integrations.integration import Integration, parse_integration

pytestmark = pytest.mark.slow


@pytest.fixture
def hook(empty: Fleet) -> Integration:
    """Give a webhook that the fleet knows, of an id that no other test had: an id is taken for ever."""
    destination = {"type": "webhook", "url": "https://endpoint.example.com/"}
    document = {"id": f"int_{secrets.token_hex(8)}", "name": "hook", "destination": destination}
    integration = parse_integration(document)
    empty.store.create(integration)
    empty.announce()
    return integration


def held(fleet: Fleet, integration: Integration) -> tuple[object, bool]:
    """Return what Redis knows: whether it is held, and whether events are collected for it."""
    document = fleet.client.hget("siem:integrations", integration.id)
    assert isinstance(document, bytes)
    return fleet.client.hget(f"siem:state:{integration.id}", "held"), bool(json.loads(document)["enabled"])


@pytest.mark.parametrize("by", ["name", "id"])
def test_paused_and_resumed(empty: Fleet, hook: Integration, by: str) -> None:
    """Events are collected all the while."""
    paused = run(empty.environment, "integrations", "pause", getattr(hook, by))
    while_paused = held(empty, hook)
    resumed = run(empty.environment, "integrations", "resume", getattr(hook, by))

    assert (paused.code, paused.out) == (0, f"Paused hook ({hook.id}).\n")
    assert while_paused == (b"1", True)
    assert (resumed.code, resumed.out) == (0, f"Resumed hook ({hook.id}).\n")
    assert held(empty, hook) == (b"0", True)


def test_a_pause_in_json(empty: Fleet, hook: Integration) -> None:
    """The whole integration, as it is now."""
    shown = run(empty.environment, "integrations", "pause", hook.id, "--json").json

    assert (shown["id"], shown["paused"], shown["enabled"]) == (hook.id, True, True)


def test_what_is_disabled_stays_so(empty: Fleet, hook: Integration) -> None:
    """A resume says that it takes more than that."""
    run(empty.environment, "integrations", "disable", hook.id)
    resumed = run(empty.environment, "integrations", "resume", hook.id)

    assert resumed.out.splitlines()[1] == (
        f"It is disabled all the same: see `siem integrations enable {hook.id}`."
    )
    assert held(empty, hook) == (b"1", False)


def test_nothing_of_that_name(empty: Fleet) -> None:
    """Exit status 4, and the way to what there is."""
    done = run(empty.environment, "integrations", "pause", "nobody")

    assert done.code == 4
    assert "there is no integration nobody" in done.err
