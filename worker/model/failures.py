"""Every reason for which a delivery can fail, as one closed list: its code, who can fix it, what it means.

A code is stable: the ledger keeps it, the API and `--json` print it as `error_code`, and filters take it.
A member cannot be written without its origin, so that no code is left unclassified.
"""

from enum import Enum, StrEnum
from typing import Self


class Origin(Enum):
    """Where the cause of a failure lies, and so what ends it."""

    #: A setting of the integration or of its SIEM: waiting does not help, so the events are held.
    SETTING = "setting"
    #: The SIEM or the network: it may pass by itself, so the events are sent again a few times.
    DESTINATION = "destination"
    #: This very event: sending it again will not help.
    EVENT = "event"
    #: This software, or the machine that it runs on.
    WORKER = "worker"


class FailureCode(StrEnum):
    """The code of a failure; `origin` classifies it, `meaning` documents it.

    `FailureCode.read(text)` accepts the code of another release: it keeps its text, and counts as passing.
    """

    origin: Origin
    meaning: str

    def __new__(cls, code: str, origin: Origin, meaning: str) -> Self:
        """Make a member of its code, its origin and one line for the documentation."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.origin, member.meaning = origin, meaning
        return member

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        # msgspec asks here while it decodes what another release wrote.
        return cls._of_another_release(value) if isinstance(value, str) else None

    @classmethod
    def _of_another_release(cls, text: str) -> Self:
        member = str.__new__(cls, text)
        member._name_, member._value_ = text.upper(), text
        member.origin, member.meaning = Origin.DESTINATION, "a code of another release"
        return member

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the member of that code; for the code of another release, one that has its text."""
        known = cls._value2member_map_.get(text)
        return known if isinstance(known, cls) else cls._of_another_release(text)

    @property
    def is_setting(self) -> bool:
        """Whether only a change of a setting ends the failure."""
        return self.origin is Origin.SETTING

    # The way to the destination
    NAME_UNKNOWN = "name_unknown", Origin.SETTING, "the host name does not resolve"
    ADDRESS_REFUSED = "address_refused", Origin.SETTING, "the address is not in SIEM_ALLOWED_NETWORKS"
    CONNECT_FAILED = "connect_failed", Origin.DESTINATION, "no connection could be made"
    TLS_FAILED = "tls_failed", Origin.SETTING, "the TLS handshake failed"
    CLIENT_CERTIFICATE_REFUSED = (
        "client_certificate_refused",
        Origin.SETTING,
        "it wants a client certificate, or does not accept ours",
    )
    CONNECTION_LOST = (
        "connection_lost",
        Origin.DESTINATION,
        "the connection ended before the whole answer came",
    )
    NOT_PROCESSED = (
        "not_processed",
        Origin.DESTINATION,
        "HTTP/2: the request was turned away again and again before it was processed",
    )
    CLOSED_UNCONFIRMED = (
        "closed_unconfirmed",
        Origin.DESTINATION,
        "the receiver closed the connection behind the event; it may not have kept it",
    )
    UNCONFIRMED = "unconfirmed", Origin.DESTINATION, "the receiver has the bytes, but did not confirm them"
    TIMED_OUT = "timed_out", Origin.DESTINATION, "the answer did not come in time"
    OUT_OF_TIME = "out_of_time", Origin.DESTINATION, "the time for the batch ended before this event was sent"
    UNREACHABLE = "unreachable", Origin.DESTINATION, "the destination could not be reached"

    # Answers of any HTTP destination
    DESTINATION_BUSY = "destination_busy", Origin.DESTINATION, "it answered that it is overloaded or failing"
    REDIRECTED = "redirected", Origin.SETTING, "it answered with a redirect, and none is followed"
    TOO_LARGE = "too_large", Origin.EVENT, "it does not take a message of this size"
    EVENT_REFUSED = "event_refused", Origin.EVENT, "it refused this event"

    # Answers of webhooks
    AUTH_REFUSED = "auth_refused", Origin.SETTING, "HTTP 401 or 403: the credentials are not accepted"
    URL_REFUSED = "url_refused", Origin.SETTING, "HTTP 404, 405, 414, 421 or 426: not at this address"
    PROXY_IN_THE_WAY = "proxy_in_the_way", Origin.SETTING, "HTTP 407: a proxy asks for a password"
    HEADERS_REFUSED = "headers_refused", Origin.SETTING, "HTTP 431: the configured headers are too large"
    #: Switches its integration off.
    ENDPOINT_GONE = "endpoint_gone", Origin.DESTINATION, "HTTP 410: the endpoint is gone for good"

    # Answers of Splunk's HTTP Event Collector
    TOKEN_DISABLED = "token_disabled", Origin.SETTING, "the token is disabled"
    TOKEN_MISSING = "token_missing", Origin.SETTING, "no token arrived"
    TOKEN_INVALID = "token_invalid", Origin.SETTING, "the token is unknown"
    QUERY_TOKEN = "query_token", Origin.SETTING, "a token in the query is not allowed"
    INDEX_INCORRECT = "index_incorrect", Origin.SETTING, "the index is unknown, or closed to this token"
    NO_DATA = "no_data", Origin.SETTING, "the request arrived empty"
    CHANNEL_MISSING = "channel_missing", Origin.SETTING, "no channel arrived"
    CHANNEL_INVALID = "channel_invalid", Origin.SETTING, "the channel is not valid"
    ACK_DISABLED = "ack_disabled", Origin.SETTING, "indexer acknowledgement is disabled for this token"
    ACK_MISSING = "ack_missing", Origin.SETTING, "it took the events and gave no ackId"
    NOT_SPLUNK = "not_splunk", Origin.SETTING, "HTTP 2xx whose answer is not Splunk's"
    REFUSED = "refused", Origin.SETTING, "it refused the request for a reason that is not the event"
    ANSWER_CUT = "answer_cut", Origin.DESTINATION, "HTTP 200 without an answer"
    NOT_INDEXED = "not_indexed", Origin.DESTINATION, "it took the events, and did not confirm their indexing"
    NOT_REACHED = "not_reached", Origin.DESTINATION, "another event of the request was refused"

    # Our own side
    CONFIGURATION = "configuration", Origin.SETTING, "the integration cannot be used as it is configured"
    INVALID_EVENT = "invalid_event", Origin.EVENT, "it is not a governance event"
    INTEGRATION_DELETED = "integration_deleted", Origin.SETTING, "its integration was deleted"
    WORKER_LOST = "worker_lost", Origin.EVENT, "every worker that sent this event died"
    UNREADABLE = "unreadable", Origin.WORKER, "the event's bytes were damaged in Redis"
    OUT_OF_RESOURCES = (
        "out_of_resources",
        Origin.WORKER,
        "this machine or process is short of files, memory, threads or ports",
    )
    INTERNAL_ERROR = "internal_error", Origin.WORKER, "the worker failed while sending"
    UNKNOWN = "unknown", Origin.WORKER, "no reason was given"
