"""What workers allow is asked of the workers: by the doctor, by `create` and `update`, by the API."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.running import Ran, call, create
from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER
from tests.receivers.webhook import WebhookReceiver
from worker.background.reach import reach_fact
from worker.broker.fleet import living_processes
from worker.broker.heartbeat import Heartbeat
from worker.model.fleet_health import worker_role
from worker.settings import Settings
from worker.vault.vault import Vault, open_vault

pytestmark = pytest.mark.slow

ROLE = worker_role("webhook")
SHELL = "SIEM_ALLOWED_NETWORKS"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a fleet with one worker, which allows loopback and 10.0.0.0/8."""
    with Fleet(tmp_path_factory.mktemp("reach"), SIEM_ALLOWED_NETWORKS="127.0.0.0/8,10.0.0.0/8") as fleet:
        fleet.start(WORKER)
        wait_until(lambda: all(one.report for one in living_processes(fleet.client)), "it tells of itself")
        yield fleet


@contextmanager
def _another_worker(fleet: Fleet, allows: str, vault: Vault | None = None) -> Iterator[None]:
    """Give the heartbeats of another worker, of this very process, that allows these networks."""
    config = Settings.model_validate({"allowed_networks": allows})
    facts = reach_fact(vault or open_vault(fleet.settings), config)
    sign = Heartbeat(fleet.client, ROLE, facts=facts)
    sign.start()
    try:
        wait_until(lambda: sum(one.role == ROLE for one in living_processes(fleet.client)) == 2, "it lives")
        yield
    finally:
        sign.stop()


def _doctor(fleet: Fleet, allowed_here: str, url: str, name: str) -> Ran:
    shell = fleet.environment | {SHELL: allowed_here}
    if name not in [one.name for one in fleet.store.list()]:
        create(shell, url, "--name", name, "--type", "webhook")
    return call(shell, "doctor", name)


def test_what_workers_allow_passes_whatever_the_shell_allows(running: Fleet) -> None:
    """That is where the event goes from, and it arrives."""
    with WebhookReceiver() as endpoint:
        ran = _doctor(running, "", endpoint.url, "passes")

        assert ran.code == 0, ran.out
        assert endpoint.events
    assert "127.0.0.1 is open by SIEM_ALLOWED_NETWORKS of the workers on " in ran.out
    assert "no step failed" in ran.out


def test_what_workers_refuse_fails_whatever_the_shell_allows(running: Fleet) -> None:
    """Nothing is dialled then, and the hosts of the workers are named."""
    with WebhookReceiver() as endpoint, _another_worker(running, "10.0.0.0/8"):
        ran = _doctor(running, "127.0.0.0/8", endpoint.url, "refused")

        assert endpoint.requests == []
    host = living_processes(running.client)[0].name.partition(":")[0]
    assert ran.code == 1
    assert f"127.0.0.1 is a loopback address that the workers on {host} do not allow" in ran.out
    assert "start the workers with SIEM_ALLOWED_NETWORKS=127.0.0.1/32" in ran.out


def test_a_worker_without_the_keys_opens_nothing(running: Fleet) -> None:
    """Who can only write to Redis must not open networks: what they report does not count."""
    stranger = Vault(["Zm9yZ2VkLWZvcmdlZC1mb3JnZWQtZm9yZ2VkLWZvcmc="])
    running.terminate(WORKER)
    try:
        sign = Heartbeat(
            running.client,
            ROLE,
            facts=reach_fact(stranger, Settings.model_validate({"allowed_networks": "127.0.0.0/8"})),
        )
        sign.start()
        wait_until(lambda: [one.role for one in living_processes(running.client)] == [ROLE], "it lives")
        with WebhookReceiver() as endpoint:
            ran = _doctor(running, "", endpoint.url, "stranger")
            assert endpoint.requests == []
        sign.stop()
        assert ran.code == 1
        assert "do not report theirs (an earlier release, or other SIEM_SECRET_KEYS)" in ran.out
    finally:
        running.start(WORKER)


def test_without_a_worker_the_own_setting_counts_and_that_is_said(empty: Fleet) -> None:
    """No one else can be asked."""
    with WebhookReceiver() as endpoint:
        passes = _doctor(empty, "127.0.0.0/8", endpoint.url, "alone")
        fails = _doctor(empty, "", endpoint.url, "alone")

    assert "open by SIEM_ALLOWED_NETWORKS here, for no worker that delivers to webhook runs" in passes.out
    assert passes.code == 0
    assert "went by SIEM_ALLOWED_NETWORKS here, for no worker that delivers to webhook runs" in fails.out
    assert fails.code == 1


@pytest.mark.parametrize("shell", ["", "127.0.0.0/8,192.168.0.0/16"])
def test_create_and_update_warn_of_what_workers_refuse(running: Fleet, shell: str) -> None:
    """And of nothing that they allow."""
    environment = running.environment | {SHELL: shell}
    name = f"made{len(shell)}"
    made = create(environment, "https://10.1.2.3/hook", "--name", name, "--type", "webhook")
    moved = call(environment, "integrations", "update", name, "--url", "https://192.168.1.1/hook")

    assert made.err == ""
    assert "Warning: 192.168.1.1 is a private address that the workers on " in moved.err
    assert "nothing is sent there until their SIEM_ALLOWED_NETWORKS lists its network" in moved.err


def test_what_a_worker_tells_is_sealed(running: Fleet) -> None:
    """Only who has the keys of the fleet reads it, and only who has them can write it."""
    with _another_worker(running, "127.0.0.0/8"):
        reported = [one.report.facts for one in living_processes(running.client) if one.report]
    assert all("reach" in facts for facts in reported)
    assert "networks" not in json.dumps(reported)


def test_the_help_says_whose_setting_counts(desk: Fleet) -> None:
    """Before anyone sets the wrong one."""
    help_text = " ".join(call(desk.environment, "doctor", "--help").out.split())

    assert "allowed by every running worker" in help_text
    assert "only if none runs, this environment's SIEM_ALLOWED_NETWORKS decides" in help_text
