"""How workers are judged by what waits for them, and by whether they take it."""

from collections import Counter

import pytest

from worker.model.fleet_health import FleetStats, QueueDepth, parts

NOW = 1_000_000
NOTHING = QueueDepth(0, None)


def _signs(running: int, not_consuming: int, waiting: QueueDepth) -> FleetStats:
    return FleetStats(
        NOW,
        Counter({"router": 1, "recorder": 1, "worker-webhook": running}),
        NOTHING,
        NOTHING,
        0,
        {"splunk_hec": NOTHING, "syslog_cef": NOTHING, "webhook": waiting},
        Counter({"worker-webhook": not_consuming}),
    )


@pytest.mark.parametrize(
    ("running", "not_consuming", "waiting", "state", "words"),
    [
        (1, 0, NOTHING, "ok", "1 running; 0 work orders wait in its queue"),
        (
            1,
            0,
            QueueDepth(3, NOW - 59_000),
            "ok",
            "3 work orders wait in its queue, the oldest for 59 s",
        ),
        (
            1,
            0,
            QueueDepth(3, NOW - 60_000),
            "not ok",
            "no worker takes orders from the queue webhook",
        ),
        (1, 1, NOTHING, "not ok", "it does not consume the queue webhook, as after `cancel_consumer`"),
        (3, 2, NOTHING, "ok", "3 running; 0 work orders wait in its queue; 2 of them do not consume"),
        (
            3,
            2,
            QueueDepth(1, NOW - 60_000),
            "not ok",
            "`celery -A worker control add_consumer webhook`, or a restart",
        ),
        (0, 0, NOTHING, "not ok", "none runs; 0 work orders wait in its queue"),
        (
            0,
            0,
            QueueDepth(1, NOW - 90_000),
            "not ok",
            "1 work orders wait in its queue, the oldest for 90 s",
        ),
    ],
)
def test_workers_are_judged_by_the_oldest_order(
    running: int, not_consuming: int, waiting: QueueDepth, state: str, words: str
) -> None:
    """A process that does not consume counts as none, and so do all while an order waits too long."""
    found = {part.name: part for part in parts(_signs(running, not_consuming, waiting), {"webhook"}, 60.0)}

    assert found["worker-webhook"].ok is (state == "ok")
    assert words in found["worker-webhook"].words
    assert found["worker-splunk_hec"].ok


def test_orders_of_a_type_without_integrations_count_as_well() -> None:
    """The last integration of a type may be disabled while events still wait for it."""
    found = {part.name: part for part in parts(_signs(1, 1, QueueDepth(1, NOW - 90_000)), set(), 60.0)}

    assert not found["worker-webhook"].ok
