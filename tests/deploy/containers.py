"""The image that `.ci/image` builds, and a fleet whose processes run from it, as strictly as can be asked.

Each role is a container of its own: another user, nothing that can be written to, no capability, no HOME, no
TERM, and its secrets in files. It shares the network of this machine, where the test's servers listen.
"""

import json
import os
import shlex
import signal
import subprocess
import uuid
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet

from tests.fleet import Fleet, wait_until
from tests.ports import free_port
from tests.procfile import lines
from worker.broker.heartbeat import roles_alive

#: How long six containers may take to start on a busy machine, or one to end.
LONG = 150.0
IMAGE = "localhost/siem-worker:ci"
USER = 10001
TOOLS = Path(__file__).parents[2] / ".image"

#: What a container may not do; nothing at all may be written, not even below /tmp. podman wants systemd
#: to time health checks, so the tests run the check themselves.
STRICT = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
    *("--network=host", "--unsetenv=HOME", "--unsetenv=TERM", "--no-healthcheck"),
)
#: Given to a container in files, never in its environment.
_SECRETS = ("SIEM_REDIS_URL", "SIEM_DATABASE_URL", "SIEM_SECRET_KEYS")


def tool(name: str) -> str:
    """Find a program that `.ci/image` brings; where it is not, the test is skipped, and says how to."""
    path = TOOLS / name
    if not path.is_file():
        pytest.skip(f"{name} is not here: run .ci/image, which brings it, and builds the image")
    return str(path)


def podman(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run the podman of `.ci/image`."""
    command = [tool("podman"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert not check or done.returncode == 0, f"podman {shlex.join(arguments)}: {done.stderr}"
    return done


class ContainerFleet(Fleet):
    """A fleet whose processes are containers; a role is stopped by the signal that the test names."""

    def __init__(self, directory: Path, database_url: str) -> None:
        """Prepare, with a database that is reached by a Unix socket in a folder."""
        key = Fernet.generate_key().decode()
        super().__init__(
            directory,
            database_url=database_url,
            SIEM_SECRET_KEYS=key,
            SIEM_SEND_DEADLINE="30",  # a worker ends while a webhook is being answered, on a busy machine
            SIEM_LEASE="40",
        )
        self.name = f"siem-{uuid.uuid4().hex[:8]}"
        self._containers: set[str] = set()
        self._secrets = directory / "secrets"
        self._sockets = Path(parse_qs(urlsplit(database_url).query)["host"][0])
        self._sockets.chmod(0o711)  # the container's user may enter, and see nothing else
        self._write_secrets(self.settings.broker_address(), database_url, key)
        plain = self.environment.items()
        self._settings = {
            key: value
            for key, value in plain
            if key.startswith("SIEM_") and key not in (*_SECRETS, "SIEM_DATA_DIR")
        }

    def _write_secrets(self, *values: str) -> None:
        self._secrets.mkdir()
        for name, value in zip(_SECRETS, values, strict=True):
            path = self._secrets / name
            path.write_text(f"{value}\n")
            path.chmod(0o400)
            os.chown(path, USER, USER)

    def container(self, role: str) -> str:
        """Return the name of a role's container."""
        return f"{self.name}-{role}"

    def run_arguments(self, name: str, *, port: int) -> list[str]:
        """Return the arguments of `podman run` up to the command."""
        settings = self._settings | {"SIEM_PROBE_PORT": str(port)}
        settings |= {f"{secret}_FILE": f"/run/secrets/{secret}" for secret in _SECRETS}
        return [
            *("run", "--rm", f"--name={name}", *STRICT),
            *(f"--env={key}={value}" for key, value in settings.items()),
            f"--volume={self._secrets}:/run/secrets:ro",
            f"--volume={self._sockets}:{self._sockets}",
            IMAGE,
        ]

    def start(self, *roles: str) -> Self:
        """Start these roles, and wait until each gives a sign of life: beside podman that takes longer."""
        for role in roles:
            self.spawn(role)
        wait_until(lambda: set(roles) <= roles_alive(self.client), f"{roles} are alive", LONG)
        return self

    def spawn(self, role: str) -> None:
        """Start the container of a role with the line of the Procfile as its command."""
        name = self.container(role)
        self._containers.add(name)
        with (self.directory / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [tool("podman"), *self.run_arguments(name, port=free_port()), *shlex.split(lines()[role])],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def signal(self, role: str, by: signal.Signals) -> None:
        """Send process 1 of a role's container this signal, as `docker stop` does."""
        podman("kill", f"--signal={by.name}", self.container(role))

    def ended(self, role: str) -> int:
        """Wait until a role's container has ended; return its exit status."""
        return self.processes.pop(role).wait(timeout=LONG)

    def await_delivery(self, event: str, *names: str) -> None:
        """Wait until the ledger says that the integrations of these names have the event."""
        for name in names:
            wait_until(partial(self._delivered, name, event), f"{name} has {event}", LONG)

    def _delivered(self, name: str, event: str) -> bool:
        return any(row.event_id == event and row.status == "delivered" for row in self.rows(f"int_{name}"))

    def await_health(self) -> None:
        """Wait until the image's health check passes in every container."""
        kind, *check = inspected(IMAGE)["Healthcheck"]["Test"]
        assert kind == "CMD"
        for role in self.processes:
            wait_until(partial(self._passes, role, check), f"the health check of {role} passes", LONG)

    def _passes(self, role: str, check: list[str]) -> bool:
        return podman("exec", self.container(role), *check, check=False).returncode == 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the containers that still run, with all else of a fleet."""
        for name in self._containers:
            podman("rm", "--force", "--time=0", "--ignore", name, check=False)
        super().__exit__(kind, error, trace)


def states(name: str) -> list[str]:
    """Return the states of a container's processes; Z is one that has ended and that nobody waited for."""
    return podman("top", name, "state").stdout.split()[1:]


def is_running(name: str) -> bool:
    """Whether a container runs."""
    shown = podman("inspect", "--format={{.State.Running}}", name, check=False)
    return shown.stdout.strip() == "true"


def inspected(reference: str) -> Any:
    """Return what `podman image inspect` says of an image."""
    return json.loads(podman("image", "inspect", reference).stdout)[0]
