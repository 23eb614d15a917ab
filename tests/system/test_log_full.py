"""A disk that is full under the log costs lines of the log, and nothing else."""

import subprocess
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER, commands
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker.heartbeat import roles_alive

pytestmark = pytest.mark.slow

ROLES = ("router", "recorder", WORKER, "api")


def test_every_process_works_while_nothing_can_be_logged(tmp_path: Path) -> None:
    """An event is delivered and recorded, and SIGTERM ends each process cleanly."""
    with (
        Fleet(tmp_path, SIEM_API_PORT="0") as own,
        HecReceiver() as splunk,
        Path("/dev/full").open("wb") as log,
    ):
        own.integrate(splunk.url)
        for role in ROLES:
            own.processes[role] = subprocess.Popen(
                commands()[role], env=own.environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: len(roles_alive(own.client)) == len(ROLES) + 2, "all of them live")
        own.publish([denial("e1")])
        own.settled(1)
        codes = {role: own.terminate(role) for role in ROLES}

    assert splunk.accepted_ids == ["e1"]
    assert set(codes.values()) == {0}
