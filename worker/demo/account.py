"""The account: what was published for whom, what the ledger says of it, and what the receivers have seen."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.integrations import DestinationConfig
from worker.integrations.integration import Integration
from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.syslog_cef import SyslogCef
from worker.ledger.counts import counts_since
from worker.ledger.deliveries import tallies
from worker.ledger.health import latencies
from worker.ledger.integrations import IntegrationStore
from worker.ledger.results import DeliveryCounts
from worker.model.event_decoder import decode_event

#: Latencies are of so many of the latest settlements: of all of a usual demo.
_SETTLEMENTS = 10_000


@dataclass(frozen=True, slots=True)
class AccountLine:
    """What the ledger says of one integration, beside what was published for it.

    `received` is how many different events the receiver itself has counted; None if it was not asked, or
    does not answer. `retried` counts the attempts that failed and were to be repeated, as `siem status` does.
    """

    integration: str
    over: str
    published: int
    delivered: int
    dead: int
    received: int | None = None
    retried: int = 0
    events_per_second: int = 0
    p50_ms: int | None = None
    p99_ms: int | None = None

    @property
    def missing(self) -> int:
        """How many events are neither delivered nor dead."""
        return self.published - self.delivered - self.dead

    @property
    def unseen(self) -> int:
        """How many events are delivered, says the ledger, and have not come, says the receiver."""
        return max(0, self.delivered - (self.received or 0))

    @property
    def surplus(self) -> int:
        """How many different events the receiver has that were never published for it."""
        return max(0, (self.received or 0) - self.published)

    @property
    def agrees(self) -> bool:
        """Whether ledger and receiver say the same."""
        return self.received is not None and not self.unseen and not self.surplus

    @property
    def is_sound(self) -> bool:
        """Whether every event is accounted for; over UDP nothing that was sent is sure to come."""
        unpromised = self.over == "UDP" and self.received is not None and not self.surplus
        return not self.missing and (self.agrees or unpromised)


class Account:
    """What was published for whom, and what the ledger says has become of it."""

    def __init__(self, store: IntegrationStore, integrations: Sequence[Integration]) -> None:
        """Begin with nothing published."""
        self._engine = store.engine
        self._integrations = integrations
        self._published: Counter[str] = Counter()
        self._started = self._ended = 0.0
        self._settled = False
        self.total_published = 0

    def begin(self) -> None:
        """Start the clock; it stops when every event is delivered or dead."""
        self._started = self._ended = time.monotonic()

    def note_published(self, lines: Sequence[bytes]) -> None:
        """Count events that were published, for every integration that wants them."""
        types = Counter(decode_event(line).type for line in lines)
        self.total_published += len(lines)
        for integration in self._integrations:
            self._published[integration.id] += sum(types[wanted.value] for wanted in integration.event_types)

    def names(self) -> list[str]:
        """Name the integrations."""
        return [one.name for one in self._integrations]

    def look(self) -> list[AccountLine]:
        """Return what the ledger says by now; of latencies it is not asked, which takes longer."""
        ids = [one.id for one in self._integrations]
        found, counts = tallies(self._engine, integration_ids=ids), counts_since(self._engine, ids, 0)
        self._ended = time.monotonic() if not self._settled else self._ended
        return [
            replace(self._line(one, found.get(one.id, DeliveryCounts())), retried=counts[one.id].retried)
            for one in self._integrations
        ]

    def settle(self, lines: Sequence[AccountLine]) -> bool:
        """Whether every published event is delivered or dead."""
        self._settled = self._settled or not any(line.missing for line in lines)
        return self._settled

    def close(self) -> list[AccountLine]:
        """Return all that the ledger says."""
        return [
            self._with_speed(line, integration)
            for line, integration in zip(self.look(), self._integrations, strict=True)
        ]

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return self._ended - self._started

    def _line(self, integration: Integration, tally: DeliveryCounts) -> AccountLine:
        return AccountLine(
            integration.name,
            _way(integration.destination),
            self._published[integration.id],
            tally.delivered,
            tally.dead,
        )

    def _with_speed(self, line: AccountLine, integration: Integration) -> AccountLine:
        latency = latencies(self._engine, [integration.id], sample=_SETTLEMENTS)[integration.id]
        return replace(
            line,
            events_per_second=round(line.delivered / self.seconds) if self.seconds else 0,
            p50_ms=latency.p50 if latency else None,
            p99_ms=latency.p99 if latency else None,
        )


def _way(destination: DestinationConfig) -> str:
    """Name the way that events go, in four letters at most."""
    match destination:
        case SplunkHec():
            return "HEC"
        case SyslogCef():
            return destination.transport.upper()
        case _:
            return "HTTP"
