"""The cases of the benchmark, by name; as a program it measures one of them once and prints JSON.

`fleet` runs it so, each run in a process of its own, which ends what it started when it is done, when it is
told to (SIGTERM) and when its time is up.
"""

import argparse
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.benchmarks import peers
from tests.benchmarks.alternative import one_task_an_event
from tests.benchmarks.fleet_runs import (
    CEF,
    HEC,
    SLOW,
    UDP,
    UNPACED,
    WEBHOOK,
    Figures,
    deliver,
    print_figures,
    rest,
    steady,
    waiting,
)
from tests.benchmarks.ledger_runs import measure
from tests.benchmarks.measuring import end_on_sigterm, leave_blocks

#: For how many seconds one run may take at the most, and how many rows of a ledger that it fills make that a
#: second longer; then it is ended and counts as failed.
LIMIT, ROWS_A_SECOND = 420, 10_000


@dataclass(frozen=True, slots=True)
class Case:
    """What one run measures; `share` of the events asked for is what it publishes.

    `measure` is told how many events and, if it `fills` a ledger, how many rows that has. CPU is for each
    `unit`.
    """

    what: str
    measure: Callable[..., Figures]
    share: float = 1.0
    fills: bool = False
    unit: str = "delivery"


CASES: dict[str, Case] = {
    "hec": Case("Splunk HEC, one integration", partial(deliver, HEC)),
    "hec-4": Case("four integrations", partial(deliver, HEC, integrations=4), 0.5),
    "hec-100": Case("a hundred integrations", partial(deliver, HEC, integrations=100), 0.03),
    "hec-postgresql": Case("HEC, ledger in PostgreSQL", partial(deliver, HEC, database="postgresql"), 0.5),
    "hec-full": Case("HEC, ledger that is not empty", partial(deliver, HEC), fills=True),
    "cef": Case("CEF over TCP", partial(deliver, CEF)),
    "udp-unpaced": Case("CEF over UDP, unpaced", partial(deliver, UNPACED), 0.5),
    "udp": Case("CEF over UDP, default pace", partial(deliver, UDP), 0.2),
    "webhook": Case("webhook, one event a POST", partial(deliver, WEBHOOK), 0.5),
    "webhook-20ms": Case("the same, answers after 20 ms", partial(deliver, SLOW), 0.1),
    "steady": Case("HEC, 200 events/s", steady, 0.03, unit="event"),
    "rest": Case("nothing to do", lambda events: rest(min(20.0, max(2.0, events / 10_000))), unit="second"),
    "waiting": Case("Redis for waiting events", waiting, 0.2, unit="event"),
    "ledger-sqlite": Case("rows alone, SQLite", partial(measure, "sqlite"), fills=True, unit="row"),
    "ledger-postgresql": Case(
        "rows alone, PostgreSQL", partial(measure, "postgresql"), fills=True, unit="row"
    ),
    "one-task-an-event": Case("a Celery task an event, requests", one_task_an_event, 0.04),
}


def main() -> None:
    """Measure one case once, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--events", type=int, required=True, help="of a case whose share is 1")
    parser.add_argument("--filled", type=int, required=True, help="rows of a ledger that is not empty")
    parser.add_argument("--peer", choices=peers.NAMES, help="measure this one on the same events instead")
    given = parser.parse_args()
    end_on_sigterm()
    signal.signal(signal.SIGALRM, leave_blocks)
    signal.alarm(limit(given.case, given.filled))
    print_figures(_measured(given))


def limit(case: str, filled: int) -> int:
    """Return how many seconds a run of a case may take; `filled` are the rows of a ledger that has any."""
    return LIMIT + (filled // ROWS_A_SECOND if CASES[case].fills else 0)


def _measured(given: argparse.Namespace) -> Figures:
    case = CASES[given.case]
    events = max(1, round(given.events * case.share))
    if given.peer:
        return peers.measure(given.peer, given.case, events)
    if not case.fills:
        return case.measure(events)
    if case.unit == "row":
        return case.measure(events, given.filled)
    return case.measure(events, filled=given.filled)


if __name__ == "__main__":
    main()
