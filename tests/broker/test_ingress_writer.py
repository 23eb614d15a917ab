"""Publishing many in an entry: only where the fleet reads that; each event has an answer of its own."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from tests.background.loss_rig import LossRig
from tests.broker.test_frames import judged
from tests.broker.test_oom import full
from tests.embedded_servers import VALKEY
from worker.broker import keys
from worker.broker.formats import Format, KnownFormats
from worker.broker.frames import JudgedEvent, read_frame
from worker.broker.ingress import Ingress, counters
from worker.broker.ingress_writer import add_judged
from worker.model.errors import BrokerFull
from worker.pipeline.routing import route_entries


@pytest.fixture
def formats(client: redis.Redis) -> KnownFormats:
    """Give a fleet that reads frames."""
    client.set(keys.FORMATS, Format.FRAMES.value)
    return KnownFormats(client)


def entries(client: redis.Redis) -> list[tuple[bytes, list[bytes], list[str]]]:
    """Show each entry: its id, its fields, and the ids of the events of a frame."""
    found: Any = client.xrange(keys.EVENTS)
    return [
        (
            entry_id,
            list(fields),
            [one.id for one in read_frame(fields[b"frame"], 1)[1]] if b"frame" in fields else [],
        )
        for entry_id, fields in found
    ]


MIXED = [
    judged("e1"),
    judged("e2", "policy.allow"),
    judged("e3", tenant="globex"),
    judged("e4", "drift.warning"),
    judged("e5", "agent.connected"),
]


def test_events_of_a_tenant_and_a_lane_share_an_entry(client: redis.Redis, formats: KnownFormats) -> None:
    """Its id is what each of them is answered; one that is alone stands in the promised form."""
    answers = add_judged(client, formats, MIXED, b"00-trace")
    found = entries(client)
    ids = {entry_id: names for entry_id, _, names in found}

    assert [names for *_, names in found].count([]) == 1
    assert [ids[answer] for answer in answers if isinstance(answer, bytes)] == [
        ["e1", "e4"],
        ["e2", "e5"],
        [],
        ["e1", "e4"],
        ["e2", "e5"],
    ]
    assert sorted(fields for _, fields, _ in found) == [
        [b"event", b"traceparent"],
        [b"frame", b"traceparent"],
        [b"frame", b"traceparent"],
    ]


@pytest.mark.parametrize("known", [b"", b"shared-chunks"])
def test_one_entry_for_each_event_where_not_all_read_frames(client: redis.Redis, known: bytes) -> None:
    """A router of the release before would make a dead letter of a frame."""
    if known:
        client.set(keys.FORMATS, known)
    answers = add_judged(client, KnownFormats(client), MIXED)

    assert [fields for _, fields, _ in entries(client)] == [[b"event"]] * 5
    assert answers == [entry_id for entry_id, *_ in entries(client)]


def test_one_event_and_what_is_to_be_repaired_need_no_frame(
    client: redis.Redis, formats: KnownFormats
) -> None:
    """The latter holds back none of those behind it, and overtakes none of those before."""
    add_judged(client, formats, [judged("e1")])
    whole = [judged(f"e{at}") for at in range(5)]
    add_judged(client, formats, [*whole[:2], msgspec.structs.replace(whole[2], is_whole=False), *whole[3:]])

    assert [names for *_, names in entries(client)] == [[], ["e0", "e1"], [], ["e3", "e4"]]


def test_a_full_redis_keeps_out_all_of_an_entry(client: redis.Redis, formats: KnownFormats) -> None:
    """Each of its events gets the error."""
    assert formats.has(Format.FRAMES)
    with full(client):
        answers = add_judged(client, formats, [judged("e1"), judged("e2")])
    assert [type(one) for one in answers] == [BrokerFull, BrokerFull]
    assert entries(client) == []


def test_what_was_routed_is_counted_in_events_and_missed_in_entries(tmp_path: Path) -> None:
    """No mark takes the events of a frame for entries: neither one too many nor one that was removed."""
    with LossRig(VALKEY, tmp_path) as rig:
        ingress = Ingress(rig.client, "router", 30)
        ingress.read(1, 1)
        rig.client.set(keys.FORMATS, Format.FRAMES.value)
        rig.watch.step()
        for _ in range(3):
            add_judged(rig.client, KnownFormats(rig.client), _many(40))
        rig.watch.step()
        assert ingress.hand_over(route_entries(ingress.read(2, 1), {}))
        rig.watch.step()
        assert counters(rig.client)["published"] == 80
        assert rig.losses() == []

        rig.client.xtrim(keys.EVENTS, maxlen=0, approximate=False)
        rig.watch.step()
        assert [one.waiting for one in rig.losses()] == [{"events": 1}]


def _many(events: int) -> list[JudgedEvent]:
    return [judged(f"e{at}") for at in range(events)]
