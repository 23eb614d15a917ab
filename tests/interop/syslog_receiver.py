"""What a test needs of any syslog server: the ways into it, and what it made of every message it took.

A receiver writes a file of JSON lines for each way, one line a message, with the message as it came and
with the parts into which the receiver itself took it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from tests.interop.credentials import Credentials
from tests.interop.programs import Program, port_of, sockets
from tests.ports import free_port

#: The longest message that receivers take unless a test wants less, in bytes.
LONGEST = 65_536
LOCAL0 = 16


@dataclass(frozen=True)
class Way:
    """One way into a receiver, and how an integration that takes it is configured.

    `local` is the number of the facility: 4 for local4. A `mutual` way demands a client's certificate.
    `most` is the longest message in bytes, where it is not the integration's default.
    """

    name: str
    transport: Literal["tcp", "tls", "udp"]
    header: Literal["rfc3164", "rfc5424"]
    local: int
    framing: Literal["newline", "octet_counted"] | None = None
    mutual: bool = False
    most: int | None = None

    @property
    def counts_octets(self) -> bool:
        """Whether each message comes behind its length, as it does over TLS unless otherwise agreed."""
        return self.framing == "octet_counted" or (self.framing is None and self.transport == "tls")


class Received(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message as the receiver understood it: numbers and times are as it wrote them."""

    raw: str
    facility: str
    severity: str
    time: str
    hostname: str
    program: str
    message_id: str
    tag: str
    message: str


class SyslogReceiver(ABC):
    """A syslog server that listens on loopback while its `with` block lasts."""

    #: The longest message that it takes, in bytes.
    longest = LONGEST

    def __init__(
        self,
        directory: Path,
        ways: Sequence[Way],
        credentials: Credentials,
        *,
        zone: str = "UTC",
        beside: "SyslogReceiver | None" = None,
    ) -> None:
        """Choose ports and write the configuration; `zone` is the receiver's own, as POSIX writes it.

        One `beside` another has the same ports at an address of its own (rsyslog alone can).
        """
        directory.mkdir()
        self.directory = directory
        self.credentials = credentials
        self.ways = ways
        self.address = "127.0.0.1" if beside is None else "127.0.0.2"
        self.ports: dict[str, int] = beside.ports if beside else {way.name: free_port() for way in ways}
        self._counts = dict.fromkeys(self.ports, 0)
        self._offsets = dict.fromkeys(self.ports, 0)
        self.configuration_file = directory / "configuration"
        self.configuration_file.write_text(self.configuration())
        tcp = [self.ports[way.name] for way in ways if way.transport != "udp"]
        udp = [self.ports[way.name] for way in ways if way.transport == "udp"]
        self.program = Program(self.command(), directory, tcp=tcp, udp=udp, zone=zone)

    @abstractmethod
    def configuration(self) -> str:
        """Write the receiver's configuration."""

    @abstractmethod
    def command(self) -> list[str | Path]:
        """Say how the receiver is started, in the foreground."""

    def file_of(self, way: Way) -> Path:
        """Return where the messages that came this way are written."""
        return self.directory / f"{way.name}.jsonl"

    def integration(self, way: Way) -> dict[str, Any]:
        """Configure a destination that takes this way."""
        options = self.credentials.options(mutual=way.mutual) if way.transport == "tls" else {}
        scheme = {"tcp": "syslog", "udp": "syslog+udp", "tls": "syslog+tls"}[way.transport]
        return {
            "type": "syslog_cef",
            "url": f"{scheme}://127.0.0.1:{self.ports[way.name]}",
            "facility": f"local{way.local}",
            "header": way.header,
            "framing": way.framing,
            "hostname": way.name,
            "max_message_bytes": way.most,
            **options,
        }

    def count(self, way: Way) -> int:
        """Count the messages that it has written so far. Raises AssertionError if it has ended."""
        self.program.check()
        path = self.file_of(way)
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._offsets[way.name])
                news = file.read()
            self._counts[way.name] += news.count(b"\n")
            self._offsets[way.name] += len(news)
        return self._counts[way.name]

    def overflow(self, way: Way) -> int:
        """Count the datagrams that its system threw away because it did not read them fast enough."""
        port = self.ports[way.name]
        return sum(int(columns[-1]) for columns in sockets("udp") if port_of(columns) == port)

    def received(self, way: Way) -> list[Received]:
        """Read all messages that it has written."""
        path = self.file_of(way)
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [msgspec.json.decode(line, type=Received) for line in lines]

    def __enter__(self) -> Self:
        self.program.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.program.stop()
