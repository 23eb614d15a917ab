"""`celery worker` refuses what has no meaning here, and ends for wrong settings as `siem` does."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.procfile import WORKER, commands
from worker.broker.celery_worker import OCCUPANCY, SparingTaskPool

NOWHERE = "redis://127.0.0.1:1/0"


def ended(command: list[str], folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of the fleet that must end by itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIEM_")}
    environment |= {"SIEM_DATA_DIR": str(folder), **settings}
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


REFUSED = {
    "-P prefork": "threads are enough; leave the option out",
    "-P solo": "one destination that hangs would hold up all others",
    "-P nobody": "'nobody': leave the option out, or give threads",
    "--autoscale 10,2": "up to SIEM_WORKER_THREADS; for more, start further workers",
    "--max-tasks-per-child 5": "no child processes; have a service manager bound its memory",
    "--max-memory-per-child 5": "no child processes; have a service manager bound its memory",
    "--pool-start-method spawn": "no child processes; leave it out",
    "--time-limit 5": "SIEM_SEND_DEADLINE says how long a delivery may take",
    "--soft-time-limit 5": "SIEM_SEND_DEADLINE says how long a delivery may take",
    "--prefetch-multiplier 4": "an order is fetched when a thread is free for it",
    "-B": "nothing here is started by a schedule",
    "-c 0": "0 is not in the range x>=1",
    "-c auto": "'auto' is not a valid integer",
    "-c 999999999": "this process may not open enough files (`ulimit -n`) for more than",
    "-Q nobody": "there is no queue 'nobody': give splunk_hec, syslog_cef, webhook",
    "-X webhook,nobody": "there is no queue 'nobody'",
    "-- worker.pool=solo": "unexpected extra argument",
}

#: Runs the program `celery` with each line of arguments that comes in, in one process: a start takes long.
_EACH = """
import sys, click
from celery.bin.celery import celery
for line in sys.stdin:
    try:
        arguments = ["-q", "-A", "worker", "worker", *line.split()]
        celery.main(arguments, prog_name="celery", standalone_mode=False)
    except click.UsageError as error:
        print(error.exit_code, error.format_message())
    else:
        print("taken")
"""


def test_options_without_a_meaning_are_refused_with_what_to_use_instead(tmp_path: Path) -> None:
    """Celery would take most of them in silence."""
    done = subprocess.run(
        [sys.executable, "-c", _EACH],
        input="\n".join(REFUSED),
        env={**os.environ, "SIEM_REDIS_URL": NOWHERE, "SIEM_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = dict(zip(REFUSED, done.stdout.splitlines(), strict=True))
    for option, words in REFUSED.items():
        assert said[option].startswith("2 "), (option, said[option])
        assert words in said[option], (option, said[option])


PROGRAMS = {
    "worker": commands()[WORKER],
    "router": commands()["router"],
    "recorder": commands()["recorder"],
    "api": commands()["api"],
    "flower": [str(Path(sys.executable).parent / "celery"), "-A", "worker", "flower", "--port=0"],
}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_each_wrong_setting_is_a_line(program: str, tmp_path: Path) -> None:
    """No traceback, and the exit code of `siem` for wrong input."""
    done = ended(PROGRAMS[program], tmp_path, SIEM_REDIS_URL=NOWHERE, SIEM_SLOTS="many", SIEM_LEASE="-1")

    first, second = sorted(done.stderr.splitlines())
    assert first.startswith("Error: SIEM_LEASE: ")
    assert second.startswith("Error: SIEM_SLOTS: ")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["worker", "router"])
def test_a_missing_secret_file_is_a_line(program: str, tmp_path: Path) -> None:
    """Workers read secrets from files as all commands do."""
    done = ended(PROGRAMS[program], tmp_path, SIEM_REDIS_URL_FILE=str(tmp_path / "url"))

    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: SIEM_REDIS_URL_FILE: names {tmp_path / 'url'}, which cannot be read")
    assert done.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("program", ["worker", "flower"])
def test_a_missing_address_is_a_line(program: str, tmp_path: Path) -> None:
    """Nothing says where Redis is."""
    done = ended(PROGRAMS[program], tmp_path)

    [line] = done.stderr.splitlines()
    assert line.startswith("Error: SIEM_REDIS_URL: is not set")
    assert done.returncode == 2


@pytest.mark.slow
def test_a_worker_without_its_key_is_told_in_a_line(tmp_path: Path) -> None:
    """What it finds out only while it starts ends it as well; Celery would go on."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the data directory should be")
    done = ended(PROGRAMS["worker"], tmp_path, SIEM_REDIS_URL=NOWHERE, SIEM_DATA_DIR=str(blocked))

    assert "Traceback" not in done.stderr
    assert str(blocked) in next(line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert done.returncode == 2


def test_a_pool_is_stuck_when_all_threads_are_busy_and_none_ends() -> None:
    """One that is full and goes on is not, nor one with a thread to spare; real tasks that never end are."""
    held = threading.Event()
    pool = SparingTaskPool(limit=2)
    try:
        pool.on_apply(held.wait, (), {}, bool)
        spare = OCCUPANCY.stuck(-1)
        pool.on_apply(held.wait, (), {}, bool)
        full, going_on = OCCUPANCY.stuck(-1), OCCUPANCY.stuck(3600)
        held.set()
        pool.executor.shutdown()
        idle = OCCUPANCY.stuck(-1)
    finally:
        held.set()

    assert full == "all of its 2 threads are busy, and none has ended a task for 0 s"
    assert (spare, going_on, idle) == (None, None, None)
