"""Which events overtake a flood, and that none of one flow overtakes another one of the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.test_frames import judged
from worker.broker import ingress_pass
from worker.broker.frames import pack_frame
from worker.broker.ingress_pass import IngressPass, ordinal
from worker.broker.streams import Entry
from worker.model.events import BULK_EVENT_TYPES

HEAD = b"0-0"


def entry(number: int, tenant: str, kind: str = "policy.allow", size: int = 0) -> Entry:
    """Make an entry of that number."""
    event = {"id": f"e{number}", "type": kind, "tenant_id": tenant, "padding": "x" * size}
    return b"1-%d" % number, [b"event", json.dumps(event).encode()]


def numbers(one: IngressPass) -> list[int]:
    """Return which entries are to be routed at once, in order."""
    return [ordinal(entry_id)[1] for entry_id, _ in one.take()]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no more than ten events of one flow out of turn."""
    monkeypatch.setattr(ingress_pass, "MOST_EVENTS", 10)


@pytest.mark.usefixtures("few")
def test_all_others_overtake_the_one_that_floods() -> None:
    """Another tenant's events, urgent or not, and its own urgent ones; the smallest flow first."""
    one = IngressPass(HEAD)
    one.add([entry(number, "loud") for number in range(1, 101)])
    one.add([entry(101, "quiet"), entry(102, "loud", "policy.deny"), entry(103, "loud"), entry(104, "quiet")])

    assert numbers(one) == [102, 101, 104]
    assert one.cursor == b"1-104"


@pytest.mark.usefixtures("few")
def test_an_urgent_flood_is_overtaken_as_well() -> None:
    """By another tenant's events that may wait."""
    one = IngressPass(HEAD)
    one.add([entry(number, "loud", "policy.deny") for number in range(1, 101)])
    one.add([entry(101, "quiet"), entry(102, "loud")])

    assert sorted(numbers(one)) == [101, 102]


@pytest.mark.usefixtures("few")
def test_so_is_a_flood_of_rubbish() -> None:
    """It has no tenant; it becomes dead letters in its turn."""
    one = IngressPass(HEAD)
    one.add([(b"1-%d" % number, [b"something", b"else"]) for number in range(1, 101)])
    one.add([entry(101, "quiet")])

    assert numbers(one) == [101]


@pytest.mark.usefixtures("few")
def test_what_was_left_holds_back_what_follows_of_the_same_flow() -> None:
    """Until readers of the stream have come past it: then its next events may overtake again."""
    one = IngressPass(HEAD)
    one.add([entry(number, "loud") for number in range(1, 13)])
    one.add([entry(number, "quiet") for number in range(13, 26)])
    one.finish({b"1-%d" % number for number in range(13, 23)})
    one.add([entry(26, "quiet"), entry(27, "other")])
    assert 26 not in numbers(one)
    assert 27 in numbers(one)

    one.come_past(b"1-26")
    one.add([entry(28, "quiet")])
    assert numbers(one) == [27, 28]


def test_what_was_not_routed_in_time_is_taken_again() -> None:
    """Unless readers of the stream were given it meanwhile."""
    one = IngressPass(HEAD)
    one.add([entry(1, "quiet"), entry(2, "other"), entry(3, "quiet"), entry(4, "quiet")])
    one.finish({b"1-2"})
    assert numbers(one) == [1, 3, 4]

    one.come_past(b"1-3")
    assert numbers(one) == [4]
    one.come_past(b"1-4")
    assert numbers(one) == []


def test_small_flows_go_first_and_urgent_ones_before_others() -> None:
    """A few events of any flow before many urgent ones; of two great flows the urgent one first."""
    one = IngressPass(HEAD)
    sizes = {("a", "policy.deny"): 300, ("b", "policy.allow"): 200, ("c", "policy.allow"): 3}
    sizes |= {("d", "policy.deny"): 3}
    every = [flow for flow, size in sizes.items() for _ in range(size)]
    one.add([entry(number, *flow) for number, flow in enumerate(every)])

    taken = [every[number][0] for number in numbers(one)]
    assert list(dict.fromkeys(taken)) == ["d", "c", "a", "b"]


def test_readers_that_have_come_further_are_followed() -> None:
    """What they were given is not read again."""
    one = IngressPass(HEAD)
    one.add([entry(1, "quiet")])
    one.come_past(b"1-10")

    assert one.cursor == b"1-10"


