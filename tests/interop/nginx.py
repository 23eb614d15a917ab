"""nginx in front of a webhook's receiver: TLS 1.3 and HTTP/2 as most endpoints speak them.

In comes the port of a receiver that speaks plain HTTP/1.1; out comes an https address, and a log of the
connections and the protocol by which every request came.
"""

import getpass
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.interop.credentials import Credentials
from tests.interop.programs import Program, unpacked
from tests.ports import free_port

_LOG_FORMAT = (
    '{"connection":$connection,"protocol":"$server_protocol","tls":"$ssl_protocol",'
    '"status":$status,"client":"$ssl_client_verify"}'
)


class Access(msgspec.Struct, frozen=True):
    """A line of the access log; connections are numbered."""

    connection: int
    protocol: str
    tls: str
    status: int
    client: str


class Nginx:
    """Listens on loopback while its `with` block lasts; `mutual` demands a client's certificate.

    All limits are nginx's own, but for `directives` of its server; without `http2` it speaks HTTP/1.1.
    """

    def __init__(
        self,
        directory: Path,
        upstream: int,
        credentials: Credentials,
        *,
        mutual: bool = False,
        http2: bool = True,
        directives: Sequence[str] = (),
        beside: "Nginx | None" = None,
    ) -> None:
        """Choose a port and write the configuration.

        `upstream` is the port of the receiver behind it, on the same address. One `beside` another has the
        same port at an address of its own.
        """
        directory.mkdir()
        self._directory = directory
        self._log = directory / "access.jsonl"
        self._address = address = "127.0.0.1" if beside is None else "127.0.0.2"
        self.port: int = free_port() if beside is None else beside.port
        file = directory / "configuration"
        own = "".join(f"\n    {directive};" for directive in directives)
        listens = f"listen {address}:{self.port} ssl{' http2' if http2 else ''};{own}"
        file.write_text(self._configuration(upstream, credentials, "on" if mutual else "off", listens))
        errors = directory / "errors"
        command: list[str | Path] = [unpacked("nginx"), "-c", file, "-p", directory, "-e", errors]
        self.program = Program(command, directory, tcp=[self.port])
        self.url = f"https://{address}:{self.port}/webhook"

    def reload(self) -> None:
        """Let new processes take over, while the old ones finish what they have begun."""
        self.program.tell(signal.SIGHUP)

    def restart(self) -> None:
        """End it at once, connections and all, and start it again."""
        self.program.stop()
        self.program.start()

    def accesses(self) -> list[Access]:
        """Read the access log."""
        return [msgspec.json.decode(line, type=Access) for line in self._log.read_bytes().splitlines()]

    def _configuration(self, upstream: int, credentials: Credentials, demands: str, listens: str) -> str:
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        scratch = "\n".join(
            f"  {kind}_temp_path {self._directory / kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""{user}
daemon off;
worker_processes 2;
pid {self._directory / "pid"};
events {{ }}
http {{
{scratch}
  log_format received escape=json '{_LOG_FORMAT}';
  access_log {self._log} received;
  upstream receiver {{ server {self._address}:{upstream}; keepalive 64; }}
  server {{
    {listens}
    ssl_protocols TLSv1.3;
    ssl_certificate {credentials.certificate};
    ssl_certificate_key {credentials.key};
    ssl_client_certificate {credentials.ca_file};
    ssl_verify_client {demands};
    location / {{
      proxy_pass http://receiver;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""

    def __enter__(self) -> Self:
        self.program.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.program.stop()
