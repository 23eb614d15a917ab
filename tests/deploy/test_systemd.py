"""The systemd units say what the Procfile says, systemd can read them, and the fleet runs in their sandbox.

No systemd runs here. systemd-analyze reads the units in a root of their own, and a process gets by hand what
decides whether Python and its libraries work: no capability, no new privileges, a file system that cannot be
written to but for the state directory, no memory that is both writable and executable.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from tests.embedded_servers import VALKEY, start_server
from tests.fleet import wait_until
from tests.procfile import lines
from tests.small_disk import NEEDS_SMALL_DISK
from worker.cli import siem
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.settings import Settings

TOP = Path(__file__).parents[2]
UNITS = TOP / "deploy" / "systemd"
COMMON = UNITS / "siem-.service.d" / "10-siem.conf"
PROGRAMS = "/opt/siem/venv/bin/"

#: The unit of each line of the Procfile.
ROLES = {
    "router": "siem-router.service",
    "recorder": "siem-recorder.service",
    "api": "siem-api.service",
    "worker-splunk_hec": "siem-worker@splunk_hec.service",
    "worker-syslog_cef": "siem-worker@syslog_cef.service",
    "worker-webhook": "siem-worker@webhook.service",
}
#: What is not in the Procfile, since no delivery needs it.
FLOWER = "siem-flower.service"
UNIT_NAMES = [*ROLES.values(), FLOWER]
#: Roles that have the unit of another role.
SIMILAR = {"worker-splunk_hec", "worker-syslog_cef"}


def service(unit: str) -> dict[str, list[str]]:
    """Return the [Service] of a unit with what all have in common: each key with all of its values."""
    name, at, instance = unit.removesuffix(".service").partition("@")
    found: dict[str, list[str]] = {}
    for path in (UNITS / f"{name}{at}.service", COMMON):
        section = path.read_text().partition("\n[Service]\n")[2].partition("\n[")[0]
        for key, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
            found.setdefault(key, []).append(value.replace("%i", instance))
    return found


def test_each_process_of_the_procfile_has_its_unit() -> None:
    """The same command, from the prefix of deploy/install."""
    assert {role: service(unit)["ExecStart"] for role, unit in ROLES.items()} == {
        role: [PROGRAMS + line] for role, line in lines().items()
    }
    assert service(FLOWER)["ExecStart"] == [f"{PROGRAMS}siem flower"]
    assert siem.get_command(click.Context(siem), "flower") is not None


def test_units_name_settings_that_exist() -> None:
    """A secret that no setting reads, or a credential that no unit loads, would be noticed late."""
    secrets = {
        f"SIEM_{n.upper()}_FILE" for n, f in Settings.model_fields.items() if f.annotation is SecretStr
    }
    for unit in UNIT_NAMES:
        given = service(unit)
        loaded = {one.partition(":")[0]: one.partition(":")[2] for one in given["LoadCredential"]}
        variables = dict(one.split("=", 1) for one in given["Environment"])
        files = {name: value for name, value in variables.items() if name.endswith("_FILE")}

        assert files.keys() <= secrets
        # A watchdog that nobody feeds kills.
        assert ("WatchdogSec" in given) == (given["Type"] == ["notify"])
        assert sorted(files.values()) == sorted(f"%d/{name}" for name in loaded)
        own = "flower_redis_url" if unit == FLOWER else "redis_url"
        assert loaded == {
            name: f"/etc/siem/secrets/{own if name == 'redis_url' else name}" for name in loaded
        }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a root directory with the units and what they name, as deploy/install and the guide leave it."""
    units = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree(UNITS, units)
    programs = tmp_path / PROGRAMS.strip("/")
    programs.mkdir(parents=True)
    for program in ("siem", "celery"):
        (programs / program).touch(0o755)
    for target in ("basic", "sysinit", "shutdown", "multi-user", "network-online"):
        shutil.copy(f"/usr/lib/systemd/system/{target}.target", units)
    return tmp_path


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze, which needs no running systemd."""
    return subprocess.run(
        [shutil.which("systemd-analyze") or "systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing"
)


@needs_systemd
def test_systemd_understands_the_units(root: Path) -> None:
    """An unknown key is only a warning to systemd, and what it was to forbid stays allowed."""
    ran = analyze("verify", f"--root={root}", *UNIT_NAMES, "siem.target")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@needs_systemd
def test_the_sandbox_is_tight(root: Path) -> None:
    """By the measure of systemd, from 0 (nothing is allowed) to 10. What is left is mostly the network."""
    for unit in UNIT_NAMES:
        ran = analyze("security", "--offline=true", "--threshold=14", f"--root={root}", unit)

        assert ran.returncode == 0, ran.stdout[-200:]


@needs_systemd
def test_the_user_and_the_directories_can_be_made(tmp_path: Path) -> None:
    """sysusers.d and tmpfiles.d, applied to a root of their own."""
    (tmp_path / "etc").mkdir()
    for program, kind in (("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")):
        extra = ["--create"] if program == "systemd-tmpfiles" else []
        subprocess.run([program, *extra, f"--root={tmp_path}", UNITS / kind / "siem.conf"], check=True)

    assert ":/var/lib/siem:" in (tmp_path / "etc" / "passwd").read_text()
    assert (tmp_path / "etc" / "siem" / "secrets").stat().st_mode & 0o777 == 0o700


#: Run behind the mounts: forbids memory that is writable and executable, and becomes the process.
LOCK_DOWN = """
import ctypes, os, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit("this kernel has no PR_SET_MDWE (it needs Linux 6.3)")
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """Give a folder with the state directory, the secrets and an upgraded ledger; Redis runs."""
    state, secrets = tmp_path / "state", tmp_path / "secrets"
    state.mkdir()
    secrets.mkdir()
    server = start_server(VALKEY, tmp_path / "server")
    try:
        ledger = f"sqlite:///{state / 'ledger.sqlite3'}"
        engine = open_ledger(ledger)
        upgrade_tables(engine)
        engine.dispose()
        contents = {
            "redis_url": server.url,
            "database_url": ledger,
            "secret_keys": Fernet.generate_key().decode(),
            "metrics_token": "a token",
        }
        for name, content in contents.items():
            (secrets / name).write_text(content + "\n")
        yield tmp_path
    finally:
        server.stop()


