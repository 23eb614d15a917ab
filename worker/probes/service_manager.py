"""Messages to the service manager that started this process: systemd's sd_notify, by a datagram."""

import os
import socket
from contextlib import suppress

#: How often the state is told where no watchdog asks for more, in seconds.
TELL_EVERY = 5.0
#: How long a manager that is busy may keep a message waiting, in seconds: the start is told only once.
LONGEST_SEND = 1.0


class ServiceManager:
    """The manager that NOTIFY_SOCKET names, if any; one that is away is no hindrance."""

    def __init__(self) -> None:
        """Read the environment."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is one of the abstract namespace.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = _watchdog_seconds() if address else None
        self._status = ""

    @property
    def is_there(self) -> bool:
        """Whether there is a manager to tell."""
        return bool(self._address)

    @property
    def interval(self) -> float:
        """How often to tell the state, in seconds: twice as often as its watchdog expects."""
        return min(TELL_EVERY, self._watchdog / 2) if self._watchdog else TELL_EVERY

    def tell(self, message: str) -> None:
        """Send a message."""
        if self._address:
            with (
                suppress(OSError),
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
            ):
                sender.settimeout(LONGEST_SEND)
                sender.sendto(message.encode(), self._address)

    def tell_state(self, not_live: str | None, not_ready: str | None) -> None:
        """Keep the watchdog from acting while the process lives; send the status if it has changed."""
        if self._watchdog and not_live is None:
            self.tell("WATCHDOG=1")
        status = f"not ready: {not_ready}" if not_ready else "ready"
        if status != self._status:
            self._status = status
            self.tell(f"STATUS={status}")


def _watchdog_seconds() -> float | None:
    """Return after how many seconds of silence the watchdog acts, if it is meant for this process."""
    pid = os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    with suppress(ValueError):
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
        return microseconds / 1e6 if microseconds > 0 else None
    return None
