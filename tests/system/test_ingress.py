"""What comes in by plain XADD: what is valid travels on, what is not is kept with the reason."""

import json

from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.system.conftest import Customer, denial


def test_what_is_no_event_becomes_a_dead_letter_and_blocks_nothing(customer: Customer) -> None:
    """Each invalid entry is kept with its bytes and a reason that names the field; the rest arrives."""
    fleet = customer.fleet
    invalid = {
        b"not json": "event: is not JSON",
        b"[1]": "event: is an array, not an object",
        json.dumps({"id": 7}).encode(): "id: is 7",
        json.dumps(denial("x") | {"type": "policy.maybe"}).encode(): 'type: is "policy.maybe"',
        json.dumps(denial("x") | {"timestamp": "yesterday"}).encode(): 'timestamp: is "yesterday"',
        b'{"id":"x","note":"\xff"}': "event: is not UTF-8",
        b'{"id":"x","deep":' + b"[" * 5000 + b"]" * 5000 + b"}": "event: is nested too deeply",
    }
    with HecReceiver() as splunk:
        customer.integrate(splunk.url)
        for raw in invalid:
            fleet.client.xadd("siem:events", {"event": raw})
        fleet.client.xadd("siem:events", {"something": "else"})
        good = denial("good", tenant_id=customer.tenant)
        fleet.client.xadd("siem:events", {"trace": "1", "event": json.dumps(good)})
        customer.settled(1)

        assert splunk.accepted_ids == ["good"]
        letters = wait_until(
            lambda: len(found := fleet.dead(None)) >= len(invalid) + 1 and found, "all dead letters stand"
        )
        by_payload = {letter.payload: letter for letter in letters}
        for raw, reason in invalid.items():
            assert by_payload[raw].cause == "invalid"
            assert by_payload[raw].error.startswith(reason)
            assert by_payload[raw].hint
        assert by_payload[b"something else"].error == "event: is not a field of the entry"


def test_an_integration_sees_what_is_published_right_after_it_was_made(customer: Customer) -> None:
    """Creating an integration and publishing at once misses nothing."""
    with HecReceiver() as splunk:
        customer.integrate(splunk.url)
        customer.fleet.publish([denial("first", tenant_id=customer.tenant)])
        customer.settled(1)

        assert splunk.accepted_ids == ["first"]


def test_no_secret_stands_in_redis_or_in_the_ledger(customer: Customer) -> None:
    """The token is sealed wherever it rests, and no log mentions it."""
    fleet: Fleet = customer.fleet
    secret = f"token-of-{customer.tenant}"
    with HecReceiver() as splunk:
        customer.integrate(splunk.url, token=secret)
        customer.publish(customer.events(1))
        customer.settled(1)
        assert splunk.posts[0].headers["Authorization"] == f"Splunk {secret}"

    places = [path for path in fleet.directory.rglob("*") if path.is_file()]
    assert len(places) > 5
    assert [path.name for path in places if secret.encode() in path.read_bytes()] == []