@pytest.mark.usefixtures("few")
def test_small_flows_that_were_left_are_worth_another_pass() -> None:
    """One flood alone is not; it is routed from the head anyway."""
    one = IngressPass(HEAD)
    one.add([entry(number, "loud") for number in range(1, 101)])
    assert not one.has_small_rest()

    one.add([entry(number, "quiet") for number in range(101, 121)])
    assert one.has_small_rest()


def test_it_keeps_no_more_in_memory_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand tenants that flood at once the greatest are left behind."""
    monkeypatch.setattr(ingress_pass, "MOST_KEPT", 100_000)
    one = IngressPass(HEAD)
    sizes = [1_000 if tenant % 2 else 100 for tenant in range(1000)]
    one.add([entry(number, f"t{number}", size=size) for number, size in enumerate(sizes)])

    kept = numbers(one)
    assert 100 < len(kept) < 600
    assert {number % 2 for number in kept} == {0}


flows = st.tuples(st.sampled_from("abc"), st.sampled_from(["policy.allow", "policy.deny"]))
steps = st.lists(st.tuples(st.lists(flows, max_size=15), st.integers(0, 15), st.integers(0, 8)), max_size=8)


@given(steps)
def test_order_is_kept_within_a_flow(steps: list[tuple[list[tuple[str, str]], int, int]]) -> None:
    """However much is published, routed out of turn, and read from the head, in any succession."""
    stream: list[tuple[int, tuple[str, str]]] = []
    gone: set[int] = set()
    routed: dict[tuple[str, str], list[int]] = {}
    one, head, published = IngressPass(HEAD), 0, 0
    for flows, taken, read in steps:
        added = list(enumerate(flows, published + 1))
        published += len(added)
        stream += added
        one.add([entry(number, *flow) for number, flow in stream if number > ordinal(one.cursor)[1]])
        by_number = dict(stream)
        now = numbers(one)[:taken]
        # From the head: the next ones that are still there.
        one.finish({b"1-%d" % number for number in now})
        gone.update(now)
        rest = [number for number, _ in stream if number > head and number not in gone][:read]
        head = rest[-1] if rest else head
        gone.update(rest)
        for number in now + rest:
            routed.setdefault(by_number[number], []).append(number)
        one.come_past(b"1-%d" % head)

    assert all(order == sorted(set(order)) for order in routed.values())


def frame(number: int, tenant: str, events: int, kind: str = "policy.allow") -> Entry:
    """Make an entry of so many events of a tenant."""
    packed = [judged(f"e{at}", kind).event for at in range(events)]
    urgent = kind not in BULK_EVENT_TYPES
    return b"1-%d" % number, [b"frame", pack_frame(tenant, packed, is_urgent=urgent)]


def lines(number: int, *tenants: str) -> Entry:
    """Make an entry of lines, each of one of these tenants."""
    return b"1-%d" % number, [b"events", b"\n".join(entry(number, one)[1][1] for one in tenants)]


@pytest.mark.usefixtures("few")
def test_frames_weigh_as_much_as_their_events() -> None:
    """A tenant that floods with frames is overtaken; what it may take out of turn is counted in events."""
    one = IngressPass(HEAD)
    one.add([frame(number, "loud", 5) for number in range(1, 21)])
    one.add([entry(21, "quiet"), frame(22, "loud", 3, "policy.deny"), frame(23, "calm", 4)])

    assert numbers(one) == [21, 22, 23]
    assert one.floods() == ["loud"]
    one.finish({b"1-21"})
    assert numbers(one) == [22, 23]


@pytest.mark.usefixtures("few")
def test_lines_of_one_flow_are_as_single_events() -> None:
    """Those of several flows keep their place, and hold back what follows of each: none overtakes another."""
    one = IngressPass(HEAD)
    one.add([entry(number, "loud") for number in range(1, 101)])
    one.add([lines(101, "quiet", "quiet"), lines(102, "calm", "other"), entry(103, "calm"), lines(104)])
    assert numbers(one) == [104, 101]

    one.come_past(b"1-103")
    one.add([entry(105, "calm"), entry(106, "other")])
    assert {105, 106} <= set(numbers(one))


def test_what_is_no_frame_is_of_the_flow_of_the_unreadable() -> None:
    """It becomes dead letters in its turn."""
    one = IngressPass(HEAD)
    one.add([(b"1-1", [b"frame", b"\x01"]), (b"1-2", [b"events", b"\n"]), frame(3, "a", 2)])
    assert sorted(numbers(one)) == [1, 2, 3]
