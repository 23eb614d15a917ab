"""What the processes find around them, and what is printed of it.

Settings go in; the environment that says the same to every process comes out, and the lines that show a
person where things are.
"""

import errno
import ipaddress
import os
import shlex
import socket
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

import worker
from worker.model.errors import NotFoundError
from worker.model.redis_address import place
from worker.secret_files import variable, without_copies
from worker.settings import API_URL_FILE, REDIS_URL_FILE, Settings


def located(settings: Settings, redis_url: str) -> Settings:
    """Pin down what depends on where one stands: the data directory, absolute, addresses of Redis and API."""
    return settings.model_copy(
        update={
            "data_dir": settings.data_dir.absolute(),
            "redis_url": SecretStr(redis_url),
            "api_port": _api_port(settings),
        }
    )


#: What several processes of one machine cannot share: a port, and the ear of a service manager.
_OF_ONE_PROCESS = {"SIEM_PROBE_PORT", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}


def process_environment(settings: Settings) -> dict[str, str]:
    """Make the environment in which a process reads these very settings, and finds our programs first."""
    given = {variable(name): _spell(getattr(settings, name)) for name in settings.model_fields_set}
    path = os.pathsep.join([_programs(), os.environ.get("PATH", os.defpath)])
    made = {**without_copies(given, os.environ), "PATH": path, "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in made.items() if name not in _OF_ONE_PROCESS}


def explain(settings: Settings, *, embedded: bool) -> list[str]:
    """Report where Redis, the API and the data are, how to publish and how to stop; never a password.

    To be called once the API listens: its port may be one that was free.
    """
    where = place(settings.broker_address())
    site = site_of(settings)
    redis = f"embedded server on {where}, its URL is in {settings.data_dir / REDIS_URL_FILE}"
    return [
        f"Redis:    {redis if embedded else where}",
        f"Data:     {settings.data_dir}",
        f"API:      {site}/api/v1",
        f"Pages:    {site}, with a key of `{command(settings)} api-keys create --name me`",
        f"Publish:  {command(settings)} publish FILE",
        f"Watch:    {command(settings)} status",
        "Stop:     Ctrl-C",
    ]


def site_of(settings: Settings) -> str:
    """Return the address at which the API and the pages are, as far as it is known."""
    with suppress(OSError):
        return (settings.data_dir / API_URL_FILE).read_text().strip()
    return f"http://{settings.api_host}:{settings.api_port}"


def _api_port(settings: Settings) -> int:
    """Return the port that was asked for; if none was and the usual one is taken, 0 for a free one."""
    if "api_port" in settings.model_fields_set or not _is_taken(settings.api_host, settings.api_port):
        return settings.api_port
    return 0


def _is_taken(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _spell(value: object) -> str:
    """Write a setting as its environment variable has it."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(_spell(part) for part in value)
        case Path() | ipaddress.IPv4Network() | ipaddress.IPv6Network() | int() | float() | str():
            return str(value)
        case _:
            raise TypeError(f"no spelling for {type(value).__name__} in an environment variable")


def _programs() -> str:
    return sysconfig.get_path("scripts")


def command(settings: Settings, here: Mapping[str, str] = os.environ) -> str:
    """Spell the `siem` command so that it works as it stands, from where the person is."""
    program = Path(_programs()) / "siem"
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    found = Path(here.get("SIEM_DATA_DIR", ".siem")).absolute() == settings.data_dir
    prefix = "" if found else f"SIEM_DATA_DIR={shlex.quote(str(settings.data_dir))} "
    return prefix + shlex.quote(str(program))


def project_procfile() -> str:
    """Read the Procfile that lies beside the package."""
    path = Path(worker.__file__).parent.parent / "Procfile"
    with suppress(OSError):
        return path.read_text()
    raise NotFoundError(f"there is no {path}: `siem up` runs from a checkout of the project")
