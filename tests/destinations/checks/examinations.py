"""Examinations of one integration, as a test reads them: the checks by the names of their steps."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from tests.ports import free_port
from worker.background.doctor import StepReport, examine
from worker.integrations.integration import Integration, parse_integration
from worker.transports.guard import Guard

HOST = "127.0.0.1"
LOOPBACK = Guard([ip_network("127.0.0.0/8")])


def integration_to(destination: dict[str, Any], **changes: Any) -> Integration:
    """Make an integration that is not stored."""
    document = {"id": "int_examined", "name": "examined", "destination": destination}
    return parse_integration(document | changes)


def examined(
    destination: dict[str, Any], *, guard: Guard = LOOPBACK, test_event: bool = True, **changes: Any
) -> dict[str, StepReport]:
    """Examine such an integration to the end."""
    integration = integration_to(destination, **changes)
    checks = list(examine(integration, guard, send_seconds=10, test_event=test_event))
    return {check.step: check for check in checks}


def results(checks: dict[str, StepReport]) -> dict[str, str]:
    """Say how each step came out."""
    return {step: check.result.value for step, check in checks.items()}


@contextlib.contextmanager
def one_at_a_time() -> Iterator[int]:
    """Serve HTTP without threads, so that who holds a connection open keeps all others out; give the port."""
    server = http.server.HTTPServer((HOST, free_port()), _Simple)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Simple(http.server.BaseHTTPRequestHandler):
    """Says yes to whatever comes, in Splunk's words, and keeps its connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(_SUCCESS)))
        self.end_headers()
        self.wfile.write(_SUCCESS)

    do_GET = do_POST  # noqa: N815 - http.server calls it by this name

    def log_message(self, *_args: Any) -> None:
        """Stay silent."""


_SUCCESS = b'{"text":"Success","code":0}'
