"""Signs of life: each process keeps a key alive, so that others can wait for it or miss it."""

import logging
import os
import platform
import threading
import time
from collections.abc import Collection

import redis

from worker.broker import keys
from worker.broker.clocks import measure_skew
from worker.broker.connection import broker_errors
from worker.broker.overdraft import ask_anyway
from worker.model.clocks import TELLING_SKEW
from worker.model.destinations import DESTINATION_TYPES
from worker.model.errors import BrokerUnavailable

#: How long a sign of life lasts, and how often it is given, in seconds.
LASTS = 10
EVERY = 2.0

log = logging.getLogger(__name__)


def worker_role(kind: str) -> str:
    """Name the role of a worker that delivers to this type of destination."""
    return f"worker-{kind}"


#: A fleet in which every event finds its way has a process of each.
ROLES = ("router", "recorder", *map(worker_role, DESTINATION_TYPES))
#: Events find their way without it.
API = "api"


_MEND = "set it right (NTP): what this process signs or stamps carries the wrong time"
_AHEAD = f"the clock of this process is %.0f s ahead of that of Redis: {_MEND}"
_BEHIND = f"the clock of this process is %.0f s behind that of Redis: {_MEND}"


class SignOfLife:
    """Keeps `siem:alive:<role>:<host>:<pid>` alive from a thread of its own until it is stopped."""

    def __init__(self, client: redis.Redis, role: str) -> None:
        """Name the role: `router`, `recorder`, `api`, or what `worker_role` gives."""
        self._client = client
        self._key = keys.alive(role, platform.node(), os.getpid())
        self._is_off = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sign-of-life", daemon=True)

    def start(self) -> None:
        """Give the first sign soon, then every two seconds."""
        self._thread.start()

    def stop(self) -> None:
        """Give no further sign, and take back the last one."""
        self._stopping.set()
        self._thread.join(EVERY)
        try:
            with broker_errors():
                self._client.delete(self._key)
        except BrokerUnavailable:
            log.debug("no Redis to say good-bye to")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with broker_errors():
                    # A process lives although Redis is full.
                    ask_anyway(self._client, "SET", self._key, self._told_time(), "EX", LASTS)
            except BrokerUnavailable:
                log.debug("no Redis to give a sign of life to")
            self._stopping.wait(EVERY)

    def _told_time(self) -> str:
        """Return the time of this process, and by how many seconds it is ahead of Redis, if that is known."""
        skew = measure_skew(self._client)
        if skew is None:
            return str(int(time.time()))
        if (off := abs(skew) >= TELLING_SKEW) != self._is_off:
            self._is_off = off
            if off:
                log.warning(_AHEAD if skew > 0 else _BEHIND, abs(skew))
            else:
                log.warning("the clock of this process is that of Redis again")
        return f"{int(time.time())} {skew:.3f}"


def roles_alive(client: redis.Redis) -> set[str]:
    """Name the roles of which at least one process lives. Raises BrokerUnavailable."""
    with broker_errors():
        found = client.scan_iter(match=keys.ALIVE_PREFIX + "*", count=1000)
        return {key.decode().removeprefix(keys.ALIVE_PREFIX).partition(":")[0] for key in found}


def wait_for_roles(client: redis.Redis, roles: Collection[str], seconds: float) -> set[str]:
    """Wait until a process of every role lives; return the roles that are still missing in the end."""
    deadline = time.monotonic() + seconds
    while missing := set(roles) - roles_alive(client):
        if time.monotonic() >= deadline:
            return missing
        time.sleep(0.05)
    return set()
