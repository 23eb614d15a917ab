"""Sample events are valid, lifelike, repeatable and never the same twice."""

import json
from collections import Counter

from worker.model.event_decoder import decode_event
from worker.model.events import EventType
from worker.samples import sample_events, sample_lines


def test_every_sample_is_a_valid_event() -> None:
    """The judge of events accepts thousands of them, of whatever seed."""
    for seed in range(5):
        for line in sample_lines(2000, seed=seed, run="r", tenant_id="acme"):
            assert decode_event(line).tenant_id == "acme", (seed, line)


def test_samples_are_of_the_promised_size() -> None:
    """Each is 600 to 900 bytes of one line."""
    for seed in range(20):
        lines = list(sample_lines(400, seed=seed))

        assert all(600 <= len(line) <= 900 for line in lines), seed
        assert not any(b"\n" in line for line in lines), seed


def test_the_mixture_is_lifelike() -> None:
    """All eleven types occur; half of them are allowed actions, few are agents coming and going."""
    kinds: Counter[str] = Counter(decode_event(line).type for line in sample_lines(2000))

    assert kinds.keys() == set(EventType)
    assert kinds[EventType.POLICY_ALLOW] == 1000
    assert kinds[EventType.AGENT_CONNECTED] + kinds[EventType.AGENT_DISCONNECTED] <= 100


def test_ids_are_unique_within_and_across_runs_and_seeds() -> None:
    """Ten thousand of each of four runs share no id, and all look like ids."""
    runs = [(0, ""), (0, "second"), (1, ""), (1, "second")]
    ids = {event["id"] for seed, run in runs for event in sample_events(10_000, seed=seed, run=run)}

    assert len(ids) == 40_000
    assert all(len(each) == 36 and each.startswith("evt_") and int(each[4:], 16) >= 0 for each in ids)


def test_the_same_arguments_give_the_same_bytes() -> None:
    """With a fixed start, a run can be repeated to the byte; with another seed it differs."""
    once, again, other = (list(sample_lines(500, seed=seed, start_ms=0)) for seed in (3, 3, 4))

    assert once == again
    assert once != other


def test_time_runs_a_millisecond_an_event_from_the_start() -> None:
    """Timestamps follow `start_ms` across a full second, and without it the clock."""
    times = [decode_event(line).time_ms for line in sample_lines(1500, start_ms=1_790_000_000_123)]
    now = [decode_event(line).time_ms for line in sample_lines(10)]

    assert times == list(range(1_790_000_000_123, 1_790_000_001_623))
    assert now == sorted(now)
    assert now[0] > 1_700_000_000_000


def test_decisions_match_their_types() -> None:
    """What the control plane decided fits what it reports."""
    decisions = {
        "policy.deny": {"deny"},
        "policy.hold": {"hold"},
        "hold.approved": {"allow"},
        "drift.critical": {"block"},
    }
    events = list(sample_events(400))

    assert {kind: {one["decision"] for one in events if one["type"] == kind} for kind in decisions} == (
        decisions
    )


def test_scores_match_the_thresholds() -> None:
    """Drift events lie above their threshold, decisions on policies well below."""
    for event in sample_events(2000):
        threshold = event["context"].get("threshold")
        if threshold is not None:
            assert event["drift_score"] >= threshold
        elif "drift_score" in event:
            assert event["drift_score"] < 0.4


def test_holds_name_who_decided() -> None:
    """A decided hold names its approver; one that is pending or expired has none."""
    for event in sample_events(2000):
        hold = event.get("hold")
        if hold is not None:
            assert ("approver" in hold) == (hold["status"] in {"approved", "denied"})
        assert (hold is not None) == (event["type"] == "policy.hold" or event["type"].startswith("hold."))


def test_texts_are_as_awkward_as_in_life() -> None:
    """Pipes, equals signs, quotes, backslashes, newlines and other scripts occur in the values."""
    whole = "".join(json.dumps(event, ensure_ascii=False) for event in sample_events(400))

    assert all(each in whole for each in ("|", "=", '\\"', "\\\\", "\\n", "%", "ü", "経", "🚀"))


def test_placeholders_in_a_tenant_do_no_harm() -> None:
    """A tenant's name with a percent sign comes out as it went in."""
    (event,) = sample_events(1, tenant_id='100 %(id)s "tenant"')

    assert event["tenant_id"] == '100 %(id)s "tenant"'