def notify_socket(unit: str, host: Path) -> Path:
    """Return where the unit's manager listens; the path of a socket may have 107 bytes."""
    return host / unit.removeprefix("siem-")[:3]


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Play the service manager that READY=1 is sent to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        yield manager


@contextmanager
def sandboxed(unit: str, host: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a unit's command with its environment, in what can be had of its sandbox."""
    given = service(unit)
    variables = dict(one.split("=", 1) for one in given["Environment"])
    environment = {name: value.replace("%d", str(host / "secrets")) for name, value in variables.items()}
    programs = Path(sys.executable).parent
    environment |= {
        "PATH": f"{programs}:/usr/bin:/bin",
        "SIEM_DATA_DIR": str(host / "state"),
        "SIEM_API_PORT": "0",
        "NOTIFY_SOCKET": str(notify_socket(unit, host)),
    }
    program, *arguments = shlex.split(given["ExecStart"][0].replace(PROGRAMS, f"{programs}/"))
    mounts = f"""set -e
        umask 077
        mount --make-rprivate /
        mount --bind {shlex.quote(str(host / "state"))} {shlex.quote(str(host / "state"))}
        mount -o remount,bind,ro /
        cd /
        exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@" """
    with (host / f"{unit}.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "/usr/bin/unshare",
                "--mount",
                "sh",
                "-c",
                mounts,
                "sh",
                sys.executable,
                "-Ic",
                LOCK_DOWN,
                program,
                *arguments,
            ],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(700)
@NEEDS_SMALL_DISK
def test_every_role_runs_in_its_sandbox(host: Path) -> None:
    """What the units forbid is needed by no library: libffi, libcurl, hiredis, uvicorn, Celery."""
    units = [unit for role, unit in ROLES.items() if role not in SIMILAR]
    with ExitStack() as stack:
        managers = {unit: stack.enter_context(listening(notify_socket(unit, host))) for unit in units}
        running = {unit: stack.enter_context(sandboxed(unit, host)) for unit in units}
        told = dict.fromkeys(units, "")

        def all_are_ready() -> bool:
            ended = {
                unit: (host / f"{unit}.log").read_text() for unit in units if running[unit].poll() is not None
            }
            assert ended == {}
            for unit, manager in managers.items():
                with suppress(BlockingIOError):
                    told[unit] += manager.recv(4096).decode() + "\n"
            return all("READY=1" in text for text in told.values())

        wait_until(all_are_ready, "each process tells systemd that it is ready", 120)
        for unit, process in running.items():
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE), unit
            assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE), unit
            process.send_signal(signal.SIGTERM)
        wait_until(lambda: all(one.poll() is not None for one in running.values()), "all end")
        assert {unit: one.returncode for unit, one in running.items()} == dict.fromkeys(running, 0)
