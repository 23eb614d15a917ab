"""Single questions over HTTP, asked with the transport of every delivery, and the clock of who answers."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from worker.destinations.checks import StepResult, failed, ok, skipped, warning
from worker.destinations.checks.network import Target
from worker.integrations import TlsOptions
from worker.integrations.destination import HTTP_PORTS
from worker.transports.guard import Guard
from worker.transports.http import HttpReply, HttpTransport
from worker.transports.probe import speaks_tls

#: A clock that is off by more seconds than this is warned of.
MOST_SKEW = 60.0


def http_target(url: str, check_first: str, *, has_secret: bool) -> Target:
    """Return where a url of http or https leads."""
    parts = urlsplit(url)
    return Target(
        host=parts.hostname or "",
        port=parts.port or HTTP_PORTS[parts.scheme],
        way="tls" if parts.scheme == "https" else "tcp",
        secure_form="https://",
        plain_form="http://",
        check_first=check_first,
        plain_is_risky=has_secret,
    )


class HttpProbe:
    """Asks one SIEM over HTTP, each question over a connection of its own; `seconds` are for each."""

    def __init__(self, guard: Guard, target: Target, options: TlsOptions, seconds: float) -> None:
        """Dial nothing yet."""
        self._guard = guard
        self._target = target
        self._seconds = seconds
        self._transport = HttpTransport(guard, options, connections=1)
        self._skew: float | None = None

    def get(self, url: str, headers: Mapping[str, str]) -> HttpReply:
        """Get the url, and note what time it is there. Raises TransportError."""
        began = time.time()
        try:
            reply = self._transport.get(url, headers, self._seconds).whole()
        finally:
            # A simple receiver may serve one connection at a time, and others follow.
            self._transport.close()
        self._note_clock(reply, (began + time.time()) / 2)
        return reply

    def tls_instead(self) -> StepResult | None:
        """Report that TLS is spoken where the url says http, if that is so; to be asked after a failure."""
        target = self._target
        if target.way == "tls" or not speaks_tls(self._guard, target.host, target.port, self._seconds):
            return None
        return failed(f"{target} speaks TLS, and the url does not", f"write {target.secure_form} in the url")

    def clock(self, why: str) -> StepResult:
        """Compare the clock that the answers showed with ours; `why` says what a wrong one does."""
        if self._skew is None:
            return skipped("no answer had a date")
        off = abs(self._skew)
        if off <= MOST_SKEW:
            return ok("its clock and the one of this machine agree to the minute")
        words = (
            f"its clock is {_span(off)} {'ahead of' if self._skew > 0 else 'behind'} the one of this machine"
        )
        here = datetime.now(UTC)
        return warning(words, f"set the wrong one by NTP (here it is {here:%Y-%m-%d %H:%M} UTC): {why}")

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _note_clock(self, reply: HttpReply, ours: float) -> None:
        if reply.date is not None:
            self._skew = reply.date - ours


def _span(seconds: float) -> str:
    """Name a span of time as people would; `Date` has no more than seconds, and those cut off."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds)} seconds"
