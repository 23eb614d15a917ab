"""CEF over syslog, as a customer configures it."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, ValidationInfo, field_validator

from worker.integrations.destination import TIMEOUT, BatchBytes, BatchEvents, DestinationConfig
from worker.integrations.fields import Described
from worker.integrations.tls import is_stored
from worker.integrations.urls import parts_of, with_ascii_host
from worker.model.errors import InvalidIntegration

UTC = "UTC"

_HINT = "give a name of the IANA time zone database, like Europe/Berlin or America/New_York, or UTC"
_NO_DATA = "this machine has no time zone data: install the package tzdata on it, or give UTC"
#: These mean something else on every machine, or nothing.
_NO_PLACES = frozenset({"localtime", "Factory"})


def checked_zone(name: str) -> str:
    """Return the name if it is that of a zone. Raises ValueError, whose words are for its user."""
    if name == UTC:
        return name
    known = available_timezones()
    if name not in known - _NO_PLACES:
        raise ValueError(_HINT if known else _NO_DATA)
    return name


def time_zone(name: str) -> dt.tzinfo:
    """Return the zone of that name; UTC needs no data.

    Raises InvalidIntegration when this machine does not know it, though another one may.
    """
    if name == UTC:
        return dt.UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        hint = _HINT if available_timezones() else _NO_DATA
        raise InvalidIntegration("time_zone", "is not known to this machine", hint) from None


Facility = Literal["local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]

_TCP, _UDP, _TLS = "syslog://siem:514", "syslog+udp://siem:514", "syslog+tls://siem:6514"
#: The longest message, in bytes, unless another limit is given.
_MESSAGE_LIMIT, _DATAGRAM_LIMIT = 8000, 2048
_PRINTABLE_HOST = re.compile(r"[!-~]{1,255}")
#: What rsyslog (pmrfc3164) and syslog-ng read as a host name; syslog-ng takes four digits for a year.
_PLAIN_HOST = re.compile(r"(?![0-9]{4}$)[A-Za-z0-9._-]*[A-Za-z0-9]")


class SyslogCef(DestinationConfig):
    """CEF over syslog, for QRadar, ArcSight and everything else that reads it.

    The url's scheme chooses the way: `syslog://` is TCP, `syslog+udp://`, `syslog+tls://`. `framing` and
    `max_message_bytes` are those that suit the way unless they are given: RFC 6587's newline on TCP and
    counted octets on TLS (RFC 5425), 8000 bytes there and 2048 over UDP. `send_src` is whether `src`
    carries the agent's id. With `confirm_by_shutdown`, every batch has a connection of its own, and
    counts once the receiver has closed it in answer to our end. `timeout_seconds` is how long a connection
    may take, and for how long the receiver may take no byte; a batch of datagrams may take as long.
    The time in the header of RFC 3164 has no zone: it is that of `time_zone`, in which the receiver reads
    it. With that header `hostname` is a plain name, because receivers take any other for part of the text.
    """

    type: Literal["syslog_cef"] = "syslog_cef"
    url: Annotated[
        str,
        Described(
            label="Destination",
            help="where the SIEM listens",
            hint="syslog:// is TCP, syslog+udp:// is UDP, syslog+tls:// is TLS.",
            placeholder="syslog+tls://your-siem:6514",
            addresses=(f"{_TCP} (TCP)", _UDP, _TLS),
            advanced=False,
        ),
    ]
    facility: Annotated[Facility, Described(label="Facility", help="the syslog facility", advanced=False)] = (
        "local0"
    )
    header: Annotated[
        Literal["rfc3164", "rfc5424"],
        Described(
            label="Header",
            help="the syslog header before each CEF message",
            words={"rfc3164": "RFC 3164 (most parsers)", "rfc5424": "RFC 5424"},
            advanced=False,
        ),
    ] = "rfc3164"
    framing: Annotated[
        Literal["newline", "octet_counted"] | None,
        Described(
            label="Framing",
            help="how messages are framed; left out, by newline over TCP and octet_counted over TLS",
            words={"": "what suits the way", "octet_counted": "octet counting"},
        ),
    ] = None
    hostname: Annotated[
        str,
        Field(json_schema_extra={"pattern": f"^{_PRINTABLE_HOST.pattern}$"}),
        Described(
            label="Host name in the header",
            help="the host name in the syslog header; with rfc3164 letters, digits, '.', '_' and '-' alone",
            metavar="NAME",
        ),
    ] = "mitrity"
    time_zone: Annotated[
        str,
        Described(
            label="Time zone of the header",
            help="with {header} rfc3164, whose times name no zone: the one in which the receiver reads them, "
            "like Europe/Berlin",
            more="It is a name of the IANA time zone database.",
            hint="Times in RFC 3164 headers name no zone: the one in which the receiver reads them.",
            placeholder="Europe/Berlin",
            metavar="ZONE",
        ),
    ] = UTC
    send_src: Annotated[
        bool,
        Described(
            label="Put the agent's id into src",
            help="whether CEF's src carries the id of the agent",
            hint="Disable it for parsers that insist on an address there.",
            flag="--src/--no-src",
        ),
    ] = True
    confirm_by_shutdown: Annotated[
        bool,
        Described(
            label="Have the receiver confirm each batch by closing",
            help="send each batch over a connection of its own, and count it as delivered once the receiver "
            "has closed that in answer to our end; not over UDP",
            flag="--confirm-by-shutdown",
        ),
    ] = False
    max_message_bytes: Annotated[
        int | None,
        Field(ge=480, le=200_000),
        Described(
            label="Bytes of one message at the most",
            help=f"the longest message, header included; left out, {_MESSAGE_LIMIT}, and over UDP "
            f"{_DATAGRAM_LIMIT}",
        ),
    ] = None
    max_datagrams_per_second: Annotated[
        int,
        Field(ge=1, le=1_000_000),
        Described(
            label="UDP messages a second at the most",
            help="over UDP: how fast all batches of a worker process are sent together",
            hint="A receiver with Linux's default buffer that reads 20000 a second loses nothing at 5000, "
            "1 % at 10000, 14 % at 15000. Enlarge its buffer before you raise this.",
            over="UDP",
        ),
    ] = 5000
    batch_events: BatchEvents = 500
    batch_bytes: BatchBytes = 900_000
    timeout_seconds: Annotated[
        float,
        Field(gt=0, le=30),
        replace(TIMEOUT, help="with syslog, how long a receiver may take no byte"),
    ] = 20.0

    SCHEMES: ClassVar[Mapping[str, str]] = {
        "syslog": "TCP",
        "syslog+tcp": "TCP",
        "syslog+udp": "UDP",
        "syslog+tls": "TLS",
    }
    PORTS: ClassVar[Mapping[str, int]] = {
        "syslog": 514,
        "syslog+tcp": 514,
        "syslog+udp": 514,
        "syslog+tls": 6514,
    }

    @field_validator("url")
    @classmethod
    def _syslog_with_host(cls, url: str) -> str:
        example = f"give an address like {_TCP}, {_UDP} or {_TLS}"
        parts = parts_of(url, cls.SCHEMES, example)
        if parts.path not in {"", "/"} or parts.query or parts.username is not None:
            raise ValueError(example)
        return with_ascii_host(url)

    @field_validator("hostname")
    @classmethod
    def _printable_host(cls, name: str) -> str:
        if not _PRINTABLE_HOST.fullmatch(name):
            msg = "give 1 to 255 printable ASCII characters without a blank"
            raise ValueError(msg)
        return name

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str, info: ValidationInfo) -> str:
        return name if is_stored(info) else checked_zone(name)

    def contradictions(self, *, stored: bool) -> Iterator[str]:
        """Yield what does not go together, as of any destination."""
        yield from super().contradictions(stored=stored)
        if not stored:
            yield from self._against_the_header()
        if self.transport == "udp":
            yield from self._against_datagrams()
        options = (self.ca_pem, self.client_cert_pem, self.tls_server_name, not self.verify_tls)
        if self.transport != "tls" and any(options):
            yield "options of TLS are of no use without it: give an address like " + _TLS

    def _against_the_header(self) -> Iterator[str]:
        if self.header == "rfc3164" and not _PLAIN_HOST.fullmatch(self.hostname):
            yield (
                "hostname: in an RFC 3164 header receivers read no name but of letters, digits, '.', '_' and "
                "'-' that ends in a letter or digit, and none of just four digits; "
                "give such a name, or the header rfc5424"
            )
        if self.header == "rfc5424" and self.time_zone != UTC:
            yield "time_zone: the time in an RFC 5424 header names its zone; give UTC, or the header rfc3164"

    def _against_datagrams(self) -> Iterator[str]:
        if self.framing is not None:
            yield "framing: a datagram needs none; leave it out, or use syslog:// or syslog+tls://"
        if self.confirm_by_shutdown:
            yield "confirm_by_shutdown: a datagram is never confirmed; use syslog:// or syslog+tls://"
        if self.message_limit > 65_507:  # noqa: PLR2004 - what IPv4 leaves of 65535 bytes
            yield "max_message_bytes: a datagram carries 65507 bytes at the most"

    @property
    def transport(self) -> Literal["tcp", "udp", "tls"]:
        """The way that the url chooses."""
        match self.SCHEMES[urlsplit(self.url).scheme]:
            case "UDP":
                return "udp"
            case "TLS":
                return "tls"
            case _:
                return "tcp"

    @property
    def target(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or self.PORTS[parts.scheme]

    @property
    def counts_octets(self) -> bool:
        """Whether each message goes behind its length (RFC 6587, 3.4.1) instead of before a newline."""
        return self.framing == "octet_counted" or (self.framing is None and self.transport == "tls")

    @property
    def message_limit(self) -> int:
        """The longest message, header included, in bytes."""
        return self.max_message_bytes or (_DATAGRAM_LIMIT if self.transport == "udp" else _MESSAGE_LIMIT)
