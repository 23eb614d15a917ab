"""Every error that this software raises on purpose, as one tree.

SiemError
├── InvalidInput            input is wrong: the field, why, and what would be right
│   ├── InvalidApiKey
│   ├── InvalidEvent
│   ├── InvalidIntegration
│   ├── InvalidReplay
│   └── InvalidSetting
├── NotFoundError           nothing of that name or id is here
├── RevisionConflict        another user has changed it since it was read
├── AlreadyRunningError     another process holds the data directory
├── OutageError             something that we depend on cannot be used: the cause, and public words
│   ├── UnavailableError    it does not answer
│   │   ├── BrokerUnavailable
│   │   │   ├── BrokerFull
│   │   │   └── WrongLedger Redis holds the events of another ledger
│   │   └── LedgerUnavailable
│   └── SchemaOutdated      this release cannot work with the ledger's tables
│       └── SchemaBehind    they are older: `siem db upgrade` fixes that
├── SchemaInUse             a change of the ledger's tables would stop a process, or lose data
├── DataRefused             the database does not take these values, whenever they are written
├── SecretUnreadable        a sealed secret cannot be opened with the keys at hand
│   └── SecretMoved         it was sealed for another place than the one where it stands
├── TransportError          what went wrong on the way to a customer's SIEM (a fact, not a verdict)
│   ├── NameUnknown
│   ├── AddressRefused
│   ├── ConnectFailed
│   │   └── OutOfResources
│   ├── TlsFailed
│   │   └── ClientCertificateRefused
│   ├── ConnectionLost
│   │   ├── ClosedBehindBatch
│   │   └── KeptConnectionLost
│   ├── NotProcessed
│   ├── Unconfirmed
│   └── DeadlinePassed
│       └── ConnectTimedOut
└── DeliveryError           how a delivery task ends when it does not end well
    ├── TransientDelivery   Celery retries it
    ├── DeliveryDelayed     the sweeper retries it
    ├── DeliveryHeld        nothing is sent to the destination at present; the events wait
    ├── DeliveryDead        settled as dead letters; the task fails so that Flower shows it
    └── LeaseLost           another worker owns the batch by now
"""

from collections.abc import Iterable

from worker.model.orders import WorkOrder
from worker.model.outages import OutageCause, Resource
from worker.model.untrusted_text import in_one_line


class SiemError(Exception):
    """Something went wrong in the forwarding of governance events."""

    def __init__(self, message: str | None = None) -> None:
        """Take the message, of which words may be others', or the first line of the class's docstring."""
        super().__init__(in_one_line(message or (self.__doc__ or "").partition("\n")[0]))


class InvalidInput(SiemError):
    """What was given is not valid."""

    def __init__(self, field: str, reason: str, hint: str, others: Iterable["InvalidInput"] = ()) -> None:
        """Name the field, say what is wrong with it, and what would be right; `others` are wrong, too."""
        super().__init__(f"{field}: {reason}; {hint}")
        self.field = in_one_line(field)
        self.reason = in_one_line(reason)
        self.hint = in_one_line(hint)
        self.others = tuple(others)
        self.all = (self, *self.others)  #: every field that is wrong, this one first


class InvalidApiKey(InvalidInput):
    """What was said of a new API key is not valid."""


class InvalidEvent(InvalidInput):
    """The event is not a governance event."""


class InvalidIntegration(InvalidInput):
    """The integration cannot work as configured."""


class InvalidReplay(InvalidInput):
    """What is to be replayed, or how, cannot be."""


class InvalidSetting(InvalidInput):
    """A setting from the environment cannot be used."""


class NotFoundError(SiemError):
    """Nothing of that name or id is here."""


class RevisionConflict(SiemError):
    """Another user has changed it since it was read: read it again, and decide again."""


class AlreadyRunningError(SiemError):
    """Another process holds the data directory."""


class OutageError(SiemError):
    """Something that this software depends on cannot be used.

    The message is for operators: it may name hosts, ports, files, users and databases. `public` may be shown
    to all.
    """

    name = "something that this needs"
    cause = OutageCause.UNREACHABLE

    def __init__(self, message: str | None = None, cause: OutageCause | None = None) -> None:
        """Take the message for operators, and the cause if it is not the one that is usual for the class."""
        super().__init__(message)
        self.cause = cause or type(self).cause

    @property
    def public(self) -> str:
        """What is wrong, without anything on how this installation is set up."""
        return self.cause.public(self.name)


class UnavailableError(OutageError):
    """Something that this software depends on does not answer."""


