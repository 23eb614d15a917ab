"""Destinations: what each of them is to the others; each type has a folder.

A folder's `__init__` says what its type is, without importing what delivers to it: senders and checks bring
HTTP clients and TLS, and most of those who read `registry` need neither.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from worker.integrations import DestinationConfig
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Withdrawn
from worker.model.events import QueuedEvent
from worker.transports.guard import Guard

#: Writes that events count as delivered no longer. Raises BrokerUnavailable.
Withdraw = Callable[[Withdrawn], None]


class Sender(Protocol):
    """Sends batches to one integration; shared by the threads of a worker process."""

    def send(self, attempt: DeliveryAttempt, deadline: float) -> Sequence[DeliveryResult]:
        """Send the events at `attempt.places` until `deadline` (monotonic seconds); return a result for each.

        Counts each request in the attempt from when the destination may have it, also where a shortage or a
        fault of our own is raised. Raises nothing that the destination can cause.
        """
        ...

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Return the very bytes that would be sent for these events, but for secrets; dials nothing."""
        ...

    def close(self, *, notice: float = 0.0) -> None:
        """Let go of idle connections.

        `notice` is how many seconds the destination gets to end its side of each, where it takes one
        connection at a time and another one follows.
        """
        ...


class MakeSender(Protocol):
    """A sender's class: dials nothing yet."""

    def __call__(self, config: Any, guard: Guard, *, connections: int, withdraw: Withdraw | None) -> Sender:
        """Make the sender of one integration; a class that has no use for an argument takes it all the same.

        Every connection goes through `guard`; as many threads as `connections` send at once. `withdraw` is
        for what turns out, behind a batch that was settled, not to have arrived. Raises InvalidIntegration.
        """
        ...


@dataclass(frozen=True, slots=True)
class Example:
    """A request that creates an integration, as the API's description shows it."""

    key: str
    summary: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DestinationType:
    """A type of destination: `registry.add` makes it known.

    `label` is its name for people, `summary` says what it reaches and what one needs for that. `sender` is
    the class of its senders (see MakeSender), `checks` that of the doctor's checks (see
    `worker.destinations.diagnosis.MakeChecks`), both as "package.module:Class", for they are imported at
    first use. `actions` are what the page of an integration offers beside what all have: `sign`, to create
    and change signing secrets.
    """

    config: type[DestinationConfig]
    label: str
    summary: str
    sender: str
    checks: str
    examples: Sequence[Example] = ()
    actions: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The type in documents: also its queue and, behind `deliver_`, its task."""
        return str(self.config.model_fields["type"].default)
