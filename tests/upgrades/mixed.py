"""A fleet of two releases: processes of either start and end one by one, on one Redis and one ledger."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.chaos.account import Account, account_for, all_ended, ledger_of
from tests.fleet import PATIENCE, Fleet, wait_until
from tests.ports import free_port
from tests.procfile import WORKER
from tests.upgrades.releases import Release
from tests.upgrades.traffic import Apis, Publishers
from worker.broker import keys
from worker.ledger.parked import ParkedStore
from worker.ledger.redriving import MOST_DEATHS
from worker.model.deliveries import MAX_REQUESTS

#: In the order in which they change; each is a line of the Procfile, WORKER all lines of workers in one.
ROLES = ("api", "router", "recorder", WORKER)
#: Name, type and mood of each destination of a tenant: one refuses now and then.
WITNESSES = {"hec": ("splunk_hec", "flaky"), "cef": ("syslog_cef", "healthy"), "hook": ("webhook", "healthy")}
#: What dies there at its first attempt, is sent again by a replay once the destination is well.
_OPTIONS = {"hec": ("--max-retries", "0")}
_URLS = {
    "splunk_hec": "http://127.0.0.1:{}/services/collector/event",
    "syslog_cef": "syslog://127.0.0.1:{}",
    "webhook": "http://127.0.0.1:{}/hook",
}
_PAUSED = "hook"
#: True of an event that a busy destination refused, or whose worker was killed.
_REASONS = ("destination_busy", "timed_out", "worker_lost")
#: So many events are more than those whose publication began before: two publishers, twenty events each.
_MORE = 100
#: How long a fleet may take to start a process, or to settle, on a busy machine, in seconds.
LONG = 3 * PATIENCE
#: Short waits for what a killed process held, long ones for what a busy machine may delay.
KNOBS: dict[str, Any] = {
    "SIEM_SEND_DEADLINE": "6",
    "SIEM_LEASE": "8",
    "SIEM_CLAIM_IDLE": "4",
    "SIEM_VISIBILITY_TIMEOUT": "60",
    "SIEM_BREAKER_LONGEST_PROBE": "3",
    "SIEM_LOG_LEVEL": "INFO",
    # What waits while an integration is paused is parked in the ledger, and comes back.
    "SIEM_BACKLOG_EVENTS": "1000",
    "SIEM_HEALTH_LAG": "60",
}


class MixedFleet:
    """Processes by role and release; the latest API is asked first."""

    def __init__(self, fleet: Fleet) -> None:
        """Start them in the environment of this fleet."""
        self.fleet = fleet
        self.apis = Apis()
        self.kills = 0
        self._urls: dict[str, str] = {}

    def join(self, release: Release, role: str) -> None:
        """Start a process, and wait until it gives a sign of life, or answers."""
        name = f"{role}@{release.name}"
        port = free_port()
        environment = {**self.fleet.environment, "SIEM_API_PORT": str(port)}
        with (self.fleet.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                release.command(role),
                env=release.environment(environment),
                cwd=release.top,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.fleet.processes[name] = process
        wait_until(lambda: self._lives(name), f"{name} gives a sign of life", LONG)
        if role == "api":
            self._urls[name] = f"http://127.0.0.1:{port}"
            self.apis.add(self._urls[name])

    def leave(self, release: Release, role: str) -> None:
        """End a process: an API in good order, any other one without a chance to hand anything over."""
        name = f"{role}@{release.name}"
        if role == "api":
            self.apis.remove(self._urls.pop(name))
            self.fleet.terminate(name)
        else:
            os.killpg(self.fleet.processes[name].pid, signal.SIGKILL)
            self.fleet.processes.pop(name).wait()
            self.kills += 1

    def _lives(self, name: str) -> bool:
        process = self.fleet.processes[name]
        assert process.poll() is None, f"{name} ended: {self.fleet.log(name)}"
        found: Iterable[bytes] = self.fleet.client.scan_iter(match=keys.ALIVE_PREFIX + "*", count=1000)
        # siem:alive:<role>:<host>:<pid>, and of this release more behind that.
        return any(key.decode().split(":")[4:5] == [str(process.pid)] for key in found)


class Tenant:
    """A tenant with destinations of every type, set up by one release, and its traffic."""

    def __init__(self, mixed: MixedFleet, release: Release, tenant_id: str, folder: Path) -> None:
        """Start its destinations, which keep their books in this folder; `end` ends them."""
        self.mixed = mixed
        self._release = release
        self._tenant_id = tenant_id
        self._folder = folder
        self._ids: dict[str, str] = {}
        wanted = [f"{name}={kind}:{mood}" for name, (kind, mood) in WITNESSES.items()]
        words = [sys.executable, "-m", "tests.chaos.witnesses", str(folder), "1", *wanted]
        self._witnesses = subprocess.Popen(words)

    def set_up(self) -> Publishers:
        """Have the release make its integrations and its key; return who publishes its events."""
        wait_until((self._folder / "ports.json").exists, "the destinations listen")
        for name, port in json.loads((self._folder / "ports.json").read_text()).items():
            self._ids[name] = self._create(name, port)
        fleet = self.mixed.fleet
        words = ("--name", "test", "--tenant", self._tenant_id)
        made = self._release.siem_json(fleet.environment, "api-keys", "create", *words)
        self.publishers = Publishers(fleet.server.url, self.mixed.apis, made["api_key"], self._tenant_id)
        return self.publishers

    def _create(self, name: str, port: int) -> str:
        kind = WITNESSES[name][0]
        words = (
            "--name",
            name,
            "--tenant",
            self._tenant_id,
            "--url",
            _URLS[kind].format(port),
            "--type",
            kind,
        )
        secret = () if kind == "syslog_cef" else ("--token", "secret-token")
        auth = ("--auth", "bearer") if kind == "webhook" else ()
        made = self._release.siem_json(
            self.mixed.fleet.environment,
            *("integrations", "create", "--all-events", "--timeout", "2"),
            *(*words, *secret, *auth, *_OPTIONS.get(name, ())),
        )
        integration_id: str = made["id"]
        return integration_id

    def pause(self, release: Release) -> None:
        """Have a release pause one of its integrations, and wait until some of its events are parked."""
        self._have(release, "pause")
        parked = ParkedStore(self.mixed.fleet.engine)
        wait_until(lambda: self._ids[_PAUSED] in parked.counts(), "events are parked", LONG)

    def resume(self, release: Release) -> None:
        """Have a release resume it."""
        self._have(release, "resume")

    def _have(self, release: Release, verb: str) -> None:
        done = release.siem(self.mixed.fleet.environment, "integrations", verb, self._ids[_PAUSED])
        assert done.returncode == 0, done.stderr

    def heal(self) -> None:
        """Have its destinations take everything, and wait until more was published.

        Dead letters are sent again by themselves only after a later delivery.
        """
        (self._folder / "healed").touch()
        published = len(self.publishers.acknowledged)
        wait_until(lambda: len(self.publishers.acknowledged) > published + _MORE, "more is published", LONG)

    def settle(self) -> None:
        """Wait until each event is delivered everywhere, or dead for good."""
        count = len(self.publishers.acknowledged)
        wait_until(
            lambda: all_ended(self.mixed.fleet.engine, self._ids.values(), count),
            f"{count} events are delivered or dead everywhere",
            LONG,
        )

    def accounts(self) -> dict[str, Account]:
        """Return the account of each of its integrations."""
        most = MAX_REQUESTS * (1 + MOST_DEATHS) + self.mixed.kills
        found = {}
        for name, integration_id in self._ids.items():
            published = self.publishers
            expected = published.as_cef if WITNESSES[name][0] == "syslog_cef" else published.acknowledged
            rows, dead = ledger_of(self.mixed.fleet.engine, integration_id)
            book = self._folder / f"{name}.received"
            found[name] = account_for(book, expected, rows, dead, _REASONS, most)
        return found

    def end(self) -> None:
        """End its destinations."""
        self._witnesses.terminate()
        self._witnesses.wait()