class BrokerUnavailable(UnavailableError):
    """Redis does not answer, or refuses to write."""

    name = "Redis"


class BrokerFull(BrokerUnavailable):
    """Redis is full (maxmemory) and did not take this."""

    cause = OutageCause.MEMORY_FULL


class WrongLedger(BrokerUnavailable):
    """Redis holds the events of another ledger."""

    cause = OutageCause.WRONG_LEDGER


class LedgerUnavailable(UnavailableError):
    """The database cannot be used."""

    name = "the database"


class SchemaOutdated(OutageError):
    """The ledger's tables are none that this release can work with: see `siem db status`."""

    name = "the database"
    cause = OutageCause.OUTDATED


class SchemaBehind(SchemaOutdated):
    """The ledger's tables are older than this release: run `siem db upgrade`."""


class SchemaInUse(SiemError):
    """A change of the ledger's tables would stop processes that run, or lose data."""


class DataRefused(SiemError):
    """The database does not take these values."""


class SecretUnreadable(SiemError):
    """A sealed secret cannot be opened: SIEM_SECRET_KEYS lacks the key that sealed it."""


class SecretMoved(SecretUnreadable):
    """A secret was sealed for another place than the one where it stands."""


class TransportError(SiemError):
    """The destination could not be reached or did not answer.

    Of a stream of frames, `tried` says how many may have come to it, and `taken` how many certainly did;
    `rate` is how many bytes a second it took, where that is known.
    """

    tried = 0
    taken = 0
    rate = 0.0


class NameUnknown(TransportError):
    """The host name does not resolve; `is_denied` says that the DNS was asked, and knows no address of it."""

    is_denied = False


class AddressRefused(TransportError):
    """The address lies in a range that is closed to integrations."""


class ConnectFailed(TransportError):
    """No connection could be made."""


class OutOfResources(ConnectFailed):
    """A connection takes more files, memory, threads or ports than are left here."""

    def __init__(self, message: str, resource: Resource) -> None:
        """Give what could not be done, and what it lacked."""
        super().__init__(message)
        self.resource = resource

    @property
    def hint(self) -> str:
        """Return which limit to raise."""
        return self.resource.hint


class TlsFailed(TransportError):
    """The TLS handshake failed."""

    def __init__(
        self, message: str, hint: str = "check the certificate and its name; give `ca_pem` for a private CA"
    ) -> None:
        """Give what happened, and a hint."""
        super().__init__(f"{message}: {hint}")
        self.message = in_one_line(message)
        self.hint = in_one_line(hint)


class ClientCertificateRefused(TlsFailed):
    """The other side wants a client certificate, or does not accept ours."""


class ConnectionLost(TransportError):
    """The connection broke before the whole answer had come: it may have been delivered."""


class ClosedBehindBatch(ConnectionLost):
    """The other side closed the connection behind a batch, before our end of it: what it kept is unknown."""


class KeptConnectionLost(ConnectionLost):
    """A connection that was kept ended before a byte of the answer: it may have been delivered."""


class NotProcessed(TransportError):
    """The server turned the request away again and again before it processed any of it (RFC 9113, 8.7)."""


class Unconfirmed(TransportError):
    """The receiver has everything, but did not confirm it: it may have been delivered."""


class DeadlinePassed(TransportError):
    """The answer did not come in time: it may have been delivered."""


class ConnectTimedOut(DeadlinePassed):
    """No connection was made in time: nothing was sent over it."""


class DeliveryError(SiemError):
    """A batch was not delivered."""


class TransientDelivery(DeliveryError):
    """The batch, or a part of it, is to be sent again."""

    def __init__(self, message: str, retry_in: float, order: WorkOrder) -> None:
        """Give why, in how many seconds the next attempt is due, and by which work order."""
        super().__init__(message)
        self.retry_in = retry_in
        self.order = order


class DeliveryDelayed(DeliveryError):
    """The batch, or a part of it, is to be sent again, later than Celery waits or than its retries allow."""

    def __init__(self, message: str, retry_in: float = 0.0) -> None:
        """Give why, and in how many seconds the next attempt is due."""
        super().__init__(message)
        self.retry_in = retry_in


class DeliveryHeld(DeliveryError):
    """Nothing is sent to the destination at present, and the events wait."""


class DeliveryDead(DeliveryError):
    """Events of the batch became dead letters."""


class LeaseLost(DeliveryError):
    """The slot's lease ran out while its batch was being sent: another worker owns it now."""
