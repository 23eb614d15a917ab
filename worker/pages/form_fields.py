"""What can be filled in for each type of destination: the fields of its form, in the order of the page.

A field's `name` is its path in the API's document, such as `auth.token`; so is that of a complaint, which is
how each finds its place.
"""

from dataclasses import dataclass
from enum import StrEnum

from worker.model.events import EventType


class FieldKind(StrEnum):
    """How a field is filled in, and read."""

    TEXT = "text"
    HIDDEN = "hidden"
    HIDDEN_LINES = "hidden_lines"
    LINES = "lines"
    CHOICE = "choice"
    CHECK = "check"
    NUMBER = "number"
    #: Those that are hidden are secrets. Pairs are `name: value`, one a line.
    PAIRS = "pairs"
    HIDDEN_PAIRS = "hidden_pairs"
    #: Secrets in their order, one a line.
    HIDDEN_LIST = "hidden_list"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `when` is `other=value`: it is there only while the other one has this value."""

    name: str
    label: str
    kind: FieldKind = FieldKind.TEXT
    hint: str = ""
    example: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    required: bool = False
    when: str = ""


_TIMEOUT = Field(
    "timeout_seconds",
    "Timeout in seconds",
    FieldKind.NUMBER,
    "How long one request may take, or a syslog receiver may take no byte; up to 30.",
)
_BATCH = (
    Field("batch_events", "Events of one batch at the most", FieldKind.NUMBER),
    Field("batch_bytes", "Bytes of one batch at the most", FieldKind.NUMBER),
)
_TLS = (
    Field("verify_tls", "Verify the certificate of the other side", FieldKind.CHECK),
    Field(
        "ca_pem",
        "CA certificate (PEM)",
        FieldKind.LINES,
        "For a SIEM whose certificate your own CA has signed, or that certificate itself.",
    ),
    Field(
        "tls_server_name",
        "Name in its certificate",
        hint="Left out, the host of the URL. For a certificate that is made out to another name.",
        example="splunk.internal",
    ),
    Field("client_cert_pem", "Client certificate (PEM)", FieldKind.LINES, "For a SIEM that asks us for one."),
    Field("client_key_pem", "Its private key (PEM)", FieldKind.HIDDEN_LINES),
)

#: What everybody fills in, by type.
MAIN = {
    "splunk_hec": (
        Field(
            "url",
            "Destination URL",
            example="https://your-splunk:8088/services/collector/event",
            required=True,
        ),
        Field(
            "token",
            "HEC token",
            FieldKind.HIDDEN,
            "Splunk shows it under Settings > Data inputs.",
            required=True,
        ),
        Field("index", "Index", hint="Left out, the token's default index.", example="security"),
        Field("source_type", "Source type"),
    ),
    "syslog_cef": (
        Field(
            "url",
            "Destination",
            hint="syslog:// is TCP, syslog+udp:// is UDP, syslog+tls:// is TLS.",
            example="syslog+tls://your-siem:6514",
            required=True,
        ),
        Field(
            "facility",
            "Facility",
            FieldKind.CHOICE,
            choices=tuple((f"local{n}", f"local{n}") for n in range(8)),
        ),
        Field(
            "header",
            "Header",
            FieldKind.CHOICE,
            choices=(("rfc3164", "RFC 3164 (most parsers)"), ("rfc5424", "RFC 5424")),
        ),
    ),
    "webhook": (
        Field("url", "Destination URL", example="https://your-endpoint/webhook", required=True),
        Field(
            "auth.kind",
            "Authentication",
            FieldKind.CHOICE,
            choices=(("none", "None"), ("bearer", "Bearer token"), ("api_key", "API key in a header")),
        ),
        Field("auth.token", "Bearer token", FieldKind.HIDDEN, when="auth.kind=bearer"),
        Field("auth.header", "Header of the key", example="X-Api-Key", when="auth.kind=api_key"),
        Field("auth.value", "API key", FieldKind.HIDDEN, when="auth.kind=api_key"),
        Field(
            "body",
            "One request carries",
            FieldKind.CHOICE,
            choices=(("event", "one event"), ("array", "a JSON array"), ("lines", "lines of JSON (NDJSON)")),
        ),
    ),
}

#: What few need; folded away.
ADVANCED = {
    "splunk_hec": (
        Field("use_ack", "Wait until Splunk has indexed (indexer acknowledgement)", FieldKind.CHECK),
        Field("ack_timeout_seconds", "Seconds to wait for that", FieldKind.NUMBER),
        Field("gzip", "Compress requests", FieldKind.CHECK),
        Field("host", "Host"),
        Field("source", "Source"),
        Field("fields", "Indexed fields", FieldKind.PAIRS, "One a line: name: value"),
        *_BATCH,
        _TIMEOUT,
        *_TLS,
    ),
    "syslog_cef": (
        Field(
            "framing",
            "Framing",
            FieldKind.CHOICE,
            choices=(
                ("", "what suits the way"),
                ("newline", "newline"),
                ("octet_counted", "octet counting"),
            ),
        ),
        Field("hostname", "Host name in the header"),
        Field(
            "time_zone",
            "Time zone of the header",
            hint="Times in RFC 3164 headers name no zone: the one in which the receiver reads them.",
            example="Europe/Berlin",
        ),
        Field(
            "send_src",
            "Put the agent's id into src",
            FieldKind.CHECK,
            "Switch it off for parsers that insist on an address there.",
        ),
        Field("confirm_by_shutdown", "Have the receiver confirm each batch by closing", FieldKind.CHECK),
        Field("max_message_bytes", "Bytes of one message at the most", FieldKind.NUMBER),
        Field("max_datagrams_per_second", "UDP messages a second at the most", FieldKind.NUMBER),
        *_BATCH,
        _TIMEOUT,
        *_TLS,
    ),
    "webhook": (
        Field("headers", "Headers of your own", FieldKind.HIDDEN_PAIRS, "One a line: name: value"),
        Field(
            "signing_secrets",
            "Signing secrets",
            FieldKind.HIDDEN_LIST,
            "One a line, the newest first, two at the most. The page of an integration makes new ones.",
        ),
        Field("connections", "Requests at once", FieldKind.NUMBER),
        *_BATCH,
        _TIMEOUT,
        *_TLS,
    ),
}

#: Of every type.
RETRIES = Field(
    "max_retries",
    "Retries",
    FieldKind.CHOICE,
    "After the first attempt, with exponential backoff.",
    choices=tuple((str(n), str(n)) for n in range(4)),
)
REDRIVE = Field(
    "redrive",
    "Replay by itself what died in an outage",
    FieldKind.CHECK,
    "Once the destination is well again. Events that it refused are never replayed by themselves.",
)

#: The types of events, in words for people.
EVENT_TYPES = {
    EventType.POLICY_DENY: "An action was blocked by a deny policy",
    EventType.POLICY_ALERT: "An action triggered an alert policy",
    EventType.POLICY_HOLD: "An action was held for human approval",
    EventType.POLICY_ALLOW: "An action was permitted",
    EventType.DRIFT_WARNING: "Drift score exceeded the warning threshold",
    EventType.DRIFT_CRITICAL: "Drift score exceeded the critical threshold",
    EventType.AGENT_CONNECTED: "An agent connected to the control plane",
    EventType.AGENT_DISCONNECTED: "An agent lost connection to the control plane",
    EventType.HOLD_APPROVED: "A held action was approved by a human",
    EventType.HOLD_DENIED: "A held action was denied by a human",
    EventType.HOLD_EXPIRED: "A held action expired without a decision",
}


def all_fields(kind: str) -> tuple[Field, ...]:
    """Return every field of a type's form."""
    return (*MAIN[kind], RETRIES, REDRIVE, *ADVANCED[kind])
